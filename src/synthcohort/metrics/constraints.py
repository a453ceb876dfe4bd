"""Constraints: samples that no real one resembles in intensity, organs, topology of the mask or combination of labels.

Source: the "Constraint" of the SMD scorecard (Zamzmi et al. 2025, Communications Engineering 4:130). No rule is written
down beforehand; all are learnt from real training images. Numbers (grey values, areas, places, parts, holes) are held
to the range of the real ones between their 0.1 and 99.9 % quantile, widened by the factor with which real patients that
the range was not learnt on break a group of rules in `RATE` of their images: so unseen real images break any rule in
about 1 %. Relations (two classes touch, two findings occur together) become a rule only when at least `FEWEST` real
images of `FEWEST_PATIENTS` patients show them without an exception.

It cannot tell that a legal image is a wrong one. An exact binomial interval counts images one by one: where patients
have several, the ceiling's is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import clopper_pearson, patient_groups
from ..types import Array, Samples, Value
from . import _measures
from ._measures import TAIL, Floats, Measured

REVISION = 1
SPACE = "samples"
NAME = "violations"
RATE = 0.0025  # of each of the four groups of rules
FEWEST, FEWEST_PATIENTS = 50, 10
_FOLDS = 5

Flags = npt.NDArray[np.bool_]
Numbers = dict[str, list[Measured]]


@dataclass(frozen=True)
class Verdicts:
    """What was found for each sample.

    Attributes:
        broken: Group of rules -> (n,) bool.
        missing: Group of rules -> why there are none.
        rules: How many rules each group has.
        most: Group of rules -> the rule that is broken most often, with its count, or "".
    """

    broken: dict[str, Flags]
    missing: dict[str, str]
    rules: dict[str, int]
    most: dict[str, str]

    @property
    def any(self) -> Flags:
        """Return which samples break a rule of any group, (n,) bool."""
        return np.asarray(np.any(list(self.broken.values()), axis=0), np.bool_)


def measured(samples: Samples, limits: Floats) -> Numbers:
    """Return what the rules are about, by kind.

    Args:
        samples: What is measured.
        limits: Of the grey values of the real training images, `_measures.levels`.
    """
    numbers = {"intensity": list(_measures.intensity(samples, limits))}
    if samples.masks is not None:
        kinds = {"organs": _measures.organs, "topology": _measures.topology, "touching": _measures.touching}
        numbers |= {name: list(measure(samples)) for name, measure in kinds.items()}
    return {**numbers, "labels": list(_measures.label_pairs(samples))}


def learn(real: Samples) -> Numbers:
    """Return the numbers of the real training images, to reuse them for several subjects."""
    return measured(real, _measures.levels(real.images))


def verdicts(real: Samples, subject: Samples, *, seed: int, learnt: Numbers | None = None) -> Verdicts | None:
    """Return which samples of a subject break the rules of the real training images; None where there are no rules.

    Args:
        real: Training images: what the rules are learnt on.
        subject: What is judged.
        seed: Decides the folds of patients over which ranges are widened.
        learnt: What `learn` returned.
    """
    if _unjudged(real, subject):
        return None
    numbers = learn(real) if learnt is None else learnt
    others = measured(subject, _measures.levels(real.images))
    folds = patient_groups(real.patients, seed=derive_seed(seed, NAME), groups=_FOLDS)
    found = Verdicts({}, {}, {}, {})
    _add(found, "intensity", _ranges(numbers["intensity"], others["intensity"], folds))
    if "organs" in numbers and "organs" in others:
        _add(found, "organs", _ranges(numbers["organs"], others["organs"], folds))
        counted = _ranges(numbers["topology"], others["topology"], folds)
        _add(found, "topology", [*counted, *_relations(numbers["touching"], others["touching"], real.patients)])
    if len(real.label_names) > 1:
        _add(found, "labels", _relations(numbers["labels"], others["labels"], real.patients))
    return found


def _add(found: Verdicts, group: str, rules: list[tuple[str, Flags]]) -> None:
    if not rules:
        found.missing[group] = f"nothing is always so in {FEWEST} real images of {FEWEST_PATIENTS} patients"
        return
    found.rules[group] = len(rules)
    found.broken[group] = np.asarray(np.any([flag for _, flag in rules], axis=0), np.bool_)
    counts = [int(flag.sum()) for _, flag in rules]
    worst = int(np.argmax(counts))
    found.most[group] = f"{rules[worst][0]} ({counts[worst]})" if counts[worst] else ""


def _ranges(real_side: list[Measured], subject_side: list[Measured], folds: Array) -> list[tuple[str, Flags]]:
    """Return (rule, broken by each sample of the subject) for numbers that have a range."""
    both = zip(real_side, subject_side, strict=True)
    pairs = [(real, subject) for real, subject in both if np.isfinite(real.values).sum() >= FEWEST]
    excess = np.zeros(len(folds))  # of each real image over the range of other patients, the worst number
    for real, _ in pairs:
        for fold in range(int(folds.max()) + 1):
            inside = folds == fold
            if np.isfinite(real.values[~inside]).any():
                beyond = _excess(real.values[~inside], real.step)(real.values[inside])
                excess[inside] = np.maximum(excess[inside], beyond)
    kept = max(1, int(RATE * (len(folds) + 1)))
    widened = float(np.sort(excess)[-kept])
    return [(real.name, _excess(real.values, real.step)(subject.values) > widened) for real, subject in pairs]


def _excess(learnt: Floats, step: float) -> Callable[[Floats], Floats]:
    """Return how far numbers lie outside the range of the learnt ones, in units of its half on that side; 0 inside."""
    low, middle, high = np.nanquantile(learnt, [TAIL, 0.5, 1 - TAIL])
    below, above = max(middle - low, step), max(high - middle, step)

    def excess(values: Floats) -> Floats:
        outside = np.maximum((low - values) / below, (values - high) / above)
        return np.asarray(np.maximum(np.nan_to_num(outside, nan=0.0), 0.0), np.float64)

    return excess


def _relations(real_side: list[Measured], subject_side: list[Measured], patients: Array) -> list[tuple[str, Flags]]:
    """Return (rule, broken by each sample of the subject) for what is always or never so in real images."""
    rules = []
    for real, subject in zip(real_side, subject_side, strict=True):
        known = np.isfinite(real.values)
        if known.sum() < FEWEST or len(np.unique(np.asarray(patients)[known])) < FEWEST_PATIENTS:
            continue
        seen = np.unique(real.values[known])
        if len(seen) == 1:
            said = f"{'always' if seen[0] else 'never'}: {real.name}"
            rules.append((said, np.isfinite(subject.values) & (subject.values != seen[0])))
    return rules


def score(real: Samples, subject: Samples, *, seed: int, learnt: Numbers | None = None) -> list[Value]:
    """Return the share of samples that break a rule: any ("") and of each group of rules.

    Args:
        real: Training images: what the rules are learnt on.
        subject: What is judged.
        seed: Decides the folds of patients over which ranges are widened.
        learnt: What `learn` returned.
    """
    found = verdicts(real, subject, seed=seed, learnt=learnt)
    if found is None:
        return [_missing("", _unjudged(real, subject))]
    total = f"{sum(found.rules.values())} rules learnt on {len(real)} real images"
    rows = [_row("", found.any, total)]
    for group, broken in found.broken.items():
        most = f"; most often broken: {found.most[group]}" if found.most[group] else ""
        rows.append(_row(group, broken, f"{found.rules[group]} rules{most}"))
    return [*rows, *(_missing(group, reason) for group, reason in found.missing.items())]


def _unjudged(real: Samples, subject: Samples) -> str:
    """Return why nothing can be judged, or ""."""
    patients = len(np.unique(np.asarray(real.patients)))
    if len(real) < FEWEST or patients < FEWEST_PATIENTS:
        return f"rules need {FEWEST} real images of {FEWEST_PATIENTS} patients; there are {len(real)} of {patients}"
    return "" if len(subject) else "no sample to judge"


def _row(label: str, broken: Flags, reason: str) -> Value:
    count, of = int(broken.sum()), len(broken)
    low, high = clopper_pearson(count, of)
    return Value(NAME, count / of, low, high, "share", "lower", label, reason=f"{count} of {of}; {reason}")


def _missing(label: str, reason: str) -> Value:
    return Value(NAME, None, unit="share", better="lower", label=label, status="not_estimable", reason=reason)
