"""`compare`: generators x seeds on one cohort, under one protocol, one job after another.

Every part lies in the study folder under its own name and is not run again when it is finished. The unit of replication
is a whole pipeline: training, sampling and learning downstream with one seed, the same seeds for every generator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .. import plugins, runs
from ..cohort import Cohort
from ..errors import BadOption, Diverged, writing
from ..evaluate import evaluate
from ..nets.generator import RESERVED
from ..progress import say
from ..report import report
from ..sample import sample
from ..train import train
from ..types import Score

REVISION = 1


def study(
    cohort: Path | str,
    *,
    generators: Sequence[str],
    out: Path | str,
    seeds: int = 3,
    images_seen: int = 200_000,
    batch: int = 64,
    precision: str = "auto",
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Train, sample and score every generator with every seed; return the study folder.

    It holds rows.jsonl (one Score per line, with generator and pipeline seed), table.json and table.md (mean over seeds
    with a t-interval), failures.jsonl (runs that diverged, which are results too) and report.html.

    Args:
        cohort: The real cohort.
        generators: Names.
        out: The study folder.
        seeds: Whole pipelines per generator; seed s is the same for all.
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`.
        device: See `train`.
        weights: Extractor -> file, see `evaluate`.
        options: Of the generators that have them; an option that no generator has is refused.

    Raises:
        InputError: An input is wrong; nothing has been trained then.
    """
    out, names = Path(out), list(dict.fromkeys(generators))
    if not names or seeds < 1:
        raise BadOption("A study has at least one generator and one seed", f"{names}, {seeds} seeds", "Name some")
    chosen = _options_of_each(names, options)
    real = Cohort(cohort)
    config = {
        "kind": "study compare",
        "revision": REVISION,
        "cohort": real.identity,
        "generators": chosen,
        "seeds": seeds,
        "images_seen": images_seen,
        "batch": batch,
        "weights": sorted(weights or {}),
    }
    runs.open_run(out, config)
    with runs.holding(out):
        pipeline = _Pipeline(Path(cohort), out, images_seen, batch, precision, device, dict(weights or {}))
        rows, failures = _run_all(pipeline, chosen, seeds)
        _publish(out, rows, failures, table(rows))
        if pipeline.evaluations:
            report(pipeline.evaluations, out=out / "report.html")
    return out


@dataclass
class _Pipeline:
    """Training, sampling and scoring with one seed, every part in its own folder of the study."""

    cohort: Path
    out: Path
    images_seen: int
    batch: int
    precision: str
    device: str
    weights: Mapping[str, Path]
    evaluations: list[Path] = field(default_factory=list)

    def run(self, name: str, seed: int, options: Mapping[str, Any]) -> list[Score]:
        """Return the scores of one generator and one seed."""
        part = f"{_slug(name)}-{seed}"
        trained = train(
            self.cohort,
            generator=name,
            out=self.out / "runs" / part,
            images_seen=self.images_seen,
            batch=self.batch,
            seed=seed,
            precision=self.precision,
            device=self.device,
            options=options,
        )
        made = sample(trained, out=self.out / "synthetic" / part, like=self.cohort, seed=seed, device=self.device)
        folder, jobs = self.out / "evaluations" / part, self.out / "jobs"
        scores = evaluate(self.cohort, made.path, out=folder, seeds=1, seed=seed, weights=self.weights, jobs=jobs)
        self.evaluations.append(folder)
        return scores


def _run_all(
    pipeline: _Pipeline, chosen: Mapping[str, Mapping[str, Any]], seeds: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of all pipelines that finished, and those that diverged with the reason."""
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for name, options in chosen.items():
        for seed in range(seeds):
            say(f"{name}, seed {seed}")
            known = {"generator": name, "pipeline_seed": seed}
            try:
                rows += [{**known, **score.to_json()} for score in pipeline.run(name, seed, options)]
            except Diverged as error:
                failures.append({**known, "reason": str(error)})
    return rows, failures


def _options_of_each(names: Sequence[str], options: Mapping[str, Any] | Iterable[str]) -> dict[str, dict[str, Any]]:
    given = dict(options) if isinstance(options, Mapping) else dict(text.partition("=")[::2] for text in options)
    known = {name: plugins.options(plugins.find("generators", name), reserved=RESERVED) for name in names}
    unused = [key for key in given if not any(key in each for each in known.values())]
    if unused:
        raise BadOption("An option belongs to a generator of the study", f"'{unused[0]}'", "See `list generators NAME`")
    return {
        name: plugins.resolve(
            plugins.find("generators", name), {k: v for k, v in given.items() if k in known[name]}, reserved=RESERVED
        )
        for name in names
    }


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation and 95 % t-interval over pipeline seeds of every score of a subject.

    The interval says how much another whole pipeline would differ; the patients of the test set are the same in all.
    """
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("generator", "role", "metric", "arm", "label", "extractor", "subject"))
        if row["status"] == "ok" and row["value"] is not None:
            groups.setdefault(key, []).append(float(row["value"]))
    lines = []
    for key, values in sorted(groups.items()):
        mean, count = float(np.mean(values)), len(values)
        spread = float(np.std(values, ddof=1)) if count > 1 else None
        half = None if spread is None else float(stats.t.ppf(0.975, count - 1)) * spread / count**0.5
        names = ("generator", "role", "metric", "arm", "label", "extractor", "subject")
        lines.append(
            {
                **dict(zip(names, key, strict=True)),
                "mean": mean,
                "sd": spread,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                "seeds": count,
            }
        )
    return lines


def _publish(
    out: Path, rows: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]], lines: Sequence[Any]
) -> None:
    with writing(out):
        runs.write_atomic(out / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        runs.write_atomic(out / "failures.jsonl", "".join(json.dumps(row) + "\n" for row in failures))
        runs.write_atomic(out / "table.json", json.dumps(lines, indent=2) + "\n")
        runs.write_atomic(out / "table.md", as_markdown(lines))


def as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a table as Markdown text."""
    head = "| generator | role | metric | arm | label | extractor | mean | 95 % interval over seeds | seeds |"
    out = [head, "|" + "---|" * 9]
    for line in lines:
        interval = "" if line["low"] is None else f"{line['low']:.3f} to {line['high']:.3f}"
        cells = [line[k] for k in ("generator", "role", "metric", "arm", "label", "extractor")]
        out.append("| " + " | ".join([*cells, f"{line['mean']:.3f}", interval, str(line["seeds"])]) + " |")
    return "\n".join(out) + "\n"
