"""The stages of a pipeline as jobs: conform images from elsewhere, train, sample, evaluate.

Each stage has a builder, which returns a `Job`, and the function that a worker calls. Cohorts from outside the study
are named in a job's arguments by their identity, which is checked where the job runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .. import plugins, runs
from ..cohort import Cohort, check_comparable
from ..devices import choose_device, choose_precision
from ..errors import Mismatch
from ..evaluate import REVISION as EVALUATE_REVISION
from ..evaluate import evaluate
from ..execute import Cost, Job, Place, Resources, Work
from ..nets.generator import RESERVED
from ..prepare import prepare
from ..sample import LabelRule, check_label_rule, sample
from ..train import train
from ..types import SPLITS

HERE = __name__
RUN, COHORT, EVAL, FITS = "run", "cohort", "eval", "fits"
"""Folders in the results of train, sample (or conform) and evaluate, and of the fits that evaluations share."""
_ARMS = 3
"""Fits of a learner seed: on real, synthetic and Gaussian images; the first and the last are shared."""
_UNKNOWN = "distances, the search for copies, attacks and probes"


@dataclass(frozen=True)
class Settings:
    """What all jobs of a study share.

    Attributes:
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`; decided here, so that resuming elsewhere computes alike.
        labels: See `sample`.
        learners: How often each task is fitted in one pipeline.
        weights: Extractor -> file, see `evaluate`.
        tasks: Options of the tasks.
        threads: Of each job.
    """

    images_seen: int
    batch: int
    precision: str = "auto"
    labels: LabelRule = "merged"
    learners: int = 1
    weights: Mapping[str, Path] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        check_label_rule(self.labels)
        object.__setattr__(self, "precision", choose_precision(self.precision, choose_device("auto")))

    @property
    def resources(self) -> Resources:
        """Return what each job that computes needs."""
        return Resources(cpus=self.threads, gpus=1)

    def named(self) -> dict[str, Any]:
        """Return what of them names a study's results."""
        return {
            "images_seen": self.images_seen,
            "batch": self.batch,
            "precision": self.precision,
            "labels": self.labels,
            "learners": self.learners,
            "weights": {name: runs.file_sha256(Path(path)) for name, path in sorted(self.weights.items())},
            "tasks": dict(self.tasks),
        }


class Source:
    """A real cohort of a study; its identity is computed once.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.cohort = Cohort(self.path)
        self.identity = self.cohort.identity
        self.name, self.side = self.cohort.facts.name, self.cohort.facts.shape[-1]
        codes = pd.factorize(self.cohort.samples["patient_id"])[0].tolist()
        self.splits_sha256 = runs.sha256(runs.canonical_json([codes, self.cohort.samples["split"].tolist()]))

    @property
    def mirrored(self) -> int:
        """Return how many samples mirror it."""
        return sum(len(self.cohort.split(split)) for split in SPLITS if split != "reference")


def _tasks(source: Source) -> dict[str, Any]:
    """Return name -> plugin of the tasks that a cohort can serve."""
    served = {"masks": bool(source.cohort.facts.mask_classes), "labels": bool(source.cohort.facts.labels)}
    found = {name: plugins.find("tasks", name) for name in plugins.names("tasks")}
    return {name: plugin for name, plugin in found.items() if served[plugin.NEEDS]}


def task_options(given: Mapping[str, Any] | Iterable[str], sources: Sequence[Source]) -> dict[str, Any]:
    """Return options of tasks, checked and of the right types; only those that were given.

    Raises:
        BadOption: No task that the cohorts serve has one, or a value has the wrong type.
    """
    given = plugins.pairs(given)
    tasks = {name: plugin for source in sources for name, plugin in _tasks(source).items()}
    resolved = plugins.resolve_each(tasks, given, reserved=(*RESERVED, "weights"))
    return {key: next(each[key] for each in resolved.values() if key in each) for key in given}


def training(source: Source, generator: str, options: Mapping[str, Any], settings: Settings, *, seed: int) -> Job:
    """Return the job that trains a generator: its result holds `run`."""
    plugin = plugins.find("generators", generator)
    work = (Work("train", generator, source.side, settings.images_seen),) if plugin.ITERATIVE else ()
    arguments = {
        "cohort": source.identity,
        "generator": generator,
        "options": dict(options),
        "images_seen": settings.images_seen,
        "batch": settings.batch,
        "precision": settings.precision,
        "seed": seed,
    }
    return Job(
        "train", f"{HERE}:train_job", arguments, paths={"cohort": source.path}, resources=settings.resources,
        cost=Cost(work), name=f"{generator}, seed {seed}", revision=plugin.REVISION,
    )  # fmt: skip


def train_job(place: Place, *, cohort: str, **arguments: Any) -> None:
    """Train; an interrupted run is taken up."""
    train(_checked(place, "cohort", cohort), out=place.folder / RUN, device=place.device, **arguments)


def sampling(run: Job, source: Source, settings: Settings, *, seed: int) -> Job:
    """Return the job that mirrors a cohort with a run's samples: its result holds `cohort`."""
    facts = source.cohort.facts
    each = source.side**2 * (facts.shape[0] * source.cohort.images.itemsize + bool(facts.mask_classes))
    work = Work("sample", run.arguments["generator"], source.side, source.mirrored)
    return Job(
        "sample",
        f"{HERE}:sample_job",
        {"like": source.identity, "labels": settings.labels, "seed": seed},
        needs={"run": run},
        paths={"cohort": source.path},
        resources=settings.resources,
        cost=Cost((work,), source.mirrored * each),
        name=run.name,
    )


def sample_job(place: Place, *, like: str, labels: LabelRule, seed: int) -> None:
    """Draw samples; a finished cohort of an interrupted attempt is kept."""
    mirrored = _checked(place, "cohort", like)
    run, out = place.needs["run"] / RUN, place.folder / COHORT
    sample(run, out=out, like=mirrored, labels=labels, seed=seed, device=place.device)


def conforming(folder: Path, source: Source, name: str) -> Job:
    """Return the job that makes a folder of images a cohort like the real one: its result holds `cohort`."""
    digest = runs.sha256("".join(f"{path.name} {runs.file_sha256(path)}\n" for path in _files(folder)))
    arguments = {"images": digest, "like": source.identity}
    return Job("conform", f"{HERE}:conform_job", arguments, paths={"images": folder, "cohort": source.path}, name=name)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def conform_job(place: Place, *, images: str, like: str) -> None:
    """Prepare the folder like the real cohort; all of it is what is scored."""
    model = _checked(place, "cohort", like)
    prepare("folder", place.paths["images"], out=place.folder / COHORT, like=model, workers=1)


def evaluating(source: Source, made: Job | Source, settings: Settings, *, seed: int, name: str, first: bool) -> Job:
    """Return the job that scores a cohort: its result holds `eval`.

    Args:
        source: The real cohort.
        made: The job whose result holds the cohort to score, or a finished cohort from elsewhere.
        settings: What all jobs share.
        seed: Of learning downstream.
        name: For people.
        first: Whether it is the first of this real cohort and seed, which makes the shared fits (for its cost only).
    """
    if isinstance(made, Source):
        check_comparable(source.cohort, made.cohort)
    weights = {f"weights.{name}": path for name, path in settings.weights.items()}
    arguments = {
        "real": source.identity,
        "synthetic": made.identity if isinstance(made, Source) else None,
        "learners": settings.learners,
        "weights": settings.named()["weights"],
        "tasks": _own(settings.tasks, source),
        "revisions": _revisions(),
        "seed": seed,
    }
    paths = {"cohort": source.path, **weights, **({"synthetic": made.path} if isinstance(made, Source) else {})}
    return Job(
        "evaluate", f"{HERE}:evaluate_job", arguments, {"made": made} if isinstance(made, Job) else {}, paths,
        settings.resources, Cost(_fits(source, settings, first=first), unknown=_UNKNOWN), name,
        revision=EVALUATE_REVISION,
    )  # fmt: skip


def _own(options: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Return those options that a task of the cohort has."""
    known = {key for plugin in _tasks(source).values() for key in plugins.options(plugin)}
    return {key: value for key, value in options.items() if key in known}


def evaluate_job(
    place: Place,
    *,
    real: str,
    synthetic: str | None,
    learners: int,
    weights: Mapping[str, str],
    tasks: Mapping[str, Any],
    revisions: Mapping[str, Any],
    seed: int,
) -> None:
    """Score a cohort; an interrupted evaluation is taken up."""
    made = _checked(place, "synthetic", synthetic) if synthetic else place.needs["made"] / COHORT
    evaluate(
        _checked(place, "cohort", real),
        made,
        out=place.folder / EVAL,
        seeds=learners,
        seed=seed,
        weights={name: place.paths[f"weights.{name}"] for name in weights},
        jobs=place.shared / FITS,
        options=tasks,
    )


def _checked(place: Place, role: str, identity: str) -> Path:
    path = place.paths[role]
    if Cohort(path).identity != identity:
        raise Mismatch("A cohort stays as it is while a study runs", f"{path.name} has changed", "Start a new --out")
    return path


def _fits(source: Source, settings: Settings, *, first: bool) -> tuple[Work, ...]:
    count = settings.learners * (_ARMS if first else 1)
    seen = {name: plugins.options(plugin)["images_seen"].default for name, plugin in _tasks(source).items()}
    seen |= {name: settings.tasks["images_seen"] for name in seen if "images_seen" in settings.tasks}
    return tuple(Work("fit", name, source.side, int(images) * count) for name, images in seen.items())


def _revisions() -> dict[str, int]:
    """Return the revision of every metric and task: a result of an earlier one is not taken for a new one's."""
    found = {}
    for kind in ("metrics", "tasks"):
        for name in plugins.names(kind):
            plugin = plugins.find(kind, name)
            holder = plugin if hasattr(plugin, "REVISION") else sys.modules[plugin.__module__]
            found[f"{kind}.{name}"] = int(holder.REVISION)
    return found
