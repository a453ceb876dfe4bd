"""`describe`: what a cohort is and how it was made, for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cohort import Cohort
from .types import SPLITS


def describe(path: Path | str) -> dict[str, Any]:
    """Return what a cohort holds as JSON-ready types: facts, counts per split, findings, spacing, history.

    Spacings are in millimetres; findings count images with 1, 0 and unknown in each split.

    Raises:
        NotACohort: The folder is no cohort.
    """
    cohort = Cohort(path)
    facts = cohort.facts
    return {
        "name": facts.name,
        "modality": facts.modality,
        "provenance": facts.provenance,
        "generator": None if facts.generator is None else dict(facts.generator),
        "source": facts.source,
        "licence": facts.licence,
        "shape": list(facts.shape),
        "dtype": facts.dtype,
        "value_range": list(facts.value_range),
        "mask_classes": list(facts.mask_classes),
        "counts": cohort.counts(),
        "findings": {name: _finding(cohort, name) for name in facts.labels},
        "spacing_mm": _spacing(cohort),
        "pixels_sha256": cohort.pixels_sha256,
        "pixel_rules": dict(facts.pixel_rules),
        "history": [dict(step) for step in facts.history],
    }


def _finding(cohort: Cohort, name: str) -> dict[str, dict[str, int]]:
    values = cohort.samples[f"label.{name}"].astype("Int8").fillna(-1)
    by_split = values.groupby(cohort.samples["split"].astype(str))
    return {
        str(split): {"present": int((v == 1).sum()), "absent": int((v == 0).sum()), "unknown": int((v == -1).sum())}
        for split, v in by_split
    }


def _spacing(cohort: Cohort) -> dict[str, list[float]] | None:
    columns = {axis: f"spacing_{axis}_mm" for axis in ("y", "x")}
    if not set(columns.values()) <= set(cohort.samples.columns):
        return None
    known = cohort.samples[list(columns.values())].dropna()
    if known.empty:
        return None
    return {axis: [float(known[column].min()), float(known[column].max())] for axis, column in columns.items()}


def as_text(facts: dict[str, Any]) -> str:
    """Return what `describe` found as lines for a person."""
    shape = "x".join(str(length) for length in facts["shape"])
    low, high = facts["value_range"]
    lines = [
        f"{facts['name']}: {facts['provenance']} cohort, {facts['modality'] or 'modality unknown'}",
        f"pixels    {shape} (channels x height x width) {facts['dtype']}, {low:g} to {high:g}",
        f"masks     {', '.join(facts['mask_classes']) or 'none'}",
    ]
    for split in [name for name in SPLITS if name in facts["counts"]]:
        count = facts["counts"][split]
        lines.append(f"{split:<10}{count['images']:>7} images of {count['patients']} patients")
    for name, splits in facts["findings"].items():
        parts = [f"{split} {c['present']}/{c['present'] + c['absent']}" for split, c in splits.items()]
        lines.append(f"finding   {name}: present in {', '.join(parts)}")
    if facts["spacing_mm"]:
        ranges = [f"{axis} {low:.3g} to {high:.3g}" for axis, (low, high) in facts["spacing_mm"].items()]
        lines.append(f"spacing   {', '.join(ranges)} mm")
    for label, value in (("source", facts["source"]), ("licence", facts["licence"])):
        lines += [f"{label:<10}{value}"] if value else []
    lines += [f"rule      {key}: {value}" for key, value in facts["pixel_rules"].items()]
    lines += [f"step      {', '.join(f'{key} {value}' for key, value in step.items())}" for step in facts["history"]]
    return "\n".join(lines)
