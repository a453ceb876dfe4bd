"""`edm`: a diffusion model in the form of Karras et al. 2022 (arXiv:2206.00364), the textbook one to compare with.

Data plus noise of a level sigma goes through a network between scalings that keep its input, its target and its loss at
unit size (sec. 5, table 1, last column). Samples follow the probability flow from high to low noise by Heun's method
(algorithm 1), with fresh noise added on the way where `churn` is set (algorithm 2). Labels and guidance as in Ho and
Salimans 2022 (arXiv:2207.12598).

It differs from the paper in size: a small U-Net, a learning rate that rises and falls over a training of minutes, an
average of the weights that grows with the training, and no augmentation. The spread of the data is measured where the
paper has 0.5, which is that of its natural images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import BadOption
from ..nets.generator import Streams
from ..types import Array, Condition, Generated
from ._denoiser import MOST_STEPS, Denoiser, Known, Masks, guided
from ._mask_bank import MaskSource

PAPER_SPREAD, LEAST_SPREAD = 0.5, 1e-3


class Generator(Denoiser):
    """Diffusion with the preconditioning, loss weights and sampler of EDM.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names; the network is told which are present.
        mask_classes: Class names.
        masks: "joint": masks are made with the images, as one-hot channels, and taken by argmax; "given": images are
            painted over masks.
        mask_source: Where masks come from that are to be given and are not (see `MaskBank`).
        width: Features at the finest side.
        multipliers: Features of each level as multiples of `width`.
        blocks: Residual blocks per level, on the way down and on the way up.
        patch: Pixels per side that become one position.
        attention_levels: Coarse levels with attention.
        learning_rate: Peak rate of Adam.
        warmup: Share of the training over which the rate rises; it falls to zero as a cosine.
        noise_mean: Mean of the logarithm of the training noise levels.
        noise_spread: Standard deviation of the logarithm of the training noise levels.
        data_spread: Root mean square of the data, in the scalings and the loss weights; None measures it.
        conditional: Tell the network the labels of cohorts that have them.
        label_dropout: Share of the training images whose labels the network is not told, which guidance needs.
    """

    PAPER: ClassVar[str] = "Karras, Aittala, Aila and Laine, 2022, arXiv:2206.00364"
    REVISION: ClassVar[int] = 1
    LOSS: ClassVar[str] = "edm"
    data_spread: Tensor

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        masks: Masks = "joint",
        mask_source: MaskSource = "generated",
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        patch: int = 2,
        attention_levels: int = 1,
        learning_rate: float = 1e-3,
        warmup: float = 0.05,
        noise_mean: float = -1.2,
        noise_spread: float = 1.2,
        data_spread: float | None = None,
        conditional: bool = True,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(
            shape=shape,
            labels=labels if conditional else (),
            mask_classes=mask_classes,
            masks=masks,
            mask_source=mask_source,
            label_dropout=label_dropout,
            learning_rate=learning_rate,
            warmup=warmup,
            views=1,
            betas=(0.9, 0.999),
            unet={
                "width": width,
                "multipliers": multipliers,
                "blocks": blocks,
                "patch": patch,
                "attention_levels": attention_levels,
            },
        )
        if noise_spread <= 0 or (data_spread is not None and data_spread <= 0):
            raise ValueError("noise_spread and data_spread are above 0")
        self.noise_mean, self.noise_spread, self.measures = noise_mean, noise_spread, data_spread is None
        self.register_buffer("data_spread", torch.tensor(PAPER_SPREAD if data_spread is None else data_spread))

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Measure the root mean square of the data, which the scalings are derived from, and fit the mask bank."""
        super().fit(images, masks, labels, seed=seed)
        if self.measures:
            squares = sum(float(np.square(image).sum(dtype=np.float64)) for image in images)
            # Every pixel of a mask channel is -1 or 1.
            marks = (self.channels - self.shape[0]) * self.shape[1] * self.shape[2]
            self.data_spread.fill_(
                max(LEAST_SPREAD, math.sqrt((squares / len(images) + marks) / (images[0].size + marks)))
            )

    def losses(self, data: Tensor, known: Known, noise: Tensor, level: Tensor) -> Tensor:
        """Return the squared error of the denoised data, weighted by (sigma^2 + s^2) / (sigma s)^2 (table 1).

        The weight cancels the scaling of the output: the squared error is that of the network's own target.
        """
        sigma = torch.exp(level * self.noise_spread + self.noise_mean)
        noisy = data + sigma[:, None, None, None] * noise
        weight = (sigma.square() + self.data_spread.square()) / (sigma * self.data_spread).square()
        return self.balanced((self.denoised(noisy, sigma, known) - data).square()) * weight

    def denoised(self, noisy: Tensor, level: Tensor, known: Known) -> Tensor:
        """Return D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), eq. 7, of noisy (B, channels, H, W)."""
        skip, out, scale, time = preconditioning(level, self.data_spread)
        wide = (slice(None), None, None, None)
        return skip[wide] * noisy + out[wide] * self.answer([scale[wide] * noisy], time, known)

    def sample(
        self,
        condition: Condition,
        rng: Streams,
        *,
        steps: int = 18,
        guidance: float = 1.0,
        lowest: float = 0.002,
        highest: float = 80.0,
        bend: float = 7.0,
        churn: float = 0.0,
        churn_from: float = 0.0,
        churn_to: float | None = None,
        churn_noise: float = 1.0,
    ) -> Generated:
        """Return samples by Heun's method; the network runs 2 `steps` - 1 times.

        Args:
            condition: How many, and the labels and masks they show.
            rng: One stream per sample.
            steps: Noise levels; after the last there is none.
            guidance: Weight of what the labels add: 1 is the distribution that was learnt, more shows findings more
                clearly and varies less. Anything but 1 doubles the cost.
            lowest: Last noise level (sigma_min).
            highest: First noise level (sigma_max).
            bend: How much closer the levels lie at the low end (rho, eq. 5).
            churn: Noise that is added anew over the whole path (S_churn); 0 for none.
            churn_from: Lowest level at which noise is added (S_tmin).
            churn_to: Highest level at which noise is added (S_tmax); None for all from `churn_from`.
            churn_noise: Spread of the added noise (S_noise).

        Raises:
            BadOption: An option is out of its range.
        """
        if not 1 <= steps <= MOST_STEPS:
            raise BadOption(f"Option 'steps' is from 1 to {MOST_STEPS}", str(steps), "Give such a number")
        # Beyond these the levels, or their squares in float32, are no longer numbers.
        if not (1e-6 <= lowest < highest <= 1e6 and 0.1 <= bend <= 100):
            rule = "'lowest' is below 'highest', both are from 1e-6 to 1e6, and 'bend' is from 0.1 to 100"
            raise BadOption(rule, f"{lowest}, {highest} and {bend}", "Give such numbers")
        if min(churn, churn_from, churn_noise) < 0:
            raise BadOption(
                "What 'churn' is set to is not negative", f"{churn}, {churn_from}, {churn_noise}", "See `list`"
            )
        known, masks = self.asked(condition, rng, guidance)
        levels = noise_levels(steps, lowest, highest, bend)
        x = levels[0] * rng.normal(self.channels, *self.shape[1:]).contiguous(memory_format=torch.channels_last)
        for now, then in itertools.pairwise(levels):
            if churn and churn_from <= now and (churn_to is None or now <= churn_to):
                raised = now * (1 + min(churn / steps, math.sqrt(2) - 1))
                x = x + math.sqrt(raised**2 - now**2) * churn_noise * rng.normal(*x.shape[1:])
                now = raised
            slope = self._slope(x, now, known, guidance)
            guess = x + (then - now) * slope
            x = guess if not then else x + (then - now) / 2 * (slope + self._slope(guess, then, known, guidance))
        return self.made(x, masks)

    def _slope(self, x: Tensor, level: float, known: Known, guidance: float) -> Tensor:
        levels = torch.full((len(x),), level, device=x.device)
        return (x - guided(lambda told: self.denoised(x, levels, told), known, guidance)) / level


def preconditioning(level: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return c_skip, c_out, c_in and c_noise (table 1) of noise levels (B,) for data of a spread."""
    total = level.square() + spread.square()
    return spread.square() / total, level * spread / total.sqrt(), total.rsqrt(), level.log() / 4


def noise_levels(steps: int, lowest: float, highest: float, bend: float) -> list[float]:
    """Return `steps` falling noise levels from `highest` to `lowest`, evenly spaced in their root, and 0 (eq. 5)."""
    first, last = highest ** (1 / bend), lowest ** (1 / bend)
    return [(first + step / max(steps - 1, 1) * (last - first)) ** bend for step in range(steps)] + [0.0]
