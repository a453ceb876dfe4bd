"""Pictures that are written while a run goes on: contact sheets of samples and loss curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .types import Array

# One colour per mask class (Okabe and Ito 2008: told apart with any colour vision); the background has none.
CLASS_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
MIN_TILE_PIXELS = 96


def contact_sheet(images: Array, masks: Array | None, *, columns: int) -> Image.Image:
    """Return images in a grid, each row of images above the same row with its mask outlines.

    Args:
        images: (N, C, H, W) uint8, one or three channels.
        masks: (N, H, W) uint8 class index, or None.
        columns: Images per row.
    """
    tiles = [colour_tile(image) for image in images]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    if masks is not None:
        outlined = [outline(tile, _enlarge(mask)) for tile, mask in zip(tiles, masks, strict=True)]
        pairs = [outlined[i : i + columns] for i in range(0, len(outlined), columns)]
        rows = [row for both in zip(rows, pairs, strict=True) for row in both]
    blank = np.zeros_like(tiles[0])
    lines = [np.concatenate(row + [blank] * (columns - len(row)), axis=1) for row in rows]
    return Image.fromarray(np.concatenate(lines, axis=0))


def colour_tile(image: Array) -> Array:
    """Return a (C, H, W) uint8 image as (H', W', 3), enlarged by whole pixels to at least 96."""
    if image.dtype != np.uint8:
        image = (image // 257).astype(np.uint8)
    rgb = np.repeat(image[:1], 3, axis=0) if image.shape[0] != 3 else image
    return _enlarge(rgb.transpose(1, 2, 0))


def _enlarge(array: Array) -> Array:
    factor = max(1, -(-MIN_TILE_PIXELS // array.shape[1]))
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def outline(tile: Array, mask: Array) -> Array:
    """Return a (H, W, 3) tile with the border of every mask class drawn on it.

    Args:
        tile: (H, W, 3) uint8.
        mask: (H, W) class index.
    """
    drawn = tile.copy()
    for index in range(1, int(mask.max(initial=0)) + 1):
        inside = np.pad(mask == index, 1)
        core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        drawn[inside[1:-1, 1:-1] & ~core] = CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]
    return drawn


def png_bytes(image: Image.Image) -> bytes:
    """Return a picture as PNG bytes without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def loss_curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the losses of a log over images seen as SVG text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for name in sorted({key for row in rows for key in row} - {"images_seen"}):
        points = [(row["images_seen"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes.set_xlabel("training images seen")
    axes.set_ylabel("loss")
    if rows:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "synthcohort"}):  # else the ids in the file are random
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
