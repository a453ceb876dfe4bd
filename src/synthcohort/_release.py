"""Counts as they may leave: 0, "<10", or rounded down to tens.

Hiding the small ones alone would not do: what is hidden is the difference of a total and the other counts. Rounding
every count, totals too, leaves each sum a range, and no rule is needed for which others to hide beside a small one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEAST = 10
FEW = f"<{LEAST}"
_NAMES = """
    seed revision size field_mm spacing_mm fold bits options value_rule shares choices protocols min_images
    min_finding_images min_combination_images oversample batch images_seen
"""
SETTINGS = frozenset(_NAMES.split())
"""Keys of a history whose numbers were chosen, not counted."""


def tens(value: int) -> int | str:
    """Return a count as it may leave: 37 is "30+", 7 is "<10", 0 is 0."""
    if value < LEAST:
        return FEW if value else 0
    return f"{value // LEAST * LEAST}+"


def rounded(value: Any) -> Any:
    """Return a JSON value in which every whole number that is not below a key of `SETTINGS` is as it may leave."""
    if isinstance(value, Mapping):
        return {key: item if key in SETTINGS else rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return tens(value) if isinstance(value, int) and not isinstance(value, bool) else value
