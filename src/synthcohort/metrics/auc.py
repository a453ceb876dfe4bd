"""Area under the ROC curve of predicted findings, per finding and their mean, with patient-clustered intervals.

Source: Hanley and McNeil 1982 (doi:10.1148/radiology.143.1.7063747): the share of (positive, negative) pairs that the
scores order right, ties half. Higher is better, 1 is ideal, 0.5 is guessing; a value below 0.5 stays below 0.5. A
bootstrap draw is how often each row was drawn, and the AUC with such weights is that of the repeated rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import auc as auc
from ..statistics import patient_draws as patient_draws
from ..statistics import percentile_interval
from ..types import Array, Value

REVISION = 1
SPACE = "predictions"
DRAWS = 2000
_CHUNK_BYTES = 1 << 22  # of one table of weights in float64: larger ones leave the processor's cache

Floats = npt.NDArray[np.float64]


def auc_draws(truth: Array, scores: Array, weights: Array) -> Floats:
    """Return the AUC of every bootstrap draw, (D,) float64; NaN where a draw holds one class only.

    Args:
        truth: (n,) 0 or 1; NaN is unknown and left out.
        scores: (n,) finite; higher speaks for 1.
        weights: (D, n) how often each draw holds each row.
    """
    known = np.isfinite(truth)
    ones, zeros = np.flatnonzero(known & (np.asarray(truth) == 1)), np.flatnonzero(known & (np.asarray(truth) != 1))
    zeros = zeros[np.argsort(np.asarray(scores)[zeros], kind="stable")]
    # A positive beats the negatives before `first`, and ties with those from there to `last`.
    first = np.searchsorted(np.asarray(scores)[zeros], np.asarray(scores)[ones], "left")
    last = np.searchsorted(np.asarray(scores)[zeros], np.asarray(scores)[ones], "right")
    found = np.full(len(weights), np.nan)
    step = max(1, _CHUNK_BYTES // (8 * max(1, len(known))))
    for start in range(0, len(weights), step):
        rows = np.asarray(weights[start : start + step], np.float64)
        below = np.zeros((len(rows), len(zeros) + 1))
        np.cumsum(rows[:, zeros], axis=1, out=below[:, 1:])
        drawn = rows[:, ones]
        won = np.einsum("dp,dp->d", drawn, below[:, first] + below[:, last]) / 2
        pairs = drawn.sum(axis=1) * below[:, -1]
        np.divide(won, pairs, out=found[start : start + step], where=pairs > 0)
    return found


def mirrored(values: Any) -> Any:
    """Return max(AUC, 1 - AUC), as the released code of the study reports it (fact C24).

    It makes guessing look better than guessing, so it is for protocol=code only.
    """
    return np.maximum(values, 1 - np.asarray(values))


def mean_auc(values: Array, draws: Array | None = None) -> Any:
    """Return the mean over the findings (the last axis) that have a value; NaN where none has.

    With `draws` (..., L), return their means over the findings that have one in `values` (L,): NaN in a draw that lacks
    one of them, for the mean of the others is another quantity.
    """
    there = np.isfinite(values)
    if draws is not None:
        return np.asarray(draws)[..., there].mean(axis=-1) if there.any() else np.full(np.shape(draws)[:-1], np.nan)
    total, count = np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def score(truth: Array, predicted: Array, patients: Array, *, labels: Sequence[str], seed: int) -> list[Value]:
    """Return the AUC of each finding and "mean", with 95 % patient-bootstrap intervals.

    All findings share the draws, so the mean of a draw is a mean over one set of patients.

    Args:
        truth: (n, L) 0 or 1; NaN is unknown and left out of its finding.
        predicted: (n, L) finite; higher speaks for 1.
        patients: (n,) patient of each row.
        labels: L finding names.
        seed: Decides the bootstrap draws.
    """
    weights = patient_draws(patients, seed=derive_seed(seed, "auc")) if len(patients) else np.empty((0, 0))
    columns = range(len(labels))
    values = np.array([auc(truth[:, place], predicted[:, place]) for place in columns])
    draws = np.stack([auc_draws(truth[:, place], predicted[:, place], weights) for place in columns], axis=1)
    rows = [_value(name, values[place], draws[:, place], truth[:, place]) for place, name in enumerate(labels)]
    return [*rows, _value("mean", float(mean_auc(values)), mean_auc(values, draws), truth)]


def _value(label: str, value: float, draws: Floats, truth: Array) -> Value:
    if not np.isfinite(value):
        return Value("auc", None, better="higher", label=label, status="not_estimable", reason=why_none(truth))
    low, high = percentile_interval(draws) or (None, None)
    return Value("auc", float(value), low, high, better="higher", label=label)


def why_none(truth: Array) -> str:
    """Return why truth (n,) or (n, L) has no AUC."""
    if truth.ndim > 1 and truth.shape[1] > 1:
        return "no finding has both values among the images"
    stated = truth[np.isfinite(truth)]
    if len(stated) == 0:
        return "no image states this finding"
    return "every image has this finding" if stated[0] == 1 else "no image has this finding"
