"""The sets of images that are compared: real splits and halves, equal amounts, and the built-in controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import plugins
from ..cohort import Cohort
from ..nets.generator import RESERVED, Streams
from ..runs import derive_seed, fingerprint, sha256
from ..types import Array, Condition, from_unit_range, to_unit_range

_CHUNK = 64
UNCONDITIONAL = "unconditional gaussian"
VAL_SHARE = 5  # without a validation split, the last fifth of the training images is one


@dataclass(frozen=True)
class ImageSet:
    """Images that are used together.

    Attributes:
        name: What they are, e.g. "real train".
        images: (n, C, H, W) as stored.
        masks: (n, H, W) uint8, or None.
        labels: (n, L) float32 0/1, unknown ones NaN; L may be 0.
        patients: (n,) patient of each image.
        groups: (n,) volume or study of each image.
        key: Digest of the content, from the cohort's identity and the positions in it.
    """

    name: str
    images: Array
    masks: Array | None
    labels: Array
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
            self.labels[positions],
            self.patients[positions],
            self.groups[positions],
            fingerprint({"of": self.key, "positions": sha256(positions.tobytes())}),
        )

    def targets(self, needs: str) -> Array:
        """Return what a task learns: "masks" or "labels"."""
        targets = self.masks if needs == "masks" else self.labels
        assert targets is not None, f"a task that needs {needs} is not served without them"
        return targets

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
        reference: All reference patients: what a fitted task meets in place of its own kind of images.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    held_out: ImageSet
    holdout: ImageSet
    unfitted: ImageSet
    reference: ImageSet


def common_labels(real: Cohort, synthetic: Cohort) -> tuple[str, ...]:
    """Return the findings that both cohorts have, in the order of the real one."""
    return tuple(name for name in real.facts.labels if name in synthetic.facts.labels)


def positives(cohort: Cohort, findings: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Return finding -> split -> images and patients that have it; no patients for a cohort that is not real."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for finding in findings:
        rows = cohort.samples[cohort.samples[f"label.{finding}"].fillna(False).astype(bool)]
        by_split = rows.groupby("split")["patient_id"].agg(["size", "nunique"])
        counts[finding] = {
            str(split): {"images": int(images)}
            | ({"patients": int(patients)} if cohort.facts.provenance == "real" else {})
            for split, images, patients in by_split.itertuples()
        }
    return counts


def whole(cohort: Cohort, name: str, findings: Sequence[str]) -> ImageSet:
    """Return all samples of a cohort, labelled with some of its findings."""
    samples = cohort.samples
    return ImageSet(
        name,
        np.asarray(cohort.images),
        None if cohort.masks is None else np.asarray(cohort.masks),
        cohort.label_matrix()[:, [cohort.facts.labels.index(finding) for finding in findings]],
        samples["patient_id"].astype(str).to_numpy(dtype=str),
        samples["group_id"].astype(str).to_numpy(dtype=str),
        cohort.identity,
    )


def real_sets(cohort: Cohort, findings: Sequence[str]) -> RealSets:
    """Return the parts of a real cohort; reference patients are halved in their order of first appearance."""
    everything = whole(cohort, "real", findings)
    held_out = np.concatenate([cohort.split("test"), cohort.reference_half("A")])
    unfitted = np.concatenate([cohort.split("val"), cohort.reference_half("B")])
    return RealSets(
        train=everything.take(cohort.split("train"), "real train"),
        val=everything.take(cohort.split("val"), "real val"),
        test=everything.take(cohort.split("test"), "real test"),
        held_out=everything.take(held_out, "real held-out"),
        holdout=everything.take(cohort.reference_half("B"), "holdout"),
        unfitted=everything.take(unfitted, "real unfitted"),
        reference=everything.take(cohort.split("reference"), "real reference"),
    )


@dataclass(frozen=True)
class Amounts:
    """What the two arms of the utility comparison are fitted on.

    Attributes:
        real: Training images of the real arm.
        train: Training images of the synthetic arm.
        val: Validation images of the synthetic arm.
        pool: All synthetic images that may be trained on: `train` and those beyond it.
        notes: What had to be done to make the amounts equal.
    """

    real: ImageSet
    train: ImageSet
    val: ImageSet
    pool: ImageSet
    notes: tuple[str, ...]


def equal_amounts(real: RealSets, synthetic: Cohort, everything: ImageSet, *, seed: int) -> Amounts:
    """Return training sets of equal size: never more synthetic images than real ones, real ones by whole patients.

    Args:
        real: The real cohort's parts.
        synthetic: The scored cohort.
        everything: All its samples.
        seed: Decides which real patients are left out where there are fewer synthetic images.
    """
    notes = []
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
        pool=everything.take(train, "synthetic pool"),
        notes=tuple(notes),
    )


def joined(*sets: ImageSet) -> ImageSet:
    """Return the images of several sets, one after the other."""
    masks = [images.masks for images in sets if images.masks is not None]
    return ImageSet(
        " and ".join(images.name for images in sets),
        np.concatenate([images.images for images in sets]),
        np.concatenate(masks) if len(masks) == len(sets) else None,
        np.concatenate([images.labels for images in sets]),
        np.concatenate([images.patients for images in sets]),
        np.concatenate([images.groups for images in sets]),
        fingerprint({"joined": [images.key for images in sets]}),
    )


def whole_patients(images: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return the images of whole patients, drawn at random, whose number is as near to `count` as the draw allows."""
    patients, sizes = np.unique(images.patients, return_counts=True)
    order = np.random.default_rng(derive_seed(seed, "whole patients")).permutation(len(patients))
    totals = np.cumsum(sizes[order])
    kept = patients[order[: int(np.abs(totals - count).argmin()) + 1]]
    return images.take(np.flatnonzero(np.isin(images.patients, kept)))


