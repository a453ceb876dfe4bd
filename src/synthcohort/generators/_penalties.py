"""Penalties on the slope of a critic, which need the gradient of a gradient.

Never under autocast: the gradient of a gradient in bfloat16 is noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Return the mean over images of (|gradient of the score| - 1)^2, between real and fake ones.

    Two-sided, as in Gulrajani et al. 2017, eq. 3, without its weight. Not under autocast: the gradient of a gradient in
    bfloat16 is noise.

    Args:
        score: (B, C, H, W) -> (B,), each of its own image alone.
        real: (B, C, H, W); no gradient flows to it.
        fake: (B, C, H, W); no gradient flows to it.
        shares: (B, 1, 1, 1) in [0, 1], how much of each mixture is real.
    """
    with torch.autocast(real.device.type, enabled=False):
        mixed = torch.lerp(fake.to(real.dtype), real, shares).requires_grad_()
        (slope,) = torch.autograd.grad(score(mixed).sum(), mixed, create_graph=True)
        norms: Tensor = slope.flatten(1).norm(dim=1)
        return (norms - 1).square().mean()


def squared_slopes(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return (B,) squared norms of the gradient of each image's score: R1 on real images, R2 on fake ones.

    Mescheder et al. 2018 (arXiv 1801.04406, eq. 9), without the weight and its half.

    Args:
        score: (B, C, H, W) -> (B,), each of its own image alone.
        images: (B, C, H, W); no gradient flows to where they come from.
    """
    with torch.autocast(images.device.type, enabled=False):
        shown = images.detach().float().requires_grad_()
        (slope,) = torch.autograd.grad(score(shown).sum(), shown, create_graph=True)
        norms: Tensor = slope.flatten(1).square().sum(1)
        return norms
