"""What can be said from whole pipelines with different seeds: intervals, tests between two settings, rank correlation.

The unit is a whole pipeline with one seed. Study 003 compared the ends of an axis by a one-sided test of Mann and
Whitney (S.5), which stands here beside what reads more from the same runs: differences paired by seed with an interval
and an exact test of sign flips, and parity against a margin. Sources of the rank correlation's interval: Bonett and
Wright 2000 (Psychometrika 65:23), eq. 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ..significance import LEAST_PAIRS, MARGIN, non_inferiority, sign_flip
from ..types import Array

LEAST = 3
"""Pipelines below which a t-interval is so wide that it says nothing."""
LEAST_RANKED = 6
"""Points of a rank correlation below which the interval's approximation does not hold."""

Line = dict[str, Any]


def summary(values: Sequence[float], *, patients: float = 0.0) -> Line:
    """Return n, mean, sd and the 95 % interval of the mean, or the reason why there is none.

    The interval is Student's over pipelines. What another choice of test patients would change is the same for all
    pipelines of a setting and does not average out: its half width is added in squares.

    Args:
        values: One a pipeline.
        patients: Half width of the interval over test patients; 0 says what holds for these patients.
    """
    found = np.asarray(values, np.float64)
    count = len(found)
    line: Line = {"n": count, "mean": None, "sd": None, "low": None, "high": None, "reason": ""}
    if not count:
        return line | {"reason": "no pipeline has a value"}
    line |= {"mean": float(found.mean()), "sd": float(found.std(ddof=1)) if count > 1 else None}
    if count < LEAST:
        return line | {"reason": f"{count} of at least {LEAST} pipelines"}
    half = float(np.hypot(stats.t.ppf(0.975, count - 1) * found.std(ddof=1) / count**0.5, patients))
    return line | {"low": line["mean"] - half, "high": line["mean"] + half}


def parity(high: float | None, *, margin: float = MARGIN) -> Line:
    """Return whether a loss was shown to be smaller than a margin.

    Args:
        high: Upper end of its 95 % interval.
        margin: Set before the run.
    """
    return {"margin": margin, "high": high, "verdict": non_inferiority(high, margin=margin)}


def between(larger: Mapping[int, float], smaller: Mapping[int, float]) -> Line:
    """Return what tells two settings apart: the study's test, and the difference paired by seed.

    Args:
        larger: Seed -> value in the setting that is expected to have the larger values.
        smaller: The same of the other setting.

    Returns:
        n_larger, n_smaller, p_mann_whitney (one-sided, "larger is greater"), pairs, difference with low and high (95 %
        t-interval of the paired mean), p_sign_flip (exact, two-sided), and reason where one is missing.
    """
    shared = sorted(set(larger) & set(smaller))
    paired = [larger[seed] - smaller[seed] for seed in shared]
    line: Line = {"n_larger": len(larger), "n_smaller": len(smaller), "pairs": len(shared)}
    line["p_mann_whitney"] = greater(list(larger.values()), list(smaller.values()))
    found = summary(paired)
    line |= {"difference": found["mean"], "low": found["low"], "high": found["high"], "p_sign_flip": sign_flip(paired)}
    few = f"{len(shared)} of {LEAST_PAIRS} pairs"
    return line | {"reason": "" if line["p_sign_flip"] is not None else few}


def greater(left: Sequence[float] | Array, right: Sequence[float] | Array) -> float | None:
    """Return the one-sided p value of Mann and Whitney's test that `left` is greater; None when a side is empty."""
    if min(len(left), len(right)) == 0:
        return None
    return float(stats.mannwhitneyu(np.asarray(left), np.asarray(right), alternative="greater").pvalue)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Line:
    """Return Spearman's rank correlation with its 95 % interval, or the reason why there is none.

    The interval is that of Fisher's z with variance (1 + r^2 / 2) / (n - 3).

    Args:
        first: (n,) values.
        second: (n,) values.
    """
    count = len(first)
    line: Line = {"n": count, "rho": None, "low": None, "high": None, "reason": ""}
    if count < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return line | {"reason": f"{count} points, or all of one value"}
    rho = float(stats.spearmanr(first, second).statistic)
    line["rho"] = rho
    if count < LEAST_RANKED:
        return line | {"reason": f"{count} of at least {LEAST_RANKED} points"}
    if abs(rho) >= 1:  # Fisher's z is infinite; the nearest rank order but one is the limit that the data give
        rho = float(np.sign(rho)) * (1 - 6 * 2 / (count * (count**2 - 1)))
    half = 1.959963984540054 * ((1 + rho**2 / 2) / (count - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)
    return line | {"low": float(low), "high": float(high)}
