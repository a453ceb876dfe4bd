"""`flow`: rectified flow with a U-Net; images with their masks, or over given ones, told the findings if there are any.

Straight paths x_t = (1 - t) z + t x from noise z to data x, velocity v = x - z (Liu et al. 2022, arXiv:2209.03003,
eq. 1; Lipman et al. 2022, arXiv:2210.02747). The velocity at x_t is (E[x | x_t] - x_t) / (1 - t). The network starts
from the posterior mean of a Gaussian with the data's mean, its leading principal components and one variance for the
rest, and learns what that Gaussian leaves of x, scaled to unit spread: the preconditioning of Karras et al. 2022
(arXiv:2206.00364, table 1) with a covariance in place of one variance. Times are logit-normal (Esser et al. 2024,
arXiv:2403.03206, sec. 3.1). Labels and guidance as in Ho and Salimans 2022 (arXiv:2207.12598).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import BadOption, InputError
from ..nets.generator import Streams
from ..types import Array, Batch, Condition, Generated
from ._denoiser import MOST_STEPS, Denoiser, Known, Masks, guided
from ._mask_bank import MaskSource
from ._prior import GaussianPrior

DATA_SPREAD = 0.5  # of the data's pixels, roughly; only scales the network's input
MAX_PRIOR_IMAGES = 4096
UNTOLD = Known()


class Generator(Denoiser):
    """Rectified-flow U-Net.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names; the network is told which are present.
        mask_classes: Class names.
        masks: "joint": masks are made with the images, as one-hot channels, and taken by argmax; "given": images are
            painted over masks.
        mask_source: Where masks come from that are to be given and are not (see `MaskBank`).
        width: Features at the finest side.
        multipliers: Features of each level as multiples of `width`.
        blocks: Residual blocks per level.
        patch: Pixels per side that become one position.
        attention_levels: Coarse levels with attention.
        learning_rate: Peak rate of Adam.
        warmup: Share of the training over which the rate rises; it falls to zero as a cosine.
        time_mean: Mean of the logit of the training times.
        time_spread: Standard deviation of the logit of the training times.
        components: Principal components of the Gaussian that the network starts from.
        conditional: Tell the network the labels of cohorts that have them.
        label_dropout: Share of the training images whose labels the network is not told, which guidance needs.
    """

    PAPER: ClassVar[str] = "Liu, Gong and Liu, 2022, arXiv:2209.03003; Lipman et al., 2022, arXiv:2210.02747"
    REVISION: ClassVar[int] = 2
    LOSS: ClassVar[str] = "flow"

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
        time_mean: float = 0.0,
        time_spread: float = 1.0,
        components: int = 128,
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
            views=2,
            betas=(0.9, 0.99),
            unet={
                "width": width,
                "multipliers": multipliers,
                "blocks": blocks,
                "patch": patch,
                "attention_levels": attention_levels,
            },
        )
        if components < 1:
            raise ValueError("components is positive")
        self.time_mean, self.time_spread = time_mean, time_spread
        self.prior = GaussianPrior(self.channels, shape[1], shape[2], components, len(self.labels))

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Compute the Gaussian that the network starts from, and fit the mask bank.

        Raises:
            InputError: There are fewer than three images.
        """
        if len(images) < 3:
            rule = "A covariance that is tried on other images needs three images"
            raise InputError(rule, f"there are {len(images)}", "Add training patients")
        super().fit(images, masks, labels, seed=seed)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_PRIOR_IMAGES])
        index = None if masks is None else torch.from_numpy(masks[chosen].astype(np.int64))
        data = self.joint(Batch(torch.from_numpy(images[chosen]), index, None, torch.from_numpy(chosen)))
        self.prior.fit(data, torch.from_numpy(labels[chosen]) if self.conditional and labels is not None else None)

    def losses(self, data: Tensor, known: Known, noise: Tensor, level: Tensor) -> Tensor:
        """Return the velocity loss, weighted so that every time counts alike at the start."""
        time = torch.sigmoid(level * self.time_spread + self.time_mean)
        x_t = torch.lerp(noise, data, time[:, None, None, None])
        guess, spread = self.prior.posterior(x_t, time, known.labels)
        return self.balanced((self._residual(x_t, guess, time, known) - (data - guess) / spread).square())

    def sample(self, condition: Condition, rng: Streams, *, steps: int = 8, guidance: float = 1.0) -> Generated:
        """Return samples: Heun's method over all of `steps` intervals but the last, then what is expected behind x_t.

        The path is followed in coordinates that the Gaussian whitens. In them its own velocity vanishes, so it is
        integrated exactly and only what the network adds is approximated (an exponential integrator).

        Args:
            condition: How many, and the labels they show.
            rng: One stream per sample.
            steps: Intervals; the network runs twice in each but the last.
            guidance: Weight of what the labels add: 1 is the distribution that was learnt, more shows findings more
                clearly and varies less. Anything but 1 doubles the cost.
        """
        if not 1 <= steps <= MOST_STEPS:
            raise BadOption(f"Option 'steps' is from 1 to {MOST_STEPS}", str(steps), "Give such a number")
        known, masks = self.asked(condition, rng, guidance)
        white = rng.normal(self.channels, *self.shape[1:]).contiguous(memory_format=torch.channels_last)
        times = torch.linspace(0, 1, steps + 1).tolist()[:-1]
        for now, then in itertools.pairwise(times):
            velocity = self._white_velocity(white, now, known, guidance)
            guess = white + (then - now) * velocity
            white = white + (then - now) / 2 * (velocity + self._white_velocity(guess, then, known, guidance))
        # A short training leaves noise that the last interval would keep; its posterior mean does not.
        guess, learnt = self.denoised(self.prior.colour(white, times[-1], known.labels), times[-1], known, guidance)
        return self.made(guess + learnt, masks)

    def denoised(self, x_t: Tensor, time: float, known: Known = UNTOLD, guidance: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return what the Gaussian says of the data behind x_t (B, C, H, W) at one time in [0, 1), and what to add."""
        times = torch.full((len(x_t),), time, device=x_t.device)
        guess = self.prior.posterior(x_t, times, known.labels)[0]
        return guess, guided(lambda told: self._expected(x_t, times, told), known, guidance) - guess

    def _expected(self, x_t: Tensor, times: Tensor, known: Known) -> Tensor:
        guess, spread = self.prior.posterior(x_t, times, known.labels)
        return guess + spread * self._residual(x_t, guess, times, known)

    def _white_velocity(self, white: Tensor, time: float, known: Known = UNTOLD, guidance: float = 1.0) -> Tensor:
        learnt = self.denoised(self.prior.colour(white, time, known.labels), time, known, guidance)[1]
        return self.prior.scaled(learnt / (1 - time), time, -0.5)

    def _residual(self, x_t: Tensor, guess: Tensor, time: Tensor, known: Known) -> Tensor:
        wide = time[:, None, None, None]
        scaled = x_t / (wide.square() * DATA_SPREAD**2 + (1 - wide).square()).sqrt()
        return self.answer([scaled, guess], time, known)
