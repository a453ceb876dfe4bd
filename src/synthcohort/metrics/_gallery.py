"""The search for the nearest training image that the copy metrics share: cosines first, then every small shift."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ..types import Array

CANDIDATES = 16
LARGEST_SHIFT = 2
_BLOCK_ROWS = 256
_FLAT = 1e-4  # length of a window of an image of length 1

Floats = npt.NDArray[np.float64]
Excluded = Callable[[slice], npt.NDArray[np.bool_]]


class Gallery:
    """Training images to search: a cosine pass for candidates, then the exact similarity of those."""

    def __init__(self, values: Array) -> None:
        flat = values.reshape(len(values), -1).astype(np.float64)
        self.pixels = values.ndim == 4
        # Features share a large common part (all are images of one organ): without it, cosines tell them apart.
        # Pixels are centred per image instead, so that brightness and contrast drop out.
        self._mean = 0.0 if self.pixels else flat.mean(axis=0)
        self.unit = self.normalise(values)
        self._coarse = self.unit.astype(np.float32)
        if self.pixels:
            self._images = self.unit.reshape(values.shape).astype(np.float32)
            self._norms = np.stack([_norm(window) for window in _windows(self._images)], axis=-1)

    def normalise(self, values: Array) -> Floats:
        """Return rows of unit length (n, d); a constant image has no direction and becomes zeros."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True) if self.pixels else self._mean
        length: Floats = np.linalg.norm(flat, axis=1, keepdims=True)
        unit = np.zeros_like(flat)
        np.divide(flat, length, out=unit, where=length > 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0))))
        return unit

    def cosines(self, values: Array) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Yield the cosines (b, n) of blocks of rows to all training images."""
        rows = self.normalise(values).astype(np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield slice(start, min(start + _BLOCK_ROWS, len(rows))), rows[start : start + _BLOCK_ROWS] @ self._coarse.T

    def nearest(self, values: Array, excluded: Excluded | None = None) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return (position, similarity) of the nearest training image; -inf where every one is excluded."""
        position, best = np.empty(len(values), np.int64), np.empty(len(values))
        for rows, cosines in self.cosines(values):
            barred = excluded(rows) if excluded else np.zeros(cosines.shape, bool)
            cosines[barred] = -np.inf
            count = min(CANDIDATES, cosines.shape[1])
            candidates = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            exact = self._similarity(values[rows], candidates)
            exact[np.take_along_axis(barred, candidates, axis=1)] = -np.inf
            choice = exact.argmax(axis=1)[:, None]
            position[rows] = np.take_along_axis(candidates, choice, axis=1)[:, 0]
            best[rows] = np.take_along_axis(exact, choice, axis=1)[:, 0]
        return position, best

    def _similarity(self, values: Array, candidates: npt.NDArray[np.int64]) -> Floats:
        if self.pixels:
            return self._shifted_correlation(values, candidates)
        return np.asarray(np.einsum("qd,qkd->qk", self.normalise(values), self.unit[candidates]), np.float64)

    def _shifted_correlation(self, values: Array, candidates: npt.NDArray[np.int64]) -> Floats:
        """Return the best normalised cross-correlation (q, k) of each image's centre with its shifted candidates."""
        shift = LARGEST_SHIFT
        centre = values[:, :, shift:-shift, shift:-shift].astype(np.float64).reshape(len(values), -1)
        centre -= centre.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centre, axis=1)
        best: Floats = np.full(candidates.shape, -1.0)
        for number, window in enumerate(_windows(self._images[candidates])):
            dots = np.matmul(window.reshape(*candidates.shape, -1), centre.astype(np.float32)[:, :, None])[:, :, 0]
            norms = self._norms[candidates, number]
            # A window that is flat but for noise correlates with anything by chance: it says nothing.
            telling = (norms > _FLAT) & (length > 0)[:, None]
            found = np.divide(dots, length[:, None] * norms, out=np.zeros_like(norms), where=telling)
            best = np.maximum(best, found)
        return best.clip(-1.0, 1.0)


def _windows(images: Array) -> Iterator[Array]:
    """Yield (..., C, H-4, W-4) windows of images for every shift of -2 to 2 pixels in half pixels, bilinear.

    Half pixels matter: an image moved by one pixel before it was halved in size has moved by half a pixel here.
    """
    height, width = (side - 2 * LARGEST_SHIFT for side in images.shape[-2:])
    by_half_down = (images[..., 1:, :] + images[..., :-1, :]) / 2
    for rows in (images, by_half_down):
        for moved in (rows, (rows[..., 1:] + rows[..., :-1]) / 2):
            for y in range(moved.shape[-2] - height + 1):
                for x in range(moved.shape[-1] - width + 1):
                    yield moved[..., y : y + height, x : x + width]


def _norm(windows: Array) -> Floats:
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    return np.asarray(np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=1))
