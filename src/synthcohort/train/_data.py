"""What a generator is shown: whole splits for closed-form learning, batches in a derived order for steps."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import torch

from .. import runs
from .._labels import known_labels, stored_combinations
from ..cohort import Cohort
from ..errors import Mismatch
from ..progress import say
from ..types import Array, Batch, to_unit_range


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


def training_labels(cohort: Cohort, positions: Array) -> Array | None:
    """Return (N, L) float32 0/1 labels, unknown ones 0, or None when the cohort has none."""
    if not cohort.facts.labels:
        return None
    unknown = int(np.isnan(cohort.label_matrix()[positions]).sum())
    if unknown:
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


def load_batch(
    cohort: Cohort, positions: Array, labels: Array | None, seen: int, batch: int, seed: int, device: torch.device
) -> Batch:
    """Return the batch that follows `seen` images, on `device`; `labels` are those of `training_labels`."""
    chosen = batch_positions(len(positions), seen, batch, seed)
    rows = positions[chosen]
    # Channels last while a pixel is a byte: torch's own conversion takes longer than all the rest.
    pixels = np.ascontiguousarray(np.moveaxis(cohort.images[rows], 1, -1))
    images = torch.from_numpy(to_unit_range(pixels, cohort.facts.value_range)).permute(0, 3, 1, 2)
    masks = None if cohort.masks is None else torch.from_numpy(cohort.masks[rows].astype(np.int64)).to(device)
    shown = None if labels is None else torch.from_numpy(labels[chosen]).to(device)
    return Batch(images.to(device), masks, shown, torch.from_numpy(chosen).to(device))


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
