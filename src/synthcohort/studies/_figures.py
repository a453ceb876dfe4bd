"""The figures of the two studies as SVG text: bars beside a line, box plots with their points, scatter plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import FAINT, INK, LINES, blank, styled, svg_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "D", "^", "v", "P")
_WIDE = 7.6
Summary = Mapping[str, Any]


def bars(
    places: Sequence[str], real: Sequence[Summary], synthetic: Mapping[str, Sequence[Summary]], *, axis: str
) -> str:
    """Return study 003's Figure 2: a line with a band for real images, bars with error bars for each generator.

    Bands and error bars are one standard deviation over pipelines, as in the paper.

    Args:
        places: What each point of the axis is called.
        real: AUC after training on real images, see `_spread.summary`.
        synthetic: Generator -> the same after training on its samples.
        axis: What the horizontal axis shows.
    """
    with styled():
        figure = blank(3.2)
        axes, x = figure.add_subplot(), np.arange(len(places))
        width = 0.8 / max(len(synthetic), 1)
        for number, (name, found) in enumerate(synthetic.items()):
            at = x + (number - (len(synthetic) - 1) / 2) * width
            means, spreads = _column(found, "mean"), _column(found, "sd")
            axes.bar(at, means, width * 0.92, color=_colour(number), label=name)
            axes.errorbar(at, means, np.nan_to_num(spreads), fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
        means, spreads = _column(real, "mean"), np.nan_to_num(_column(real, "sd"))
        axes.plot(x, means, color=INK, linewidth=1.6, marker="o", markersize=4, label="real images")
        axes.fill_between(x, means - spreads, means + spreads, color=INK, alpha=0.15, linewidth=0)
        axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        every = np.concatenate([means - spreads, *(_column(found, "mean") for found in synthetic.values())])
        low = float(np.nanmin(every)) if np.isfinite(every).any() else 0.5
        axes.set_ylim(max(0.0, min(0.45, low - 0.05)), 1.0)
        axes.set_xticks(x, places)
        axes.set_xlabel(axis)
        axes.set_ylabel("AUC on real test images")
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        return svg_text(figure)


def boxes(groups: Sequence[tuple[str, Sequence[float]]], *, axis: str, mark: float | None = None) -> str:
    """Return box plots, one a group: median, quartiles, whiskers to 1.5 of their distance, and every value as a point.

    Args:
        groups: (name, values) from the left; a group without values keeps its place.
        axis: What the vertical axis shows.
        mark: Where a dashed line is drawn.
    """
    with styled():
        figure = blank(3.2, width=max(_WIDE * min(len(groups), 12) / 12, 4.2))
        axes = figure.add_subplot()
        for place, (_, values) in enumerate(groups):
            known = np.asarray([value for value in values if np.isfinite(value)])
            if not len(known):
                axes.text(place, 0.5, "none", ha="center", transform=axes.get_xaxis_transform(), color=INK)
                continue
            axes.boxplot(
                known,
                positions=[place],
                widths=0.55,
                showfliers=False,
                medianprops={"color": LINES[1], "linewidth": 1.6},
                boxprops={"color": INK},
                whiskerprops={"color": INK},
                capprops={"color": INK},
            )
            shift = np.random.default_rng(place).uniform(-0.14, 0.14, len(known))
            axes.plot(place + shift, known, "o", color=LINES[0], markersize=3.5, alpha=0.7)
        if mark is not None:
            axes.axhline(mark, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        long = max((len(name) for name, _ in groups), default=0) > 8 and len(groups) > 3
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axes.set_xticks(range(len(groups)), [name for name, _ in groups], **turned)  # type: ignore[arg-type]
        axes.set_xlim(-0.6, len(groups) - 0.4)
        axes.set_ylabel(axis)
        _grid(axes, "y")
        return svg_text(figure)


def against(panels: Sequence[tuple[str, Mapping[str, Sequence[tuple[str, float]]]]], *, axis: str) -> str:
    """Return one small panel for each hyper-parameter: the distance of every run by its value, a colour a generator.

    Args:
        panels: (title, generator -> (value as text, distance) of each run).
        axis: What the vertical axes show.
    """
    columns = 3
    lines = max(-(-len(panels) // columns), 1)
    with styled():
        figure = blank(2.15 * lines + 0.5, width=_WIDE)
        names = list(dict.fromkeys(name for _, runs in panels for name in runs))
        for place, (title, found) in enumerate(panels):
            axes = figure.add_subplot(lines, columns, place + 1)
            _panel(axes, title, found, names)
            if place % columns == 0:
                axes.set_ylabel(axis)
        if names:
            handles = [axes.plot([], [], _marker(i), color=_colour(i), label=name)[0] for i, name in enumerate(names)]
            figure.legend(handles=handles, loc="outside upper left", ncols=6, frameon=False)
        return svg_text(figure)


def _panel(axes: Axes, title: str, found: Mapping[str, Sequence[tuple[str, float]]], names: Sequence[str]) -> None:
    values = sorted({value for runs in found.values() for value, _ in runs}, key=_in_order)
    for number, name in enumerate(names):
        runs = found.get(name, ())
        shift = (number - (len(names) - 1) / 2) * 0.6 / max(len(names), 1)
        at = [values.index(value) + shift for value, _ in runs]
        axes.plot(at, [y for _, y in runs], _marker(number), color=_colour(number), markersize=4, alpha=0.8)
    axes.set_xticks(
        range(len(values)), values, fontsize=7.5, rotation=20 if max(map(len, values), default=0) > 6 else 0
    )
    axes.set_xlim(-0.6, max(len(values), 1) - 0.4)
    axes.set_title(title, fontsize=8.5)
    _grid(axes, "y")


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def scatter(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> str:
    """Return points of several series in one plot.

    Args:
        series: Name -> (x, y) of each point.
        x: What the horizontal axis shows.
        y: What the vertical axis shows.
    """
    with styled():
        figure = blank(3.2)
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(series.items()):
            at, up = [point[0] for point in points], [point[1] for point in points]
            axes.plot(at, up, _marker(number), color=_colour(number), markersize=6, label=name)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _grid(axes, "both")
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        return svg_text(figure)


def _grid(axes: Axes, which: Any) -> None:
    axes.grid(axis=which, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _column(found: Sequence[Summary], key: str) -> Any:
    return np.array([np.nan if line[key] is None else line[key] for line in found], np.float64)


def _colour(number: int) -> str:
    return LINES[number % len(LINES)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]
