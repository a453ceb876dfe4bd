"""One evaluation under way: what is measured on which sets, in which order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..cohort import Cohort
from ..errors import InputError
from ..progress import track
from ..types import Features, Score
from . import _depth, _distances, _excess, _folder, _planted, _released, _rows, _searches, _sets, _spaces, _stored
from ._setting import Plan, Setting
from ._usefulness import Usefulness

NO_ATTACK = "No membership inference attack was made."


class Evaluation:
    """One evaluation under way.

    Args:
        out: The EVAL folder.
        cohorts: The real one and the one that is scored.
        plan: What is measured.
        jobs: Folder of the fits.
        features: Folder of the cached features.
    """

    def __init__(self, out: Path, cohorts: tuple[Cohort, Cohort], plan: Plan, jobs: Path, features: Path) -> None:
        self.out, self.setting = out, Setting(cohorts, plan, jobs, features)
        self.use = Usefulness(self.setting)
        self.audited = _excess.Audited()
        self.violations: Any = None
        self._searched: _rows.Roles | None = None

    def run(self, start: float) -> list[Score]:
        """Measure everything, write the folder and return the scores."""
        stage = self.setting.clock.stage
        with stage("utility"):
            self.use.measure()
            spaces = self.use.open_spaces()
        with stage("distances"):
            self._distances(spaces)
        with stage("rules"):
            self._stored()
        with stage("copies"):
            verdicts = self._copies(spaces)
        with stage("attacks"):
            self._audit(spaces)
        if not self.setting.rows.scores:
            names = ", ".join(metric.name for metric in self.setting.plan.metrics) or "no metric"
            rule = "An evaluation scores something"
            raise InputError(
                rule, f"{names} found no feature space to look in", "Name further --extractors or --metrics"
            )
        self._write(verdicts, time.perf_counter() - start)
        return self.setting.rows.scores

    def _distances(self, spaces: Mapping[str, Any]) -> None:
        given = self.setting
        wanted = given.metrics_on("features")
        if not wanted or not spaces:
            return
        roles = {space: self._compared_in(space) for space in spaces}
        jobs = [(metric, space) for space in spaces for metric in wanted]
        for metric, space in track(jobs, "Distances", len(jobs), "scores"):
            sides = _distances.Sides(given.real.held_out, roles[space], given.cache, spaces[space])
            _distances.add_distances(given.rows, metric, space, sides)
            if getattr(metric.module, "PER_LABEL", False):
                _distances.add_distances_per_label(given.rows, metric, space, sides, given.plan.findings)

    def _stored(self) -> None:
        """Score the samples as they are stored, each role against the real training images."""
        given = self.setting
        if wanted := given.metrics_on("samples"):
            roles = _rows.Roles(
                given.subject,
                given.real.held_out,
                given.gaussian().take(np.arange(given.compared)),
            )
            told = given.real_cohort.facts, given.plan.findings
            self.violations = _stored.add_all(given.rows, wanted, *told, given.real.train, roles)

    def _compared_in(self, space: str) -> _rows.Roles:
        """Return what is measured against the held-out images, at equal numbers.

        The task was fitted to the training images, which look further from unseen ones in its own space than other
        patients do: a ceiling that is too easily reached. There, patients it was not fitted to take their place.
        """
        given = self.setting
        real = given.real.unfitted if space == _spaces.TASK else given.real.train
        count = min(given.compared, len(real))
        return _rows.Roles(
            subject=given.subject.draw(count, seed=given.plan.seed),
            ceiling=real.draw(count, seed=given.plan.seed),
            bad=given.gaussian().take(np.arange(count)),
        )

    def _copies(self, spaces: Mapping[str, Any]) -> dict[str, Any]:
        """Score copies in every space, those of masks too, and return the verdicts on the subject by space."""
        given = self.setting
        wanted = [*given.metrics_on("copies"), *given.metrics_on("masks")]
        if not wanted:
            return {}
        real, roles = given.real, self._attacked()
        every = _finding_copies(spaces) | _spaces.aligned(len(real.held_out), given.notes)
        classes = len(given.real_cohort.facts.mask_classes)
        seen: dict[str, dict[str, Callable[[_sets.ImageSet], Features]]] = {
            "copies": {name: partial(given.cache.features, extractor=space) for name, space in every.items()},
            "masks": {_spaces.MASKS: partial(_spaces.mask_features, classes=classes)},
        }
        planted = _planted.planted(real.train, given.real_cohort.facts.value_range, seed=given.plan.seed)
        tests = sum(len(seen[metric.space]) for metric in wanted)
        found: dict[str, Any] = {}
        for metric in track(wanted, "Copies", len(wanted), "metrics"):
            use = {kind: copies for kind, copies in planted.items() if _judges(metric, kind)}
            sides = (real.train, real.held_out)
            found |= _searches.add_copies(
                given.rows, metric, seen[metric.space], sides, roles, use, self.audited, tests
            )
        return found

    def _not_measured(self) -> list[str]:
        given = self.setting
        attacked = any(row.metric == "membership_auc" and row.status == "ok" for row in given.rows.scores)
        return [*(() if attacked else (NO_ATTACK,)), *given.plan.not_measured]

    def _attacked(self) -> _rows.Roles:
        """Return what is searched for traces of the training patients."""
        given = self.setting
        if self._searched is None:
            copycat = _sets.control(
                _rows.COPYCAT,
                given.real_cohort,
                given.real.train,
                given.plan.findings,
                count=given.compared,
                seed=given.plan.seed,
            )
            self._searched = _rows.Roles(given.subject, given.real.holdout, copycat)
        return self._searched

    def _audit(self, spaces: Mapping[str, Any]) -> None:
        """Attack the patients in every space that finds copies, but that which was learnt on the members themselves.

        In the task space training images differ from held-out ones whatever the subject is: an attack would find that.
        """
        given = self.setting
        wanted = given.metrics_on("audit")
        every = _finding_copies({name: space for name, space in spaces.items() if name != _spaces.TASK})
        jobs = [(metric, name) for name in every for metric in wanted]
        for metric, name in track(jobs, "Attacks", len(jobs), "scores"):
            seen = partial(given.cache.features, extractor=every[name])
            real = (given.real.train, given.real.held_out)
            _searches.add_audit(given.rows, metric, name, seen, real, self._attacked(), given.plan.findings)
        if given.plan.released is not None:
            _released.add_attack(
                given.rows,
                given.plan.released,
                given.real,
                given.real_cohort.facts.value_range,
            )

    def _write(self, verdicts: Mapping[str, Any], seconds: float) -> None:
        given = self.setting
        train = given.real_cohort.samples.iloc[given.real_cohort.split("train")]
        ids, train_ids = (table["sample_id"].astype(str).tolist() for table in (given.cohort.samples, train))
        _folder.write_scores(self.out, given.rows.scores)
        _folder.write_samples(self.out, _searches.verdict_table(ids, train_ids, verdicts, self.violations))
        _folder.write_audited(self.out, self.audited.table())
        _folder.write_examples(
            self.out,
            given.cohort,
            given.subject.labels,
            given.plan.findings,
            seed=given.plan.seed,
        )
        _folder.write_predictions(self.out, self.use.predictions)
        if _spaces.PIXELS in verdicts:
            _folder.write_pairs(self.out, given.cohort, given.real.train, verdicts[_spaces.PIXELS])
        _folder.write_curves(self.out, given.cohort, self.use.fits)
        _folder.write_learning_curves(self.out, self.use.curves)
        _folder.write_facts(
            self.out,
            given.real_cohort,
            given.cohort,
            notes=given.notes,
            not_measured=self._not_measured(),
            labels=list(given.plan.findings),
            label_counts={
                side: _sets.positives(cohort, given.plan.findings)
                for side, cohort in (("real", given.real_cohort), ("synthetic", given.cohort))
            },
            utility_by_seed=self.use.seed_values,
            utility={"depth": given.plan.depth, "verdicts": _depth.verdicts(self.use.primary)},
            copy_thresholds={space: float(found.threshold) for space, found in verdicts.items()},
            copy_calibration=self.audited.facts(),
            seconds=round(seconds, 3),
            stages=given.clock.to_json(),
            **({"card": given.plan.card.to_json()} if given.plan.card else {}),
        )


def _judges(metric: _rows.Metric, kind: str) -> bool:
    """Return whether a kind of planted copy says something of a metric: only what moves a mask does of masks."""
    return metric.space != "masks" or kind in _planted.GEOMETRIC


def _finding_copies(spaces: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spaces in which a copy can be told, small pixels first."""
    able = {name: space for name, space in spaces.items() if getattr(space, "FINDS_COPIES", True)}
    return {_spaces.PIXELS: plugins.find("extractors", _spaces.PIXELS)(), **able}
