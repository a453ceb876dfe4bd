"""Scores of membership attacks: (n,) numbers for every image of either side, higher where it looks learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..runs import derive_seed
from ..statistics import patient_groups
from ..types import Array, Features
from ._intervals import Floats
from ._neighbours import nearest

NEIGHBOURS = 64
COMPONENTS = 64
FOLDS = 5
Projection = Callable[[Array], Floats]

_TINY = 1e-12
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Scored:
    """What one attack says of every member and every non-member."""

    members: Floats
    others: Floats


def attacks(members: Features, subject: Array, others: Features, *, seed: int) -> dict[str, Scored]:
    """Return attack -> its scores, of features (n, d).

    Args:
        members: Training images.
        subject: (m, d) synthetic images.
        others: Images of patients that nothing was trained on.
        seed: Deals the patients of the density ratio.
    """
    near = [nearest(side.values, subject, NEIGHBOURS)[1] for side in (members, others)]
    return {
        "distance": Scored(-near[0][:, 0], -near[1][:, 0]),
        "monte carlo": Scored(*monte_carlo(*near)),
        "density ratio": density_ratio(members, subject, others, seed=seed),
    }


def monte_carlo(members: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Return for either side how closely it is surrounded by synthetic images (Hilprecht et al. 2019).

    Every synthetic image nearer than e adds log(e / distance); e is the median distance of an image to the synthetic
    one nearest to it, both sides counting half. At most the nearest `NEIGHBOURS` are counted.

    Args:
        members: (n, k) distances to the nearest synthetic images, nearest first.
        others: The same of non-members, (m, k).
    """
    radius = _balanced_median(members[:, 0], others[:, 0])
    near = [np.where(side < radius, np.log(max(radius, _TINY) / np.maximum(side, _TINY)), 0.0).sum(1)
            for side in (members, others)]  # fmt: skip
    return near[0], near[1]


def _balanced_median(left: Floats, right: Floats) -> float:
    """Return the median of two samples that count half each, however many values they have."""
    values = np.concatenate([left, right])
    weights = np.repeat([0.5 / len(left), 0.5 / len(right)], [len(left), len(right)])
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), 0.5)])


def density_ratio(members: Features, subject: Array, others: Features, *, seed: int) -> Scored:
    """Return log p(x; synthetic) - log p(x; real) (van Breugel et al. 2023) of Gaussian kernel densities.

    Features are whitened by the principal components of the synthetic images, which neither side had a part in. The
    real density comes from non-members. Lest one be compared with itself, the patients of both sides are dealt into
    `FOLDS` groups and each group is scored against the non-members of the other groups: members and non-members of a
    group meet the very same density.
    """
    project = _whitening(subject)
    inside, outside, made = project(members.values), project(others.values), project(subject)
    dealt = [patient_groups(side.patients, seed=derive_seed(seed, "folds", n), groups=FOLDS)
             for n, side in enumerate((members, others))]  # fmt: skip
    scores = []
    for side, fold in zip((inside, outside), dealt, strict=True):
        found = log_density(side, made)
        for each in range(FOLDS):
            found[fold == each] -= log_density(side[fold == each], outside[dealt[1] != each])
        scores.append(found)
    return Scored(*scores)


def _whitening(values: Array) -> Projection:
    wide = values.astype(np.float64)
    mean = wide.mean(axis=0)
    spread, axes = np.linalg.eigh(np.cov(wide - mean, rowvar=False).reshape(wide.shape[1], -1))
    # Few images do not tell the spread of many directions; those without any would be divided by 0.
    kept = np.arange(len(spread))[::-1][: max(1, min(COMPONENTS, len(values) // 5))]
    kept = kept[spread[kept] > 1e-9 * max(spread[-1], _TINY)]
    matrix = axes[:, kept] / np.sqrt(spread[kept])
    return lambda rows: np.asarray((rows.astype(np.float64) - mean) @ matrix)


def log_density(queries: Array, points: Array) -> Floats:
    """Return the log of the Gaussian kernel density of `points` (n, d) at `queries` (m, d), up to a constant of d.

    The kernel has unit covariance times the square of Scott's bandwidth, n^(-1/(d+4)).
    """
    count, width = points.shape
    bandwidth = count ** (-1 / (width + 4))
    scaled, near = queries / bandwidth, points / bandwidth
    squares = np.einsum("ij,ij->i", near, near)
    found = np.empty(len(queries))
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows = scaled[start : start + _BLOCK_ROWS]
        power = rows @ near.T - squares / 2 - np.einsum("ij,ij->i", rows, rows)[:, None] / 2
        top = power.max(axis=1)
        found[start : start + _BLOCK_ROWS] = top + np.log(np.exp(power - top[:, None]).sum(axis=1))
    return np.asarray(found - np.log(count) - width * np.log(bandwidth))
