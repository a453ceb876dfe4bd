"""The risk that an attack adds: its success among training patients beyond its success among held-out patients.

risk = (attack - control) / (1 - control), both success rates being the centres of Wilson's intervals, and their errors
half its widths, carried through the formula (Giomi et al. 2023, Anonymeter, arXiv:2211.10459). It is cut to [0, 1]:
below 0 the attack does no better than on people who were not there. One guess is made for each patient, so the guesses
are independent.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from ..statistics import LEVEL, Interval
from ..types import Array, Value

FEWEST_GUESSES = 10


def wilson(successes: float, trials: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the centre and half the width of Wilson's interval of a share."""
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * float(np.sqrt(successes * (trials - successes) / trials + z * z / 4))
    return centre, half


def risk(attack: tuple[float, int], control: tuple[float, int], *, level: float = LEVEL) -> tuple[float, Interval]:
    """Return the risk and its interval, cut to [0, 1], from (successes, trials) of attack and control."""
    (hit, hit_error), (chance, chance_error) = (wilson(*side, level=level) for side in (attack, control))
    value = (hit - chance) / (1 - chance)
    error = float(np.hypot(hit_error / (1 - chance), chance_error * (hit - 1) / (1 - chance) ** 2))
    return min(max(value, 0.0), 1.0), Interval(value - error, value + error).clipped(0.0, 1.0)


def risk_row(metric: str, attack: Array, control: Array, *, label: str = "", what: str = "patients") -> Value:
    """Return the row of an attack from its successes, (n,) bool, a guess for each patient of either side."""
    if min(len(attack), len(control)) < FEWEST_GUESSES:
        reason = f"{len(attack)} training and {len(control)} held-out {what} to guess; {FEWEST_GUESSES} are needed"
        return Value(metric, None, better="lower", unit="share", label=label, status="not_estimable", reason=reason)
    hits, chance = int(attack.sum()), int(control.sum())
    value, interval = risk((hits, len(attack)), (chance, len(control)))
    reason = f"{hits} of {len(attack)} training and {chance} of {len(control)} held-out {what}"
    return Value(metric, value, *interval, unit="share", better="lower", label=label, reason=reason)
