"""Do the networks' probabilities mean what they say, and whom do they miss? Rows of calibration and of missed findings.

A finding is missed when its score lies below the threshold at which the network trained on real images has its best
Youden index (Youden 1950) on the real validation images: nothing is chosen on test patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..metrics import calibration
from ..metrics.calibration import Measured
from ..runs import derive_seed
from ..statistics import patient_draws
from ..types import Array
from ._auc import Predicted
from ._rows import REAL, Rows
from ._utility import EXTERNAL, Fits, Floats, Tested, add, valued

MISSED = "missed_gap"


def add_calibration(
    rows: Rows,
    task: str,
    said: Mapping[str, Predicted],
    trains: Mapping[str, Tested],
    findings: Sequence[str],
    *,
    seed: int,
) -> None:
    """Add calibration of every arm on real test patients, and on an external cohort.

    Args:
        rows: Where the scores go.
        task: The task's name.
        said: Arm -> what its networks said.
        trains: Trained on -> context of its rows.
        findings: Names of the labels.
        seed: Decides the bootstrap draws.
    """
    for where in (REAL, EXTERNAL):
        family = "train" if where == REAL else EXTERNAL
        for arm, context in trains.items():
            predicted = said.get(f"{arm}->{where}")
            if predicted is None:
                continue
            tested = _context(context, arm, where, len(predicted.on))
            for place, label in enumerate(findings):
                truth = predicted.on.labels[:, place]
                reason = calibration.why_none(truth)
                found = None if reason else _over_seeds(predicted, place, seed)
                for value in calibration.values_of(label, found, reason):
                    add(rows, value, task, family, tested)


def _context(context: Tested, arm: str, where: str, count: int) -> Tested:
    return Tested(f"{arm}->{where}", context.role, context.subject, context.trained, count, {}, 0.0)


def _draws(predicted: Predicted, seed: int) -> Array:
    on = predicted.on
    return patient_draws(on.patients, seed=derive_seed(seed, "calibration", on.name), draws=calibration.DRAWS)


def _picked(seeds: int, seed: int) -> Floats:
    """Return (D, S): how much of each learner seed a draw holds."""
    rng = np.random.default_rng(derive_seed(seed, "calibration seeds", seeds))
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=calibration.DRAWS) / seeds


def _over_seeds(predicted: Predicted, place: int, seed: int) -> Measured:
    truth, weights = predicted.on.labels[:, place], _draws(predicted, seed)
    each = [calibration.measured(truth, scores[:, place], weights) for scores in predicted.scores]
    picks = _picked(len(each), seed)
    return Measured(
        np.mean([found.values for found in each], axis=0),
        np.einsum("ds,sdk->dk", picks, np.stack([found.draws for found in each])),
        np.mean([found.noise for found in each], axis=0),
    )


def best_thresholds(truth: Array, scores: Array) -> Floats:
    """Return (L,) the threshold of each finding with the largest sensitivity + specificity; NaN with one class.

    A score at the threshold counts as a finding.

    Args:
        truth: (n, L) 0 or 1; NaN is unknown.
        scores: (n, L).
    """
    found = np.full(truth.shape[1], np.nan)
    for place in range(truth.shape[1]):
        known = np.isfinite(truth[:, place])
        y, s = truth[known, place] == 1, scores[known, place]
        if y.any() and not y.all():
            values = np.unique(s)
            shares = [np.mean(s[y][:, None] >= values, axis=0), np.mean(s[~y][:, None] < values, axis=0)]
            found[place] = values[int(np.argmax(shares[0] + shares[1]))]
    return found


def add_missed(
    rows: Rows,
    task: str,
    said: Mapping[str, Predicted],
    fits: Fits,
    val: Predicted,
    trains: Mapping[str, Tested],
    findings: Sequence[str],
    *,
    seed: int,
) -> None:
    """Add the share of a finding's images that each arm misses less the share that real-trained networks miss.

    Args:
        rows: Where the scores go.
        task: The task's name.
        said: Arm -> what its networks said.
        fits: Arm -> fits, in the order of the scores.
        val: What the networks trained on real images say of the real validation images.
        trains: Trained on -> context of its rows.
        findings: Names of the labels.
        seed: Decides the bootstrap draws.
    """
    thresholds = np.stack([best_thresholds(val.on.labels, scores) for scores in val.scores])
    for where in (REAL, EXTERNAL):
        if f"{REAL}->{where}" not in said:
            continue
        real = said[f"{REAL}->{where}"]
        weights, picks = _draws(real, seed).astype(np.float64), _picked(len(fits[REAL]), seed)
        for place, label in enumerate(findings):
            reached = {
                arm: _missed(said[f"{arm}->{where}"], place, thresholds[:, place], weights, picks) for arm in trains
            }
            enough = (real.on.labels[:, place] == 1).sum() >= calibration.FEWEST_OF_A_CLASS
            reason = (
                "the real validation images hold one class of it"
                if enough
                else f"fewer than {calibration.FEWEST_OF_A_CLASS} images have it"
            )
            for arm, context in trains.items():
                share, drawn = (own - other for own, other in zip(reached[arm], reached[REAL], strict=True))
                value = valued(
                    MISSED, label, float(share) if enough else np.nan, drawn, "lower", otherwise=reason, unit="share"
                )
                tested = _context(context, arm, where, len(real.on))
                add(rows, value, task, "train" if where == REAL else EXTERNAL, tested)


def _missed(
    predicted: Predicted, place: int, thresholds: Floats, weights: Floats, picks: Floats
) -> tuple[Floats, Floats]:
    """Return the share of a finding's images below the threshold, over seeds; NaN where there is no threshold."""
    having = predicted.on.labels[:, place] == 1
    below = (predicted.scores[:, having, place] < thresholds[:, None]).astype(np.float64)
    below[~np.isfinite(thresholds)] = np.nan
    drawn = weights[:, having]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = drawn @ below.T / drawn.sum(axis=1, keepdims=True)
    value = below.mean() if below.size else np.float64(np.nan)
    return np.asarray(value), (picks * shares).sum(axis=1)
