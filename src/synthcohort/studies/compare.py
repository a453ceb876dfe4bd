"""`compare`: generators, and cohorts from elsewhere, by real cohorts and seeds, under one protocol.

The unit of replication is a whole pipeline: training, sampling and learning downstream with one seed, the same seeds
for every generator, so that differences are paired. Of a cohort from elsewhere only learning downstream varies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..errors import BadOption, Mismatch, writing
from ..evaluate import REVISION as EVALUATE_REVISION
from ..execute import Job, Outcome, execute
from ..nets.generator import RESERVED
from ..progress import say
from ..report import report
from ..sample import LabelRule
from . import _leaderboard, _stages
from ._leaderboard import leaderboard
from ._pipeline import as_markdown, table
from ._stages import Settings, Source

REVISION = 3


@dataclass(frozen=True)
class Pipeline:
    """One line of the study's plan: what is scored, on which cohort, with which seed, and its jobs in order."""

    name: str
    source: Source
    seed: int
    jobs: tuple[Job, ...]


def study(
    cohorts: Sequence[Path | str] | Path | str,
    *,
    generators: Sequence[str] = (),
    cohorts_from: Mapping[str, Path] | None = None,
    out: Path | str,
    seeds: int = 3,
    images_seen: int = 200_000,
    batch: int = 64,
    precision: str = "auto",
    device: str = "auto",
    labels: LabelRule = "merged",
    learners: int = 1,
    primary: str = "",
    margin: float = _leaderboard.MARGIN,
    weights: Mapping[str, Path] | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
    task_options: Mapping[str, Any] | Iterable[str] = (),
    workers: int | None = None,
    threads: int = 1,
    address: str | None = None,
) -> Path:
    """Train, sample and score every generator with every seed; return the study folder.

    It holds rows.jsonl (one Score per line, with cohort, generator, pipeline seed and the hashes by which rows of other
    sites are merged), table.json and table.md (mean over seeds with a t-interval), leaderboard.json and .md (with the
    paired comparisons of the primary endpoint), pareto.svg, costs.jsonl, failures.jsonl and report.html.

    Args:
        cohorts: The real cohorts.
        generators: Names.
        cohorts_from: Name -> a synthetic cohort from elsewhere, or a folder of images, which is prepared like the real
            cohort first.
        out: The study folder, on a file system that every worker sees.
        seeds: Whole pipelines per generator; seed s is the same for all. Five paired seeds are the least for a test.
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`.
        device: See `execute`.
        labels: See `sample`.
        weights: Extractor -> file, see `evaluate`.
        learners: How often each task is fitted in one pipeline.
        primary: Metric of the primary endpoint, decided beforehand; when left out dice_volume with masks, auc with
            findings, else frechet.
        margin: Largest loss of the primary endpoint against real images that counts as not inferior.
        options: Of the generators that have them; an option that no generator has is refused.
        task_options: Of the tasks, likewise.
        workers: See `execute`.
        threads: Of each job; results depend on them.
        address: See `execute`.

    Raises:
        InputError: An input is wrong; nothing has been trained then.
    """
    pipelines, config = planned(
        cohorts, generators, cohorts_from or {}, options, task_options, seeds=seeds, primary=primary, margin=margin,
        images_seen=images_seen, batch=batch, precision=precision, labels=labels, learners=learners,
        weights=dict(weights or {}), threads=threads,
    )  # fmt: skip
    return _executed(Path(out), pipelines, config, workers=workers, address=address, device=device)


def _executed(out: Path, pipelines: Sequence[Pipeline], config: Mapping[str, Any], **how: Any) -> Path:
    runs.open_run(out, config)
    outcomes = execute([job for pipeline in pipelines for job in pipeline.jobs], out, **how)
    _publish(out, pipelines, outcomes, config)
    return out


def jobs(*args: Any, **kwargs: Any) -> list[Job]:
    """Return the jobs of a study that `planned` takes the arguments of, for `plan`."""
    return [job for pipeline in planned(*args, **kwargs)[0] for job in pipeline.jobs]


def planned(
    cohorts: Sequence[Path | str] | Path | str,
    generators: Sequence[str],
    cohorts_from: Mapping[str, Path],
    options: Mapping[str, Any] | Iterable[str] = (),
    task_options: Mapping[str, Any] | Iterable[str] = (),
    *,
    seeds: int,
    primary: str = "",
    margin: float = _leaderboard.MARGIN,
    **shared: Any,
) -> tuple[list[Pipeline], dict[str, Any]]:
    """Return every pipeline of the study with its jobs, and the config that names the study.

    Args:
        cohorts: See `study`, like the others.
        generators: Names.
        cohorts_from: Name -> folder.
        options: Of the generators.
        task_options: Of the tasks.
        seeds: Whole pipelines per generator.
        primary: Metric.
        margin: Of non-inferiority.
        shared: Fields of `Settings`.

    Raises:
        InputError: An input is wrong.
    """
    names = list(dict.fromkeys(generators))
    paths = [cohorts] if isinstance(cohorts, str | Path) else list(cohorts)
    if not (names or cohorts_from) or not paths or seeds < 1:
        raise BadOption("A study has at least one generator and one seed", f"{names}, {seeds} seeds", "Name some")
    if taken := sorted({*names} & {*cohorts_from}):
        raise BadOption("Names in a study differ", f"'{taken[0]}' is a generator, too", "Choose another name")
    chosen = plugins.resolve_each(
        {name: plugins.find("generators", name) for name in names}, options, reserved=RESERVED
    )
    sources = [Source(path) for path in paths]
    settings = Settings(**shared, tasks=_stages.task_options(task_options, sources))
    pipelines = [
        *_of_generators(sources, chosen, settings, seeds),
        *_from_elsewhere(sources, cohorts_from, settings, seeds, alone=not names),
    ]
    config = {
        "kind": "study compare",
        "revision": REVISION,
        "cohorts": [source.identity for source in sources],
        "generators": chosen,
        "from_elsewhere": sorted(cohorts_from),
        "seeds": seeds,
        "primary": _leaderboard.primary_metric(sources[0].cohort.facts, primary),
        "margin": margin,
        **settings.named(),
    }
    return pipelines, config


