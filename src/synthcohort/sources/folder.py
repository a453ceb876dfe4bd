"""A folder of PNG, JPEG or TIFF images with a CSV table, for cohorts that have no download layout of their own.

Columns of the table, one row an image: `image` (path relative to the folder); optional `patient`, `group` (volume or
study), `slice_index`, `mask` (path), `spacing_mm` (side of a square pixel) and one column a finding: `label.<name>`, or
the columns named in the option `labels`, with values 0, 1 or empty.

Images are 8- or 16-bit, grey or RGB (16-bit RGB is read with the upper 8 bits). Mask pixels are class indices; with two
classes 0 and 255 are read as 0 and 1.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageOps

from ..errors import BadOption, BadSource
from ..progress import say
from ..types import Array, Record

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_LABELS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}
_FIX = "Correct the table"


@dataclass(frozen=True)
class _Row:
    line: int
    image: Path
    mask: Path | None
    patient: str
    group: str
    slice_index: int
    spacing_mm: tuple[float, float] | None
    labels: dict[str, int | None]


class Source:
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

    REVISION: ClassVar[int] = 1

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
        if not root.is_dir():
            raise BadSource("The source's folder must exist", f"{root} is no folder", "Name the folder of the images")
        self.MODALITY, self.LICENCE, self.MASK_CLASSES = modality, licence, mask_classes
        self.PROVENANCE = provenance
        self.VALUE_RULE: dict[str, Any] = {"rule": "type_range"}
        if value_range:
            self.VALUE_RULE = {"rule": "fixed", "low": value_range[0], "high": value_range[1]}
        self._root, self._table = root, csv
        columns, cells = _read_table(_inside(root, str(csv), "the option csv"), csv)
        self._findings = {name: name for name in labels} | {
            column.removeprefix("label."): column for column in columns if column.startswith("label.")
        }
        self.LABELS = tuple(self._findings)
        self._check_columns(columns)
        self._rows = [self._row(line, row) for line, row in enumerate(cells, start=2)]
        self._check_unique()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def records(self) -> Iterator[Record]:
        """Yield the images in the order of the table, one in memory at a time.

        `image` is (1 or 3, H, W) uint8 or uint16, `mask` (H, W) uint8, `stratum` the findings that are present.

        Raises:
            BadSource: An image or mask cannot be read, or they do not fit together.
        """
        for row in self._rows:
            image = self._read_image(row.image)
            yield Record(
                patient=row.patient,
                group=row.group,
                image=image,
                mask=None if row.mask is None else self._read_mask(row.mask, image.shape[1:]),
                labels=row.labels,
                slice_index=row.slice_index,
                spacing_mm=row.spacing_mm,
                stratum="|".join(name for name, value in row.labels.items() if value == 1),
            )

    def _check_columns(self, columns: list[str]) -> None:
        for column in ("image", *self._findings.values()):
            if column not in columns:
                raise BadSource(
                    "The table has the columns it needs", f"{self._table} lacks '{column}'", "Add the column"
                )
        if ("mask" in columns) != bool(self.MASK_CLASSES):
            rule = "Masks and the names of their classes come together"
            have = "has masks but mask_classes is empty" if "mask" in columns else "has no column 'mask'"
            raise BadOption(rule, f"{self._table} {have}", "Write mask_classes=background,lesion or leave it out")
        if "patient" not in columns:
            say(
                f"Note: {self._table} has no column 'patient', so each image counts as its own patient; "
                "images of one person could then land in different splits."
            )

    def _row(self, line: int, row: dict[str, str]) -> _Row:
        def need(column: str, default: str) -> str:
            value = row.get(column, default).strip()
            if not value:
                raise BadSource(f"Every row names its {column}", f"line {line} of {self._table} does not", _FIX)
            return value

        where = f"line {line} of {self._table}"
        name = need("image", "")
        patient = need("patient", name)
        return _Row(
            line=line,
            image=_inside(self._root, name, where),
            mask=_inside(self._root, need("mask", ""), where) if self.MASK_CLASSES else None,
            patient=patient,
            group=need("group", name),
            slice_index=_whole(row.get("slice_index", "0"), where),
            spacing_mm=_spacing(row.get("spacing_mm", ""), where),
            labels={name: _label(row[column], column, where) for name, column in self._findings.items()},
        )

    def _check_unique(self) -> None:
        images = Counter(row.image for row in self._rows)
        places = Counter((row.patient, row.group, row.slice_index) for row in self._rows)
        for row in self._rows:
            if images[row.image] > 1:
                raise BadSource("An image is listed once", f"line {row.line} of {self._table} repeats one", _FIX)
            if places[row.patient, row.group, row.slice_index] > 1:
                offender = f"line {row.line} of {self._table} repeats patient, group and slice_index"
                raise BadSource("A slice of a group is listed once", offender, "Number the slices in slice_index")

    def _read_image(self, path: Path) -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(path) as opened:
                    frames, picture = getattr(opened, "n_frames", 1), ImageOps.exif_transpose(opened)
                    values = None if frames > 1 else _pixels(picture)
            except _UNREADABLE as error:
                raise BadSource(
                    "An image must be a readable PNG, JPEG or TIFF", self._name(path), "Replace it"
                ) from error
        if values is None:
            rule = "An image is one 8- or 16-bit picture, grey or RGB, without transparency"
            raise BadSource(rule, f"{self._name(path)} has mode {picture.mode}, {frames} frames", "Convert it")
        return values

    def _read_mask(self, path: Path, size: tuple[int, ...]) -> Array:
        try:
            with Image.open(path) as opened:
                values = np.asarray(opened)
        except _UNREADABLE as error:
            raise BadSource("A mask must be a readable picture", self._name(path), "Replace it") from error
        if values.shape != size:
            offender = f"{self._name(path)} is {values.shape}, its image {size}"
            raise BadSource("A mask is one grey channel of its image's size", offender, "Replace it")
        present = set(np.unique(values).tolist())
        if len(self.MASK_CLASSES) == 2 and present <= {0, 255}:
            return np.asarray(values > 0, dtype=np.uint8)
        if not present <= set(range(len(self.MASK_CLASSES))):
            offender = f"{self._name(path)} has {max(present)}, there are {len(self.MASK_CLASSES)} classes"
            raise BadSource("Mask values are class indices", offender, "Correct the mask or mask_classes")
        return values.astype(np.uint8)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root.resolve()))


def _read_table(path: Path, name: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, restval="", restkey="")
            columns, rows = [column.strip() for column in reader.fieldnames or []], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadSource("The folder has a readable table of its images", f"no valid {name}", "Write one") from error
    if len(set(columns)) < len(columns):
        raise BadSource("A column is there once", f"{name} repeats one", _FIX)
    if any("" in row for row in rows):
        raise BadSource("No row is longer than the header", f"{name} has one", _FIX)
    return columns, [dict(zip(columns, row.values(), strict=True)) for row in rows]


def _inside(root: Path, name: str, where: str) -> Path:
    """Return root/name, and refuse names that lead out of the folder, by .., an absolute path or a link."""
    try:
        path = (root / name).resolve()
        safe = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a name too long, a circle of links
        safe = False
    if not safe:
        raise BadSource("Files are named relative to the folder and lie in it", f"{where} leads elsewhere", _FIX)
    return path


def _whole(text: str, where: str) -> int:
    if not text.strip().isdecimal() or len(text.strip()) > 9:  # 10 digits may overflow the table's integers
        raise BadSource("slice_index is a whole number from 0, of at most 9 digits", f"{where} has '{text}'", _FIX)
    return int(text)


def _spacing(text: str, where: str) -> tuple[float, float] | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadSource("spacing_mm is a positive number or empty", f"{where} has '{text}'", _FIX)
    return value, value


def _label(text: str, column: str, where: str) -> int | None:
    if text.strip() not in _LABELS:
        raise BadSource("A finding is 0, 1 or empty", f"{where} has '{text}' in {column}", _FIX)
    return _LABELS[text.strip()]


def _pixels(picture: Image.Image) -> Array | None:
    """Return a picture as (1 or 3, H, W) uint8 or uint16, or None when it has another form."""
    if picture.mode in ("RGBA", "LA") and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])
    if picture.mode in ("P", "CMYK", "YCbCr", "1"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    values = np.asarray(picture)
    if picture.mode == "L":
        return values[None]
    if picture.mode == "RGB":
        return np.ascontiguousarray(values.transpose(2, 0, 1))
    if picture.mode.startswith("I") and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)[None]
    return None
