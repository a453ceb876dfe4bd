"""Networks of `r3gan`: residual blocks without a norm, a stage for every side, the critic the mirror of the generator.

Huang et al. 2024 (arXiv 2501.05441, section 4, configuration E). A block is a 1x1 convolution that widens, a grouped
3x3 and a 1x1 that narrows, added to its input (Xie et al. 2017; the inverted bottleneck of Sandler et al. 2018).
Started as in Zhang et al. 2019 ("Fixup", arXiv 1901.09321): the last layer of a block is 0 and the others are scaled by
L^(-1/(2m - 2)) for L blocks of m layers, so that depth changes nothing at the start. Sides are doubled by bilinear
interpolation and halved by the mean of 2x2, which is the same interpolation at half the side.

Coarser than the paper's, the finest side can be one of patches: `patch` x `patch` pixels become one position, and their
channels stand side by side. The generator then adds them to an interpolated image of that side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadOption
from ._slope_conv import SlopeConv2d

SLOPE = 0.2  # of the leaky rectifier
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the spread of what goes through it (He et al. 2015)
COARSEST = range(4, 8)  # shorter sides of the coarsest map
BLOCK_LAYERS = 3

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def stage_sides(shape: tuple[int, int, int], patch: int) -> list[tuple[int, int]]:
    """Return (height, width) of every stage, the coarsest first; the finest is that of the patches.

    Raises:
        BadOption: The sides are no multiples of `patch`, or are not halved down to 4 to 7 positions.
    """
    height, width = shape[1] // patch, shape[2] // patch
    sides = [(height, width)]
    while min(height, width) >= 2 * COARSEST.start and height % 2 == 0 and width % 2 == 0:
        height, width = height // 2, width // 2
        sides.insert(0, (height, width))
    if shape[1] % patch or shape[2] % patch or min(sides[0]) not in COARSEST:
        raise BadOption(
            f"Sides are {patch} (the patch) times 4 to 7 times a power of two",
            f"these images are {shape[1]}x{shape[2]}",
            "Prepare the cohort with --size 32, 64 or 128, or set another patch",
        )
    return sides


def stage_widths(stages: int, width: int, max_width: int) -> list[int]:
    """Return the features of every stage, the coarsest first: `width` at the finest, twice as many at half the side."""
    return [min(width << level, max_width) for level in reversed(range(stages))]


def started(layer: Layer, gain: float = 1.0) -> Layer:
    """Return a layer with weights from N(0, gain / sqrt(fan in)) and biases of 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """x + a bottleneck of x, (B, width, H, W); at the start it is x.

    Args:
        width: Features in and out.
        expansion: Features inside, as a multiple of `width`.
        group_size: Channels per group of the 3x3 convolution.
        depth: Blocks of the network.
    """

    def __init__(self, width: int, expansion: int, group_size: int, depth: int) -> None:
        super().__init__()
        inner, gain = width * expansion, GAIN * depth ** (-1 / (2 * BLOCK_LAYERS - 2))
        self.layers = nn.Sequential(
            started(SlopeConv2d(width, inner, 1), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            started(SlopeConv2d(inner, inner, 3, padding=1, groups=inner // group_size), gain),
            nn.LeakyReLU(SLOPE, inplace=True),
            started(SlopeConv2d(inner, width, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        added: Tensor = self.layers(x)
        return x + added


class Stages(nn.Module):
    """What both networks have in common: the blocks of every stage and the 1x1 convolutions between stages.

    Args:
        widths: Features of each stage, in the order in which they are run.
        blocks: Blocks of each stage.
        expansion: As for `Block`.
        group_size: As for `Block`.
    """

    def __init__(self, widths: Sequence[int], blocks: int, expansion: int, group_size: int) -> None:
        super().__init__()
        depth = len(widths) * blocks
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Block(width, expansion, group_size, depth) for _ in range(blocks))) for width in widths
        )
        self.between = nn.ModuleList(
            nn.Identity() if width == following else started(SlopeConv2d(width, following, 1, bias=False))
            for width, following in itertools.pairwise(widths)
        )


class GeneratorNetwork(Stages):
    """From a latent vector to an image: a learnt 4x4 basis, each map of it weighed by the latent vector, then stages.

    Args:
        sides: `stage_sides` of the image.
        widths: `stage_widths`.
        blocks: Blocks per stage.
        expansion: As for `Block`.
        group_size: As for `Block`.
        patch: Pixels per side of one position.
        channels: Channels that are made.
        latent: Length of the latent vector.
        labels: Number of findings.
        map_channels: Channels of the maps that are painted over; 0 for none.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        widths: Sequence[int],
        *,
        blocks: int,
        expansion: int,
        group_size: int,
        patch: int,
        channels: int,
        latent: int,
        labels: int,
        map_channels: int,
    ) -> None:
        super().__init__(widths, blocks, expansion, group_size)
        self.patch = patch
        self.embedding = nn.Linear(labels, latent, bias=False) if labels else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)  # a finding weighs as much as a latent number
        self.basis = nn.Parameter(torch.randn(widths[0], *sides[0]))
        self.weigh = started(nn.Linear(latent * (2 if labels else 1), widths[0], bias=False))
        self.maps = nn.ModuleList(
            started(SlopeConv2d(map_channels * patch**2, width, 1, bias=False)) for width in widths if map_channels
        )
        # Of patches the network starts with none of the detail, only what is smooth; else its first images are tiles.
        self.smooth = started(SlopeConv2d(widths[-1], channels, 1)) if patch > 1 else None
        self.paint = started(SlopeConv2d(widths[-1], channels * patch**2, 1), 0.0 if patch > 1 else 1.0)

    def forward(self, latent: Tensor, labels: Tensor | None, maps: Tensor | None) -> Tensor:
        """Return (B, channels, H, W) for (B, latent), labels (B, L) and maps (B, map_channels, H, W)."""
        told = latent if self.embedding is None else torch.cat([latent, self.embedding(labels)], 1)
        x = self.basis * self.weigh(told)[:, :, None, None]
        fine = None if maps is None else functional.pixel_unshuffle(maps, self.patch)
        for index, blocks in enumerate(self.blocks):
            if index:
                x = self.between[index - 1](x)  # commutes with the interpolation and costs a quarter before it
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            if fine is not None:
                x = x + self.maps[index](functional.adaptive_avg_pool2d(fine, x.shape[-2:]))
            x = blocks(x)
        painted = functional.pixel_shuffle(self.paint(x), self.patch)
        if self.smooth is None:
            return painted
        smooth = functional.interpolate(self.smooth(x), scale_factor=self.patch, mode="bilinear", align_corners=False)
        return painted + smooth


class CriticNetwork(Stages):
    """From an image to one raw score, the mirror of the generator: stages, then a weighed sum over the last 4x4.

    A score with labels is the projection of Miyato and Koyama 2018: the product of the features with an embedding of
    what the image is said to show, here the sum over the findings and of one vector that is always there.

    Args:
        sides: `stage_sides` of the image.
        widths: `stage_widths`.
        blocks: Blocks per stage.
        expansion: As for `Block`.
        group_size: As for `Block`.
        patch: Pixels per side of one position.
        channels: Channels that are seen.
        latent: Length of the embedding.
        labels: Number of findings.
    """

    def __init__(
        self,
        sides: Sequence[tuple[int, int]],
        widths: Sequence[int],
        *,
        blocks: int,
        expansion: int,
        group_size: int,
        patch: int,
        channels: int,
        latent: int,
        labels: int,
    ) -> None:
        super().__init__(widths[::-1], blocks, expansion, group_size)
        self.patch = patch
        self.read = started(SlopeConv2d(channels * patch**2, widths[-1], 1))
        self.basis = nn.Parameter(torch.randn(widths[0], *sides[0]) / math.sqrt(math.prod(sides[0])))
        self.score = started(nn.Linear(widths[0], latent if labels else 1, bias=False))
        self.embedding = nn.Linear(labels, latent) if labels else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight)
            nn.init.normal_(self.embedding.bias)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return (B,) raw scores of (B, channels, H, W) that are said to show labels (B, L)."""
        x = self.read(functional.pixel_unshuffle(images, self.patch))
        for index, blocks in enumerate(self.blocks):
            if index:
                x = self.between[index - 1](functional.avg_pool2d(x, 2))
            x = blocks(x)
        # A depthwise convolution with a kernel as large as the map.
        features: Tensor = self.score((x * self.basis).sum((2, 3)))
        if self.embedding is None:
            return features.flatten()
        scores: Tensor = (features * self.embedding(labels)).sum(1) / math.sqrt(features.shape[1])
        return scores
