"""Calibration of predicted findings: do probabilities mean what they say? Slope, intercept, Brier score and ECE.

Slope and intercept are those of a logistic regression of the truth on the log-odds of the prediction (Cox 1958; Van
Calster et al. 2019, doi:10.1186/s12916-019-1466-7): 1 and 0 are ideal; a slope under 1 is over-confident, an intercept
above 0 says that the finding is more frequent than predicted. Brier 1950: mean squared error of the probabilities. ECE
(Naeini et al. 2015): mean distance of predicted from observed shares in 15 bins of equal mass. A distance is
never below 0, so chance alone makes the plain ECE positive (0.075 with 300 images and true probabilities): it is given
less the excess that the bootstrap shows, which takes away two fifths of that. Read it beside its ceiling. A percentile
interval of it would not cover; its lower end is the plain value less the 97.5 % quantile of the noise (the triangle
inequality: conservative), its upper end the plain value and the lower reach of the draws (Jensen: the plain value is
never too low on average). Intervals redraw patients; those of slope and intercept take one Newton step from the fit for
each draw, which needs the counts below.
What calibration cannot tell is whether the order is right: read it beside the AUC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import patient_draws, percentile_interval
from ..types import Array, Better, Value

REVISION = 1
SPACE = "predictions"
DRAWS = 1000
BINS = 15
FEWEST_OF_A_CLASS, FEWEST_IMAGES = 20, 150
_STEPS, _EDGE = 50, 1e-6

Floats = npt.NDArray[np.float64]
MEASURES: tuple[tuple[str, Better], ...] = (
    ("calibration_slope", "none"),
    ("calibration_intercept", "none"),
    ("brier", "lower"),
    ("calibration_error", "lower"),
)


class Measured(NamedTuple):
    """Calibration of one finding.

    Attributes:
        values: (4,) in the order of `MEASURES`, the ECE plain.
        draws: (D, 4) of every bootstrap draw.
        noise: (D,) mean distance of the draw's bins from those of all rows.
    """

    values: Floats
    draws: Floats
    noise: Floats

    @property
    def error(self) -> tuple[float, float, float]:
        """Return the ECE less its excess, with its interval."""
        plain, drawn = float(self.values[3]), self.draws[:, 3]
        value = max(2 * plain - float(drawn.mean()), 0.0)
        low = max(plain - float(np.quantile(self.noise, 0.975)), 0.0)
        return value, low, plain + float(drawn.mean() - np.quantile(drawn, 0.025))


def why_none(truth: Array) -> str:
    """Return why truth (n,) is too little to judge calibration by, or ""."""
    known = truth[np.isfinite(truth)]
    ones = int((known == 1).sum())
    if min(ones, len(known) - ones) < FEWEST_OF_A_CLASS:
        return f"fewer than {FEWEST_OF_A_CLASS} images have it, or have it not"
    return f"fewer than {FEWEST_IMAGES} images state it" if len(known) < FEWEST_IMAGES else ""


def measured(truth: Array, predicted: Array, weights: Array) -> Measured:
    """Return the calibration of one finding; NaN where it is not defined.

    Args:
        truth: (n,) 0 or 1; NaN is unknown and left out. Both values must be there.
        predicted: (n,) probabilities.
        weights: (D, n) how often each bootstrap draw holds each row.
    """
    known = np.isfinite(truth)
    y, p = np.asarray(truth, np.float64)[known], np.asarray(predicted, np.float64)[known]
    drawn = np.asarray(weights, np.float64)[:, known]
    fit, fits = recalibrated(y, p, drawn)
    error = (y - p) ** 2
    total = drawn.sum(axis=1)
    ece, eces, noise = _expected_error(y, p, drawn)
    values = np.array([fit[1], fit[0], error.mean(), ece])
    return Measured(values, np.column_stack([fits[:, 1], fits[:, 0], drawn @ error / total, eces]), noise)


def recalibrated(truth: Floats, predicted: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return (intercept, slope) of the truth on the log-odds (2,), and of every draw (D, 2), by one Newton step.

    Args:
        truth: (n,) 0 or 1.
        predicted: (n,) probabilities.
        weights: (D, n).
    """
    clipped = np.clip(predicted, _EDGE, 1 - _EDGE)
    design = np.column_stack([np.ones(len(truth)), np.log(clipped / (1 - clipped))])
    lost = np.full(2, np.nan), np.full((len(weights), 2), np.nan)
    if np.ptp(design[:, 1]) < 1e-9:  # the same answer to every image has no slope
        return lost
    fit = np.zeros(2)
    for _ in range(_STEPS):
        step = _newton_step(design, truth, fit, np.ones((1, len(truth))))[0]
        if not np.isfinite(step).all() or np.abs(fit).max() > 1e3:  # the classes are separated: the slope has no end
            return lost
        fit = np.asarray(fit + step, np.float64)
        if np.abs(step).max() < 1e-10:
            return fit, fit + _newton_step(design, truth, fit, weights)
    return lost


