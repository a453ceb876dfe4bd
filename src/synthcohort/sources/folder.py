"""A folder of PNG, JPEG or TIFF images with a CSV table, for cohorts that have no download layout of their own.

Columns of the table, one row an image: `image` (path relative to the folder); optional `patient`, `group` (volume or
study), `slice_index`, `mask` (path), `spacing_mm` (side of a square pixel) and one column a finding: `label.<name>`, or
the columns named in the option `labels`, with values 0, 1 or empty.

Images are 8- or 16-bit, grey or RGB (16-bit RGB is read with the upper 8 bits). Mask pixels are class indices; with two
classes 0 and 255 are read as 0 and 1.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from .._checks import bad_label
from ..errors import BadOption, BadSource
from ..progress import say
from ..source import Source as _Contract
from ..types import Array, Record
from ._pictures import read_classes, read_picture
from ._table import Table, inside

_LABELS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}
_FIX = "Correct the table"


@dataclass(frozen=True)
class _Row:
    where: str
    image: Path
    mask: Path | None
    patient: str
    group: str
    slice_index: int
    spacing_mm: tuple[float, float] | None
    labels: dict[str, int | None]


class Source(_Contract):
    """Images listed in a table.

    Args:
        root: The folder.
        csv: The table, relative to the folder.
        labels: Columns that are findings although they are not called label.<name>.
        mask_classes: Class names by mask value, background first; needed when the table has masks.
        modality: What the images are, e.g. "fundus photograph".
        licence: Terms of the images.
        value_range: Intensities that become the lowest and the highest pixel value; the range of the file's type if
            empty.
        provenance: "synthetic" for images that a generator made elsewhere.

    Raises:
        BadSource: The folder or table is missing, or a row of it is not valid.
        BadOption: An option does not fit the table.
    """

    REVISION: ClassVar[int] = 2

    def __init__(
        self,
        root: Path,
        *,
        csv: Path = Path("samples.csv"),
        labels: tuple[str, ...] = (),
        mask_classes: tuple[str, ...] = (),
        modality: str = "image",
        licence: str = "not stated",
        value_range: tuple[float, ...] = (),
        provenance: Literal["real", "synthetic"] = "real",
    ) -> None:
        if value_range and (len(value_range) != 2 or not -math.inf < value_range[0] < value_range[1] < math.inf):
            raise BadOption("value_range is two increasing numbers", f"{value_range}", "Write value_range=0,4095")
        if not os.path.isdir(root):  # False, too, where it may not be looked at
            rule = "The source's folder must exist"
            raise BadSource(rule, "the path given is no folder", "Name the folder of the images")
        self.MODALITY, self.LICENCE, self.MASK_CLASSES = modality, licence, mask_classes
        self.PROVENANCE = provenance
        self.VALUE_RULE: dict[str, Any] = {"rule": "type_range"}
        if value_range:
            self.VALUE_RULE = {"rule": "fixed", "low": value_range[0], "high": value_range[1]}
        self._root, self._table = root, csv
        table = Table(inside(root, str(csv), "the option csv", _FIX), str(csv), _FIX)
        self._findings = _findings(table, labels)
        self.LABELS = tuple(self._findings)
        self._check_columns(table)
        self._said_synthetic: set[str] = set()
        self._rows = [self._row(table.place(line), row) for line, row in table.rows()]
        self._check_unique()
        self._check_provenance()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def parts(self) -> Sequence[_Row]:
        """Return the rows of the table."""
        return self._rows

    def read(self, part: _Row) -> Iterator[Record]:
        """Yield the image of a row.

        `image` is (1 or 3, H, W) uint8 or uint16, `mask` (H, W) uint8.

        Raises:
            BadSource: An image or mask cannot be read, or they do not fit together.
        """
        image = read_picture(part.image, f"the image of {part.where}", turned=part.mask is None)
        yield Record(
            patient=part.patient,
            group=part.group,
            image=image,
            mask=None
            if part.mask is None
            else self._read_mask(part.mask, f"the mask of {part.where}", image.shape[1:]),
            labels=part.labels,
            slice_index=part.slice_index,
            spacing_mm=part.spacing_mm,
        )

    def _check_columns(self, table: Table) -> None:
        table.need(("image", *self._findings.values()))
        columns = table.columns
        if ("mask" in columns) != bool(self.MASK_CLASSES):
            rule = "Masks and the names of their classes come together"
            have = "has masks but mask_classes is empty" if "mask" in columns else "has no column 'mask'"
            raise BadOption(rule, f"{self._table} {have}", "Write mask_classes=background,lesion or leave it out")
        if "patient" not in columns:
            say(
                f"Note: {self._table} has no column 'patient', so each image counts as its own patient; "
                "images of one person could then land in different splits."
            )

    def _row(self, where: str, row: dict[str, str]) -> _Row:
        def need(column: str, default: str) -> str:
            value = row.get(column, default)
            if not value:
                raise BadSource(f"Every row names its {column}", f"{where} does not", _FIX)
            return value

        self._said_synthetic.add(row.get("synthetic", "").lower())
        name = need("image", "")
        patient = need("patient", name)
        return _Row(
            where=where,
            image=inside(self._root, name, where, _FIX),
            mask=inside(self._root, need("mask", ""), where, _FIX) if self.MASK_CLASSES else None,
            patient=patient,
            group=need("group", name),
            slice_index=_whole(row.get("slice_index", "0"), where),
            spacing_mm=_spacing(row.get("spacing_mm", ""), where),
            labels={name: _label(row[column], column, where) for name, column in self._findings.items()},
        )

    def _check_provenance(self) -> None:
        """Raise when an export's own column says that images are real, and note when it says that they are made."""
        if self.PROVENANCE == "synthetic" and "false" in self._said_synthetic:
            offender = f"the column 'synthetic' of {self._table} says false"
            raise BadOption("Real images are not called synthetic", offender, "Leave provenance out")
        if self.PROVENANCE == "real" and "true" in self._said_synthetic:
            say(f"Note: {self._table} says that images are synthetic; --set provenance=synthetic keeps that.")

    def _check_unique(self) -> None:
        images = Counter(row.image for row in self._rows)
        places = Counter((row.patient, row.group, row.slice_index) for row in self._rows)
        for row in self._rows:
            if images[row.image] > 1:
                raise BadSource("An image is listed once", f"{row.where} repeats one", _FIX)
            if places[row.patient, row.group, row.slice_index] > 1:
                offender = f"{row.where} repeats patient, group and slice_index"
                raise BadSource("A slice of a group is listed once", offender, "Number the slices in slice_index")

    def _read_mask(self, path: Path, name: str, size: tuple[int, ...]) -> Array:
        values = read_classes(path, name)
        if values.shape != size:
            offender = f"{name} is {values.shape}, its image {size}"
            raise BadSource("A mask is one grey channel of its image's size", offender, "Replace it")
        present = set(np.unique(values).tolist())
        if len(self.MASK_CLASSES) == 2 and present <= {0, 255}:
            return np.asarray(values > 0, dtype=np.uint8)
        if not present <= set(range(len(self.MASK_CLASSES))):
            offender = f"{name} has {max(present)}, there are {len(self.MASK_CLASSES)} classes"
            raise BadSource("Mask values are class indices", offender, "Correct the mask or mask_classes")
        return values.astype(np.uint8)


