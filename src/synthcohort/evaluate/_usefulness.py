"""How useful the images are: tasks fitted on either side, scored, and looked deeper into."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..types import Value
from . import _auc, _depth, _dice, _further, _rows, _spaces, _utility
from ._setting import Setting
from ._subgroups import subgroups

ROADS: Mapping[str, Any] = {"masks": _dice, "labels": _auc}
"""What a task needs -> how it is scored."""


class Usefulness:
    """The tasks of an evaluation.

    Attributes:
        fits: Task -> its fits.
        seed_values: Task -> arm -> the headline value of each learner seed.
        curves: What numbers of real patients reach.
        primary: Task -> its arms tested on real patients, and what they were scored on.
        predictions: Task -> what was said of each test image.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.fits: dict[str, _utility.Fits] = {}
        self.seed_values: dict[str, dict[str, list[float | None]]] = {}
        self.curves: list[dict[str, Any]] = []
        self.primary: dict[str, Any] = {}
        self.predictions: dict[str, Any] = {}

    def measure(self) -> None:
        """Fit and score every task."""
        given = self.setting
        wanted = {metric.name for metric in given.metrics_on("predictions")}
        if not wanted:
            return
        for name, (plugin, _) in given.plan.tasks.items():
            road = ROADS[plugin.NEEDS]
            if road.METRIC not in wanted:
                continue
            fits = self.fits_of(name)
            if isinstance(fits, str):
                self._not_estimable(name, road, fits)
                continue
            self._score_task(name, road)
        if given.plan.tasks:
            return
        if given.real_cohort.facts.labels and not given.plan.findings:
            self._not_estimable("classification", _auc, "the scored cohort has none of the real cohort's findings")
        else:
            self._not_estimable("segmentation", _dice, "the cohorts have no masks, or no task was asked for")

    def fits_of(self, name: str) -> _utility.Fits | str:
        """Return the fits of a task, made or read from their files; or why it cannot be fitted."""
        given, road = self.setting, ROADS[self.setting.plan.tasks[name][0].NEEDS]
        if name not in self.fits:
            if reason := self._unfit() or road.unfit(given.amounts, given.real.val):
                return str(reason)
            amount = len(given.amounts.train) + len(given.amounts.val)
            gaussian = given.gaussian().take(np.arange(amount))
            self.fits[name] = _utility.fit_arms(
                given.jobs(name),
                given.amounts,
                given.real.val,
                gaussian,
                seeds=given.learner_seeds(),
            )
        return self.fits[name]

    def _unfit(self) -> str:
        given = self.setting
        needed = {
            "the real cohort has no validation split": given.real.val,
            "the real cohort has no test split": given.real.test,
            "the synthetic cohort has too few images for training and validation": given.amounts.val,
        }
        return next((reason for reason, images in needed.items() if len(images) == 0), "")

    def _not_estimable(self, task: str, road: Any, reason: str) -> None:
        given = self.setting
        for metric in road.HEADLINES:
            value = Value(metric, None, better="higher", label="mean", status="not_estimable", reason=reason)
            given.rows.add(
                value, family="train", space=task, role="subject", arm="synthetic->real", n_real=0, n_synthetic=0
            )
        given.notes.append(f"The task {task} was not scored: {reason}.")

    def _score_task(self, name: str, road: Any) -> None:
        given = self.setting
        tests = self._tests(road)
        given.notes += road.what_is_missing(tests, given.amounts, given.plan.findings)
        tested, self.predictions[name], said = road.add_scores(
            given.rows,
            name,
            self.fits[name],
            tests,
            given.amounts,
            given.real_cohort.facts,
            given.plan.findings,
            seed=given.plan.seed,
        )
        self.seed_values[name] = {each.arm: _utility.by_seed(next(iter(each.outcomes.values()))) for each in tested}
        labels = given.real_cohort.facts.mask_classes[1:] if road is _dice else given.plan.findings
        self.primary[name] = tested, labels
        self._look_deeper(name, tests, labels, tested, said)

    def _look_deeper(self, name: str, tests: _utility.Tests, labels: Any, tested: Any, said: Any) -> None:
        given = self.setting
        plugin, options = given.plan.tasks[name]
        gaussian = given.gaussian().take(np.arange(len(given.amounts.train) + len(given.amounts.val)))
        bench = _further.Bench(
            given.rows, name, labels, given.amounts, given.real.train, given.real.val, gaussian, tests,
            given.learner_seeds(), given.plan.seed,
        )  # fmt: skip
        scored = _depth.Scored(
            plugin,
            options,
            partial(given.jobs, name),
            given.real_cohort.facts,
            self.fits[name],
            tested,
            said,
        )
        space = _depth.probe_space(given.plan.extractors)
        curves, notes = _depth.add(bench, scored, given.cache, space, given.plan.findings, depth=given.plan.depth)
        self.curves += curves
        given.notes += notes

    def _tests(self, road: Any) -> _utility.Tests:
        """Return what is tested on, never more of a kind than there are real test images."""
        given = self.setting
        unseen, count = given.cohort.split("test"), len(given.real.test)
        synthetic = given.subject.take(unseen, "synthetic test") if len(unseen) else given.subject
        synthetic = synthetic.draw(count, seed=given.plan.seed)
        if road is _dice:
            few = given.gaussian().take(np.arange(count))
            return _utility.Tests(given.real.test, synthetic, few, {}, given.external, self._subgroups())
        last = np.arange(len(given.gaussian()))[len(given.gaussian()) - count :]
        own = {
            _auc.REFERENCE: given.real.reference,
            _rows.GAUSSIAN: given.gaussian().take(last, "gaussian test"),
        }
        if len(unseen):
            own[_utility.SYNTHETIC] = synthetic
        unasked = given.gaussian(conditional=False)
        return _utility.Tests(given.real.test, synthetic, unasked, own, given.external, self._subgroups())

    def _subgroups(self) -> dict[str, Any]:
        given = self.setting
        tested = given.real_cohort.samples.iloc[given.real_cohort.split("test")]
        external = {} if given.plan.external is None else {_utility.EXTERNAL: given.plan.external.samples}
        return {where: subgroups(samples) for where, samples in ({_rows.REAL: tested} | external).items()}

    def open_spaces(self) -> dict[str, Any]:
        """Return the feature spaces by name; the task space first."""
        given = self.setting
        if not given.plan.task_space:
            return dict(given.plan.extractors)
        name, (plugin, _) = next(iter(given.plan.tasks.items()))
        if name in self.fits:
            fitted = self.fits[name][_rows.REAL][0]
        elif len(given.real.val):
            fitted = given.jobs(name).fitted(given.amounts.real, given.real.val, seed=given.learner_seeds()[0])
        else:
            given.notes.append("The task space was not used: the real cohort has no validation split.")
            return dict(given.plan.extractors)
        given.notes.append(
            "The task space was learnt on the real training images, which would be no ceiling in it. Its ceiling is "
            f"{len(given.real.unfitted)} images of {given.real.unfitted.patient_count} patients it was not fitted to; "
            "those of the validation split decided when its fit ended."
        )
        return {_spaces.TASK: _spaces.TaskSpace(fitted, plugin.REVISION), **given.plan.extractors}