def control(
    name: str,
    real: Cohort,
    train: ImageSet,
    findings: Sequence[str],
    *,
    count: int,
    seed: int,
    conditional: bool = True,
) -> ImageSet:
    """Return `count` images of a control generator that learnt from the real training images.

    They are asked for label vectors of training images drawn at random.

    Args:
        name: A generator that learns in closed form, e.g. "gaussian" or "copycat".
        real: Whose pixel format to use.
        train: What it learns from.
        findings: Names of the labels of `train`.
        count: Image i depends on the seed and i only.
        seed: For learning and for sampling.
        conditional: False for a control that ignores the labels it is asked for, and carries them all the same.
    """
    facts, plugin = real.facts, plugins.find("generators", name)
    options = plugins.resolve(plugin, {} if conditional else {"conditional": False}, reserved=RESERVED)
    model = plugin(shape=facts.shape, labels=tuple(findings), mask_classes=facts.mask_classes, **options)
    known = np.nan_to_num(train.labels).astype(np.float32)
    model.fit(
        to_unit_range(train.images, facts.value_range),
        train.masks,
        known if findings else None,
        seed=derive_seed(seed, name, "fit"),
    )
    drawn = np.random.default_rng(derive_seed(seed, name, "labels")).integers(len(train), size=count)
    asked = known[drawn]
    images, masks, labels = [], [], []
    for made in _sampled(model, asked, seed=derive_seed(seed, name, "sample")):
        images.append(from_unit_range(made.images.float().cpu().numpy(), facts.value_range, facts.dtype))
        masks.append(np.empty(0) if made.masks is None else made.masks.cpu().numpy().astype(np.uint8))
        labels.append(np.empty(0) if made.labels is None else made.labels.cpu().numpy())
    config = {"control": name, "revision": plugin.REVISION, "options": options, "train": train.key}
    ids = np.array([f"{name}{number:08d}" for number in range(count)])
    return ImageSet(
        name if conditional else UNCONDITIONAL,
        np.concatenate(images)[:count],
        np.concatenate(masks)[:count] if facts.mask_classes else None,
        np.concatenate(labels)[:count] if findings and "labels" in model.emits else asked,
        ids,
        ids,
        fingerprint({**config, "count": count, "seed": seed}),
    )


def _sampled(model: Any, asked: Array, *, seed: int) -> Iterator[Any]:
    import torch

    model.eval()
    for first in range(0, len(asked), _CHUNK):
        streams = Streams([derive_seed(seed, "sample", first + place) for place in range(_CHUNK)])
        labels = torch.from_numpy(asked[np.arange(first, first + _CHUNK) % len(asked)]) if model.conditional else None
        with torch.inference_mode():
            yield model.sample(Condition(_CHUNK, first=first, labels=labels), streams)
