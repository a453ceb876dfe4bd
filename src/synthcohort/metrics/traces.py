"""Traces of storage: can the two sets be told apart by how their pixels were quantised, clipped or compressed?

A detector of bugs in preparation. Of each image three numbers that say nothing about anatomy are read: the share of its
pixels on grey levels that the other set never uses (quantisation, a stretched histogram), the share of pixels at the
ends of the legal range (clipping, a background that is exactly black), and by how much neighbouring pixels differ more
across the borders of 8 x 8 blocks than within them (JPEG). The probe of `c2st` is cross-fitted on these three. 0.5:
they say nothing. Near 1: a classifier can be perfect by these traces alone, and a distance large; lower is better.

It sees blocks that lie on the image's own grid only: a resize after the compression hides them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..types import Array, Samples, Value
from ._probe import FEWEST_PATIENTS, separation
from ._sides import few_patients

REVISION = 1
SPACE = "samples"
NAME = "traces_auc"
BLOCK = 8
_CHUNK = 256

Floats = npt.NDArray[np.float64]


def score(real: Samples, subject: Samples, *, seed: int) -> list[Value]:
    """Return the area under the ROC curve of a probe that sees traces only; the reason names what they are.

    Args:
        real: Training images.
        subject: What is scored; as many images of both are used as the smaller set has.
        seed: Decides which images are used, and the folds.
    """
    reason = few_patients(real.patients, subject.patients, fewest=FEWEST_PATIENTS)
    if reason:
        return [Value(NAME, None, better="lower", status="not_estimable", reason=reason)]
    count = min(len(real), len(subject))
    kept = [_drawn(len(side), count, seed=derive_seed(seed, NAME, name)) for side, name in ((real, 0), (subject, 1))]
    images = [np.asarray(side.images)[rows] for side, rows in zip((real, subject), kept, strict=True)]
    patients = (np.asarray(real.patients)[kept[0]], np.asarray(subject.patients)[kept[1]])
    if reason := few_patients(*patients, fewest=FEWEST_PATIENTS):
        return [Value(NAME, None, better="lower", status="not_estimable", reason=reason)]
    found = [
        np.stack([foreign(own, other), at_the_ends(own, real.value_range), blocking(own)], axis=1)
        for own, other in (images, images[::-1])
    ]
    auc, interval = separation(found[0], found[1], patients, seed=seed)
    return [Value(NAME, auc, *interval, better="lower", reason=_said(*(each.mean(axis=0) for each in found)))]


def _drawn(size: int, count: int, *, seed: int) -> Array:
    return np.sort(np.random.default_rng(seed).choice(size, count, replace=False))


def foreign(images: Array, others: Array) -> Floats:
    """Return the share of each image's pixels whose grey level no pixel of the other set has, (n,)."""
    absent = ~np.isin(np.arange(np.iinfo(images.dtype).max + 1), np.unique(others))
    return _of_images(images, lambda block: absent[block])


def at_the_ends(images: Array, value_range: tuple[float, float]) -> Floats:
    """Return the share of each image's pixels at the lowest or highest legal value, (n,)."""
    return _of_images(images, lambda block: (block <= value_range[0]) | (block >= value_range[1]))


def blocking(images: Array) -> Floats:
    """Return how much neighbours differ across borders of blocks over how much within, (n,); 1 is no blocks."""
    ratios = np.empty(len(images))
    for start in range(0, len(images), _CHUNK):
        block = images[start : start + _CHUNK].astype(np.float64)
        across, within = np.zeros(len(block)), np.zeros(len(block))
        for axis in (2, 3):
            steps = np.abs(np.diff(block, axis=axis)).mean(axis=(1, 5 - axis))
            border = np.arange(1, block.shape[axis]) % BLOCK == 0
            if border.any():
                across, within = across + steps[:, border].mean(axis=1), within + steps[:, ~border].mean(axis=1)
        ratios[start : start + _CHUNK] = np.divide(across, within, out=np.ones(len(block)), where=within > 0)
    return ratios


def _of_images(images: Array, judge: object) -> Floats:
    assert callable(judge)
    parts = [judge(images[start : start + _CHUNK]).mean(axis=(1, 2, 3)) for start in range(0, len(images), _CHUNK)]
    return np.concatenate(parts)


def _said(real: Floats, subject: Floats) -> str:
    return (
        f"pixels on grey levels that the other set never has {real[0]:.1%} of the real, {subject[0]:.1%} here; at the "
        f"ends of the range {real[1]:.1%} and {subject[1]:.1%}; steps at borders of 8 x 8 blocks over others "
        f"{real[2]:.2f} and {subject[2]:.2f}"
    )
