"""What is known of each generator: its paper, what it can be told, how large and how fast it is.

Parameters are counted on the spot, for the default options; memory and speed come from `generators/measured.json`,
which a benchmark of this project writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import plugins
from .cohort import Facts
from .errors import SynthcohortError
from .nets.generator import parameters

MEASURED = Path(__file__).parent / "generators" / "measured.json"
SHAPE, CLASSES = (1, 32, 32), ("background", "right_ventricle", "myocardium", "left_ventricle")
COLUMNS = ("name", "told", "parameters", "memory MiB", "trained/s", "drawn/s", "paper")


def catalogue() -> dict[str, Any]:
    """Return {"generators": name -> facts, "measured": what the speeds were measured on}; see `as_text`."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    found = {name: {**_facts(name), **measured["generators"].get(name, {})} for name in plugins.names("generators")}
    return {"generators": found, "measured": measured["on"]}


def as_text(found: dict[str, Any]) -> str:
    """Return the catalogue as a table and a line on what its speeds are of."""
    rows = [COLUMNS, *(_row(name, facts) for name, facts in found["generators"].items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_footer(found["measured"])])


def _facts(name: str) -> dict[str, Any]:
    plugin = plugins.find("generators", name)
    return {
        "paper": plugin.PAPER or "a control of this project",
        "control": plugin.CONTROL,
        "accepts": sorted(plugin.accepts),
        "parameters": _parameters(name),
    }


def _parameters(name: str) -> int | None:
    """Return how many weights are learnt at 32 px with masks; None where an option has to be given first."""
    try:
        return parameters(name, Facts("", "", "real", SHAPE, "uint8", (0.0, 255.0), CLASSES), {})
    except SynthcohortError:
        return None


def _row(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    told = "+".join(facts["accepts"]) or ("control" if facts["control"] else "nothing")
    counted = "-" if facts["parameters"] is None else f"{facts['parameters']:,}"
    measured = (facts.get(key) for key in ("memory_mib", "images_trained_per_second", "images_drawn_per_second"))
    return (name, told, counted, *("-" if value is None else f"{value:,}" for value in measured), facts["paper"])


def _footer(on: dict[str, Any]) -> list[str]:
    return [
        f"Default options, {on['shape'][1]}x{on['shape'][2]} px with masks, batch {on['batch']}, {on['precision']}.",
        f"Measured on {on['device']}, torch {on['versions']['torch']}, {on['date']}.",
    ]
