"""Control: two training images laid over each other, what a generator does that interpolates and learns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from scipy.special import betaincinv

from ..errors import InputError
from ..nets.generator import Streams
from ..types import Array, Condition, Generated
from ._stored import StoredImages


class Generator(StoredImages):
    """Each sample is w * a + (1 - w) * b of two random training images, w from Beta(alpha, alpha).

    It lies between memorising and generalising. An image of which nearly all is one training image is a copy, and a
    search for copies must find more of them than among patients who were never trained on; one in the middle is a
    double exposure that no patient has and that copies two. Distances in feature spaces are small although nothing was
    learnt. The mask is where the classes of the mixed one-hot maps are largest (Zhang et al. mix the maps themselves):
    that of the heavier image unaltered, so an audit of masks must find that every mask is a copy. The labels are those
    of the heavier image, too.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names.
        mask_classes: Class names.
        alpha: Parameter of the Beta distribution: 1 draws every weight alike; near 0 nearly all are copies of one
            image, far above 1 nearly all are halves.
    """

    PAPER: ClassVar[str] = "Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv:1710.09412 (eq. 1; there to train classifiers)"

    def __init__(
        self, *, shape: tuple[int, int, int], labels: Sequence[str], mask_classes: Sequence[str], alpha: float = 1.0
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        if alpha <= 0:
            raise ValueError("alpha is above 0")
        self.alpha = alpha

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Keep the images, masks and labels.

        Raises:
            InputError: There are fewer than two images.
        """
        if len(images) < 2:
            raise InputError("Mixing needs two images", f"there are {len(images)}", "Add training patients")
        super().fit(images, masks, labels, seed=seed)

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return mixtures of two training images each, with mask and labels of the heavier one."""
        count = len(self.images)
        one, apart, level = rng.integers(count), rng.integers(count - 1), rng.uniform().cpu().double()
        drawn = torch.from_numpy(betaincinv(self.alpha, self.alpha, level.numpy())).float().to(one.device)
        weight = torch.maximum(drawn, 1 - drawn)  # The first image is the heavier one; both are drawn alike.
        heavy, light = self.stored(one), self.stored((one + 1 + apart) % count)
        return replace(heavy, images=torch.lerp(light.images, heavy.images, weight[:, None, None, None]))
