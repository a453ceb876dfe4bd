"""One evaluation under way: what is measured on which sets, in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins, runs
from ..cohort import Cohort
from ..gates import CardFile
from ..progress import say, track
from ..types import Features, Score, Value
from . import (
    _auc,
    _depth,
    _dice,
    _excess,
    _folder,
    _further,
    _notes,
    _planted,
    _released,
    _rows,
    _sets,
    _spaces,
    _stored,
    _utility,
)
from ._jobs import Jobs
from ._subgroups import subgroups

NO_ATTACK = "No membership inference attack was made."
ROADS: Mapping[str, Any] = {"masks": _dice, "labels": _auc}
"""What a task needs -> how it is scored."""


@dataclass(frozen=True)
class Plan:
    """What is going to be measured, with every plugin found and every option resolved.

    Attributes:
        metrics: Plugins.
        extractors: Name -> feature space.
        task_space: Whether the first task's own space is used.
        tasks: Name -> plugin and options.
        findings: Labels that both cohorts have.
        weights: Task -> file that it starts from.
        not_measured: What the report has to say is missing.
        seeds: How often each task is fitted.
        seed: Everything random derives from it.
        config: What names the evaluation.
        depth: How deep utility is looked into.
        external: Another real cohort to test on, or None.
        released: The run whose weights an attacker is given.
        card: What was declared and fixed beforehand.
    """

    metrics: Sequence[_rows.Metric]
    extractors: Mapping[str, Any]
    task_space: bool
    tasks: Mapping[str, tuple[Any, Mapping[str, Any]]]
    findings: tuple[str, ...]
    weights: Mapping[str, Path]
    not_measured: tuple[str, ...]
    seeds: int
    seed: int
    config: Mapping[str, Any]
    released: Path | None = None
    depth: _depth.Depth = "quick"
    external: Cohort | None = None
    card: CardFile | None = None


class Evaluation:
    """One evaluation under way."""

    def __init__(self, out: Path, cohorts: tuple[Cohort, Cohort], plan: Plan, jobs: Path, features: Path) -> None:
        self.out, self.plan, self.jobs_folder = out, plan, jobs
        self.real_cohort, self.cohort = cohorts
        self.cache = _spaces.FeatureCache(features / "features", self.real_cohort.facts.value_range)
        self.real = _sets.real_sets(self.real_cohort, plan.findings)
        self.subject = _sets.whole(self.cohort, "synthetic", plan.findings)
        self.amounts = _sets.equal_amounts(self.real, self.cohort, self.subject, seed=plan.seed)
        self.rows = _rows.Rows(_name(self.cohort), self.cohort.pixels_sha256, plan.seed, runs.versions())
        self.notes = [*_notes.about(self.cohort, self.real, self.real_cohort.identity), *self.amounts.notes]
        if _notes.FOREIGN in self.notes:
            say(f"Warning: {_notes.FOREIGN} Evaluate it beside the cohort that it was trained on.")
        self._drawn: dict[bool, _sets.ImageSet] = {}
        self._searched: _rows.Roles | None = None
        self.audited = _excess.Audited()
        self.fits: dict[str, _utility.Fits] = {}
        self.seed_values: dict[str, dict[str, list[float | None]]] = {}
        self.external = None if plan.external is None else _sets.whole(plan.external, "external", plan.findings)
        self.curves: list[dict[str, Any]] = []
        self.primary: dict[str, Any] = {}
        self.predictions: dict[str, Any] = {}
        self.violations: Any = None

    def run(self, start: float) -> list[Score]:
        """Measure everything, write the folder and return the scores."""
        self._measure_utility()
        spaces = self._open_spaces()
        self._distances(spaces)
        self._stored()
        verdicts = self._copies(spaces)
        self._audit(spaces)
        self._write(verdicts, time.perf_counter() - start)
        return self.rows.scores

    def _of(self, space: str) -> list[_rows.Metric]:
        return [metric for metric in self.plan.metrics if metric.space == space]

    @property
    def _compared(self) -> int:
        return min(len(self.subject), len(self.real.train))

    def _gaussian(self, *, conditional: bool = True) -> _sets.ImageSet:
        """Return images of the bad case: as many as any use of them needs, the same ones first."""
        if conditional not in self._drawn:
            tested = len(self.real.test)
            count = max(self._compared, len(self.amounts.train) + len(self.amounts.val)) + tested
            self._drawn[conditional] = _sets.control(
                _rows.GAUSSIAN,
                self.real_cohort,
                self.real.train,
                self.plan.findings,
                count=count if conditional else tested,
                seed=self.plan.seed,
                conditional=conditional,
            )
        return self._drawn[conditional]

    def _learner_seeds(self) -> list[int]:
        return [runs.derive_seed(self.plan.seed, "learner", number) for number in range(self.plan.seeds)]

    def _measure_utility(self) -> None:
        wanted = {metric.name for metric in self._of("predictions")}
        if not wanted:
            return
        for name, (plugin, _) in self.plan.tasks.items():
            road = ROADS[plugin.NEEDS]
            if road.METRIC not in wanted:
                continue
            if reason := self._unfit() or road.unfit(self.amounts, self.real.val):
                self._not_estimable(name, road, reason)
                continue
            amount = len(self.amounts.train) + len(self.amounts.val)
            gaussian = self._gaussian().take(np.arange(amount))
            self.fits[name] = _utility.fit_arms(
                self._jobs(name), self.amounts, self.real.val, gaussian, seeds=self._learner_seeds()
            )
            self._score_task(name, road)
        if self.plan.tasks:
            return
        if self.real_cohort.facts.labels and not self.plan.findings:
            self._not_estimable("classification", _auc, "the scored cohort has none of the real cohort's findings")
        else:
            self._not_estimable("segmentation", _dice, "the cohorts have no masks, or no task was asked for")

    def _jobs(self, name: str, other: Mapping[str, Any] | None = None) -> Jobs:
        """Return the fits of a task, with its own options or others."""
        plugin, options = self.plan.tasks[name]
        options = options if other is None else other
        return Jobs(
            self.jobs_folder,
            name,
            plugin,
            options,
            self.real_cohort.facts,
            findings=self.plan.findings,
            weights=self.plan.weights.get(name),
        )

    def _unfit(self) -> str:
        needed = {
            "the real cohort has no validation split": self.real.val,
            "the real cohort has no test split": self.real.test,
            "the synthetic cohort has too few images for training and validation": self.amounts.val,
        }
        return next((reason for reason, images in needed.items() if len(images) == 0), "")

    def _not_estimable(self, task: str, road: Any, reason: str) -> None:
        for metric in road.HEADLINES:
            value = Value(metric, None, better="higher", label="mean", status="not_estimable", reason=reason)
            self.rows.add(
                value, family="train", space=task, role="subject", arm="synthetic->real", n_real=0, n_synthetic=0
            )
        self.notes.append(f"The task {task} was not scored: {reason}.")

    def _score_task(self, name: str, road: Any) -> None:
        tests = self._tests(road)
        self.notes += road.what_is_missing(tests, self.amounts, self.plan.findings)
        tested, self.predictions[name], said = road.add_scores(
            self.rows,
            name,
            self.fits[name],
            tests,
            self.amounts,
            self.real_cohort.facts,
            self.plan.findings,
            seed=self.plan.seed,
        )
        self.seed_values[name] = {each.arm: _utility.by_seed(next(iter(each.outcomes.values()))) for each in tested}
        labels = self.real_cohort.facts.mask_classes[1:] if road is _dice else self.plan.findings
        self.primary[name] = tested, labels
        self._look_deeper(name, tests, labels, tested, said)

    def _look_deeper(self, name: str, tests: _utility.Tests, labels: Any, tested: Any, said: Any) -> None:
        plugin, options = self.plan.tasks[name]
        gaussian = self._gaussian().take(np.arange(len(self.amounts.train) + len(self.amounts.val)))
        bench = _further.Bench(
            self.rows, name, labels, self.amounts, self.real.train, self.real.val, gaussian, tests,
            self._learner_seeds(), self.plan.seed,
        )  # fmt: skip
        scored = _depth.Scored(
            plugin, options, partial(self._jobs, name), self.real_cohort.facts, self.fits[name], tested, said
        )
        space = _depth.probe_space(self.plan.extractors)
        curves, notes = _depth.add(bench, scored, self.cache, space, self.plan.findings, depth=self.plan.depth)
        self.curves += curves
        self.notes += notes

    def _tests(self, road: Any) -> _utility.Tests:
        """Return what is tested on, never more of a kind than there are real test images."""
        unseen, count = self.cohort.split("test"), len(self.real.test)
        synthetic = self.subject.take(unseen, "synthetic test") if len(unseen) else self.subject
        synthetic = synthetic.draw(count, seed=self.plan.seed)
        if road is _dice:
            few = self._gaussian().take(np.arange(count))
            return _utility.Tests(self.real.test, synthetic, few, {}, self.external, self._subgroups())
        last = np.arange(len(self._gaussian()))[len(self._gaussian()) - count :]
        own = {_auc.REFERENCE: self.real.reference, _rows.GAUSSIAN: self._gaussian().take(last, "gaussian test")}
        if len(unseen):
            own[_utility.SYNTHETIC] = synthetic
        unasked = self._gaussian(conditional=False)
        return _utility.Tests(self.real.test, synthetic, unasked, own, self.external, self._subgroups())

    def _subgroups(self) -> dict[str, Any]:
        tested = self.real_cohort.samples.iloc[self.real_cohort.split("test")]
        external = {} if self.plan.external is None else {_utility.EXTERNAL: self.plan.external.samples}
        return {where: subgroups(samples) for where, samples in ({_rows.REAL: tested} | external).items()}

    def _open_spaces(self) -> dict[str, Any]:
        """Return the feature spaces by name; the task space first."""
        if not self.plan.task_space:
            return dict(self.plan.extractors)
        name, (plugin, _) = next(iter(self.plan.tasks.items()))
        if name in self.fits:
            fitted = self.fits[name][_rows.REAL][0]
        elif len(self.real.val):
            fitted = self._jobs(name).fitted(self.amounts.real, self.real.val, seed=self._learner_seeds()[0])
        else:
            self.notes.append("The task space was not used: the real cohort has no validation split.")
            return dict(self.plan.extractors)
        self.notes.append(
            "The task space was learnt on the real training images, which would be no ceiling in it. Its ceiling is "
            f"{len(self.real.unfitted)} images of {self.real.unfitted.patient_count} patients it was not fitted to; "
            "those of the validation split decided when its fit ended."
        )
        return {_spaces.TASK: _spaces.TaskSpace(fitted, plugin.REVISION), **self.plan.extractors}

    def _distances(self, spaces: Mapping[str, Any]) -> None:
        wanted = self._of("features")
        if not wanted or not spaces:
            return
        roles = {space: self._compared_in(space) for space in spaces}
        jobs = [(metric, space) for space in spaces for metric in wanted]
        for metric, space in track(jobs, "Distances", len(jobs), "scores"):
            sides = _rows.Sides(self.real.held_out, roles[space], self.cache, spaces[space])
            _rows.add_distances(self.rows, metric, space, sides)
            if getattr(metric.module, "PER_LABEL", False):
                _rows.add_distances_per_label(self.rows, metric, space, sides, self.plan.findings)

    def _stored(self) -> None:
        """Score the samples as they are stored, each role against the real training images."""
        if wanted := self._of("samples"):
            roles = _rows.Roles(self.subject, self.real.held_out, self._gaussian().take(np.arange(self._compared)))
            told = self.real_cohort.facts, self.plan.findings
            self.violations = _stored.add_all(self.rows, wanted, *told, self.real.train, roles)

    def _compared_in(self, space: str) -> _rows.Roles:
        """Return what is measured against the held-out images, at equal numbers.

        The task was fitted to the training images, which look further from unseen ones in its own space than other
        patients do: a ceiling that is too easily reached. There, patients it was not fitted to take their place.
        """
        real = self.real.unfitted if space == _spaces.TASK else self.real.train
        count = min(self._compared, len(real))
        return _rows.Roles(
            subject=self.subject.draw(count, seed=self.plan.seed),
            ceiling=real.draw(count, seed=self.plan.seed),
            bad=self._gaussian().take(np.arange(count)),
        )

    def _copies(self, spaces: Mapping[str, Any]) -> dict[str, Any]:
        """Score copies in every space, those of masks too, and return the verdicts on the subject by space."""
        wanted = [*self._of("copies"), *self._of("masks")]
        if not wanted:
            return {}
        real, roles = self.real, self._attacked()
        every = _finding_copies(spaces) | _spaces.aligned(len(real.held_out), self.notes)
        classes = len(self.real_cohort.facts.mask_classes)
        seen: dict[str, dict[str, Callable[[_sets.ImageSet], Features]]] = {
            "copies": {name: partial(self.cache.features, extractor=space) for name, space in every.items()},
            "masks": {_spaces.MASKS: partial(_spaces.mask_features, classes=classes)},
        }
        planted = _planted.planted(real.train, self.real_cohort.facts.value_range, seed=self.plan.seed)
        tests = sum(len(seen[metric.space]) for metric in wanted)
        found: dict[str, Any] = {}
        for metric in track(wanted, "Copies", len(wanted), "metrics"):
            use = {kind: copies for kind, copies in planted.items() if _judges(metric, kind)}
            sides = (real.train, real.held_out)
            found |= _rows.add_copies(self.rows, metric, seen[metric.space], sides, roles, use, self.audited, tests)
        return found

    def _not_measured(self) -> list[str]:
        attacked = any(row.metric == "membership_auc" and row.status == "ok" for row in self.rows.scores)
        return [*(() if attacked else (NO_ATTACK,)), *self.plan.not_measured]

    def _attacked(self) -> _rows.Roles:
        """Return what is searched for traces of the training patients."""
        if self._searched is None:
            copycat = _sets.control(
                _rows.COPYCAT,
                self.real_cohort,
                self.real.train,
                self.plan.findings,
                count=self._compared,
                seed=self.plan.seed,
            )
            self._searched = _rows.Roles(self.subject, self.real.holdout, copycat)
        return self._searched

    def _audit(self, spaces: Mapping[str, Any]) -> None:
        """Attack the patients in every space that finds copies, but that which was learnt on the members themselves.

        In the task space training images differ from held-out ones whatever the subject is: an attack would find that.
        """
        wanted = self._of("audit")
        every = _finding_copies({name: space for name, space in spaces.items() if name != _spaces.TASK})
        jobs = [(metric, name) for name in every for metric in wanted]
        for metric, name in track(jobs, "Attacks", len(jobs), "scores"):
            seen = partial(self.cache.features, extractor=every[name])
            real = (self.real.train, self.real.held_out)
            _rows.add_audit(self.rows, metric, name, seen, real, self._attacked(), self.plan.findings)
        if self.plan.released is not None:
            _released.add_attack(self.rows, self.plan.released, self.real, self.real_cohort.facts.value_range)

    def _write(self, verdicts: Mapping[str, Any], seconds: float) -> None:
        train = self.real_cohort.samples.iloc[self.real_cohort.split("train")]
        ids, train_ids = (table["sample_id"].astype(str).tolist() for table in (self.cohort.samples, train))
        _folder.write_scores(self.out, self.rows.scores)
        _folder.write_samples(self.out, _rows.verdict_table(ids, train_ids, verdicts, self.violations))
        _folder.write_audited(self.out, self.audited.table())
        _folder.write_examples(self.out, self.cohort, self.subject.labels, self.plan.findings, seed=self.plan.seed)
        _folder.write_predictions(self.out, self.predictions)
        if _spaces.PIXELS in verdicts:
            _folder.write_pairs(self.out, self.cohort, self.real.train, verdicts[_spaces.PIXELS])
        _folder.write_curves(self.out, self.cohort, self.fits)
        _folder.write_learning_curves(self.out, self.curves)
        _folder.write_facts(
            self.out,
            self.real_cohort,
            self.cohort,
            notes=self.notes,
            not_measured=self._not_measured(),
            labels=list(self.plan.findings),
            label_counts={
                side: _sets.positives(cohort, self.plan.findings)
                for side, cohort in (("real", self.real_cohort), ("synthetic", self.cohort))
            },
            utility_by_seed=self.seed_values,
            utility={"depth": self.plan.depth, "verdicts": _depth.verdicts(self.primary)},
            copy_thresholds={space: float(found.threshold) for space, found in verdicts.items()},
            copy_calibration=self.audited.facts(),
            seconds=round(seconds, 3),
            **({"card": self.plan.card.to_json()} if self.plan.card else {}),
        )


def _name(cohort: Cohort) -> str:
    made_by = cohort.facts.generator or {}
    return str(made_by.get("generator") or made_by.get("name") or cohort.facts.name)


def _judges(metric: _rows.Metric, kind: str) -> bool:
    """Return whether a kind of planted copy says something of a metric: only what moves a mask does of masks."""
    return metric.space != "masks" or kind in _planted.GEOMETRIC


def _finding_copies(spaces: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spaces in which a copy can be told, small pixels first."""
    able = {name: space for name, space in spaces.items() if getattr(space, "FINDS_COPIES", True)}
    return {_spaces.PIXELS: plugins.find("extractors", _spaces.PIXELS)(), **able}
