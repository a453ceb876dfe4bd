"""Verdicts on differences: non-inferiority, sign flips over paired seeds, rank sums, and several questions at once.

A difference is "what real training images reach minus what synthetic ones reach": 0 is equal, positive is worse. That a
test finds nothing never shows that two things are equal: parity is claimed against a margin set beforehand, when the
whole interval lies below it.

Sources: Holm 1979 (Scand. J. Stat. 6:65); Benjamini and Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x); Fisher
1935 (sign flips of paired differences); Mann and Whitney 1947, the test of study 003.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from .types import Array

Floats = npt.NDArray[np.float64]
Verdict = Literal["not inferior", "not shown", "not estimable"]

MARGIN = 0.02
"""Of a mean AUC or Dice."""
LEAST_PAIRS = 5
"""With four pairs the smallest two-sided p is 0.125: nothing can be rejected."""


def non_inferiority(high: float | None, *, margin: float = MARGIN) -> Verdict:
    """Return whether a loss was shown to be smaller than a margin.

    Args:
        high: Upper end of the interval of the loss; None where there is none.
        margin: Largest loss that is accepted, set before the run.
    """
    if high is None or not np.isfinite(high):
        return "not estimable"
    return "not inferior" if high < margin else "not shown"


def holm(p_values: Sequence[float] | Array) -> Floats:
    """Return adjusted p values (m,): rejecting those at most alpha keeps the chance of any false one at alpha.

    Args:
        p_values: (m,) of the primary family.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return _in_place(np.minimum(adjusted, 1.0), order)


def benjamini_hochberg(p_values: Sequence[float] | Array) -> Floats:
    """Return adjusted p values (m,): of those at most alpha, a share of at most alpha is false on average.

    For exploratory tables only: of findings, of subgroups.

    Args:
        p_values: (m,).
    """
    values = np.asarray(p_values, np.float64)
    order, count = np.argsort(values, kind="stable"), len(values)
    scaled = values[order] * count / np.arange(1, count + 1)
    return _in_place(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0), order)


def _in_place(values: Floats, order: npt.NDArray[np.int64]) -> Floats:
    result = np.empty_like(values)
    result[order] = values
    return result


def sign_flip(differences: Sequence[float] | Array) -> float | None:
    """Return the exact two-sided p value of paired differences, or None with fewer than five pairs.

    All 2**n ways to flip signs are counted, in two halves whose sums are matched: 40 pairs take a second.

    Args:
        differences: (n,) one for each pipeline seed that both arms share, at most 40.

    Raises:
        ValueError: There are more pairs, or one is not finite.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < LEAST_PAIRS:
        return None
    if len(values) > 40 or not np.isfinite(values).all():
        raise ValueError("Sign flips take up to 40 finite differences")
    first, second = (np.sort(_signed_sums(half)) for half in np.array_split(values, 2))
    # Sums that differ by rounding are ties: they count as being as extreme.
    least = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    above = len(second) - np.searchsorted(second, least - first, "left")
    below = np.searchsorted(second, -least - first, "right")
    total = len(first) * len(second)
    return float(min(above.sum() + below.sum(), total) / total)


def _signed_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def rank_sum(left: Sequence[float] | Array, right: Sequence[float] | Array) -> float | None:
    """Return the two-sided p value of Mann and Whitney's test, or None when a side is empty.

    The studies' own test (`protocol=paper`): unpaired, blind to shared seeds and to the choice of test patients.

    Args:
        left: One value a seed.
        right: The same of the other arm.
    """
    if min(len(left), len(right)) == 0:
        return None
    return float(stats.mannwhitneyu(np.asarray(left), np.asarray(right), alternative="two-sided").pvalue)


def bootstrap_p(draws: Array) -> float | None:
    """Return the two-sided p value that a difference is 0, from its bootstrap draws; None when under 95 % are defined.

    Twice the smaller share of draws on one side of 0, never below 2 / (draws + 1). Exploratory.

    Args:
        draws: (D,) of the difference; NaN where undefined.
    """
    known = np.asarray(draws)[np.isfinite(draws)]
    if len(known) == 0 or len(known) < 0.95 * len(draws):
        return None
    sides = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return float(min(1.0, 2 * (sides + 1) / (len(known) + 1)))
