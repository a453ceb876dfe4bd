"""CheXpert: chest radiographs with 14 findings that were read from their reports, some of them as uncertain.

Layout (Irvin et al., AAAI 2019): CheXpert-v1.0-small or CheXpert-v1.0 holds train.csv, valid.csv and
train/patientNNNNN/studyN/viewN_frontal.jpg. Read as DuMont Schütte et al. (npj Digital Medicine 2021) read it:
train.csv only, the first two views of a study if they are frontal, uncertain findings as present, images without any
finding (not even "No Finding") left out. Not read: valid.csv and the lateral views.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..errors import BadSource
from ..layouts import CHEXPERT_FINDINGS, CHEXPERT_ROOTS, CHEXPERT_TABLES
from ..source import Source as _Contract
from ..types import Record
from ._pictures import read_grey
from ._table import AGAIN, Table, inside, one_of

_TABLE = CHEXPERT_TABLES[0]
_PATH = re.compile(
    rf"(?:{'|'.join(map(re.escape, CHEXPERT_ROOTS))})/"
    rf"({Path(_TABLE).stem}/patient[0-9]+/study[0-9]+/view([0-9]{{1,9}})_(frontal|lateral)\.jpg)"
)
_LAST_VIEW = 2
_CERTAIN = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
_UNCERTAIN = ("-1", "-1.0")
_AS: dict[str, int | None] = {"ones": 1, "zeros": 0, "ignore": None}
_SEX = {"Female": "F", "Male": "M", "Unknown": "", "": ""}
_VIEWS = ("AP", "PA", "LL", "RL")

_Findings = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    number: int
    findings: _Findings
    sex: str
    age: int | None
    view: str


class Source(_Contract):
    """The frontal images of the training table, one record an image.

    Args:
        root: The folder that holds CheXpert-v1.0-small or CheXpert-v1.0, or that folder itself.
        uncertain: What a finding that the reports leave open (-1) becomes: present, absent or unknown.
        unlabelled: Whether images that then have no finding, known or unknown, are left out.

    Attributes:
        LEFT_OUT: Why images of the table are not yielded -> how many.

    Raises:
        BadSource: The folder or its table is missing, or a row of it is not valid.
    """

    MODALITY = "chest radiograph, frontal"
    LICENCE = (
        "Stanford University data set research use agreement (CheXpert): non-commercial research only, the data may "
        "not be passed on; cite Irvin et al., AAAI 2019"
    )
    MASK_CLASSES: tuple[str, ...] = ()
    LABELS: tuple[str, ...] = CHEXPERT_FINDINGS
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "type_range"}

    def __init__(
        self,
        root: Path,
        *,
        uncertain: Literal["ones", "zeros", "ignore"] = "ones",
        unlabelled: Literal["drop", "keep"] = "drop",
    ) -> None:
        self._root = _folder(root)
        self._table = Table(self._root / _TABLE, _TABLE, AGAIN)
        self._table.need(("Path", "Sex", "Age", "AP/PA", *CHEXPERT_FINDINGS))
        self._values: dict[str, int | None] = {**_CERTAIN, **dict.fromkeys(_UNCERTAIN, _AS[uncertain])}
        left_out: Counter[str] = Counter()
        self._rows = list(self._read(left_out, drop=unlabelled == "drop"))
        self.LEFT_OUT: dict[str, int] = dict(left_out)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def parts(self) -> Sequence[_Row]:
        """Return the rows of the table that are read, in its order."""
        return self._rows

    def read(self, part: _Row) -> Iterator[Record]:
        """Yield the image of a row.

        `image` is (1, H, W) uint8, `group` patient and study, `slice_index` the number of the view in the study,
        `attributes` what is known of view (AP, PA, LL, RL), sex (F, M) and age in years.

        Raises:
            BadSource: An image is absent or cannot be read.
        """
        _, patient, study, _ = part.path.split("/")
        where = self._table.place(part.line)
        known = {"view": part.view or None, "sex": part.sex or None, "age": part.age}
        yield Record(
            patient=patient,
            group=f"{patient}/{study}",
            image=read_grey(inside(self._root, part.path, where, AGAIN), f"image of {where}"),
            labels=dict(zip(CHEXPERT_FINDINGS, part.findings, strict=True)),
            attributes={name: value for name, value in known.items() if value is not None},
            slice_index=part.number,
        )

    def _read(self, left_out: Counter[str], *, drop: bool) -> Iterator[_Row]:
        seen: set[str] = set()
        known: dict[tuple[str, ...], _Findings] = {}  # 14 cells hold few combinations and there are 200,000 rows
        for line, cells in self._table.rows():
            where = self._table.place(line)
            match = _PATH.fullmatch(cells["Path"])
            if match is None:
                rule = f"A Path is {CHEXPERT_ROOTS[0]}/{Path(_TABLE).stem}/patientN/studyN/viewN_frontal.jpg"
                raise BadSource(rule, f"that of {where} is not", AGAIN)
            path, number, kind = match.groups()
            if path in seen:
                raise BadSource("An image is listed once", f"{where} repeats one", AGAIN)
            seen.add(path)
            texts = tuple([cells[name] for name in CHEXPERT_FINDINGS])
            if texts not in known:
                known[texts] = self._findings(texts, where)
            reason = _reason(kind, int(number), unlabelled=drop and not any(value != 0 for value in known[texts]))
            if reason:
                left_out[reason] += 1
                continue
            sex = _SEX[one_of(_SEX, cells["Sex"], f"Sex in {where}")]
            view = one_of(_VIEWS, cells["AP/PA"], f"AP/PA in {where}")
            yield _Row(line, path, int(number), known[texts], sex, _age(cells["Age"], where), view)

    def _findings(self, texts: tuple[str, ...], where: str) -> _Findings:
        for name, text in zip(CHEXPERT_FINDINGS, texts, strict=True):
            if text not in self._values:
                raise BadSource("A finding is 1, 0, -1 or blank", f"{where} has something else in {name}", AGAIN)
        return tuple(self._values[text] for text in texts)


def _folder(root: Path) -> Path:
    """Return the folder that holds the table: `root` itself or the one download in it."""
    if not root.is_dir():
        raise BadSource(
            "The source's folder must exist", f"{root} is no folder", "Name the folder of the CheXpert download"
        )
    found = [folder for folder in (root, *(root / name for name in CHEXPERT_ROOTS)) if (folder / _TABLE).is_file()]
    if not found:
        layout = f"{root} has no {CHEXPERT_ROOTS[0]}/{_TABLE}"
        raise BadSource(
            "The CheXpert download has a table of its images",
            layout,
            f"Name the folder that holds '{CHEXPERT_ROOTS[0]}'",
        )
    if len(found) > 1:
        offender = f"{root} holds {' and '.join(folder.name for folder in found)}"
        raise BadSource("One download is read at a time", offender, "Name one of them")
    return found[0]


def _reason(kind: str, number: int, *, unlabelled: bool) -> str:
    """Return why an image is left out, or nothing."""
    if kind == "lateral":
        return "lateral view"
    if number > _LAST_VIEW:
        return "frontal view after the second"
    return "no finding stated" if unlabelled else ""


def _age(text: str, where: str) -> int | None:
    if text and not re.fullmatch(r"[0-9]{1,3}(\.0)?", text):
        raise BadSource("Age is in whole years", f"{where} has something else", AGAIN)
    return int(float(text)) if text else None
