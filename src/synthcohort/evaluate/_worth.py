"""What a number of real patients would have reached: a learning curve, and where a result lies on it.

The curve is made monotone (isotonic least squares over the sizes, Barlow et al. 1972) and is straight in the logarithm
of the number of patients between its sizes. A result above the largest size is worth at least that many patients, below
the smallest at most that many: those are bounds, not numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..types import Array

Floats = npt.NDArray[np.float64]
SIZES = 5
SMALLEST = 4
_ROUNDING = 1e-9
EXACT, AT_LEAST, AT_MOST = "patients", "patients or more", "patients or fewer"


def sizes(patients: int) -> list[int]:
    """Return up to five numbers of patients, each about half of the next, the largest all of them; [] under 8."""
    halved = {max(round(patients / 2**power), SMALLEST) for power in range(SIZES)}
    return sorted(halved) if patients >= 2 * SMALLEST else []


def nested(patients: Array, counts: list[int], *, seed: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of growing draws of whole patients; each draw holds the one before.

    Args:
        patients: (n,) patient of each row.
        counts: Patients of each draw, ascending.
        seed: Decides the order in which patients join.
    """
    names, patient_of_row = np.unique(np.asarray(patients), return_inverse=True)
    place = np.empty(len(names), np.int64)
    place[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names))
    return [np.flatnonzero(place[patient_of_row] < count) for count in counts]


def monotone(curves: Array) -> Floats:
    """Return curves (..., K) as the nearest ones that never fall, in squared distance: max-min of running means."""
    values = np.asarray(curves, np.float64)
    count = values.shape[-1]
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    result = np.empty_like(values)
    for place in range(count):
        of_starts = [
            np.min([(sums[..., end] - sums[..., start]) / (end - start) for end in range(place + 1, count + 1)], axis=0)
            for start in range(place + 1)
        ]
        result[..., place] = np.max(of_starts, axis=0)
    return result


def equivalent(counts: Array, curves: Array, levels: Array) -> Floats:
    """Return how many patients reach each level, (D,): cut to the ends of the curve; NaN where something is undefined.

    Args:
        counts: (K,) patients, ascending, K >= 2.
        curves: (D, K) what they reach; made monotone here.
        levels: (D,) what is asked.
    """
    logs, rising, levels = np.log(np.asarray(counts, np.float64)), monotone(curves), np.asarray(levels, np.float64)
    found = np.full(len(levels), np.nan)
    for draw in np.flatnonzero(np.isfinite(rising).all(axis=1) & np.isfinite(levels)):
        curve, level = rising[draw], levels[draw]
        if level <= curve[0] or level >= curve[-1] - _ROUNDING:
            found[draw] = counts[-1] if level >= curve[-1] - _ROUNDING else counts[0]
            continue
        # Of patients who add nothing, the fewest: a flat piece is left at its left end.
        above = int(np.searchsorted(curve, level, "left"))
        share = (level - curve[above - 1]) / (curve[above] - curve[above - 1])
        found[draw] = np.exp(logs[above - 1] + share * (logs[above] - logs[above - 1]))
    return found


def unit(counts: Array, value: float) -> str:
    """Return the unit of an equivalent: a bound at the ends of the curve."""
    return AT_LEAST if value >= counts[-1] else AT_MOST if value <= counts[0] else EXACT
