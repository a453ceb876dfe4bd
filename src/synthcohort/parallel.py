"""Several devices as one: what a training step must know when its batch is spread over processes.

Row i of the whole batch lies with process i modulo their number. Gradients are averaged by `train`'s `update`; what a
network computes over the whole batch (batch norm, running means that steer training) goes through this file. With one
process every function here is the identity.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn


def world() -> int:
    """Return the number of processes that train together; 1 for a run of its own."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if world() > 1 else 0


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of their gradients, to any order."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return cast("Tensor", _Sum.apply(slopes[0]))  # type: ignore[no-untyped-call]


def total(own: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; differentiable."""
    return cast("Tensor", _Sum.apply(own)) if world() > 1 else own  # type: ignore[no-untyped-call]


def mean(own: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes; differentiable."""
    return total(own) / world() if world() > 1 else own


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one message; those that are None stay so."""
    slopes = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world() == 1 or not slopes:
        return
    flat = torch.cat([slope.reshape(-1) for slope in slopes])
    distributed.all_reduce(flat)
    flat /= world()
    for slope, part in zip(slopes, flat.split([slope.numel() for slope in slopes]), strict=True):
        slope.copy_(part.view_as(slope))


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes (PyTorch's SyncBatchNorm does not run on a CPU)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) normalised by the statistics of the whole batch, or by the running ones in `eval`."""
        if world() == 1 or not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            count = len(x) * world() * x.shape[2] * x.shape[3]
            # Two sums, one after the other: a difference of squares would lose digits.
            middle = total(wide.sum((0, 2, 3))) / count
            centred = wide - middle[:, None, None]
            variance = total(centred.square().sum((0, 2, 3))) / count
            if self.track_running_stats:
                self._follow(middle.detach(), variance.detach() * count / (count - 1))
            normal = centred * (variance + self.eps).rsqrt()[:, None, None]
            if self.affine:
                normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)

    @torch.no_grad()
    def _follow(self, middle: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None, "statistics are tracked"
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(middle, momentum)
        self.running_var.lerp_(variance, momentum)
