"""Utility: a task is fitted on synthetic, real and control images, and scored where it was not fitted.

Intervals are a hierarchical bootstrap over learner seeds and test patients. Arms that are tested on the same patients
share their draws, so the ratio and the gap between them are paired. Images of a synthetic cohort or control belong to
no volume: arms tested on them are scored per slice only, and each image is its own patient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..metrics.dice import dice_table
from ..progress import Progress
from ..runs import derive_seed
from ..statistics import hierarchical_bootstrap, percentile_interval
from ..types import Better, Role, Value
from ._jobs import Fitted, Jobs
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import Amounts, ImageSet

Floats = npt.NDArray[np.float64]
SYNTHETIC = "synthetic"
VOLUME, SLICE = "dice_volume", "dice_slice"
DRAWS = 2000

Fits = dict[str, list[Fitted]]
"""Arm -> one fit a learner seed."""


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

    @property
    def everything(self) -> Floats:
        """Return `mean` over all seeds and patients."""
        return self.mean(slice(None), slice(None))

    @property
    def overall(self) -> float:
        """Return the mean over all classes, seeds and patients."""
        return float(self.everything[-1])


def _finite_mean(values: Floats, *, axis: int) -> Floats:
    finite = np.isfinite(values)
    counts = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    mean: Floats = np.divide(total, counts, out=np.full(np.shape(total), np.nan), where=counts > 0)
    return mean


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
        draws: Of each tally, (draws, K + 1) Dice for drawn seeds and patients.
        seconds: What the fits took.
    """

    arm: str
    role: Role
    subject: str
    trained: int
    tested: int
    tallies: Mapping[str, Tally]
    draws: Mapping[str, Floats]
    seconds: float


def tested_arm(
    fits: Sequence[Fitted],
    on: ImageSet,
    value_range: tuple[float, float],
    classes: int,
    *,
    volumes: bool,
    seed: int,
    **row: Any,
) -> Tested:
    """Return an arm's Dice sums; `row` holds its arm, role, subject and number of training images."""
    predictions = [fit.task.predict(on.images, value_range) for fit in fits]
    tallies = {SLICE: tally(on, predictions, classes, volumes=False)}
    if volumes:
        tallies = {VOLUME: tally(on, predictions, classes, volumes=True), **tallies}
    draws = {metric: _draws(each, seed) for metric, each in tallies.items()}
    return Tested(tested=len(on), tallies=tallies, draws=draws, seconds=sum(fit.seconds for fit in fits), **row)


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
                value = _value(metric, label, tested, place)
                _add(rows, value, task, family, tested)


def _ratio(own: Any, other: Any) -> Any:
    return own / other


def _gap(own: Any, other: Any) -> Any:
    return other - own


_CONTRASTS: tuple[tuple[str, Better, Callable[[Any, Any], Any]], ...] = (
    ("dice_ratio", "higher", _ratio),
    ("dice_gap", "lower", _gap),
)


def add_contrasts(rows: Rows, task: str, arms: Sequence[Tested]) -> None:
    """Add dice_ratio and dice_gap of every arm against real->real, paired by learner seed and test patient."""
    real = next(tested for tested in arms if tested.role == "ceiling")
    for metric, better, contrast in _CONTRASTS:
        for tested in arms:
            # Real against itself is exactly 1 and 0, also in draws where both are 0.
            same = tested.role == "ceiling"
            own, other = (1.0, 1.0) if same else (tested.tallies[VOLUME].overall, real.tallies[VOLUME].overall)
            draws = (np.ones(DRAWS),) * 2 if same else (tested.draws[VOLUME][:, -1], real.draws[VOLUME][:, -1])
            with np.errstate(divide="ignore", invalid="ignore"):
                value, spread = contrast(np.float64(own), np.float64(other)), contrast(*draws)
            _add(rows, _with_interval(metric, "mean", float(value), spread, better), task, "train", tested)


def _draws(own: Tally, seed: int) -> Floats:
    """Return (draws, K + 1): what `Tally.mean` is for seeds and patients drawn with replacement."""
    means: list[Floats] = []

    def statistic(seeds: Any, patients: Any) -> float:
        means.append(own.mean(seeds, patients))
        return float(means[-1][-1])

    seeds, patients, _ = own.sums.shape
    hierarchical_bootstrap(
        statistic, np.arange(patients), seeds=seeds, seed=derive_seed(seed, "utility", patients), draws=DRAWS
    )
    return np.stack(means)


def _value(metric: str, label: str, tested: Tested, place: int) -> Value:
    value = tested.tallies[metric].everything[place]
    if not np.isfinite(value):
        reason = "no image has this class"
        return Value(metric, None, better="higher", label=label, status="not_estimable", reason=reason)
    return _with_interval(metric, label, float(value), tested.draws[metric][:, place], "higher")


def _with_interval(metric: str, label: str, value: float, draws: Floats, better: Better) -> Value:
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


def arms(
    fits: Fits,
    tests: Mapping[str, ImageSet],
    amounts: Amounts,
    value_range: tuple[float, float],
    classes: int,
    *,
    subject: str,
    seed: int,
) -> dict[str, list[Tested]]:
    """Return the arms of both comparisons, the subject first: what is trained on differs, or what is tested on.

    Args:
        fits: Of each arm.
        tests: What real, synthetic and gaussian images are tested on.
        amounts: What the arms were fitted on.
        value_range: Lowest and highest legal pixel.
        classes: Number of classes, background included.
        subject: Name of the scored cohort.
        seed: Decides the bootstrap draws.
    """
    trained = {REAL: len(amounts.real), SYNTHETIC: len(amounts.train), GAUSSIAN: len(amounts.train)}
    roles: dict[str, tuple[Role, str]] = {
        SYNTHETIC: ("subject", subject),
        REAL: ("ceiling", REAL),
        GAUSSIAN: ("bad", GAUSSIAN),
    }

    def tested(train: str, test: str, differs: str) -> Tested:
        role, name = roles[differs]
        return tested_arm(
            fits[train],
            tests[test],
            value_range,
            classes,
            volumes=test == REAL,
            seed=seed,
            arm=f"{train}->{test}",
            role=role,
            subject=name,
            trained=trained[train],
        )

    trains = [tested(each, REAL, each) for each in roles]
    others = [replace(tested(REAL, each, each), seconds=0.0) for each in roles]
    return {"train": trains, "test": others}


def by_seed(tested: Tested) -> list[float | None]:
    """Return the mean Dice per volume of each learner seed."""
    own = tested.tallies[VOLUME]
    values = [float(own.mean(np.array([number]), slice(None))[-1]) for number in range(len(own.sums))]
    return [value if np.isfinite(value) else None for value in values]
