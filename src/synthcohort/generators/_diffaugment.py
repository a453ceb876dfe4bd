"""Differentiable augmentation: the critic sees nothing but altered images, real and fake alike.

Zhao et al. 2020 (arXiv 2006.10738), each alteration with its published range and its own draw for each image. Colour
is altered in the image channels alone; translation and cutout move and empty the mask channels with them. What they
leave empty is 0: mid-grey in an image, and in the mask channels a level between -1 and +1 that no mask has. The critic
meets it among the real ones as often, so it tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import BadOption
from ..nets.generator import Draws

TRANSLATION_SHARE, CUTOUT_SHARE = 1 / 8, 1 / 2


def diffaugment(joint: Tensor, channels: int, policy: tuple[str, ...], rng: Draws) -> Tensor:
    """Return images altered in the order of the policy, (B, C, H, W) float32; gradients flow through.

    Args:
        joint: (B, C, H, W), images and mask channels.
        channels: How many of them, at the front, are image channels.
        policy: Any of "color", "translation" and "cutout"; for none the images come back as they are.
        rng: Random numbers, those of one alteration after the other.
    """
    for name in policy:
        joint = ALTERATIONS[name](joint.float(), channels, rng)
    return joint


def check_names(option: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuse names that are unknown or given twice.

    Raises:
        BadOption: One is.
    """
    if set(given) - set(known) or len(set(given)) < len(given):
        raise BadOption(f"Option '{option}' takes names, each once", ",".join(given), f"Choose from {', '.join(known)}")


def _color(joint: Tensor, channels: int, rng: Draws) -> Tensor:
    """Shift the brightness by U(-0.5, 0.5), then scale saturation by U(0, 2), then contrast by U(0.5, 1.5)."""
    count, image = len(joint), joint[:, :channels]
    image = image + rng.uniform(count, 1, 1, 1) - 0.5
    image = _scaled(image, image.mean(1, keepdim=True), rng.uniform(count, 1, 1, 1) * 2)
    image = _scaled(image, image.mean((1, 2, 3), keepdim=True), rng.uniform(count, 1, 1, 1) + 0.5)
    return torch.cat([image, joint[:, channels:]], 1)


def _scaled(image: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    return (image - middle) * factor + middle


def _translation(joint: Tensor, channels: int, rng: Draws) -> Tensor:
    """Move by whole pixels, up to an eighth of each side; what comes in is 0."""
    count, _, height, width = joint.shape
    (y, seen_y), (x, seen_x) = (_moved(side, count, rng) for side in (height, width))
    here = torch.arange(count, device=joint.device)[:, None, None]
    moved = joint.movedim(1, -1)[here, y[:, :, None], x[:, None, :]].movedim(-1, 1)
    return moved * (seen_y[:, :, None] & seen_x[:, None, :])[:, None]


def _moved(side: int, count: int, rng: Draws) -> tuple[Tensor, Tensor]:
    """Return where each of `side` places takes its pixel from, and whether that is inside; both (count, side)."""
    reach = _rounded(side, TRANSLATION_SHARE)
    shift = rng.integers(2 * reach + 1, count) - reach
    source = torch.arange(side, device=shift.device) - shift[:, None]
    return source.clamp(0, side - 1), (source >= 0) & (source < side)


def _cutout(joint: Tensor, channels: int, rng: Draws) -> Tensor:
    """Set a rectangle of half the height and width to 0; it may lie half outside."""
    count, _, height, width = joint.shape
    y, x = (_hole(side, count, rng) for side in (height, width))
    return joint * ~(y[:, :, None] & x[:, None, :])[:, None]


def _hole(side: int, count: int, rng: Draws) -> Tensor:
    """Return which of `side` places the hole covers, (count, side)."""
    size = _rounded(side, CUTOUT_SHARE)
    first = rng.integers(side + 1 - size % 2, count)[:, None] - size // 2
    place = torch.arange(side, device=first.device)
    return (place >= first) & (place < first + size)


def _rounded(side: int, share: float) -> int:
    return int(side * share + 0.5)


ALTERATIONS: dict[str, Callable[[Tensor, int, Draws], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