def _newton_step(design: Floats, truth: Floats, fit: Floats, weights: Floats) -> Floats:
    """Return (D, 2): one Newton step from `fit` for each row of weights."""
    shares = 1 / (1 + np.exp(-np.clip(design @ fit, -500, 500)))
    slopes = weights @ (design * (truth - shares)[:, None])
    pairs = (design[:, :, None] * design[:, None, :] * (shares * (1 - shares))[:, None, None]).reshape(-1, 4)
    curved = (weights @ pairs).reshape(-1, 2, 2)
    curved[np.abs(np.linalg.det(curved)) < 1e-12] = np.nan
    return np.asarray(np.linalg.solve(curved, slopes[:, :, None])[:, :, 0], np.float64)


def _expected_error(truth: Floats, predicted: Floats, weights: Floats) -> tuple[float, Floats, Floats]:
    """Return the plain ECE, that of every draw (D,), and the mean distance of its bins from the plain ones (D,)."""
    order = np.argsort(predicted, kind="stable")
    starts = np.arange(BINS) * len(order) // BINS
    missed = (truth - predicted)[order]
    plain = np.add.reduceat(missed, starts) / len(order)
    drawn = np.add.reduceat(weights[:, order] * missed, starts, axis=1) / weights.sum(axis=1, keepdims=True)
    return float(np.abs(plain).sum()), np.abs(drawn).sum(axis=1), np.abs(drawn - plain).sum(axis=1)


def score(truth: Array, predicted: Array, patients: Array, *, labels: Sequence[str], seed: int) -> list[Value]:
    """Return slope, intercept, Brier score and ECE of each finding, with 95 % patient-bootstrap intervals.

    Args:
        truth: (n, L) 0 or 1; NaN is unknown and left out of its finding.
        predicted: (n, L) probabilities.
        patients: (n,) patient of each row.
        labels: L finding names.
        seed: Decides the bootstrap draws.
    """
    weights = patient_draws(patients, seed=derive_seed(seed, "calibration"), draws=DRAWS) if len(patients) else None
    rows = []
    for place, label in enumerate(labels):
        reason = why_none(truth[:, place])
        found = None if reason or weights is None else measured(truth[:, place], predicted[:, place], weights)
        rows += values_of(label, found, reason)
    return rows


def values_of(label: str, found: Measured | None, reason: str) -> list[Value]:
    """Return the rows of one finding; not estimable, for the reason, without measurements."""
    rows = []
    for place, (name, better) in enumerate(MEASURES):
        if found is None or not np.isfinite(found.values[place]):
            why = reason or "the predictions do not vary, or separate the images without error"
            rows.append(Value(name, None, better=better, label=label, status="not_estimable", reason=why))
            continue
        value = float(found.values[place])
        low, high = percentile_interval(found.draws[:, place]) or (None, None)
        if name == "calibration_error":
            value, low, high = found.error
        rows.append(Value(name, value, low, high, better=better, label=label))
    return rows
