"""How alike two networks' maps of importance are: a rank correlation for each image, and its mean over patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..runs import derive_seed
from ..statistics import MINIMUM_PATIENTS, jackknife, normal_interval
from ..types import Array, Value

METRIC = "importance_agreement"


def agreement(first: Sequence[Array], second: Sequence[Array], patients: Array, *, seed: int) -> Value:
    """Return the mean rank correlation of two maps of the same images, -1 to 1, and its interval over patients.

    The interval is a jackknife over patients, which holds with few of them, where percentiles of a bootstrap are too
    narrow. Images of which a map is flat say nothing and are left out.

    Args:
        first: A map of each image, (rows, columns).
        second: As `first`, of another network.
        patients: (n,) patient of each image.
        seed: Decides which patients the jackknife leaves out together.
    """
    found = np.array([rank_correlation(one, other) for one, other in zip(first, second, strict=True)], np.float64)
    told, of = found[np.isfinite(found)], np.asarray(patients)[np.isfinite(found)]
    count = len(np.unique(of))
    if count < MINIMUM_PATIENTS:
        reason = f"maps that are not flat are there of {count} patients, and it takes {MINIMUM_PATIENTS}"
        return Value(METRIC, None, better="higher", label="mean", status="not_estimable", reason=reason)
    value = float(told.mean())
    variance = jackknife(lambda rows: float(told[rows].mean()), of, value, seed=derive_seed(seed, METRIC))
    interval = normal_interval(value, variance)
    low, high = interval.clipped(-1, 1) if interval else (None, None)
    return Value(METRIC, value, low, high, better="higher", label="mean")


def rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation of two maps of one shape, ties sharing their rank; NaN where one is flat."""
    ranks = [stats.rankdata(np.asarray(each, np.float64)) for each in (first, second)]
    centred: list[npt.NDArray[np.float64]] = [each - each.mean() for each in ranks]
    length = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1] / length) if length > 0 else float("nan")
