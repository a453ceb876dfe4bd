"""Utility: a task is fitted on synthetic, real and control images, and scored where it was not fitted.

Intervals are a hierarchical bootstrap over learner seeds and test patients. Arms that are tested on the same patients
share their draws, so the ratio and the gap between them are paired. Images of a synthetic cohort or control belong to
no volume: arms tested on them are scored per slice only, and each image is its own patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..metrics.dice import dice_table
from ..progress import Progress
from ..runs import derive_seed
from ..statistics import hierarchical_bootstrap, percentile_interval
from ..types import Role, Value
from ._jobs import Fitted, Jobs
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import Amounts, ImageSet

Floats = npt.NDArray[np.float64]
SYNTHETIC = "synthetic"
VOLUME, SLICE = "dice_volume", "dice_slice"
DRAWS = 2000


@dataclass(frozen=True)
class Tally:
    """Dice sums of one arm: enough to average over any choice of seeds and patients.

    Attributes:
        sums: (S, P, K) sum of Dice over a patient's groups.
        counts: (S, P, K) groups of the patient that have the class.
    """

    sums: Floats
    counts: Floats

    def mean(self, seeds: Any, patients: Any) -> Floats:
        """Return (K + 1,): Dice of each class and their mean, averaged over groups, then classes, then seeds."""
        sums, counts = self.sums[seeds][:, patients].sum(1), self.counts[seeds][:, patients].sum(1)
        per_class = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        overall = _finite_mean(per_class, axis=1)
        return np.append(_finite_mean(per_class, axis=0), _finite_mean(overall, axis=0))


def _finite_mean(values: Floats, *, axis: int) -> Floats:
    finite = np.isfinite(values)
    counts = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    return np.divide(total, counts, out=np.full(np.shape(total), np.nan), where=counts > 0)


def tally(truth: ImageSet, predictions: Sequence[npt.NDArray[np.uint8]], classes: int, *, volumes: bool) -> Tally:
    """Return the Dice sums of an arm's predictions.

    Args:
        truth: Images with masks.
        predictions: (n, H, W) class index of each learner seed.
        classes: Number of classes, background included.
        volumes: Pool the slices of a group, or score each slice.
    """
    assert truth.masks is not None
    groups = truth.groups if volumes else np.arange(len(truth))
    _, first = np.unique(groups, return_index=True)
    names, patient = np.unique(truth.patients[first], return_inverse=True)
    sums, counts = np.zeros((2, len(predictions), len(names), classes - 1))
    for number, predicted in enumerate(predictions):
        _, table = dice_table(truth.masks, predicted, groups, list(range(1, classes)))
        np.add.at(sums[number], patient, np.nan_to_num(table))
        np.add.at(counts[number], patient, np.isfinite(table))
    return Tally(sums, counts)


def fit_arms(jobs: Jobs, amounts: Amounts, real_val: ImageSet, gaussian: ImageSet, *, seeds: Sequence[int]) -> Fits:
    """Return the fits of every arm, paired: fit i of each arm has the same learner seed."""
    split = len(amounts.train)
    sets = {
        REAL: (amounts.real, real_val),
        SYNTHETIC: (amounts.train, amounts.val),
        GAUSSIAN: (gaussian.take(np.arange(split)), gaussian.take(np.arange(split, len(gaussian)))),
    }
    fits: Fits = {arm: [] for arm in sets}
    with Progress("Fitting the task", len(sets) * len(seeds), unit="fits") as progress:
        for seed in seeds:
            for arm, (train, val) in sets.items():
                fits[arm].append(jobs.fitted(train, val, seed=seed))
                progress.advance(note=f"trained on {arm}")
    return fits


Fits = dict[str, list[Fitted]]


@dataclass(frozen=True)
class Tested:
    """One arm: fits of one kind, tested on one set.

    Attributes:
        arm: Trained on -> tested on.
        role: In its comparison.
        subject: What was scored.
        trained: Images each fit was trained on.
        tested: Images it was tested on.
        tallies: dice_volume and dice_slice, or the latter only.
        seconds: What the fits took.
    """

    arm: str
    role: Role
    subject: str
    trained: int
    tested: int
    tallies: Mapping[str, Tally]
    seconds: float


def test_arm(
    fits: Sequence[Fitted], on: ImageSet, value_range: tuple[float, float], classes: int, *, volumes: bool, **row: Any
) -> Tested:
    """Return an arm's Dice sums; `row` holds its arm, role, subject and number of training images."""
    predictions = [fit.task.predict(on.images, value_range) for fit in fits]
    tallies = {SLICE: tally(on, predictions, classes, volumes=False)}
    if volumes:
        tallies = {VOLUME: tally(on, predictions, classes, volumes=True), **tallies}
    return Tested(tested=len(on), tallies=tallies, seconds=sum(fit.seconds for fit in fits), **row)


