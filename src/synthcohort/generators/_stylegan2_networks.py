"""The two networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958; labels as in Karras et al. 2020b, 2006.06676).

A modulated convolution scales its input channels by the style, convolves all images with one dense kernel and scales
the output channels: the same numbers as a kernel per image, without grouped convolutions.

Leaky ReLU comes with a gain of sqrt 2. The gain of an activation of the discriminator is taken by the weights that read
it, and in the generator it is multiplied into the small factors before it: max(a x, b x) = a max(x, b / a x) for a > 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Table
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import parallel
from ._equalised import EPS, Conv2d, Linear, minibatch_stddev, pixel_norm
from ._upfirdn import DOUBLING_GAIN, DoublingConv, Filtered, HalvingConv

GAIN, SLOPE = math.sqrt(2), 0.2
MAPPING_RATE = 0.01
CRITIC_MAPPING_LAYERS = 8  # in the released code, whatever the generator's number
STYLE_MEAN_DECAY = 0.995
GROUP = 4


class Mapping(nn.Module):
    """Fully connected layers from a latent vector and labels to a style; always in float32.

    The labels stand beside a constant 1, so that an image without findings has a direction of its own; in the published
    network one label is always 1.

    Args:
        latent: Length of the latent vector; 0 for none.
        labels: Findings; 0 for none.
        outputs: Length of the style, and of the layers before it.
        layers: Layers.
    """

    def __init__(self, latent: int, labels: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.embed = Linear(labels + 1, outputs) if labels else None
        inputs = latent + (outputs if labels else 0)
        sizes = [inputs] + [outputs] * layers
        self.layers = nn.ModuleList(Linear(*pair, rate=MAPPING_RATE) for pair in pairwise(sizes))

    def forward(self, latent: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return (B, outputs) from latent vectors (B, latent) and labels (B, L) of 0 and 1."""
        parts = [] if latent is None else [pixel_norm(latent)]
        some = latent if labels is None else labels
        assert some is not None, "a style is made of something"
        with torch.autocast(some.device.type, enabled=False):
            if self.embed is not None:
                assert labels is not None, "the network is told labels"
                parts.append(pixel_norm(self.embed(torch.cat([labels, torch.ones_like(labels[:, :1])], 1))))
            x = torch.cat(parts, 1)
            for layer in self.layers:
                x = functional.leaky_relu(layer(x), SLOPE) * GAIN
        return x


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, bias and leaky ReLU.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        style: Length of the style.
        doubling: Whether the side doubles.
    """

    def __init__(self, inputs: int, outputs: int, style: int, *, doubling: bool) -> None:
        super().__init__()
        self.affine = Linear(style, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.doubling = DoublingConv(outputs) if doubling else None

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Return (B, outputs, H, W) from x (B, inputs, H, W) or half the side, style (B, S), noise (B, 1, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            scale = self.affine(style)
            power = scale.square() @ self.weight.square().sum((2, 3)).T  # of each image's kernel, (B, outputs)
            demodulation = GAIN * (power + EPS).rsqrt()
            bias, noise = GAIN * self.bias, GAIN * self.strength * noise
        y = self._convolved(x * _spread(scale, x))
        # Into memory of our own: `addcmul` keeps its factors for the gradient and not its result.
        y = torch.addcmul(_spread(bias[None], y), y, _spread(demodulation, y)).add_(noise.to(y.dtype))
        return functional.leaky_relu_(y, SLOPE)

    def _convolved(self, x: Tensor) -> Tensor:
        if self.doubling is None:
            return functional.conv2d(x, self.weight, padding=1)
        return cast("Tensor", self.doubling(x, self.weight))


class ToImage(nn.Module):
    """A modulated 1x1 convolution without demodulation, to image channels; the result is float32.

    With so few outputs a kernel per image is a small matrix, and the product reads x once.
    """

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.affine = Linear(style, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return (B, outputs, H, W) float32 from x (B, inputs, H, W) and style (B, S)."""
        with torch.autocast(x.device.type, enabled=False):
            scale = self.affine(style) / math.sqrt(self.weight.shape[1])
            kernels = self.weight.flatten(1) * scale[:, None]
        joint = torch.bmm(kernels.to(x.dtype), x.flatten(2)).float() + self.bias[:, None]
        made: Tensor = joint.unflatten(2, x.shape[2:])
        return made


