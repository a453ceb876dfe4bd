"""Adaptive discriminator augmentation (Karras et al. 2020b, arXiv:2006.06676, sec. 2 and app. B): the pipe `bgc`.

What the critic sees of real and generated images goes through random operations, each with probability p, which follows
how far the critic overfits. Flips and quarter turns of the pipe change anatomy and are there by name only.

Differences from the published code: resampling with the sym6 wavelet is written as products with two fixed matrices,
the image goes on by reflection as far as a transformation reaches (there: a margin that depends on the batch), and
images have any number of channels. Mask channels are moved with their image and keep their values.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import parallel
from ..nets.generator import Draws

Pipe = Literal["none", "anatomy", "bgc"]
SHIFT, SCALE, SQUEEZE, FINE_SHIFT = 0.125, 0.2, 0.2, 0.125  # of the side, log2, log2, of the side
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0  # of half the range, log2, log2
TARGET, EVERY, IMAGES_TO_ONE = 0.6, 4, 500_000
GATES, UNIFORMS, NORMALS = 13, 8, 7
# Symlet with six vanishing moments (Daubechies 1992, table 6.3); a test checks what defines it.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
CENTRE = 5  # tap that stands over its pixel: the centroid is 5.10


class Plan(NamedTuple):
    """What happens to each image.

    Attributes:
        inverse: (B, 2, 3), from where in the image, in pixels from its middle, (x, y) a place of the result is taken.
        mix: (B, C, C), how image channels are mixed.
        offset: (B, C, 1), what is added then.
    """

    inverse: Tensor
    mix: Tensor
    offset: Tensor


class Augmentation(nn.Module):
    """The pipe, its probability and what moves it.

    Args:
        image_channels: Leading channels that colour operations apply to.
        side: Of the images, at least 8.
        pipe: "anatomy" is "bgc" without flips and quarter turns.
    """

    probability: Tensor
    signs: Tensor
    up: Tensor
    down: Tensor

    def __init__(self, image_channels: int, side: int, pipe: Pipe) -> None:
        super().__init__()
        self.image_channels, self.side, self.pipe = image_channels, side, pipe
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))
        up, down = resampling(side)
        self.register_buffer("up", up, persistent=False)
        self.register_buffer("down", down, persistent=False)

    @torch.no_grad()
    def follow(self, scores: Tensor, *, step: int, batch: int) -> None:
        """Note the signs of the scores (B,) of real images; every fourth step move the probability.

        Args:
            scores: Of this device's images.
            step: Steps before this one.
            batch: Images in the step, those of all devices.
        """
        self.signs += parallel.mean(scores.sign().mean())
        if (step + 1) % EVERY == 0:
            self.probability += (self.signs / EVERY - TARGET).sign() * (batch * EVERY / IMAGES_TO_ONE)
            self.probability.clamp_(0, 1)
            self.signs.zero_()

    def draw(self, count: int, rng: Draws) -> Plan:
        """Return what happens to `count` images at the present probability."""
        u, n = rng.uniform(count, UNIFORMS), rng.normal(count, NORMALS)
        limits = self.probability.repeat(GATES)
        limits[4:7:2] = 1 - (1 - self.probability).sqrt()  # two rotations: either happens with `probability`
        on = (rng.uniform(count, GATES) < limits).float()
        with torch.autocast(u.device.type, enabled=False):
            return Plan(self._moved(on, u, n)[:, :2], *self._coloured(on, u, n))

    def _moved(self, on: Tensor, u: Tensor, n: Tensor) -> Tensor:
        mirror = float(self.pipe == "bgc")
        shift = ((2 * u[:, 2:4] - 1) * SHIFT * self.side).round() * on[:, 2:3]
        zoom, squeeze = torch.exp2(-n[:, 0] * SCALE * on[:, 3]), torch.exp2(n[:, 1] * SQUEEZE * on[:, 5])
        fine = n[:, 2:4] * FINE_SHIFT * self.side * on[:, 7:8]
        flip = 1 - 2 * (2 * u[:, 0]).floor() * on[:, 0] * mirror
        inverse = _scaled(flip, torch.ones_like(flip))
        inverse = inverse @ _turned((4 * u[:, 1]).floor() * (math.pi / 2) * on[:, 1] * mirror)
        inverse = inverse @ _shifted(-shift) @ _scaled(zoom, zoom)
        inverse = inverse @ _turned((2 * u[:, 4] - 1) * math.pi * on[:, 4]) @ _scaled(1 / squeeze, squeeze)
        return inverse @ _turned((2 * u[:, 5] - 1) * math.pi * on[:, 6]) @ _shifted(-fine)

    def _coloured(self, on: Tensor, u: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        channels = self.image_channels
        grey = torch.full((channels, channels), 1 / channels, device=n.device)  # what all channels have in common
        one = torch.eye(channels, device=n.device)
        brightness, contrast = n[:, 4] * BRIGHTNESS * on[:, 8], torch.exp2(n[:, 5] * CONTRAST * on[:, 9])
        invert = (2 * u[:, 6]).floor() * on[:, 10]
        mix = contrast[:, None, None] * (one - 2 * invert[:, None, None] * grey)
        offset = mix.sum(2, keepdim=True) * brightness[:, None, None]
        if channels == 3:
            hue = ((2 * u[:, 7] - 1) * math.pi * on[:, 11])[:, None, None]
            across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=n.device) / math.sqrt(3)
            turn = hue.cos() * (one - grey) + hue.sin() * across + grey
            colour = torch.exp2(n[:, 6] * SATURATION * on[:, 12])[:, None, None]
            change = (grey + colour * (one - grey)) @ turn
            mix, offset = change @ mix, change @ offset
        return mix, offset

    def forward(self, joint: Tensor, plan: Plan) -> Tensor:
        """Return images (B, C + K, H, W) float32 as planned; masks as K channels after the image's C.

        Differentiable twice in the images, as gradient penalties need.
        """
        with torch.autocast(joint.device.type, enabled=False):
            fine = self.up @ joint.float().contiguous() @ self.up.T
            fine = cast("Tensor", _Taken.apply(fine, self.places(plan.inverse)))  # type: ignore[no-untyped-call]
            moved = self.down @ fine @ self.down.T
            image, mask = moved.split([self.image_channels, moved.shape[1] - self.image_channels], 1)
            image = torch.baddbmm(plan.offset, plan.mix, image.flatten(2)).view_as(image)
            return torch.cat([image, mask], 1)

    def places(self, inverse: Tensor) -> Tensor:
        """Return (B, M, M, 2), where each place of the finer grid comes from, in [-1, 1] over that grid."""
        count, end = len(self.up), 2.0 * (self.side - 1)  # the grid has two steps a pixel; pixels stand at 0 ... end
        steps = torch.arange(count, device=inverse.device) - float(CENTRE)
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        here = torch.stack([columns - end / 2, rows - end / 2, torch.full_like(rows, 2)]).flatten(1)
        there = (inverse @ here + end / 2).mT.reshape(-1, count, count, 2)
        turned = (there % (2 * end)).minimum(2 * end - there % (2 * end))
        known = (there >= -CENTRE) & (there <= count - 1 - CENTRE)
        return (torch.where(known, there, turned) + CENTRE) * (2 / (count - 1)) - 1


def resampling(side: int) -> tuple[Tensor, Tensor]:
    """Return the matrices (M, side) to twice the side and (side, M) back, M = 2 side + 10; back after there is 1.

    The first reflects about the outermost pixels, as often as the filter asks for.
    """
    taps, reach = math.sqrt(2) * np.array(SYM6), len(SYM6)
    up, down = np.zeros((2 * side + reach - 2, side)), np.zeros((side, 2 * side + reach - 2))
    for pixel in range(-reach, side + reach):
        inside = (side - 1) - abs((side - 1) - pixel % (2 * side - 2))
        for tap, value in enumerate(taps):
            row = 2 * pixel + tap
            if 0 <= row < len(up):
                up[row, inside] += value
            if 0 <= pixel < side:
                down[pixel, row] = value / 2
    return torch.from_numpy(up).float(), torch.from_numpy(down).float()


class _Taken(torch.autograd.Function):
    """Bilinear sampling; PyTorch's own has a gradient, and none of its gradient."""

    @staticmethod
    def forward(ctx: Any, fine: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return functional.grid_sample(fine, places, padding_mode="border", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return cast("Tensor", _Given.apply(slopes[0], *ctx.saved_tensors)), None  # type: ignore[no-untyped-call]


class _Given(torch.autograd.Function):
    """The transpose of `_Taken`, which sampled a grid of the same shape."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        given: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            slope.contiguous(), torch.zeros_like(slope), places, 0, 1, True, [True, False]
        )[0]
        return given

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return cast("Tensor", _Taken.apply(slopes[0], *ctx.saved_tensors)), None  # type: ignore[no-untyped-call]


def _scaled(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1))


def _turned(angle: Tensor) -> Tensor:
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    matrices: Tensor = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], 1).unflatten(1, (3, 3))
    return matrices


def _shifted(by: Tensor) -> Tensor:
    moved = torch.eye(3, device=by.device).repeat(len(by), 1, 1)
    moved[:, :2, 2] = by
    return moved
