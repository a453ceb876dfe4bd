"""Random numbers that depend on a seed and a position alone: not on the batch, the device or the number of processes.

They are drawn on the CPU, where every device gets the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..parallel import rank, world


class Streams:
    """One random stream per sample, drawn on the CPU, so sample i is the same in any batch and on any device.

    Args:
        seeds: One seed per sample.
        device: Where the drawn tensors go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """Return (B, *shape) standard normal float32."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._streams]).to(self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Return (B, *shape) uniform float32 in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._streams]).to(self._device)

    def integers(self, high: int) -> Tensor:
        """Return (B,) int64 in [0, high)."""
        return torch.cat([torch.randint(high, (1,), generator=g) for g in self._streams]).to(self._device)


class Draws:
    """The random numbers of one training step; each process gets the rows of its own images.

    All processes draw for the whole batch and keep every `world()`-th row, so a step over several devices sees the
    numbers that one device would.

    Args:
        seed: Seed of the step.
        device: Where the drawn tensors go.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self._stream, self._device = torch.Generator().manual_seed(seed), device

    def normal(self, count: int, *shape: int) -> Tensor:
        """Return (count, *shape) standard normal float32, a row for each of this process's `count` images."""
        return self._own(torch.randn((count * world(), *shape), generator=self._stream))

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Return (count, *shape) uniform float32 in [0, 1)."""
        return self._own(torch.rand((count * world(), *shape), generator=self._stream))

    def integers(self, high: int, count: int, *shape: int) -> Tensor:
        """Return (count, *shape) int64 in [0, high)."""
        return self._own(torch.randint(high, (count * world(), *shape), generator=self._stream))

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[rank() :: world()].to(self._device)
