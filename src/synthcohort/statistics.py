"""Intervals that are valid for the statistic: jackknife and bootstraps over patients, exact binomial.

The unit that is left out or redrawn is the patient (and the seed), never the image: slices of one patient are not
independent. Distances between sets (Frechet, KID, nearest neighbours) are biased by repeated rows, so they get a
delete-a-group jackknife, which repeats none; means over patients (Dice, AUC) get a cluster bootstrap.

Sources: Busing, Meijer, van der Leeden 1999 (jackknife with unequal groups, doi:10.1023/A:1008800423698); Field and
Welsh 2007 (bootstrapping clustered data); Owen 2007, "The pigeonhole bootstrap" (Ann. Appl. Stat. 1:386;
crossed seeds and patients); Clopper and Pearson 1934.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from .types import Array

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEVEL = 0.95
JACKKNIFE_GROUPS = 10
MINIMUM_PATIENTS = 3
_UNDEFINED_SHARE = 0.05


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float

    def clipped(self, lowest: float, highest: float) -> Interval:
        """Return the interval cut to the values that the statistic can take."""
        return Interval(min(max(self.low, lowest), highest), max(min(self.high, highest), lowest))


class Variance(NamedTuple):
    """A variance estimate with its degrees of freedom."""

    variance: float
    freedom: float


def patient_groups(patients: Array, *, seed: int, groups: int = JACKKNIFE_GROUPS) -> Rows:
    """Return the jackknife group of each row, (n,) int64: patients dealt at random, groups nearly equal in rows.

    Args:
        patients: (n,) patient of each row; all rows of a patient fall into one group.
        seed: Decides the deal.
        groups: Most groups to make; with fewer patients, every patient is a group.
    """
    _, patient_of_row = np.unique(np.asarray(patients), return_inverse=True)
    sizes = np.bincount(patient_of_row)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    filled = np.zeros(min(groups, len(sizes)), dtype=np.int64)
    group_of_patient = np.empty(len(sizes), dtype=np.int64)
    for patient in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:  # largest first, into the emptiest group
        group_of_patient[patient] = filled.argmin()
        filled[group_of_patient[patient]] += sizes[patient]
    return group_of_patient[patient_of_row]


def jackknife_variance(value: float, without: Sequence[float] | Floats, sizes: Sequence[int] | Rows) -> Variance:
    """Return the delete-a-group jackknife variance (Busing et al. 1999).

    Args:
        value: The statistic on all rows.
        without: (g,) the statistic with each group left out.
        sizes: (g,) rows in each group. With equal sizes this is the textbook (g-1)/g * sum of squares.
    """
    left_out, rows = np.asarray(without, np.float64), np.asarray(sizes, np.float64)
    count, ratio = len(rows), rows.sum() / rows
    estimate = count * value - np.sum((1 - 1 / ratio) * left_out)
    pseudo = ratio * value - (ratio - 1) * left_out
    return Variance(float(np.mean((pseudo - estimate) ** 2 / (ratio - 1))), float(count - 1))


def jackknife(statistic: Callable[[Rows], float], patients: Array, value: float, *, seed: int) -> Variance | None:
    """Return the jackknife variance of a statistic of one side; None with fewer than `MINIMUM_PATIENTS` patients.

    Args:
        statistic: Given the kept rows, the statistic.
        patients: (n,) patient of each row.
        value: The statistic on all rows.
        seed: Decides the groups.
    """
    if not enough_patients(patients):
        return None
    group = patient_groups(patients, seed=seed)
    sizes = np.bincount(group)
    return jackknife_variance(value, [statistic(np.flatnonzero(group != g)) for g in range(len(sizes))], sizes)


def enough_patients(*sides: Array) -> bool:
    """Return whether every side has the patients that a jackknife needs."""
    return all(len(np.unique(np.asarray(patients))) >= MINIMUM_PATIENTS for patients in sides)


def normal_interval(value: float, *parts: Variance | None, level: float = LEVEL) -> Interval | None:
    """Return value -+ t * sqrt(sum of variances) for independent sides; None when a side has no variance.

    The degrees of freedom are Welch's and Satterthwaite's.
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    total = sum(part.variance for part in known)
    if total == 0:
        return Interval(value, value)
    freedom = total**2 / sum(part.variance**2 / part.freedom for part in known)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * total**0.5
    return Interval(value - reach, value + reach)


