"""Baseline known to be bad: a Gaussian over images and masks. Right means and covariance, no anatomy beyond them."""

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
from ._label_means import LabelMeans
from ._pca import joint_rows, principal_components


class Generator(_Contract):
    """Mean and leading principal components of image and one-hot mask pixels; masks by argmax.

    Where the cohort has labels, each combination of findings has a Gaussian with a mean of its own: that of its images
    where there are at least 16, otherwise, as for a combination never seen, what a ridge regression of the images on
    their findings says. All share one covariance, that of the images about these means (divisor N - 1), so a finding
    moves the mean and changes nothing else.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names.
        mask_classes: Class names.
        components: Principal components kept, at most one less than there are images.
        max_images: Images the components are computed from, drawn at random where there are more; the cost grows with
            their cube.
        conditional: Whether samples show given labels; otherwise labels are ignored.
    """

    CONTROL: ClassVar[bool] = True
    ITERATIVE: ClassVar[bool] = False
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})
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
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        self.components, self.max_images = components, max_images
        pixels = self.channels * shape[1] * shape[2]
        self.register_buffer("factors", torch.zeros(0, pixels))
        if self.conditional:
            self.label_means = LabelMeans(pixels, len(self.labels))
        else:
            self.register_buffer("mean", torch.zeros(pixels))

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Compute means and components.

        Raises:
            InputError: There are fewer than two images.
        """
        if len(images) < 2:
            raise InputError("A covariance needs two images", f"there are {len(images)}", "Add training patients")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[: self.max_images])
        rows = joint_rows(self, images[chosen], None if masks is None else masks[chosen])
        if self.conditional:
            assert labels is not None, "a labelled cohort has labels"
            self.label_means.fit(rows, labels[chosen])
            self.label_means.subtract(rows, labels[chosen])
        found = principal_components(rows, self.components)
        self.factors = torch.from_numpy(found.factors.astype(np.float32))
        if not self.conditional:
            self.mean = torch.from_numpy(found.mean.astype(np.float32))

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples of the Gaussian of their labels."""
        scores = rng.normal(len(self.factors))
        with torch.autocast(scores.device.type, enabled=False):  # A control is not blurred by low precision.
            rows = torch.addmm(self._mean(condition.labels), scores, self.factors)
        return self.separate(rows.view(-1, self.channels, *self.shape[1:]))

    def _mean(self, labels: Tensor | None) -> Tensor:
        if not self.conditional:
            return self.mean
        assert labels is not None, "a conditional generator is given labels"
        mean: Tensor = self.label_means(labels)
        return mean
