"""What constraints are about: numbers read off each sample, with the step below which two of them are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..types import Array, Samples

TAIL = 0.001
_CHUNK = 256

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """One kind of number of every sample.

    Attributes:
        name: In words, e.g. "area of ventricle".
        values: (n,) float64; NaN where it says nothing.
        step: Differences up to this one are none.
    """

    name: str
    values: Floats
    step: float


def levels(images: Array) -> Levels:
    """Return (C, 2): the 0.1 % and 99.9 % quantiles of all pixels of each channel."""
    every = np.moveaxis(np.asarray(images), 1, 0).reshape(images.shape[1], -1)
    return np.asarray(np.quantile(every, [TAIL, 1 - TAIL], axis=1, method="nearest").T, np.float64)


def intensity(samples: Samples, limits: Levels) -> Iterator[Measured]:
    """Yield mean, spread and the shares of pixels outside the real limits, for each channel."""
    low, high = samples.value_range
    channels = samples.images.shape[1]
    found = np.empty((4, channels, len(samples)))
    for start in range(0, len(samples), _CHUNK):
        block = (
            samples.images[start : start + _CHUNK].astype(np.float64).reshape(-1, channels, samples.images[0, 0].size)
        )
        rows = slice(start, start + len(block))
        parts = (block.mean(2), block.std(2), (block < limits[:, :1]).mean(2), (block > limits[:, 1:]).mean(2))
        found[:, :, rows] = np.stack(parts).transpose(0, 2, 1)
    names = ("mean grey value", "spread of grey values", "share of very dark pixels", "share of very bright pixels")
    steps = ((high - low) / 255, (high - low) / 255, TAIL, TAIL)
    for channel in range(channels):
        suffix = f" of channel {channel}" if channels > 1 else ""
        for row, (name, step) in enumerate(zip(names, steps, strict=True)):
            yield Measured(name + suffix, found[row, channel], step)


def organs(samples: Samples) -> Iterator[Measured]:
    """Yield the area and the centroid of each mask class, in pixels; NaN where there is none."""
    masks = _masks(samples)
    height, width = masks.shape[1:]
    for index, name in _foreground(samples):
        here = masks == index
        area = here.sum(axis=(1, 2)).astype(np.float64)
        area[area == 0] = np.nan
        yield Measured(f"area of {name}", area, 1.0)
        for axis, side, word in ((2, height, "height"), (1, width, "width")):
            centre = here.sum(axis=axis) @ np.arange(side) / area
            yield Measured(f"place in {word} of {name}", centre, 1.0)


def topology(samples: Samples) -> Iterator[Measured]:
    """Yield the parts and the holes of each mask class; NaN where there is none.

    A part is joined over edges and corners, a hole is closed off by edges: the usual dual pair of neighbourhoods.
    """
    masks = _masks(samples)
    for index, name in _foreground(samples):
        counts = np.full((2, len(masks)), np.nan)
        for place, mask in enumerate(masks):
            here = mask == index
            if here.any():
                counts[0, place] = ndimage.label(here, np.ones((3, 3)))[1]
                counts[1, place] = ndimage.label(~np.pad(here, 1))[1] - 1
        yield Measured(f"parts of {name}", counts[0], 1.0)
        yield Measured(f"holes in {name}", counts[1], 1.0)


def touching(samples: Samples) -> Iterator[Measured]:
    """Yield for each pair of mask classes, background too, whether they share an edge; NaN unless both are there."""
    masks = _masks(samples)
    names = samples.mask_classes
    there = np.stack([(masks == index).any(axis=(1, 2)) for index in range(len(names))])
    pairs = ((masks[:, 1:], masks[:, :-1]), (masks[:, :, 1:], masks[:, :, :-1]))
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            touch = np.zeros(len(masks), bool)
            for left, right in pairs:
                for a, b in ((first, second), (second, first)):
                    touch |= ((left == a) & (right == b)).any(axis=(1, 2))
            both = there[first] & there[second]
            yield Measured(f"{names[first]} touches {names[second]}", np.where(both, touch, np.nan), 1.0)


def label_pairs(samples: Samples) -> Iterator[Measured]:
    """Yield for each ordered pair of findings whether the second is there, where the first is; NaN elsewhere."""
    for first, given in enumerate(samples.label_names):
        for second, asked in enumerate(samples.label_names):
            if first != second:
                stated = np.where(samples.labels[:, first] == 1, samples.labels[:, second], np.nan)
                yield Measured(f"{asked} with {given}", np.asarray(stated, np.float64), 1.0)


def _masks(samples: Samples) -> Array:
    assert samples.masks is not None, "masks are measured where there are some"
    return np.asarray(samples.masks)


def _foreground(samples: Samples) -> list[tuple[int, str]]:
    return [(index, name) for index, name in enumerate(samples.mask_classes) if index]
