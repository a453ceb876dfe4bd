"""Pixels as a space for finding copies: area-downsampled to 32x32, zero mean and unit length per image.

No weights. A change of brightness or contrast drops out; small shifts are left to the metric. Averaging over areas
suppresses noise and cannot alias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadOption
from ..types import Array

REVISION = 1
SIZE = 32
_CHUNK = 256


class Extractor:
    """Small pixels, (n, C, 32, 32) float32."""

    REVISION = REVISION
    name = "pixels"
    dimensions = SIZE * SIZE

    def __init__(self, *, weights: Path | None = None) -> None:
        """Make the extractor.

        Raises:
            BadOption: Weights were given; there are none here.
        """
        if weights is not None:
            raise BadOption("Only a network takes weights", "pixels has none", "Leave its weights out")

    def manifest(self) -> dict[str, Any]:
        """Return what the values depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": f"area {SIZE}x{SIZE}",
            "channels": "as stored",
            "normalisation": "zero mean, unit length per image",
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, C, 32, 32) float32 of images (n, C, H, W); a constant image becomes zeros.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel.
        """
        rows, columns = (area_weights(side, SIZE) for side in images.shape[2:])
        small = np.empty((*images.shape[:2], SIZE, SIZE), np.float32)
        for start in range(0, len(images), _CHUNK):
            block = (images[start : start + _CHUNK].astype(np.float64) - value_range[0]) / (
                value_range[1] - value_range[0]
            )
            block = rows @ block @ columns.T
            block -= block.mean(axis=(1, 2, 3), keepdims=True)
            length = np.sqrt((block**2).sum(axis=(1, 2, 3), keepdims=True))
            small[start : start + _CHUNK] = np.divide(block, length, out=np.zeros_like(block), where=length > 1e-9)
        return small


def area_weights(before: int, after: int) -> npt.NDArray[np.float64]:
    """Return the (after, before) matrix whose row i averages over the part of the input that output pixel i covers."""
    edges = np.arange(after + 1) * (before / after)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(before)[None, :]
    overlap: npt.NDArray[np.float64] = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    overlap /= overlap.sum(axis=1, keepdims=True)
    return overlap
