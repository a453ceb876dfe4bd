"""The real training images nearest to synthetic ones in the features of a network fitted on the real images.

Source: DuMont Schütte et al. 2021 (npj Digital Medicine), supplement S.6: the smallest cosine distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..types import Array

CLOSEST, DRAWN = 12, 12
STUDY_QUERIES = 100
_GALLERY_BATCH = 50
_BLOCK = 512


@dataclass(frozen=True)
class Neighbours:
    """Synthetic images and the training image nearest to each.

    Attributes:
        queries: (q,) positions of synthetic images, in the order in which they are shown.
        nearest: (q,) positions of training images.
        distance: (q,) cosine distance, 0 to 2.
        drawn: (q,) whether the image was drawn, or is one of the closest pairs.
    """

    queries: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    distance: npt.NDArray[np.float64]
    drawn: npt.NDArray[np.bool_]


def neighbours(synthetic: Array, train: Array, unseen: Array, *, protocol: str, seed: int) -> Neighbours:
    """Return the nearest training image of some synthetic images.

    Args:
        synthetic: (n, d) features.
        train: (m, d) features.
        unseen: Positions of the synthetic test split; may be empty.
        protocol: "recommended": the 12 closest pairs of all, then 12 images drawn at random. "paper": 100 drawn at
            random. "code": the first 100 of the test split, among the training images of whole batches of 50.
        seed: Decides the draw.
    """
    if protocol == "code":
        queries = (unseen if len(unseen) else np.arange(len(synthetic)))[:STUDY_QUERIES]
        kept = len(train) // _GALLERY_BATCH * _GALLERY_BATCH or len(train)
        return Neighbours(queries, *_nearest(synthetic[queries], train[:kept]), np.ones(len(queries), bool))
    order = np.random.default_rng(derive_seed(seed, "nearest images")).permutation(len(synthetic))
    if protocol == "paper":
        queries = order[:STUDY_QUERIES]
        return Neighbours(queries, *_nearest(synthetic[queries], train), np.ones(len(queries), bool))
    nearest, distance = _nearest(synthetic, train)
    closest = np.argsort(distance, kind="stable")[:CLOSEST]
    drawn = order[~np.isin(order, closest)][:DRAWN]
    chosen = np.concatenate([closest, drawn])
    return Neighbours(chosen, nearest[chosen], distance[chosen], np.arange(len(chosen)) >= len(closest))


def _nearest(queries: Array, gallery: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (position, distance) of the nearest row of the gallery; features without direction are at distance 1."""
    units = _unit(gallery).T
    position, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(queries)))
        cosines = _unit(queries[rows]) @ units
        position[rows] = cosines.argmax(axis=1)
        distance[rows] = 1 - cosines.max(axis=1)
    return position, distance.clip(0, 2)


def _unit(values: Array) -> npt.NDArray[np.float64]:
    rows = np.asarray(values, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
