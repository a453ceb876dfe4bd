"""RSNA 2019 brain CT haemorrhage: head CT slices with five types of bleeding.

Layout (Flanders et al., Radiology: Artificial Intelligence 2020; Kaggle): rsna-intracranial-hemorrhage-detection holds
stage_2_train.csv and stage_2_train/ID_<hex>.dcm. The table has the columns ID and Label and six rows an image, one for
each type and one for "any"; ID = ID_<hex>_<type>. They may stand in any order. A label above 0 is present, as in study
003. Patients, studies and series stand in the DICOM headers only. Not read: the test images, whose labels were
never published in this form.

Some files of one scanner hide negative values as large ones; `synthcohort.dicom` says how they are found.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import compute, csv

from ..dicom import open_dicom
from ..errors import BadSource
from ..layouts import RSNA_CORRUPT, RSNA_FOLDERS, RSNA_ROOT, RSNA_SUBTYPES, RSNA_TABLES
from ..progress import say
from ..source import Source as _Contract
from ..types import Array, LeftOut, Record
from ._slices import record
from ._table import AGAIN

_FINDINGS, _NONE = RSNA_SUBTYPES[:-1], "no_finding"
_ALL = (1 << len(RSNA_SUBTYPES)) - 1
_ANY = 1 << len(_FINDINGS)
_ID = rf"^ID_(?P<image>[0-9a-f]{{1,15}})_(?P<type>{'|'.join(RSNA_SUBTYPES)})$"
_FILE = re.compile(r"ID_([0-9a-f]{1,15})\.dcm")
_LABEL = r"^(0(\.\d+)?|1(\.0+)?)$"
_WINDOW_LOW, _WINDOW_HIGH = 0, 80


class Source(_Contract):
    """The labelled slices, one record a file.

    Args:
        root: The folder that holds rsna-intracranial-hemorrhage-detection, or that folder itself.

    Attributes:
        LEFT_OUT: Why images of the table or of the folder are not yielded -> how many.

    Raises:
        BadSource: The folder or its table is missing, or a row of it is not valid.
    """

    MODALITY = "head CT"
    LICENCE = (
        "RSNA Brain CT Hemorrhage Dataset, copyright RSNA 2019: non-commercial purposes such as academic research and "
        "education only, nobody in it may be identified; cite Flanders et al., Radiology: Artificial Intelligence 2020"
    )
    NOTICE = (
        "The terms of the RSNA set allow non-commercial use only, and whoever shares its data in any form cites it. "
        "See whether they, and Kaggle's if it came from there, allow what images derived from it are meant for."
    )
    LABELS: tuple[str, ...] = (*_FINDINGS, _NONE)
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "dicom_window", "low": _WINDOW_LOW, "high": _WINDOW_HIGH}
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Study 003 and its code start from pictures that others had made, with a window that is nowhere stated. Its
        # text names no pool for the least number of images; its table S1 counts training images, as the settings do.
        # Its code starts from pictures of 128 px, and keeps 107,365 slices without a finding, which is nearly as many
        # as there are with one.
        "paper": {
            "shares": (0.8, 0.1, 0.1, 0.0),
            "split": "stratified",
            "min_combination_images": 100,
            "count_combinations": "train",
            "balance": "no_finding",
            "assumed": ("count_combinations", "geometry", "intensity", "resize"),
        },
        "code": {
            "shares": (0.8, 0.1, 0.1, 0.0),
            "split": "plain",
            "min_combination_images": 111,
            "balance": "no_finding",
            "resize": "pyramid",
            "assumed": ("geometry", "intensity", "resize"),
        },
    }

    def __init__(self, root: Path) -> None:
        self._folder, table = _layout(root)
        names, labels, unfit = _labelled(table)
        stored = _stored(self._folder)
        unfit["no image file"] = ~np.isin(names, stored, assume_unique=True)
        left = np.zeros(len(names), bool)
        self.LEFT_OUT: dict[str, int] = {}
        for reason, which in unfit.items():
            self._leave_out(reason, which & ~left)
            left |= which
        self._leave_out("no row in the table", ~np.isin(stored, names, assume_unique=True))
        order = np.flatnonzero(~left)
        order = order[np.argsort(names[order])]
        self._names, self._labels = names[order], labels[order]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._names)

    def _leave_out(self, reason: str, which: Array) -> None:
        if count := int(which.sum()):
            self.LEFT_OUT[reason] = count

    def parts(self) -> Sequence[int]:
        """Return the positions of the images, which are ordered by name."""
        return range(len(self._names))

    def read(self, part: int) -> Iterator[Record | LeftOut]:
        """Yield an image.

        `image` is (1, y, x) float32 HU, `group` the series, `slice_index` sorts its slices and has gaps, `window` the
        first of the header.

        Raises:
            BadSource: A file is damaged or is not the image that its name says.
        """
        image = _image(int(self._names[part]))
        name = f"{self._folder.name}/{image}.dcm"
        with open_dicom(self._folder / f"{image}.dcm", name) as file:
            if not file.patient:
                yield LeftOut("no PatientID")
                return
            if file.instance not in ("", image):
                raise BadSource("A file is the image that its name says", f"{name} is another", AGAIN)
            held = int(self._labels[part])
            labels: dict[str, int | None] = {finding: held >> bit & 1 for bit, finding in enumerate(_FINDINGS)}
            for frame in file.frames(wrapped=True):
                yield record(file, frame, part, {**labels, _NONE: int(held == 0)}, frame.window, {})


def _layout(root: Path) -> tuple[Path, Path]:
    """Return the folder of the images and the table."""
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the RSNA download")
    for folder in (root, root / RSNA_ROOT):
        tables = [folder / name for name in RSNA_TABLES if os.path.isfile(folder / name)]
        images = [folder / name for name in RSNA_FOLDERS if os.path.isdir(folder / name)]
        if tables and images:
            return images[0], tables[0]
    layout = f"{RSNA_TABLES[0]} and {RSNA_FOLDERS[0]} are not both there"
    raise BadSource("The RSNA download has a table and a folder of images", layout, f"Name the folder '{RSNA_ROOT}'")


def _stored(folder: Path) -> Array:
    """Return the numbers of the files ID_<hex>.dcm."""
    try:
        with os.scandir(folder) as entries:
            found = [match[1] for entry in entries if (match := _FILE.fullmatch(entry.name))]
    except OSError as error:
        raise BadSource("The folder of images can be listed", "it cannot", "Check its permissions") from error
    return _numbers(found)


def _numbers(names: Iterable[str]) -> Array:
    """Return hexadecimal parts of names as uint64, in which a 1 before the first digit keeps leading zeros."""
    return np.array([int(f"1{name}", 16) for name in names], np.uint64)


def _image(number: int) -> str:
    """Return the name that a number stands for."""
    return f"ID_{number:x}".replace("ID_1", "ID_", 1)


def _labelled(path: Path) -> tuple[Array, Array, dict[str, Array]]:
    """Return what the table says of every image.

    Returns:
        Their numbers, (n,) uint64; their findings, (n,) uint8, one bit each; reason to leave images
        out -> (n,) bool, those that it holds for.
    """
    names, places, types, present = _rows(path)
    absent_bits, present_bits = np.zeros((2, len(names)), np.uint8)
    for number in range(len(RSNA_SUBTYPES)):
        bit = np.uint8(1 << number)
        absent_bits[places[(types == number) & ~present]] |= bit
        present_bits[places[(types == number) & present]] |= bit
    distinct = int(np.bitwise_count(absent_bits).sum() + np.bitwise_count(present_bits).sum())
    if repeated := len(places) - distinct:
        say(f"Note: {repeated:,} rows of {path.name} repeat others; they are counted once.")
    findings = present_bits & np.uint8(_ANY - 1)
    unlike_any = (findings != 0) != (present_bits >= _ANY)
    return (
        names,
        findings,
        {
            "known corrupt file": names == _numbers([RSNA_CORRUPT.removeprefix("ID_")]),
            "incomplete labels": (absent_bits | present_bits) != _ALL,
            "contradictory labels": ((absent_bits & present_bits) != 0) | unlike_any,
        },
    )


def _rows(path: Path) -> tuple[Array, Array, Array, Array]:
    """Return the distinct images, and for each row the place of its image, its type and whether it says "present"."""
    known: dict[str, int] = {}
    columns: list[tuple[Array, Array, Array]] = []
    rows = 0
    for batch in _batches(path):
        ids = compute.extract_regex(batch.column(0), _ID)
        labels = batch.column(1)
        valid = compute.and_(compute.is_valid(ids), compute.match_substring_regex(labels, _LABEL))
        if not (whole := valid.to_numpy(zero_copy_only=False)).all():
            offender = f"row {rows + int(whole.argmin()) + 1} of {path.name} has not"
            raise BadSource("A row has ID_<hex>_<type> and a label from 0 to 1", offender, AGAIN)
        images = ids.field(0).dictionary_encode()
        places = np.array([known.setdefault(name, len(known)) for name in images.dictionary.to_pylist()], np.int32)
        types = compute.index_in(ids.field(1), pa.array(RSNA_SUBTYPES)).to_numpy().astype(np.uint8)
        present = compute.greater(labels.cast(pa.float64()), 0).to_numpy(zero_copy_only=False)
        columns.append((places[images.indices.to_numpy()], types, present))
        rows += len(batch)
    if not rows:
        raise BadSource("The table lists images", f"{path.name} lists none", AGAIN)
    joined = [np.concatenate(column) for column in zip(*columns, strict=True)]
    return _numbers(known), joined[0], joined[1], joined[2]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the columns ID and Label as texts, some rows at a time."""
    names = ("ID", "Label")
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=names, strings_can_be_null=False
    )
    try:
        with csv.open_csv(path, convert_options=options) as reader:
            yield from reader
    except (OSError, pa.ArrowException):  # these quote the row; a decoding error is an ArrowInvalid too
        raise BadSource("The download has a readable table", f"no valid {path.name}", AGAIN) from None
