"""What the controls that serve real images share: the images, kept to the last grey level, masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..nets.generator import Generator
from ..types import Array, Generated

LEVELS = 65535  # 2 bytes hold every level of uint8 (65535 = 255 * 257) and of uint16 exactly.
OFFSET = 32768


class StoredImages(Generator):
    """A control whose training is to keep the images, in an order drawn from the seed."""

    CONTROL: ClassVar[bool] = True
    ITERATIVE: ClassVar[bool] = False
    emits: ClassVar[frozenset[str]] = frozenset({"labels"})
    fitted: ClassVar[tuple[str, ...]] = ("images", "masks", "findings")
    images: Tensor
    masks: Tensor | None
    findings: Tensor | None

    def __init__(
        self, *, shape: tuple[int, int, int], labels: Sequence[str], mask_classes: Sequence[str], **further: Any
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes, **further)
        self.register_buffer("images", torch.empty((0, *shape), dtype=torch.int16))
        empty = torch.empty((0, *shape[1:]), dtype=torch.uint8) if mask_classes else None
        self.register_buffer("masks", empty)
        self.register_buffer("findings", torch.empty((0, len(labels)), dtype=torch.uint8) if labels else None)

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Keep the images, masks and labels."""
        order = np.random.default_rng(seed).permutation(len(images))
        levels = np.rint((images[order].astype(np.float64) + 1) / 2 * LEVELS) - OFFSET
        self.images = torch.from_numpy(levels.astype(np.int16))
        if masks is not None and self.mask_classes:
            self.masks = torch.from_numpy(masks[order].astype(np.uint8))
        if labels is not None and self.labels:
            self.findings = torch.from_numpy(labels[order].astype(np.uint8))

    def stored(self, positions: Tensor) -> Generated:
        """Return the images at positions (B,) with their masks and labels, where there are any."""
        images = (self.images[positions].double() + OFFSET) / LEVELS * 2 - 1
        masks = None if self.masks is None else self.masks[positions].long()
        return Generated(images.float(), masks, None if self.findings is None else self.findings[positions].float())
