"""Logistic regression of findings on features: the second learner of labels, in closed steps and without a seed.

Features are standardised and turned to at most 64 principal components by the training images alone. Each finding has
its own ridge penalty, that of the lowest log loss on the arm's own validation images; found by Newton's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..types import Array

Floats = npt.NDArray[np.float64]
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of half the squared weights, beside the mean log loss of an image."""
MOST_COMPONENTS = 64
_STEPS, _SMALL = 30, 1e-8


@dataclass(frozen=True)
class Linear:
    """A fitted probe.

    Attributes:
        mean: (d,) of the training features.
        turn: (d, k) to components of unit variance.
        weights: (k + 1, L), the intercepts last; a finding that has one class in training has an intercept only.
    """

    mean: Floats
    turn: Floats
    weights: Floats

    def predict(self, features: Array) -> Floats:
        """Return the probability of each finding, (n, L) float64, of features (n, d)."""
        return _shares(_design((np.asarray(features, np.float64) - self.mean) @ self.turn) @ self.weights)


def fitted(features: Array, labels: Array, val_features: Array, val_labels: Array) -> Linear:
    """Return the probe fitted to training images.

    Args:
        features: (n, d) finite.
        labels: (n, L) 0 or 1; NaN is unknown and left out of its finding.
        val_features: (m, d) of the same kind of images as the training ones.
        val_labels: (m, L).
    """
    values = np.asarray(features, np.float64)
    mean, turn = _turned(values)
    train, val = (_design((np.asarray(each, np.float64) - mean) @ turn) for each in (values, val_features))
    columns = [
        _chosen(train, labels[:, place], val, val_labels[:, place]) for place in range(np.asarray(labels).shape[1])
    ]
    return Linear(mean, turn, np.stack(columns, axis=1) if columns else np.empty((turn.shape[1] + 1, 0)))


def _turned(values: Floats) -> tuple[Floats, Floats]:
    mean, spread = values.mean(axis=0), values.std(axis=0)
    kept = spread > _SMALL * max(float(spread.max(initial=0.0)), _SMALL)
    scale = np.where(kept, 1 / np.where(kept, spread, 1.0), 0.0)
    scaled = (values - mean) * scale
    variances, directions = np.linalg.eigh(scaled.T @ scaled / len(values))
    largest = np.argsort(-variances)[:MOST_COMPONENTS]
    largest = largest[variances[largest] > _SMALL * max(float(variances.max()), _SMALL)]
    return mean, scale[:, None] * directions[:, largest] / np.sqrt(variances[largest])


def _design(components: Floats) -> Floats:
    return np.column_stack([components, np.ones(len(components))])


def _chosen(train: Floats, truth: Array, val: Floats, val_truth: Array) -> Floats:
    known, val_known = np.isfinite(truth), np.isfinite(val_truth)
    y = np.asarray(truth, np.float64)[known]
    if len(np.unique(y)) < 2:  # nothing to learn: the same answer to every image
        weights = np.zeros(train.shape[1])
        weights[-1] = 0.0 if len(y) == 0 else 10.0 * (2 * y[0] - 1)
        return weights
    found: Sequence[Floats] = [newton(train[known], y, penalty) for penalty in PENALTIES]
    if not val_known.any():
        return found[len(found) // 2]
    losses = [log_loss(val[val_known] @ weights, np.asarray(val_truth, np.float64)[val_known]) for weights in found]
    return found[int(np.argmin(losses))]


def newton(design: Floats, truth: Floats, penalty: float) -> Floats:
    """Return the weights (k + 1,) of the least mean log loss plus penalty / 2 * squared weights; the intercept is free.

    Args:
        design: (n, k + 1) with a last column of ones.
        truth: (n,) 0 or 1, both there.
        penalty: Above 0.
    """
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    weights = np.zeros(design.shape[1])
    value = _objective(design, truth, weights, ridge)
    for _ in range(_STEPS):
        shares = _shares(design @ weights)
        slope = design.T @ (shares - truth) / len(truth) + ridge * weights
        curved = (design * (shares * (1 - shares))[:, None]).T @ design / len(truth) + np.diag(ridge + 1e-12)
        step = np.linalg.solve(curved, slope)
        size = 1.0
        while (new := _objective(design, truth, weights - size * step, ridge)) > value and size > _SMALL:
            size /= 2
        weights, gained, value = weights - size * step, value - new, new
        if gained < 1e-12:
            break
    return weights


def _objective(design: Floats, truth: Floats, weights: Floats, ridge: Floats) -> float:
    return log_loss(design @ weights, truth) + float(ridge @ weights**2) / 2


def log_loss(odds: Floats, truth: Floats) -> float:
    """Return the mean negative log likelihood of log-odds (n,)."""
    return float(np.mean(np.logaddexp(0.0, odds) - truth * odds))


def _shares(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