class Synthesis(nn.Module):
    """From styles and noise to an image, by the sum of what each side adds.

    Args:
        side: Of the image, a power of two from 8.
        channels: Of the image.
        widths: Channels of the layers at each side from 4.
        style: Length of a style.
    """

    pattern: Tensor

    def __init__(self, side: int, channels: int, widths: Table[int, int], style: int) -> None:
        super().__init__()
        self.sides = [4] + [2**power for power in range(3, side.bit_length()) for _ in range(2)]
        self.start = nn.Parameter(torch.randn(1, widths[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(widths[4], widths[4], style, doubling=False)])
        self.images = nn.ModuleList([ToImage(widths[4], channels, style)])
        for own in self.sides[1::2]:
            self.convs.append(StyledConv(widths[own // 2], widths[own], style, doubling=True))
            self.convs.append(StyledConv(widths[own], widths[own], style, doubling=False))
            self.images.append(ToImage(widths[own], channels, style))
        self.doubled = Filtered(channels, doublings=1, gain=DOUBLING_GAIN)
        self.register_buffer("pattern", torch.randn(1, self.noise))

    @property
    def noise(self) -> int:
        """Return how many random numbers an image takes beside its style."""
        return sum(side**2 for side in self.sides)

    @property
    def layers(self) -> int:
        """Return how many styles an image takes, one a convolution; an image layer shares the next one's."""
        return len(self.convs) + 1

    def forward(self, styles: Tensor, noise: Tensor) -> Tensor:
        """Return (B, channels, H, W) float32 from styles (B, layers, S) and noise (B or 1, `self.noise`)."""
        maps = noise.split([side**2 for side in self.sides], 1)
        x = self.start.expand(len(styles), -1, -1, -1)
        joint: Tensor | None = None
        for index, (side, values) in enumerate(zip(self.sides, maps, strict=True)):
            x = self.convs[index](x, styles[:, index], values.unflatten(1, (1, side, side)))
            if index % 2 == 0:
                seen = self.images[index // 2](x, styles[:, index + 1])
                joint = seen if joint is None else self._twice(joint) + seen
        assert joint is not None, "there is a layer"
        return joint

    def _twice(self, joint: Tensor) -> Tensor:
        with torch.autocast(joint.device.type, enabled=False):
            return cast("Tensor", self.doubled(joint))


class StyleNetwork(nn.Module):
    """Mapping, synthesis and the running mean of the styles.

    Args:
        side: Of the image.
        channels: Of the image.
        widths: Channels of the layers at each side.
        latent: Length of latent vector and style.
        labels: Findings; 0 for none.
        layers: Of the mapping.
    """

    style_mean: Tensor

    def __init__(
        self, side: int, channels: int, widths: Table[int, int], latent: int, labels: int, layers: int
    ) -> None:
        super().__init__()
        self.mapping = Mapping(latent, labels, latent, layers)
        self.synthesis = Synthesis(side, channels, widths, latent)
        self.register_buffer("style_mean", torch.zeros(latent))

    @torch.no_grad()
    def follow(self, style: Tensor) -> None:
        """Move the running mean towards styles (B, S), those of all devices."""
        self.style_mean.lerp_(parallel.mean(style.mean(0)), 1 - STYLE_MEAN_DECAY)

    def everywhere(self, style: Tensor) -> Tensor:
        """Return (B, layers, S): each layer the style (B, S) of its image."""
        return style[:, None].expand(-1, self.synthesis.layers, -1)


class Block(nn.Module):
    """A residual block that halves the side: (B, inputs, H, W) to (B, outputs, H / 2, W / 2).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        gain: What x is to be multiplied by: the gain of the activation that it comes from, or 1.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float) -> None:
        super().__init__()
        self.first = Conv2d(inputs, inputs, 3, gain=gain)
        # Half of the power from either side: the square root of a half cancels the gain of the second activation.
        self.second, self.halving = Conv2d(inputs, outputs, 3, gain=GAIN), HalvingConv(inputs)
        self.skip = Conv2d(inputs, outputs, 1, gain=gain * math.sqrt(0.5), bias=False)
        self.filter = Filtered(inputs, doublings=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H / 2, W / 2)."""
        y = functional.leaky_relu_(self.first(x), SLOPE)
        assert self.second.bias is not None, "it has one"
        y = self.halving(y, self.second.weight * self.second.scale, self.second.bias)
        return cast("Tensor", self.skip(self.filter(x))).add_(functional.leaky_relu_(y, SLOPE))


class Critic(nn.Module):
    """Residual discriminator with minibatch standard deviation and projection on mapped labels.

    Args:
        side: Of the image.
        channels: Of the image.
        widths: Channels of the layers at each side from 4.
        labels: Findings; 0 for none.
    """

    def __init__(self, side: int, channels: int, widths: Table[int, int], labels: int) -> None:
        super().__init__()
        last = widths[4]
        self.image = Conv2d(channels, widths[side], 1)
        sides = [2**power for power in range(side.bit_length() - 1, 2, -1)]
        gains = [GAIN if own == side else 1.0 for own in sides]
        pairs = zip(sides, gains, strict=True)
        self.blocks = nn.Sequential(*(Block(widths[own], widths[own // 2], gain=gain) for own, gain in pairs))
        self.last = Conv2d(last + 1, last, 3)
        self.hidden = Linear(last * 16, last, gain=GAIN)
        self.out = Linear(last, last if labels else 1, gain=GAIN)
        self.mapping = Mapping(0, labels, last, CRITIC_MAPPING_LAYERS) if labels else None

    def forward(self, joint: Tensor, labels: Tensor | None, group: int = GROUP) -> Tensor:
        """Return (B,) float32 scores of images (B, channels, H, W) with labels (B, L).

        Args:
            joint: Images, masks as one-hot channels.
            labels: 0 and 1; None when there are none.
            group: Images that the minibatch standard deviation compares.
        """
        x = self.blocks(functional.leaky_relu_(self.image(joint), SLOPE))
        with torch.autocast(x.device.type, enabled=False):
            x = functional.leaky_relu(self.last(minibatch_stddev(x.float(), group)), SLOPE)
            x = self.out(functional.leaky_relu(self.hidden(x.flatten(1)), SLOPE))
            if self.mapping is None:
                alone: Tensor = x[:, 0]
                return alone
            scores: Tensor = (x * self.mapping(None, labels)).sum(1) / math.sqrt(x.shape[1])
            return scores


def _spread(factors: Tensor, x: Tensor) -> Tensor:
    """Return factors (B, C) as (B, C, 1, 1) of the type of x."""
    return factors.to(x.dtype)[..., None, None]
