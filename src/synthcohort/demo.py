"""`demo`: phantom -> cohort -> generator -> synthetic cohort -> scores -> report card, in minutes on two CPU cores.

It walks the real path from the first byte of a download tree. A second call reuses every finished part.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import plugins, runs
from .errors import writing
from .evaluate import evaluate
from .prepare import prepare
from .progress import say
from .report import report
from .sample import sample
from .train import train

PATIENTS = 200
SIDE = 32
SEED = 0
LEARNER_SEEDS = 3
GENERATOR = "flow"
CONTROLS = ("memoriser",)  # `evaluate` adds gaussian, copycat and holdout by itself; they need no training
BATCH = 32
IMAGES_SEEN: Mapping[str, int] = {"flow": 80_000, "memoriser": 40_000}
OPTIONS: Mapping[str, Mapping[str, Any]] = {"flow": {"width": 48}}


def demo(*, out: Path | str) -> Path:
    """Write a demonstration into folder `out` and return the path of its report card.

    Raises:
        BadOutput: The folder cannot be written.
    """
    out, started = Path(out), time.monotonic()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    say(f"1/5 A phantom of a heart MRI download: {PATIENTS} procedural patients")
    download, cohort = out / "download", out / "heart"
    if not download.exists():
        with runs.publishing(download, runs.fingerprint({"phantom": "acdc", "patients": PATIENTS})) as folder:
            plugins.find("phantoms", "acdc")(patients=PATIENTS).write(folder, seed=SEED)
    say(f"2/5 The cohort, {SIDE} x {SIDE} pixels")
    prepare("acdc", download, out=cohort, size=SIDE, seed=SEED)
    say(f"3/5 The generator `{GENERATOR}`, and a control that learns its images by heart")
    evaluations = []
    for name in (GENERATOR, *CONTROLS):
        run = train(
            cohort,
            generator=name,
            out=out / "runs" / name,
            images_seen=IMAGES_SEEN[name],
            batch=BATCH,
            seed=SEED,
            options=OPTIONS.get(name, {}),
        )
        sample(run, out=out / "synthetic" / name, like=cohort, seed=SEED)
    say("4/5 Scores, each with its ceiling and its bad case")
    for name in (GENERATOR, *CONTROLS):
        evaluate(
            cohort,
            out / "synthetic" / name,
            out=out / "evaluations" / name,
            seeds=LEARNER_SEEDS,
            metrics=None if name == GENERATOR else ["nearest"],
            jobs=out / "jobs",
            seed=SEED,
        )
        evaluations.append(out / "evaluations" / name)
    say("5/5 The report card")
    page = report(evaluations, out=out / "report.html")
    say(f"Done in {time.monotonic() - started:.0f} s. Open {page} in a browser")
    return page
