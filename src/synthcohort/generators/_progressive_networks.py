"""The networks of the progressively growing GAN, and what its successor `cpdgan` keeps of them.

Karras et al. 2018 (arXiv 1710.10196, sec. 2 to 4 and appendix A), in the sizes of DuMont Schütte et al. 2021
(arXiv 2012.03769, supplement S.2.1): both networks work at one side at a time, from 8x8 on. A level is the logarithm of
the side to base 2; a level between two whole numbers is a fade, e.g. 4.25 a quarter of the way from side 16 to 32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ._equalised import Conv2d, DownConv2d, Linear, UpConv2d, minibatch_stddev, pixel_norm

FIRST_SIDE, MIN_SIDE, FIRST_LEVEL = 4, 16, 3
Resized = Literal["resampling", "plain"]


def channel_widths(shape: tuple[int, int, int], base: int, most: int) -> list[int]:
    """Return the channels at side 4, 8, ..., R: 2 `base` / side, rounded down, from 1 to `most`.

    Raises:
        InputError: The images are not square, or their side is no power of two from 16.
        ValueError: A number is not positive.
    """
    height, width = shape[1:]
    if height != width or height < MIN_SIDE or height & (height - 1):
        raise InputError(
            f"This generator makes square images with a power of two from {MIN_SIDE} as side",
            f"these are {height}x{width}",
            "Prepare the cohort with --size 32, 64 or 128",
        )
    if min(base, most) < 1:
        raise ValueError(f"channel_base and channel_max are positive, not {base} and {most}")
    sides = [FIRST_SIDE << i for i in range((height // FIRST_SIDE).bit_length())]
    return [min(max(2 * base // side, 1), most) for side in sides]


def lrelu(x: Tensor) -> Tensor:
    """Return leaky ReLU of slope 0.2, written over x, the fresh output of a layer."""
    return functional.leaky_relu(x, 0.2, inplace=True)


def doubled(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) at twice the side, each pixel four times."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def at_level(images: Tensor, level: float) -> Tensor:
    """Return full images as the networks see them at a level, (B, C, S, S) with S = 2^ceil(level).

    They shrink by 2x2 means; during a fade they are blended with their own doubled half size.
    """
    while images.shape[2] > 2 ** math.ceil(level):
        images = functional.avg_pool2d(images, 2)
    share = level % 1
    return torch.lerp(doubled(functional.avg_pool2d(images, 2)), images, share) if share else images


class FirstMap(nn.Module):
    """A dense layer from a vector to (B, width, 4, 4), a bias per channel, leaky ReLU.

    Args:
        inputs: Length of the vector.
        width: Channels out.
        gain: Of the dense layer.
    """

    def __init__(self, inputs: int, width: int, gain: float) -> None:
        super().__init__()
        self.dense = Linear(inputs, width * FIRST_SIDE**2, gain=gain, bias=False)
        self.bias = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, vector: Tensor) -> Tensor:
        """Return (B, width, 4, 4)."""
        return lrelu(self.dense(vector).unflatten(1, (-1, FIRST_SIDE, FIRST_SIDE)) + self.bias)


class CriticEnd(nn.Module):
    """Minibatch standard deviation, a 3x3 convolution and a dense layer: (B, width, 4, 4) to (B, width).

    Args:
        width: Channels in and features out.
        gain: Of both layers.
    """

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.conv = Conv2d(width + 1, width, 3, gain=gain)
        self.dense = Linear(width * FIRST_SIDE**2, width, gain=gain)

    def forward(self, x: Tensor, parts: int) -> Tensor:
        """Return (B, width); x is `parts` batches of equal size after each other, whose images are never compared."""
        compared = torch.cat([minibatch_stddev(part) for part in x.chunk(parts)])
        return lrelu(self.dense(lrelu(self.conv(compared)).flatten(1)))


class ProgressiveGenerator(nn.Module):
    """From a vector to an image of the level's side; pixel norm after every layer but the last, no tanh.

    Args:
        inputs: Length of the vector, latent and labels.
        widths: Channels at side 4, 8, ..., R.
        channels: Channels of the image.
        resized: Which convolution of a block changes the channels: the up-sampling one or the plain one after it.
    """

    level: Tensor

    def __init__(self, inputs: int, widths: Sequence[int], channels: int, resized: Resized) -> None:
        super().__init__()
        gain, last = math.sqrt(2), resized == "plain"
        self.first = FirstMap(inputs, widths[0], gain / 4)
        self.conv = Conv2d(widths[0], widths[0], 3, gain=gain)
        steps = list(pairwise(widths))
        self.ups = nn.ModuleList(UpConv2d(low, low if last else width, gain=gain) for low, width in steps)
        self.convs = nn.ModuleList(Conv2d(low if last else width, width, 3, gain=gain) for low, width in steps)
        self.to_image = nn.ModuleList(Conv2d(width, channels, 1) for width in widths[1:])
        self.register_buffer("level", torch.tensor(float(FIRST_LEVEL)))
        """Where training stood; what is sampled is made at this level."""

    def forward(self, vector: Tensor, level: float) -> Tensor:
        """Return (B, channels, S, S) with S = 2^ceil(level), float32, mostly in [-1, 1]."""
        x = pixel_norm(self.first(pixel_norm(vector)))
        x = before = pixel_norm(lrelu(self.conv(x)))
        top, share = math.ceil(level) - FIRST_LEVEL, level % 1
        for up, conv in zip(self.ups[: top + 1], self.convs, strict=False):
            before, x = x, pixel_norm(lrelu(up(x)))
            x = pixel_norm(lrelu(conv(x)))
        image: Tensor = self.to_image[top](x).float()
        return torch.lerp(doubled(self.to_image[top - 1](before).float()), image, share) if share else image


class ProgressiveCritic(nn.Module):
    """From an image of the level's side to a score and what it is said to show.

    Args:
        channels: Channels of the image.
        widths: Channels at side 4, 8, ..., R.
        labels: Number of findings.
        resized: Which convolution of a block changes the channels: the down-sampling one or the plain one before it.
    """

    def __init__(self, channels: int, widths: Sequence[int], labels: int, resized: Resized) -> None:
        super().__init__()
        gain, early = math.sqrt(2), resized == "plain"
        steps = list(pairwise(widths))
        self.from_image = nn.ModuleList(Conv2d(channels, width, 1, gain=gain) for width in widths[1:])
        self.convs = nn.ModuleList(Conv2d(width, low if early else width, 3, gain=gain) for low, width in steps)
        self.downs = nn.ModuleList(DownConv2d(low if early else width, low, gain=gain) for low, width in steps)
        self.end = CriticEnd(widths[0], gain)
        self.output = Linear(widths[0], 1 + labels)

    def forward(self, images: Tensor, level: float, parts: int = 1) -> tuple[Tensor, Tensor]:
        """Return scores (B,) and logits (B, labels), float32, of (B, C, S, S) images with S = 2^ceil(level).

        The images are `parts` batches of equal size after each other: the result is that of a pass for each.
        """
        top, share = math.ceil(level) - FIRST_LEVEL, level % 1
        x = self._block(lrelu(self.from_image[top](images)), top)
        if share:
            smaller = lrelu(self.from_image[top - 1](functional.avg_pool2d(images, 2)))
            x = torch.lerp(smaller, x, share)
        for place in reversed(range(top)):
            x = self._block(x, place)
        out: Tensor = self.output(self.end(x, parts)).float()
        return out[:, 0], out[:, 1:]

    def _block(self, x: Tensor, place: int) -> Tensor:
        return lrelu(self.downs[place](lrelu(self.convs[place](x))))
