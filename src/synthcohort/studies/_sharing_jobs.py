"""The data-sharing study as jobs: for each point of an axis a cohort, for each generator and seed a whole pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .._listing import listing_sha256
from ..cohort import Cohort
from ..execute import Cost, Job, Resources, Work
from ..runs import file_sha256
from . import _parts
from ._points import EXTREME_SEEDS, LARGEST_TABLE_SIDE, SEEDS, Point, marked, seeds_of

_HERE = f"{__package__}._parts"


@dataclass(frozen=True)
class Preset:
    """How much is computed.

    Attributes:
        generators: Names.
        images_seen: Training images to see; the published points have their own.
        batch: Images per step.
        seeds: Whole pipelines of each point and generator.
        extreme_seeds: Axis -> pipelines at its ends.
        most: Points of an axis.
        learners: Fits of a classifier in each pipeline.
        n: Images on each side of the distance under protocol=paper.
        metrics: What `evaluate` scores; None for all.
        options: Of the classifier.
        explain: Figures that are made of the first seed: see `evaluate`.
        phantom: Options of the phantom where no cohort is given, and of its preparation.
    """

    generators: tuple[str, ...] = ("cpdgan", "proggan")
    images_seen: int = 200_000
    batch: int = 64
    seeds: int = 5
    extreme_seeds: Mapping[str, int] = field(default_factory=dict)
    most: int = 8
    learners: int = 1
    n: int = 10_000
    metrics: tuple[str, ...] | None = ("auc", "frechet", "kid", "nearest")
    options: Mapping[str, Any] = field(default_factory=dict)
    explain: tuple[str, ...] = ("nearest", "occlusion")
    phantom: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "smoke": Preset(
        images_seen=1_600,
        batch=16,
        seeds=2,
        most=2,
        n=200,
        options={"images_seen": 1_500, "patience_images": 1_500, "batch": 16},
        phantom={
            "patients": 150,
            "side": 160,
            "size": 32,
            "findings": ("Cardiomegaly", "Pleural Effusion", "Support Devices"),
        },
    ),
    "scaled": Preset(),
    "published": Preset(seeds=SEEDS, extreme_seeds=EXTREME_SEEDS),
}


@dataclass(frozen=True)
class Pipeline:
    """One whole pipeline and the job that ends it.

    Attributes:
        point: Where on which axis; `extreme` says whether it is an end of what the generator ran.
        generator: Its name.
        seed: Of everything in it.
        fold: Which of the cohorts of its point, from 1.
        cohort: The job that makes its cohort.
        train: The job that trains its generator.
        score: The job that measures it.
    """

    point: Point
    generator: str
    seed: int
    fold: int
    cohort: Job
    train: Job
    score: Job


@dataclass(frozen=True)
class Wanted:
    """What is the same in every pipeline of a study.

    Attributes:
        preset: How much is computed.
        protocol: "recommended", "paper" or "code".
        options: Generator -> its options.
        task: Options of the classifier.
        extractor: Feature space of the distance.
        weights: Extractor or task -> file.
        labels: Which label vectors samples are asked for.
        precision: Of training, see `train`; decided beforehand.
        seed: Of the choice of images.
    """

    preset: Preset
    protocol: str
    options: Mapping[str, Mapping[str, Any]]
    task: Mapping[str, Any]
    extractor: str
    weights: Mapping[str, Path]
    labels: str
    precision: str
    seed: int

    @property
    def files(self) -> dict[str, Path]:
        """Return the weights as paths of a job."""
        return {f"{_parts.WEIGHTS}{name}": path for name, path in self.weights.items()}


def cut_jobs(
    cohorts: Sequence[Path], points: Sequence[Point], findings: Sequence[str], *, seed: int
) -> dict[str, list[Job]]:
    """Return point -> jobs that cut its cohort from each of the given ones."""
    identities = [Cohort(cohort).identity for cohort in cohorts]
    return {
        point.name: [
            Job(
                "cohort",
                f"{_HERE}:derived",
                {
                    "cohort": identity,
                    "cut": asdict(point.cut),
                    "size": point.size,
                    "seed": seed,
                    "findings": list(findings),
                },
                paths={"cohort": cohort},
                name=point.name if len(cohorts) == 1 else f"{point.name}, fold {fold}",
            )
            for fold, (cohort, identity) in enumerate(zip(cohorts, identities, strict=True), 1)
        ]
        for point in points
    }


def prepare_jobs(
    source: str, root: Path, points: Sequence[Point], out: Path, *, protocol: str, seed: int
) -> dict[str, list[Job]]:
    """Return point -> the one job that prepares its cohort from the download."""
    listing = listing_sha256(root, out)
    return {
        point.name: [
            Job(
                "cohort",
                f"{_HERE}:prepared",
                {
                    "source": source,
                    "listing": listing,
                    "setting": point.setting,
                    "size": point.size,
                    "protocol": protocol,
                    "seed": seed,
                },
                paths={"root": root},
                name=point.name,
            )
        ]
        for point in points
    }


def pipelines(points: Sequence[Point], cohorts: Mapping[str, Sequence[Job]], wanted: Wanted) -> list[Pipeline]:
    """Return every pipeline of the study, the first seed of each point and generator first.

    The ends of an axis are those that a generator has: the study trained only its own above 128 px.

    Args:
        points: Of all axes.
        cohorts: Point -> job of its cohort, or of each fold: the seeds take them in turn.
        wanted: What all pipelines share.
    """
    preset, found = wanted.preset, []
    own = {name: run_by(name, points) for name in preset.generators}
    for point in points:
        for generator in preset.generators:
            if point not in own[generator]:
                continue
            of_axis = [each.number for each in own[generator] if each.axis == point.axis]
            place, shown = marked(point, of_axis), drawn_sizes(own[generator])
            first: Job | None = None
            for seed in range(seeds_of(point, seeds=preset.seeds, extreme_seeds=preset.extreme_seeds)):
                fold = seed % len(cohorts[point.name])
                cohort = cohorts[point.name][fold]
                train = _train(point, generator, seed, cohort, first, wanted)
                first = first or train
                explain = seed == 0 and (place.extreme or (point.axis == "resolution" and point.size in shown))
                score = _score(point, generator, seed, cohort, train, wanted, explain=explain)
                found.append(Pipeline(place, generator, seed, fold + 1, cohort, train, score))
    return found


def run_by(generator: str, points: Sequence[Point]) -> list[Point]:
    """Return the points that a generator runs on: above 128 px the study trained its own only."""
    return [
        point for point in points if not (point.size > LARGEST_TABLE_SIDE and point.setting and generator != "cpdgan")
    ]


def drawn_sizes(points: Sequence[Point]) -> list[int]:
    """Return the sides whose samples are shown: the largest, and the largest to 128 px (Figures 7, S3 to S5)."""
    sizes = {point.size for point in points}
    return sorted({max(sizes), max((size for size in sizes if size <= LARGEST_TABLE_SIDE), default=max(sizes))})


def _train(point: Point, generator: str, seed: int, cohort: Job, first: Job | None, wanted: Wanted) -> Job:
    own, needs = dict(point.training), {"cohort": cohort}
    stop = own.get("stop", {})
    if stop:
        stop = {**stop, "extractor": wanted.extractor}
    if stop and first is not None and wanted.protocol == "paper":
        needs["first"] = first  # S.3: all repetitions stop at the step of the first model; in the code each has its own
    return Job(
        "train",
        f"{_HERE}:trained",
        {
            "generator": generator,
            "options": _options(generator, own, wanted),
            "images_seen": own.get("images_seen", wanted.preset.images_seen),
            "batch": own.get("batch", wanted.preset.batch),
            "seed": seed,
            "precision": wanted.precision,
            "stop": {} if "first" in needs else stop,
        },
        needs,
        wanted.files,
        Resources(gpus=1),
        Cost((Work("train", generator, point.size, own.get("images_seen", wanted.preset.images_seen)),)),
        name=f"{generator} on {point.name}, seed {seed}",
    )


def _options(generator: str, own: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    asked = own.get("options", {}) if generator == "cpdgan" else {}
    return {**wanted.options.get(generator, {}), **asked}


def _score(point: Point, generator: str, seed: int, cohort: Job, train: Job, wanted: Wanted, *, explain: bool) -> Job:
    preset = wanted.preset
    return Job(
        "score",
        f"{_HERE}:scored",
        {
            "seed": seed,
            "learners": preset.learners,
            "labels": wanted.labels,
            "against": "held-out" if wanted.protocol == "recommended" else "train",
            "n": preset.n,
            "extractor": wanted.extractor,
            "metrics": None if preset.metrics is None else list(preset.metrics),
            "options": dict(wanted.task),
            "explain": list(preset.explain) if explain else [],
            "weights": {name: file_sha256(path) for name, path in wanted.weights.items()},
        },
        {"cohort": cohort, "train": train},
        wanted.files,
        Resources(gpus=1),
        Cost((Work("sample", generator, point.size, sum(count or 0 for count in point.images)),)),
        name=f"{generator} on {point.name}, seed {seed}",
    )


def changed(preset: Preset, **given: Any) -> Preset:
    """Return a preset with what the user gave in the place of its own."""
    return replace(preset, **{name: value for name, value in given.items() if value is not None})
