"""NIH ChestX-ray14: frontal chest radiographs with 14 findings that were read from their reports.

Layout (Wang et al., CVPR 2017): Data_Entry_2017_v2020.csv or the older Data_Entry_2017.csv, and the pictures in images/
or, as the twelve archives unpack, images_001/images/ to images_012/images/. Many keep a part of the pictures only:
rows whose picture is absent are left out and counted.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..errors import BadSource
from ..layouts import NIH_FINDINGS, NIH_NO_FINDING, NIH_SIZE, NIH_SPACING, NIH_TABLES
from ..progress import say
from ..source import Source as _Contract
from ..types import Record
from ._pictures import read_grey
from ._table import AGAIN, Table, inside, one_of

_SEX_COLUMNS = ("Patient Gender", "Patient Sex")
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position", *NIH_SIZE, *NIH_SPACING)
_LABELS = (*NIH_FINDINGS, NIH_NO_FINDING)
_PER_YEAR = {"Y": 1, "M": 12, "D": 365}
_OLDEST = 120
"""The older table has ages of up to 414 years; they are unknown, not true."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    picture: str
    patient: str
    findings: frozenset[str]
    attributes: tuple[tuple[str, str | int], ...]
    original: tuple[float, float, float, float] | None


class Source(_Contract):
    """The pictures that are there and in the table, one record each.

    Args:
        root: The folder that holds the table and the pictures.

    Attributes:
        LEFT_OUT: Why images of the table are not yielded -> how many.

    Raises:
        BadSource: The folder, its table or all of its pictures are missing, or a row of the table is not valid.
    """

    MODALITY = "chest radiograph, frontal"
    LICENCE = (
        "no restriction on use; name the NIH Clinical Center as provider and cite Wang et al., CVPR 2017 (ChestX-ray8)"
    )
    MASK_CLASSES: tuple[str, ...] = ()
    LABELS: tuple[str, ...] = _LABELS
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "type_range"}

    def __init__(self, root: Path) -> None:
        self._root = root
        self._table = _table(root)
        sexes = [column for column in _SEX_COLUMNS if column in self._table.columns]
        self._table.need((*_COLUMNS, *(sexes or _SEX_COLUMNS[:1])))
        pictures = _pictures(root)
        rows = list(self._read(pictures, (sexes or _SEX_COLUMNS)[0]))
        self._rows = [row for row in rows if row.picture]
        self.LEFT_OUT: dict[str, int] = (
            {"no picture": len(rows) - len(self._rows)} if len(self._rows) < len(rows) else {}
        )
        if rows and not self._rows:
            offender = f"none of the {len(rows)} rows of {self._table.name} has one"
            raise BadSource("The pictures lie in images/ or images_NNN/images/", offender, "Unpack the archives there")
        if len(pictures) > len(self._rows):
            say(f"Note: {len(pictures) - len(self._rows)} pictures are not in {self._table.name} and are left out.")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def parts(self) -> Sequence[_Row]:
        """Return the rows of the table that have a picture, in its order."""
        return self._rows

    def read(self, part: _Row) -> Iterator[Record]:
        """Yield the image of a row.

        `image` is (1, H, W) uint8, `group` the image itself, `attributes` what is known of view (AP, PA), sex (F, M)
        and age in years, `spacing_mm` that of the original scaled to the size of the picture.

        Raises:
            BadSource: A picture cannot be read.
        """
        where = self._table.place(part.line)
        image = read_grey(inside(self._root, part.picture, where, AGAIN), f"image of {where}")
        yield Record(
            patient=part.patient,
            group=Path(part.picture).stem,
            image=image,
            labels={name: int(name in part.findings) for name in _LABELS},
            attributes=dict(part.attributes),
            spacing_mm=_spacing(part.original, image.shape[1:]),
        )

    def _read(self, pictures: dict[str, str], sex: str) -> Iterator[_Row]:
        seen: set[str] = set()
        known: dict[str, frozenset[str]] = {}
        for line, cells in self._table.rows():
            where, name, labels = self._table.place(line), cells["Image Index"], cells["Finding Labels"]
            if name in seen:
                raise BadSource("An image is listed once", f"{where} repeats one", AGAIN)
            seen.add(name)
            if not cells["Patient ID"] or not name:
                raise BadSource("Every row names its image and patient", f"{where} does not", AGAIN)
            if labels not in known:
                known[labels] = _findings(labels, where)
            found = {
                "view": one_of(("AP", "PA"), cells["View Position"], f"View Position in {where}"),
                "sex": one_of(("F", "M"), cells[sex], f"{sex} in {where}"),
                "age": _age(cells["Patient Age"], where),
            }
            attributes = tuple((key, value) for key, value in found.items() if value not in ("", None))
            original = _original([cells[column] for column in (*NIH_SIZE, *NIH_SPACING)], where)
            patient = cells["Patient ID"].zfill(8)
            own = name.partition("_")[0]
            if own.isdecimal() and own != patient:
                raise BadSource("A picture is called by its patient's id", f"{where} has another Patient ID", AGAIN)
            yield _Row(line, pictures.get(name, ""), patient, known[labels], attributes, original)


