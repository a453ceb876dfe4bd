"""analysis.html: one page that needs no network and no script, and holds no image of the study."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from ..report import STYLE_FILE
from . import _analysis_words as words
from ._analysis_words import PM, percent, plain
from ._study import FEW_READERS

_NAMES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "AUC",
    "d_prime": "d\N{PRIME}",
    "criterion": "Criterion",
}
_PROBLEMS = 3  # named on the page; all are in analysis.json
_SHARES = ("accuracy", "sensitivity", "specificity")


def page(content: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        content: Of analysis.json.
        figures: Name -> SVG.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = STYLE_FILE.read_text(encoding="utf-8")
    sources = {
        name: f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}" for name, svg in figures.items()
    }
    return environment.get_template("analysis.html").render(
        c=content, w=words, style=_safe(style), figures=sources, **_said(content)
    )


def _safe(style: str) -> Any:
    from markupsafe import Markup

    return Markup(style)  # our own file


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    test = content["equivalence"]["accuracy"]
    word = test.get("words", "not estimable")
    return {
        "headline": words.headline(content),
        "verdict": f"Simulated, not evidence: {word}" if content["simulated"] else word,
        "reading": words.reading(content),
        "alarms": _alarms(content),
        "facts": _facts(content),
        "tag": " Simulated readers." if content["simulated"] else "",
        "pooled": [_row(name, content["pooled"][key], key) for key, name in _NAMES.items()],
        "variance": _variance(content),
        "cells": _cells(content),
        "agreement": words.agreement(content),
        "times": _times(content),
        "told": _told(content),
        "paper": words.paper(content),
        "readers": [_reader(each) for each in content["by_reader"]],
        "unfinished": _unfinished(content["readers"]["unfinished"]),
        "caveats": [*([words.SIMULATED] if content["simulated"] else []), *words.CAVEATS],
    }


def _alarms(content: Mapping[str, Any]) -> list[str]:
    found = [words.LEARNT.format(subject=content["subject"])] if content["subject"] != "synthetic" else []
    if 0 < len(content["by_reader"]) < FEW_READERS:
        found.append(words.FEW.format(least=FEW_READERS))
    trail = content["trail"]
    if trail:
        more = f" and {len(trail) - _PROBLEMS} more" if len(trail) > _PROBLEMS else ""
        found.append(f"The record of the answers is not whole: {'; '.join(trail[:_PROBLEMS])}{more}.")
    return found


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    design, images, readers = content["design"], content["images"], content["readers"]
    asked = readers["finished"] + len(readers["unfinished"])
    height, width = design["shape"][1:]
    limit = design["time_limit_s"]
    return [
        ("Readers who finished", f"{readers['finished']} of {asked}"),
        ("Images", f"{images['real']} real, {images['synthetic']} synthetic"),
        ("Size", f"{height} \N{MULTIPLICATION SIGN} {width} pixels"),
        ("Shown twice", str(design["repeats"])),
        ("Training images with answers", str(design["training"]) if design["training"] else "none"),
        ("Time limit", f"{limit:g} s an image" if limit else "none"),
        ("Margin, fixed beforehand", f"{PM}{plain(design['margin'])} of accuracy"),
        ("Level of the test", f"{design['alpha']:g}"),
    ]


def _row(name: str, found: Mapping[str, Any], key: str) -> dict[str, str]:
    value, interval = _value(found, key)
    write = percent if key in _SHARES else plain
    spread = found.get("sd_of_readers")
    return {"name": name, "value": value, "interval": interval, "sd": write(spread) if spread is not None else ""}


def _value(found: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Return a figure and its interval as text; where there is none, the reason in the interval's place."""
    write = percent if key in _SHARES else plain
    if found["status"] != "ok":
        return "not estimable", found["reason"]
    if found["low"] is None:
        return write(found["value"]), found["reason"]
    return write(found["value"]), f"{write(found['low'])} to {write(found['high'])}"


def _variance(content: Mapping[str, Any]) -> str:
    found = content["pooled"]["accuracy"]
    total = found.get("reader_variance", 0.0) + found.get("case_variance", 0.0)
    if not total:
        return ""
    share = found["reader_variance"] / total
    more = "More readers" if share > 0.5 else "More images"
    return (
        f"Intervals hold for other readers and other images. Of the uncertainty of accuracy {percent(share)} is"
        f" what more readers would make smaller, the rest only more images. {more} would help most."
    )


def _cells(content: Mapping[str, Any]) -> dict[str, str]:
    confusion, several = content["confusion"] or {}, content["readers"]["finished"] > 1
    return {
        name: f"{cell['mean']:.1f} {PM} {cell['sd']:.1f}" if several else f"{cell['mean']:.0f}"
        for name, cell in confusion.items()
    }


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _times(content: Mapping[str, Any]) -> list[str]:
    found = content["seconds"]
    if found is None:
        return []
    low, high = found["quartiles"]
    middle = _seconds(found["median"])
    said = [f"Half of all answers took between {_seconds(low)} and {_seconds(high)} seconds; the median is {middle}."]
    if found["median_right"] is not None and found["median_wrong"] is not None:
        said.append(
            f"Right answers: {_seconds(found['median_right'])} seconds; wrong ones: {_seconds(found['median_wrong'])}."
        )
    if content["design"]["time_limit_s"]:
        said.append(f"The time limit ran out in {found['timed_out']} answers.")
    return [" ".join(said)]


def _told(content: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = [(each["finding"], each) for each in content["findings"]]
    marks = content["marks"]
    if marks["real"]["answers"] + marks["synthetic"]["answers"]:
        rows.append(("an artefact marked on the image", marks))
    return [{"name": name, **{kind: _count(each[kind]) for kind in ("real", "synthetic")}} for name, each in rows]


def _count(found: Mapping[str, int]) -> str:
    share = f" ({percent(found['answers'] / found['of'])})" if found["of"] else ""
    return f"{found['answers']} of {found['of']}{share}"


def _reader(each: Mapping[str, Any]) -> dict[str, Any]:
    cells = [_short(_value(each[key], key)) for key in _NAMES]
    own = each["agreement"]
    kappa = ("\N{EN DASH}", "") if own["value"] is None else (plain(own["value"]), _ends(own))
    return {"reader": each["reader"], "cells": [*cells, kappa], "seconds": f"{_seconds(each['median_seconds'])} s"}


def _ends(found: Mapping[str, Any]) -> str:
    return "" if found["low"] is None else f"{plain(found['low'])} to {plain(found['high'])}"


def _short(pair: tuple[str, str]) -> tuple[str, str]:
    return (
        ("\N{EN DASH}", "") if pair[0] == "not estimable" else (pair[0], pair[1].replace(f"{words.NARROW}% to", " to"))
    )


def _unfinished(left: Sequence[Mapping[str, Any]]) -> str:
    if not left:
        return "All readers finished."
    named = ", ".join(f"{each['reader']} ({each['answered']} of {each['asked']})" for each in left)
    return f"Did not finish and are not counted: {named}."
