"""A convolution for critics whose slope is penalised: the gradient of its gradient costs as much as the gradient.

PyTorch computes the second gradient of a grouped convolution group by group, from copies in another memory order. Here
the slope with respect to the images is itself a convolution with a gradient, as in the chain rule on paper: for
y = x * w the slope is s * w^T, and what is differentiated of it are again s and w.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_How = tuple[int, int, int]
"""Stride, padding and groups."""


class SlopeConv2d(nn.Conv2d):
    """`nn.Conv2d`; of second gradients, only that of the slope with respect to the input is there.

    Under autocast, where no slope is differentiated, it is `nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H', W')."""
        if torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        how = (self.stride[0], self.padding[0], self.groups)
        y: Tensor = _Convolution.apply(x, self.weight, self.bias, how)  # type: ignore[no-untyped-call]
        return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return _forward(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        # The gradient is recorded: it is the slope with respect to the images, and nobody wants that of the weights.
        if torch.is_grad_enabled():
            return _InputSlope.apply(slope, x, weight, ctx.how), None, None, None  # type: ignore[no-untyped-call]
        mask = ctx.needs_input_grad[:3]
        found = _backward(slope, x, weight, ctx.how, mask)
        return (*(each if wanted else None for each, wanted in zip(found, mask, strict=True)), None)  # type: ignore[return-value]


class _InputSlope(torch.autograd.Function):
    """The slope with respect to the input, linear in the slope of the output and in the weights."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, how: _How) -> Tensor:
        ctx.save_for_backward(slope, weight)
        ctx.how = how
        return _backward(slope, x, weight, how, (True, False, False))[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, curve: Tensor) -> tuple[Tensor, None, Tensor | None, None]:
        slope, weight = ctx.saved_tensors
        to_slope = _forward(curve, weight, None, ctx.how)
        to_weight = _backward(slope, curve, weight, ctx.how, (False, True, False))[1]
        return to_slope, None, to_weight, None


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
    stride, padding, groups = how
    return functional.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)


def _backward(
    slope: Tensor, x: Tensor, weight: Tensor, how: _How, mask: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients with respect to input, weight and bias, those in `mask`."""
    stride, padding, groups = how
    square = [stride, stride], [padding, padding]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        slope, x, weight, [len(weight)], *square, [1, 1], False, [0, 0], groups, mask
    )
    return found