def _table(root: Path) -> Table:
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the ChestX-ray14 download")
    found = [name for name in NIH_TABLES if os.path.isfile(root / name)]
    if not found:
        raise BadSource("The download has a table of its images", f"the path given has no {NIH_TABLES[0]}", AGAIN)
    return Table(root / found[0], found[0], AGAIN)


def _pictures(root: Path) -> dict[str, str]:
    """Return the name of each picture -> its path below the root."""
    found: dict[str, str] = {}
    parts = sorted(name for name in _listed(root) if name.startswith("images"))
    for part in [*parts, *(f"{part}/images" for part in parts)]:
        folder = root / part
        names = [name for name in _listed(folder) if name.endswith(".png")]
        twice = next((name for name in names if name in found), None)
        if twice:
            offender = f"{Path(found[twice]).parent} and {part} hold the same one"
            raise BadSource("A picture is there once", offender, "Remove one of them")
        found.update({name: f"{part}/{name}" for name in names})
    return found


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder; none where it is absent or something else."""
    try:
        return os.listdir(folder) if os.path.isdir(folder) else []
    except OSError as error:
        raise BadSource("The folders of pictures can be listed", "one cannot", "Check its permissions") from error


def _findings(text: str, where: str) -> frozenset[str]:
    found = frozenset(text.split("|"))
    if not found <= {*_LABELS}:
        raise BadSource("A finding is one of the 14 or 'No Finding'", f"{where} has another", AGAIN)
    if NIH_NO_FINDING in found and len(found) > 1:
        raise BadSource("'No Finding' stands alone", f"{where} has others beside it", AGAIN)
    return found


def _age(text: str, where: str) -> int | None:
    """Return whole years; the older table writes 058Y, 011M or 013D."""
    match = re.fullmatch(r"([0-9]{1,4})([YMD]?)", text)
    if text and match is None:
        raise BadSource(
            "Patient Age is a whole number, with Y, M or D or without", f"{where} has something else", AGAIN
        )
    years = int(match[1]) // _PER_YEAR[match[2] or "Y"] if match else None
    return years if years is not None and years <= _OLDEST else None


def _original(texts: list[str], where: str) -> tuple[float, float, float, float] | None:
    """Return width, height and the spacing in x and y of the original, or None when one of them is not stated."""
    if not all(texts):
        return None
    try:
        width, height, x_mm, y_mm = (float(text) for text in texts)
    except ValueError:
        width = height = x_mm = y_mm = math.nan
    if not all(0 < value < math.inf for value in (width, height, x_mm, y_mm)):
        raise BadSource("Size and spacing of an original are positive", f"{where} has others", AGAIN)
    return width, height, x_mm, y_mm


def _spacing(original: tuple[float, float, float, float] | None, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Return (y, x) millimetres a pixel: a picture smaller than its original shows the same field with fewer pixels."""
    if original is None:
        return None
    width, height, x_mm, y_mm = original
    return y_mm * height / shape[0], x_mm * width / shape[1]
