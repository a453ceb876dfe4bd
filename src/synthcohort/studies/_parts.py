"""The jobs of the two studies: a cohort, a training, what is measured of it. Each is a function of `execute`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import runs
from .._cut import Cut
from ..cohort import Cohort
from ..errors import Diverged
from ..evaluate import evaluate
from ..execute import Place
from ..prepare import prepare
from ..sample import sample
from ..train import train
from ._derive import derive
from ._distance import distance_to_held_out, distance_to_training, opened

COHORT, RUN, SYNTHETIC, EVALUATION = "cohort", "run", "synthetic", "evaluation"
ROWS, FAILURE = "rows.json", "failure.json"
WEIGHTS = "weights."
"""What the role of a path to weights begins with."""


def prepared(place: Place, *, source: str, listing: str, setting: str, size: int, protocol: str, seed: int) -> None:
    """Prepare one of the published settings from a download; `listing` names what lies there."""
    root = place.paths["root"]
    out = place.folder / COHORT
    prepare(source, root, out=out, setting=setting, size=size, protocol=protocol, seed=seed)


def derived(
    place: Place, *, cohort: str, cut: Mapping[str, Any], size: int, seed: int, findings: Sequence[str]
) -> None:
    """Cut a cohort from the one that the user gave; `cohort` is its identity."""
    wanted: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in cut.items()}
    cohort_there, out = Cohort(place.paths["cohort"]), place.folder / COHORT
    derive(cohort_there, out, wanted=Cut(**wanted), size=size, seed=seed, findings=findings)


def trained(
    place: Place,
    *,
    generator: str,
    options: Mapping[str, Any],
    images_seen: int,
    batch: int,
    seed: int,
    precision: str,
    stop: Mapping[str, Any],
) -> None:
    """Train a generator. With the role "first" it sees as many images as that run's weights did, and no stop."""
    if "first" in place.needs:
        ended = json.loads((place.needs["first"] / RUN / runs.OUTCOME).read_text(encoding="utf-8"))
        images_seen, stop = int(ended["images_kept"]), {}
    train(
        cohort_of(place),
        generator=generator,
        out=place.folder / RUN,
        images_seen=images_seen,
        batch=batch,
        seed=seed,
        precision=precision,
        device=place.device,
        options=dict(options),
        stop=dict(stop),
        weights=weights_of(place),
    )


def scored(
    place: Place,
    *,
    seed: int,
    learners: int,
    labels: str,
    against: str,
    n: int,
    extractor: str,
    metrics: list[str] | None,
    options: Mapping[str, Any],
    explain: list[str],
    weights: Mapping[str, str],
) -> None:
    """Mirror a cohort by a finished training, fit the classifiers, score them, and take the distance of runs.

    `weights` are the digests of the files among the paths.
    """
    real, run, files = cohort_of(place), place.needs["train"] / RUN, weights_of(place)
    rule: Any = labels
    made = sample(run, out=place.folder / SYNTHETIC, like=real, labels=rule, seed=seed, device=place.device)
    space = opened(extractor, files.get(extractor))
    if against == "train":
        found = distance_to_training(
            Cohort(real), run, made, place.folder, n=n, extractor=space, labels=rule, seed=seed, device=place.device
        )
    else:
        found = distance_to_held_out(Cohort(real), made, extractor=space)
    scores = evaluate(
        real,
        made.path,
        out=place.folder / EVALUATION,
        metrics=metrics,
        tasks=["classification"],
        seeds=learners,
        seed=seed,
        weights=files,
        jobs=place.shared,
        options=dict(options),
        explain=explain,
    )
    outcome = json.loads((run / runs.OUTCOME).read_text(encoding="utf-8")) if (run / runs.OUTCOME).exists() else {}
    content = {"distance": found, "outcome": outcome, "scores": [score.to_json() for score in scores]}
    runs.write_atomic(place.folder / ROWS, json.dumps(content, allow_nan=False) + "\n")


def cohort_of(place: Place) -> Path:
    """Return the cohort that a job works on: one that the study made, or the user's."""
    return place.needs["cohort"] / COHORT if "cohort" in place.needs else place.paths["cohort"]


def weights_of(place: Place) -> dict[str, Path]:
    """Return extractor -> file of its weights."""
    return {role.removeprefix(WEIGHTS): path for role, path in place.paths.items() if role.startswith(WEIGHTS)}


def recorded_failure(place: Place, error: Diverged) -> None:
    """Write down that a trial diverged, which is a result of the search."""
    runs.write_atomic(place.folder / FAILURE, json.dumps({"reason": str(error)}) + "\n")
