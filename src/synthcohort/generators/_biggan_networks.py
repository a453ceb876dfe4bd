"""Networks of `biggan`, as study 003 describes them in S.2.3.

Brock, Donahue and Simonyan 2019 (arXiv 1809.11096) with the attention of Zhang et al. 2019 (arXiv 1805.08318). The
study's sentences leave the widths open and name the rectifier before the norm; here both are as in Brock et al., on
which it is "largely based" (norm, rectifier, resampling, convolution; appendix B), with at most 256 features. One
self-attention layer stands in place of the residual block at half the full side, behind the resampling and the 1x1
convolution of that block's skip.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import avg_pool2d, relu

from ..errors import InputError
from ..parallel import BatchNorm2d
from ._spectral import normalise_spectrally

FIRST_SIDE, MIN_SIDE, MAX_FEATURES = 4, 16, 256
EMBEDDING = 128  # length of what a label vector becomes before it is shared by all layers


def stage_widths(shape: tuple[int, int, int], width: int) -> list[int]:
    """Return the features at side 4, 8, ... up to the full side: `width` there, twice as many at half the side.

    Raises:
        InputError: The images are not square, or their side is no power of two from 16.
    """
    height, across = shape[1:]
    if height != across or height < MIN_SIDE or height & (height - 1):
        raise InputError(
            f"BigGAN makes square images with a power of two from {MIN_SIDE} as side",
            f"these are {height}x{across}",
            "Prepare the cohort with --size 32, 64 or 128",
        )
    doublings = (height // FIRST_SIDE).bit_length() - 1
    return [min(width << level, MAX_FEATURES) for level in reversed(range(doublings + 1))]


def doubled(x: Tensor) -> Tensor:
    """Return x (B, C, H, W) at twice the side, every value four times."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition (de Vries et al. 2017); the gain is 1 plus that.

    Args:
        width: Features.
        condition: Length of the condition.
    """

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(width, affine=False)
        self.gain = nn.Linear(condition, width, bias=False)
        self.bias = nn.Linear(condition, width, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        out: Tensor = self.norm(x) * gain[:, :, None, None] + bias[:, :, None, None]
        return out


class UpBlock(nn.Module):
    """Residual block of the generator, (B, inputs, H, W) to (B, outputs, 2H, 2W).

    Args:
        inputs: Features in.
        outputs: Features out; the first convolution has them already.
        condition: Length of the condition.
    """

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(inputs, condition), ConditionalNorm(outputs, condition)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (B, outputs, 2H, 2W)."""
        y = self.conv1(doubled(relu(self.norm1(x, condition))))
        y = self.conv2(relu(self.norm2(y, condition)))
        out: Tensor = y + doubled(self.skip(x))  # commutes with the doubling and costs a quarter before it
        return out


class DownBlock(nn.Module):
    """Residual block of the critic, (B, inputs, H, W) to (B, outputs, H/2, W/2).

    Args:
        inputs: Features in.
        outputs: Features out; the first convolution has them already.
        first: Whether it sees the image, which is not rectified.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H/2, W/2)."""
        y = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        out: Tensor = avg_pool2d(y, 2) + self.skip(avg_pool2d(x, 2))
        return out


class SelfAttention(nn.Module):
    """x + strength * attention of every place to the places of half the side, (B, width, H, W); strength starts at 0.

    Args:
        width: Features, a multiple of 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(width, width // 8, 1, bias=False)
        self.key = nn.Conv2d(width, width // 8, 1, bias=False)
        self.value = nn.Conv2d(width, width // 2, 1, bias=False)
        self.out = nn.Conv2d(width // 2, width, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H, W)."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = functional.max_pool2d(self.key(x), 2).flatten(2).transpose(1, 2)
        value = functional.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        # Logits without a scale, as in the paper.
        seen = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        attended: Tensor = x + self.strength * self.out(seen.transpose(1, 2).unflatten(2, x.shape[2:]))
        return attended


class UpAttention(nn.Module):
    """Self-attention in place of an `UpBlock`; it has no norm, so it is told nothing."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip, self.attention = nn.Conv2d(inputs, outputs, 1), SelfAttention(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, 2H, 2W)."""
        out: Tensor = self.attention(doubled(self.skip(x)))
        return out


