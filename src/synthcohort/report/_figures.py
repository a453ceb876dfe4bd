"""The figures of a report, as SVG text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..figures import FAINT, INK, LINES, blank, styled, svg_text
from ..types import Array, Role, Score
from ._compare import Comparison, bounds, usable
from ._glossary import term
from ._numbers import MINUS, space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Each role also has a shape of its own, for print without colour.
COLOURS = {"subject": "#0b5ea8", "ceiling": "#5a5f66", "bad": "#c4520e"}
MARKERS = {"subject": "o", "ceiling": "D", "bad": "s"}


def _point(axes: Axes, y: float, score: Score, role: str, shift: float = 0.0) -> None:
    assert score.value is not None
    low, high = bounds(score)
    colour = COLOURS[role]
    axes.plot([low, high], [y + shift] * 2, color=colour, linewidth=1.8, solid_capstyle="butt", zorder=2)
    axes.plot([score.value], [y + shift], MARKERS[role], color=colour, markersize=6.5, zorder=3)


def _legend(axes: Axes, names: Mapping[Role, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[role], marker=MARKERS[role], linewidth=1.8, markersize=6.5, label=name)
        for role, name in names.items()
    ]
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def forest(
    comparisons: Sequence[Comparison],
    labels: Sequence[str],
    *,
    axis: str,
    roles: Mapping[Role, str],
    row: float = 0.62,
    mark: float | None = None,
) -> str:
    """Return a forest plot: for each comparison the subject, its ceiling and its bad case with 95 % intervals.

    Args:
        comparisons: One a row, from the top; all in the same unit.
        labels: What each row is called.
        axis: What the horizontal axis shows.
        roles: Role -> what it stands for here.
        row: Height of a row in inches.
        mark: Where a dashed line is drawn, e.g. at chance.
    """
    with styled():
        figure = blank(0.95 + row * len(comparisons))
        axes = figure.add_subplot()
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for y, found in enumerate(comparisons):
            trio = (("ceiling", found.ceiling, -0.22), ("subject", found.subject, 0.0), ("bad", found.bad, 0.22))
            for role, score, shift in trio:
                if score is not None and usable(score):
                    _point(axes, y, score, role, shift)
        _rows(axes, labels)
        axes.set_xlabel(axis)
        if comparisons and comparisons[0].subject.unit == "share":
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %".replace("-", MINUS))
        _legend(axes, roles)
        return svg_text(figure)


def fidelity(comparisons: Sequence[Comparison], *, roles: Mapping[Role, str]) -> str:
    """Return where the subject lies between ceiling (0) and bad case (1), one row a metric and space.

    Comparisons without three numbers, or whose ceiling equals the bad case, are left out.

    Args:
        comparisons: One a row, from the top; in any units.
        roles: Role -> what it stands for here.
    """
    shown = [c for c in comparisons if _scalable(c)]
    with styled():
        figure = blank(0.95 + 0.46 * max(1, len(shown)))
        axes = figure.add_subplot()
        for y, found in enumerate(shown):
            _scaled_row(axes, y, found)
        _rows(axes, [f"{term(c.subject.metric).title}, {space(c.subject.extractor)}" for c in shown])
        axes.set_xlim(-0.3, 1.3)
        axes.set_xticks([0, 0.5, 1], ["ceiling: unseen\nreal images", "half-way", "bad case"])
        _legend(axes, roles)
        return svg_text(figure)


def _scalable(found: Comparison) -> bool:
    trio = (found.subject, found.ceiling, found.bad)
    return all(usable(score) for score in trio) and found.ceiling.value != found.bad.value  # type: ignore[union-attr]


def _scaled_row(axes: Axes, y: int, found: Comparison) -> None:
    ceiling, bad = found.ceiling, found.bad
    assert ceiling is not None
    assert bad is not None
    origin, span = ceiling.value or 0.0, (bad.value or 0.0) - (ceiling.value or 0.0)
    for role, score, shift in (("ceiling", ceiling, -0.18), ("bad", bad, 0.18), ("subject", found.subject, 0.0)):
        places = [(value - origin) / span for value in (*bounds(score), score.value or 0.0)]
        low, high, middle = np.clip(places, -0.28, 1.28)
        axes.plot([low, high], [y + shift] * 2, color=COLOURS[role], linewidth=1.8, solid_capstyle="butt")
        axes.plot([middle], [y + shift], _edge(role, places[2]), color=COLOURS[role], markersize=6.5)


def _edge(role: str, place: float) -> str:
    """Return the marker of a role, or an arrow where the place is outside the figure."""
    return ">" if place > 1.28 else "<" if place < -0.28 else MARKERS[role]


def similarities(values: Mapping[str, Array], thresholds: Mapping[str, float]) -> str:
    """Return the cumulative share of samples by similarity to their nearest training image.

    Args:
        values: Space -> (n,) similarities.
        thresholds: Space -> similarity above which an image counts as a copy, where recorded.
    """
    with styled():
        figure = blank(2.6)
        axes = figure.add_subplot()
        for (name, found), colour in zip(values.items(), LINES, strict=False):
            ordered = np.sort(np.asarray(found, dtype=np.float64))
            axes.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), color=colour, linewidth=1.8, label=name)
            if name in thresholds:
                axes.axvline(thresholds[name], color=colour, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_ylim(0, 1.02)
        axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_ylabel("share at least\nthis similar")
        axes.set_xlabel("similarity to the nearest training image")
        axes.grid(color=FAINT, linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=len(values), frameon=False)
        return svg_text(figure)


def curves(series: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, axis: str) -> str:
    """Return losses over training images seen; curves of one name share a colour.

    Args:
        series: (name, images seen, loss) of each curve.
        axis: What the vertical axis shows.
    """
    names = list(dict.fromkeys(name for name, _, _ in series))
    with styled():
        figure = blank(2.7)
        axes = figure.add_subplot()
        drawn = set[str]()
        for name, seen, losses in series:
            index = names.index(name)
            dash = ("solid", (0, (5, 2)), (0, (1, 1.5)))[index // len(LINES) % 3]
            label = "_" if name in drawn else name  # matplotlib leaves names with an underscore out of the legend
            axes.plot(seen, losses, color=LINES[index % len(LINES)], linewidth=1.4, linestyle=dash, label=label)
            drawn.add(name)
        axes.set_xlabel("training images seen")
        axes.set_ylabel(axis)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}"))
        axes.grid(color=FAINT, linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return svg_text(figure)
