"""Rows of scores.jsonl: values that a metric returned, put into the context in which they were measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import plugins
from ..types import Role, Score, Value
from ._sets import ImageSet

GAUSSIAN, COPYCAT, HOLDOUT, REAL, PLANTED = "gaussian", "copycat", "holdout", "real", "planted copies"


@dataclass(frozen=True)
class Metric:
    """A metric plugin with the constants of its module."""

    name: str
    module: Any
    score: Callable[..., list[Value]]

    @property
    def space(self) -> str:
        """Return what it is computed on: "features", "samples", "copies", "masks", "audit" or "predictions"."""
        return str(self.module.SPACE)

    @property
    def revision(self) -> int:
        """Return its revision."""
        return int(self.module.REVISION)


def metrics(names: Iterable[str]) -> list[Metric]:
    """Return metric plugins by name.

    Raises:
        UnknownName: There is none of a name.
    """
    found = [(name, plugins.find("metrics", name)) for name in names]
    return [Metric(name, sys.modules[score.__module__], score) for name, score in found]


@dataclass
class Rows:
    """Collects scores.

    Attributes:
        subject: Name of what is scored.
        pixels_sha256: Of both cohorts.
        seed: Of the evaluation.
        versions: Of what the numbers depend on.
        scores: The rows so far.
    """

    subject: str
    pixels_sha256: str
    seed: int
    versions: Mapping[str, str]
    scores: list[Score] = field(default_factory=list)

    def add(
        self,
        value: Value,
        *,
        family: str,
        space: str,
        role: Role,
        subject: str = "",
        arm: str,
        n_real: int,
        n_synthetic: int,
        extractor: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Add one value.

        Args:
            value: What was measured.
            family: "image", "samples", "copies", "masks", "audit", "train" or "test": part of the comparison's name.
            space: The feature space's name without digest, or the task's.
            role: subject, ceiling or bad.
            subject: What was scored; the cohort's own name when left out.
            arm: Trained on -> tested on, or the family.
            n_real: Real images compared.
            n_synthetic: Images in the subject's place.
            extractor: The space with the digest of its weights.
            seconds: What it took.
        """
        self.scores.append(
            Score(
                comparison_id="|".join((value.metric, space, family, value.label)),
                role=role,
                metric=value.metric,
                subject=subject or self.subject,
                arm=arm,
                label=value.label,
                value=value.value,
                low=value.low,
                high=value.high,
                unit=value.unit,
                better=value.better,
                n_real=n_real,
                n_synthetic=n_synthetic,
                extractor=extractor,
                pixels_sha256=self.pixels_sha256,
                seed=self.seed,
                status=value.status,
                reason=value.reason,
                seconds=round(seconds, 3),
                versions=self.versions,
            )
        )


@dataclass(frozen=True)
class Roles:
    """One set for each role; the subject's place is taken by each in turn."""

    subject: ImageSet
    ceiling: ImageSet
    bad: ImageSet

    def items(self) -> list[tuple[Role, ImageSet]]:
        """Return (role, set) in the order of the rows."""
        return [("subject", self.subject), ("ceiling", self.ceiling), ("bad", self.bad)]
