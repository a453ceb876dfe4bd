"""Control: a network trained to reproduce its training set, what an overfitted generator looks like to an audit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from ..errors import InputError
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as _Contract
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._pca import joint_rows, principal_components


class Generator(_Contract):
    """A perceptron from one code per training image to the pixels of that image, by least squares.

    A code is the image's own whitened principal component scores: they are uncorrelated, so the fit is well conditioned
    and a training set is learnt by heart in seconds.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names; a reproduction carries the labels of its image.
        mask_classes: Class names; masks are reproduced as one-hot channels.
        code: Length of a code; where there are fewer than `code` + 1 images the rest of it is 0.
        hidden: Width of the hidden layer.
        learning_rate: Learning rate of Adam at the start; it falls to 0 along a cosine.
    """

    CONTROL: ClassVar[bool] = True
    emits: ClassVar[frozenset[str]] = frozenset({"labels"})
    fitted: ClassVar[tuple[str, ...]] = ("codes", "findings")
    codes: Tensor
    findings: Tensor | None

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        code: int = 512,
        hidden: int = 1024,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        self.code, self.learning_rate = code, learning_rate
        joint = (self.channels, *shape[1:])
        self.decoder = nn.Sequential(
            nn.Linear(code, hidden), nn.GELU(), nn.Linear(hidden, math.prod(joint)), nn.Unflatten(1, joint)
        )
        self.register_buffer("codes", torch.zeros(0, code))
        self.register_buffer("findings", torch.empty((0, len(labels)), dtype=torch.uint8) if labels else None)

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Compute a code for each image and keep its labels.

        Raises:
            InputError: There are fewer than two images.
        """
        if len(images) < 2:
            raise InputError("The memoriser needs two images", f"there are {len(images)}", "Add training patients")
        scores = principal_components(joint_rows(self, images, masks), self.code).scores.astype(np.float32)
        self.codes = pad(torch.from_numpy(scores), (0, self.code - scores.shape[1]))
        if labels is not None and self.labels:
            self.findings = torch.from_numpy(labels.astype(np.uint8))

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimiser "decoder"."""
        return {"decoder": torch.optim.Adam(self.decoder.parameters(), lr=self.learning_rate, fused=True)}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the decoder."""
        return {"decoder": self.decoder}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make one least-squares step on image and mask channels."""
        loss = mse_loss(self.decoder(self.codes[batch.positions]).float(), self.joint(batch))
        update("decoder", loss, lr=self.learning_rate * (1 + math.cos(math.pi * clock.fraction)) / 2)
        return {"reconstruction": loss.detach()}

    def sample(self, condition: Condition, rng: Streams, *, code_noise: float = 0.0) -> Generated:
        """Return reproductions of training images drawn at random.

        Args:
            condition: How many.
            rng: One stream per sample.
            code_noise: Standard deviation of noise added to the code, whose own is 1; between the images lies no image.
        """
        drawn = rng.integers(len(self.codes))
        made = self.separate(self.decoder(self.codes[drawn] + code_noise * rng.normal(self.code)))
        return made if self.findings is None else replace(made, labels=self.findings[drawn].float())
