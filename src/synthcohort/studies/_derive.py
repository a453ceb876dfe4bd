"""A cohort cut from another: some of its combinations of findings, so many images of each, at a smaller side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import runs
from .._cut import Cut, cut
from ..cohort import Cohort, Facts, existing, writing_cohort
from ..types import SPLITS, Array
from ._points import first_of_each, labels_of, occurring

REVISION = 1


def derive(cohort: Cohort, out: Path, *, wanted: Cut, size: int, seed: int, findings: Sequence[str] = ()) -> Cohort:
    """Return a cohort of some images of another one; the same call again returns the finished one.

    Val, test and the reference patients stay in their splits. For one cohort and seed, fewer images are a subset of
    more. A smaller side is the mean of squares of pixels, as in study 003; masks are dropped then.

    Args:
        cohort: With labels.
        out: The new cohort.
        wanted: What is taken; nothing is cut where it is the empty cut.
        size: Side in pixels: the cohort's own, halved some times.
        seed: Of the choice of images.
        findings: Labels that stay; all when left out.

    Raises:
        InputError: There are fewer images than are wanted.
    """
    config = {"kind": "derive", "revision": REVISION, "cohort": cohort.identity, "cut": asdict(wanted)}
    config |= {"size": size, "seed": seed, "findings": list(findings)}
    if finished := existing(out, config):
        return finished
    positions, names = _taken(cohort, wanted, seed, tuple(findings) or occurring(cohort))
    factor = cohort.facts.shape[1] // size
    facts = _facts(cohort, names, factor, {**config, "step": "derive", "fingerprint": runs.fingerprint(config)})
    table = _table(cohort, positions, names, factor)
    with writing_cohort(out, facts, config, runs.cohort_key(cohort.facts.name)) as writer:
        for place, row in zip(positions.tolist(), table.to_dict("records"), strict=True):
            mask = None if cohort.masks is None or not facts.mask_classes else cohort.masks[place]
            known = {str(name): None if pd.isna(value) else value for name, value in row.items()}
            writer.append(_pooled(cohort.images[place], factor), mask, known)
        writer.finish()
    return Cohort(out)


def _taken(cohort: Cohort, wanted: Cut, seed: int, names: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    """Return the positions of the images that are taken and the findings that they hold."""
    if wanted == Cut():
        return np.arange(len(cohort)), names
    kept = first_of_each(cohort)
    places = np.array([SPLITS.index(split) for split in cohort.samples["split"].to_numpy()[kept]], np.int64)
    found = cut(labels_of(cohort, names)[kept], places, names, wanted, seed=seed)
    return kept[found.images], found.findings


def _facts(cohort: Cohort, names: tuple[str, ...], factor: int, step: Mapping[str, Any]) -> Facts:
    facts = replace(cohort.facts, labels=names, history=[*cohort.facts.history, dict(step)])
    if factor == 1:
        return facts
    channels, height, width = facts.shape
    rules = {**facts.pixel_rules, "means_of": [factor, factor]}
    return replace(facts, shape=(channels, height // factor, width // factor), mask_classes=(), pixel_rules=rules)


def _table(cohort: Cohort, positions: Array, names: tuple[str, ...], factor: int) -> pd.DataFrame:
    gone = [f"label.{name}" for name in cohort.facts.labels if name not in names]
    table = cohort.samples.iloc[positions].drop(columns=[*gone, "digest"], errors="ignore").copy()
    for column in ("spacing_y_mm", "spacing_x_mm"):
        if column in table:
            table[column] = table[column] * factor
    return table


def _pooled(image: Array, factor: int) -> Array:
    """Return an image (C, H, W) whose pixels are means of squares, rounded, of its own type."""
    if factor == 1:
        return np.asarray(image)
    channels, height, width = image.shape
    squares = image.reshape(channels, height // factor, factor, width // factor, factor)
    pooled: Array = np.rint(squares.mean(axis=(2, 4), dtype=np.float64)).astype(image.dtype)
    return pooled
