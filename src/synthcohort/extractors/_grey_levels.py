"""Grey-level matrices of many images at once, and the texture features that are read off them.

Source: the Image Biomarker Standardisation Initiative's reference manual (Zwanenburg et al., arXiv:1612.07003), parts
3.6 (co-occurrence) and 3.7 (run lengths): distance 1, four directions in the plane, matrices of the directions merged
before features are computed. Grey levels are 1 to G; the region is the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..types import Array

Floats = npt.NDArray[np.float64]


def cooccurrence(levels: Array, count: int) -> Floats:
    """Return the symmetric, merged and normalised co-occurrence matrices (n, G, G) of levels (n, H, W) in 0 to G-1."""
    images = np.arange(len(levels))[:, None, None]
    total = np.zeros((len(levels), count, count))
    for first, second in _neighbours(levels):
        place = ((images * count + first) * count + second).ravel()
        total += np.bincount(place, minlength=total.size).reshape(total.shape)
    total += total.transpose(0, 2, 1)
    return np.asarray(total / total.sum(axis=(1, 2), keepdims=True), np.float64)


def _neighbours(levels: Array) -> Iterator[tuple[Array, Array]]:
    yield levels[:, :, :-1], levels[:, :, 1:]
    yield levels[:, :-1], levels[:, 1:]
    yield levels[:, :-1, :-1], levels[:, 1:, 1:]
    yield levels[:, :-1, 1:], levels[:, 1:, :-1]


def run_lengths(levels: Array, count: int) -> Floats:
    """Return how many runs of each level (0 to G-1) and length (1 to the longer side) there are, (n, G, R)."""
    longest = max(levels.shape[1:])
    total = np.zeros((len(levels), count, longest))
    for lines in (levels, levels.transpose(0, 2, 1), _diagonals(levels), _diagonals(levels[:, :, ::-1])):
        _, each, length = lines.shape
        flat = lines.reshape(-1)
        starts = np.append(True, flat[1:] != flat[:-1])
        starts[::length] = True
        first = np.flatnonzero(starts)
        runs = np.diff(np.append(first, len(flat)))
        level, image = flat[first], first // (each * length)
        inside = level >= 0
        place = (image[inside] * count + level[inside]) * longest + runs[inside] - 1
        total += np.bincount(place, minlength=total.size).reshape(total.shape)
    return total


def _diagonals(levels: Array) -> Array:
    """Return the diagonals of images as lines (n, H + W - 1, H), -1 where there is no pixel."""
    n, height, width = levels.shape
    skewed = np.full((n, height, width + height - 1), -1, np.int64)
    for row in range(height):
        skewed[:, row, row : row + width] = levels[:, row]
    return skewed.transpose(0, 2, 1)


def _entropy(share: Floats, axes: tuple[int, ...] = (1,)) -> Floats:
    return np.asarray(-(share * np.log2(share, out=np.zeros_like(share), where=share > 0)).sum(axis=axes), np.float64)


def _moments(share: Floats, values: Floats) -> tuple[Floats, Floats]:
    mean = share @ values
    return mean, (share * (values - mean[:, None]) ** 2).sum(axis=1)


def cooccurrence_features(p: Floats) -> dict[str, Floats]:
    """Return the 25 features of IBSI 3.6 of normalised matrices (n, G, G), each (n,)."""
    n, count, _ = p.shape
    level = np.arange(1, count + 1, dtype=np.float64)
    i, j = np.meshgrid(level, level, indexing="ij")
    gap, total = np.abs(i - j).astype(int), (i + j).astype(int)
    differences = np.stack([p[:, gap == k].sum(axis=1) for k in range(count)], axis=1)
    sums = np.stack([p[:, total == k].sum(axis=1) for k in range(2, 2 * count + 1)], axis=1)
    k, s = np.arange(count, dtype=np.float64), np.arange(2, 2 * count + 1, dtype=np.float64)
    difference, sum_ = _moments(differences, k), _moments(sums, s)
    margin = p.sum(axis=2)
    mean, variance = _moments(margin, level)
    product = (p * i * j).sum(axis=(1, 2))
    covariance = product - mean**2
    hxy, hx = _entropy(p, (1, 2)), _entropy(margin)
    outer = margin[:, :, None] * margin[:, None, :]
    logs = np.log2(outer, out=np.zeros_like(outer), where=outer > 0)
    hxy1, hxy2 = -(p * logs).sum(axis=(1, 2)), -(outer * logs).sum(axis=(1, 2))
    return {
        "joint maximum": p.max(axis=(1, 2)),
        "joint average": mean,
        "joint variance": variance,
        "joint entropy": hxy,
        "difference average": difference[0],
        "difference variance": difference[1],
        "difference entropy": _entropy(differences),
        "sum average": sum_[0],
        "sum variance": sum_[1],
        "sum entropy": _entropy(sums),
        "angular second moment": (p**2).sum(axis=(1, 2)),
        "contrast": differences @ k**2,
        "dissimilarity": differences @ k,
        "inverse difference": differences @ (1 / (1 + k)),
        "normalised inverse difference": differences @ (1 / (1 + k / count)),
        "inverse difference moment": differences @ (1 / (1 + k**2)),
        "normalised inverse difference moment": differences @ (1 / (1 + (k / count) ** 2)),
        "inverse variance": differences[:, 1:] @ (1 / k[1:] ** 2),
        "correlation": np.divide(covariance, variance, out=np.ones(n), where=variance > 1e-12),
        "autocorrelation": product,
        "cluster tendency": sum_[1],
        "cluster shade": (sums * (s - 2 * mean[:, None]) ** 3).sum(axis=1),
        "cluster prominence": (sums * (s - 2 * mean[:, None]) ** 4).sum(axis=1),
        "information correlation 1": np.divide(hxy - hxy1, hx, out=np.zeros(n), where=hx > 1e-12),
        "information correlation 2": np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * np.maximum(0.0, hxy2 - hxy)))),
    }


def run_length_features(runs: Floats, pixels: int) -> dict[str, Floats]:
    """Return the 16 features of IBSI 3.7 of merged run counts (n, G, R), each (n,).

    Args:
        runs: Of four directions.
        pixels: Of an image.
    """
    _, count, longest = runs.shape
    level, length = np.arange(1, count + 1, dtype=np.float64), np.arange(1, longest + 1, dtype=np.float64)
    total = runs.sum(axis=(1, 2))
    p = runs / total[:, None, None]
    by_level, by_length = p.sum(axis=2), p.sum(axis=1)
    return {
        "short runs": by_length @ length**-2,
        "long runs": by_length @ length**2,
        "low grey level runs": by_level @ level**-2,
        "high grey level runs": by_level @ level**2,
        "short runs of low grey levels": np.einsum("ngr,g,r->n", p, level**-2, length**-2),
        "short runs of high grey levels": np.einsum("ngr,g,r->n", p, level**2, length**-2),
        "long runs of low grey levels": np.einsum("ngr,g,r->n", p, level**-2, length**2),
        "long runs of high grey levels": np.einsum("ngr,g,r->n", p, level**2, length**2),
        "grey level non-uniformity": (by_level**2).sum(axis=1) * total,
        "normalised grey level non-uniformity": (by_level**2).sum(axis=1),
        "run length non-uniformity": (by_length**2).sum(axis=1) * total,
        "normalised run length non-uniformity": (by_length**2).sum(axis=1),
        "run percentage": total / (4 * pixels),
        "grey level variance": _moments(by_level, level)[1],
        "run length variance": _moments(by_length, length)[1],
        "run entropy": _entropy(p, (1, 2)),
    }
