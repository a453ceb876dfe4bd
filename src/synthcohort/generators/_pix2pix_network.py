"""The U-Net of pix2pix (Isola, Zhu, Zhou, Efros 2017, arXiv 1611.07004, section 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL, SLOPE, WIDEST, NOISY, DROPPED = 4, 0.2, 8, 3, 0.5


class NoisyUNet(nn.Module):
    """A label map to an image in [-1, 1]; what is dropped is its only noise, so it is given with the map.

    As many halvings as lead to 1x1, eight at 256 pixels, and as many doublings; each doubling but the first is shown
    what the halving of its side gave.

    Args:
        plan: Channels of the map.
        channels: Channels of the image.
        side: Of the image; a power of two from 16.
        filters: Channels after the first halving; they double up to 8 times as many.
        norm: Channels -> norm.
    """

    def __init__(self, plan: int, channels: int, side: int, *, filters: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        widths = [filters * min(WIDEST, 1 << level) for level in range(side.bit_length() - 1)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            # No norm at first, as published, nor over the one place at the end, where nothing would be left.
            normed = 0 < level < len(widths) - 1
            conv = nn.Conv2d(widths[level - 1] if level else plan, width, KERNEL, 2, 1, bias=not normed)
            self.down.append(nn.Sequential(conv, *([norm(width)] if normed else [])))
        for level in reversed(range(len(widths))):
            inputs = widths[level] * (1 if level == len(widths) - 1 else 2)
            width = widths[level - 1] if level else channels
            turned = nn.ConvTranspose2d(inputs, width, KERNEL, 2, 1, bias=not level)
            self.up.append(nn.Sequential(turned, *([norm(width)] if level else [])))
        noisy = min(NOISY, len(widths) - 1)
        self.noise = [(widths[-2 - number], 2 << number, 2 << number) for number in range(noisy)]
        """(channels, side, side) of what is dropped after each of the first doublings."""

    def forward(self, plan: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Return images (B, C, R, R) for maps (B, plan, R, R) and uniform numbers in [0, 1) of the shapes `noise`."""
        x, seen = plan, []
        for level, layer in enumerate(self.down):
            x = layer(functional.leaky_relu(x, SLOPE) if level else x)
            seen.append(x)
        for number, layer in enumerate(self.up):
            x = layer(torch.cat([x, seen[-1 - number]], 1).relu() if number else x.relu())
            if number < len(noise):
                x = x * (noise[number] >= DROPPED).to(x.dtype) / (1 - DROPPED)
        return x.tanh()
