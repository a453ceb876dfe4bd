"""A stand-in for the RSNA haemorrhage download: the same DICOM files and long table, head CT with bleeding to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from .._listing import mark_phantom
from ..errors import BadOption, BadOutput, writing
from ..layouts import RSNA_CORRUPT, RSNA_FOLDERS, RSNA_ROOT, RSNA_SUBTYPES, RSNA_TABLES
from ..progress import track
from ..runs import derive_seed
from ..types import Array
from ._head import Head
from ._head_file import Values, dicom
from ._head_illness import draw_bleeds
from ._head_scan import LOWEST, PADDING, TWO_WINDOWS, Scan, acquire
from ._head_scene import Patient

_PATIENTS = 18938
"""Patients of the real training set; those of the test set are numbered on from there."""
_TEST_FOLDER, _SUBMISSION = "stage_2_test", "stage_2_sample_submission.csv"
_SLICES = 64
_DUPLICATED = 4
"""Images that the real table lists twice."""


@dataclass(frozen=True)
class _Storage:
    """How Hounsfield units become stored values.

    Attributes:
        bits: BitsStored.
        signed: PixelRepresentation 1.
        intercept: RescaleIntercept.
    """

    bits: int
    signed: bool
    intercept: int

    def store(self, series: Array) -> Array:
        """Return what is written; an unsigned kind keeps the lower bits only, so what is negative wraps around."""
        values = series.astype(np.int32) - self.intercept
        return values.astype(np.int16) if self.signed else (values & ((1 << self.bits) - 1)).astype(np.uint16)


_USUAL = (_Storage(16, True, -1024), _Storage(12, False, -1024), _Storage(16, True, 0))
_WRAPPED = (_Storage(12, False, 0), _Storage(16, False, -1024))
"""Air wraps around to 3072 and more, or padding to 63536: values of 4096 and more once 1024 is added."""


class Phantom:
    """Head CT of `patients` patients, and of a twentieth as many in the test folder.

    A patient has one study, now and then two, of 24 to 36 slices. Two in five bleed; a slice is labelled where the
    blood covers `VISIBLE_MM2` of it.

    Args:
        patients: How many in the training folder, 1 to 18938.
        size: Side of a slice in pixels. Anatomy, bleeding and labels do not depend on it.
        slices: How many a study has, 1 to 64; by default as many as cover the head at about 5 mm.
        quirks: Also do what the real set does wrong: four images listed twice, a file cut short, unsigned files whose
            values wrap around (patients 1, 2, 5, 6, 9 ...), two windows in one header (even patients).
    """

    REVISION: ClassVar[int] = 1

    def __init__(
        self, *, patients: int = 100, size: int = 512, slices: int | None = None, quirks: bool = False
    ) -> None:
        if (
            not 1 <= patients <= _PATIENTS
            or not 32 <= size <= 1024
            or not 1 <= (1 if slices is None else slices) <= _SLICES
        ):
            rule = f"The phantom has 1 to {_PATIENTS} patients, slices of 32 to 1024 pixels, 1 to {_SLICES} a study"
            raise BadOption(rule, f"patients={patients}, size={size}, slices={slices}", "Choose others")
        self._patients, self._size, self._slices, self._quirks = patients, size, slices, quirks

    def write(self, root: Path, *, seed: int) -> None:
        """Write the download below `root`. A patient is the same however many patients there are.

        Raises:
            BadOutput: `root` holds a download already, or cannot be written.
        """
        folder = root / RSNA_ROOT
        if folder.exists():
            raise BadOutput("A phantom is written into an empty folder", f"{root} has a download", "Choose another")
        test = max(1, round(self._patients / 20))
        with writing(root):
            folder.mkdir(parents=True)
            rows = self._write_images(folder / RSNA_FOLDERS[0], range(1, self._patients + 1), seed)
            twice = rows[:_DUPLICATED] if self._quirks else []
            _write_table(folder / RSNA_TABLES[0], [*_shuffled(rows), *twice])
            rows = self._write_images(folder / _TEST_FOLDER, range(_PATIENTS + 1, _PATIENTS + test + 1), seed)
            # What the real one says of every image.
            _write_table(folder / _SUBMISSION, _shuffled([(name, ["0.5"] * len(labels)) for name, labels in rows]))
            mark_phantom(root)

    def _write_images(self, folder: Path, numbers: Sequence[int], seed: int) -> list[tuple[str, list[str]]]:
        """Write the images of some patients and return (identifier, labels) of each."""
        folder.mkdir()
        rows = []
        for number in track(numbers, f"phantom rsna_ich {folder.name}", len(numbers), "patients"):
            for name, data, labels in self._images(number, seed):
                (folder / f"{name}.dcm").write_bytes(data)
                rows.append((name, labels))
        return rows

    def _images(self, number: int, seed: int) -> Iterator[tuple[str, bytes, list[str]]]:
        """Yield (identifier, file, labels) of every image of a patient."""
        rng = np.random.default_rng(derive_seed(seed, "phantom rsna_ich", number))
        head = Head.draw(rng)
        patient = Patient(head, draw_bleeds(rng, head))
        for study in range(2 if rng.random() < 0.12 else 1):
            own = np.random.default_rng(derive_seed(seed, "phantom rsna_ich", number, study))
            scan, storage = self._scan(own, number)
            series, labels = acquire(patient, scan, self._size, own)
            common = _header(number, study, seed, scan, storage, self._size)
            for index, (pixels, found) in enumerate(zip(storage.store(series), labels, strict=True)):
                corrupt = self._quirks and (number, study, index) == (1, 0, 0)
                place = (number * 2 + study) * _SLICES + index
                name = RSNA_CORRUPT if corrupt else _code(place, 9, seed, "image")
                position = scan.position(index, self._size)
                data = dicom({**common, (8, 0x18): ("UI", name), (0x20, 0x32): ("DS", position)}, name, pixels)
                cells = [str(int(one)) for one in (*found, found.any())]
                yield name, data[: len(data) * 3 // 5] if corrupt else data, cells

    def _scan(self, rng: np.random.Generator, number: int) -> tuple[Scan, _Storage]:
        scan = Scan.draw(rng, self._slices)
        storage = _USUAL[rng.choice(3, p=(0.5, 0.38, 0.12))]
        if self._quirks and number % 2 == 0:
            scan = replace(scan, windows=TWO_WINDOWS)
        if self._quirks and number % 4 in (1, 2):
            storage = _WRAPPED[number % 4 - 1]
            return replace(scan, outside=LOWEST if storage.bits == 12 else PADDING), storage
        # Twelve bits without a sign hold nothing below -1024.
        fits = storage.signed or scan.outside is None
        return (scan if fits else replace(scan, outside=LOWEST)), storage


def _header(
    number: int, study: int, seed: int, scan: Scan, storage: _Storage, side: int
) -> dict[tuple[int, int], tuple[str, Values]]:
    """Return the elements that all images of a study share, as in the real set."""
    place = number * 2 + study
    spacing = f"{scan.field_mm / side:.6f}"
    centres, widths = zip(*scan.windows, strict=True)
    return {
        (0x08, 0x60): ("CS", "CT"),
        (0x10, 0x20): ("LO", _code(number, 8, seed, "patient")),
        (0x20, 0x0D): ("UI", _code(place, 10, seed, "study")),
        (0x20, 0x0E): ("UI", _code(place, 10, seed, "series")),
        (0x20, 0x10): ("SH", ""),
        (0x20, 0x37): ("DS", scan.orientation),
        (0x28, 0x02): ("US", 1),
        (0x28, 0x04): ("CS", "MONOCHROME2"),
        (0x28, 0x10): ("US", side),
        (0x28, 0x11): ("US", side),
        (0x28, 0x30): ("DS", (spacing, spacing)),
        (0x28, 0x100): ("US", 16),
        (0x28, 0x101): ("US", storage.bits),
        (0x28, 0x102): ("US", storage.bits - 1),
        (0x28, 0x103): ("US", int(storage.signed)),
        (0x28, 0x1050): ("DS", centres),
        (0x28, 0x1051): ("DS", widths),
        (0x28, 0x1052): ("DS", str(storage.intercept)),
        (0x28, 0x1053): ("DS", "1"),
    }


def _code(number: int, digits: int, seed: int, kind: str) -> str:
    """Return ID_ and so many hexadecimal digits: another for every number, and in no order."""
    mask, half = (1 << 4 * digits) - 1, 2 * digits
    value = (number + derive_seed(seed, f"phantom rsna_ich {kind}")) & mask
    # Each step can be undone, so two numbers never get one code.
    for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        value = ((value ^ value >> half) * odd) & mask
    return f"ID_{value ^ value >> half:0{digits}x}"


def _shuffled(rows: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Return the rows in an order that has nothing to do with patients."""
    return sorted(rows, key=lambda row: row[0][::-1])


def _write_table(path: Path, rows: list[tuple[str, list[str]]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write("ID,Label\n")
        for name, labels in rows:
            file.writelines(f"{name}_{kind},{label}\n" for kind, label in zip(RSNA_SUBTYPES, labels, strict=True))
