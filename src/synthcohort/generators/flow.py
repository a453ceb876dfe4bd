"""`flow`: rectified flow with a U-Net, images and masks jointly.

Straight paths x_t = (1 - t) z + t x from noise z to data x, velocity v = x - z (Liu et al. 2022, arXiv:2209.03003,
eq. 1; Lipman et al. 2022, arXiv:2210.02747). The network learns what a Gaussian of the data's spread cannot explain of v: the
preconditioning of Karras et al. 2022 (arXiv:2206.00364, table 1) written for this path. Times are logit-normal
(Esser et al. 2024, arXiv:2403.03206, sec. 3.1).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..nets.generator import Generator as Contract
from ..nets.generator import Streams
from ..nets.unet import TimeUNet
from ..types import Batch, Clock, Condition, Generated, Update

DATA_SPREAD = 0.5  # sigma_data of Karras et al.; images in [-1, 1] and one-hot masks lie near it.


class Generator(Contract):
    """Rectified-flow U-Net.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names.
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
    """

    REVISION: ClassVar[int] = 1

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
    ) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        factor = patch * 2 ** (len(multipliers) - 1)
        if shape[1] % factor or shape[2] % factor:
            raise ValueError(f"{shape[1]}x{shape[2]} is not a multiple of {factor} (patch x halvings)")
        self.learning_rate, self.warmup = learning_rate, warmup
        self.time_mean, self.time_spread = time_mean, time_spread
        self.network = TimeUNet(
            self.channels,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            patch=patch,
            attention_levels=attention_levels,
        )

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam over the network."""
        return {"flow": torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the network."""
        return {"network": self.network}

    def step(self, batch: Batch, *, clock: Clock, rng: torch.Generator, update: Update) -> dict[str, float | Tensor]:
        """Make one step on the velocity loss, weighted so that every time counts alike at the start."""
        data = self.joint(batch)
        noise = torch.randn(data.shape, generator=rng).to(data)
        logits = torch.randn(len(data), generator=rng) * self.time_spread + self.time_mean
        time = torch.sigmoid(logits).to(data.device)
        x_t = torch.lerp(noise, data, _wide(time))
        keep, gain, _ = coefficients(time)
        target = (data - noise - keep * x_t) / gain
        loss = (self._residual(x_t, time).float() - target).square().mean()
        update("flow", loss, lr=self.learning_rate * schedule(clock.fraction, self.warmup))
        return {"flow": loss}

    def sample(self, condition: Condition, rng: Streams, *, steps: int = 16) -> Generated:
        """Return samples by Heun's method over `steps` intervals of the straight path."""
        x = rng.normal(self.channels, *self.shape[1:]).contiguous(memory_format=torch.channels_last)
        times = torch.linspace(0, 1, steps + 1).tolist()
        for now, then in itertools.pairwise(times):
            velocity = self.velocity(x, now)
            guess = x + (then - now) * velocity
            if then < 1:  # Heun's corrector; the last interval is Euler, as the target is reached there
                velocity = (velocity + self.velocity(guess, then)) / 2
                guess = x + (then - now) * velocity
            x = guess
        return self.separate(x)

    def velocity(self, x_t: Tensor, time: float) -> Tensor:
        """Return the velocity field at (B, C, H, W) and one time in [0, 1]."""
        times = torch.full((len(x_t),), time, device=x_t.device)
        keep, gain, _ = coefficients(times)
        return keep * x_t + gain * self._residual(x_t, times).float()

    def _residual(self, x_t: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.network(coefficients(time)[2] * x_t, time)
        return out


def coefficients(time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (keep, gain, scale) at times (B,), each (B, 1, 1, 1).

    For Gaussian data of spread s, E[v | x_t] = keep x_t and the rest of v has spread `gain`; scale x_t has spread 1.
    """
    t, s2 = _wide(time), DATA_SPREAD**2
    power = t**2 * s2 + (1 - t) ** 2
    return (t * s2 - (1 - t)) / power, DATA_SPREAD / power.sqrt(), 1 / power.sqrt()


def schedule(fraction: float, warmup: float) -> float:
    """Return the learning rate's share of its peak: a linear rise over `warmup`, then a cosine to zero."""
    if fraction < warmup:
        return fraction / warmup
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def _wide(time: Tensor) -> Tensor:
    return time[:, None, None, None]
