"""How the chest and brain study trains its classifier: as its text says, or as its released code does.

Source: DuMont Schütte et al. 2021 (npj Digital Medicine), supplement S.4 (`protocol=paper`), and the released code
(`protocol=code`), where it differs. Both: epochs of at most 5,000 images, Adam at 1e-4 with a tenth of it after two
epochs without a better validation AUC, and the end after three. The class weights that the code computes are ignored by
its library, so plain binary cross-entropy holds for both (C23).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..runs import derive_seed
from ..types import Array

BATCH = 48
_EPOCH_IMAGES, _EPOCHS = 5000, 100
_LEARNING_RATE, _LOWEST_RATE, _DECAY = 1e-4, 1e-8, 0.1
_WAIT_TO_DECAY, _WAIT_TO_STOP = 2, 3


class Epochs:
    """The order of a fit.

    Attributes:
        images: Of one epoch; no image twice.
        total: Of all epochs.
        patience: Images of the epochs without a better validation AUC after which the fit ends.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed, self._batch = count, seed, min(count, BATCH)
        self.images = max(min(count, _EPOCH_IMAGES) // BATCH, 1) * self._batch
        self.total, self.patience = _EPOCHS * self.images, _WAIT_TO_STOP * self.images

    def __iter__(self) -> Iterator[Array]:
        """Yield the positions of each step, epoch after epoch."""
        for epoch in itertools.count():
            order = np.random.default_rng(derive_seed(self._seed, "task order", epoch)).permutation(self._count)
            yield from order[: self.images].reshape(-1, self._batch)


def optimiser_of(network: nn.Module) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.ReduceLROnPlateau]:
    """Return Adam, and what lowers its rate when it is told the validation AUC of an epoch."""
    adam = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam,
        mode="max",
        factor=_DECAY,
        patience=_WAIT_TO_DECAY - 1,  # PyTorch counts the epochs that are forgiven
        threshold=0.0,
        threshold_mode="abs",
        min_lr=_LOWEST_RATE,
        eps=0.0,
    )
    return adam, plateau


def flipped(images: Tensor, seed: int) -> Tensor:
    """Return images (B, C, H, W), each mirrored left to right with probability 0.5 (C22: `code` only)."""
    chosen = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def whole_batches(count: int) -> int:
    """Return how many of the validation images the code looks at: it drops the last partial batch.

    Raises:
        InputError: None are left.
    """
    if count < BATCH:
        rule = f"protocol=code drops the last partial validation batch of {BATCH}"
        raise InputError(rule, f"{count} validation images leave none", "Use protocol=paper")
    return count // BATCH * BATCH


def validation_auc(values: Array, *, code: bool) -> float:
    """Return the mean AUC of one look; under `code` a finding with one class counts 0, else it is left out.

    Raises:
        InputError: No finding has a value: there is nothing to stop by.
    """
    there = np.isfinite(values)
    if not there.any():
        rule = "The study's protocol stops by the validation AUC"
        offender = "no finding has both values among the validation images"
        raise InputError(rule, offender, "Use protocol=recommended")
    return float(np.where(there, values, 0.0).mean() if code else values[there].mean())
