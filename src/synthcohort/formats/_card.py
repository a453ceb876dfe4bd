"""README.md of an export: what the images are, for whoever is handed the folder and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .. import __version__
from ..cohort import Cohort, Facts
from ..format import SOFTWARE, has_exact_labels, origin, positions, samples
from ..types import SPLITS

README = "README.md"
LEAST_SHOWN = 10
_OBEYED = {"|": "\\|", "\\": "&#92;", "`": "&#96;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "&#91;", "]": "&#93;"}
"""What Markdown and HTML would take for a cell's end, code, a tag or a picture of another site -> how it is written."""


def columns(cohort: Cohort) -> Iterator[str]:
    """Yield what the columns of samples.csv mean, whatever the format."""
    yield "- `patient`, `group`, `slice_index`: numbers; images with the same ones belong together."
    yield f"- `split`: one of {', '.join(SPLITS)}."
    if cohort.facts.labels:
        yield "- `label.NAME`: 1 present, 0 absent, empty unknown."
    if any(sample.spacing_mm for sample in samples(cohort)):
        yield "- `spacing_y_mm`, `spacing_x_mm`: distance between rows and between columns, where known."
        yield "- `spacing_mm`: the same in one number; only where all pixels are square."
    yield "- `sample_id`: what the cohort calls the sample."
    yield "- `synthetic`: whether it was made and not taken of anybody."


def readme(
    cohort: Cohort, *, files: Mapping[str, str], reading: Sequence[str], title: str = "", licence: str = ""
) -> str:
    """Return the README of an export as Markdown.

    Args:
        cohort: The cohort.
        files: File name or pattern -> what it holds.
        reading: Lines on how to read the files.
        title: Its heading; the cohort's name if empty.
        licence: Of the export, where it has its own.
    """
    facts = cohort.facts
    lines = [f"# {_plain(title or facts.name)}", "", *_opening(facts), "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in _table(cohort).items()]
    lines += ["", *_labels(cohort)]
    lines += ["## Files", "", *(f"- `{name}`: {text}" for name, text in files.items()), ""]
    said = [_plain(line) for line in terms(facts, licence)]
    lines += ["## Reading", "", *reading, "", "## Terms", "", *said, "", *_limits(facts)]
    return "\n".join(lines) + "\n"


def description(facts: Facts) -> str:
    """Return what the images are and what made them, in two sentences."""
    return f"{origin(facts).images}. {made_by(facts)}"


def made_by(facts: Facts) -> str:
    """Return what made the images and what wrote them, in one sentence."""
    made = origin(facts)
    by = f"Made by {made.maker}" if made.synthetic else f"Source: {made.maker}"
    return f"{by}; written by {SOFTWARE} {__version__}; not for diagnosis."


def terms(facts: Facts, licence: str = "") -> list[str]:
    """Return the licence of the export, if it has its own, that of the data behind it, and the notice, as lines."""
    own = [f"Licence of this data set: {_in_line(licence)}."] if licence else []
    of = "the data that the generator learnt from" if facts.provenance == "synthetic" else "the data"
    lines = [*own, f"Licence and terms of {of}: {_in_line(facts.licence).rstrip('.') or 'not stated'}."]
    return lines + ([f"Notice: {_in_line(facts.notice)}"] if facts.notice else [])


def shown(count: int) -> str:
    """Return a count as text, one from 1 to 9 as "<10"."""
    return f"<{LEAST_SHOWN}" if 0 < count < LEAST_SHOWN else str(count)


def split_counts(cohort: Cohort) -> dict[str, int]:
    """Return the number of images of each split that has any."""
    counts = cohort.samples["split"].iloc[positions(cohort)].value_counts()
    return {split: int(counts[split]) for split in SPLITS if split in counts}


def _opening(facts: Facts) -> list[str]:
    run = str((facts.generator or {}).get("fingerprint") or "")[:12]
    of_run = f" The run that made them is `{_plain(run)}`." if run else ""
    warning = "These are personal data: pseudonyms and pixels can lead back to a person."
    if origin(facts).synthetic:
        warning = f"No image was taken of a person.{of_run}"
    return [f"**{origin(facts).images}.** {_plain(made_by(facts))} {warning}"]


def _table(cohort: Cohort) -> dict[str, str]:
    facts = cohort.facts
    channels, height, width = facts.shape
    low, high = facts.value_range
    table = {
        "Images show": _plain(facts.modality) or "not stated",
        "Size": f"{height} rows, {width} columns, {'grey' if channels == 1 else 'RGB'}",
        "Pixels": f"{8 * np.dtype(facts.dtype).itemsize} bit, values {low:g} to {high:g}",
        "Spacing": _spacing(cohort),
    }
    if facts.mask_classes:
        table["Mask values"] = ", ".join(f"{index} {_plain(name)}" for index, name in enumerate(facts.mask_classes))
    return table | {f"Images in {split}": shown(count) for split, count in split_counts(cohort).items()}


def _spacing(cohort: Cohort) -> str:
    known = [sample.spacing_mm for sample in samples(cohort) if sample.spacing_mm is not None]
    if not known:
        return "unknown"
    (y, x), (last_y, last_x) = np.min(known, axis=0), np.max(known, axis=0)
    text = f"{y:.4g} x {x:.4g} mm" if (y, x) == (last_y, last_x) else f"{min(y, x):.3g} to {max(last_y, last_x):.3g} mm"
    return f"{text}, nominal: no scanner measured it" if origin(cohort.facts).synthetic else text


def _labels(cohort: Cohort) -> Iterator[str]:
    if not cohort.facts.labels:
        return
    yield from ("## Labels", "", "| Label | Images with it | Unknown |", "|---|---|---|")
    values = cohort.label_matrix()[positions(cohort)]
    for name, column in zip(cohort.facts.labels, values.T, strict=True):
        present, unknown = shown(int((column == 1).sum())), shown(int(np.isnan(column).sum()))
        yield f"| {_plain(name)} | {present} | {unknown} |"
    if has_exact_labels(cohort.facts):
        yield from ("", "The combinations of labels are those of real patients, unaltered.")
    yield from ("", f"Here and above, counts from 1 to {LEAST_SHOWN - 1} are shown as <{LEAST_SHOWN}.", "")


def _limits(facts: Facts) -> list[str]:
    if facts.provenance != "synthetic":
        return []
    return [
        "## What this does not say",
        "",
        "How realistic and how useful the images are, whether some repeat an image of a patient, and what was not",
        "tested, stands in the report card of this cohort and nowhere in this folder. Ask whoever gave it to you.",
    ]


def _in_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Return a text that stays in its line and its cell, and that a browser shows as it is."""
    return "".join(_OBEYED.get(character, character) for character in _in_line(text))