def _findings(table: Table, labels: tuple[str, ...]) -> dict[str, str]:
    """Return finding -> column, first those of the option, then label.<name> in the order of the table."""
    found = [(name, name) for name in labels]
    found += [(column.removeprefix("label."), column) for column in table.columns if column.startswith("label.")]
    if any(not name for name, _ in found):
        raise BadSource("A finding has a name", f"{table.name} has a column 'label.'", "Write label.NAME")
    if wrong := [name for name, _ in found if bad_label(name)]:
        rule = "A finding is called by printable characters, and not 'mean', which is the mean of all"
        raise BadSource(rule, f"{table.name} has '{wrong[0]}'", "Give the column another name")
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise BadOption("A finding is named once", f"{table.name} and the option labels repeat '{twice[0]}'", _FIX)
    return dict(found)


def _whole(text: str, where: str) -> int:
    if not text.isdecimal() or len(text) > 9:  # 10 digits may overflow the table's integers
        raise BadSource(
            "slice_index is a whole number from 0, of at most 9 digits", f"{where} has something else", _FIX
        )
    return int(text)


def _spacing(text: str, where: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadSource("spacing_mm is a positive number or empty", f"{where} has something else", _FIX)
    return value, value


def _label(text: str, column: str, where: str) -> int | None:
    if text not in _LABELS:
        raise BadSource("A finding is 0, 1 or empty", f"{where} has something else in {column}", _FIX)
    return _LABELS[text]
