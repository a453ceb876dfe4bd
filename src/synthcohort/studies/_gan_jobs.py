"""Study 000 as jobs: for each cohort and generator a search, its best run, its samples, and U-Nets on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..cohort import Cohort
from ..execute import Cost, Job, Resources, Work
from ..runs import file_sha256
from ._parts import WEIGHTS
from ._table1 import draws

_HERE = f"{__package__}._gan_parts"
ORIGINAL, AUGMENTED, SYNTHETIC, BOTH = "original", "augmented original", "synthetic", "original and synthetic"


@dataclass(frozen=True)
class Preset:
    """How much is computed.

    Attributes:
        generators: Names.
        trials: Runs of a generator's search.
        images_seen: Training images to see in each.
        batch: Images per step.
        n: Samples of the best run.
        compared: Samples whose distance is taken in a trial.
        learners: U-Nets of each arm.
        shares: Of the training images, after which the best run's distance and Dice are taken as well.
        most_filters: Of the search; larger networks are left out.
        task: Options of the U-Net.
        generator_options: Generator -> options that its trials begin with.
        explain: Figures of the best run: see `evaluate`.
        phantom: Options of the phantom where no cohort is given, and of its preparation.
    """

    generators: tuple[str, ...] = ("dcgan", "lsgan", "wgan", "wgan_gp", "hinge", "spade", "stylegan2")
    trials: int = 20
    images_seen: int = 200_000
    batch: int = 64
    n: int = 10_000
    compared: int = 2_000
    learners: int = 3
    shares: tuple[float, ...] = (0.25, 0.5)
    most_filters: int = 128
    task: Mapping[str, Any] = field(default_factory=dict)
    generator_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    explain: tuple[str, ...] = ("umap",)
    phantom: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "smoke": Preset(
        generators=("dcgan", "wgan_gp", "spade"),
        trials=2,
        images_seen=3_200,
        batch=16,
        n=200,
        compared=200,
        learners=2,
        shares=(0.5,),
        most_filters=16,
        task={"images_seen": 4_000, "patience_images": 4_000, "width": 8},
        generator_options={"spade": {"filters": 8, "hidden": 16, "latent": 16}},
        phantom={"patients": 40, "size": 32},
    ),
    "scaled": Preset(),
    "published": Preset(trials=100, images_seen=1_000_000),
}
"""Study 000 made 1,500 runs (5.1): 100 for each of five generators and three cohorts. It names no images, no batch."""


@dataclass(frozen=True)
class Wanted:
    """What is the same for all generators of a study.

    Attributes:
        preset: How much is computed.
        protocol: "recommended" or "paper".
        options: Generator -> its options.
        extractor: Feature space of the distance.
        weights: Extractor -> file.
        precision: Of training; decided beforehand.
        seed: Of everything.
    """

    preset: Preset
    protocol: str
    options: Mapping[str, Mapping[str, Any]]
    extractor: str
    weights: Mapping[str, Path]
    precision: str
    seed: int

    @property
    def against(self) -> str:
        """Return what the distance of the search is taken to."""
        return "val" if self.protocol == "recommended" else "train"


@dataclass(frozen=True)
class Searched:
    """A generator on a cohort.

    Attributes:
        cohort: Its name in the study.
        generator: Its name.
        trials: Jobs of the search.
        best: The job that chooses.
        made: The job that samples.
        arms: Kind of arm -> job.
        checked: The job that looks for copies.
        checkpoints: Jobs of shares of the training.
    """

    cohort: str
    generator: str
    trials: Sequence[Job]
    best: Job
    made: Job
    arms: Mapping[str, Job]
    checked: Job
    checkpoints: Sequence[Job]

    @property
    def ends(self) -> list[Job]:
        """Return the jobs that nothing else needs."""
        return [*self.trials, *self.arms.values(), self.checked, *self.checkpoints]


class Builder:
    """The jobs of one cohort.

    Args:
        name: Of the cohort in the study.
        path: Its folder.
        wanted: What is the same for all.
    """

    def __init__(self, name: str, path: Path, wanted: Wanted) -> None:
        self.name, self.path, self.wanted = name, path, wanted
        cohort = Cohort(path)
        self.identity, self.side = cohort.identity, cohort.facts.shape[1]

    def _job(self, kind: str, call: str, said: str, arguments: Mapping[str, Any], **more: Any) -> Job:
        files = {f"{WEIGHTS}{name}": path for name, path in self.wanted.weights.items()}
        return Job(
            kind,
            f"{_HERE}:{call}",
            {"cohort": self.identity, **arguments},
            paths={"cohort": self.path, **files},
            resources=Resources(gpus=1),
            name=f"{said} on {self.name}",
            **more,
        )

    def originals(self) -> dict[str, Job]:
        """Return the arms without samples."""
        return {kind: self._arm(kind, {}, kind) for kind in (ORIGINAL, AUGMENTED)}

    def searched(self, generator: str) -> Searched:
        """Return the jobs of a generator."""
        preset, wanted = self.wanted.preset, self.wanted
        first = {**preset.generator_options.get(generator, {}), **wanted.options.get(generator, {})}
        tried = draws(generator, preset.trials, seed=wanted.seed, protocol=wanted.protocol,
                      most_filters=preset.most_filters)  # fmt: skip
        trials = [self._trial(generator, number, {**drawn, **first}) for number, drawn in enumerate(tried)]
        best = Job("best", f"{_HERE}:best", {}, {f"{i:04d}": job for i, job in enumerate(trials)},
                   name=f"{generator} on {self.name}")  # fmt: skip
        made = self._job(
            "sample", "sampled", generator, {"n": preset.n, "seed": wanted.seed}, needs={"best": best},
            cost=Cost((Work("sample", generator, self.side, preset.n),)),
        )  # fmt: skip
        arms = {kind: self._arm(kind, {"made": made}, f"{kind}, {generator},") for kind in (SYNTHETIC, BOTH)}
        checked = self._job(
            "check", "checked", generator,
            {"seed": wanted.seed, "metrics": ["nearest", "mask_copies"], "explain": list(preset.explain),
             "extractor": wanted.extractor, "weights": self._digests(), "task": dict(preset.task)},
            needs={"made": made},
        )  # fmt: skip
        points = [self._checkpoint(generator, share, best) for share in preset.shares]
        return Searched(self.name, generator, trials, best, made, arms, checked, points)

    def _digests(self) -> dict[str, str]:
        return {name: file_sha256(path) for name, path in self.wanted.weights.items()}

    def _measures(self) -> dict[str, Any]:
        wanted = self.wanted
        return {
            "images_seen": wanted.preset.images_seen,
            "batch": wanted.preset.batch,
            "precision": wanted.precision,
            "n": wanted.preset.compared,
            "against": wanted.against,
            "extractor": wanted.extractor,
            "weights": self._digests(),
        }

    def _trial(self, generator: str, number: int, options: Mapping[str, Any]) -> Job:
        given = {"generator": generator, "number": number, "options": options, "seed": self.wanted.seed}
        cost = Cost((Work("train", generator, self.side, self.wanted.preset.images_seen),))
        return self._job("trial", "trial", f"{generator}, trial {number},", {**given, **self._measures()}, cost=cost)

    def _checkpoint(self, generator: str, share: float, best: Job) -> Job:
        preset = self.wanted.preset
        given = {"share": share, "seed": self.wanted.seed, "task": dict(preset.task), "learners": preset.learners}
        cost = Cost((Work("train", generator, self.side, round(share * preset.images_seen)),))
        return self._job("checkpoint", "checkpoint", f"{generator}, {share:.0%} of the training,",
                         {**given, **self._measures()}, needs={"best": best}, cost=cost)  # fmt: skip

    def _arm(self, kind: str, needs: Mapping[str, Job], said: str) -> Job:
        preset = self.wanted.preset
        given = {"kind": kind, "count": preset.n, "options": dict(preset.task), "learners": preset.learners}
        return self._job("unet", "arm", said, {**given, "seed": self.wanted.seed}, needs=needs)


def changed(preset: Preset, **given: Any) -> Preset:
    """Return a preset with what the user gave in the place of its own."""
    return replace(preset, **{name: value for name, value in given.items() if value is not None})
