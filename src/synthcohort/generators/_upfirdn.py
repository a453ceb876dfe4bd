"""Doubling and halving of a side with the low-pass filter [1, 3, 3, 1] of StyleGAN2 (Karras et al. 2020, app. B).

Filters are depthwise convolutions; whatever a filter sees beyond the border is 0.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = (1.0, 3.0, 3.0, 1.0)
DOUBLING_GAIN = 4.0  # a doubled image has three new zeros beside each pixel


class Filtered(nn.Module):
    """The filter over each channel, (B, channels, H, W) to (B, channels, H', W').

    Args:
        channels: Channels.
        padding: Zeros at each of the four borders; 1 with a change of side.
        doublings: 0 for H' = H + 2 padding - 3, -1 for half the side, 1 for twice the side (zeros between the pixels).
        gain: Sum of the filter.
    """

    kernel: Tensor

    def __init__(self, channels: int, *, padding: int = 1, doublings: int = 0, gain: float = 1.0) -> None:
        super().__init__()
        self.padding, self.doublings = padding, doublings
        taps = torch.tensor(TAPS)
        square = torch.outer(taps, taps) / taps.sum() ** 2 * gain
        self.register_buffer("kernel", square.expand(channels, 1, 4, 4).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H', W')."""
        made = _Filter.apply(x, self.kernel.to(x.dtype), self.padding, self.doublings)  # type: ignore[no-untyped-call]
        return cast("Tensor", made)


class _Filter(torch.autograd.Function):
    """A filter whose gradient is the filter the other way round, to any order.

    PyTorch computes second gradients of depthwise convolutions channel by channel, those of a constant kernel too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, padding: int, doublings: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.padding, ctx.doublings = padding, doublings
        if doublings == 1:
            return functional.conv_transpose2d(x, kernel, stride=2, padding=padding, groups=len(kernel))
        return functional.conv2d(x, kernel, stride=1 - doublings, padding=padding, groups=len(kernel))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        padding = ctx.padding if ctx.doublings else len(TAPS) - 1 - ctx.padding
        (kernel,) = ctx.saved_tensors
        made = _Filter.apply(slopes[0], kernel, padding, -ctx.doublings)  # type: ignore[no-untyped-call]
        return cast("Tensor", made), None, None, None


class DoublingConv(nn.Module):
    """A 3x3 convolution of the doubled image, the filter last: the sums run over a quarter of the pixels.

    Convolution and filter commute, so zeros between pixels, convolution, filter are one transposed convolution with
    stride 2, and the filter over its result.

    Args:
        outputs: Channels out.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.filter = Filtered(outputs, padding=1, gain=DOUBLING_GAIN)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return (B, outputs, 2H, 2W) from x (B, inputs, H, W) and weight (outputs, inputs, 3, 3).

        The kernel is turned by half a circle against that of `conv2d`, as in the published code.
        """
        return cast("Tensor", self.filter(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)))


class HalvingConv(nn.Module):
    """A 3x3 convolution that halves the side of the filtered image.

    Args:
        inputs: Channels in.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.filter = Filtered(inputs, padding=2)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (B, outputs, H / 2, W / 2) from x (B, inputs, H, W) and weight (outputs, inputs, 3, 3)."""
        return functional.conv2d(self.filter(x), weight, bias, stride=2)
