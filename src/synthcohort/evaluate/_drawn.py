"""The explanation figures as SVG text: pairs of images, maps of importance, clouds of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import FAINT, INK, blank, styled, svg_text
from ..pictures import colour_tile
from ..types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PAIRS_A_ROW, _MOST_PAIRS, _MOST_IMAGES = 6, 24, 6
_SMALLEST_COUNT = 10  # of patients' images: the figure goes into pages that leave
_MARKS: Mapping[str, dict[str, Any]] = {
    "real train": {"marker": "o", "color": "#8b929a", "s": 9},
    "real test": {"marker": "D", "color": INK, "s": 10},
    "synthetic": {"marker": "^", "color": "#c4520e", "s": 11},
}


def pairs(synthetic: Array, nearest: Array, distance: Array, drawn: Array) -> str:
    """Return synthetic images, each above the real one nearest to it, with their distance: real pixels.

    Args:
        synthetic: (q, C, H, W) as stored.
        nearest: (q, C, H, W) as stored.
        distance: (q,) cosine distance.
        drawn: (q,) whether the image was drawn at random, or is one of the closest pairs.
    """
    groups = [("The closest pairs", np.flatnonzero(~drawn)), ("Drawn at random", np.flatnonzero(drawn)[:_MOST_PAIRS])]
    rows = [
        (title if not start else "", places[start : start + _PAIRS_A_ROW])
        for title, places in groups
        for start in range(0, len(places), _PAIRS_A_ROW)
    ]
    with styled():
        figure = blank(0.3 + 2.35 * len(rows), width=7.0)
        grid: Any = figure.subplots(2 * len(rows), _PAIRS_A_ROW, squeeze=False)
        for number, (title, places) in enumerate(rows):
            for column in range(_PAIRS_A_ROW):
                above, below = grid[2 * number, column], grid[2 * number + 1, column]
                if column >= len(places):
                    above.set_axis_off()
                    below.set_axis_off()
                    continue
                _image(above, synthetic[places[column]])
                _image(below, nearest[places[column]])
                below.set_xlabel(f"{distance[places[column]]:.2g}", labelpad=2)
            grid[2 * number, 0].set_ylabel("synthetic")
            grid[2 * number + 1, 0].set_ylabel("nearest real")
            if title:
                grid[2 * number, 0].set_title(title, loc="left", fontsize=10)
        return svg_text(figure)


def importance(images: Array, named: Sequence[str], maps: Mapping[str, Array], *, tile: int, side: int) -> str:
    """Return real images above what each network looks at in them; deeper red is more important: real pixels.

    Args:
        images: (n, C, H, W) as stored; six of them are shown, spread evenly.
        named: Of each image its findings.
        maps: Row title -> (n, rows, columns) maps.
        tile: Side of a tile in what the networks were given.
        side: Side of that.
    """
    chosen = spread(len(images), _MOST_IMAGES)
    with styled():
        figure = blank(0.4 + 1.18 * (1 + len(maps)), width=1.0 + 1.1 * len(chosen))
        grid: Any = figure.subplots(1 + len(maps), len(chosen), squeeze=False)
        for column, place in enumerate(chosen):
            _image(grid[0, column], images[place])
            grid[0, column].set_title(named[place], fontsize=7.5)
            for row, found in enumerate(maps.values(), start=1):
                _image(grid[row, column], images[place])
                _overlay(grid[row, column], found[place], tile / side)
        for row, title in enumerate(["real test image", *maps]):
            grid[row, 0].set_ylabel(title, fontsize=8)
        return svg_text(figure)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` places, evenly over them."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, most)).round()})


def clouds(points: Mapping[str, Mapping[str, Array]]) -> str:
    """Return the points of every space, a panel each; real train, real test and synthetic have marks of their own.

    Args:
        points: Title of a space -> set -> (n, 2).
    """
    from matplotlib.lines import Line2D

    columns = min(2, len(points))
    rows = -(-len(points) // columns)
    with styled():
        figure = blank(0.5 + 3.2 * rows, width=3.5 * columns + (0.3 if columns == 1 else 0))
        grid: Any = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(points) :]:
            axes.set_axis_off()
        for axes, (title, sets) in zip(grid.flat, points.items(), strict=False):
            for name, found in sets.items():
                axes.scatter(found[:, 0], found[:, 1], linewidths=0, alpha=0.75, **_MARKS[name])
            axes.set_title(title, fontsize=9.5)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(True)
            axes.spines[:].set_color(FAINT)
        counts = {name: max(len(sets[name]) for sets in points.values()) for name in next(iter(points.values()))}
        handles = [
            Line2D(
                [],
                [],
                linestyle="",
                marker=_MARKS[name]["marker"],
                color=_MARKS[name]["color"],
                label=f"{name}, n = {n}" if n >= _SMALLEST_COUNT else f"{name}, n < {_SMALLEST_COUNT}",
            )
            for name, n in counts.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
        return svg_text(figure)


def _image(axes: Axes, image: Array) -> None:
    axes.imshow(colour_tile(image), interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _overlay(axes: Axes, found: Array, share: float) -> None:
    """Draw a map in red over its image, a tile being that share of it; what lowers the loss is not drawn."""
    positive = np.maximum(found, 0.0)
    highest = float(np.quantile(positive, 0.99)) or float(positive.max())
    shade = np.clip(positive / highest, 0, 1) if highest > 0 else np.zeros_like(positive)
    red = np.zeros((*shade.shape, 4), np.float32)
    red[..., 0], red[..., 3] = 0.85, 0.85 * shade
    shape = np.asarray(axes.images[0].get_array()).shape[:2]
    y, x = (
        ((np.arange(edge) + 0.5) / (edge * share)).astype(int).clip(max=n - 1)
        for edge, n in zip(shape, shade.shape, strict=True)
    )
    axes.imshow(red[y][:, x], interpolation="none")
