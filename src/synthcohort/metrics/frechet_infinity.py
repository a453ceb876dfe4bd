"""Frechet distance extrapolated to infinitely many images.

Source: Chong and Forsyth 2020 (arXiv:1911.07023): the distance grows about linearly in 1 / N, so the intercept of a
line through distances of subsamples is what infinitely many images would score. Here both sides are subsampled, whole
patients without replacement, and the abscissa is 1 / share of the rows, so unequal sides and patients with several
images are on one line. Lower is better; 0 in expectation for equal distributions, and negative values are chance.

The line holds only where every subsample has clearly more images than dimensions; otherwise there is no value. To first
order the extrapolated distance varies as the distance itself does, so the interval is the distance's jackknife over the
patients of both sides, widened by the error of the line's intercept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import Variance, jackknife_variance, normal_interval, patient_groups
from ..types import Array, Features, Value
from ._frechet import Moments, distance
from ._sides import check_one_space, few_patients, unusable

REVISION = 1
SPACE = "features"
NAME = "frechet_infinity"
FEWEST_PATIENTS = 20
IMAGES_PER_DIMENSION = 2.0
GROUPS = 10
KEPT = (5, 6, 7, 8, 9)
DRAWS = 3

Matrix = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]


class Blocks:
    """Features of one side by patient group, as sums of which the moments of any choice of groups follow.

    Args:
        values: (n, d) float.
        groups: (n,) group of each row.
    """

    def __init__(self, values: Array, groups: Array) -> None:
        rows = np.asarray(values, np.float64)
        self._centre = rows.mean(axis=0)  # sums of squares lose fewer digits near the origin
        members = [rows[groups == group] - self._centre for group in range(int(groups.max()) + 1)]
        self.sizes = np.array([len(each) for each in members])
        self._sums = np.stack([each.sum(axis=0) for each in members])
        self._squares = [each.T @ each for each in members]

    def moments(self, kept: Kept) -> Moments:
        """Return the moments of the rows of some groups."""
        count = int(self.sizes[kept].sum())
        total = self._sums[kept].sum(axis=0)
        squares = np.zeros_like(self._squares[0])
        for group in np.flatnonzero(kept):
            squares += self._squares[group]
        covariance = (squares - np.outer(total, total) / count) / (count - 1)
        return Moments(self._centre + total / count, float(np.trace(covariance)), covariance, None)


def choices(groups: int, *, seed: int) -> list[Kept]:
    """Return the subsamples of a side, everything last, each as (groups,) bool."""
    rng = np.random.default_rng(seed)
    chosen = []
    for count in KEPT:
        for _ in range(DRAWS):
            kept = np.zeros(groups, bool)
            kept[rng.permutation(groups)[:count]] = True
            chosen.append(kept)
    return [*chosen, np.ones(groups, bool)]


def line(sides: tuple[Blocks, Blocks], drawn: tuple[list[Kept], list[Kept]]) -> tuple[float, Variance]:
    """Return the distance at infinitely many images, and the variance of the line's own intercept."""
    found = np.array([distance(*(side.moments(kept) for side, kept in zip(sides, pair, strict=True)))
                      for pair in zip(*drawn, strict=True)])  # fmt: skip
    abscissa = np.array([_inverse_share(sides, pair) for pair in zip(*drawn, strict=True)])
    design = np.stack([np.ones(len(found)), abscissa], axis=1)
    answer, *_ = np.linalg.lstsq(design, found, rcond=None)
    freedom = len(found) - 2
    spread = float(np.sum((found - design @ answer) ** 2)) / freedom
    return float(answer[0]), Variance(spread * float(np.linalg.inv(design.T @ design)[0, 0]), float(freedom))


def _inverse_share(sides: tuple[Blocks, Blocks], pair: tuple[Kept, Kept]) -> float:
    return float(np.mean([side.sizes.sum() / side.sizes[kept].sum() for side, kept in zip(sides, pair, strict=True)]))


def score(real: Features, synthetic: Features, *, seed: int) -> list[Value]:
    """Return the extrapolated distance with a jackknife interval over the patients of both sides.

    Args:
        real: (n, d) held-out real features.
        synthetic: (m, d) features of the subject, of the same extractor.
        seed: Decides groups and subsamples.

    Raises:
        Mismatch: The two sides come from different extractors.
    """
    check_one_space(real, synthetic)
    owners = (real.patients, synthetic.patients)
    reason = unusable(real, synthetic) or few_patients(*owners, fewest=FEWEST_PATIENTS)
    if reason:
        return [_missing(reason)]
    named = list(zip((real, synthetic), ("real", "synthetic"), strict=True))
    groups = [patient_groups(side.patients, seed=derive_seed(seed, NAME, name), groups=GROUPS) for side, name in named]
    first, second = (choices(GROUPS, seed=derive_seed(seed, NAME, "draws", name)) for _, name in named)
    sizes, dimensions = [np.bincount(group) for group in groups], real.values.shape[1]
    smallest = min(int(size[kept].sum()) for size, drawn in zip(sizes, (first, second), strict=True) for kept in drawn)
    if smallest < IMAGES_PER_DIMENSION * dimensions:
        return [_missing(f"subsamples of {smallest} images in {dimensions} dimensions lie on no line in 1/n")]
    sides = (Blocks(real.values, groups[0]), Blocks(synthetic.values, groups[1]))
    value, own = line(sides, (first, second))
    interval = normal_interval(value, own, *_jackknife(sides))
    assert interval is not None, "both sides have a variance"
    return [Value(NAME, value, interval.low, interval.high, better="lower")]


def _jackknife(sides: tuple[Blocks, Blocks]) -> list[Variance]:
    """Return the variance that each side gives to the distance of all rows."""
    every = np.ones(GROUPS, bool)
    whole = [side.moments(every) for side in sides]
    value, left = distance(*whole), ~np.eye(GROUPS, dtype=bool)
    without = (
        [distance(sides[0].moments(kept), whole[1]) for kept in left],
        [distance(whole[0], sides[1].moments(kept)) for kept in left],
    )
    return [jackknife_variance(value, found, side.sizes) for found, side in zip(without, sides, strict=True)]


def _missing(reason: str) -> Value:
    return Value(NAME, None, better="lower", status="not_estimable", reason=reason)
