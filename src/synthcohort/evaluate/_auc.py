"""The labels road of utility: AUC of classifiers, the gap to real images, and whether the labels hold.

Four comparisons over one set of fits (the train/test matrix): what the networks were fitted on differs ("train"), what
a network fitted on real images is tested on differs ("test": does the asked finding show?), every network is tested on
unseen images of its own kind ("own"), and by how much that flatters it ("overfit": study 003's delta-syn).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..cohort import Facts
from ..metrics.auc import auc_draws, mean_auc, mirrored, patient_draws
from ..runs import derive_seed
from ..statistics import auc
from ..types import Array, Better, Value
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

METRIC, NEEDS = "auc", "labels"
AUC, MIRRORED = "auc", "auc_mirrored"
HEADLINES = (AUC,)
GAP, DELTA = "auc_gap", "delta_syn"
REFERENCE = "reference"
_BY_PATIENTS = ("train", EXTERNAL)
"""Families whose arms are tested on real patients."""
CODE_TEST_BATCH = 50  # under protocol=code the last, partial batch of test images is dropped (study 003, released code)


@dataclass(frozen=True)
class Predicted:
    """What the fits of one arm said of one set.

    Attributes:
        on: The images, with their truth.
        scores: (S, n, L) probabilities.
    """

    on: ImageSet
    scores: Array


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
) -> tuple[list[Tested], pd.DataFrame, dict[str, Predicted]]:
    """Add all rows of a classification task.

    Args:
        rows: Where the scores go.
        task: The task's name.
        fits: Of each arm.
        tests: What they are tested on.
        amounts: What they were fitted on.
        facts: Of the real cohort.
        findings: Names of the labels.
        seed: Decides the bootstrap draws.

    Returns:
        The arms that are tested on real patients, the subject first; what their networks said of every real test
        image, as a table; and of every set.
    """
    road = _Road(rows, task, fits, tests, amounts, facts.value_range, findings, seed)
    trains = road.compare("train", {arm: (arm, REAL) for arm in road.who})
    road.compare("test", {SYNTHETIC: (REAL, SYNTHETIC), REAL: (REAL, REAL), GAUSSIAN: (REAL, GAUSSIAN)})
    road.add_gaps(trains, "train")
    own_kind = {SYNTHETIC: SYNTHETIC, REAL: REFERENCE, GAUSSIAN: GAUSSIAN}
    own = road.compare("own", {arm: (arm, f"own {kind}") for arm, kind in own_kind.items()})
    road.add_deltas(trains, own)
    _add_abroad(road, tests, trains)
    if SYNTHETIC not in own:
        road.add_missing("own", AUC, "higher")
        road.add_missing("overfit", DELTA, "lower")
    return list(trains.values()), predictions_table(road.said, findings, road.counted), road.said


def _add_abroad(road: _Road, tests: Tests, trains: Mapping[str, Tested]) -> None:
    """Add what depends on who is tested: subgroups, calibration, and all of it again on another cohort."""
    for where, images in tests.patients_tested.items():
        family, arms = "train", trains
        if where == EXTERNAL:
            family, arms = EXTERNAL, road.compare(EXTERNAL, {arm: (arm, EXTERNAL) for arm in road.who})
            road.add_gaps(arms, EXTERNAL)
        if groups := tests.subgroups.get(where):
            _subgroups.add_gaps(road.rows, road.task, family, images, groups, arms)


def unscorable(tests: Tests, amounts: Amounts, findings: Sequence[str]) -> dict[str, str]:
    """Return finding -> why it has no AUC: both of its values are needed wherever networks are fitted or tested."""
    needed = {
        "the real test images": tests.real,
        "the real training images": amounts.real,
        "the training images of the scored cohort": amounts.train,
    }
    reasons: dict[str, str] = {}
    for place, finding in enumerate(findings):
        for name, images in needed.items():
            stated = images.labels[:, place][np.isfinite(images.labels[:, place])]
            if len(np.unique(stated)) < 2:
                held = "none states it" if not len(stated) else "all have it" if stated.all() else "none has it"
                reasons.setdefault(finding, f"of {name} {held}")
    return reasons


def unfit(amounts: Amounts, val: ImageSet) -> str:
    """Return why no classifier can be fitted, or ""."""
    needed = {
        "the scored cohort's training": amounts.train,
        "the scored cohort's validation": amounts.val,
        "the real training": amounts.real,
        "the real validation": val,
    }
    silent = [name for name, images in needed.items() if not np.isfinite(images.labels).any()]
    return f"none of {silent[0]} images states a finding" if silent else ""


def what_is_missing(tests: Tests, amounts: Amounts, findings: Sequence[str]) -> list[str]:
    """Return notes on the findings that no mean holds."""
    reasons = unscorable(tests, amounts, findings)
    if not reasons:
        return []
    said = "; ".join(f"{finding} ({reason})" for finding, reason in reasons.items())
    kept = len(findings) - len(reasons)
    return [f"Mean AUCs, ceiling and bad case included, are over {kept} of {len(findings)} findings, without {said}."]


def predictions_table(said: Mapping[str, Predicted], findings: Sequence[str], counted: Array) -> pd.DataFrame:
    """Return one row for each arm, learner seed and real test image: truth.<finding> and score.<finding>.

    The scores of a finding that is not scored, since the scored cohort lost it, are missing in every arm.
    """
    tables = []
    for arm, predicted in said.items():
        if not arm.endswith(f"->{REAL}"):
            continue
        for number, scores in enumerate(predicted.scores):
            table = pd.DataFrame({"patient_id": predicted.on.patients, "arm": arm, "seed": number})
            for place, finding in enumerate(findings):
                table[f"truth.{finding}"] = predicted.on.labels[:, place]
                table[f"score.{finding}"] = scores[:, place] if counted[place] else np.nan
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def outcome(truth: ImageSet, scores: Array, counted: Array, *, seed: int, mirror: bool = False) -> Outcome:
    """Return AUC of each finding and their mean, averaged over learner seeds.

    Args:
        truth: Images with labels (n, L); unknown ones are left out of their finding.
        scores: (S, n, L) probabilities of each learner seed.
        counted: (L,) bool, which findings are scored; the others are NaN.
        seed: Decides the bootstrap draws; arms on the same images share them.
        mirror: Turn an AUC below 0.5 around, as protocol=code does.
    """
    seeds, _, findings = scores.shape
    weights = patient_draws(truth.patients, seed=derive_seed(seed, "auc patients", truth.name), draws=DRAWS)
    values, draws = np.full((seeds, findings), np.nan), np.full((seeds, DRAWS, findings), np.nan)
    for number, place in np.ndindex(seeds, findings):
        if counted[place]:
            pair = truth.labels[:, place], scores[number, :, place]
            values[number, place], draws[number, :, place] = auc(*pair), auc_draws(*pair, weights)
    if mirror:
        values, draws = mirrored(values), mirrored(draws)
    picks = np.random.default_rng(derive_seed(seed, "auc seeds", seeds)).multinomial(
        seeds, np.full(seeds, 1 / seeds), size=DRAWS
    )
    drawn = np.einsum("ds,sdl->dl", picks / seeds, draws)
    mean = values.mean(0)
    return Outcome(np.append(mean, mean_auc(mean)), _with_mean(mean, drawn), np.atleast_1d(mean_auc(values)))


def _with_mean(values: Floats, draws: Floats) -> Floats:
    return np.concatenate([draws, mean_auc(values, draws)[:, None]], axis=1)


class _Road:
    """The rows of one task under way; what a network says of a set is asked once."""

    def __init__(
        self,
        rows: Rows,
        task: str,
        fits: Fits,
        tests: Tests,
        amounts: Amounts,
        value_range: tuple[float, float],
        findings: Sequence[str],
        seed: int,
    ) -> None:
        self.rows, self.task, self.fits, self.findings, self.seed = rows, task, fits, tuple(findings), seed
        self.who, self.trained, self.value_range = roles(rows.subject), trained_images(amounts), value_range
        self.sets = {REAL: tests.real, SYNTHETIC: tests.synthetic, GAUSSIAN: tests.gaussian}
        self.sets |= tests.patients_tested
        self.groups = tests.subgroups
        self.sets |= {f"own {kind}": images for kind, images in tests.own.items()}
        self.reasons = unscorable(tests, amounts, findings)
        self.counted = np.array([finding not in self.reasons for finding in findings])
        self.mirror = any(getattr(fit.task, "protocol", "") == "code" for each in fits.values() for fit in each)
        self.unit = "mirrored" if self.mirror else ""  # of differences of mirrored AUCs
        self.said: dict[str, Predicted] = {}

    def compare(self, family: str, arms: Mapping[str, tuple[str, str]]) -> dict[str, Tested]:
        """Add AUC rows of one comparison and return its arms: what differs -> tested; arms without images are absent.

        Args:
            family: Names the comparison.
            arms: What differs -> (what was fitted on, what is tested on).
        """
        found = {
            differs: self._tested(differs, train, test, counts=family == "train", grouped=family in _BY_PATIENTS)
            for differs, (train, test) in arms.items()
            if test in self.sets and len(self.sets[test])
        }
        metric = MIRRORED if self.mirror else AUC
        for place, label in enumerate([*self.findings, "mean"]):
            for tested in found.values():
                done = tested.outcomes[AUC]
                value = valued(
                    metric, label, done.values[place], done.draws[:, place], "higher", otherwise=self._why(label)
                )
                add(self.rows, value, self.task, family, tested)
        return found

    def add_gaps(self, trains: Mapping[str, Tested], family: str) -> None:
        """Add AUC trained on real images minus AUC of each arm, paired by learner seed and test patient."""
        real = trains[REAL].outcomes[AUC]
        for place, label in enumerate([*self.findings, "mean"]):
            for tested in trains.values():
                own = tested.outcomes[AUC]
                gap, spread = real.values[place] - own.values[place], real.draws[:, place] - own.draws[:, place]
                value = valued(GAP, label, gap, spread, "lower", otherwise=self._why(label), unit=self.unit)
                add(self.rows, value, self.task, family, tested)

    def add_deltas(self, trains: Mapping[str, Tested], own: Mapping[str, Tested]) -> None:
        """Add AUC on unseen images of the own kind minus AUC on real patients, paired by learner seed."""
        for differs in own:
            flattered, honest = own[differs].outcomes[AUC], trains[differs].outcomes[AUC]
            values = flattered.values[:-1] - honest.values[:-1]
            draws = flattered.draws[:, :-1] - honest.draws[:, :-1]
            values, draws = np.append(values, mean_auc(values)), _with_mean(values, draws)
            tested = replace(own[differs], arm=f"{own[differs].arm}-{REAL}", seconds=0.0)
            for place, label in enumerate([*self.findings, "mean"]):
                value = valued(
                    DELTA, label, values[place], draws[:, place], "lower", otherwise=self._why(label), unit=self.unit
                )
                add(self.rows, value, self.task, "overfit", tested)

    def add_missing(self, family: str, metric: str, better: Better) -> None:
        """Add a row that says why the scored cohort is not tested on images of its own kind."""
        reason = "the scored cohort has no test split; sample it with --like"
        value = Value(metric, None, better=better, label="mean", status="not_estimable", reason=reason)
        arm, trained = f"{SYNTHETIC}->{SYNTHETIC}", self.trained[SYNTHETIC]
        add(self.rows, value, self.task, family, Tested(arm, "subject", self.rows.subject, trained, 0, {}, 0.0))

    def _tested(self, differs: str, train: str, test: str, *, counts: bool, grouped: bool) -> Tested:
        role, name = self.who[differs]
        arm, predicted = f"{train}->{test.removeprefix('own ')}", self._predicted(train, test)
        done = outcome(predicted.on, predicted.scores, self.counted, seed=self.seed, mirror=self.mirror)
        return Tested(
            arm=arm,
            role=role,
            subject=predicted.on.name if test == GAUSSIAN else name,
            trained=self.trained[train],
            tested=len(predicted.on),
            outcomes={AUC: done},
            seconds=sum(fit.seconds for fit in self.fits[train]) if counts else 0.0,
            subgroups=self._in_subgroups(predicted, self.groups.get(test, {})) if grouped else {},
        )

    def _in_subgroups(self, predicted: Predicted, groups: Mapping[str, Array]) -> dict[str, Outcome]:
        """Return what is reached in each subgroup, over the findings that it has enough images of."""
        found = {}
        # protocol=code drops the last partial batch.
        within = {name: places[places < len(predicted.on)] for name, places in groups.items()}
        for name, kept in _subgroups.scorable(predicted.on, within).items():
            counted = _subgroups.counted_in(predicted.on, kept, self.counted)
            if counted.any():
                part = predicted.on.take(kept)
                found[name] = outcome(part, predicted.scores[:, kept], counted, seed=self.seed, mirror=self.mirror)
        return found

    def _predicted(self, train: str, test: str) -> Predicted:
        arm = f"{train}->{test}"
        if arm not in self.said:
            on = self.sets[test]
            if self.mirror and len(on) > CODE_TEST_BATCH:
                on = on.take(np.arange(len(on) // CODE_TEST_BATCH * CODE_TEST_BATCH))
            self.said[arm] = Predicted(on, _scores(self.fits[train], on, self.value_range))
        return self.said[arm]

    def _why(self, label: str) -> str:
        if label == "mean":
            return "no finding could be scored"
        return self.reasons.get(label, "the images it is tested on have one class of it")


def _scores(fits: Sequence[Fitted], on: ImageSet, value_range: tuple[float, float]) -> Any:
    return np.stack([fit.task.predict(on.images, value_range) for fit in fits]).astype(np.float64)
