"""SPADE's generator and encoder (Park, Liu, Wang, Zhu 2019, arXiv 1903.07291, section 3 and supplement; code v. 2019).

At 256 pixels the table is the published one. A block at side s of an image of side R has filters x min(16, R / s)
channels, and the first side is R / 32 as in the released code, but at least 4; so below 128 pixels there are fewer
doublings and the widest blocks fall away.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..parallel import BatchNorm2d
from ._patch_critic import SLOPE, InstanceNorm2d
from ._spectral import normalise_spectrally

FIRST_SIDE, HALVINGS, WIDEST, WIDEST_ENCODER = 4, 5, 16, 8
GAIN = 0.02


def block_table(side: int, filters: int) -> list[tuple[int, int]]:
    """Return (side, channels out) of every block: one at the first side, two at the next, then one a doubling."""
    start = max(side >> HALVINGS, FIRST_SIDE)
    sides = [start << doubling for doubling in range((side // start).bit_length())]
    return [(s, filters * min(WIDEST, side // s)) for s in (sides[0], sides[1], *sides[1:])]


class Modulation(nn.Module):
    """What a label map does to a normalised x: x (1 + gamma) + beta, both read from the map at each place.

    Args:
        features: Channels of x.
        plan: Channels of the map.
        hidden: Channels between the two convolutions; 128 in the released code.
    """

    def __init__(self, features: int, plan: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(plan, hidden, 3, padding=1)
        self.both = nn.Conv2d(hidden, 2 * features, 3, padding=1)  # gamma's convolution and beta's

    def forward(self, normal: Tensor, plan: Tensor) -> Tensor:
        """Return (B, features, H, W) from `normal` of that shape and the map (B, plan, H, W)."""
        gamma, beta = self.both(self.shared(plan).relu()).chunk(2, 1)
        return torch.addcmul(beta + normal, normal, gamma)


class SpadeBlock(nn.Module):
    """A residual block whose norms are told the label map: (B, inputs, H, W) to (B, outputs, H, W).

    The shortcut's norm is that of the first convolution before modulation, so it is computed once.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        plan: Channels of the map.
        hidden: As for `Modulation`.
    """

    def __init__(self, inputs: int, outputs: int, plan: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norm, self.norm_middle = BatchNorm2d(inputs, affine=False), BatchNorm2d(middle, affine=False)
        self.told, self.told_middle = Modulation(inputs, plan, hidden), Modulation(middle, plan, hidden)
        self.conv = nn.Conv2d(inputs, middle, 3, padding=1)
        self.conv_middle = nn.Conv2d(middle, outputs, 3, padding=1)
        self.learnt = inputs != outputs
        if self.learnt:
            self.told_shortcut = Modulation(inputs, plan, hidden)
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.apply(initialise)
        for conv in (self.conv, self.conv_middle, *([self.shortcut] if self.learnt else [])):
            normalise_spectrally(conv)

    def forward(self, x: Tensor, plan: Tensor) -> Tensor:
        """Return (B, outputs, H, W); the map (B, plan, R, R) is resized to x's places by taking the nearest."""
        shown = functional.interpolate(plan, x.shape[2:], mode="nearest")
        normal = self.norm(x)
        y = self.conv(functional.leaky_relu(self.told(normal, shown), SLOPE))
        y = self.conv_middle(functional.leaky_relu(self.told_middle(self.norm_middle(y), shown), SLOPE))
        if self.learnt:
            x = self.shortcut(self.told_shortcut(normal, shown))
        out: Tensor = x + y
        return out


class SpadeGenerator(nn.Module):
    """The painter: a label map, and a style where there is one, to an image in [-1, 1].

    Args:
        plan: Channels of the label map.
        channels: Channels of the image.
        side: Of the image; a power of two from 16.
        filters: Channels of the last block.
        hidden: As for `Modulation`.
        latent: Length of the style; 0 for none, then the map itself is where it starts.
    """

    def __init__(self, plan: int, channels: int, side: int, *, filters: int, hidden: int, latent: int) -> None:
        super().__init__()
        table = block_table(side, filters)
        start, widest = table[0]
        self.start, self.sides = start, [s for s, _ in table]
        begin = nn.Linear(latent, widest * start**2) if latent else nn.Conv2d(plan, widest, 3, padding=1)
        self.begin = begin.apply(initialise)
        widths = pairwise([widest, *(width for _, width in table)])
        self.blocks = nn.ModuleList(SpadeBlock(*pair, plan, hidden) for pair in widths)
        self.paint = nn.Conv2d(filters, channels, 3, padding=1).apply(initialise)

    def forward(self, plan: Tensor, style: Tensor | None) -> Tensor:
        """Return images (B, C, R, R) for maps (B, plan, R, R) and styles (B, latent) or None."""
        if style is None:
            x = self.begin(functional.interpolate(plan, (self.start, self.start), mode="nearest"))
        else:
            x = self.begin(style).unflatten(1, (-1, self.start, self.start))
        for block, side in zip(self.blocks, self.sides, strict=True):
            x = functional.interpolate(x, (side, side), mode="nearest") if side > x.shape[-1] else x
            x = block(x, plan)
        return cast("Tensor", self.paint(functional.leaky_relu(x, SLOPE))).tanh()


class StyleEncoder(nn.Module):
    """An image to the mean and log variance of its style.

    As many halvings as lead to 4x4. The released code resizes every image to 256 pixels first and halves six times.

    Args:
        channels: Of the image.
        side: Of the image.
        filters: Channels after the first halving; they double up to 8 times as many.
        latent: Length of the style.
    """

    def __init__(self, channels: int, side: int, *, filters: int, latent: int) -> None:
        super().__init__()
        halvings = (side // FIRST_SIDE).bit_length() - 1
        widths = [channels, *(filters * min(WIDEST_ENCODER, 1 << number) for number in range(halvings))]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False))
            layers += [InstanceNorm2d(outputs), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.mean = nn.Linear(widths[-1] * FIRST_SIDE**2, latent)
        self.log_variance = nn.Linear(widths[-1] * FIRST_SIDE**2, latent)
        self.apply(initialise)
        normalise_spectrally(self.features)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, latent), float32, of images (B, C, R, R)."""
        features = self.features(images)
        return self.mean(features).float(), self.log_variance(features).float()


def initialise(module: nn.Module) -> None:
    """Draw weights as Glorot & Bengio 2010 (normal) with gain 0.02; biases are 0."""
    if isinstance(module, Modulation):
        for half in module.both.weight.chunk(2):  # two convolutions in one
            nn.init.xavier_normal_(half, GAIN)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(module.weight, GAIN)
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        nn.init.zeros_(bias)
