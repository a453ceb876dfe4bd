"""Data copying (C_T): are synthetic images nearer to the training images than unseen real images are?

In every cell of the training images (k-means), the distances of synthetic images to their nearest training image are
ranked among those of held-out images; C_T is the mean of the cells' Mann-Whitney z, weighted by the held-out images of
each. Far below 0 is copying, about 0 is as expected, far above 0 is a generator that stays away from the data. Cells
that hold too few synthetic images are left out, as in the paper.

It is descriptive. The z counts images one by one, so it is too extreme where patients have several, and no interval is
given; read it beside `holdout`. An average over all images hides a few copies, and a copy that was moved or distorted
in a way the space does not see is missed.

Source: Meehan, Chaudhuri, Dasgupta 2020 (arXiv:2004.05675, section 3 and eq. 3).
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2

from ..runs import derive_seed
from ..types import Array, Features, Value
from ._neighbours import nearest
from ._sets import flat, missing, unusable

REVISION = 1
SPACE = "audit"

CELLS = 5
FEWEST_IN_A_CELL = 10
"""Images of either side; the normal approximation of the Mann-Whitney statistic is fair from there on."""


def rank_z(lower: Array, upper: Array) -> float:
    """Return the Mann-Whitney z of two samples: below 0 where the values of `lower` are the smaller ones."""
    n, m = len(lower), len(upper)
    known = np.sort(upper)
    above = sum((np.searchsorted(known, lower, side=side)).sum() for side in ("left", "right")) / 2
    return float((above - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return C_T.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images to judge.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Starts the k-means of the cells.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return [missing("data_copying", reason, unit="z")]
    known, made, other = (flat(side).values for side in (train, subject, held_out))
    cell = _cells(known, seed=derive_seed(seed, "cells"))
    (near_made, far_made), (near_other, far_other) = nearest(made, known), nearest(other, known)
    made_cell, other_cell = cell[near_made[:, 0]], cell[near_other[:, 0]]
    scores, weights = [], []
    for each in range(int(cell.max()) + 1):
        of_made, of_other = far_made[made_cell == each, 0], far_other[other_cell == each, 0]
        if min(len(of_made), len(of_other)) >= FEWEST_IN_A_CELL:
            scores.append(rank_z(of_made, of_other))
            weights.append(len(of_other))
    if not scores:
        return [missing("data_copying", f"no cell has {FEWEST_IN_A_CELL} images of both sides", unit="z")]
    covered = sum(weights) / len(other)
    reason = f"{len(scores)} cells with {covered:.0%} of the held-out images; images counted one by one, not by patient"
    return [Value("data_copying", float(np.average(scores, weights=weights)), unit="z", reason=reason)]


def _cells(values: Array, *, seed: int) -> Array:
    """Return the k-means cell of each training image, in an order of rows that is the values' own."""
    order = np.lexsort(values[:, : min(4, values.shape[1])].T)
    count = max(1, min(CELLS, len(values) // 20))
    found = np.empty(len(values), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cell is one cell less
        _, found[order] = kmeans2(values[order].astype(np.float64), count, minit="++", seed=np.random.default_rng(seed))
    return found