class DownAttention(nn.Module):
    """Self-attention in place of a `DownBlock`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.attention, self.skip = SelfAttention(inputs), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H/2, W/2)."""
        out: Tensor = self.skip(avg_pool2d(self.attention(x), 2))
        return out


class GeneratorNetwork(nn.Module):
    """From a latent vector to an image in [-1, 1].

    The latent vector is cut into a piece for the dense layer and one for each residual block; each is told the labels.

    Args:
        widths: `stage_widths`.
        channels: Channels that are made.
        latent: Length of the latent vector; what the pieces leave over is not drawn.
        labels: Number of findings.
    """

    def __init__(self, widths: list[int], *, channels: int, latent: int, labels: int) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        self.pieces = len(steps)  # the dense layer's, and one for each step but the attention's
        self.piece = latent // self.pieces
        self.embedding = nn.Linear(labels, EMBEDDING, bias=False) if labels else None
        condition = self.piece + (EMBEDDING if labels else 0)
        self.dense = nn.Linear(condition, widths[0] * FIRST_SIDE**2)
        self.steps = nn.ModuleList(
            UpAttention(*step) if index == len(steps) - 2 else UpBlock(*step, condition)
            for index, step in enumerate(steps)
        )
        self.norm = BatchNorm2d(widths[-1])
        self.paint = nn.Conv2d(widths[-1], channels, 3, padding=1)
        orthogonal(self)
        normalise_spectrally(self)

    def forward(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        """Return (B, channels, R, R) for (B, pieces x piece) and labels (B, L)."""
        told = [] if self.embedding is None else [self.embedding(labels)]
        first, *rest = (torch.cat([piece, *told], 1) for piece in latent.split(self.piece, 1))
        x = self.dense(first).unflatten(1, (-1, FIRST_SIDE, FIRST_SIDE))
        for step in self.steps:
            x = step(x) if isinstance(step, UpAttention) else step(x, rest.pop(0))
        return torch.tanh(self.paint(relu(self.norm(x))))


class CriticNetwork(nn.Module):
    """From an image to one raw score: the sum of the features over all places, and its projection on the labels.

    Args:
        widths: `stage_widths`.
        channels: Channels that are seen.
        labels: Number of findings.
    """

    def __init__(self, widths: list[int], *, channels: int, labels: int) -> None:
        super().__init__()
        # The widths of the generator, mirrored: a step ends at the next coarser side, and has its features.
        steps = list(pairwise([channels, *widths[-2::-1]]))
        self.steps = nn.ModuleList(
            DownAttention(*step) if index == 1 else DownBlock(*step, first=index == 0)
            for index, step in enumerate(steps)
        )
        self.score = nn.Linear(widths[0], 1)
        self.projection = nn.Linear(labels, widths[0], bias=False) if labels else None
        orthogonal(self)
        normalise_spectrally(self)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return (B,) raw scores of (B, channels, R, R) that are said to show labels (B, L)."""
        x = images
        for step in self.steps:
            x = step(x)
        features = relu(x).sum((2, 3))
        score: Tensor = self.score(features).flatten()
        return score if self.projection is None else score + (features * self.projection(labels)).sum(1)


def orthogonal(network: nn.Module) -> None:
    """Draw orthogonal weights; biases are 0 (Saxe et al. 2014)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def overlap(network: nn.Module) -> Tensor:
    """Return the sum over weights W (outputs, inputs x kernel) of |W W^T without its diagonal|^2.

    Brock et al. 2019, eq. 3, of the weights before their spectral norm. W W^T and W^T W have the same norm, so the
    smaller of the two is computed; for orthogonal rows the difference of norms would be noise, and is not formed.
    """
    total = torch.zeros((), device=next(network.parameters()).device)
    with torch.autocast(total.device.type, enabled=False):
        for weight in network.parameters():
            if weight.dim() < 2:
                continue
            rows = weight.flatten(1)
            if len(rows) > rows.shape[1]:
                total = total + (rows.T @ rows).square().sum() - rows.square().sum(1).square().sum()
            else:
                products = rows @ rows.T
                total = total + (products - products.diag().diag()).square().sum()
    return total
