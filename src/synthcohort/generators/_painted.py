"""What the generators that paint images over masks share: mask bank, the plan they paint by, perceptual loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..nets.generator import Generator
from ..types import Array
from . import _perceptual
from ._mask_bank import MaskBank, MaskSource

MIN_SIDE = 16


class Painter(Generator):
    """Base of the painters.

    The plan is the mask, a channel of 0 and 1 a class, and the labels, a constant channel of 0 or 1 each.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names that it is told.
        mask_classes: Class names.
        mask_source: Where masks come from when none are given; see `MaskBank`.
        perceptual: Weight of the perceptual loss.

    Raises:
        InputError: The images are not square, their side is no power of two from 16, or they have no masks.
        BadOption: The perceptual loss cannot be had for such images.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"labels", "masks"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        mask_source: MaskSource,
        perceptual: float,
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes, given_masks=True)
        _check_side(*shape[1:])
        _perceptual.check_weight(perceptual, shape[0])
        self.perceptual, self._vgg = perceptual, None
        self.register_buffer("vgg_sha256", torch.zeros(32, dtype=torch.uint8) if perceptual else None)
        self.bank = MaskBank(shape=shape, mask_classes=mask_classes, labels=labels, source=mask_source)

    vgg_sha256: Tensor
    _vgg: _perceptual.Perceptual | None

    @property
    def plan_channels(self) -> int:
        """Return the channels of the plan."""
        return len(self.mask_classes) + len(self.labels)

    def plan(self, masks: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return (B, plan_channels, H, W) float32 of masks (B, H, W) and, where it is told labels, these (B, L)."""
        assert masks is not None, "a painter is given masks"
        shown = self.onehot(masks)
        if not self.conditional:
            return shown
        assert labels is not None, "a conditional generator is given labels"
        return torch.cat([shown, labels[:, :, None, None].expand(-1, -1, *shown.shape[2:])], 1)

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Fill the mask bank, and see that the weights of the perceptual loss are there.

        Raises:
            InputError: They are not.
        """
        assert masks is not None, "a cohort with masks"
        if self.perceptual:
            self._vgg = _perceptual.load(self.vgg_sha256)
        self.bank.fit(masks, labels if self.conditional else None, seed=seed)

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return what of the mask bank is averaged."""
        return {f"bank.{name}": module for name, module in self.bank.averaged().items()}

    def perceptual_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the perceptual loss without its weight; a run that goes on loads its network here.

        Raises:
            InputError: The network's weights are not there, or not those the run began with.
        """
        if self._vgg is None:
            self._vgg = _perceptual.load(self.vgg_sha256)
        return self._vgg(fake, real)


def _check_side(height: int, width: int) -> None:
    if height != width or height < MIN_SIDE or height & (height - 1):
        raise InputError(
            f"Painters make square images with a power of two from {MIN_SIDE} as side",
            f"these are {height}x{width}",
            "Prepare the cohort with --size 32, 64, 128 or 256",
        )
