"""`describe`: what a cohort is and how it was made, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._findings import present_only
from ._labels import combinations
from ._release import LEAST, rounded
from ._steps import step_lines
from .cohort import Cohort
from .types import SPLITS

_SHOWN = 10
_COUNTED = ("generator", "counts", "findings", "combinations", "history")
_RARE = "rare combinations"
_ROUNDED = "0, <10, or rounded down to tens; combinations of fewer than ten patients are one"


def describe(path: Path | str, *, release: bool = False) -> dict[str, Any]:
    """Return what a cohort holds as JSON-ready types: facts, counts per split, findings, spacing, history.

    Spacings are in millimetres. Findings count images with 1, 0 and unknown in each split, and patients with a 1.
    Combinations of findings come with their images and patients, the most frequent first; unknown counts as 0 there.

    Args:
        path: Folder of the cohort.
        release: Whether the description is meant to leave. Then every count is 0, "<10" or rounded down to tens, as in
            "30+"; combinations that fewer than ten patients hold are one, called "rare combinations".

    Raises:
        NotACohort: The folder is no cohort.
    """
    cohort = Cohort(path)
    facts = cohort.facts
    found = {
        "name": facts.name,
        "modality": facts.modality,
        "provenance": facts.provenance,
        "generator": None if facts.generator is None else dict(facts.generator),
        "source": facts.source,
        "licence": facts.licence,
        "notice": facts.notice,
        "shape": list(facts.shape),
        "dtype": facts.dtype,
        "value_range": list(facts.value_range),
        "mask_classes": list(facts.mask_classes),
        "counts": cohort.counts(),
        "findings": {name: _finding(cohort, name) for name in facts.labels},
        "combinations": _combinations(cohort, LEAST if release else 0) if facts.labels else [],
        "spacing_mm": _spacing(cohort),
        "pixels_sha256": cohort.pixels_sha256,
        "pixel_rules": dict(facts.pixel_rules),
        "history": [dict(step) for step in facts.history],
    }
    if not release:
        return found
    # The least and the largest spacing may each be one patient's.
    return {**found, "spacing_mm": None, **{key: rounded(found[key]) for key in _COUNTED}, "counts_are": _ROUNDED}


def _finding(cohort: Cohort, name: str) -> dict[str, dict[str, int]]:
    samples = cohort.samples
    values = samples[f"label.{name}"].astype("Int8").fillna(-1)
    counts = {
        str(split): {
            "present": int((v == 1).sum()),
            "absent": int((v == 0).sum()),
            "unknown": int((v == -1).sum()),
            "patients": int(samples["patient_id"][v.index[v == 1]].nunique()),
        }
        for split, v in values.groupby(samples["split"].astype(str))
    }
    return {split: counts[split] for split in SPLITS if split in counts}


def _combinations(cohort: Cohort, least: int) -> list[dict[str, Any]]:
    """Return the combinations that `least` patients or more hold, then all others as one."""
    patients = cohort.samples["patient_id"].to_numpy()
    found = combinations(present_only(cohort.label_matrix()), patients)
    order = np.argsort(-found.images, kind="stable")
    rows: list[dict[str, Any]] = [
        {
            "findings": [name for name, value in zip(cohort.facts.labels, found.vectors[i], strict=True) if value],
            "images": int(found.images[i]),
            "patients": int(found.patients[i]),
        }
        for i in order
        if found.patients[i] >= least
    ]
    rare = (found.patients < least)[found.of_image]
    if rare.any():
        rows.append({"findings": _RARE, "images": int(rare.sum()), "patients": len(np.unique(patients[rare]))})
    return rows


def _spacing(cohort: Cohort) -> dict[str, list[float]] | None:
    columns = {axis: f"spacing_{axis}_mm" for axis in ("y", "x")}
    if not set(columns.values()) <= set(cohort.samples.columns):
        return None
    known = cohort.samples[list(columns.values())].dropna()
    if known.empty:
        return None
    return {axis: [float(known[column].min()), float(known[column].max())] for axis, column in columns.items()}


def _presence(splits: dict[str, dict[str, Any]]) -> list[str]:
    """Return images with the finding of images where it is known, patients with it, and images where it is unknown."""
    return [
        f"{split} {_share(c['present'], c['absent'])} images of {c['patients']} patients"
        + (f", {c['unknown']} unknown" if c["unknown"] else "")
        for split, c in splits.items()
    ]


def _share(present: int | str, absent: int | str) -> str:
    if isinstance(present, str) or isinstance(absent, str):  # as they may leave
        return f"{present} and not in {absent}"
    return f"{present}/{present + absent}"


def _most_frequent(combinations: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"combined  {len(combinations)} combinations of findings"] if combinations else []
    rare = [each for each in combinations[_SHOWN:] if each["findings"] == _RARE]
    for each in [*combinations[:_SHOWN], *rare]:
        names = _RARE if each["findings"] == _RARE else ", ".join(each["findings"]) or "none"
        lines.append(f"          {each['images']:>7} images of {each['patients']} patients: {names}")
    more = len(combinations) - _SHOWN - len(rare)
    return [*lines, f"          and {more} more"] if more > 0 else lines


def _kind(facts: dict[str, Any]) -> str:
    return "phantom" if facts["source"].startswith("phantom of ") else str(facts["provenance"])


def as_text(facts: dict[str, Any]) -> str:
    """Return what `describe` found as lines for a person."""
    shape = "x".join(str(length) for length in facts["shape"])
    low, high = facts["value_range"]
    lines = [
        f"{facts['name']}: {_kind(facts)} cohort, {facts['modality'] or 'modality unknown'}",
        f"pixels    {shape} (channels x height x width) {facts['dtype']}, {low:g} to {high:g}",
        f"masks     {', '.join(facts['mask_classes']) or 'none'}",
    ]
    lines += [f"counts    {facts['counts_are']}"] if "counts_are" in facts else []
    for split in [name for name in SPLITS if name in facts["counts"]]:
        count = facts["counts"][split]
        repeats = f", {count['repeats']} repeats" if "repeats" in count else ""
        lines.append(f"{split:<10}{count['images']:>7} images of {count['patients']} patients{repeats}")
    for name, splits in facts["findings"].items():
        lines.append(f"finding   {name}: present in {', '.join(_presence(splits))}")
    lines += _most_frequent(facts["combinations"])
    if facts["spacing_mm"]:
        ranges = [f"{axis} {low:.3g} to {high:.3g}" for axis, (low, high) in facts["spacing_mm"].items()]
        lines.append(f"spacing   {', '.join(ranges)} mm")
    for label, value in (("source", facts["source"]), ("licence", facts["licence"]), ("notice", facts["notice"])):
        lines += [f"{label:<10}{value}"] if value else []
    lines += [f"rule      {key}: {value}" for key, value in facts["pixel_rules"].items()]
    lines += [line for step in facts["history"] for line in step_lines(step)]
    return "\n".join(lines)
