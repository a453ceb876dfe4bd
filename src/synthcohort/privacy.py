"""`verify --privacy`: what a cohort or an export holds that may lead back to a person.

Every file is read to its end: tables and texts, headers and metadata, packed parts, and pixels for text in them. One
that unpacks to far more than it is ends early, which is said. What is found is named by its kind and its place, and
shows two characters at most, so that the list itself may be shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from ._burned_in import has_text
from ._contents import pieces
from ._pieces import COLUMN_NAME, Piece, overlapping
from ._traces import Identifiers, blocks, kinds
from .cohort import REPEAT, Cohort
from .errors import NotACohort
from .progress import Progress

LOOKED_AT = 2000
"""Images of a cohort that are searched for text, evenly spaced; `prepare` has looked at each before it was reduced."""
_COHORT_FILES = {"cohort.json", "images.npy", "masks.npy", "samples.parquet", "training.jsonl"}
_IDS = {"sample_id", "patient_id", "group_id"}
_COLUMNS = {"slice_index", "split", REPEAT, "digest", "spacing_y_mm", "spacing_x_mm"}
_WORDS = """
    images masks image mask samples sample metadata data train val test reference validation readme licence license
    notice croissant dataset infos export csv json jsonl md txt png nii gz dcm npy npz tif tiff jpg jpeg parquet arrow
    zip of part shard cohort synthetic
"""
_EXPORT_WORDS = frozenset(_WORDS.split())
_EXPORT_COLUMNS = re.compile(
    r"image|mask|patient|group|slice_index|split|series|sample_id|synthetic|spacing(?:_[xy])?_mm|SOPInstanceUID|PatientID"
    r"|file_name|label\..+"
)
_BY_CHANCE = {"a person's name", "a phone number", "an age over 89", "an e-mail address"}
"""Kinds so short that packed bytes hold some by chance."""
_TEXT = "text in the picture"
_PSEUDONYM = re.compile(r"[0-9a-f]{16}|s\d{8,}")
_OLDEST = 90  # written for everyone who is 90 or older
_FREE_TEXT = 30
"""Different values of a text column from which on it may tell persons apart."""
_SHOWN_FILES = 5


def scan(path: Path | str, *, known: Path | None = None) -> list[str]:
    """Return what a cohort or an export holds that it should not, one line each; an empty list when nothing is found.

    Args:
        path: The folder.
        known: A UTF-8 text file with one identifier a line, such as names and numbers of a hospital's patients. They
            are searched in every text and, from six bytes on, in the bytes of every file, packed or not.

    Raises:
        NotACohort: There is no such folder, or it is empty.
        BadOption: `known` is no such list.
    """
    root = Path(path)
    files = sorted(each for each in root.rglob("*") if each.is_symlink() or not each.is_dir()) if root.is_dir() else []
    if not files:
        raise NotACohort("A privacy scan reads a folder with files", str(path), "Name a cohort or an export")
    lists = [Identifiers.of_this_machine(), *([Identifiers.read(known)] if known else [])]
    found = _Findings()
    with Progress("Looking for identifiers", len(files)) as progress:
        for number, file in enumerate(files, 1):
            _scan_file(root, file, f"file {number} of {len(files)} in sorted order", lists, found)
            progress.advance()
    if (root / "cohort.json").exists():
        cohort = Cohort(root)
        for place, kind, value in [*_table(cohort), *_burned_in(cohort)]:
            found.add("samples.parquet" if place.startswith("column") else "images.npy", place, kind, value)
        return [*found.lines(), *_text_before(cohort)]
    return found.lines()


def _text_before(cohort: Cohort) -> Iterator[str]:
    """Yield what `prepare` found in the pixels before it reduced them: it may still be there, and be learnt."""
    for step in cohort.facts.history:
        text = step.get("burned_in_text")
        if isinstance(text, dict) and text.get("images"):
            yield (
                f"cohort.json: history: text seemed to be burned into {text['images']} images before they were "
                "reduced; attr.burned_in_text of samples.parquet marks them"
            )


class _Findings:
    """Findings by place and kind; of those that many files share, the first few files are named."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], dict[str, str]] = {}
        self._count: Counter[tuple[str, str]] = Counter()
        self._last: dict[tuple[str, str], str] = {}

    def add(self, file: str, place: str, kind: str, value: str = "") -> None:
        key = re.sub(r"\d+", "N", place) if place.startswith(("line", "row")) else place, kind
        files = self._files.setdefault(key, {})
        if self._last.get(key) == file:
            return
        self._last[key] = file
        self._count[key] += 1
        if file not in files and len(files) < _SHOWN_FILES:
            files[file] = f"{file}: {place}: {kind}" + (f" ({value[:2]}...)" if len(value) > 2 else "")

    def lines(self) -> list[str]:
        lines = list[str]()
        for (place, kind), files in self._files.items():
            lines += files.values()
            more = self._count[place, kind] - len(files)
            lines += [f"and {more} more files: {place}: {kind}"] if more else []
        return lines


