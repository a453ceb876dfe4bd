"""Layers with an equalised learning rate, and the two norms that came with them.

Weights are stored with unit spread and multiplied at run time by gain / sqrt(fan in), so that Adam's steps are equally
large for all of them (Karras et al. 2018, arXiv 1710.10196, sec. 4.1; pixel norm sec. 4.2; minibatch standard deviation
sec. 3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-8


class Linear(nn.Module):
    """A linear layer, (B, inputs) to (B, outputs).

    Args:
        inputs: Length in.
        outputs: Length out.
        gain: Spread of the outputs for inputs of spread 1.
        bias: Whether there is one.
        bias_start: Its value before training.
        rate: Learning rate relative to that of other layers: stored weights are so much larger.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        gain: float = 1.0,
        bias: bool = True,
        bias_start: float = 0.0,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias_start / rate)) if bias else None
        self.scale, self.rate = gain / math.sqrt(inputs) * rate, rate

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs)."""
        return functional.linear(x, self.weight * self.scale, None if self.bias is None else self.bias * self.rate)


class Conv2d(nn.Module):
    """A convolution of odd kernel that keeps the side, (B, inputs, H, W) to (B, outputs, H, W).

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Side of the kernel.
        gain: Spread of the outputs for inputs of spread 1.
        bias: Whether there is one; it starts at 0.
        fan_in: What the weights are scaled by; None for inputs x kernel^2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, gain: float = 1.0, bias: bool = True, fan_in: int | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(fan_in or inputs * kernel**2)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H, W)."""
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class UpConv2d(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution: (B, inputs, H, W) to (B, outputs, 2H, 2W).

    Done at once, as a transposed convolution of stride 2: a doubled pixel is read through sums of the kernel's rows and
    columns, so 16 products per pixel and pair of channels take the place of 36.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        gain: Spread of the outputs for inputs of spread 1.
        fan_in: What the weights are scaled by; None for inputs x 9.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, fan_in: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(fan_in or inputs * 9)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, 2H, 2W)."""
        kernel = _shifted_sum(self.weight * self.scale).flip(2, 3).transpose(0, 1)
        return functional.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class DownConv2d(nn.Module):
    """A 3x3 convolution, then the mean of 2x2 places: (B, inputs, H, W) to (B, outputs, H / 2, W / 2).

    Done at once, as a 4x4 convolution of stride 2: 16 products per place of the result in place of 36.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        gain: Spread of the outputs of the convolution for inputs of spread 1.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * 9)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H / 2, W / 2)."""
        kernel = _shifted_sum(self.weight * (self.scale / 4))
        return functional.conv2d(x, kernel, self.bias, stride=2, padding=1)


def _shifted_sum(weight: Tensor) -> Tensor:
    """Return the sum of a kernel (O, I, k, k) at its four shifts by 0 or 1 in both directions, (O, I, k + 1, k + 1)."""
    wide = functional.pad(weight, (1, 1, 1, 1))
    rows = wide[:, :, 1:] + wide[:, :, :-1]
    return rows[..., 1:] + rows[..., :-1]


def pixel_norm(x: Tensor) -> Tensor:
    """Return x (B, C, ...) divided by the root mean square over its channels, float32 inside."""
    return x * (x.float().square().mean(1, keepdim=True) + EPS).rsqrt().to(x.dtype)


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """Return x (B, C, H, W) with one more channel: how much the images of a group differ.

    Image i is in a group with i + B / group, i + 2 B / group, ...; the new value is the standard deviation over the
    group, meaned over channels and places. A batch that `group` does not divide takes the largest group that does.
    """
    count = math.gcd(len(x), group)
    groups = x.float().reshape(count, len(x) // count, *x.shape[1:])
    variance = (groups - groups.mean(0)).square().mean(0)
    spread = (variance + EPS).sqrt().mean((1, 2, 3))
    return torch.cat([x, spread.to(x.dtype).repeat(count)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
