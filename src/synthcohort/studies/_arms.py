"""What a U-Net learns from in study 000, and its Dice on real test patients.

Skandarani et al. section 4.2: original images; original ones with rotations, shifts and flips; samples; original images
and samples. How much is moved the paper does not say: rotations to 60 degrees are those of the authors' laboratory for
the same images, shifts to an eighth of the side those of differentiable augmentation. Every fit sees as many images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from .. import plugins
from ..cohort import Cohort
from ..metrics.dice import dice_table, mean_dice
from ..nets.generator import RESERVED
from ..runs import derive_seed
from ..statistics import hierarchical_bootstrap, percentile_interval
from ..types import Array

MOST_DEGREES, MOST_SHIFT = 60.0, 0.125
DRAWS = 1000
VAL_SHARE = 5
Pair = tuple[Array, Array]
"""Images (n, C, H, W) and masks (n, H, W)."""


def real(cohort: Cohort, split: str) -> Pair:
    """Return images and masks of a split of a real cohort."""
    rows = cohort.split(split)
    assert cohort.masks is not None, "the study's cohorts have masks"
    return np.asarray(cohort.images[rows]), np.asarray(cohort.masks[rows])


def moved(pair: Pair, count: int, *, seed: int) -> Pair:
    """Return `count` images and masks, round by round: the first one as they are, then rotated, shifted and flipped.

    Args:
        pair: What is moved.
        count: How many come back.
        seed: Image i depends on the seed and i only.
    """
    images, masks = pair
    made = [_moved(images[i % len(images)], masks[i % len(images)], i < len(images), seed, i) for i in range(count)]
    return np.stack([image for image, _ in made]), np.stack([mask for _, mask in made])


def _moved(image: Array, mask: Array, whole: bool, seed: int, number: int) -> Pair:
    if whole:
        return image, mask
    rng = np.random.default_rng(derive_seed(seed, "moved", number))
    angle = np.deg2rad(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
    side = np.array(mask.shape)
    shift = rng.uniform(-MOST_SHIFT, MOST_SHIFT, 2) * side
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn * np.where(rng.random(2) < 0.5, -1.0, 1.0)
    centre = (side - 1) / 2
    offset = centre - turn @ centre + shift
    rows = [ndimage.affine_transform(c.astype(np.float64), turn, offset, order=1, mode="nearest") for c in image]
    drawn = ndimage.affine_transform(mask, turn, offset, order=0, mode="nearest")
    return np.rint(np.stack(rows)).astype(image.dtype), drawn


def held_back(pair: Pair) -> tuple[Pair, Pair]:
    """Return samples to learn from, and every fifth of them to stop by."""
    images, masks = pair
    last = np.arange(len(images)) % VAL_SHARE == VAL_SHARE - 1
    return (images[~last], masks[~last]), (images[last], masks[last])


def dice(
    cohort: Cohort, train: Pair, val: Pair, options: Mapping[str, Any], *, learners: int, seed: int
) -> dict[str, Any]:
    """Return the Dice on real test patients of U-Nets that learn from `train` and stop by `val`.

    Args:
        cohort: Whose test patients it is tested on.
        train: To learn from.
        val: To stop by.
        options: Of the U-Net.
        learners: Fits, with other weights and order each.
        seed: Everything random derives from it.

    Returns:
        value, low, high (95 %, over learners and patients; None with fewer than 3 patients), by_class, images, n.
    """
    task, images = plugins.find("tasks", "segmentation"), real(cohort, "test")
    chosen = plugins.resolve(task, options, reserved=(*RESERVED, "weights"))
    facts, classes = cohort.facts, list(range(1, len(cohort.facts.mask_classes)))
    rows = cohort.samples.iloc[cohort.split("test")]
    groups = rows["group_id"].astype(str).to_numpy()
    _, first = np.unique(groups, return_index=True)
    tables = []
    for learner in range(learners):
        net = task(shape=facts.shape, mask_classes=facts.mask_classes, labels=(), **chosen)
        net.fit(*train, *val, value_range=facts.value_range, seed=derive_seed(seed, "learner", learner))
        tables.append(dice_table(images[1], net.predict(images[0], facts.value_range), groups, classes)[1])
    stacked = np.stack(tables)
    patients = rows["patient_id"].astype(str).to_numpy()[first]
    return _line(stacked, patients, facts.mask_classes[1:], len(train[0]), seed)


def _line(tables: Array, patients: Array, names: Sequence[str], images: int, seed: int) -> dict[str, Any]:
    def mean(fits: Array, volumes: Array) -> float:
        return float(np.mean([mean_dice(tables[fit][volumes])[-1] for fit in fits]))

    everything = np.arange(len(tables)), np.arange(tables.shape[1])
    value, count = mean(*everything), len(np.unique(patients))
    interval = None
    if count >= 3:
        spread = hierarchical_bootstrap(mean, patients, seeds=len(tables), seed=derive_seed(seed, "dice"), draws=DRAWS)
        interval = percentile_interval(spread)
    each = np.mean([mean_dice(table)[:-1] for table in tables], axis=0)
    return {
        "value": value if np.isfinite(value) else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "by_class": {name: float(v) if np.isfinite(v) else None for name, v in zip(names, each, strict=True)},
        "images": images,
        "patients": count,
        "reason": "" if interval else f"{count} test patients",
    }
