"""A fitted DenseNet that only answers: the same function with fewer passes over memory, for maps of many passes.

Exact up to rounding (about 1e-6 of a score). Each normalisation that follows a convolution is folded into it. One that
precedes a 1x1 convolution, with its rectifier, becomes a clamp: relu(s x + b) = s max(x, -b/s) + b where s > 0 and
s min(x, -b/s) + b where s < 0, so that s and b go into the convolution's weights and bias. Transitions average before
their 1x1 convolution, which is linear, and so convolve a quarter of the places. The features of a block lie in one
array that grows in place instead of being copied for every layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 16
"""Images at once from which PyTorch hands 1x1 convolutions to oneDNN on one thread too: half the time an image."""


@dataclass(frozen=True)
class _Clamped:
    """A normalisation, its rectifier and the 1x1 convolution after them."""

    low: Tensor
    high: Tensor
    weight: Tensor
    bias: Tensor


class Folded:
    """What a DenseNet answers in evaluation mode.

    Args:
        network: MONAI's DenseNet, of any widths; its weights are read now, and left as they are.
    """

    def __init__(self, network: Any) -> None:
        with torch.no_grad():
            self._read(network)
        self._memory: dict[str, Tensor] = {}

    def _read(self, network: Any) -> None:
        parts = network.features
        self._first = _folded(parts.conv0.weight, parts.norm0)
        self._blocks: list[list[tuple[_Clamped, Tensor]]] = []
        self._transitions: list[_Clamped] = []
        while (block := getattr(parts, f"denseblock{len(self._blocks) + 1}", None)) is not None:
            self._blocks.append([_layer(layer.layers) for layer in block])
            if (between := getattr(parts, f"transition{len(self._blocks)}", None)) is not None:
                self._transitions.append(_clamped(between.norm, between.conv.weight))
        self._last, self._out = _affine(parts.norm5), network.class_layers.out

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scores (B, L) of images (B, C, H, W); to be called in inference mode."""
        weight, bias = self._first
        seen = functional.conv2d(images, weight, bias, stride=2, padding=3).relu_()
        seen = functional.max_pool2d(seen, 3, 2, 1)
        for number, block in enumerate(self._blocks):
            seen = self._grown(seen, block)
            if number < len(self._transitions):
                across = self._transitions[number]
                seen = _pointwise(functional.avg_pool2d(self._between(seen, across), 2, 2), across)
        scale, shift = self._last
        pooled = torch.addcmul(shift, seen, scale).relu_().mean(dim=(2, 3))
        scores: Tensor = self._out(pooled)
        return scores

    def _grown(self, seen: Tensor, block: list[tuple[_Clamped, Tensor]]) -> Tensor:
        """Return the features of a block: what it was given, and what each layer adds, in one array."""
        count, channels, height, width = seen.shape
        added = block[0][1].shape[0]
        features = self._array("block", (count, channels + added * len(block), height, width), seen)
        features[:, :channels] = seen
        for first, second in block:
            hidden = _pointwise(self._between(features[:, :channels], first), first).relu_()
            features[:, channels : channels + added] = functional.conv2d(hidden, second, padding=1)
            channels += added
        return features

    def _between(self, seen: Tensor, limits: _Clamped) -> Tensor:
        kept = self._array("clamped", tuple(seen.shape), seen)
        return torch.clamp(seen, limits.low, limits.high, out=kept)

    def _array(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory that is used again and again, channels last."""
        needed = math.prod(shape)
        held = self._memory.get(name)
        if held is None or held.numel() < needed:
            held = self._memory[name] = torch.empty(needed, dtype=like.dtype, device=like.device)
        count, channels, height, width = shape
        return held[:needed].view(count, height, width, channels).permute(0, 3, 1, 2)


def _pointwise(seen: Tensor, folded: _Clamped) -> Tensor:
    return functional.conv2d(seen, folded.weight, folded.bias)


def _layer(parts: Any) -> tuple[_Clamped, Tensor]:
    first = _clamped(parts.norm1, parts.conv1.weight)
    weight, bias = _folded(first.weight, parts.norm2, first.bias)
    return _Clamped(first.low, first.high, weight, bias), _last_channels(parts.conv2.weight)


def _clamped(norm: Any, weight: Tensor) -> _Clamped:
    scale, shift = (part.flatten() for part in _affine(norm))
    edge, flat = -shift / torch.where(scale == 0, 1, scale), scale == 0
    low = torch.where(scale > 0, edge, -math.inf).masked_fill(flat, 0.0)
    high = torch.where(scale < 0, edge, math.inf).masked_fill(flat, 0.0)
    constant = torch.where(flat, shift.clamp(min=0), shift)
    folded = _last_channels(weight * scale.view(1, -1, 1, 1))
    return _Clamped(low.view(1, -1, 1, 1), high.view(1, -1, 1, 1), folded, weight[:, :, 0, 0] @ constant)


def _folded(weight: Tensor, norm: Any, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution and the normalisation after it as one."""
    scale, shift = (part.flatten() for part in _affine(norm))
    return _last_channels(weight * scale.view(-1, 1, 1, 1)), shift if bias is None else shift + scale * bias


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a normalisation in evaluation mode, (1, C, 1, 1)."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale.view(1, -1, 1, 1), (norm.bias - norm.running_mean * scale).view(1, -1, 1, 1)


def _last_channels(weight: Tensor) -> Tensor:
    return weight.detach().contiguous(memory_format=torch.channels_last)
