"""The Inception network of December 2015 that FID is defined on, as a table and a walk over it.

Sources: Szegedy et al. 2015 (arXiv:1512.00567) for the blocks; the frozen TensorFlow graph of 2015-12-05 for what
differs: convolutions without bias, batch normalisation with epsilon 0.001, average pooling that does not count the
padding, max pooling in the pool branch of the last block, 1008 outputs (not used here). Layer names are those under
which the weights are published for PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

DIMENSIONS = 2048
SIDE = 299
_EPSILON = 1e-3


@dataclass(frozen=True)
class _Conv:
    """One convolution with batch normalisation and ReLU; stride 2 goes without padding, stride 1 keeps the size."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


_Step = _Conv | str | tuple["_Conv", "_Conv"]  # a convolution, a pooling, or a fork of two whose outputs are joined
_Branch = tuple[_Step, ...]


def _block_a(pool_width: int) -> tuple[_Branch, ...]:
    return (
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5))),
        (
            _Conv("branch3x3dbl_1", 64),
            _Conv("branch3x3dbl_2", 96, (3, 3)),
            _Conv("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("average", _Conv("branch_pool", pool_width)),
    )


_BLOCK_B: tuple[_Branch, ...] = (
    (_Conv("branch3x3", 384, (3, 3), 2),),
    (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _Conv("branch3x3dbl_3", 96, (3, 3), 2)),
    ("reduce",),
)


def _block_c(width: int) -> tuple[_Branch, ...]:
    return (
        (_Conv("branch1x1", 192),),
        (_Conv("branch7x7_1", width), _Conv("branch7x7_2", width, (1, 7)), _Conv("branch7x7_3", 192, (7, 1))),
        (
            _Conv("branch7x7dbl_1", width),
            _Conv("branch7x7dbl_2", width, (7, 1)),
            _Conv("branch7x7dbl_3", width, (1, 7)),
            _Conv("branch7x7dbl_4", width, (7, 1)),
            _Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average", _Conv("branch_pool", 192)),
    )


_BLOCK_D: tuple[_Branch, ...] = (
    (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, (3, 3), 2)),
    (
        _Conv("branch7x7x3_1", 192),
        _Conv("branch7x7x3_2", 192, (1, 7)),
        _Conv("branch7x7x3_3", 192, (7, 1)),
        _Conv("branch7x7x3_4", 192, (3, 3), 2),
    ),
    ("reduce",),
)


def _block_e(pooling: str) -> tuple[_Branch, ...]:
    return (
        (_Conv("branch1x1", 320),),
        (
            _Conv("branch3x3_1", 384),
            (_Conv("branch3x3_2a", 384, (1, 3)), _Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            _Conv("branch3x3dbl_1", 448),
            _Conv("branch3x3dbl_2", 384, (3, 3)),
            (_Conv("branch3x3dbl_3a", 384, (1, 3)), _Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pooling, _Conv("branch_pool", 192)),
    )


_STEM: _Branch = (
    _Conv("Conv2d_1a_3x3", 32, (3, 3), 2),
    _Conv("Conv2d_2a_3x3", 32, (3, 3), padded=False),
    _Conv("Conv2d_2b_3x3", 64, (3, 3)),
    "reduce",
    _Conv("Conv2d_3b_1x1", 80),
    _Conv("Conv2d_4a_3x3", 192, (3, 3), padded=False),
    "reduce",
)
_BLOCKS: dict[str, tuple[_Branch, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("max"),
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the state dict that the features need."""
    wanted: dict[str, tuple[int, ...]] = {}
    for name, channels, conv in _convolutions():
        wanted[f"{name}.conv.weight"] = (conv.width, channels, *conv.kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            wanted[f"{name}.bn.{part}"] = (conv.width,)
    return wanted


def _convolutions() -> Iterator[tuple[str, int, _Conv]]:
    channels = 3
    found, channels = _of_branch("", _STEM, channels)
    yield from found
    for block, branches in _BLOCKS.items():
        parts = [_of_branch(f"{block}.", branch, channels) for branch in branches]
        for found, _ in parts:
            yield from found
        channels = sum(width for _, width in parts)


def _of_branch(prefix: str, branch: _Branch, channels: int) -> tuple[list[tuple[str, int, _Conv]], int]:
    found: list[tuple[str, int, _Conv]] = []
    for step in branch:
        if isinstance(step, str):
            continue
        convs = step if isinstance(step, tuple) else (step,)
        found.extend((prefix + conv.name, channels, conv) for conv in convs)
        channels = sum(conv.width for conv in convs)
    return found, channels


class Network:
    """The network with given weights, batch normalisation folded into the convolutions in float64.

    Args:
        tensors: A state dict that holds at least `shapes()`.
        device: Where to compute.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        self.device = device
        self._folded = {name: _fold(tensors, name, device) for name, _, _ in _convolutions()}

    def features(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return (b, 2048) float32 features of RGB images (b, 3, H, W) in 0 to 255."""
        x = (resize(rgb, SIDE) - 128) / 128
        x = self._branch(x.contiguous(memory_format=torch.channels_last), "", _STEM)
        for block, branches in _BLOCKS.items():
            x = torch.cat([self._branch(x, f"{block}.", branch) for branch in branches], dim=1)
        return x.mean(dim=(2, 3))

    def _branch(self, x: torch.Tensor, prefix: str, branch: _Branch) -> torch.Tensor:
        for step in branch:
            if isinstance(step, str):
                x = _pool(x, step)
            elif isinstance(step, tuple):
                x = torch.cat([self._conv(x, prefix, conv) for conv in step], dim=1)
            else:
                x = self._conv(x, prefix, step)
        return x

    def _conv(self, x: torch.Tensor, prefix: str, conv: _Conv) -> torch.Tensor:
        weight, bias = self._folded[prefix + conv.name]
        padded = conv.padded and conv.stride == 1
        padding = (conv.kernel[0] // 2, conv.kernel[1] // 2) if padded else (0, 0)
        return functional.conv2d(x, weight, bias, conv.stride, padding).relu_()


def _fold(tensors: Mapping[str, torch.Tensor], name: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    gain, bias, mean, variance = (
        tensors[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + _EPSILON).sqrt()
    weight = (tensors[f"{name}.conv.weight"].double() * scale[:, None, None, None]).float()
    return (
        weight.to(device).contiguous(memory_format=torch.channels_last),
        (bias - mean * scale).float().to(device),
    )


def _pool(x: torch.Tensor, kind: str) -> torch.Tensor:
    if kind == "average":
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    if kind == "max":
        return functional.max_pool2d(x, 3, 1, 1)
    return functional.max_pool2d(x, 3, 2)  # "reduce"


def resize(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return images resized as TensorFlow 1 did: bilinear, pixel i at i * scale (no half-pixel shift), not antialiased.

    It aliases when shrinking; FID is defined with it all the same.
    """
    for dim in (3, 2):
        before = images.shape[dim]
        place = torch.arange(side, device=images.device, dtype=torch.float32) * (before / side)
        low = place.long()
        high = (low + 1).clamp_max(before - 1)
        share = (place - low).view(-1, *([1] * (3 - dim)))
        left = images.index_select(dim, low)
        images = left + (images.index_select(dim, high) - left) * share
    return images
