"""What every part of an evaluation stands on: the plan, the sets of images, the rows and notes so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import runs
from ..cohort import Cohort
from ..gates import CardFile
from ..progress import say
from . import _depth, _notes, _rows, _sets, _spaces
from ._clock import Clock
from ._jobs import Jobs


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


class Setting:
    """The cohorts of an evaluation, divided, with what was said of them so far.

    Args:
        cohorts: The real one and the one that is scored.
        plan: What is measured.
        jobs: Folder of the fits.
        features: Folder of the cached features.
    """

    def __init__(self, cohorts: tuple[Cohort, Cohort], plan: Plan, jobs: Path, features: Path) -> None:
        self.plan, self._jobs_folder = plan, jobs
        self.real_cohort, self.cohort = cohorts
        self.clock = Clock()
        self.cache = _spaces.FeatureCache(features / "features", self.real_cohort.facts.value_range, self.clock)
        self.real = _sets.real_sets(self.real_cohort, plan.findings)
        self.subject = _sets.whole(self.cohort, "synthetic", plan.findings)
        self.amounts = _sets.equal_amounts(self.real, self.cohort, self.subject, seed=plan.seed)
        self.rows = _rows.Rows(_name(self.cohort), self.cohort.pixels_sha256, plan.seed, runs.versions())
        self.notes = [*_notes.about(self.cohort, self.real, self.real_cohort.identity), *self.amounts.notes]
        if _notes.FOREIGN in self.notes:
            say(f"Warning: {_notes.FOREIGN} Evaluate it beside the cohort that it was trained on.")
        self.external = None if plan.external is None else _sets.whole(plan.external, "external", plan.findings)
        self._drawn: dict[bool, _sets.ImageSet] = {}

    def metrics_on(self, space: str) -> list[_rows.Metric]:
        """Return the metrics that are computed on something."""
        return [metric for metric in self.plan.metrics if metric.space == space]

    @property
    def compared(self) -> int:
        """Return at how many images sets are compared."""
        return min(len(self.subject), len(self.real.train))

    def gaussian(self, *, conditional: bool = True) -> _sets.ImageSet:
        """Return images of the bad case: as many as any use of them needs, the same ones first."""
        if conditional not in self._drawn:
            tested = len(self.real.test)
            count = max(self.compared, len(self.amounts.train) + len(self.amounts.val)) + tested
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

    def learner_seeds(self) -> list[int]:
        """Return the seed of each fit of a task."""
        return [runs.derive_seed(self.plan.seed, "learner", number) for number in range(self.plan.seeds)]

    def jobs(self, name: str, other: Mapping[str, Any] | None = None) -> Jobs:
        """Return the fits of a task, with its own options or others."""
        plugin, options = self.plan.tasks[name]
        options = options if other is None else other
        return Jobs(
            self._jobs_folder,
            name,
            plugin,
            options,
            self.real_cohort.facts,
            findings=self.plan.findings,
            weights=self.plan.weights.get(name),
        )


def _name(cohort: Cohort) -> str:
    made_by = cohort.facts.generator or {}
    return str(made_by.get("generator") or made_by.get("name") or cohort.facts.name)
