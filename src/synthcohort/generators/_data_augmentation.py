"""Augmentation of the training images themselves, image and mask together: flips, shifts and rotations.

Study 000 switches it on and off and states no ranges. A rotation of up to 60 degrees is what its authors' cardiac code
does, and a horizontal flip what their liver code does; shifts are ours. What is drawn becomes part of what the
generator learns: rotated hearts, where hearts are rotated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..nets.generator import Draws

KINDS = ("flip", "rotation", "shift")
MOST_DEGREES, SHIFT_SHARE = 60.0, 1 / 8


def augmented(joint: Tensor, channels: int, kinds: tuple[str, ...], rng: Draws) -> Tensor:
    """Return square images as if seen flipped, rotated and shifted, (B, C, R, R) float32.

    Pixels are interpolated between their neighbours, mask channels are those of the nearest pixel, so a mask stays a
    mask. Beyond the border the border goes on.

    Args:
        joint: (B, C, R, R), images and mask channels.
        channels: How many of them, at the front, are image channels.
        kinds: Any of `KINDS`: a horizontal flip of every second image, a rotation by up to `MOST_DEGREES` either way, a
            shift by up to an eighth of the side each way. For none the images come back as they are.
        rng: Random numbers, drawn in the order of `KINDS`.
    """
    if not kinds:
        return joint
    with torch.autocast(joint.device.type, enabled=False):
        grid = _places(joint, kinds, rng)
        image = grid_sample(joint[:, :channels].float(), grid, "bilinear", "border", align_corners=False)
        mask = grid_sample(joint[:, channels:].float(), grid, "nearest", "border", align_corners=False)
        return torch.cat([image, mask], 1)


def _places(joint: Tensor, kinds: tuple[str, ...], rng: Draws) -> Tensor:
    """Return where each pixel comes from, (B, R, R, 2) as (x, y) from -1 to 1 between the image's edges."""
    count, side = len(joint), joint.shape[-1]
    middles = (2 * torch.arange(side, device=joint.device) + 1) / side - 1
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    flip = 1 - 2 * rng.integers(2, count, 1, 1) if "flip" in kinds else 1
    angle = _between(math.radians(MOST_DEGREES), rng, count) if "rotation" in kinds else torch.zeros(1, device=x.device)
    if "shift" in kinds:
        # The image is 2 wide in these units.
        x, y = x - _between(2 * SHIFT_SHARE, rng, count), y - _between(2 * SHIFT_SHARE, rng, count)
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack(torch.broadcast_tensors(flip * (cosine * x + sine * y), cosine * y - sine * x), -1)


def _between(most: float, rng: Draws, count: int) -> Tensor:
    return (2 * rng.uniform(count, 1, 1) - 1) * most
