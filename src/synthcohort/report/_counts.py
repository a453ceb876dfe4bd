"""Counts as they may leave: of real patients, none below ten is printed, nor one that gives it away by subtraction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..types import Score

SMALLEST_COUNT = 10
FEW = f"<{SMALLEST_COUNT}"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


def count(value: int, *, real: bool = False) -> str:
    """Return a count as text; of real patients or their images, one below ten is "<10"."""
    return FEW if real and 0 < value < SMALLEST_COUNT else f"{value:,}".replace(",", _THIN_SPACE)


def split_rows(side: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return images and patients of each split; a real split of fewer than ten patients shows no counts."""
    real = side.get("provenance", "real") == "real"
    rows = []
    for split in ("train", "val", "test", "reference"):
        counts = (side.get("counts") or {}).get(split)
        if not counts:
            continue
        few = real and counts["patients"] < SMALLEST_COUNT
        rows.append(
            {
                "split": split,
                "images": f"of {FEW} patients" if few else count(counts["images"]),
                "patients": FEW if few else (count(counts["patients"]) if real else ""),
            }
        )
    return rows


def total(side: Mapping[str, Any], key: str) -> str:
    """Return a cohort's images or patients; "at least" when a split is too small to be counted openly."""
    counts = list((side.get("counts") or {}).values())
    real = side.get("provenance", "real") == "real"
    open_counts = [c[key] for c in counts if not real or c["patients"] >= SMALLEST_COUNT]
    text = count(sum(open_counts), real=real and key == "patients")
    return text if len(open_counts) == len(counts) else f"at least {text}" if open_counts else FEW


def suppressed_counts(side: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cohort's counts for report.json, those of fewer than ten real patients as "<10"."""
    real = side.get("provenance", "real") == "real"
    return {
        split: {key: FEW if real and c["patients"] < SMALLEST_COUNT else c[key] for key in sorted(c)}
        for split, c in (side.get("counts") or {}).items()
    }


def openly(text: str) -> str:
    """Return a sentence with every "<n> patients" below ten written "<10 patients"."""
    return re.sub(r"\b([1-9]) (?=(?:\w+ )?patients?\b)", f"{FEW} ", text)


def score_json(score: Score) -> dict[str, Any]:
    """Return a score for report.json; fewer than ten real images are written "<10"."""
    n_real = FEW if 0 < score.n_real < SMALLEST_COUNT else score.n_real
    return {**score.to_json(), "n_real": n_real, "reason": openly(score.reason)}
