"""One whole pipeline, cohort to scores, in folders of a study, and the rows and tables that studies publish."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .. import runs
from ..errors import Diverged, writing
from ..evaluate import evaluate
from ..sample import LabelRule, check_label_rule, sample
from ..train import train
from ..types import Score

LEAST = 3
"""Pipelines below which a t-interval is so wide that it says nothing."""
KEY = ("generator", "role", "metric", "arm", "label", "extractor", "subject")


@dataclass(frozen=True)
class Settings:
    """What all pipelines of a study share.

    Attributes:
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`.
        device: See `train`.
        labels: See `sample`.
        learners: How often each task is fitted in one pipeline.
        weights: Extractor -> file, see `evaluate`.
    """

    images_seen: int
    batch: int
    precision: str = "auto"
    device: str = "auto"
    labels: LabelRule = "merged"
    learners: int = 1
    weights: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_label_rule(self.labels)


@dataclass
class Pipelines:
    """Training, sampling and scoring, every part in its own folder of the study.

    Attributes:
        out: The study folder.
        settings: What all pipelines share.
        rows: Of all pipelines that finished, with what tells them apart.
        failures: Of those that diverged, with the reason.
        evaluations: Folder of each that finished.
    """

    out: Path
    settings: Settings
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)

    def run(
        self, cohort: Path, part: str, *, generator: str, options: Mapping[str, Any], seed: int, **known: Any
    ) -> Path | None:
        """Run one pipeline and return its EVAL folder, or None where the training diverged.

        Args:
            cohort: The real cohort.
            part: Name of the pipeline's folders.
            generator: Its name.
            options: All its options.
            seed: Of training, sampling and learning downstream.
            known: What tells its rows from those of other pipelines.
        """
        try:
            scores = self._scores(cohort, part, generator, options, seed)
        except Diverged as error:
            self.failures.append({"generator": generator, **known, "reason": str(error)})
            return None
        self.rows += [{"generator": generator, **known, **score.to_json()} for score in scores]
        self.evaluations.append(self.out / "evaluations" / part)
        return self.evaluations[-1]

    def _scores(self, cohort: Path, part: str, generator: str, options: Mapping[str, Any], seed: int) -> list[Score]:
        shared = self.settings
        trained = train(
            cohort,
            generator=generator,
            out=self.out / "runs" / part,
            images_seen=shared.images_seen,
            batch=shared.batch,
            seed=seed,
            precision=shared.precision,
            device=shared.device,
            options=options,
        )
        made = sample(
            trained,
            out=self.out / "synthetic" / part,
            like=cohort,
            labels=shared.labels,
            seed=seed,
            device=shared.device,
        )
        return evaluate(
            cohort,
            made.path,
            out=self.out / "evaluations" / part,
            seeds=shared.learners,
            seed=seed,
            weights=shared.weights,
            jobs=self.out / "jobs",
        )

    def publish(self, lines: Sequence[Mapping[str, Any]], unit: str) -> None:
        """Write rows.jsonl, failures.jsonl, table.json and table.md; `unit` is what a line's mean is over."""
        with writing(self.out):
            runs.write_atomic(self.out / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
            runs.write_atomic(self.out / "failures.jsonl", "".join(json.dumps(row) + "\n" for row in self.failures))
            runs.write_atomic(self.out / "table.json", json.dumps(lines, indent=2) + "\n")
            runs.write_atomic(self.out / "table.md", as_markdown(lines, unit))


def slug(name: str) -> str:
    """Return a generator's name as a part of a folder's name."""
    return "".join(c if c.isalnum() else "_" for c in name)


def table(rows: Sequence[Mapping[str, Any]], unit: str = "seeds", *, overlap: float = 0.0) -> list[dict[str, Any]]:
    """Return mean, standard deviation and 95 % t-interval of the mean over pipelines of every score.

    Args:
        rows: Scores as JSON, with what tells pipelines apart.
        unit: What a line's mean is over.
        overlap: Test images for each training image where pipelines share training images: the folds of a
            cross-validation vary less than new cohorts would, and their variance is corrected by it (Nadeau and Bengio
            2003, doi:10.1023/A:1024068626366, sec. 3).
    """
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and row["value"] is not None:
            groups.setdefault(tuple(str(row[name]) for name in KEY), []).append(float(row["value"]))
    lines = []
    for key, values in sorted(groups.items()):
        mean, count = float(np.mean(values)), len(values)
        spread = float(np.std(values, ddof=1)) if count > 1 else None
        half = (
            None
            if spread is None or count < LEAST
            else float(stats.t.ppf(0.975, count - 1)) * spread * (1 / count + overlap) ** 0.5
        )
        lines.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "mean": mean,
                "sd": spread,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                unit: count,
            }
        )
    return lines


def as_markdown(lines: Sequence[Mapping[str, Any]], unit: str = "seeds") -> str:
    """Return a table as Markdown text."""
    head = f"| generator | role | metric | arm | label | extractor | mean | 95 % interval over {unit} | {unit} |"
    out = [head, "|" + "---|" * 9]
    for line in lines:
        interval = "" if line["low"] is None else f"{line['low']:.3f} to {line['high']:.3f}"
        cells = [line[k] for k in ("generator", "role", "metric", "arm", "label", "extractor")]
        out.append("| " + " | ".join([*cells, f"{line['mean']:.3f}", interval, str(line[unit])]) + " |")
    return "\n".join(out) + "\n"
