"""What a file says of an image beside what it shows: how values are stored, and the traces that processing leaves.

Container facts are those that say nothing about the picture: bytes, data type, and the grid of values it may use.
Statistics are those of the pixels themselves, in which rescaling, rounding, compression and clipping leave traces.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..metrics.traces import blocking
from ..types import Array

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BITS = 4
_REACH = 3
_POPULATED = 20
_COMB_SHARE = 0.02


def comb(images: Array) -> Flags:
    """Return which grey levels exported images (n, H, W, C) skip between levels that they use, one flag a level.

    That is how a stretched or coarsened histogram looks. Fewer than 2 % skipped levels are chance or anatomy, and count
    as none. Of 16-bit images only grids coarse enough for populated neighbours are seen; `step` sees others.
    """
    size = np.iinfo(images.dtype).max + 1
    counts = np.zeros(size, np.int64)
    for image in images:  # one at a time: bincount makes eight bytes of every pixel
        counts += np.bincount(image.ravel(), minlength=size)
    full, used = counts >= _POPULATED, np.flatnonzero(counts)
    below, above = (np.logical_or.reduce([_moved(full, way * by) for by in range(1, _REACH + 1)]) for way in (1, -1))
    skipped = np.asarray((counts == 0) & below & above, np.bool_)
    width = used[-1] - used[0] + 1 if len(used) else 1
    return skipped if skipped.sum() >= _COMB_SHARE * width else np.zeros_like(skipped)


def _moved(flags: Flags, by: int) -> Flags:
    moved = np.zeros_like(flags)
    if by > 0:
        moved[by:] = flags[:-by]
    else:
        moved[:by] = flags[-by:]
    return moved


def step(image: Array) -> float:
    """Return the largest whole number by which an image's values all differ; 0 for a constant image."""
    values = np.unique(image).astype(np.int64)
    return float(np.gcd.reduce(np.diff(values))) if len(values) > 1 else 0.0


def container(images: Array, skipped: Flags) -> dict[str, Floats]:
    """Return container facts of exported images (n, H, W, C), each (n,).

    Args:
        images: Exported.
        skipped: Levels that the other kind never uses although it uses those beside them.
    """
    return {
        "bytes": np.array([len(image.tobytes()) for image in images], np.float64),
        "bits": np.full(len(images), 8.0 * images.dtype.itemsize),
        "step between values": np.array([step(image) for image in images]),
        "pixels on levels the other kind skips": skipped[images].mean(axis=(1, 2, 3)),
    }


def statistics(images: Array) -> Floats:
    """Return traces that processing leaves in pixels, (n, d), of exported images (n, H, W, C).

    Number of different values, range, mean, spread, share of the commonest value, frequencies of the last bits, step
    between values, steps across 8 x 8 blocks (JPEG), and roughness on two scales (resampling, smoothing).
    """
    found = np.array([_of_one(image) for image in images])
    return np.column_stack([found, blocking(images.transpose(0, 3, 1, 2))])


def _of_one(image: Array) -> list[float]:
    values, counts = np.unique(image, return_counts=True)
    wide = image.astype(np.float64)
    first = [float(np.abs(np.diff(wide, n, axis=axis)).mean()) for axis in (0, 1) for n in (1, 2)]
    bits = [float(((image >> bit) & 1).mean()) for bit in range(_BITS)]
    spread = [float(wide.mean()), float(wide.std())]
    return [
        float(len(values)),
        float(values[0]),
        float(values[-1]),
        float(counts.max() / image.size),
        *spread,
        *bits,
        step(image),
        *first,
    ]