def cluster_bootstrap(statistic: Callable[[Rows], float], patients: Array, *, seed: int, draws: int = 2000) -> Floats:
    """Return `draws` values of a statistic, each on patients drawn with replacement, with all their rows.

    Args:
        statistic: Given row numbers (a patient drawn twice has its rows twice), the statistic; NaN where undefined.
        patients: (n,) patient of each row.
        seed: Decides the draws.
        draws: How many.
    """
    rng, rows = np.random.default_rng(seed), _rows_by_patient(patients)
    picks = rng.integers(len(rows), size=(draws, len(rows)))
    return np.array([statistic(np.concatenate([rows[p] for p in pick])) for pick in picks], dtype=np.float64)


def patient_draws(patients: Array, *, seed: int, draws: int = 2000) -> npt.NDArray[np.uint16]:
    """Return how often each row is drawn when patients are drawn with replacement, (draws, n) uint16.

    The same patients as `cluster_bootstrap` draws with that seed.

    Args:
        patients: (n,) patient of each row.
        seed: Decides the draws.
        draws: How many.
    """
    names, patient_of_row = np.unique(np.asarray(patients), return_inverse=True)
    picks = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    places = picks + len(names) * np.arange(draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=draws * len(names)).astype(np.uint16)
    return counts.reshape(draws, len(names))[:, patient_of_row]


def hierarchical_bootstrap(
    statistic: Callable[[Rows, Rows], float], patients: Array, *, seeds: int, seed: int, draws: int = 2000
) -> Floats:
    """Return `draws` values of a statistic on (run seeds, patients), both drawn with replacement.

    Arms are paired by handing the same draw to both: let `statistic` index each arm's (seeds, rows) table, e.g.
    ``lambda s, r: np.nanmean(a[np.ix_(s, r)]) - np.nanmean(b[np.ix_(s, r)])``. Seeds and patients are crossed, so
    this is the pigeonhole bootstrap: mildly conservative. With few seeds the spread between seeds is understated by
    about (seeds - 1) / seeds.

    Args:
        statistic: Given seed numbers and row numbers, the statistic; NaN where undefined.
        patients: (n,) patient of each row, the same rows in every run.
        seeds: Number of runs.
        seed: Decides the draws.
        draws: How many.
    """
    rng, rows = np.random.default_rng(seed), _rows_by_patient(patients)
    values = np.empty(draws, dtype=np.float64)
    for draw in range(draws):
        runs = rng.integers(seeds, size=seeds)
        values[draw] = statistic(runs, np.concatenate([rows[p] for p in rng.integers(len(rows), size=len(rows))]))
    return values


def _rows_by_patient(patients: Array) -> list[Rows]:
    _, patient_of_row, sizes = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return list(np.split(np.argsort(patient_of_row, kind="stable"), np.cumsum(sizes)[:-1]))


def percentile_interval(draws: Floats, *, level: float = LEVEL) -> Interval | None:
    """Return the percentile interval of bootstrap draws.

    Draws where the statistic is undefined (NaN: no patient with that class) are left out; None when they are more
    than 5 %, because what is left is then no longer the statistic's distribution.
    """
    defined = draws[np.isfinite(draws)]
    if len(defined) == 0 or len(defined) < (1 - _UNDEFINED_SHARE) * len(draws):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def auc(truth: Array, scores: Array) -> float:
    """Return the area under the ROC curve, 0 to 1: the share of (positive, negative) pairs that the scores order right.

    Equal scores count half (Mann and Whitney 1947; Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).

    Args:
        truth: (n,) 0 or 1; NaN is unknown and left out.
        scores: (n,) finite; higher speaks for 1.

    Returns:
        NaN when one of the two values is missing from the truth.
    """
    known = np.isfinite(truth)
    positive, ranks = np.asarray(truth)[known] == 1, stats.rankdata(np.asarray(scores)[known])
    ones = int(positive.sum())
    pairs = ones * (len(positive) - ones)
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / pairs) if pairs else float("nan")


def clopper_pearson(successes: int, trials: int, *, level: float = LEVEL) -> Interval:
    """Return the exact binomial interval of a share (Clopper and Pearson 1934).

    Args:
        successes: 0 to `trials`.
        trials: At least 1.
        level: Two-sided confidence; the upper end alone holds with (1 + level) / 2.

    Raises:
        ValueError: The counts are impossible.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(stats.beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(stats.beta.ppf(1 - tail, successes + 1, trials - successes))
    return Interval(low, high)
