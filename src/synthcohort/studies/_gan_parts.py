"""The jobs of study 000: a trial of the search, the best of them, its samples and what a U-Net learns from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import runs
from ..cohort import Cohort
from ..errors import Diverged
from ..evaluate import evaluate
from ..execute import Place
from ..sample import sample
from ..train import train
from . import _arms
from ._distance import distance_to_validation, opened, real_features, to_features
from ._parts import EVALUATION, RUN, SYNTHETIC, cohort_of, recorded_failure, weights_of

TRIAL, BEST, ARM, CHECKED = "trial.json", "best.json", "arm.json", "checked.json"


def trial(
    place: Place,
    *,
    cohort: str,
    generator: str,
    number: int,
    options: Mapping[str, Any],
    images_seen: int,
    batch: int,
    precision: str,
    seed: int,
    n: int,
    against: str,
    extractor: str,
    weights: Mapping[str, str],
) -> None:
    """Train with one set of options and take the distance; a trial that diverges is a result of the search.

    `weights` are the digests of the files among the paths.
    """
    real = Cohort(cohort_of(place))
    line: dict[str, Any] = {"generator": generator, "trial": number, "options": dict(options), "distance": None}
    try:
        run = train(
            real.path,
            generator=generator,
            out=place.folder / RUN,
            images_seen=images_seen,
            batch=batch,
            seed=seed,
            precision=precision,
            device=place.device,
            options=dict(options),
        )
        line |= measured(real, run, place, n=n, against=against, extractor=extractor, seed=seed)
    except Diverged as error:
        recorded_failure(place, error)
        line["reason"] = str(error)
    runs.write_atomic(place.folder / TRIAL, json.dumps(line) + "\n")


def measured(
    real: Cohort, run: Path, place: Place, *, n: int, against: str, extractor: str, seed: int
) -> dict[str, Any]:
    """Return the distance of n samples to validation or training images, and how the training ended."""
    space = opened(extractor, weights_of(place).get(extractor))
    out = place.folder / "compared"
    made = sample(run, out=out, n=n, seed=seed, device=place.device)
    if against == "val":
        found = distance_to_validation(real, made.images, extractor=space)
    else:
        found = to_features(real_features(real, n, space, seed=seed), np.asarray(made.images), real, space)
    shutil.rmtree(out)
    ended = json.loads((run / runs.OUTCOME).read_text(encoding="utf-8")) if (run / runs.OUTCOME).exists() else {}
    return {"distance": found["value"], "n": found["n"], "reason": found["reason"], "collapsed": ended.get("collapsed")}


def best(place: Place) -> None:
    """Keep the trial with the smallest distance, the first of equals; say why there is none where all failed."""
    trials = [json.loads((folder / TRIAL).read_text(encoding="utf-8")) for folder in place.needs.values()]
    folders = list(place.needs)
    known = [(line["distance"], line["trial"], role) for line, role in zip(trials, folders, strict=True)
             if line["distance"] is not None]  # fmt: skip
    if not known:
        reason = next((line["reason"] for line in trials if line.get("reason")), "no trial has a distance")
        raise Diverged(f"Every trial failed: {reason}")
    _, number, role = min(known)
    shutil.copytree(place.needs[role] / RUN, place.folder / RUN, dirs_exist_ok=True)
    line = next(each for each in trials if each["trial"] == number)
    runs.write_atomic(place.folder / BEST, json.dumps(line) + "\n")


def sampled(place: Place, *, cohort: str, n: int, seed: int) -> None:
    """Draw the samples of the best run."""
    sample(place.needs["best"] / RUN, out=place.folder / SYNTHETIC, n=n, seed=seed, device=place.device)


def arm(
    place: Place, *, cohort: str, kind: str, count: int, options: Mapping[str, Any], learners: int, seed: int
) -> None:
    """Fit U-Nets on one of the study's four sets of images and write their Dice on real test patients."""
    there = Cohort(cohort_of(place))
    train_set, val = _arms.real(there, "train"), _arms.real(there, "val")
    if kind == "augmented original":
        train_set = _arms.moved(train_set, len(train_set[0]) + count, seed=seed)
    elif kind != "original":
        made = Cohort(place.needs["made"] / SYNTHETIC)
        assert made.masks is not None, "the study's generators make masks"
        samples = np.asarray(made.images), np.asarray(made.masks)
        own, own_val = _arms.held_back(samples)
        if kind == "synthetic":
            train_set, val = own, own_val
        else:
            train_set = np.concatenate([train_set[0], own[0]]), np.concatenate([train_set[1], own[1]])
    line = _arms.dice(there, train_set, val, options, learners=learners, seed=seed)
    runs.write_atomic(place.folder / ARM, json.dumps({"kind": kind, **line}) + "\n")


def checked(
    place: Place,
    *,
    cohort: str,
    seed: int,
    metrics: list[str],
    explain: list[str],
    extractor: str,
    weights: Mapping[str, str],
    task: Mapping[str, Any],
) -> None:
    """Look for copies among the samples of the best run, and lay out the spaces of the distance and of a real U-Net.

    `weights` are the digests of the files among the paths.
    """
    scores = evaluate(
        cohort_of(place),
        place.needs["made"] / SYNTHETIC,
        out=place.folder / EVALUATION,
        metrics=metrics,
        tasks=["segmentation"] if explain else [],
        extractors=[extractor],
        seeds=1,
        seed=seed,
        weights=weights_of(place),
        jobs=place.shared,
        explain=explain,
        options=dict(task) if explain else {},
    )
    runs.write_atomic(place.folder / CHECKED, json.dumps([score.to_json() for score in scores]) + "\n")


def checkpoint(
    place: Place,
    *,
    cohort: str,
    share: float,
    images_seen: int,
    batch: int,
    precision: str,
    seed: int,
    n: int,
    against: str,
    extractor: str,
    weights: Mapping[str, str],
    task: Mapping[str, Any],
    learners: int,
) -> None:
    """Train the best options for a share of the images, take the distance and the Dice of as many samples."""
    chosen = json.loads((place.needs["best"] / BEST).read_text(encoding="utf-8"))
    there = Cohort(cohort_of(place))
    line: dict[str, Any] = {"share": share, "distance": None, "dice": None, "reason": ""}
    try:
        run = train(
            there.path,
            generator=chosen["generator"],
            out=place.folder / RUN,
            images_seen=max(round(share * images_seen), 1),
            batch=batch,
            seed=seed,
            precision=precision,
            device=place.device,
            options=chosen["options"],
        )
        line |= measured(there, run, place, n=n, against=against, extractor=extractor, seed=seed)
        made = sample(run, out=place.folder / SYNTHETIC, n=n, seed=seed, device=place.device)
        assert made.masks is not None, "the study's generators make masks"
        own, val = _arms.held_back((np.asarray(made.images), np.asarray(made.masks)))
        line["dice"] = _arms.dice(there, own, val, task, learners=learners, seed=seed)["value"]
    except Diverged as error:
        line["reason"] = str(error)
    runs.write_atomic(place.folder / TRIAL, json.dumps(line) + "\n")