def add_utility(rows: Rows, task: str, family: str, arms: Sequence[Tested], labels: Sequence[str]) -> None:
    """Add the Dice of each class and their mean, for every arm of one comparison.

    Args:
        rows: Where the scores go.
        task: The task's name.
        family: "train" when the arms differ in what they are trained on, "test" when in what they are tested on.
        arms: The subject first.
        labels: Class names, background left out.
    """
    for metric in arms[0].tallies:
        for place, label in enumerate([*labels, "mean"]):
            for tested in arms:
                value = _value(metric, label, tested.tallies[metric], place, rows.seed)
                _add(rows, value, task, family, tested)


def add_contrasts(rows: Rows, task: str, arms: Sequence[Tested]) -> None:
    """Add dice_ratio and dice_gap of every arm against real->real, paired by learner seed and test patient."""
    tallies = {tested.role: tested.tallies[VOLUME] for tested in arms}
    real = tallies["ceiling"]
    contrasts = (("dice_ratio", "higher", lambda own, other: own / other), ("dice_gap", "lower", lambda own, other: other - own))
    for metric, better, contrast in contrasts:
        for tested in arms:
            own = tallies[tested.role]
            with np.errstate(divide="ignore", invalid="ignore"):
                value = contrast(own.mean(_all(own, 0), _all(own, 1))[-1], real.mean(_all(real, 0), _all(real, 1))[-1])
                draws = contrast(_draws(own, -1, rows.seed), _draws(real, -1, rows.seed))
            _add(rows, _with_interval(metric, "mean", float(value), draws, better), task, "train", tested)


def _all(own: Tally, axis: int) -> Any:
    return np.arange(own.sums.shape[axis])


def _draws(own: Tally, place: int, seed: int) -> Floats:
    seeds, patients, _ = own.sums.shape
    return hierarchical_bootstrap(
        lambda s, p: float(own.mean(s, p)[place]),
        np.arange(patients),
        seeds=seeds,
        seed=derive_seed(seed, "utility", patients),
        draws=DRAWS,
    )


def _value(metric: str, label: str, own: Tally, place: int, seed: int) -> Value:
    value = own.mean(_all(own, 0), _all(own, 1))[place]
    if not np.isfinite(value):
        return Value(metric, None, better="higher", label=label, status="not_estimable", reason="no image has this class")
    return _with_interval(metric, label, float(value), _draws(own, place, seed), "higher")


def _with_interval(metric: str, label: str, value: float, draws: Floats, better: Any) -> Value:
    if not np.isfinite(value):
        reason = "the network trained on real images finds nothing"
        return Value(metric, None, better=better, label=label, status="not_estimable", reason=reason)
    interval = percentile_interval(draws)
    low, high = interval or (None, None)
    return Value(metric, value, low, high, better=better, label=label)


def _add(rows: Rows, value: Value, task: str, family: str, tested: Tested) -> None:
    # In the subject's place: what was trained on where that differs between the arms, else what was tested on.
    n_synthetic, n_real = (tested.trained, tested.tested) if family == "train" else (tested.tested, tested.trained)
    rows.add(
        value,
        family=family,
        space=task,
        role=tested.role,
        subject=tested.subject,
        arm=tested.arm,
        n_real=n_real,
        n_synthetic=n_synthetic,
        seconds=tested.seconds,
    )
