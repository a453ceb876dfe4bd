"""Laying one image over another: similarity transforms, found by Gauss-Newton steps on band-passed images.

Source: Lucas and Kanade 1981, forward additive, as Baker and Matthews 2004 (Int. J. Comput. Vis. 56:221) write it, with
gain and offset solved for in each step. Coordinates run from -1 to 1 over the image's side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = ((1.5, 5.0), (0.7, 3.0))
"""Deviations, in pixels, of the two Gaussians whose difference is the band: coarse first."""
STEPS = 5
_LONGEST, _FURTHEST = (0.05, 0.05, 0.06, 0.06), (0.3, 0.17, 0.45, 0.45)
"""Most that a, b, x and y may change in a step, and be: window 0.77 to 1.4, about 10 degrees, a quarter of the side."""
_DAMPING, _LEAST_GAIN = 0.02, 0.15


def sampled(images: Tensor, placements: Tensor) -> Tensor:
    """Return images (n, C, S, S) seen through placements (n, 4); beyond the edge the edge is repeated.

    A placement a, b, x, y takes the pixel at (u, v) from ((1 + a) u - b v + x, b u + (1 + a) v + y).
    """
    a, b, x, y = placements[:, :, None, None].unbind(1)
    u, v = _coordinates(images.shape[-1])
    grid = torch.stack([(1 + a) * u - b * v + x, b * u + (1 + a) * v + y], -1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def laid_back(images: Tensor, placement: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return images (n, C, S, S) undone by one placement (4,), averaged to (n, C, s, s), and (s, s) 1 where they are.

    Args:
        images: What is a placed version of others.
        placement: How it was placed.
        factor: S / s.
    """
    scale, b, x, y = (float(value) for value in placement)
    scale += 1
    length = scale**2 + b**2
    back = torch.tensor([scale / length - 1, -b / length, -(scale * x + b * y) / length, (b * x - scale * y) / length])
    seen = functional.avg_pool2d(sampled(images, back.expand(len(images), 4)), factor)
    u, v = _coordinates(seen.shape[-1])
    across, down = (1 + back[0]) * u - back[1] * v + back[2], back[1] * u + (1 + back[0]) * v + back[3]
    return seen, ((across.abs() < 1) & (down.abs() < 1)).float()


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Return images (n, C, S, S), those of `which` (n,) with left and right exchanged."""
    return torch.where(which[:, None, None, None], images.flip(-1), images)


def registered(wanted: Tensor, originals: Tensor, placements: Tensor) -> Tensor:
    """Return placements (n, 4) through which the originals look most like the wanted images, from starts nearby.

    Args:
        wanted: (n, 1, S, S).
        originals: (n, 1, S, S).
        placements: (n, 4) where to start.
    """
    for fine, coarse in LEVELS:
        target = _band(wanted, fine, coarse).flatten(1)
        shown = _with_slopes(_band(originals, fine, coarse))
        for _ in range(STEPS):
            placements = _stepped(target, sampled(shown, placements), placements)
    return placements


def _stepped(target: Tensor, seen: Tensor, placements: Tensor) -> Tensor:
    """Return placements after one step, given the target (n, S * S) and an image with slopes (n, 3, S, S) as seen."""
    u, v = _coordinates(seen.shape[-1])
    image, across, down = seen.unbind(1)
    effects = [image, torch.ones_like(image), across * u + down * v, down * u - across * v, across, down]
    matrix = torch.stack(effects, -1).flatten(1, 2)
    normal = matrix.transpose(1, 2) @ matrix
    damping = torch.tensor([1e-4] * 2 + [_DAMPING] * 4)
    damped = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * damping + 1e-8)
    solved = torch.linalg.solve(damped, matrix.transpose(1, 2) @ target[:, :, None])[:, :, 0]
    longest, furthest = torch.tensor(_LONGEST), torch.tensor(_FURTHEST)
    step = solved[:, 2:] / solved[:, :1].clamp(min=_LEAST_GAIN)
    moved = placements + torch.maximum(torch.minimum(step, longest), -longest)
    return torch.maximum(torch.minimum(moved, furthest), -furthest)


def _with_slopes(images: Tensor) -> Tensor:
    """Return images (n, 1, S, S) with their slopes across and down per unit of the coordinates, (n, 3, S, S)."""
    unit = images.shape[-1] / 4  # central differences span two pixels of 2 / S each
    across = functional.pad(images[..., 2:] - images[..., :-2], (1, 1, 0, 0), mode="replicate") * unit
    down = functional.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1), mode="replicate") * unit
    return torch.cat([images, across, down], 1)


def _band(images: Tensor, fine: float, coarse: float) -> Tensor:
    return _smoothed(images, fine) - _smoothed(images, coarse)


def _smoothed(images: Tensor, deviation: float) -> Tensor:
    reach = int(3 * deviation + 1)
    weights = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    across = functional.conv2d(functional.pad(images, (reach, reach, 0, 0), mode="replicate"), weights)
    return functional.conv2d(
        functional.pad(across, (0, 0, reach, reach), mode="replicate"), weights.transpose(-1, -2).contiguous()
    )


def _coordinates(side: int) -> tuple[Tensor, Tensor]:
    """Return (u, v), each (side, side): across and down."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(line, line, indexing="ij")
    return u, v
