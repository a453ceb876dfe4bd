"""The figures of the analysis, as SVG text. Where readers were simulated, each says so across its middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import FAINT, INK, LINES, blank, styled, svg_text
from ._each_reader import roc
from ._readings import Readings
from ._study import LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, BAND = LINES[0], LINES[1], LINES[5], "#e3eef8"
_MOST_NAMED = 60


def draw(content: Mapping[str, Any], readings: Readings) -> dict[str, str]:
    """Return name -> SVG: test, accuracy, roc, confusion, seconds; none without a reader who finished.

    Args:
        content: Of analysis.json.
        readings: Of the readers who finished.
    """
    if not readings.readers:
        return {}
    with styled():
        return {name: figure for name, make in _FIGURES.items() if (figure := make(content, readings))}


def _test(content: Mapping[str, Any], readings: Readings) -> str:
    """Accuracy and area with both intervals against the margin."""
    tests = [(name, content["equivalence"][key]) for key, name in (("accuracy", "accuracy"), ("auc", "AUC (as %)"))]
    shown = [(name, test) for name, test in tests if test["status"] == "ok"]
    if not shown:
        return ""
    figure, axes = _figure(1.15 + 0.5 * len(shown))
    _margin(axes, shown[0][1]["margin"])
    for row, test in enumerate(test for _, test in shown):
        axes.plot(test["interval"], [row, row], color=BLUE, linewidth=1.6, solid_capstyle="butt")
        axes.plot(test["band"], [row, row], color=BLUE, linewidth=6, alpha=0.55, solid_capstyle="butt")
        axes.plot([test["value"]], [row], "o", color=BLUE, markersize=7)
    _rows(axes, [name for name, _ in shown])
    alpha = shown[0][1]["alpha"]
    ends = [end for _, test in shown for end in (*test["interval"], *test["band"])]
    _shares(axes, min(*ends, 0.35), max(*ends, 0.65))
    axes.set_xlabel(
        f"thick: {100 * (1 - 2 * alpha):g} % interval, which decides; thin: {100 * (1 - alpha):g} % interval"
    )
    return _svg(figure, content)


def _accuracy(content: Mapping[str, Any], _: Readings) -> str:
    readers = content["by_reader"]
    named = len(readers) <= _MOST_NAMED
    figure, axes = _figure(1.0 + (0.27 if named else 0.08) * (len(readers) + 1))
    _margin(axes, content["design"]["margin"])
    for row, each in enumerate(readers):
        found = each["accuracy"]
        axes.plot([found["low"], found["high"]], [row, row], color=GREY, linewidth=1.4, solid_capstyle="butt")
        axes.plot([found["value"]], [row], "o", color=GREY, markersize=4.5)
    labels = [each["reader"] if named else "" for each in readers]
    ends = [end for each in readers for end in (each["accuracy"]["low"], each["accuracy"]["high"])]
    pooled = content["pooled"]["accuracy"]
    if pooled["status"] == "ok":
        labels.append("all readers")
        row = len(readers)
        axes.plot([pooled["low"], pooled["high"]], [row, row], color=BLUE, linewidth=2.4, solid_capstyle="butt")
        axes.plot([pooled["value"]], [row], "D", color=BLUE, markersize=6.5)
    _rows(axes, labels)
    _shares(axes, min(*ends, 0.35), max(*ends, 0.65))
    axes.set_xlabel("accuracy, 95 % intervals")
    return _svg(figure, content)


def _roc(content: Mapping[str, Any], readings: Readings) -> str:
    if readings.synthetic.all() or not readings.synthetic.any():
        return ""
    figure, axes = _figure(3.9)
    cuts = [level for level in range(LEVELS, -LEVELS - 1, -1) if level]
    curves = [roc(row, readings.synthetic, np.array(cuts)) for row in readings.ratings]
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, (false, hit) in enumerate(curves):
        axes.plot(false, hit, color=GREY, linewidth=0.8, alpha=0.5, label="each reader" if place == 0 else None)
    mean = np.mean(np.array(curves), axis=0)
    axes.plot(mean[0], mean[1], "o-", color=BLUE, linewidth=2.2, markersize=4.5, label="mean at each rating")
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("real images called synthetic")
    axes.set_ylabel("synthetic images called synthetic")
    axes.grid(color=FAINT, linewidth=0.7)
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure, content)


def _confusion(content: Mapping[str, Any], readings: Readings) -> str:
    figure, axes = _figure(1.7)
    labels = []
    for kind, name in ((False, "real images"), (True, "synthetic images")):
        said = readings.said[:, readings.synthetic == kind]
        if said.size == 0:
            continue
        labels.append(name)
        share, y = float(said.mean()), len(labels) - 1
        axes.barh(y, 1 - share, color=GREY, height=0.55, label="called real" if y == 0 else None)
        axes.barh(y, share, left=1 - share, color=ORANGE, height=0.55, label="called synthetic" if y == 0 else None)
        for part, at in ((1 - share, (1 - share) / 2), (share, 1 - share / 2)):
            if part > 0.08:
                axes.text(at, y, f"{100 * part:.0f} %", color="white", ha="center", va="center", fontweight="bold")
    _rows(axes, labels)
    axes.grid(visible=False)
    _shares(axes, 0.0, 1.0)
    axes.set_xlabel("share of answers")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return _svg(figure, content)


def _seconds(content: Mapping[str, Any], _: Readings) -> str:
    readers = content["by_reader"]
    named = len(readers) <= _MOST_NAMED
    figure, axes = _figure(1.0 + (0.27 if named else 0.08) * len(readers))
    for row, each in enumerate(readers):
        axes.plot(each["quartiles"], [row, row], color=GREY, linewidth=4, alpha=0.6, solid_capstyle="butt")
        axes.plot([each["median_seconds"]], [row], "o", color=BLUE, markersize=5)
    _rows(axes, [each["reader"] if named else "" for each in readers])
    axes.set_xlim(0, None)
    if content["design"]["time_limit_s"]:
        axes.axvline(content["design"]["time_limit_s"], color=ORANGE, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlabel("seconds an image: median and middle half")
    return _svg(figure, content)


_FIGURES = {"test": _test, "accuracy": _accuracy, "roc": _roc, "confusion": _confusion, "seconds": _seconds}


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = blank(height)
    return figure, figure.add_subplot()


def _margin(axes: Axes, margin: float) -> None:
    axes.axvspan(0.5 - margin, 0.5 + margin, color=BAND, zorder=0, linewidth=0)
    axes.axvline(0.5, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _shares(axes: Axes, low: float, high: float) -> None:
    space = 0.02 * (high - low)
    axes.set_xlim(max(0.0, low) - space, min(1.0, high) + space)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def _svg(figure: Figure, content: Mapping[str, Any]) -> str:
    if content["simulated"]:
        mark = figure.text(0.55, 0.5, "SIMULATED READERS", fontsize=24, color="#a3131b", alpha=0.22, rotation=12)
        mark.set(ha="center", va="center", zorder=10, in_layout=False)
    return svg_text(figure)
