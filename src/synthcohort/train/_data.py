"""What a generator is shown: whole splits for closed-form learning, batches in a derived order for steps."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import runs
from .._labels import known_labels, stored_combinations
from ..cohort import Cohort
from ..errors import Mismatch
from ..parallel import rank, world
from ..progress import say
from ..types import Array, Batch, to_unit_range

RESIDENT_SHARE = 0.4
"""Of a device's free memory that stored pixels may take."""


def training_positions(cohort: Cohort, split: str) -> Array:
    """Return the positions of the samples a generator may learn from.

    The controls that serve reference patients get the second half of them; the first half is what distances are
    measured against.

    Raises:
        Mismatch: The split is empty.
    """
    positions = cohort.reference_half("B") if split == "reference" else cohort.split(split, repeats=True)
    if not len(positions):
        raise Mismatch("Training needs samples", f"the {split} split of {cohort.path.name} is empty", "Prepare it anew")
    return positions


def training_labels(cohort: Cohort, positions: Array, *, quiet: bool = False) -> Array | None:
    """Return (N, L) float32 0/1 labels, unknown ones 0, or None when the cohort has none; says so unless `quiet`."""
    if not cohort.facts.labels:
        return None
    unknown = int(np.isnan(cohort.label_matrix()[positions]).sum())
    if unknown and not quiet:
        say(
            f"Note: {unknown} unknown findings of {len(positions)} training images are shown to the generator as"
            " absent; a classifier of real images leaves them out, so a gap may be due to that."
        )
    return known_labels(cohort, positions, cohort.facts.labels)


def all_pixels(cohort: Cohort, positions: Array) -> tuple[Array, Array | None]:
    """Return images (N, C, H, W) float32 in [-1, 1] and masks (N, H, W) uint8 or None."""
    images = to_unit_range(cohort.images[positions], cohort.facts.value_range)
    return images, None if cohort.masks is None else np.asarray(cohort.masks[positions])


def batch_positions(count: int, images_seen: int, batch: int, seed: int) -> Array:
    """Return which of `count` samples the next batch holds: every epoch is a permutation derived from its number."""
    epochs, places = np.divmod(np.arange(images_seen, images_seen + batch), count)
    parts = [_epoch(count, int(epoch), seed)[places[epochs == epoch]] for epoch in np.unique(epochs)]
    return np.concatenate(parts).astype(np.int64)


@functools.lru_cache(maxsize=2)
def _epoch(count: int, epoch: int, seed: int) -> Array:
    """Return the order of one epoch; a batch may need that of the next one, too."""
    return np.random.default_rng(runs.derive_seed(seed, "order", epoch)).permutation(count)


class Batches:
    """The batches of a training, in their derived order; with several processes, each one's share.

    On a CUDA device with room for them the stored pixels lie there as bytes: nothing is copied while training.
    Elsewhere they are gathered from the memory-mapped file.

    Args:
        cohort: The cohort.
        positions: Positions of the training samples in it.
        labels: (N, L) labels of `training_labels`, or None.
        batch: Images of a step, over all processes.
        seed: Run seed.
        device: Where the batches go.
        resident: Whether the pixels lie on the device; None decides by its memory.
    """

    def __init__(
        self,
        cohort: Cohort,
        positions: Array,
        labels: Array | None,
        *,
        batch: int,
        seed: int,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        self._cohort, self._positions, self._batch, self._seed, self._device = cohort, positions, batch, seed, device
        self._labels = None if labels is None else torch.from_numpy(labels).to(device)
        bytes_ = cohort.images[:1].nbytes * len(positions)
        if resident is None:
            resident = device.type == "cuda" and bytes_ < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self._pixels: Tensor | None = None
        self._masks: Tensor | None = None
        if resident:
            self._pixels, self._masks = self._moved()

    def after(self, seen: int) -> Batch:
        """Return the batch that follows `seen` images, on the device."""
        order = batch_positions(len(self._positions), seen, self._batch, self._seed)[rank() :: world()]
        chosen = torch.from_numpy(order).to(self._device)
        images, masks = self._gathered(order) if self._pixels is None else self._picked(chosen)
        return Batch(images, masks, None if self._labels is None else self._labels[chosen], chosen)

    def _moved(self) -> tuple[Tensor, Tensor | None]:
        """Return the training images (N, H, W, C) and masks (N, H, W) as bytes on the device."""
        images = np.moveaxis(self._cohort.images[self._positions], 1, -1)
        if images.dtype != np.uint8:  # torch does little with unsigned words
            images = images.astype(np.int32)
        masks = self._cohort.masks
        held = None if masks is None else torch.from_numpy(masks[self._positions]).to(self._device)
        return torch.from_numpy(np.ascontiguousarray(images)).to(self._device), held

    def _picked(self, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        assert self._pixels is not None, "the pixels are on the device"
        low, high = self._cohort.facts.value_range
        images = self._pixels[chosen].float()
        images = images.sub_(low).mul_(2 / (high - low)).sub_(1)  # as `to_unit_range`, step by step
        return images.permute(0, 3, 1, 2), None if self._masks is None else self._masks[chosen].long()

    def _gathered(self, order: Array) -> tuple[Tensor, Tensor | None]:
        rows = self._positions[order]
        # Channels last while a pixel is a byte: torch's own conversion takes longer than all the rest.
        pixels = np.ascontiguousarray(np.moveaxis(self._cohort.images[rows], 1, -1))
        images = torch.from_numpy(to_unit_range(pixels, self._cohort.facts.value_range)).permute(0, 3, 1, 2)
        masks = self._cohort.masks
        index = None if masks is None else torch.from_numpy(masks[rows].astype(np.int64)).to(self._device)
        return images.to(self._device), index


def facts_for_samples(cohort: Cohort, positions: Array) -> dict[str, Any]:
    """Return what a sampled cohort will need to know of the training cohort; nothing of a patient."""
    columns = ["spacing_y_mm", "spacing_x_mm"]
    known = cohort.samples[columns].drop_duplicates() if set(columns) <= set(cohort.samples) else None
    one = None if known is None or len(known) != 1 or known.isna().any(axis=None) else known.iloc[0].tolist()
    content = json.loads((cohort.path / "cohort.json").read_text(encoding="utf-8"))
    kept = ("name", "modality", "shape", "dtype", "value_range", "mask_classes", "labels", "pixel_rules", "licence")
    # A synthetic cohort is meant to leave: no count of fewer than ten patients goes with it.
    counts = {split: count["images"] if count["patients"] >= 10 else "<10" for split, count in cohort.counts().items()}
    return {
        **{key: content.get(key) for key in kept},
        "notice": content.get("notice", ""),
        "spacing_mm": one,
        "training_counts": counts,
        "label_combinations": stored_combinations(cohort, positions, cohort.facts.labels),
    }
