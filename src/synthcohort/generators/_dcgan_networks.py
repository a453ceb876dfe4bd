"""The convolutional generator and critic that the adversarial family shares.

Radford, Metz, Chintala 2016 (arXiv 1511.06434), as 4x4 kernels with stride 2 and padding 1; one more stage per doubling
of the side, as in Arjovsky, Chintala, Bottou 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ..errors import InputError

FIRST_SIDE, MIN_SIDE, MAX_CHANNELS = 4, 16, 512
CriticNorm = Literal["batch", "layer", "none"]


def channel_widths(shape: tuple[int, int, int], filters: int) -> list[int]:
    """Return the channels at side 4, 8, ... up to half the full side.

    Raises:
        InputError: The images are not square, or their side is no power of two from 16.
    """
    height, width = shape[1:]
    if height != width or height < MIN_SIDE or height & (height - 1):
        raise InputError(
            f"DCGAN networks make square images with a power of two from {MIN_SIDE} as side",
            f"these are {height}x{width}",
            "Prepare the cohort with --size 32, 64 or 128",
        )
    sides = [FIRST_SIDE << i for i in range((height // 2 // FIRST_SIDE).bit_length())]
    return [min(filters * (height // 2) // side, MAX_CHANNELS) for side in sides]


def generator_network(inputs: int, widths: Sequence[int], channels: int) -> nn.Sequential:
    """Return the network from (B, inputs) to (B, channels, R, R) in [-1, 1]; `widths` from side 4 up."""
    # A dense layer is the 4x4 transposed convolution of a 1x1 map.
    layers = [
        nn.Linear(inputs, widths[0] * FIRST_SIDE**2, bias=False),
        nn.Unflatten(1, (widths[0], FIRST_SIDE, FIRST_SIDE)),
    ]
    for width, following in pairwise(widths):
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(width, following, 4, stride=2, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)]
    layers += [nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1), nn.Tanh()]
    return nn.Sequential(*layers)


def critic_network(channels: int, widths: Sequence[int], norm: CriticNorm) -> nn.Sequential:
    """Return the network from (B, channels, R, R) to one raw score each, (B,); `widths` down to side 4."""
    layers = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    for width, following in pairwise(widths):
        layers += [nn.Conv2d(width, following, 4, stride=2, padding=1, bias=norm == "none")]
        layers += [*_norm(norm, following), nn.LeakyReLU(0.2, inplace=True)]
    layers += [nn.Flatten(), nn.Linear(widths[-1] * FIRST_SIDE**2, 1), nn.Flatten(0)]
    return nn.Sequential(*layers)


class ProjectionCritic(nn.Module):
    """A critic that is told labels: its score h -> w . h + b gains the sum of y_k V_k . h over the findings k.

    The projection of Miyato & Koyama 2018 (arXiv 1802.05637, eq. 3) with a vector of several 0/1 findings in place of
    one class. With all of them 0 the score is that of the critic without labels.

    Args:
        channels: As for `critic_network`.
        widths: As for `critic_network`.
        norm: As for `critic_network`.
        labels: Number of findings.
    """

    def __init__(self, channels: int, widths: Sequence[int], norm: CriticNorm, labels: int) -> None:
        super().__init__()
        *features, score, _ = critic_network(channels, widths, norm)
        self.features, self.score = nn.Sequential(*features), score
        self.projection = nn.Linear(widths[-1] * FIRST_SIDE**2, labels, bias=False)

    def forward(self, joint: Tensor, labels: Tensor) -> Tensor:
        """Return one raw score each, (B,), for (B, C, R, R) images and masks that are said to show labels (B, L)."""
        features = self.features(joint)
        score: Tensor = self.score(features).flatten() + (labels * self.projection(features)).sum(1)
        return score


def _norm(norm: CriticNorm, width: int) -> list[nn.Module]:
    if norm == "batch":
        # The critic only ever trains, so running statistics would never be read.
        return [nn.BatchNorm2d(width, track_running_stats=False)]
    return [nn.GroupNorm(1, width)] if norm == "layer" else []


def initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), norm gains from N(1, 0.02); biases are 0 (Radford et al. 2016)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
    bias = getattr(module, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
