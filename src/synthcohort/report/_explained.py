"""What `evaluate --explain` left in an EVAL, as the page shows it: real pixels only where they were asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..figures import svg_source
from ._counts import count
from ._numbers import number
from ._read import Evaluation

TITLE = "Where the networks look"
_WHO = {
    "synthetic": "trained on this cohort",
    "real, other seed": "trained on real images, another seed (ceiling)",
    "gaussian": "trained on the bad case",
}
_NUMBERS = ("value", "low", "high", "status", "reason")


def umap_figure(evaluation: Evaluation) -> str:
    """Return the figure of feature spaces as SVG text, or "" where there is none: it holds no pixel."""
    return _svg(evaluation, "umap")


def real_figures(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the figures that hold real pixels, each with source, name and caption."""
    found = _stored(evaluation)
    return [
        {"source": svg_source(svg), "alt": name, "said": str(found[name].get("said", ""))}
        for name in ("nearest", "occlusion")
        if (svg := _svg(evaluation, name))
    ]


def agreement_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return how alike the maps of importance of real-trained and other networks are, and of how many images."""
    occlusion = _stored(evaluation).get("occlusion", {})
    alike = occlusion.get("agreement")
    if not isinstance(alike, Mapping) or not all(isinstance(value, Mapping) for value in alike.values()):
        return {}
    numbers = {who: {key: value.get(key) for key in _NUMBERS} for who, value in alike.items() if who in _WHO}
    return {"images": count(int(occlusion.get("images") or 0), real=True), "agreement": numbers}


def agreement_rows(evaluation: Evaluation) -> dict[str, Any]:
    """Return the same as the page prints it; nothing where it was not measured."""
    found = agreement_json(evaluation)
    if not found:
        return {}
    rows = [
        {
            "who": _WHO[who],
            "value": number(value["value"]) if value["status"] == "ok" else "not estimable",
            "interval": "" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}",
            "reason": str(value["reason"] or ""),
        }
        for who, value in found["agreement"].items()
    ]
    return {"title": TITLE, "images": found["images"], "rows": rows}


def _stored(evaluation: Evaluation) -> dict[str, Any]:
    try:
        found = json.loads((evaluation.folder / "explained.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}


def _svg(evaluation: Evaluation, name: str) -> str:
    """Return a figure that explained.json names, from where `evaluate` writes it and nowhere else."""
    folder = "figures" if name == "umap" else "pairs"
    if not _stored(evaluation).get(name, {}).get("figure"):
        return ""
    try:
        return (evaluation.folder / folder / f"{name}.svg").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
