"""DICOM images as a PACS exports them: any tree of files, grouped by patient, with labels from a CSV table.

Every regular file below the folder is read, whatever it is called; not read are hidden files, DICOMDIR, files whose
ending says that they are something else, and folders that are reached through a link. Links to nothing, pipes and
devices are counted and left out, and so are reports, plans, dose, segmentations, pictures of the screen and localizers.
The patient is PatientID, the group the series.

Names of files may hold names of patients, so messages say "file 17 of 240": the 17th of `Source(root).parts()`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..dicom import DicomFile, Frame, NoPixels, NotDicom, open_dicom
from ..errors import BadOption, BadSource
from ..progress import say
from ..source import Source as _Contract
from ..types import LeftOut, Record
from ._label_columns import label_cell, label_columns
from ._slices import record
from ._table import Table, inside

_FIX = "Correct the table"
_KEYS = {"image": "SOPInstanceUID", "series": "SeriesInstanceUID", "study": "StudyInstanceUID", "patient": "PatientID"}
_OTHER = (".csv", ".exe", ".gz", ".htm", ".html", ".inf", ".json", ".log", ".md", ".pdf", ".txt", ".xml", ".zip")
_DICOM = (".dcm", ".dicom", ".ima")
_NO_IMAGES = ("RTDOSE", "SEG")
_CROSS_SECTIONAL = ("CT", "MR", "NM", "PT")
_WITH_LOCALIZERS = ("CT", "MR")
_SOFT_TISSUE = (40.0, 400.0)
_ALL_8_BITS = (127.5, 255.0)

_Labels = tuple[int | None, ...]


class Source(_Contract):
    """The images of a tree of DICOM files.

    Args:
        root: The folder.
        csv: A table with labels: relative to the folder, or an absolute path.
        by: What a row of it is about; its column SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID or PatientID says
            which one. Images that no row is about have unknown labels.
        labels: Columns that are findings although they are not called label.<name>.
        modality: Read images of this modality only, e.g. CT.
        licence: Terms of the images.

    Raises:
        BadSource: The folder cannot be read or holds no file, or the table is not valid.
        BadOption: Labels are asked for and there is no table, or none in it.
    """

    MASK_CLASSES: tuple[str, ...] = ()
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "dicom_window"}

    def __init__(
        self,
        root: Path,
        *,
        csv: Path | None = None,
        by: Literal["image", "series", "study", "patient"] = "patient",
        labels: tuple[str, ...] = (),
        modality: str = "",
        licence: str = "not stated",
    ) -> None:
        self.MODALITY, self.LICENCE = modality or "DICOM", licence
        self._root, self._by, self._modality = root, by, modality.upper()
        self._files, others = _files(root)
        self.LEFT_OUT: Mapping[str, int] = {"no regular file": others} if others else {}
        self.LABELS: tuple[str, ...] = ()
        self._rows: dict[str, _Labels] = {}
        if csv is not None:
            self._read_table(csv, labels)
        elif labels:
            raise BadOption("Labels stand in a table", "labels without csv", "Write csv=labels.csv too")

    def __len__(self) -> int:
        """Return the number of files: that of images, as long as each file holds one."""
        return len(self._files)

    def parts(self) -> Sequence[tuple[int, str]]:
        """Return (position, path below the root) of every file that is read, ordered by path."""
        return list(enumerate(self._files))

    def read(self, part: tuple[int, str]) -> Iterator[Record | LeftOut]:
        """Yield the frames of a file.

        `image` is (1, H, W) float32 in units of the modality (CT: HU), or uint8, or (3, H, W) uint8; `slice_index`
        sorts the slices of a series and has gaps; `window` is the first of the header, else 40/400 for CT and the
        whole range of 8-bit images; `attributes` hold the modality.

        Raises:
            BadSource: A file is damaged or of a kind that is not read.
        """
        index, path = part
        try:
            with open_dicom(self._root / path, f"file {index + 1} of {len(self._files)}") as file:
                if reason := self._unwanted(file):
                    yield LeftOut(reason)
                    return
                keys = {"image": file.instance, "series": file.series, "study": file.study, "patient": file.patient}
                unknown: _Labels = (None,) * len(self.LABELS)
                labels = dict(zip(self.LABELS, self._rows.get(keys[self._by], unknown), strict=True))
                attributes = {"modality": file.modality} if file.modality else {}
                for frame in file.frames():
                    yield record(file, frame, index, labels, _window(file, frame), attributes)
        except NoPixels:
            yield LeftOut("no pixel data")
        except NotDicom:
            if path.lower().endswith(_DICOM):
                raise
            yield LeftOut("no DICOM file")

    def _unwanted(self, file: DicomFile) -> str:
        """Return why the images of a file are left out, or nothing."""
        if self._modality and file.modality != self._modality:
            return "another modality"
        if file.modality in _NO_IMAGES:
            return "segmentation or dose"
        if file.secondary and file.modality in _CROSS_SECTIONAL:
            return "picture of a screen or report"
        if file.localizer and file.modality in _WITH_LOCALIZERS:
            return "localizer"
        return "" if file.patient else "no PatientID"

    def _read_table(self, csv: Path, labels: tuple[str, ...]) -> None:
        path = csv if csv.is_absolute() else inside(self._root, str(csv), "the option csv", _FIX)
        table = Table(path, "the table", _FIX)
        columns = label_columns(table, labels)
        table.need([_KEYS[self._by]])
        if not columns:
            raise BadOption("A table holds findings", "none of its columns is one", "Name them: labels=a,b")
        self.LABELS = tuple(columns)
        for line, cells in table.rows():
            where, key = table.place(line), cells[_KEYS[self._by]]
            if not key:
                raise BadSource(f"Every row names its {_KEYS[self._by]}", f"{where} does not", _FIX)
            values = tuple(label_cell(cells[column], where) for column in columns.values())
            if self._rows.setdefault(key, values) != values:
                raise BadSource("Rows about the same thing agree", f"{where} contradicts another one", _FIX)
        say(f"Note: labels follow {_KEYS[self._by]}; those of images that no row of the table names are unknown.")


def _files(root: Path) -> tuple[list[str], int]:
    """Return the paths of the files to be read, below the root, in order, and how many names stand for no file."""
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the images")
    found, folders, others = [], [""], 0
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                wanted = [entry for entry in entries if _wanted(entry.name)]
        except OSError:
            rule = "Every folder below the one that is given must be readable"
            raise BadSource(rule, "one of them is not", "Change its permissions or move it elsewhere") from None
        folders += [f"{folder}{entry.name}/" for entry in wanted if entry.is_dir(follow_symlinks=False)]
        found += [f"{folder}{entry.name}" for entry in wanted if _is_file(entry)]
        others += sum(not os.path.isdir(entry.path) for entry in wanted if not _is_file(entry))
    if not found:
        rule, none = "A source holds at least one image", "there is no file here"
        if others:  # links whose content has not been fetched, most likely
            raise BadSource(rule, f"{none}, only {others} links to nothing, pipes or devices", "Fetch their content")
        raise BadSource(rule, none, "Name another folder")
    return sorted(found), others


def _wanted(name: str) -> bool:
    return not name.startswith(".") and name.upper() != "DICOMDIR" and not name.lower().endswith(_OTHER)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def _window(file: DicomFile, frame: Frame) -> tuple[float, float] | None:
    """Return the window under which a frame is shown; None leaves it to the intensities of the slice."""
    if frame.window is not None:
        return frame.window
    if frame.pixels.dtype.kind == "u":
        return _ALL_8_BITS
    return _SOFT_TISSUE if file.modality == "CT" else None
