"""What the network extractors share: grey to RGB, chunks, and exact float32 inference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError
from ..types import Array

CHUNK = 32


def as_rgb(images: Array, value_range: tuple[float, float], device: torch.device) -> torch.Tensor:
    """Return stored images (b, C, H, W) as float32 (b, 3, H, W) in 0 to 255; grey is repeated three times.

    Deeper pixels than 8 bits keep their fractions: they are scaled, not rounded.

    Raises:
        InputError: C is neither 1 nor 3.
    """
    if images.shape[1] not in (1, 3):
        raise InputError("A network extractor takes grey or RGB images", f"{images.shape[1]} channels", "Use pixels")
    low, high = value_range
    scaled = (images.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return torch.from_numpy(scaled).to(device).expand(-1, 3, -1, -1)


def in_chunks(
    forward: Callable[[torch.Tensor], torch.Tensor],
    images: Array,
    value_range: tuple[float, float],
    dimensions: int,
    device: torch.device,
) -> npt.NDArray[np.float32]:
    """Return `forward` of every image, (n, dimensions) float32, a chunk at a time.

    TF32 is off: it would move features by about 1e-3, more than any two implementations differ.
    """
    features = np.empty((len(images), dimensions), np.float32)
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
    with torch.inference_mode(), exact:
        for start in range(0, len(images), CHUNK):
            rgb = as_rgb(images[start : start + CHUNK], value_range, device)
            features[start : start + CHUNK] = forward(rgb).float().cpu().numpy()
    return features
