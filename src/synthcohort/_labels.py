"""Which labels samples are asked for: those of a cohort, with combinations that few patients hold merged into others.

A vector of labels is a patient's data too. A combination held by fewer than ten training patients is replaced by the
nearest one that ten or more hold. Vectors are sorted before they are shuffled: the order follows from the counts and
the seed alone, and whoever knows the seed cannot undo it into the real order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .cohort import Cohort
from .errors import InputError, Mismatch
from .progress import say
from .runs import derive_seed
from .types import SPLITS, Array

LEAST_PATIENTS = 10
_BITS = 62


@dataclass(frozen=True)
class Combinations:
    """The distinct label vectors of some images.

    Attributes:
        vectors: (K, L) float32 0/1, sorted.
        images: (K,) how many images have each.
        patients: (K,) how many patients.
        of_image: (N,) which one each image has.
    """

    vectors: Array
    images: Array
    patients: Array
    of_image: Array


def combinations(labels: Array, patients: Array) -> Combinations:
    """Return the combinations among labels (N, L) 0/1 of images of `patients` (N,)."""
    vectors, of_image, images = distinct(labels)
    who = pd.factorize(np.asarray(patients))[0]
    pairs = np.unique(of_image * (int(who.max(initial=0)) + 1) + who) // (int(who.max(initial=0)) + 1)
    return Combinations(vectors, images, np.bincount(pairs, minlength=len(vectors)), of_image)


def distinct(labels: Array) -> tuple[Array, Array, Array]:
    """Return the distinct rows of labels (N, L) 0/1 as (K, L), sorted, (N,) which one each row is, and (K,) how often.

    As numpy.unique on rows does, 20 times faster: a row of up to 62 bits is sorted as one whole number.
    """
    if labels.shape[1] > _BITS:
        vectors, of_row, count = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        return vectors, of_row.reshape(-1), count
    codes = np.zeros(len(labels), np.int64)
    for column in labels.T:
        codes = 2 * codes + (column != 0)
    _, first, of_row, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    return labels[first], of_row.reshape(-1), count


def merge_rare(labels: Array, patients: Array, *, counted: Array | None = None, least: int = LEAST_PATIENTS) -> Array:
    """Return labels (N, L) in which every combination is held by at least `least` of the patients.

    A rarer one becomes the kept one that differs in the fewest findings; among those, the one with most patients.

    Args:
        labels: (N, L) 0/1.
        patients: (N,) who each image is of.
        counted: (N,) bool, the images whose patients count; all when left out.
        least: Patients.

    Raises:
        InputError: No combination is held by that many.
    """
    found = combinations(labels, patients)
    if counted is not None:
        pairs = pd.DataFrame({"combination": found.of_image, "patient": patients})[counted].drop_duplicates()
        found = replace(found, patients=np.bincount(pairs["combination"], minlength=len(found.vectors)))
    kept = np.flatnonzero(found.patients >= least)
    if not len(kept):
        raise InputError(
            f"Samples take combinations of labels that at least {least} training patients hold",
            "no combination is",
            "Keep fewer findings with `prepare --findings`, or use `--labels exact` where the samples stay inside",
        )
    kept = kept[np.argsort(-found.patients[kept], kind="stable")]
    distance = np.abs(found.vectors[:, None] - found.vectors[kept][None]).sum(2)
    nearest = kept[distance.argmin(1)]
    merged: Array = found.vectors[nearest[found.of_image]]
    return merged


def known_labels(cohort: Cohort, positions: Array, names: Sequence[str]) -> Array:
    """Return (N, len(names)) float32 0/1 labels of some samples; unknown ones are 0.

    Raises:
        Mismatch: The cohort lacks one of the findings.
    """
    missing = [name for name in names if name not in cohort.facts.labels]
    if missing:
        raise Mismatch("--like takes a cohort with the findings of the training cohort", f"it lacks '{missing[0]}'",
                       "Prepare it with the same findings")  # fmt: skip
    columns = [cohort.facts.labels.index(name) for name in names]
    return np.nan_to_num(cohort.label_matrix()[positions][:, columns]).astype(np.float32)


def mirrored_labels(cohort: Cohort, names: Sequence[str], *, exact: bool, seed: int) -> Array:
    """Return the labels of the samples that mirror a cohort, split by split as `sample` writes them.

    Args:
        cohort: The cohort that is mirrored; its reference patients are not.
        names: Findings of the generator.
        exact: Give every split its own vectors as they are. Otherwise rare combinations are merged, and vectors are
            shuffled over all splits, since few patients of a small split hold even a frequent one.
        seed: Of the order.
    """
    splits = [cohort.split(name) for name in SPLITS if name != "reference"]
    labels = [known_labels(cohort, split, names) for split in splits]
    if exact:
        return np.concatenate([_shuffled(rows, seed, number) for number, rows in enumerate(labels)])
    positions, own = np.concatenate(splits), np.concatenate(labels)
    trained = np.arange(len(own)) < len(splits[0])
    merged = merge_rare(own, cohort.samples["patient_id"].to_numpy()[positions], counted=trained)
    _say_merged(own, merged, names)
    return _shuffled(merged, seed, 0)


def _shuffled(labels: Array, seed: int, number: int) -> Array:
    ordered = labels[np.lexsort(labels.T[::-1])] if labels.shape[1] else labels
    mixed: Array = ordered[np.random.default_rng(derive_seed(seed, "label order", number)).permutation(len(labels))]
    return mixed


def _say_merged(own: Array, merged: Array, names: Sequence[str]) -> None:
    changed = int((own != merged).any(axis=1).sum())
    if not changed:
        return
    say(
        f"Note: {changed} of {len(own)} images are asked for with another combination of findings, since fewer than"
        f" {LEAST_PATIENTS} training patients hold theirs."
    )
    lost = [name for place, name in enumerate(names) if own[:, place].any() and not merged[:, place].any()]
    if lost:
        say(f"Note: no image is asked to show {', '.join(lost)}. Prepare with fewer --findings to keep rare ones.")


def stored_combinations(cohort: Cohort, positions: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a run keeps of its training labels: merged combinations and how many images have each.

    Empty when there are no labels, or no combination that enough patients hold.
    """
    if not names:
        return []
    labels = known_labels(cohort, positions, names)
    try:
        merged = merge_rare(labels, cohort.samples["patient_id"].to_numpy()[positions])
    except InputError:
        return []
    found = combinations(merged, np.arange(len(merged)))
    return [
        {"labels": [int(value) for value in vector], "images": int(count)}
        for vector, count in zip(found.vectors, found.images, strict=True)
    ]


def drawn_labels(stored: Sequence[Mapping[str, Any]], count: int, *, seed: int) -> Array:
    """Return (count, L) labels drawn from stored combinations; row i depends on the seed and i only.

    Raises:
        InputError: Nothing is stored.
    """
    if not stored:
        raise InputError(
            f"Labels are drawn from combinations that at least {LEAST_PATIENTS} training patients hold",
            "this run has none",
            "Use --like COHORT --labels exact where the samples stay inside",
        )
    vectors = np.array([entry["labels"] for entry in stored], np.float32)
    upper = np.cumsum([entry["images"] for entry in stored], dtype=np.float64)
    draws = [np.random.default_rng(derive_seed(seed, "labels", i)).random() for i in range(count)]
    chosen: Array = vectors[np.searchsorted(upper / upper[-1], draws, side="right")]
    return chosen
