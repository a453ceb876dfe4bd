"""Copies beyond chance: the excess over held-out patients, a bound on the true share of copies, and the gate.

The search for copies raises false alarms, and more of them for images that resemble all others. So a share of copies is
read beside that of patients whom nothing was trained on, searched in the same way.

Sources: Newcombe 1998 (Stat. Med. 17:873, method 10) and Donner and Zou 2012 (Stat. Methods Med. Res. 21:347) for the
interval of a difference from those of its parts; Clopper and Pearson 1934; Rogan and Gladen 1978 (Am. J. Epidemiol.
107:71) for the share behind an imperfect test; Wilks 1941 (Ann. Math. Stat. 12:91) for how many of further draws exceed
an order statistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from ..statistics import LEVEL, Interval, clopper_pearson
from ..types import Array, Value
from ._copies import Calibration
from ._intervals import clustered_share

GATE_LEVEL = 0.001
"""How often the audit of images that copy nobody may fail; fixed before anything is measured."""
FEWEST_PATIENTS = 2


@dataclass(frozen=True)
class Tally:
    """Which images of a set count as copies.

    Attributes:
        hits: (n,) bool.
        patients: (n,) patient of each; images of one patient are never treated as independent.
    """

    hits: npt.NDArray[np.bool_]
    patients: Array

    def by_patient(self) -> tuple[int, int]:
        """Return the number of patients with at least one copy, and of patients."""
        names, code = np.unique(self.patients, return_inverse=True)
        return int((np.bincount(code, weights=self.hits, minlength=len(names)) > 0).sum()), len(names)


class Gate(NamedTuple):
    """What the exact test says.

    Attributes:
        p: Probability of as many copies or more if there are none but false alarms; 1 where held-out patients have as
            large a share of them.
        fails_from: The fewest patients of the subject with a copy that would fail it; None when not even all would.
    """

    p: float
    fails_from: int | None


def excess(subject: Tally, others: Tally, *, level: float = LEVEL) -> tuple[float, Interval]:
    """Return the subject's share of copies less that of held-out patients, -1 to 1, with its interval.

    Each share has its exact binomial interval at as many observations as its patients leave (`clustered_share`: with no
    hit at all every patient counts once), and the square-and-add rule joins them. Like its parts it is never narrower
    than it should be: at shares of a few per mille it holds more often than its level says.

    Args:
        subject: What is judged.
        others: Patients that nothing was trained on.
        level: Two-sided confidence; either end alone holds with (1 + level) / 2.
    """
    (p, own), (q, chance) = (clustered_share(side.hits, side.patients, level=level) for side in (subject, others))
    low = p - q - float(np.hypot(p - own.low, chance.high - q))
    high = p - q + float(np.hypot(own.high - p, q - chance.low))
    return p - q, Interval(low, high).clipped(-1.0, 1.0)


def bound(highest_excess: float, found: int, planted: int, *, level: float = LEVEL) -> float | None:
    """Return an upper bound of the true share of copies, 0 to 1; None when no planted copy was found.

    It is the upper end of the excess over the lower end of the sensitivity. Each alone holds with (1 + level) / 2, so
    both hold together with at least `level` (Bonferroni). It speaks of copies like the planted ones.

    Args:
        highest_excess: The upper end of `excess` at the same level.
        found: Planted copies that the search found.
        planted: All of them.
        level: Confidence of the bound.
    """
    least = clopper_pearson(found, planted, level=level).low if planted else 0.0
    return min(1.0, max(0.0, highest_excess) / least) if least > 0 else None


def gate(subject: tuple[int, int], others: tuple[int, int], rank: int, patients: int, *, tests: int = 1) -> Gate:
    """Return the exact test of whether the subject has more copies than false alarms explain.

    The threshold is the rank-th largest similarity of P patients, so a further patient lies above it with a probability
    that has, whatever the distribution of similarities, at most a Beta(rank, P + 1 - rank) distribution. Of H held-out
    patients h did; given that, the number among n more is beta-binomial(n, rank + h, P + 1 - rank + H - h). An image
    exceeds it no more often than a patient with all its images. Should other patients be unlike those of the
    threshold, the test would accuse them: so nothing fails whose share of copies is at most that of held-out patients.

    Args:
        subject: Patients with a copy, and all; a synthetic sample is a patient of its own.
        others: The same of held-out patients.
        rank: Which largest similarity the threshold is.
        patients: How many it was read from.
        tests: How many tests share the level: p is multiplied by it (Bonferroni).
    """
    (found, count), (alarms, people) = subject, others
    if rank > patients:  # several images of one patient may be the largest ones: nothing is known by patient
        return Gate(1.0, None)
    tail = np.minimum(1.0, tests * _tail(count, rank + alarms, patients + 1 - rank + people - alarms))
    tail[np.arange(count + 1) * people <= alarms * count] = 1.0
    failing = np.flatnonzero(tail <= GATE_LEVEL)
    return Gate(float(tail[found]), int(failing[0]) if len(failing) else None)


def _tail(count: int, a: int, b: int) -> npt.NDArray[np.float64]:
    """Return (count + 1,) probabilities of x or more hits of a beta-binomial distribution."""
    x = np.arange(count + 1, dtype=np.float64)
    choices = -np.log(count + 1) - special.betaln(count - x + 1, x + 1)
    chances = np.exp(choices + special.betaln(x + a, count - x + b) - special.betaln(a, b))
    return np.asarray(np.cumsum(chances[::-1])[::-1], np.float64)


def rows(
    name: str, subject: Tally, others: Tally, planted: tuple[int, int], calibration: Calibration | None, tests: int
) -> list[Value]:
    """Return the excess with its interval, the bound, and the gate's p: at or below 0.001 the subject fails.

    Args:
        name: What the share is called.
        subject: What is judged.
        others: Patients that nothing was trained on.
        planted: Planted copies found, and all.
        calibration: Of the threshold; None where it could not be had.
        tests: How many gates share the error level.
    """
    people = len(np.unique(others.patients))
    reason = ""
    if calibration is None:
        reason = "one patient only: no threshold between patients"
    elif len(subject.hits) == 0:
        reason = "no image to judge"
    elif people < FEWEST_PATIENTS:
        reason = (
            f"fewer than {FEWEST_PATIENTS} held-out patients (second half of the reference patients) to compare with"
        )
    if reason or calibration is None:
        return [
            Value(f"{name}_excess", None, unit="share", better="lower", status="not_estimable", reason=reason),
            Value(f"{name}_bound", None, unit="share", better="lower", status="not_estimable", reason=reason),
            Value(f"{name}_gate", None, better="higher", status="not_estimable", reason=reason),
        ]
    value, around = excess(subject, others)
    said = (
        f"{int(subject.hits.sum())} of {len(subject.hits)} images, and {int(others.hits.sum())} of {len(others.hits)} "
        f"of {people} held-out patients"
    )
    return [
        Value(f"{name}_excess", value, around.low, around.high, "share", "lower", reason=said),
        _bound_row(name, around.high, planted),
        _gate_row(name, subject, others, calibration, tests),
    ]


def _bound_row(name: str, highest: float, planted: tuple[int, int]) -> Value:
    found = bound(highest, *planted)
    if found is None:
        reason = "no planted copy was found" if planted[1] else "no planted copy is left to measure the search on"
        return Value(f"{name}_bound", None, unit="share", better="lower", status="not_estimable", reason=reason)
    least = clopper_pearson(*planted).low
    said = (
        f"at most {max(0.0, highest):.3%} beyond chance, and of {planted[1]} planted copies {planted[0]} found: "
        f"at least {least:.1%} (together with 95 %)"
    )
    return Value(f"{name}_bound", found, unit="share", better="lower", reason=said)


def left_row(name: str, beyond: Value, planted: tuple[int, int], kept: float) -> list[Value]:
    """Return a bound on the share of copies among what is left when all that the search finds is held back.

    Of copies with a true share c the search misses c (1 - sensitivity), which are left among the share `kept`. With the
    upper bound of c and the lower end of the sensitivity it holds together with 95 %, as `bound` does.

    Args:
        name: What the share of copies is called.
        beyond: The row of the excess before withholding.
        planted: Planted copies found, and all.
        kept: Share of the samples that are kept, above 0.
    """
    most = None if beyond.high is None else bound(beyond.high, *planted)
    if most is None:
        reason = "there is no bound before withholding"
        return [Value(f"{name}_left", None, unit="share", better="lower", status="not_estimable", reason=reason)]
    missed = 1 - clopper_pearson(*planted).low
    reason = f"at most {most:.2%} copies before, of which the search misses at most {missed:.1%}; {kept:.1%} are kept"
    return [Value(f"{name}_left", min(1.0, most * missed / kept), unit="share", better="lower", reason=reason)]


def _gate_row(name: str, subject: Tally, others: Tally, calibration: Calibration, tests: int) -> Value:
    own, chance = subject.by_patient(), others.by_patient()
    result = gate(own, chance, rank_of(calibration), calibration.patients, tests=tests)
    if result.fails_from is None:
        reason = "too few patients or samples: not even copies alone would fail"
        return Value(f"{name}_gate", None, better="higher", status="not_estimable", reason=reason)
    verdict = "not met" if result.p <= GATE_LEVEL else "met"
    said = (
        f"{verdict}: {own[0]} of {own[1]} count as copies, {result.fails_from} or more fail at an error level of "
        f"{GATE_LEVEL} over {tests} tests; threshold of {calibration.patients} patients, {chance[0]} of {chance[1]} "
        "held-out patients above it"
    )
    return Value(f"{name}_gate", result.p, better="higher", reason=said)


def rank_of(calibration: Calibration) -> int:
    """Return which largest similarity a threshold is."""
    return round(calibration.false_alarms * (calibration.images + 1))
