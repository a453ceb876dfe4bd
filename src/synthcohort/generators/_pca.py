"""Principal components of images, economical in the number of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch

from ..nets.generator import Generator
from ..types import Array, Batch

BLOCK = 4096  # pixels turned to float64 at a time
IMAGES = 256  # images turned to one-hot channels at a time


@dataclass(frozen=True)
class Components:
    """A truncated principal component analysis of (n, d) rows.

    Attributes:
        mean: (d,) float64.
        factors: (k, d) float64; component times standard deviation, so covariance ~ factors.T @ factors (N - 1).
        scores: (n, k) float64 of unit variance; rows ~ mean + scores @ factors.
    """

    mean: Array
    factors: Array
    scores: Array


def principal_components(rows: Array, components: int) -> Components:
    """Return the leading `components`, at most n - 1, by the n x n Gram matrix (Turk & Pentland 1991).

    Components without variance are left out. Exact to float64; needs n * n doubles beside the rows.
    """
    count, pixels = rows.shape
    blocks = [slice(i, i + BLOCK) for i in range(0, pixels, BLOCK)]
    mean = np.concatenate([rows[:, block].mean(0, dtype=np.float64) for block in blocks])
    gram = np.zeros((count, count))
    for block in blocks:
        centred = rows[:, block] - mean[block]
        gram += centred @ centred.T
    wanted = min(components, count - 1, pixels)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=(count - wanted, count - 1))
    kept = values > max(values[-1], 0) * count * np.finfo(np.float64).eps
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    # An eigenvector's sign is arbitrary; fix it, so that another LAPACK gives the same samples.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
    factors = [vectors.T @ (rows[:, block] - mean[block]) for block in blocks]
    scale = np.sqrt(count - 1)
    return Components(mean, np.concatenate(factors, 1) / scale, vectors * scale)


def joint_rows(generator: Generator, images: Array, masks: Array | None) -> Array:
    """Return image and one-hot mask channels as (n, d) float32 rows, as the generator sees them."""
    rows = np.empty((len(images), generator.channels * images[0, 0].size), np.float32)
    for start in range(0, len(images), IMAGES):
        some = slice(start, start + IMAGES)
        index = None if masks is None else torch.from_numpy(masks[some].astype(np.int64))
        batch = Batch(torch.from_numpy(images[some]), index, None, torch.arange(len(images[some])))
        rows[some] = generator.joint(batch).flatten(1).numpy()
    return rows
