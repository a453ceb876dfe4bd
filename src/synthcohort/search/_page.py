"""The page of a search: how many were tried, the best, what mattered."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import FAINT, INK, LINES, blank, styled, svg_source, svg_text
from ..runs import write_atomic

if TYPE_CHECKING:
    from optuna import Study

LEAST_FOR_IMPORTANCE = 10
_CSS = """
body { font: 16px/1.5 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; color: #1c232b;
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
img { max-width: 100%; } table { border-collapse: collapse; }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #d9dde2; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
.note { color: #5a5f66; font-size: .92rem; }
"""


def write_page(out: Path, study: Study, rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
    """Write search.html and its figures as SVG."""
    figures = {"history": _history(rows)}
    if weights := importances(study, rows):
        figures["importance"] = _bars(weights)
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for name, svg in figures.items():
        write_atomic(folder / f"{name}.svg", svg)
    write_atomic(out / "search.html", _page(found, figures))


def importances(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how much each option decided whether a trial was among the best (PED-ANOVA), largest first.

    Empty where fewer than `LEAST_FOR_IMPORTANCE` trials have a distance, or all have the same.
    """
    import optuna

    scored = [row["frechet"] for row in rows if row["frechet"] is not None and row["same_as"] is None]
    if len(scored) < LEAST_FOR_IMPORTANCE or len(set(scored)) == 1:
        return {}
    found = optuna.importance.get_param_importances(study)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _history(rows: Sequence[Mapping[str, Any]]) -> str:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(1, len(rows) + 1)
    values = np.array([np.nan if row["frechet"] is None else row["frechet"] for row in rows], float)
    with styled():
        figure = blank(2.9)
        axes = figure.add_subplot()
        axes.plot(places, values, "o", color=LINES[0], markersize=4, label="finished")
        gone = [place for place, value in zip(places, values, strict=True) if np.isnan(value)]
        if np.isfinite(values).any():
            best = np.fmin.accumulate(values)
            axes.step(places, best, where="post", color=INK, linewidth=1.2, label="best so far")
            bottom = float(np.nanmin(values))
            axes.plot(gone, [bottom] * len(gone), "|", color=LINES[1], markersize=9, label="given up or failed")
            if float(np.nanmax(values)) > 20 * max(bottom, 1e-12):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("trial")
        axes.set_ylabel("Fréchet distance")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=FAINT, linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return svg_text(figure)


def _bars(weights: Mapping[str, float]) -> str:
    names = [name.replace("_", " ") for name in weights]
    with styled():
        figure = blank(0.8 + 0.27 * len(names))
        axes = figure.add_subplot()
        axes.barh(names, list(weights.values()), color=LINES[0], height=0.62)
        axes.invert_yaxis()
        axes.set_xlabel("share of what decides whether a trial is among the best")
        axes.tick_params(left=False)
        return svg_text(figure)


def _page(found: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    ended = ", ".join(f"{count} {how}" for how, count in found["ended"].items())
    best = found["best"]
    where = "validation patients" if found["selected_on"] == "val" else "training images"
    headline = f"Fréchet distance {best['frechet']:.4g} to {where}" if best else "No trial came to its end"
    parts = [
        f"<h1>Search over {_text(found['generator'])}</h1>",
        f"<p><strong>{found['tried']} settings were tried</strong> ({_text(ended)}), each on "
        f"{found['images_seen']:,} training images. Best: {_text(headline)} ({_text(found['extractor'])} "
        "features).</p>",
        '<p class="note">The best of many looks better than it is: score it anew on test patients with '
        "<code>synthcohort evaluate</code>, and say how many were tried.</p>",
    ]
    if best:
        parts += ["<h2>The best setting</h2>", _table(best["varied"])]
    parts += ["<h2>Every trial</h2>", _image(figures["history"], "Fréchet distance of every trial")]
    if "importance" in figures:
        parts += ["<h2>What mattered</h2>", _image(figures["importance"], "Share of each option")]
        parts += [
            '<p class="note">PED-ANOVA (Watanabe et al. 2023) on the finished trials. With few trials it is a hint.</p>'
        ]
    else:
        parts += [f'<p class="note">What mattered is shown from {LEAST_FOR_IMPORTANCE} finished trials on.</p>']
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Search</title><style>{_CSS}</style>'
    return head + "\n".join(parts) + "</html>\n"


def _table(values: Mapping[str, Any]) -> str:
    lines = (
        f"<tr><td>{_text(name)}</td><td class=number>{_text('none' if value == '' else value)}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{''.join(lines)}</table>"


def _image(svg: str, alt: str) -> str:
    return f'<img src="{svg_source(svg)}" alt="{_text(alt)}">'


def _text(value: object) -> str:
    return html.escape(str(value))
