"""One evaluation under way: what is measured on which sets, in which order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins, runs
from ..cohort import Cohort
from ..progress import track
from ..types import Score, Value
from . import _folder, _rows, _sets, _spaces, _utility
from ._jobs import Jobs


@dataclass(frozen=True)
class Plan:
    """What is going to be measured, with every plugin found and every option resolved."""

    metrics: Sequence[_rows.Metric]
    extractors: Mapping[str, Any]
    task_space: bool
    tasks: Mapping[str, tuple[Any, Mapping[str, Any]]]
    not_measured: tuple[str, ...]
    seeds: int
    seed: int
    config: Mapping[str, Any]


class Evaluation:
    """One evaluation under way."""

    def __init__(self, out: Path, cohorts: tuple[Cohort, Cohort], plan: Plan, jobs: Path, features: Path) -> None:
        self.out, self.plan, self.jobs_folder = out, plan, jobs
        self.real_cohort, self.cohort = cohorts
        self.cache = _spaces.FeatureCache(features / "features", self.real_cohort.facts.value_range)
        self.real = _sets.real_sets(self.real_cohort)
        self.subject = _sets.whole(self.cohort, "synthetic")
        self.amounts = _sets.equal_amounts(self.real, self.cohort, seed=plan.seed)
        self.rows = _rows.Rows(_name(self.cohort), self.cohort.pixels_sha256, plan.seed, runs.versions())
        self.notes = [*_notes(self.cohort, self.real), *self.amounts.notes]
        self.fits: dict[str, _utility.Fits] = {}
        self.seed_values: dict[str, dict[str, list[float | None]]] = {}

    def run(self, start: float) -> list[Score]:
        """Measure everything, write the folder and return the scores."""
        self._utility()
        spaces = self._open_spaces()
        self._distances(spaces)
        verdicts = self._copies(spaces)
        self._write(verdicts, time.perf_counter() - start)
        return self.rows.scores

    def _of(self, space: str) -> list[_rows.Metric]:
        return [metric for metric in self.plan.metrics if metric.space == space]

    @property
    def _compared(self) -> int:
        return min(len(self.subject), len(self.real.train))

    def _gaussian(self) -> _sets.ImageSet:
        if not hasattr(self, "_drawn"):
            count = max(self._compared, len(self.amounts.train) + len(self.amounts.val), len(self.real.test))
            self._drawn = _sets.control(
                _rows.GAUSSIAN, self.real_cohort, self.real.train, count=count, seed=self.plan.seed
            )
        return self._drawn

    def _learner_seeds(self) -> list[int]:
        return [runs.derive_seed(self.plan.seed, "learner", number) for number in range(self.plan.seeds)]

    def _utility(self) -> None:
        if not self._of("predictions"):
            return
        for name, (plugin, options) in self.plan.tasks.items():
            if reason := self._unfit():
                self._not_estimable(name, reason)
                continue
            jobs = Jobs(self.jobs_folder, name, plugin, options, self.real_cohort.facts)
            amount = len(self.amounts.train) + len(self.amounts.val)
            gaussian = self._gaussian().take(np.arange(amount))
            self.fits[name] = _utility.fit_arms(
                jobs, self.amounts, self.real.val, gaussian, seeds=self._learner_seeds()
            )
            self._score_task(name)
        if not self.plan.tasks:
            self._not_estimable("segmentation", "the cohorts have no masks, or no task was asked for")

    def _unfit(self) -> str:
        needed = {
            "the real cohort has no validation split": self.real.val,
            "the real cohort has no test split": self.real.test,
            "the synthetic cohort has too few images for training and validation": self.amounts.val,
        }
        return next((reason for reason, images in needed.items() if len(images) == 0), "")

    def _not_estimable(self, task: str, reason: str) -> None:
        for metric in (_utility.VOLUME, _utility.SLICE):
            value = Value(metric, None, better="higher", label="mean", status="not_estimable", reason=reason)
            self.rows.add(
                value, family="train", space=task, role="subject", arm="synthetic->real", n_real=0, n_synthetic=0
            )
        self.notes.append(f"The task {task} was not scored: {reason}.")

    def _score_task(self, name: str) -> None:
        classes = self.real_cohort.facts.mask_classes
        arms = _utility.arms(
            self.fits[name], self._test_sets(), self.amounts, self.real_cohort.facts.value_range, len(classes),
            subject=self.rows.subject, seed=self.plan.seed,
        )  # fmt: skip
        _utility.add_utility(self.rows, name, "train", arms["train"], classes[1:])
        _utility.add_contrasts(self.rows, name, arms["train"])
        _utility.add_utility(self.rows, name, "test", arms["test"], classes[1:])
        self.seed_values[name] = {tested.arm: _utility.by_seed(tested) for tested in arms["train"]}

    def _test_sets(self) -> dict[str, _sets.ImageSet]:
        """Return what each kind of image is tested on, never more than there are real test images."""
        own = self.cohort.split("test")
        synthetic = self.subject.take(own, "synthetic test") if len(own) else self.subject
        count = len(self.real.test)
        return {
            _rows.REAL: self.real.test,
            _utility.SYNTHETIC: synthetic.draw(count, seed=self.plan.seed),
            _rows.GAUSSIAN: self._gaussian().take(np.arange(count)),
        }

    def _open_spaces(self) -> dict[str, Any]:
        """Return the feature spaces by name; the task space first."""
        if not self.plan.task_space:
            return dict(self.plan.extractors)
        name, (plugin, options) = next(iter(self.plan.tasks.items()))
        if name in self.fits:
            fitted = self.fits[name][_rows.REAL][0]
        elif len(self.real.val):
            jobs = Jobs(self.jobs_folder, name, plugin, options, self.real_cohort.facts)
            fitted = jobs.fitted(self.amounts.real, self.real.val, seed=self._learner_seeds()[0])
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
            _rows.add_distances(self.rows, metric, space, spaces[space], self.cache, self.real.held_out, roles[space])

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
        """Score copies in every space and return the verdicts on the subject's images by space."""
        wanted = self._of("copies")
        if not wanted:
            return {}
        real, seed = self.real, self.plan.seed
        copycat = _sets.control(_rows.COPYCAT, self.real_cohort, real.train, count=self._compared, seed=seed)
        roles = _rows.Roles(self.subject, real.holdout, copycat)
        able = {name: space for name, space in spaces.items() if getattr(space, "FINDS_COPIES", True)}
        every = {_spaces.PIXELS: plugins.find("extractors", _spaces.PIXELS)(), **able}
        found: dict[str, Any] = {}
        for metric in track(wanted, "Copies", len(wanted), "metrics"):
            found |= _rows.add_copies(self.rows, metric, every, self.cache, (real.train, real.held_out), roles)
        return found

    def _write(self, verdicts: Mapping[str, Any], seconds: float) -> None:
        ids = self.cohort.samples["sample_id"].astype(str).tolist()
        train_ids = self.real_cohort.samples["sample_id"].astype(str).to_numpy()[self.real_cohort.split("train")]
        _folder.write_scores(self.out, self.rows.scores)
        _folder.write_samples(self.out, _rows.verdict_table(ids, train_ids.tolist(), verdicts))
        _folder.write_examples(self.out, self.cohort, seed=self.plan.seed)
        if _spaces.PIXELS in verdicts:
            _folder.write_pairs(self.out, self.cohort, self.real.train, verdicts[_spaces.PIXELS])
        _folder.write_curves(self.out, self.cohort, {arm: f for fits in self.fits.values() for arm, f in fits.items()})
        _folder.write_facts(
            self.out,
            self.real_cohort,
            self.cohort,
            notes=self.notes,
            not_measured=list(self.plan.not_measured),
            dice_volume_by_seed=self.seed_values,
            copy_thresholds={space: float(found.threshold) for space, found in verdicts.items()},
            seconds=round(seconds, 3),
        )


def _name(cohort: Cohort) -> str:
    made_by = cohort.facts.generator or {}
    return str(made_by.get("generator") or made_by.get("name") or cohort.facts.name)


def _notes(cohort: Cohort, real: _sets.RealSets) -> list[str]:
    notes = [
        f"Distances are taken to {len(real.held_out)} held-out images of {real.held_out.patient_count} patients; the "
        f"holdout control has {len(real.holdout)} images of {real.holdout.patient_count} patients."
    ]
    if len(real.holdout) == 0:
        notes.append("The real cohort has no second half of reference patients: the copies have no ceiling.")
    if cohort.facts.provenance == "real":
        notes.append("The scored cohort says it is real; it was scored as images from elsewhere.")
    if cohort.facts.provenance == "control":
        notes.append("The scored cohort is a control: its right answer is known.")
    return notes
