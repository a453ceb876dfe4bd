"""`flow`: rectified flow with a U-Net, images and masks jointly, told the findings where there are labels.

Straight paths x_t = (1 - t) z + t x from noise z to data x, velocity v = x - z (Liu et al. 2022, arXiv:2209.03003,
eq. 1; Lipman et al. 2022, arXiv:2210.02747). The velocity at x_t is (E[x | x_t] - x_t) / (1 - t). The network starts
from the posterior mean of a Gaussian with the data's mean, its leading principal components and one variance for the
rest, and learns what that Gaussian leaves of x, scaled to unit spread: the preconditioning of Karras et al. 2022
(arXiv:2206.00364, table 1) with a covariance in place of one variance. Times are logit-normal (Esser et al. 2024,
arXiv:2403.03206, sec. 3.1). Labels and guidance as in Ho and Salimans 2022 (arXiv:2207.12598).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BadOption, InputError
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..nets.unet import GROUP_CHANNELS, TimeUNet
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._prior import GaussianPrior

DATA_SPREAD = 0.5  # of the data's pixels, roughly; only scales the network's input
MAX_PRIOR_IMAGES = 4096


class Generator(Contract):
    """Rectified-flow U-Net.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names; the network is told which are present.
        mask_classes: Class names; when given, masks are generated as one-hot channels and taken by argmax.
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

    REVISION: ClassVar[int] = 1
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        patch: int = 2,
        attention_levels: int = 1,
        learning_rate: float = 1e-3,
        warmup: float = 0.02,
        time_mean: float = 0.0,
        time_spread: float = 1.0,
        components: int = 128,
        conditional: bool = True,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        if width < GROUP_CHANNELS or width % GROUP_CHANNELS or min(components, blocks, patch, *multipliers) < 1:
            rule = f"width is a multiple of {GROUP_CHANNELS}; components, blocks, patch and multipliers are positive"
            raise ValueError(rule)
        if not 0 <= label_dropout < 1:
            raise ValueError("label_dropout is a share from 0 to below 1")
        factor = patch * 2 ** (len(multipliers) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(f"{shape[1]}x{shape[2]} is not a multiple of {factor} (patch x halvings)")
        self.learning_rate, self.warmup = learning_rate, warmup
        self.time_mean, self.time_spread, self.label_dropout = time_mean, time_spread, label_dropout
        self.prior = GaussianPrior(self.channels, shape[1], shape[2], components, len(self.labels))
        self.network = TimeUNet(
            2 * self.channels,
            self.channels,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            patch=patch,
            attention_levels=attention_levels,
            labels=len(self.labels),
        )

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Compute the Gaussian that the network starts from.

        Raises:
            InputError: There are fewer than two images.
        """
        if len(images) < 2:
            raise InputError("A covariance needs two images", f"there are {len(images)}", "Add training patients")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_PRIOR_IMAGES])
        index = None if masks is None else torch.from_numpy(masks[chosen].astype(np.int64))
        data = self.joint(Batch(torch.from_numpy(images[chosen]), index, None, torch.from_numpy(chosen)))
        self.prior.fit(data, torch.from_numpy(labels[chosen]) if self.conditional and labels is not None else None)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam over the network."""
        return {"flow": torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the network."""
        return {"network": self.network}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make one step on the velocity loss, weighted so that every time counts alike at the start."""
        data = self.joint(batch)
        noise = rng.normal(*data.shape)
        time = torch.sigmoid(rng.normal(len(data)) * self.time_spread + self.time_mean)
        told = None
        if self.conditional:
            assert batch.labels is not None, "a labelled cohort has labels"
            told = _told(batch.labels, rng.uniform(len(data)) >= self.label_dropout)
        x_t = torch.lerp(noise, data, time[:, None, None, None])
        guess, spread = self.prior.posterior(x_t, time, told)
        loss = (self._residual(x_t, guess, time, told) - (data - guess) / spread).square().mean()
        update("flow", loss, lr=self.learning_rate * schedule(clock.fraction, self.warmup))
        return {"flow": loss}

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
        if steps < 1:
            raise BadOption("Option 'steps' is at least 1", str(steps), "Give a positive number")
        if guidance != 1 and not self.conditional:
            raise BadOption("Guidance needs labels", f"guidance is {guidance}, there are none", "Leave guidance out")
        if guidance != 1 and not self.label_dropout:
            rule = "Guidance needs a network that was trained without labels too"
            raise BadOption(rule, "label_dropout was 0", "Leave guidance out, or train again with label_dropout")
        if guidance <= 0:
            raise BadOption("Option 'guidance' is above 0", str(guidance), "Give 1 to 4")
        told = None
        if self.conditional:
            assert condition.labels is not None, "a conditional generator is asked for labels"
            told = _told(condition.labels, torch.ones_like(condition.labels[:, 0], dtype=torch.bool))
        white = rng.normal(self.channels, *self.shape[1:]).contiguous(memory_format=torch.channels_last)
        times = torch.linspace(0, 1, steps + 1).tolist()[:-1]
        for now, then in itertools.pairwise(times):
            velocity = self._white_velocity(white, now, told, guidance)
            guess = white + (then - now) * velocity
            white = white + (then - now) / 2 * (velocity + self._white_velocity(guess, then, told, guidance))
        # A short training leaves noise that the last interval would keep; its posterior mean does not.
        guess, learnt = self.denoised(self.prior.colour(white, times[-1], told), times[-1], told, guidance)
        return self.separate(guess + learnt)

    def denoised(
        self, x_t: Tensor, time: float, told: Tensor | None = None, guidance: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return what the Gaussian says of the data behind x_t (B, C, H, W) at one time in [0, 1), and what to add."""
        times = torch.full((len(x_t),), time, device=x_t.device)
        guess, spread = self.prior.posterior(x_t, times, told)
        learnt = spread * self._residual(x_t, guess, times, told)
        if told is not None and guidance != 1:
            untold, without = self.denoised(x_t, time, torch.zeros_like(told))
            learnt = guidance * learnt + (1 - guidance) * (untold + without - guess)
        return guess, learnt

    def _white_velocity(self, white: Tensor, time: float, told: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        learnt = self.denoised(self.prior.colour(white, time, told), time, told, guidance)[1]
        return self.prior.scaled(learnt / (1 - time), time, -0.5)

    def _residual(self, x_t: Tensor, guess: Tensor, time: Tensor, told: Tensor | None) -> Tensor:
        wide = time[:, None, None, None]
        scaled = x_t / (wide.square() * DATA_SPREAD**2 + (1 - wide).square()).sqrt()
        out: Tensor = self.network(torch.cat([scaled, guess], 1), time, told)
        return out.float()


def _told(labels: Tensor, known: Tensor) -> Tensor:
    """Return (B, L + 1): labels (B, L) and a 1, or all 0 where `known` (B,) is false."""
    return torch.cat([labels, torch.ones_like(labels[:, :1])], 1) * known[:, None]


def schedule(fraction: float, warmup: float) -> float:
    """Return the learning rate's share of its peak: a linear rise over `warmup`, then a cosine to zero."""
    if fraction < warmup:
        return fraction / warmup
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))
