"""What every format is: a class that writes a cohort in the form its recipients use, marked as what it is."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd

from .cohort import REPEAT, Cohort, Facts
from .progress import Progress
from .types import Array

Result = TypeVar("Result")

SOFTWARE = "synthcohort"
_HELD, _HELD_BYTES = 1024, 1 << 26
_FORMULA = re.compile(r"['\s]*[=+@\uff1d\uff0b\uff0d\uff20-]")
"""Behind quotes too, so that no two ids become the same."""


class Format(ABC):
    """One form in which a cohort leaves.

    Keyword-only parameters of `__init__` are its options. `export` has checked the cohort: `verify` finds nothing wrong
    with it, it is no control, its images have one or three channels, and there is at least one.

    What it writes
        is the same bytes for the same cohort and options: no date, path, user or machine;
        says in every file's own metadata what `origin` says, so that a file that strays still tells;
        holds pixels, masks, labels, splits and spacing, and never a column attr.*: those describe persons;
        holds each image once: what a cohort repeats is the same image;
        names files after `Sample.name`, since a sample id may be anything;
        carries the licence and the notice.

    Attributes:
        REVISION: Raise it when the same cohort and options come to give another export.
    """

    REVISION: ClassVar[int]

    @abstractmethod
    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write everything into `folder`, which is empty and becomes the export by one rename."""


@dataclass(frozen=True)
class Origin:
    """What images are, in words for whoever finds one of them alone.

    Attributes:
        synthetic: Whether they were made and not taken of anybody.
        image: Said of one image.
        mask: Said of one mask.
        images: Said of all images.
        maker: What made them, e.g. "generator flow"; the source of real ones.
    """

    synthetic: bool
    image: str
    mask: str
    images: str
    maker: str


def origin(facts: Facts) -> Origin:
    """Return what the images of a cohort are."""
    if facts.source.startswith("phantom of "):
        one, many = "{} of a phantom, not of a patient", "Images of a phantom, not of patients"
        return Origin(True, one.format("Image"), one.format("Mask"), many, facts.source)
    if facts.provenance == "real":
        mask, many = "Mask of a real image, pseudonymised", "Real images of patients, pseudonymised"
        return Origin(False, "Real image of a patient, pseudonymised", mask, many, facts.source or "not stated")
    name = str((facts.generator or {}).get("generator") or "")
    maker = f"generator {name}" if name else "a generator outside this tool"
    mask, many = "Mask of a synthetic image, not of a patient", "Synthetic images, not of patients"
    return Origin(True, "Synthetic image, not of a patient", mask, many, maker)


def has_exact_labels(facts: Facts) -> bool:
    """Return whether labels of real patients were asked for as they are, which `sample --labels exact` does."""
    asked = (facts.generator or {}).get("labels")
    return isinstance(asked, Mapping) and asked.get("rule") == "exact"


@dataclass(frozen=True)
class Sample:
    """One sample on its way out.

    Attributes:
        number: Its place among the cohort's images, from 1; repeats have none.
        sample_id: As in a synthetic cohort, unprintable characters escaped and a quote before what a spreadsheet
            would take for a formula; of a real one the number again, so that it leads to the cohort only, whatever the
            cohort calls its samples.
        patient: Number of its patient, from 1; images with the same one belong together.
        group: Number of its volume or study, from 1.
        slice_index: Place in the group, from 0.
        split: train, val, test or reference.
        labels: Finding -> 0, 1 or None (unknown).
        spacing_mm: (y, x), or None when unknown.
        image: (C, H, W) uint8 or uint16; read from the disk when it is used.
        mask: (H, W) uint8 class index, or None.
    """

    number: int
    sample_id: str
    patient: int
    group: int
    slice_index: int
    split: str
    labels: Mapping[str, int | None]
    spacing_mm: tuple[float, float] | None
    image: Array
    mask: Array | None

    @property
    def name(self) -> str:
        """Return what its files are called, without an ending."""
        return f"{self.number:08d}"


