"""How much of the images each mask class covers, of the subject beside real training images.

A mean over images, with a bootstrap over patients. It has no better or worse by itself: read it beside the ceiling. A
class that is smaller in every synthetic mask, or missing from most of them, shows here first; `violations` tells of
single impossible masks instead.
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..statistics import MINIMUM_PATIENTS, percentile_interval
from ..types import Array, Samples, Value

REVISION = 1
SPACE = "samples"
NAME = "foreground_share"
_DRAWS = 2000
_CHUNK = 256


def shares(masks: Array, classes: int) -> Array:
    """Return the share of pixels of each mask class, (n, classes) float64."""
    found = np.empty((len(masks), classes))
    for start in range(0, len(masks), _CHUNK):
        block = np.asarray(masks[start : start + _CHUNK])
        found[start : start + _CHUNK] = np.stack(
            [(block == index).mean(axis=(1, 2)) for index in range(classes)], axis=1
        )
    return found


def score(real: Samples, subject: Samples, *, seed: int) -> list[Value]:
    """Return the mean share of pixels of each foreground class, with the real one in the reason; nothing without masks.

    Args:
        real: Training images.
        subject: What is measured.
        seed: Decides the bootstrap draws.
    """
    if real.masks is None or subject.masks is None:
        return []
    classes = subject.mask_classes
    if not len(subject):
        return [
            Value(NAME, None, unit="share", label=name, status="not_estimable", reason="no sample to measure")
            for name in classes[1:]
        ]
    found, truth = shares(subject.masks, len(classes)), shares(real.masks, len(classes))
    draws = _drawn_means(found, subject.patients, seed=derive_seed(seed, NAME))
    rows = []
    for index, name in enumerate(classes[1:], start=1):
        low, high = (percentile_interval(draws[:, index]) if len(draws) else None) or (None, None)
        empty, empty_truth = ((each[:, index] == 0).mean() for each in (found, truth))
        reason = (
            f"real training images: {truth[:, index].mean():.2%}; without it: {empty:.0%} of these, "
            f"{empty_truth:.0%} of the real training images"
        )
        rows.append(Value(NAME, float(found[:, index].mean()), low, high, "share", label=name, reason=reason))
    return rows


def _drawn_means(values: Array, patients: Array, *, seed: int) -> Array:
    """Return means over patients drawn with replacement, with all their images, (draws, columns)."""
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < MINIMUM_PATIENTS:
        return np.empty((0, values.shape[1]))
    sums = np.stack([np.bincount(owner, weights=column) for column in values.T], axis=1)
    sizes, rng = np.bincount(owner).astype(np.float64), np.random.default_rng(seed)
    means = np.empty((_DRAWS, values.shape[1]))
    for draw in range(_DRAWS):
        picks = rng.integers(len(names), size=len(names))
        means[draw] = sums[picks].sum(axis=0) / sizes[picks].sum()
    return means
