"""The convolutional generator and critic that the adversarial family shares.

Radford, Metz, Chintala 2016 (arXiv 1511.06434), as 4x4 kernels with stride 2 and padding 1; one more stage per doubling
of the side, as in Arjovsky, Chintala, Bottou 2017. Activations, norms and first weights are those that study 000
searched over (its table 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ..errors import InputError
from ..parallel import BatchNorm2d
from ._slope_conv import SlopeConv2d
from ._spectral import normalise_spectrally

FIRST_SIDE, MIN_SIDE, MAX_CHANNELS = 4, 16, 512
KERNEL, STRIDE = 4, 2
Activation = Literal["relu", "leaky_relu", "elu", "selu"]
GeneratorNorm = Literal["batch", "instance", "none"]
CriticNorm = Literal["batch", "instance", "layer", "none"]
Initialisation = Literal["normal", "xavier", "xavier_uniform", "kaiming"]


@dataclass(frozen=True)
class Look:
    """What one network is made of.

    Attributes:
        activation: After every layer but the last.
        norm: Before every activation but the critic's first; layer norm is for the critic alone.
        spectral: Whether every weight is divided by its largest singular value.
    """

    activation: Activation
    norm: CriticNorm
    spectral: bool = False


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


def generator_network(inputs: int, widths: Sequence[int], channels: int, look: Look) -> nn.Sequential:
    """Return the network from (B, inputs) to (B, channels, R, R) in [-1, 1]; `widths` from side 4 up."""
    bias = look.norm == "none"
    # A dense layer is the 4x4 transposed convolution of a 1x1 map.
    layers = [
        nn.Linear(inputs, widths[0] * FIRST_SIDE**2, bias=bias),
        nn.Unflatten(1, (widths[0], FIRST_SIDE, FIRST_SIDE)),
    ]
    for width, following in pairwise(widths):
        layers += [*_norm(look.norm, width), _activation(look.activation)]
        layers += [nn.ConvTranspose2d(width, following, KERNEL, STRIDE, padding=1, bias=bias)]
    layers += [*_norm(look.norm, widths[-1]), _activation(look.activation)]
    layers += [nn.ConvTranspose2d(widths[-1], channels, KERNEL, STRIDE, padding=1), nn.Tanh()]
    return nn.Sequential(*layers)


class Critic(nn.Module):
    """The network from images and masks to one raw score each; it may be told labels.

    The score of features h is w . h + b; with labels y it gains the sum of y_k V_k . h over the findings k: the
    projection of Miyato & Koyama 2018 (arXiv 1802.05637, eq. 3) with a vector of several 0/1 findings in place of one
    class. With all of them 0 the score is that of the critic without labels.

    Args:
        channels: Image and mask channels.
        widths: Channels after each convolution, down to side 4.
        look: What it is made of.
        labels: Number of findings; 0 for a critic that is told none.
    """

    def __init__(self, channels: int, widths: Sequence[int], look: Look, labels: int = 0) -> None:
        super().__init__()
        layers = [SlopeConv2d(channels, widths[0], KERNEL, STRIDE, padding=1), _activation(look.activation)]
        for width, following in pairwise(widths):
            layers += [SlopeConv2d(width, following, KERNEL, STRIDE, padding=1, bias=look.norm == "none")]
            layers += [*_norm(look.norm, following, tracked=False), _activation(look.activation)]
        length = widths[-1] * FIRST_SIDE**2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.score = nn.Linear(length, 1)
        self.projection = nn.Linear(length, labels, bias=False) if labels else None

    def forward(self, joint: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return one raw score each, (B,), for (B, C, R, R) images and masks that are said to show labels (B, L)."""
        return self.judge(self.features(joint), labels)

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return one raw score each, (B,), for what `features` says of images, (B, length)."""
        score: Tensor = self.score(features).flatten()
        if self.projection is None:
            return score
        assert labels is not None, "a critic that is told labels needs them"
        told: Tensor = score + (labels * self.projection(features)).sum(1)
        return told


def finish(network: nn.Module, look: Look, how: Initialisation, gain: float) -> None:
    """Draw the first weights of a network and put spectral norm on them where its look wants it.

    Biases start at 0, the gains of norms at N(1, 0.02) (Radford et al. 2016). Weights have the standard deviation
    `gain` (normal), gain x sqrt(2 / (fan in + fan out)) (xavier; Glorot & Bengio 2010, eq. 12, also as a uniform draw),
    or gain x sqrt(2 / fan in) (kaiming; He et al. 2015, eq. 10). In much public code kaiming has no gain: that is 1.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(module, how, gain)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
    if look.spectral:
        normalise_spectrally(network)


def _draw(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, how: Initialisation, gain: float) -> None:
    fan_in, fan_out = _fans(layer)
    if how == "xavier_uniform":
        bound = gain * math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(layer.weight, -bound, bound)
        return
    spreads = {"normal": 1.0, "xavier": math.sqrt(2 / (fan_in + fan_out)), "kaiming": math.sqrt(2 / fan_in)}
    nn.init.normal_(layer.weight, 0.0, gain * spreads[how])


def _fans(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> tuple[int, int]:
    """Return how many inputs an output is the sum of, and how many outputs an input goes to.

    PyTorch's count takes a transposed convolution for a plain one and no stride into account.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    all_in, all_out = layer.in_channels * KERNEL**2, layer.out_channels * KERNEL**2
    if isinstance(layer, nn.ConvTranspose2d):
        return all_in // STRIDE**2, all_out
    return all_in, all_out // STRIDE**2


def _norm(norm: CriticNorm, width: int, *, tracked: bool = True) -> list[nn.Module]:
    if norm == "batch":
        # The critic only ever trains, so its running statistics would never be read.
        return [BatchNorm2d(width, track_running_stats=tracked)]
    # Layer norm over channels and places; instance norm over the places of each channel, with a gain and a bias.
    groups = {"layer": 1, "instance": width}
    return [nn.GroupNorm(groups[norm], width)] if norm in groups else []


def _activation(name: Activation) -> nn.Module:
    if name == "leaky_relu":
        return nn.LeakyReLU(0.2, inplace=True)
    made: nn.Module = {"relu": nn.ReLU, "elu": nn.ELU, "selu": nn.SELU}[name](inplace=True)
    return made
