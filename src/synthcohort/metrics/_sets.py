"""What every audit does first: check its sides, flatten them, and make members and non-members equally many.

Members are training images, non-members are images of patients that nothing was trained on. An attack is measured by
what it says of the one beyond the other, so the two must be exchangeable: divided at random by patient before training.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..runs import derive_seed
from ..types import Array, Better, Features, Value
from ._sides import check_one_space

FEWEST_PATIENTS = 10
"""On each side: with fewer, no interval of an attack holds what it promises."""
FEWEST_IMAGES = 10
"""Synthetic ones."""


def unusable(train: Features, subject: Features, held_out: Features, *, patients: int = FEWEST_PATIENTS) -> str:
    """Return why nothing can be said of these sides, or "".

    Raises:
        Mismatch: They come from different extractors.
    """
    check_one_space(train, subject, held_out)
    for name, side in (("synthetic", subject), ("training", train), ("held-out", held_out)):
        if len(side) == 0:
            return f"there are no {name} images"
        if not np.isfinite(side.values).all():
            return f"features of the {name} images are not finite"
    if len(subject) < FEWEST_IMAGES:
        return f"{len(subject)} synthetic images; {FEWEST_IMAGES} are needed"
    for name, side in (("training", train), ("held-out", held_out)):
        count = len(np.unique(side.patients))
        if count < patients:
            return f"{count} {name} patients; {patients} are needed"
    if (np.ptp(flat(train).values, axis=0) == 0).all() and (np.ptp(flat(held_out).values, axis=0) == 0).all():
        return "all real images are the same"
    return ""


def flat(features: Features) -> Features:
    """Return features with values (n, d): pixels become one row per image."""
    return replace(features, values=features.values.reshape(len(features), -1))


def take(features: Features, rows: Array) -> Features:
    """Return some rows."""
    return replace(features, values=features.values[rows], patients=features.patients[rows])


def equal_rows(train: Features, held_out: Features, *, seed: int) -> tuple[Array, Array]:
    """Return the rows of either side that make them equally many images: whole patients, drawn at random.

    The last patient drawn gives up what is too much. The draw depends on the patients, not on the order of the rows.
    """
    count = min(len(train), len(held_out))
    left, right = (_drawn(side, count, seed=derive_seed(seed, "equal")) for side in (train, held_out))
    return left, right


def equal(train: Features, held_out: Features, *, seed: int) -> tuple[Features, Features]:
    """Return both sides at equal numbers of images; see `equal_rows`."""
    left, right = equal_rows(train, held_out, seed=seed)
    return take(train, left), take(held_out, right)


def _drawn(side: Features, count: int, *, seed: int) -> Array:
    if len(side) == count:
        return np.arange(count)
    patients, code = np.unique(side.patients, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(patients))[code]
    # Within a patient by their first values, so that the same images are kept in whatever order they come.
    first = side.values.reshape(len(side), -1)[:, :2].T
    return np.sort(np.lexsort((*first, rank))[:count])


def codes(*patients: Array) -> list[Array]:
    """Return int64 codes of the patients of several sides: equal where the patient is the same."""
    _, code = np.unique(np.concatenate([each.astype(str) for each in patients]), return_inverse=True)
    return np.split(code, np.cumsum([len(each) for each in patients])[:-1])


def missing(metric: str, reason: str, *, label: str = "", better: Better = "none", unit: str = "") -> Value:
    """Return a row that says why there is no number."""
    return Value(metric, None, unit=unit, better=better, label=label, status="not_estimable", reason=reason)


def drawn_of_each(features: Features, count: int, *, seed: int) -> Array:
    """Return `count` rows of every patient that has as many, (p, count), drawn at random.

    The draw depends on the patients and their images, not on the order of the rows.
    """
    _, code = np.unique(features.patients, return_inverse=True)
    order = np.lexsort((*features.values.reshape(len(features), -1)[:, :2].T, code))
    sizes = np.bincount(code)
    starts, rng = np.cumsum(sizes) - sizes, np.random.default_rng(seed)
    picked = [start + rng.permutation(size)[:count] for start, size in zip(starts, sizes, strict=True) if size >= count]
    return np.asarray(order[np.array(picked, np.int64).reshape(-1, count)])
