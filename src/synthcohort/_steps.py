"""A step of a cohort's history as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_OWN_LINES = ("protocols", "setting")
_SHOWN = 10
_SPLITS = ("train", "val", "test", "reference")


def step_lines(step: Mapping[str, Any]) -> Iterator[str]:
    """Yield a step's facts on one line, then where protocols differ, then what a setting was cut to.

    Args:
        step: One entry of `history`; of a cohort that someone wrote by hand it may hold anything.
    """
    yield f"step      {', '.join(f'{key} {value}' for key, value in step.items() if key not in _OWN_LINES)}"
    protocols, setting = step.get("protocols"), step.get("setting")
    if isinstance(protocols, list):
        yield from (_difference(row) for row in protocols if isinstance(row, Mapping))
    if isinstance(setting, Mapping):
        yield from _setting(setting)


def _difference(row: Mapping[str, Any]) -> str:
    """Return "choice    size: here 128, recommended 128, paper 256 (assumed)"."""
    assumed = row.get("assumed")
    assumed = assumed if isinstance(assumed, list) else []
    said = [
        f"{name} {value}{' (assumed)' if name in assumed else ''}"
        for name, value in row.items()
        if name not in ("choice", "assumed")
    ]
    return f"choice    {row.get('choice')}: {', '.join(said)}"


def _setting(setting: Mapping[str, Any]) -> Iterator[str]:
    found = setting.get("combinations")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    yield f"setting   {setting.get('name')}: {len(rows)} combinations of findings"
    for row in rows[:_SHOWN]:
        counts = ", ".join(f"{split} {row[split]}" for split in _SPLITS if row.get(split))
        findings = row.get("findings")
        names = ", ".join(map(str, findings)) if isinstance(findings, list) else ""
        yield f"          {counts}: {names or 'none'}"
    if len(rows) > _SHOWN:
        yield f"          and {len(rows) - _SHOWN} more"
