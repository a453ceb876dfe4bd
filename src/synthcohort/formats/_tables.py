"""samples.csv of an export: the columns that the source `folder` reads, and that the samples are synthetic."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..cohort import Cohort
from ..format import Sample, origin, samples

TABLE = "samples.csv"


def write_table(
    cohort: Cohort,
    path: Path,
    files: Callable[[Sample], Mapping[str, str]],
    columns: Callable[[Sample], Mapping[str, str]] = lambda sample: {},
) -> None:
    """Write the table of a cohort.

    Args:
        cohort: The cohort.
        path: The file to write.
        files: Returns the first columns of a sample, those that name its files: {"image": "images/00000001.png"}.
        columns: Returns further columns of a sample, or other values for the common ones.
    """
    synthetic = str(origin(cohort.facts).synthetic).lower()
    spaced, square = _spaced(samples(cohort))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for sample in samples(cohort):
            row = {**files(sample), **row_of(sample), **_spacing(sample, spaced, square)}
            row |= {"sample_id": sample.sample_id, "synthetic": synthetic, **columns(sample)}
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)


def row_of(sample: Sample) -> dict[str, Any]:
    """Return patient, group, slice_index, split and labels of a sample, under the names of the table's columns."""
    labels = {f"label.{name}": value for name, value in sample.labels.items()}
    row = {"patient": f"p{sample.patient:08d}", "group": f"g{sample.group:08d}", "slice_index": sample.slice_index}
    return {**row, "split": sample.split, **labels}


def _spaced(found: Iterable[Sample]) -> tuple[bool, bool]:
    """Return whether any spacing is known, and whether all pixels are square."""
    spacings = {sample.spacing_mm for sample in found} - {None}
    return bool(spacings), all(each[0] == each[1] for each in spacings if each)


def _spacing(sample: Sample, spaced: bool, square: bool) -> dict[str, float | None]:
    y, x = sample.spacing_mm or (None, None)
    columns = {"spacing_y_mm": y, "spacing_x_mm": x}
    return ({"spacing_mm": y} if square else {}) | columns if spaced else {}
