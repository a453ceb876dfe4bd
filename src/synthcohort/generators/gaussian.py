"""Baseline known to be bad: a Gaussian over images and masks. Right mean and covariance, no anatomy beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..nets.generator import Generator as _Contract
from ..nets.generator import Streams
from ..types import Array, Condition, Generated
from ._pca import joint_rows, principal_components


class Generator(_Contract):
    """Mean and leading principal components of image and one-hot mask pixels; masks by argmax.

    Args:
        shape: (C, H, W) of an image.
        labels: Ignored.
        mask_classes: Class names.
        components: Principal components kept, at most one less than there are images.
        max_images: Images the components are computed from, drawn at random where there are more; the cost grows with
            their cube.
    """

    CONTROL: ClassVar[bool] = True
    ITERATIVE: ClassVar[bool] = False
    fitted: ClassVar[tuple[str, ...]] = ("factors",)
    mean: Tensor
    factors: Tensor

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        components: int = 64,
        max_images: int = 4096,
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        self.components, self.max_images = components, max_images
        pixels = self.channels * shape[1] * shape[2]
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("factors", torch.zeros(0, pixels))

    def fit(self, images: Array, masks: Array | None, *, seed: int) -> None:
        """Compute mean and components.

        Raises:
            InputError: There are fewer than two images.
        """
        if len(images) < 2:
            raise InputError("A covariance needs two images", f"there are {len(images)}", "Add training patients")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[: self.max_images])
        rows = joint_rows(self, images[chosen], None if masks is None else masks[chosen])
        found = principal_components(rows, self.components)
        self.mean = torch.from_numpy(found.mean.astype(np.float32))
        self.factors = torch.from_numpy(found.factors.astype(np.float32))

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples of the Gaussian."""
        scores = rng.normal(len(self.factors))
        with torch.autocast(scores.device.type, enabled=False):  # A control is not blurred by low precision.
            rows = torch.addmm(self.mean, scores, self.factors)
        return self.separate(rows.view(-1, self.channels, *self.shape[1:]))
