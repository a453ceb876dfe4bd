"""A logistic probe that tells two sets apart, cross-fitted over patients, and the area under its ROC curve.

Sources: Lopez-Paz and Oquab 2017 (arXiv:1610.06545) for the two-sample test; LeDell, Petersen, van der Laan 2015
(doi:10.1214/15-EJS1035) for the mean of the folds' areas, which pooled scores of several probes would bias; DeLong 1988
and Obuchowski 1997 (clustered data) for the variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from ..runs import derive_seed
from ..statistics import Interval, Variance, clopper_pearson, normal_interval, patient_groups
from ..types import Array

FOLDS = 2
CORRELATION = 0.5
"""Assumed between the folds, whose probes were each fitted on what the other is tested on; see the simulations."""

FEWEST_PATIENTS = 20  # with ten, the interval holds everything
PENALTY = 0.01
_STEPS = 200
_GRADIENT = 1e-6
_FARTHEST = 5.0  # standard deviations; the square of an outlier would outweigh a set

Floats = npt.NDArray[np.float64]


class Separation(NamedTuple):
    """How well a probe tells two sets apart.

    Attributes:
        auc: 0 to 1; 0.5 is guessing.
        interval: 95 %, over the patients of both sides.
    """

    auc: float
    interval: Interval


def logistic(values: Floats, truth: Array) -> Floats:
    """Return the weights of a penalised logistic regression, (d + 1,) with the intercept last.

    It is the minimum of mean log loss + PENALTY / 2 |w|^2, the two sets weighing the same whatever their sizes; the
    intercept is not penalised.

    Args:
        values: (n, d) standardised features.
        truth: (n,) bool; both values occur.
    """
    share = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    sign = np.where(truth, 1.0, -1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (values @ weights[:-1] + weights[-1])
        pull = -share * sign * special.expit(-margin)
        slope = np.append(values.T @ pull + PENALTY * weights[:-1], pull.sum())
        return float(share @ np.logaddexp(0, -margin) + PENALTY / 2 * (weights[:-1] @ weights[:-1])), slope

    found = optimize.minimize(
        loss,
        np.zeros(values.shape[1] + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS, "gtol": _GRADIENT, "ftol": 1e-12},
    )
    return np.asarray(found.x, np.float64)


def scores(train: tuple[Floats, Floats], test: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return what a probe fitted on two training sets says of two test sets; higher speaks for the second.

    It is linear in the standardised features and in their squares: without those it would be blind to a difference in
    spread, as of a generator that adds noise or loses variety.
    """
    together = np.concatenate(train)
    centre, spread = together.mean(axis=0), together.std(axis=0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9 * max(1.0, float(spread.max())))

    def design(side: Floats) -> Floats:
        standard = np.clip((side - centre) * scale, -_FARTHEST, _FARTHEST)
        return np.concatenate([standard, (standard**2 - 1) / 2**0.5], axis=1)

    truth = np.repeat([False, True], [len(train[0]), len(train[1])])
    weights = logistic(design(together), truth)
    first, second = (design(side) @ weights[:-1] + weights[-1] for side in test)
    return first, second


def separation(real: Array, subject: Array, patients: tuple[Array, Array], *, seed: int) -> Separation:
    """Return the area under the curve of probes that never saw the patients they are tested on, mean over folds.

    Args:
        real: (n, d) finite features.
        subject: (m, d) finite features.
        patients: (n,) and (m,) patients, at least `FEWEST_PATIENTS` on both sides.
        seed: Decides the folds.
    """
    sides = (np.asarray(real, np.float64), np.asarray(subject, np.float64))
    groups = [
        patient_groups(owner, seed=derive_seed(seed, "probe", name), groups=FOLDS)
        for owner, name in zip(patients, ("real", "subject"), strict=True)
    ]
    areas, places = [], ([], [])  # type: ignore[var-annotated]
    for fold in range(FOLDS):
        tested = [np.flatnonzero(group == fold) for group in groups]
        train = tuple(side[group != fold] for side, group in zip(sides, groups, strict=True))
        test = tuple(side[rows] for side, rows in zip(sides, tested, strict=True))
        below, above = placements(*scores((train[0], train[1]), (test[0], test[1])))
        areas.append(float(below.mean()))
        for side, (place, rows) in enumerate(zip((below, above), tested, strict=True)):
            places[side].append(_patient_sums(place - place.mean(), patients[side][rows], len(rows)))
    value = float(np.mean(areas))
    parts = [_variance(places[side]) for side in (0, 1)]
    return Separation(value, _interval(value, parts, patients))


def placements(real: Floats, subject: Floats) -> tuple[Floats, Floats]:
    """Return the share of subjects above each real score and of reals below each subject's, ties half; (n,), (m,)."""

    def below(of: Floats, among: Floats) -> Floats:
        ordered = np.sort(among)
        left, right = (np.searchsorted(ordered, of, side) for side in ("left", "right"))
        return np.asarray((left + right) / (2 * len(among)), np.float64)

    return 1 - below(real, subject), below(subject, real)


def _patient_sums(deviations: Floats, patients: Array, count: int) -> Floats:
    """Return what each patient adds to the deviation of the mean."""
    _, owner = np.unique(np.asarray(patients), return_inverse=True)
    return np.bincount(owner, weights=deviations) / count


def _variance(sums: list[Floats]) -> Variance:
    """Return the variance that one side gives to the mean of the folds; patients lie in one fold each."""
    total = sum(float(each @ each) * len(each) / (len(each) - 1) for each in sums if len(each) > 1)
    shared = 1 + (len(sums) - 1) * CORRELATION
    return Variance(total * shared / len(sums) ** 2, float(max(1, sum(len(each) - 1 for each in sums))))


def _interval(value: float, parts: list[Variance], patients: tuple[Array, Array]) -> Interval:
    """Return the interval on the logit scale; of a perfect area, the exact one of as many successes as patients."""
    fewest = min(len(np.unique(owner)) for owner in patients)
    if value in (0.0, 1.0):
        return clopper_pearson(round(value * fewest), fewest)
    slope = value * (1 - value)
    scaled = [Variance(part.variance / slope**2, part.freedom) for part in parts]
    logit = normal_interval(float(special.logit(value)), *scaled)
    assert logit is not None, "both sides have a variance"
    return Interval(float(special.expit(logit.low)), float(special.expit(logit.high)))
