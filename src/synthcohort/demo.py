"""`demo`: phantom -> cohort -> generator -> synthetic cohort -> scores -> report card, in minutes on two CPU cores.

It walks the real path from the first byte of a download tree. A second call reuses every finished part.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import plugins, runs
from .errors import UnknownName, writing
from .evaluate import evaluate
from .prepare import prepare
from .progress import say
from .reader.design import Choices, design
from .report import report
from .sample import sample
from .train import train

SEED = 0
LEARNER_SEEDS = 3
GENERATOR = "r3gan"
READER_IMAGES_SEEN, READER_SAMPLES, READERS = 8_000, 1_000, 3
CONTROLS = ("memoriser",)  # `evaluate` adds gaussian, copycat and holdout by itself; they need no training


@dataclass(frozen=True)
class Kind:
    """One demonstration.

    Attributes:
        title: What the download looks like.
        source: Name of the source and of the phantom that writes its layout.
        cohort: Name of the cohort.
        phantom: Options of the phantom.
        side: Of the images, in pixels.
        prepare: Further arguments of `prepare`.
        batch: Images per training step.
        images_seen: Generator -> training images to see.
        options: Generator -> its options.
    """

    title: str
    source: str
    cohort: str
    phantom: Mapping[str, Any]
    images_seen: Mapping[str, int]
    side: int = 32
    batch: int = 16
    prepare: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


KINDS = {
    "heart": Kind(
        title="a heart MRI download",
        source="acdc",
        cohort="heart",
        phantom={"patients": 200},
        images_seen={"r3gan": 24_000, "memoriser": 40_000},
    ),
    "chest": Kind(
        title="a download of chest radiographs",
        source="chexpert",
        cohort="chest",
        phantom={"patients": 600},
        prepare={
            "findings": ("No Finding", "Cardiomegaly", "Edema", "Pleural Effusion", "Support Devices"),
        },
        images_seen={"r3gan": 24_000, "memoriser": 40_000},
    ),
}


def demo(*, out: Path | str, kind: str = "heart") -> Path:
    """Write a demonstration into folder `out` and return the path of its report card.

    Args:
        out: The folder.
        kind: "heart": masks, a segmentation network. "chest": findings, a classifier.

    Raises:
        UnknownName: There is no such kind.
        BadOutput: The folder cannot be written.
    """
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise UnknownName("A demonstration is one of the kinds there are", f"'{kind}'", f"Choose from {known}")
    out, started, chosen = Path(out), time.monotonic(), KINDS[kind]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    say(f"1/5 A phantom of {chosen.title}: {chosen.phantom['patients']} procedural patients")
    download, cohort = out / "download", out / chosen.cohort
    _write_phantom(chosen.source, chosen.phantom, download)
    say(f"2/5 The cohort, {chosen.side} x {chosen.side} pixels")
    prepare(chosen.source, download, out=cohort, size=chosen.side, seed=SEED, **chosen.prepare)
    say(f"3/5 The generator `{GENERATOR}`, and a control that learns its images by heart")
    for name in (GENERATOR, *CONTROLS):
        run = train(
            cohort,
            generator=name,
            out=out / "runs" / name,
            images_seen=chosen.images_seen[name],
            batch=chosen.batch,
            seed=SEED,
            options=chosen.options.get(name, {}),
        )
        sample(run, out=out / "synthetic" / name, like=cohort, seed=SEED)
    say("4/5 Scores, each with its ceiling and its bad case")
    evaluations = [_evaluated(out, cohort, name) for name in (GENERATOR, *CONTROLS)]
    say("5/5 The report card")
    page = report(evaluations, out=out / "report.html")
    say(f"Done in {time.monotonic() - started:.0f} s. Open {page} in a browser")
    return page


def _write_phantom(source: str, options: Mapping[str, Any], download: Path) -> None:
    if download.exists():
        return
    with runs.publishing(download, runs.fingerprint({"phantom": source, "options": options})) as folder:
        plugins.find("phantoms", source)(**options).write(folder, seed=SEED)


def _evaluated(out: Path, cohort: Path, name: str) -> Path:
    folder = out / "evaluations" / name
    evaluate(
        cohort,
        out / "synthetic" / name,
        out=folder,
        seeds=LEARNER_SEEDS,
        metrics=None if name == GENERATOR else ["nearest"],
        jobs=out / "jobs",
        seed=SEED,
    )
    return folder


def reader_study(*, out: Path | str) -> Path:
    """Write a phantom reader study of 100 images for three readers below folder `out` and return its folder.

    A second call reuses every finished part, the study and its invitations too.

    Raises:
        BadOutput: The folder cannot be written.
    """
    out, chosen = Path(out), KINDS["heart"]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    if (out / "study").exists():
        say(f"{out / 'study'} is there already")
        return out / "study"
    say(f"1/3 A phantom of {chosen.title}, as a cohort of {chosen.side} x {chosen.side} pixels")
    _write_phantom(chosen.source, chosen.phantom, out / "download")
    cohort = out / "real"
    prepare(chosen.source, out / "download", out=cohort, size=chosen.side, seed=SEED)
    say(f"2/3 The generator `{GENERATOR}`, a minute of training on a free core")
    seen = READER_IMAGES_SEEN
    run = train(cohort, generator=GENERATOR, out=out / "run", images_seen=seen, batch=chosen.batch, seed=SEED)
    sample(run, out=out / "synthetic", n=READER_SAMPLES, seed=SEED)
    say("3/3 The study")
    choices = Choices(readers=READERS, seed=SEED, name="Demonstration")
    return design(cohort, out / "synthetic", out=out / "study", choices=choices)
