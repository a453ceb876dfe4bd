"""Texture as a feature space without weights: how bright, how steep and how curved an image is, and how unevenly.

Quantiles over the image of intensity, gradient magnitude and absolute Laplacian, at full size and at half. What an
image shows is nearly invisible to it; blur, noise, wrong contrast and wrong edges are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import BadOption
from ..types import Array

REVISION = 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.97)
SCALES = 2
_CHUNK = 256


class Extractor:
    """Quantiles of intensity, gradient and Laplacian, (n, 36 per channel) float32."""

    REVISION = REVISION
    WEIGHTS: ClassVar[bool] = False
    FINDS_COPIES: ClassVar[bool] = False
    name = "texture"
    dimensions = SCALES * 3 * len(QUANTILES)

    def __init__(self, *, weights: Path | None = None) -> None:
        """Make the extractor.

        Raises:
            BadOption: Weights were given; there are none here.
        """
        if weights is not None:
            raise BadOption("Only a network takes weights", "texture has none", "Leave its weights out")

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "quantiles": list(QUANTILES),
            "scales": SCALES,
            "resize": "none; 2x2 means for the second scale",
            "channels": "each on its own",
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, 36 C) float32 of images (n, C, H, W) of at least 6x6 pixels.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel; they become 0 and 1.
        """
        low, high = value_range
        rows = [
            _features((np.asarray(images[start : start + _CHUNK], np.float64) - low) / (high - low))
            for start in range(0, len(images), _CHUNK)
        ]
        return np.concatenate(rows).astype(np.float32)


def _features(images: Array) -> Array:
    columns = []
    for scale in range(SCALES):
        if scale:
            images = images[..., : images.shape[2] // 2 * 2, : images.shape[3] // 2 * 2]
            images = (images[..., ::2, :] + images[..., 1::2, :]) / 2
            images = (images[..., ::2] + images[..., 1::2]) / 2
        inner = images[..., 1:-1, 1:-1]
        down = (images[..., 2:, 1:-1] - images[..., :-2, 1:-1]) / 2
        right = (images[..., 1:-1, 2:] - images[..., 1:-1, :-2]) / 2
        around = images[..., 2:, 1:-1] + images[..., :-2, 1:-1] + images[..., 1:-1, 2:] + images[..., 1:-1, :-2]
        columns += [_quantiles(inner), _quantiles(np.hypot(down, right)), _quantiles(np.abs(around - 4 * inner))]
    return np.concatenate(columns, axis=1)


def _quantiles(values: Array) -> Array:
    found = np.quantile(values.reshape(*values.shape[:2], -1), QUANTILES, axis=2)
    return np.moveaxis(found, 0, 2).reshape(len(values), -1)
