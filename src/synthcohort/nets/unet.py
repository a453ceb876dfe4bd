"""A residual U-Net that is told a time, and labels where there are any: the network of flow and diffusion generators.

Residual blocks with group normalisation and time modulation (Ho et al. 2020, arXiv:2006.11239; adaptive group norm of
Dhariwal and Nichol 2021, arXiv:2105.05233, sec. 3), attention at coarse sides, and space-to-depth at the door. The way
up is leaner than theirs, where most of the time went: as many blocks as on the way down, each beside one block of the
way down, and features are reduced before the side is doubled, where that costs a quarter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Layer = TypeVar("Layer", bound=nn.Module)

GROUP_CHANNELS = 16
HEAD_CHANNELS = 32
PLACES = 16
"""Side of the map of what a finding adds to the features of each place."""


class TimeUNet(nn.Module):
    """Maps (B, channels_in, H, W) and a time, or a noise level as one, to (B, channels_out, H, W).

    Args:
        channels_in: Channels in.
        channels_out: Channels out.
        width: Features at the finest side.
        multipliers: Features of each level as multiples of `width`; each level halves the side.
        blocks: Residual blocks per level, on the way down and on the way up.
        patch: Side of the square of pixels that becomes one position at the door.
        attention_levels: Levels, counted from the coarsest, that attend over all positions.
        labels: Findings that the network may be told.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        patch: int,
        attention_levels: int,
        labels: int = 0,
    ) -> None:
        super().__init__()
        self.patch, depth, time_width = patch, len(multipliers), width * 4
        widths = [width * multiplier for multiplier in multipliers]
        self.frequencies = width
        self.time = nn.Sequential(nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU())
        self.enter = nn.Conv2d(channels_in * patch**2, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        kept, current = [], width
        for level, features in enumerate(widths):
            attends = level >= depth - attention_levels
            for _ in range(blocks):
                self.down.append(Block(current, features, time_width, attends))
                current = features
                kept.append(current)
            if level < depth - 1:
                self.down.append(nn.Conv2d(current, widths[level + 1], 3, stride=2, padding=1))
                current = widths[level + 1]
        self.middle = Block(current, current, time_width, attention_levels > 0)
        for level, features in reversed(list(enumerate(widths))):
            attends = level >= depth - attention_levels
            for _ in range(blocks):
                self.up.append(Block(current + kept.pop(), features, time_width, attends))
                current = features
            if level:
                self.up.append(Upsample(current, widths[level - 1]))
                current = widths[level - 1]
        self.leave = nn.Sequential(
            _norm(current), nn.SiLU(), _zero(nn.Conv2d(current, channels_out * patch**2, 3, padding=1))
        )
        if labels:  # last, so that the other weights are drawn as without labels
            self.labels = nn.Sequential(nn.Linear(labels + 1, time_width), nn.SiLU(), nn.Linear(time_width, time_width))
            # Bodies are alike enough for a finding to have places.
            self.places = nn.Parameter(torch.zeros(labels + 1, width, PLACES, PLACES))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the network's output for `x` (B, C, H, W) at `time` (B,).

        `labels` is (B, L + 1): 0/1 findings and a last 1, or all 0 where they are not told.
        """
        embedded = self.time(_sinusoids(time, self.frequencies))
        if labels is not None:
            embedded = embedded + self.labels(labels)
        x = self.enter(functional.pixel_unshuffle(x, self.patch))
        if labels is not None:
            places = torch.einsum("bl,lchw->bchw", labels, self.places)
            x = x + functional.interpolate(places, x.shape[2:], mode="bilinear", align_corners=False).to(x.dtype)
        kept = []
        for layer in self.down:
            if isinstance(layer, Block):
                x = layer(x, embedded)
                kept.append(x)
            else:
                x = layer(x)
        x = self.middle(x, embedded)
        for layer in self.up:
            x = layer(torch.cat([x, kept.pop()], 1), embedded) if isinstance(layer, Block) else layer(x)
        return functional.pixel_shuffle(self.leave(x), self.patch)


class Block(nn.Module):
    """Two convolutions with a residual, scaled and shifted by the time; attention after them where wanted."""

    def __init__(self, features_in: int, features: int, time_width: int, attends: bool) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(features_in), nn.Conv2d(features_in, features, 3, padding=1)
        self.modulate = _zero(nn.Linear(time_width, 2 * features))
        self.norm2, self.conv2 = _norm(features), _zero(nn.Conv2d(features, features, 3, padding=1))
        self.skip = nn.Conv2d(features_in, features, 1) if features_in != features else nn.Identity()
        self.attention = Attention(features) if attends else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Return (B, features, H, W)."""
        scale, shift = self.modulate(embedded)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h) * (1 + scale) + shift))
        out: Tensor = self.attention(self.skip(x) + h)
        return out


class Attention(nn.Module):
    """Multi-head self-attention over all positions, with a residual."""

    def __init__(self, features: int) -> None:
        super().__init__()
        wanted = max(1, features // HEAD_CHANNELS)
        self.heads = next(heads for heads in range(wanted, 0, -1) if features % heads == 0)
        self.norm, self.qkv = _norm(features), nn.Conv2d(features, 3 * features, 1)
        self.project = _zero(nn.Conv2d(features, features, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus what its positions tell one another."""
        count, features, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(count, 3, self.heads, features // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        h = functional.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        out: Tensor = x + self.project(h.reshape(count, features, height, width))
        return out


class Upsample(nn.Module):
    """A convolution, then nearest-neighbour doubling."""

    def __init__(self, features_in: int, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features_in, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, features, 2H, 2W)."""
        out: Tensor = functional.interpolate(self.conv(x), scale_factor=2.0, mode="nearest")
        return out


def _norm(features: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, features // GROUP_CHANNELS), features)


def _zero(layer: Layer) -> Layer:
    """Return the layer with zero weights: each block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _sinusoids(time: Tensor, count: int) -> Tensor:
    """Return (B, count) sines and cosines of a time in [0, 1] at frequencies 1 to 1000."""
    rates = torch.exp(torch.linspace(0, math.log(1000), count // 2, device=time.device))
    angles = time[:, None] * rates[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)
