"""The masks road of utility: Dice of segmentation networks, by volume and by slice.

Images of a synthetic cohort or control belong to no volume: arms tested on them are scored per slice only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cohort import Facts
from ..metrics.dice import dice_table
from ..runs import derive_seed
from ..statistics import hierarchical_bootstrap
from ..types import Better
from . import _subgroups
from ._jobs import Fitted
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import Amounts, ImageSet
from ._utility import (
    DRAWS,
    EXTERNAL,
    SYNTHETIC,
    Fits,
    Floats,
    Outcome,
    Tested,
    Tests,
    add,
    roles,
    trained_images,
    valued,
)

METRIC, NEEDS = "dice", "masks"
VOLUME, SLICE = "dice_volume", "dice_slice"
HEADLINES = (VOLUME, SLICE)


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


def unfit(amounts: Amounts, val: ImageSet) -> str:
    """Return no reason: where there are masks they can be learnt."""
    return ""


def what_is_missing(tests: Tests, amounts: Amounts, findings: Sequence[str]) -> list[str]:
    """Return no notes: a class that no test image has is a row of its own."""
    return []


def add_scores(
    rows: Rows,
    task: str,
    fits: Fits,
    tests: Tests,
    amounts: Amounts,
    facts: Facts,
    findings: Sequence[str],
    *,
    seed: int,
) -> tuple[list[Tested], None, dict[str, Any]]:
    """Add all rows of a segmentation task.

    Args:
        rows: Where the scores go.
        task: The task's name.
        fits: Of each arm.
        tests: What they are tested on.
        amounts: What they were fitted on.
        facts: Of the real cohort.
        findings: Not used here.
        seed: Decides the bootstrap draws.

    Returns:
        The arms that are tested on real patients, the subject first; and nothing, for predicted masks are not kept.
    """
    classes, trained, who = facts.mask_classes, trained_images(amounts), roles(rows.subject)
    sets = {REAL: tests.real, SYNTHETIC: tests.synthetic, GAUSSIAN: tests.gaussian}
    sets |= tests.patients_tested

    def tested(train: str, test: str, differs: str) -> Tested:
        role, name = who[differs]
        return _tested(
            fits[train],
            sets[test],
            facts,
            volumes=test in tests.patients_tested,
            groups=tests.subgroups.get(test, {}),
            seed=seed,
            arm=f"{train}->{test}",
            role=role,
            subject=name,
            trained=trained[train],
        )

    trains = [tested(each, REAL, each) for each in who]
    others = [replace(tested(REAL, each, each), seconds=0.0) for each in who]
    _add_outcomes(rows, task, "train", trains, classes[1:])
    _add_contrasts(rows, task, trains)
    _add_outcomes(rows, task, "test", others, classes[1:])
    if tests.subgroups.get(REAL):
        _subgroups.add_gaps(rows, task, "train", tests.real, tests.subgroups[REAL], dict(zip(who, trains, strict=True)))
    if tests.external is not None:
        abroad = [replace(tested(each, EXTERNAL, each), seconds=0.0) for each in who]
        _add_outcomes(rows, task, EXTERNAL, abroad, classes[1:])
        _add_contrasts(rows, task, abroad, EXTERNAL)
        of_arms = dict(zip(who, abroad, strict=True))
        _subgroups.add_gaps(rows, task, EXTERNAL, tests.external, tests.subgroups.get(EXTERNAL, {}), of_arms)
    return trains, None, {}


def _tested(
    fits: Sequence[Fitted],
    on: ImageSet,
    facts: Facts,
    *,
    volumes: bool,
    groups: Mapping[str, Any],
    seed: int,
    **row: Any,
) -> Tested:
    """Return an arm's Dice; `row` holds its arm, role, subject and number of training images."""
    predictions, classes = [fit.task.predict(on.images, facts.value_range) for fit in fits], len(facts.mask_classes)
    tallies = {SLICE: tally(on, predictions, classes, volumes=False)}
    if volumes:
        tallies = {VOLUME: tally(on, predictions, classes, volumes=True), **tallies}
    outcomes = {metric: outcome(each, seed) for metric, each in tallies.items()}
    of_groups = {
        name: outcome(tally(on.take(places), [each[places] for each in predictions], classes, volumes=True), seed)
        for name, places in _subgroups.scorable(on, groups).items()
    }
    seconds = sum(fit.seconds for fit in fits)
    return Tested(tested=len(on), outcomes=outcomes, seconds=seconds, subgroups=of_groups, **row)


def outcome(own: Tally, seed: int) -> Outcome:
    """Return Dice of each class and their mean, averaged over learner seeds; arms on the same images share draws."""
    by_seed = [float(own.mean(np.array([number]), slice(None))[-1]) for number in range(len(own.sums))]
    return Outcome(own.everything, _draws(own, seed), np.array(by_seed))


def _add_outcomes(rows: Rows, task: str, family: str, arms: Sequence[Tested], labels: Sequence[str]) -> None:
    for metric in arms[0].outcomes:
        for place, label in enumerate([*labels, "mean"]):
            for tested in arms:
                found = tested.outcomes[metric]
                value = valued(
                    metric, label, found.values[place], found.draws[:, place], "higher",
                    otherwise="no image has this class",
                )  # fmt: skip
                add(rows, value, task, family, tested)


def _ratio(own: Any, other: Any) -> Any:
    return own / other


def _gap(own: Any, other: Any) -> Any:
    return other - own


_CONTRASTS: tuple[tuple[str, Better, Callable[[Any, Any], Any]], ...] = (
    ("dice_ratio", "higher", _ratio),
    ("dice_gap", "lower", _gap),
)


def _add_contrasts(rows: Rows, task: str, arms: Sequence[Tested], family: str = "train") -> None:
    """Add dice_ratio and dice_gap of every arm against real->real, paired by learner seed and test patient."""
    real = next(tested for tested in arms if tested.role == "ceiling").outcomes[VOLUME]
    for metric, better, contrast in _CONTRASTS:
        for tested in arms:
            # Real against itself is exactly 1 and 0, also in draws where both are 0.
            same, found = tested.role == "ceiling", tested.outcomes[VOLUME]
            own, other = (1.0, 1.0) if same else (found.values[-1], real.values[-1])
            draws = (np.ones(DRAWS),) * 2 if same else (found.draws[:, -1], real.draws[:, -1])
            with np.errstate(divide="ignore", invalid="ignore"):
                value, spread = contrast(np.float64(own), np.float64(other)), contrast(*draws)
            reason = "the network trained on real images finds nothing"
            add(rows, valued(metric, "mean", value, spread, better, otherwise=reason), task, family, tested)


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
