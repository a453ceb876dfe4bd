"""Improved precision and recall, density and coverage, by nearest-neighbour balls.

Sources: Kynkaanniemi et al. 2019 (arXiv:1904.06991, k = 3) and Naeem et al. 2020 (arXiv:2002.09797, k = 5). A ball
around an image reaches its k-th nearest neighbour in its own set. Higher is better. All four depend on n and k, so
they are read beside the ceiling at the same n; precision and recall are inflated by outliers, and a set that copies
the real images scores 1 on precision, recall and coverage.

Intervals are a delete-a-group jackknife over patients. Every leave-out is exact and comes from the same pass: each row
keeps its nearest neighbours per group, so that leaving a group out is choosing among the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import enough_patients, jackknife_variance, normal_interval, patient_groups
from ..types import Array, Features, Value
from ._sides import check_one_space, unusable

REVISION = 1
SPACE = "features"
PER_LABEL = ("precision", "recall", "coverage")
NEIGHBOURS_PRECISION_RECALL = 3
NEIGHBOURS_DENSITY_COVERAGE = 5
METRICS = ("precision", "recall", "density", "coverage")

Matrix = npt.NDArray[np.float64]
_BLOCK_ROWS = 512


def _blocks(left: Matrix, right: Matrix) -> Iterator[tuple[slice, Matrix]]:
    """Yield squared distances (b, m) of blocks of left rows to all right rows."""
    squares = np.einsum("ij,ij->i", right, right)
    for start in range(0, len(left), _BLOCK_ROWS):
        rows = left[start : start + _BLOCK_ROWS]
        block = np.einsum("ij,ij->i", rows, rows)[:, None] + squares - 2 * rows @ right.T
        yield slice(start, start + len(rows)), np.maximum(block, 0.0)


def _nearest(left: Matrix, right: Matrix, groups: Array, count: int, *, same: bool) -> Matrix:
    """Return the `count` smallest squared distances of each left row to each right group, (n, g, count), inf-padded."""
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    nearest = np.full((len(left), len(members), count), np.inf)
    for rows, block in _blocks(left, right):
        if same:  # an image is not its own neighbour
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        for g, columns in enumerate(members):
            taken = min(count, len(columns))
            nearest[rows, g, :taken] = np.partition(block[:, columns], taken - 1, axis=1)[:, :taken]
    return nearest


def _kth(nearest: Matrix, k: int) -> Matrix:
    """Return the k-th smallest distance over all groups and without each, (n, 1 + g)."""
    columns = [np.partition(nearest.reshape(len(nearest), -1), k - 1, axis=1)[:, k - 1]]
    for g in range(nearest.shape[1] if nearest.shape[1] > 1 else 0):
        others = np.delete(nearest, g, axis=1).reshape(len(nearest), -1)
        columns.append(np.partition(others, k - 1, axis=1)[:, k - 1])
    return np.stack(columns, axis=1)


def _balls_around(points: Matrix, centres: Matrix, radii: Matrix, groups: Array) -> Matrix:
    """Return in how many balls each point lies, with all centres and without each group of them, (n, 1 + g)."""
    counts = np.zeros((len(points), radii.shape[1]))
    for rows, block in _blocks(points, centres):
        for column in range(radii.shape[1]):
            inside = block <= radii[:, column]
            counts[rows, column] = inside[:, groups != column - 1].sum(axis=1)
    return counts


class _Tables:
    """What every leave-out needs, for real (0) and synthetic (1) features with jackknife groups."""

    def __init__(self, real: Array, synthetic: Array, groups: tuple[Array, Array]) -> None:
        centre = np.asarray(real, np.float64).mean(axis=0)  # distances lose fewer digits near the origin
        x, y = (np.asarray(side, np.float64) - centre for side in (real, synthetic))
        k_pr, k_dc = NEIGHBOURS_PRECISION_RECALL, NEIGHBOURS_DENSITY_COVERAGE
        own = _nearest(x, x, groups[0], k_dc, same=True)
        self.groups = groups
        self.precision = _balls_around(y, x, _kth(own, k_pr), groups[0]) > 0
        self.density = _balls_around(y, x, _kth(own, k_dc), groups[0]) / k_dc
        synthetic_radii = _kth(_nearest(y, y, groups[1], k_pr, same=True), k_pr)
        self.recall = _balls_around(x, y, synthetic_radii, groups[1]) > 0
        self.reach = _kth(own, k_dc)
        self.closest = _kth(_nearest(x, y, groups[1], 1, same=False), 1)
        self.sizes = (np.bincount(groups[0]), np.bincount(groups[1]))

    def values(self, without_real: int = -1, without_synthetic: int = -1) -> Matrix:
        """Return precision, recall, density and coverage, (4,), with at most one group of one side left out."""
        x, y = self.groups[0] != without_real, self.groups[1] != without_synthetic
        real_column, synthetic_column = 1 + without_real, 1 + without_synthetic
        return np.array(
            [
                self.precision[y, real_column].mean(),
                self.recall[x, synthetic_column].mean(),
                self.density[y, real_column].mean(),
                (self.closest[x, synthetic_column] <= self.reach[x, real_column]).mean(),
            ]
        )


def prdc(features_real: Array, features_synthetic: Array) -> dict[str, float]:
    """Return precision, recall, density and coverage of features (n, d) and (m, d), n and m above 5."""
    groups = (np.zeros(len(features_real), np.int64), np.zeros(len(features_synthetic), np.int64))
    return dict(zip(METRICS, _Tables(features_real, features_synthetic, groups).values().tolist(), strict=True))


def score(real: Features, synthetic: Features, *, seed: int) -> list[Value]:
    """Return precision, recall, density and coverage with jackknife intervals over the patients of both sides.

    Args:
        real: (n, d) held-out real features.
        synthetic: (m, d) features of the subject, of the same extractor.
        seed: Decides the jackknife groups.

    Raises:
        Mismatch: The two sides come from different extractors.
    """
    check_one_space(real, synthetic)
    if broken := unusable(real, synthetic):
        return [_value(name, None, None, None, broken) for name in METRICS]
    if min(len(real), len(synthetic)) <= NEIGHBOURS_DENSITY_COVERAGE:
        reason = f"a side has fewer than {NEIGHBOURS_DENSITY_COVERAGE + 1} images"
        return [_value(name, None, None, None, reason) for name in METRICS]
    groups = (
        patient_groups(real.patients, seed=derive_seed(seed, "prdc", "real")),
        patient_groups(synthetic.patients, seed=derive_seed(seed, "prdc", "synthetic")),
    )
    left = min(len(group) - int(np.bincount(group).max()) for group in groups)
    if left <= NEIGHBOURS_DENSITY_COVERAGE or not enough_patients(real.patients, synthetic.patients):
        return [_value(name, value) for name, value in prdc(real.values, synthetic.values).items()]
    tables = _Tables(real.values, synthetic.values, groups)
    values = tables.values()
    sizes = tables.sizes
    without = (
        np.stack([tables.values(without_real=g) for g in range(len(sizes[0]))]),
        np.stack([tables.values(without_synthetic=g) for g in range(len(sizes[1]))]),
    )
    rows = []
    for column, name in enumerate(METRICS):
        parts = [jackknife_variance(values[column], without[s][:, column], sizes[s]) for s in (0, 1)]
        interval = normal_interval(float(values[column]), *parts)
        assert interval is not None, "both sides have a variance"
        if interval.low == interval.high:  # 0 or 1 whoever is left out: the jackknife has no variance to go by
            rows.append(_value(name, float(values[column])))
            continue
        low, high = interval.clipped(0.0, np.inf if name == "density" else 1.0)
        rows.append(_value(name, float(values[column]), low, high))
    return rows


def _value(
    name: str, value: float | None, low: float | None = None, high: float | None = None, reason: str = ""
) -> Value:
    unit = "" if name == "density" else "share"
    return Value(
        name, value, low, high, unit, "higher", status="not_estimable" if value is None else "ok", reason=reason
    )
