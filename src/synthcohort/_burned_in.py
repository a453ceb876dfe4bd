"""Whether a line of text is drawn into the pixels of an image, at a cost that allows asking it of every slice.

Text is many short strokes side by side, so the grey level rises and falls by much within a few pixels, row after row.
Tiles of 8 x 8 pixels where it does are counted with bit operations; only around them are strokes cut out of their
background and tested for what makes letters a line: parts of like height and brightness that stand on one line, close
together. A lone letter, such as a side marker, is no line. How often it is right: docs/concepts/deidentification.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from .types import Array

_CONTRASTS = (48, 96, 144)
"""Of text against its surroundings, of 255: the first of them that leaves few places to look at."""
_DENSE = 22
"""Rises, and falls, in 16 x 16 pixels that make a place worth a look."""
_BUSY = 0.05
"""Share of such places above which only the next contrast tells text from texture."""
_MOST_PLACES = 12
"""Places of an image that are looked at, the densest first."""
_TILE = 8
_WIDEST_STROKE = 11
_SMALLEST, _LARGEST = 5, 45
"""Height of a letter in pixels."""
_SIDE = 512
"""An image is looked at in half the size, too, as long as the smaller one has as many pixels along each side."""
_PEAKS_APART, _PEAKS_ALIKE = 40, 8
"""How far the brightness of letters may be from one letter's, and how alike that of three must be."""
_SOLID = 0.7
"""Share of its box that a letter leaves partly open; I, 1 and bones may fill it."""
_NARROW = 0.3
"""Width of a letter in heights; I, 1 and the gaps between bones are narrower. Two letters of a line are neither."""
_TRIED = 300
"""Parts of one place that are tried as a letter of a line; a page of text has it in most of them."""


