"""The sets of images that are compared: real splits and halves, equal amounts, and the built-in controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import plugins
from ..cohort import Cohort
from ..nets.generator import Streams
from ..runs import derive_seed, fingerprint, sha256
from ..types import Array, Condition, from_unit_range, to_unit_range

_CHUNK = 64
VAL_SHARE = 5  # without a validation split, the last fifth of the training images is one


@dataclass(frozen=True)
class ImageSet:
    """Images that are used together.

    Attributes:
        name: What they are, e.g. "real train".
        images: (n, C, H, W) as stored.
        masks: (n, H, W) uint8, or None.
        patients: (n,) patient of each image.
        groups: (n,) volume or study of each image.
        key: Digest of the content, from the cohort's identity and the positions in it.
    """

    name: str
    images: Array
    masks: Array | None
    patients: Array
    groups: Array
    key: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def patient_count(self) -> int:
        """Return the number of patients."""
        return len(np.unique(self.patients))

    def take(self, positions: Array, name: str = "") -> ImageSet:
        """Return some of the images, in the order of `positions`."""
        positions = np.asarray(positions, np.int64)
        return ImageSet(
            name or self.name,
            self.images[positions],
            None if self.masks is None else self.masks[positions],
            self.patients[positions],
            self.groups[positions],
            fingerprint({"of": self.key, "positions": sha256(positions.tobytes())}),
        )

    def draw(self, count: int, *, seed: int) -> ImageSet:
        """Return at most `count` of the images, drawn at random, in their order."""
        if count >= len(self):
            return self
        chosen = np.random.default_rng(derive_seed(seed, "draw", self.name)).choice(len(self), count, replace=False)
        return self.take(np.sort(chosen))


@dataclass(frozen=True)
class RealSets:
    """The real cohort, divided by what each part is for.

    Attributes:
        train: What generators learn from.
        val: What the task fitted on real images is stopped by.
        test: What tasks are scored on.
        held_out: Test patients and half of the reference patients: what distances are taken to.
        holdout: The other half of the reference patients: the control that cannot be copied from training.
        unfitted: Validation and `holdout` patients: what is neither fitted to nor measured against.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    held_out: ImageSet
    holdout: ImageSet
    unfitted: ImageSet


def whole(cohort: Cohort, name: str) -> ImageSet:
    """Return all samples of a cohort."""
    samples = cohort.samples
    return ImageSet(
        name,
        np.asarray(cohort.images),
        None if cohort.masks is None else np.asarray(cohort.masks),
        samples["patient_id"].astype(str).to_numpy(dtype=str),
        samples["group_id"].astype(str).to_numpy(dtype=str),
        cohort.identity,
    )


def real_sets(cohort: Cohort) -> RealSets:
    """Return the parts of a real cohort; reference patients are halved in their order of first appearance."""
    everything = whole(cohort, "real")
    held_out = np.concatenate([cohort.split("test"), cohort.reference_half("A")])
    unfitted = np.concatenate([cohort.split("val"), cohort.reference_half("B")])
    return RealSets(
        train=everything.take(cohort.split("train"), "real train"),
        val=everything.take(cohort.split("val"), "real val"),
        test=everything.take(cohort.split("test"), "real test"),
        held_out=everything.take(held_out, "real held-out"),
        holdout=everything.take(cohort.reference_half("B"), "holdout"),
        unfitted=everything.take(unfitted, "real unfitted"),
    )


@dataclass(frozen=True)
class Amounts:
    """What the two arms of the utility comparison are fitted on.

    Attributes:
        real: Training images of the real arm.
        train: Training images of the synthetic arm.
        val: Validation images of the synthetic arm.
        notes: What had to be done to make the amounts equal.
    """

    real: ImageSet
    train: ImageSet
    val: ImageSet
    notes: tuple[str, ...]


def equal_amounts(real: RealSets, synthetic: Cohort, *, seed: int) -> Amounts:
    """Return training sets of equal size: never more synthetic images than real ones, real ones by whole patients."""
    everything, notes = whole(synthetic, "synthetic"), []
    train, val = synthetic.split("train"), synthetic.split("val")
    if len(train) == 0:
        train = np.setdiff1d(np.arange(len(synthetic)), val)
        notes.append("The synthetic cohort has no training split: all its samples outside validation were used.")
    if len(val) == 0:
        first = len(train) - len(train) // VAL_SHARE
        train, val = train[:first], train[first:]
        notes.append("The synthetic cohort has no validation split: the last fifth of its training split served.")
    count, arm = len(real.train), real.train
    if len(train) < count:
        arm = whole_patients(real.train, len(train), seed=seed)
        notes.append(
            f"The synthetic cohort has fewer training images ({len(train)}) than the real one ({count}): the real arm "
            f"was cut to {len(arm)} images of {arm.patient_count} patients."
        )
    return Amounts(
        real=arm,
        train=everything.take(train[:count], "synthetic train"),
        val=everything.take(val[: max(len(real.val), 1)], "synthetic val"),
        notes=tuple(notes),
    )


def whole_patients(images: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return the images of whole patients, drawn at random, whose number is as near to `count` as the draw allows."""
    patients, sizes = np.unique(images.patients, return_counts=True)
    order = np.random.default_rng(derive_seed(seed, "whole patients")).permutation(len(patients))
    totals = np.cumsum(sizes[order])
    kept = patients[order[: int(np.abs(totals - count).argmin()) + 1]]
    return images.take(np.flatnonzero(np.isin(images.patients, kept)))


def control(name: str, real: Cohort, train: ImageSet, *, count: int, seed: int) -> ImageSet:
    """Return `count` images of a control generator that learnt from the real training images.

    Args:
        name: A generator that learns in closed form, e.g. "gaussian" or "copycat".
        real: Whose pixel format to use.
        train: What it learns from.
        count: Image i depends on the seed and i only.
        seed: For learning and for sampling.
    """
    facts, plugin = real.facts, plugins.find("generators", name)
    options = plugins.resolve(plugin, {}, reserved=("shape", "labels", "mask_classes"))
    model = plugin(shape=facts.shape, labels=(), mask_classes=facts.mask_classes, **options)
    model.fit(to_unit_range(train.images, facts.value_range), train.masks, seed=derive_seed(seed, name, "fit"))
    images, masks = [], []
    for made in _sampled(model, count, seed=derive_seed(seed, name, "sample")):
        images.append(from_unit_range(made[0], facts.value_range, facts.dtype))
        masks.append(made[1])
    config = {"control": name, "revision": plugin.REVISION, "options": options, "train": train.key}
    ids = np.array([f"{name}{number:08d}" for number in range(count)])
    return ImageSet(
        name,
        np.concatenate(images)[:count],
        np.concatenate(masks)[:count] if facts.mask_classes else None,
        ids,
        ids,
        fingerprint({**config, "count": count, "seed": seed}),
    )


def _sampled(model: Any, count: int, *, seed: int) -> Iterator[tuple[Array, Array]]:
    import torch

    model.eval()
    for first in range(0, count, _CHUNK):
        streams = Streams([derive_seed(seed, "sample", first + place) for place in range(_CHUNK)])
        with torch.inference_mode():
            made = model.sample(Condition(_CHUNK, first=first), streams)
        masks = np.empty(0) if made.masks is None else made.masks.cpu().numpy().astype(np.uint8)
        yield made.images.float().cpu().numpy(), masks
