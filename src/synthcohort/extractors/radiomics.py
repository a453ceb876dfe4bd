"""Radiomic features as a space without weights: 16 of the grey values, 25 of co-occurrence, 16 of run lengths.

Source: the Image Biomarker Standardisation Initiative's reference manual (arXiv:1612.07003), sections 3.3, 3.6 and 3.7,
over the whole image; distances in such a space: Konz et al. 2026 (Frechet radiomic distance), of which this is a subset
without filters. Grey levels are 32 bins over the legal range, so that brightness counts. The numbers have no common
unit, so distances take them in standard deviations of the held-out real images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import BadOption
from ..types import Array
from . import _grey_levels

REVISION = 1
BINS = 32
FIRST_ORDER, COOCCURRENCE, RUN_LENGTHS = 16, 25, 16
_CHUNK = 128

Floats = npt.NDArray[np.float64]


class Extractor:
    """First-order, co-occurrence and run-length features, (n, 57 per channel) float32."""

    REVISION = REVISION
    WEIGHTS: ClassVar[bool] = False
    FINDS_COPIES: ClassVar[bool] = False
    MIXED_UNITS: ClassVar[bool] = True
    name = "radiomics"
    dimensions = FIRST_ORDER + COOCCURRENCE + RUN_LENGTHS

    def __init__(self, *, weights: Path | None = None) -> None:
        """Make the extractor.

        Raises:
            BadOption: Weights were given; there are none here.
        """
        if weights is not None:
            raise BadOption("Only a network takes weights", "radiomics has none", "Leave its weights out")

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": "none",
            "channels": "each on its own",
            "grey_levels": f"{BINS} bins over the legal range",
            "neighbours": "distance 1, four directions merged",
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, 57 C) float32 of images (n, C, H, W) of at least 2x2 pixels.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel; they become 0 and 1.
        """
        low, high = value_range
        rows = [np.empty((0, images.shape[1] * self.dimensions))]
        for start in range(0, len(images), _CHUNK):
            unit = (np.asarray(images[start : start + _CHUNK], np.float64) - low) / (high - low)
            rows.append(np.concatenate([_features(unit[:, channel]) for channel in range(unit.shape[1])], axis=1))
        return np.concatenate(rows).astype(np.float32)


def _features(unit: Floats) -> Floats:
    levels = np.minimum((unit * BINS).astype(np.int64), BINS - 1)
    found = {
        **first_order(unit.reshape(len(unit), -1), levels.reshape(len(unit), -1)),
        **_grey_levels.cooccurrence_features(_grey_levels.cooccurrence(levels, BINS)),
        **_grey_levels.run_length_features(_grey_levels.run_lengths(levels, BINS), unit[0].size),
    }
    return np.stack(list(found.values()), axis=1)


def first_order(values: Floats, levels: Array) -> dict[str, Floats]:
    """Return the features of IBSI 3.3 and 3.4 of values (n, pixels) in 0 to 1, with levels 0 to 31, each (n,).

    Skewness and kurtosis of a constant image are 0. Quantities that grow with the number of pixels are left out.
    """
    mean = values.mean(axis=1, keepdims=True)
    centred = values - mean
    variance = (centred**2).mean(axis=1)
    spread = np.sqrt(variance)
    tenth, quarter, median, third, ninetieth = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9], axis=1)
    inner = (values >= tenth[:, None]) & (values <= ninetieth[:, None])
    count = inner.sum(axis=1)
    inner_mean = (values * inner).sum(axis=1) / count
    image = np.arange(len(levels))[:, None] * BINS
    share = np.bincount((image + levels).ravel(), minlength=len(levels) * BINS).reshape(-1, BINS) / levels.shape[1]
    varied = spread > 1e-12
    return {
        "mean": mean[:, 0],
        "variance": variance,
        "skewness": np.divide((centred**3).mean(axis=1), spread**3, out=np.zeros_like(spread), where=varied),
        "excess kurtosis": np.divide((centred**4).mean(axis=1), variance**2, out=np.full_like(spread, 3), where=varied)
        - 3,
        "median": median,
        "minimum": values.min(axis=1),
        "10th percentile": tenth,
        "90th percentile": ninetieth,
        "maximum": values.max(axis=1),
        "interquartile range": third - quarter,
        "mean absolute deviation": np.abs(centred).mean(axis=1),
        "robust mean absolute deviation": (np.abs(values - inner_mean[:, None]) * inner).sum(axis=1) / count,
        "median absolute deviation": np.abs(values - median[:, None]).mean(axis=1),
        "root mean square": np.sqrt((values**2).mean(axis=1)),
        "entropy": -(share * np.log2(share, out=np.zeros_like(share), where=share > 0)).sum(axis=1),
        "uniformity": (share**2).sum(axis=1),
    }