def has_text(image: Array) -> bool:
    """Return whether an image shows at least one line of text: four characters, or three capitals or digits.

    Horizontal or turned by a right angle, light or dark, 8 pixels high or more. In an image of one grey level per
    tissue and much sharper detail, such as a drawing, other things may look like text.

    Args:
        image: (C, H, W) of any number type, in native units; of colours the mean is looked at.
    """
    grey = _grey(image)
    while True:
        if any(_is_line(place, halved=min(grey.shape) >= _SIDE // 2) for place in _places(grey)):
            return True
        if min(grey.shape) < 2 * _SIDE:
            return False
        grey = np.ascontiguousarray(grey[::2, ::2])


def _grey(image: Array) -> Array:
    """Return (H, W) uint8, the lowest value 0 and the highest 255 unless the image has 8 bits already."""
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        if not 0 < high - low < np.inf:
            return np.zeros(image.shape[1:], np.uint8)
        factor = np.float32(255 / (high - low))
        image = ((image.astype(np.float32, copy=False) - np.float32(low)) * factor).astype(np.uint8)
    if len(image) == 3:
        mean: Array = (image[0] >> 2) + (image[1] >> 1) + (image[2] >> 2)
        return mean
    return np.ascontiguousarray(image[0])


def _places(grey: Array) -> Iterator[Array]:
    """Yield the parts of an image that may hold text, with a margin."""
    if min(grey.shape) < 2 * _TILE:
        return
    for contrast in _CONTRASTS:
        counts = _steep(grey, contrast)
        dense = counts >= _DENSE
        if np.count_nonzero(dense) <= _BUSY * dense.size:
            break
    else:  # texture all over, or a page of text: there, any part shows it
        row, column = np.unravel_index(counts.argmax(), counts.shape)
        dense[: max(row - 8, 0)] = dense[row + 8 :] = False
        dense[:, : max(column - 8, 0)] = dense[:, column + 8 :] = False
    if not dense.any():
        return
    joined, count = ndimage.label(ndimage.binary_dilation(dense, np.ones((2, 3), bool)), np.ones((3, 3)))
    found, densest = ndimage.find_objects(joined), ndimage.maximum(counts, joined, np.arange(1, count + 1))
    for place in np.argsort(-densest.astype(int), kind="stable")[:_MOST_PLACES]:
        rows, columns = found[place]
        yield grey[_widened(rows), _widened(columns)]


def _widened(tiles: slice) -> slice:
    return slice(max(tiles.start - 1, 0) * _TILE, (tiles.stop + 2) * _TILE)


def _steep(grey: Array, contrast: int) -> Array:
    """Return for each tile how many rises, and falls, the 16 x 16 pixels from it on have."""
    rows = len(grey) // _TILE * _TILE
    raised = np.minimum(grey[:rows], 255 - contrast)
    raised += np.uint8(contrast)
    rises, falls = (
        np.bitwise_count(np.packbits(steep, axis=1)).reshape(rows // _TILE, _TILE, -1).sum(1, dtype=np.uint8)
        for steep in (grey[:rows, 2:] > raised[:, :-2], grey[:rows, :-2] > raised[:, 2:])
    )
    both: Array = np.minimum(rises, falls)  # at most 32 a tile
    both[:, :-1] += both[:, 1:].copy()
    both[:-1] += both[1:].copy()
    return both


def _is_line(place: Array, *, halved: bool) -> bool:
    sizes = [place, np.ascontiguousarray(place[::2, ::2])] if halved else [place]  # the smaller for large letters
    return any(_has_line(part) for size in sizes for part in (size, 255 - size))


def _has_line(place: Array) -> bool:
    """Return whether the light strokes in a place form a line of text."""
    strokes = place - ndimage.grey_opening(place, size=(_WIDEST_STROKE, _WIDEST_STROKE))
    highest = int(strokes.max())
    if highest < _CONTRASTS[0]:
        return False
    inked = strokes >= max(3 * _CONTRASTS[0] // 4, highest // 2)
    parts, count = ndimage.label(inked, np.ones((3, 3)))
    if count < 3:
        return False
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(parts)])
    areas = np.bincount(parts[inked], minlength=count + 1)[1:]
    peaks = np.zeros(count + 1, np.int16)
    np.maximum.at(peaks, parts[inked], place[inked])
    return any(_in_a_row(each, areas, peaks[1:]) for each in (boxes, boxes[:, [2, 3, 0, 1]]))


def _in_a_row(boxes: Array, areas: Array, peaks: Array) -> bool:
    """Return whether parts of an image stand side by side like letters.

    Args:
        boxes: (n, 4) top, bottom, left and right of each part.
        areas: (n,) its pixels.
        peaks: (n,) its lightest pixel.
    """
    sizes = np.stack([boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]])
    letters = (sizes[0] >= _SMALLEST) & (sizes[0] <= _LARGEST) & (sizes[1] <= 3 * sizes[0])
    chosen = np.flatnonzero(letters)[np.argsort(boxes[letters, 1], kind="stable")]
    bottoms, lefts, rights, heights, peaks = (*boxes[chosen, 1:].T, sizes[0, chosen], peaks[chosen])
    open_ = (areas[chosen] < _SOLID * sizes.prod(0)[chosen]) & (rights - lefts >= _NARROW * heights)
    for at in np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), _TRIED)).astype(int)):
        slack = max(1.0, 0.12 * heights[at])
        first, last = np.searchsorted(bottoms, [bottoms[at] - slack, bottoms[at] + slack + 1e-6])
        height, near = heights[first:last], np.abs(peaks[first:last] - peaks[at]) <= _PEAKS_APART
        line = first + np.flatnonzero(near & (height <= heights[at] + slack) & (height >= 0.62 * heights[at]))
        if len(line) < 3:
            continue
        line = line[np.argsort(lefts[line], kind="stable")]
        gaps = lefts[line[1:]] - rights[line[:-1]]
        for run in np.split(line, np.flatnonzero((gaps > 1.1 * heights[at]) | (gaps < -1)) + 1):
            alike = np.ptp(heights[run]) <= max(1.0, 0.1 * heights[at]) and np.ptp(peaks[run]) <= _PEAKS_ALIKE
            if len(run) >= (3 if alike else 4) and np.count_nonzero(open_[run]) >= 2:
                return True
    return False
