"""The networks of `cpdgan` (DuMont Schütte et al. 2021, arXiv 2012.03769, supplement S.2.2 and its released code).

Nothing grows: the generator sums an image over all sides, the critic has residual blocks. Noise and labels steer every
norm of the generator, and the critic's score is read out by the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ._equalised import Conv2d, DownConv2d, Linear, UpConv2d, pixel_norm
from ._progressive_networks import CriticEnd, FirstMap, doubled, lrelu

FanIn = Literal["outputs", "inputs"]
Projection = Literal["labels", "miyato"]


@dataclass(frozen=True)
class Start:
    """What an untrained generator does with the latent vector.

    Attributes:
        scale: What the scales of its norms are around.
        norm_gain: How far the latent vector and the labels move them, and the shifts.
        image_gain: Of the layers that make the image.
    """

    scale: float
    norm_gain: float
    image_gain: float


STARTS = {"study": Start(0.0, 1.0, 1.0), "calm": Start(1.0, 0.25, 0.3)}


class ConditionalPixelNorm(nn.Module):
    """Pixel norm whose scale and shift per channel are affine in the latent vector and the labels (S.2.2, eq. 1).

    No 1 is added to the scale, which starts as a random number of each sample, around 0 in the study.

    Args:
        inputs: Length of the vector.
        width: Channels.
        start: Biases before training, 0 for shifts, and the gain of the affine layer.
    """

    def __init__(self, inputs: int, width: int, start: Start) -> None:
        super().__init__()
        self.affine = Linear(inputs, 2 * width, gain=start.norm_gain)
        assert self.affine.bias is not None, "it was asked for"
        with torch.no_grad():
            self.affine.bias[:width] = start.scale

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Return x (B, width, H, W), each place divided by its root mean square over channels, scaled and shifted."""
        scale, shift = self.affine(vector).to(x.dtype)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, pixel_norm(x), scale)


class CpdGenerator(nn.Module):
    """From a vector to an image, the sum of what every side adds; no tanh.

    Args:
        inputs: Length of the vector, latent and labels.
        widths: Channels at side 4, 8, ..., R.
        channels: Channels of the image.
        normalise: Whether the first layer sees the vector divided by its root mean square; the norms never do.
        fan_in: Which channels the weights of an up-sampling convolution are scaled by.
        start: How it starts.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], channels: int, *, normalise: bool, fan_in: FanIn, start: Start
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.first, self.conv = FirstMap(inputs, widths[0], 1.0), Conv2d(widths[0], widths[0], 3)
        self.ups = nn.ModuleList(
            UpConv2d(low, width, gain=math.sqrt(2), fan_in=9 * (width if fan_in == "outputs" else low))
            for low, width in pairwise(widths)
        )
        self.convs = nn.ModuleList(Conv2d(width, width, 3) for width in widths[1:])
        self.norms = nn.ModuleList(ConditionalPixelNorm(inputs, width, start) for width in widths for _ in range(2))
        self.to_image = nn.ModuleList(Conv2d(width, channels, 1, gain=start.image_gain) for width in widths)

    def forward(self, vector: Tensor) -> Tensor:
        """Return (B, channels, R, R), float32, mostly in [-1, 1]."""
        norms = iter(self.norms)
        x = next(norms)(self.first(pixel_norm(vector) if self.normalise else vector), vector)
        x = next(norms)(lrelu(self.conv(x)), vector)
        image: Tensor = self.to_image[0](x).float()
        for up, conv, to_image in zip(self.ups, self.convs, self.to_image[1:], strict=True):
            x = next(norms)(lrelu(up(x)), vector)
            x = next(norms)(lrelu(conv(x)), vector)
            image = doubled(image) + to_image(x).float()
        return image


class ResidualBlock(nn.Module):
    """Two convolutions, the second halves the side, beside a 1x1 convolution that does the same; divided by sqrt(2).

    Args:
        width: Channels in.
        low: Channels out.
    """

    def __init__(self, width: int, low: int) -> None:
        super().__init__()
        self.conv, self.down = Conv2d(width, width, 3), DownConv2d(width, low, gain=math.sqrt(2))
        self.skip = Conv2d(width, low, 1, gain=math.sqrt(2), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, low, H / 2, W / 2) of x (B, width, H, W)."""
        main = lrelu(self.down(lrelu(self.conv(x))))
        # The mean of 2x2 places first: the same numbers for a quarter of the products.
        total: Tensor = (main + self.skip(avg_pool2d(x, 2))) * math.sqrt(0.5)
        return total


class CpdCritic(nn.Module):
    """From an image and its labels to a score.

    With features h after the last layer and labels y, "labels" scores sum_k y_k (w_k . h + b_k), and "miyato" scores
    w . h + b + sum_k y_k v_k . h (Miyato & Koyama 2018, arXiv 1802.05637, eq. 3). Without findings both are w . h + b.

    Args:
        channels: Channels of the image.
        widths: Channels at side 4, 8, ..., R.
        labels: Number of findings.
        projection: Which score.
    """

    def __init__(self, channels: int, widths: Sequence[int], labels: int, projection: Projection) -> None:
        super().__init__()
        self.from_image = Conv2d(channels, widths[-1], 1)
        self.blocks = nn.ModuleList(ResidualBlock(width, low) for low, width in reversed(list(pairwise(widths))))
        self.end = CriticEnd(widths[0], 1.0)
        self.by_labels = projection == "labels" and labels > 0
        self.output = Linear(widths[0], labels if self.by_labels else 1)
        self.projection = Linear(widths[0], labels, bias=False) if labels and not self.by_labels else None

    def forward(self, images: Tensor, labels: Tensor, parts: int = 1) -> Tensor:
        """Return scores (B,), float32, of (B, C, R, R) images that are said to show labels (B, L).

        The images are `parts` batches of equal size after each other: the result is that of a pass for each.
        """
        x = lrelu(self.from_image(images))
        for block in self.blocks:
            x = block(x)
        features = self.end(x, parts)
        scores: Tensor = self.output(features).float()
        if self.by_labels:
            return (labels * scores).sum(1)
        if self.projection is None:
            return scores[:, 0]
        told: Tensor = scores[:, 0] + (labels * self.projection(features).float()).sum(1)
        return told