def each(cohort: Cohort, work: Callable[[Sample], Result], title: str) -> Iterator[Result]:
    """Yield `work(sample)` of every sample, in order, a bounded number at a time on all cores, showing progress."""
    image_bytes = int(np.prod(cohort.images.shape[1:])) * cohort.images.itemsize
    held = max(1, min(_HELD, _HELD_BYTES // image_bytes))
    count = len(positions(cohort))
    with ThreadPoolExecutor(_cores()) as pool, Progress(title, count) as progress:
        waiting: list[Sample] = []
        for sample in samples(cohort):
            waiting.append(sample)
            if len(waiting) == held or sample.number == count:
                for result in pool.map(work, waiting):
                    yield result
                    progress.advance()
                waiting = []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def positions(cohort: Cohort) -> Array:
    """Return the positions of the images that leave, as int64: all but repeats of an image."""
    if REPEAT not in cohort.samples:
        return np.arange(len(cohort))
    return np.flatnonzero(~(cohort.samples[REPEAT] > 0).to_numpy(dtype=bool, na_value=False))


def samples(cohort: Cohort) -> Iterator[Sample]:
    """Yield the samples in the cohort's order; pixels stay on the disk until they are used."""
    chosen, facts = positions(cohort), cohort.facts
    rows = cohort.samples.iloc[chosen]
    patients, groups, places = _numbers(rows)
    spacing = _spacing(rows)
    labels = [_cells(rows[f"label.{name}"]) for name in facts.labels]
    columns = zip(rows["sample_id"], patients, groups, places, rows["split"], spacing, strict=True)
    for i, (sample_id, patient, group, place, split, spacing_mm) in enumerate(columns):
        yield Sample(
            number=i + 1,
            sample_id=f"{i + 1:08d}" if facts.provenance == "real" else _printable(str(sample_id)),
            patient=int(patient),
            group=int(group),
            slice_index=int(place),
            split=str(split),
            labels={name: column[i] for name, column in zip(facts.labels, labels, strict=True)},
            spacing_mm=spacing_mm,
            image=cohort.images[chosen[i]],
            mask=None if cohort.masks is None else cohort.masks[chosen[i]],
        )


def _numbers(rows: pd.DataFrame) -> tuple[Array, Array, Array]:
    """Return the numbers of patients and groups and the places in the groups.

    Numbers, because ids may be anything, and a slice may be called by a number that tells more than its place. Where a
    cohort does not number the slices of its groups, each image is one.
    """
    patients, groups = (pd.factorize(rows[name])[0] for name in ("patient_id", "group_id"))
    keys = pd.DataFrame({"patient": patients, "group": groups, "place": rows["slice_index"].to_numpy(dtype=float)})
    places = keys.groupby(["patient", "group"])["place"].rank().to_numpy() - 1
    if keys.duplicated().any():
        groups, places = np.arange(len(rows)), np.zeros(len(rows))
    pairs = pd.MultiIndex.from_arrays([patients, groups])
    return patients + 1, pd.factorize(pairs)[0] + 1, places


def _spacing(rows: pd.DataFrame) -> list[tuple[float, float] | None]:
    columns = ["spacing_y_mm", "spacing_x_mm"]
    if not set(columns) <= set(rows.columns):
        return [None] * len(rows)
    pairs = rows[columns].to_numpy(dtype=float, na_value=np.nan)
    known = (np.isfinite(pairs) & (pairs > 0)).all(axis=1)
    return [(float(y), float(x)) if k else None for (y, x), k in zip(pairs, known, strict=True)]


def _cells(column: pd.Series[Any]) -> list[int | None]:
    return [None if pd.isna(cell) else int(cell) for cell in column]


def _printable(text: str) -> str:
    """Return a text that tables, terminals and spreadsheets do not obey: no line ends and the like, and no formula."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return f"'{text}" if _FORMULA.match(text) else text