def _scan_file(root: Path, file: Path, number: str, lists: list[Identifiers], found: _Findings) -> None:
    within, is_cohort = "/".join(file.relative_to(root).parts), (root / "cohort.json").exists()
    traces = [*kinds(within), *(each for known in lists for each in known.in_text(within))]
    expected = within in _COHORT_FILES if is_cohort else _is_plain(within)
    name = within if expected and not traces else number
    _add(name, "its name", traces, found)
    if not expected:
        found.add(name, "its name", "a file that does not belong here")
    if file.is_symlink() or not file.is_file():
        found.add(name, "its kind", "a link or a special file, which leads elsewhere")
        return
    try:
        with file.open("rb") as stream:
            _scan_content(name, stream, not is_cohort, lists, found)
    except OSError:  # its text would name the file
        found.add(name, "its content", "cannot be read, so that nothing is known of it")


def _scan_content(name: str, stream: BinaryIO, export: bool, lists: list[Identifiers], found: _Findings) -> None:
    for known in lists:
        stream.seek(0)
        _add(name, "its bytes", (each for block in overlapping(stream) for each in known.in_bytes(block)), found)
    stream.seek(0)
    for piece in pieces(stream, PurePath(stream.name).name):
        _scan_piece(name, piece, lists, found)
        if export and piece.place == COLUMN_NAME and not _EXPORT_COLUMNS.fullmatch(piece.text or ""):
            found.add(name, piece.place, "a column that exports do not have", piece.text or "")


def _add(name: str, place: str, traces: Iterable[tuple[str, str]], found: _Findings) -> None:
    for kind, value in traces:
        found.add(name, place, kind, value)


def _is_plain(name: str) -> bool:
    """Return whether a file name is made of words and numbers as exports have them."""
    words = re.split(r"[/._-]+", name.lower())
    return all(word in _EXPORT_WORDS or re.fullmatch(r"[a-z]?\d{1,8}|[0-9a-f]{8,64}", word) for word in words if word)


def _scan_piece(name: str, piece: Piece, lists: list[Identifiers], found: _Findings) -> None:
    if piece.wrong:
        found.add(name, piece.place, piece.wrong, piece.value)
    if piece.text:
        certain = (each for each in kinds(piece.text) if not piece.runs or each[0] not in _BY_CHANCE)
        _add(name, piece.place, certain, found)
    for known in lists:
        if piece.text:
            _add(name, piece.place, known.in_text(piece.text), found)
        if piece.data is not None:
            _add(name, piece.place, (e for block in blocks(piece.data) for e in known.in_bytes(block)), found)
    if piece.image is not None and len(piece.image) in (1, 3) and has_text(piece.image):
        found.add(name, piece.place, _TEXT)


def _table(cohort: Cohort) -> Iterator[tuple[str, str, str]]:
    """Yield (place, kind, value) of columns and ids that a cohort should not have."""
    rows, facts = cohort.samples, cohort.facts
    for number, name in enumerate(map(str, rows.columns), 1):
        place, values = f"column {number}", rows[name].dropna()
        if name in _IDS:
            foreign = next((value for value in values.astype(str) if not _PSEUDONYM.fullmatch(value)), None)
            if foreign is not None:
                yield place, "an id that is no pseudonym of this tool", foreign
        elif name.startswith("attr."):
            yield from ((place, kind, "") for kind in _attribute(name, values, facts.provenance == "real"))
        elif name not in _COLUMNS and name.removeprefix("label.") not in facts.labels:
            yield place, "a column that cohorts do not have", name


def _attribute(name: str, values: pd.Series[Any], real: bool) -> Iterator[str]:
    if not real:
        yield "an attribute of persons, which a synthetic cohort has not"
    numbers = pd.to_numeric(values, errors="coerce")
    if "age" in name.lower() and (numbers > _OLDEST).any():
        yield f"an age over {_OLDEST}, which stands for all above 89"
    if numbers.isna().any() and values.nunique() > _FREE_TEXT:
        yield f"more than {_FREE_TEXT} different texts, which may tell persons apart"


def _burned_in(cohort: Cohort) -> Iterator[tuple[str, str, str]]:
    chosen = np.unique(np.linspace(0, max(len(cohort) - 1, 0), min(len(cohort), LOOKED_AT)).astype(int))
    count = sum(has_text(np.asarray(cohort.images[i])) for i in chosen)
    if count:
        yield f"{count} of {len(chosen)} images looked at", _TEXT, ""