def _of_generators(
    sources: Sequence[Source], chosen: Mapping[str, Mapping[str, Any]], settings: Settings, seeds: int
) -> list[Pipeline]:
    found = []
    for source in sources:
        for name, own in chosen.items():
            for seed in range(seeds):
                run = _stages.training(source, name, own, settings, seed=seed)
                made = _stages.sampling(run, source, settings, seed=seed)
                first = name == next(iter(chosen))
                title = f"{name}, seed {seed}"
                scored = _stages.evaluating(source, made, settings, seed=seed, name=title, first=first)
                found.append(Pipeline(name, source, seed, (run, made, scored)))
    return found


def _from_elsewhere(
    sources: Sequence[Source], folders: Mapping[str, Path], settings: Settings, seeds: int, *, alone: bool
) -> list[Pipeline]:
    found = []
    pairs: list[tuple[Source, Job | Source]]
    for place, (name, folder) in enumerate(folders.items()):
        if not Path(folder).is_dir():
            raise BadOption("--cohorts-from names a folder", f"'{folder}' is none", "Write NAME=FOLDER")
        if not (Path(folder) / "cohort.json").exists():
            pairs = [(source, _stages.conforming(Path(folder), source, name)) for source in sources]
        else:
            made = Source(folder)
            fitting = [source for source in sources if source.cohort.pixels_sha256 == made.cohort.pixels_sha256]
            if not fitting:
                rule, step = "A cohort from elsewhere was prepared like a real one", "Prepare it with --like"
                raise Mismatch(rule, f"{name} was not", step)
            pairs = [(source, made) for source in fitting]
        for source, scored in pairs:
            for seed in range(seeds):
                first, title = alone and place == 0, f"{name}, seed {seed}"
                job = _stages.evaluating(source, scored, settings, seed=seed, name=title, first=first)
                jobs = (scored, job) if isinstance(scored, Job) else (job,)
                found.append(Pipeline(name, source, seed, jobs))
    return found


def _publish(
    out: Path, pipelines: Sequence[Pipeline], outcomes: Mapping[str, Outcome], config: Mapping[str, Any]
) -> None:
    rows, failures, costs, evaluations = [], [], [], []
    protocol = runs.fingerprint({key: config[key] for key in _PROTOCOL} | {"evaluate": EVALUATE_REVISION})
    for each in pipelines:
        known = {"generator": each.name, "pipeline_seed": each.seed, "cohort": each.source.name}
        ended = [outcomes[job.key] for job in each.jobs]
        bad = next((outcome for outcome in ended if not outcome.done), None)
        if bad:
            failures.append({**known, "status": bad.status, "reason": bad.reason})
            continue
        folder = ended[-1].folder
        assert folder is not None, "a job that is done has a folder"
        evaluations.append(folder / _stages.EVAL)
        known |= {"protocol_sha256": protocol, "splits_sha256": each.source.splits_sha256}
        known |= {"primary": config["primary"], "margin": config["margin"]}
        rows += [{**known, **score} for score in runs.RowLog(evaluations[-1] / "scores.jsonl").rows()]
        seconds = {job.kind: outcome.seconds for job, outcome in zip(each.jobs, ended, strict=True)}
        costs.append({**known, "seconds": seconds})
    lines = [
        {"cohort": name, **line}
        for name in dict.fromkeys(each.source.name for each in pipelines)
        for line in table([row for row in rows if row["cohort"] == name])
    ]
    with writing(out):
        for name, content in (("rows", rows), ("failures", failures), ("costs", costs)):
            runs.write_atomic(out / f"{name}.jsonl", "".join(json.dumps(each) + "\n" for each in content))
        runs.write_atomic(out / "table.json", json.dumps(lines, indent=2) + "\n")
        runs.write_atomic(out / "table.md", as_markdown(lines))
    if evaluations:
        _leaderboard.write(out, rows, costs, primary=config["primary"], margin=config["margin"])
        report(evaluations, out=out / "report.html")
    if failures:
        say(f"{len(failures)} of {len(pipelines)} pipelines have no result: see failures.jsonl")


_PROTOCOL = ("images_seen", "batch", "labels", "learners", "weights", "tasks", "primary", "margin")
"""What must agree before rows of two studies stand in one table."""

__all__ = ["jobs", "leaderboard", "planned", "study"]
