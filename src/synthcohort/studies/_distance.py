"""The Frechet distance by which runs are compared: to unseen patients, or as study 003 took it.

Study 003 (S.3 and its released code): 10,000 real training images, which are repeated where there are fewer, and as
many samples with their labels and other noise. That distance holds no unseen image, so a copy has the best one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..cohort import Cohort
from ..metrics.frechet import InvalidCovariance, distance, moments
from ..runs import derive_seed
from ..sample import LabelRule, sample
from ..types import Array

LEAST_IMAGES = 16
Line = dict[str, Any]


def distance_to_training(
    cohort: Cohort,
    run: Path,
    first: Cohort,
    place: Path,
    *,
    n: int,
    extractor: Any,
    labels: LabelRule,
    seed: int,
    device: str,
) -> Line:
    """Return the distance between training images and samples that carry their labels, n of each.

    Args:
        cohort: The real cohort.
        run: The finished training.
        first: Samples that mirror the cohort; more rounds of them are drawn with other noise, and removed again.
        place: Folder for these.
        n: Images on each side; the training images are repeated round by round.
        extractor: The feature space.
        labels: See `sample`.
        seed: Of the pipeline: which training images are compared where there are more, and the noise of other rounds.
        device: See `sample`.
    """
    real, places = real_features(cohort, n, extractor, seed=seed), np.unique(_chosen(cohort, n, seed))
    rounds = [_features(first, extractor, places)]
    while sum(map(len, rounds)) < n:
        out, noise = place / f"round-{len(rounds)}", derive_seed(seed, "round", len(rounds))
        made = sample(run, out=out, like=cohort.path, labels=labels, seed=noise, device=device)
        rounds.append(_features(made, extractor, places))
        shutil.rmtree(out)
    return _line(real, np.concatenate(rounds)[:n], "train", extractor.name)


def distance_to_held_out(cohort: Cohort, made: Cohort, *, extractor: Any) -> Line:
    """Return the distance between the images of val and test and the samples that mirror them, label for label.

    Args:
        cohort: The real cohort; its training patients are in neither split.
        made: Samples that mirror it.
        extractor: The feature space.
    """
    sides = [np.concatenate([each.split("val"), each.split("test")]) for each in (cohort, made)]
    real, own = (
        extractor.extract(np.asarray(each.images[rows]), cohort.facts.value_range)
        for each, rows in zip((cohort, made), sides, strict=True)
    )
    return _line(real, own, "val and test", extractor.name)


def distance_to_validation(cohort: Cohort, images: Array, *, extractor: Any) -> Line:
    """Return the distance between validation images and at most as many samples.

    Args:
        cohort: The real cohort.
        images: (N, C, H, W) samples as stored.
        extractor: The feature space.
    """
    held = cohort.images[cohort.split("val")]
    real = extractor.extract(held, cohort.facts.value_range)
    made = extractor.extract(np.asarray(images[: len(held)]), cohort.facts.value_range)
    return _line(real, made, "val", extractor.name)


def real_features(cohort: Cohort, n: int, extractor: Any, *, seed: int) -> Array:
    """Return the features of n training images: drawn by seed where there are more, else repeated round by round."""
    chosen = _chosen(cohort, n, seed)
    places = np.unique(chosen)
    return _features(cohort, extractor, places)[np.searchsorted(places, chosen)]


def _chosen(cohort: Cohort, n: int, seed: int) -> Array:
    """Return which n of the training images: a draw, since they lie in the order of patients, or rounds of all."""
    count = len(cohort.split("train"))
    if count <= n:
        return np.resize(np.arange(count), n)
    return np.sort(np.random.default_rng(derive_seed(seed, "compared")).permutation(count)[:n])


def to_features(real: Array, images: Array, cohort: Cohort, extractor: Any) -> Line:
    """Return the distance between features of training images and samples (n, C, H, W)."""
    return _line(real, extractor.extract(images, cohort.facts.value_range), "train", extractor.name)


def opened(name: str, weights: Path | None) -> Any:
    """Return a feature space by name."""
    return plugins.find("extractors", name)(weights=weights)


def _features(cohort: Cohort, extractor: Any, places: Array) -> Array:
    """Return the features of images at these places of the training split."""
    found: Array = extractor.extract(cohort.images[cohort.split("train")[places]], cohort.facts.value_range)
    return found


def _line(real: Array, made: Array, against: str, space: str) -> Line:
    count = min(len(real), len(made))
    line: Line = {"value": None, "n": count, "against": against, "extractor": space, "reason": ""}
    if count < LEAST_IMAGES:
        return line | {"reason": f"{count} of at least {LEAST_IMAGES} images"}
    try:
        return line | {"value": distance(moments(real), moments(made))}
    except InvalidCovariance as error:
        return line | {"reason": str(error)}
