"""CheXpert: chest radiographs with 14 findings that were read from their reports, some of them as uncertain.

Layout (Irvin et al., AAAI 2019): CheXpert-v1.0-small or CheXpert-v1.0 holds train.csv, valid.csv and
train/patientNNNNN/studyN/viewN_frontal.jpg. By default read as the code of DuMont Schütte et al. (npj Digital Medicine
2021) read it: train.csv only, the first two views of a study if they are frontal, uncertain findings as present, images
without any finding (not even "No Finding") left out. The patients of valid.csv, whose findings radiologists read, are
the download's test split: nothing else in it can be tested on.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..errors import BadOption, BadSource
from ..layouts import CHEXPERT_FINDINGS, CHEXPERT_ROOTS, CHEXPERT_TABLES
from ..source import Source as _Contract
from ..types import Record
from ._pictures import read_grey
from ._table import AGAIN, Table, inside, one_of

_PATH = re.compile(
    rf"(?:{'|'.join(map(re.escape, CHEXPERT_ROOTS))})/"
    r"(([a-z]+)/(patient[0-9]+)/study[0-9]+/view([0-9]{1,9})_(frontal|lateral)\.jpg)"
)
_SPLITS = dict(zip(CHEXPERT_TABLES, ("train", "test"), strict=True))
_LAST_VIEW = 2
_CERTAIN = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
_UNCERTAIN = ("-1", "-1.0")
_AS: dict[str, int | None] = {"ones": 1, "zeros": 0, "ignore": None}
_SEX = {"Female": "F", "Male": "M", "Unknown": "", "": ""}
_POSITIONS = ("AP", "PA", "LL", "RL")
_MODALITY = {
    "first_two_frontal": "chest radiograph, frontal",
    "frontal": "chest radiograph, frontal",
    "lateral": "chest radiograph, lateral",
    "all": "chest radiograph",
}

_Findings = tuple[int | None, ...]
_Views = Literal["first_two_frontal", "frontal", "lateral", "all"]


@dataclass(frozen=True, slots=True)
class _Row:
    table: str
    line: int
    path: str
    number: int
    findings: _Findings
    sex: str
    age: int | None
    view: str


class Source(_Contract):
    """The images of the training table, the validation table or both, one record an image.

    Args:
        root: The folder that holds CheXpert-v1.0-small or CheXpert-v1.0, or that folder itself.
        views: Which images are read: those of study 003's code, all frontal, all lateral, or both kinds.
        position: Whether only frontal images are read that were taken from front to back (AP) or back to front (PA).
        tables: The table that is read. With "all", `prepare --split official` tests on the patients of valid.csv.
        uncertain: What a finding that the reports leave open (-1) becomes: present, absent or unknown.
        unlabelled: Whether images that then have no finding, known or unknown, are left out.

    Attributes:
        LEFT_OUT: Why images of the tables are not yielded -> how many.

    Raises:
        BadSource: The folder or a table is missing, or a row of one is not valid.
        BadOption: A position is asked of lateral images.
    """

    LICENCE = (
        "Stanford University data set research use agreement (CheXpert): non-commercial research only, the data may "
        "not be passed on; cite Irvin et al., AAAI 2019"
    )
    NOTICE = (
        "Made from CheXpert, whose Stanford agreement is for non-commercial research and forbids passing the data on. "
        "Synthetic images, and weights trained on it, may fall under it: ask Stanford before sharing them."
    )
    MASK_CLASSES: tuple[str, ...] = ()
    LABELS: tuple[str, ...] = CHEXPERT_FINDINGS
    REVISION: ClassVar[int] = 2
    VALUE_RULE: Mapping[str, Any] = {"rule": "type_range"}
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # The text of study 003 names no pool for its least number of images; its table S1 gives 256 as the smallest
        # number of training images of a combination. Views, images that state no finding and the way to a square are in
        # its code only.
        "paper": {
            "shares": (0.8, 0.1, 0.1, 0.0),
            "split": "stratified",
            "min_combination_images": 256,
            "count_combinations": "train",
            "assumed": ("count_combinations", "geometry", "intensity", "resize", "unlabelled", "views"),
        },
        "code": {
            "shares": (0.8, 0.1, 0.1, 0.0),
            "split": "plain",
            "min_combination_images": 257,
            "count_combinations": "pool",
            "geometry": "stretch",
            "intensity": "slice_maximum",
            "resize": "pyramid",
        },
    }

    def __init__(
        self,
        root: Path,
        *,
        views: _Views = "first_two_frontal",
        position: Literal["any", "AP", "PA"] = "any",
        tables: Literal["train", "valid", "all"] = "train",
        uncertain: Literal["ones", "zeros", "ignore"] = "ones",
        unlabelled: Literal["drop", "keep"] = "drop",
    ) -> None:
        if position != "any" and views in ("lateral", "all"):
            raise BadOption("AP and PA are positions of frontal images", f"views {views}", "Choose views=frontal")
        names = [name for name in CHEXPERT_TABLES if tables in ("all", Path(name).stem)]
        self._root, self._views, self._position = _folder(root, names), views, position
        self.MODALITY = _MODALITY[views]
        self._values: dict[str, int | None] = {**_CERTAIN, **dict.fromkeys(_UNCERTAIN, _AS[uncertain])}
        left_out: Counter[str] = Counter()
        read = {name: self._read(name, left_out, drop=unlabelled == "drop") for name in names}
        _disjoint(read)
        self._rows = [row for rows in read.values() for row in rows]
        self.LEFT_OUT: dict[str, int] = dict(left_out)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def parts(self) -> Sequence[_Row]:
        """Return the rows that are read, in the order of their tables."""
        return self._rows

    def read(self, part: _Row) -> Iterator[Record]:
        """Yield the image of a row.

        `image` is (1, H, W) uint8, `group` patient and study, `slice_index` the number of the view in the study,
        `attributes` what is known of view (AP, PA, LL, RL), sex (F, M) and age in years, `split` "train" for train.csv
        and "test" for valid.csv.

        Raises:
            BadSource: An image is absent or cannot be read.
        """
        _, patient, study, _ = part.path.split("/")
        where = f"line {part.line} of {part.table}"
        known = {"view": part.view or None, "sex": part.sex or None, "age": part.age}
        yield Record(
            patient=patient,
            group=f"{patient}/{study}",
            image=read_grey(inside(self._root, part.path, where, AGAIN), f"image of {where}"),
            labels=dict(zip(CHEXPERT_FINDINGS, part.findings, strict=True)),
            attributes={name: value for name, value in known.items() if value is not None},
            slice_index=part.number,
            split=_SPLITS[part.table],
        )

    def _read(self, name: str, left_out: Counter[str], *, drop: bool) -> list[_Row]:
        table = Table(self._root / name, name, AGAIN)
        table.need(("Path", "Sex", "Age", "AP/PA", *CHEXPERT_FINDINGS))
        rows: list[_Row] = []
        seen: set[str] = set()
        known: dict[tuple[str, ...], _Findings] = {}  # 14 cells hold few combinations and there are 200,000 rows
        for line, cells in table.rows():
            where = table.place(line)
            match = _PATH.fullmatch(cells["Path"])
            if match is None or match[2] != Path(name).stem:
                rule = f"A Path is {CHEXPERT_ROOTS[0]}/{Path(name).stem}/patientN/studyN/viewN_frontal.jpg"
                raise BadSource(rule, f"that of {where} is not", AGAIN)
            path, number, kind = match[1], int(match[4]), match[5]
            if path in seen:
                raise BadSource("An image is listed once", f"{where} repeats one", AGAIN)
            seen.add(path)
            texts = tuple([cells[name] for name in CHEXPERT_FINDINGS])
            if texts not in known:
                known[texts] = self._findings(texts, where)
            reason = self._reason(kind, number, unlabelled=drop and not any(value != 0 for value in known[texts]))
            if reason:
                left_out[reason] += 1
                continue
            sex = _SEX[one_of(_SEX, cells["Sex"], f"Sex in {where}")]
            view = one_of(_POSITIONS, cells["AP/PA"], f"AP/PA in {where}")
            age = _age(cells["Age"], where)
            if self._position in ("any", view):
                rows.append(_Row(name, line, path, number, known[texts], sex, age, view))
            else:
                left_out[f"not taken {self._position}"] += 1
        return rows

    def _reason(self, kind: str, number: int, *, unlabelled: bool) -> str:
        """Return why an image is left out, or nothing."""
        if self._views != "all" and (kind == "lateral") != (self._views == "lateral"):
            return f"{kind} view"
        if self._views == "first_two_frontal" and number > _LAST_VIEW:
            return "frontal view after the second"
        return "no finding stated" if unlabelled else ""

    def _findings(self, texts: tuple[str, ...], where: str) -> _Findings:
        for name, text in zip(CHEXPERT_FINDINGS, texts, strict=True):
            if text not in self._values:
                raise BadSource("A finding is 1, 0, -1 or blank", f"{where} has something else in {name}", AGAIN)
        return tuple(self._values[text] for text in texts)


def _folder(root: Path, tables: Sequence[str]) -> Path:
    """Return the folder that holds the tables: `root` itself or the one download in it."""
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the CheXpert download")
    folders = [root, *(root / name for name in CHEXPERT_ROOTS)]
    found = [folder for folder in folders if all(os.path.isfile(folder / table) for table in tables)]
    if not found:
        layout = f"the path given has no {CHEXPERT_ROOTS[0]}/{' and '.join(tables)}"
        raise BadSource(
            "The CheXpert download has a table of its images",
            layout,
            f"Name the folder that holds '{CHEXPERT_ROOTS[0]}'",
        )
    if len(found) > 1:
        names = " and ".join(folder.name for folder in found if folder != root)
        offender = f"the path given holds {names}" if root not in found else f"the path given is one and holds {names}"
        raise BadSource("One download is read at a time", offender, "Name one of them")
    return found[0]


def _disjoint(read: Mapping[str, Sequence[_Row]]) -> None:
    """Raise when a patient stands in two tables, one of which is tested on."""
    owner: dict[str, str] = {}
    for name, rows in read.items():
        for row in rows:
            if owner.setdefault(row.path.split("/")[1], name) != name:
                raise BadSource("A patient is in one table", f"line {row.line} of {name} names one of another", AGAIN)


def _age(text: str, where: str) -> int | None:
    if text and not re.fullmatch(r"[0-9]{1,3}(\.0)?", text):
        raise BadSource("Age is in whole years", f"{where} has something else", AGAIN)
    return int(float(text)) if text else None
