"""Nearest images by Euclidean distance, in blocks: a float32 product finds candidates, float64 decides between them.

On 1,000 queries in 100,000 x 1,024 this takes as long as faiss-cpu's exact index (benchmark/neighbours.py: both are one
matrix product by the same library), so it stands without another dependency. See decision 19.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..types import Array

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

_BLOCK_ROWS, _BLOCK_COLUMNS, _FOLD = 1024, 8192, 16
_SPARE = 4  # candidates beyond those asked for: float32 may swap neighbours that are almost equally far


def nearest(queries: Array, gallery: Array, count: int = 1, *, barred: tuple[Array, Array] | None = None) -> Found:
    """Return the nearest images of the gallery of every query, nearest first.

    Args:
        queries: (n, d) finite.
        gallery: (m, d) finite.
        count: How many; at most m are found.
        barred: Codes (n,) and (m,): an image of the gallery with the query's own code is not found.

    Returns:
        positions (n, k) int64 and distances (n, k) float64, infinite where everything else is barred.
    """
    kept = min(count, len(gallery))
    found = _candidates(queries, gallery, min(kept + _SPARE, len(gallery)), barred)
    positions, distances = np.empty((len(queries), kept), np.int64), np.empty((len(queries), kept))
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        place = found[rows]
        exact = _distances(queries[rows], gallery, place)
        if barred is not None:
            exact[barred[1][place] == barred[0][rows, None]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :kept]
        positions[rows] = np.take_along_axis(place, order, axis=1)
        distances[rows] = np.take_along_axis(exact, order, axis=1)
    return positions, distances


def _candidates(queries: Array, gallery: Array, count: int, barred: tuple[Array, Array] | None) -> Positions:
    """Return the positions (n, count) of the images that are nearest in float32, in blocks that the cache bears."""
    few = gallery[:: max(1, len(gallery) // _BLOCK_ROWS)]  # near the origin float32 loses least; about there will do
    centre = few.mean(axis=0, dtype=np.float64).astype(gallery.dtype)
    left = (queries - centre).astype(np.float32, copy=False) * np.float32(-2)
    best = torch.full((len(queries), count), torch.inf)
    place = torch.zeros((len(queries), count), dtype=torch.int64)
    for first in range(0, len(gallery), _BLOCK_COLUMNS):
        columns = slice(first, first + _BLOCK_COLUMNS)
        right = (gallery[columns] - centre).astype(np.float32, copy=False)
        squares = np.einsum("ij,ij->i", right, right)
        for start in range(0, len(queries), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            far = torch.from_numpy(left[rows] @ right.T).add_(torch.from_numpy(squares))
            if barred is not None:
                far[torch.from_numpy(barred[0][rows, None] == barred[1][None, columns])] = torch.inf
            value, found = _smallest(far, min(count, len(right)))
            both, where = torch.cat([best[rows], value], 1), torch.cat([place[rows], found + first], 1)
            best[rows], chosen = both.topk(count, dim=1, largest=False)
            place[rows] = where.gather(1, chosen)
    return place.numpy()


def _smallest(far: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the smallest values (n, count) of each row and their positions.

    The `count` smallest lie in the `count` columns with the smallest minima when a row is folded, since each of these
    holds one that is as small.
    """
    width = far.shape[1] // _FOLD
    if far.shape[1] % _FOLD or count * _FOLD > width:
        value, found = far.topk(count, dim=1, largest=False)
        return value, found
    folded = far.view(len(far), _FOLD, width)
    column = folded.amin(1).topk(count, dim=1, largest=False).indices
    value, found = folded.gather(2, column[:, None].expand(-1, _FOLD, -1)).flatten(1).topk(count, dim=1, largest=False)
    return value, found // count * width + column.gather(1, found % count)


Found = tuple[Positions, Floats]


def _distances(queries: Array, gallery: Array, found: Array) -> Floats:
    """Return the float64 distances (n, k) of queries (n, d) to their candidates, one rank at a time."""
    wide = queries.astype(np.float64)
    return np.stack([np.linalg.norm(wide - gallery[rank], axis=1) for rank in found.T], axis=1)
