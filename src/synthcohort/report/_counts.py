"""Counts as they may leave: of real patients, none below ten is printed, nor one that gives it away by subtraction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..types import Score

SMALLEST_COUNT = 10
FEW = f"<{SMALLEST_COUNT}"
ALL_BUT_FEW = f"all but {FEW}"
IMAGES = "image"  # the arm of scores whose n are images of the compared sets, not images tested on
_CASES = r"(?:patients?|images?|cases?|samples?|positives?|negatives?|studies|study)"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


def count(value: int, *, real: bool = False) -> str:
    """Return a count as text; of real patients or their images, one below ten is "<10"."""
    return FEW if real and 0 < value < SMALLEST_COUNT else f"{value:,}".replace(",", _THIN_SPACE)


def count_text(value: int | str) -> str:
    """Return a count that `finding_split`, `tens` or `sizes` may have hidden, as it is printed."""
    return value if isinstance(value, str) else count(value)


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


def openly(text: str, *, images: bool = False) -> str:
    """Return a sentence with every "<n> patients" below ten written "<10 patients".

    Args:
        text: The sentence.
        images: Treat counts of images and cases alike: of one finding they say how few patients have it.
    """
    text = re.sub(r"\b([1-9]) (?=(?:\w+ )?patients?\b)", f"{FEW} ", text)
    return re.sub(rf"\b([1-9]) (?=(?:\w+ ){{0,2}}{_CASES}\b)", f"{FEW} ", text) if images else text


def score_json(score: Score, findings: Mapping[str, bool] | None = None) -> dict[str, Any]:
    """Return a score for report.json; fewer than ten real images are written "<10".

    Args:
        score: The score.
        findings: See `sizes`.
    """
    n_synthetic, n_real = sizes(score, findings or {})
    reason = openly(score.reason, images=score.label in (findings or {}))
    return {**score.to_json(), "n_real": n_real, "n_synthetic": n_synthetic, "reason": reason}


def sizes(score: Score, findings: Mapping[str, bool]) -> tuple[int | str, int | str]:
    """Return (n_synthetic, n_real) of a score as they may leave.

    Beside the counts of a whole split, an exact count of the images with one finding gives away how many lack it or
    have it unstated. So of one finding the numbers are rounded down to tens.

    Args:
        score: The score.
        findings: Finding -> whether so few held-out patients have it that its images must not be counted.
    """
    few = 0 < score.n_real < SMALLEST_COUNT
    if score.label not in findings:
        return score.n_synthetic, FEW if few else score.n_real
    of_finding = score.arm == IMAGES
    n_synthetic = tens(score.n_synthetic) if of_finding else score.n_synthetic
    return n_synthetic, FEW if of_finding and findings[score.label] else tens(score.n_real)


def tens(value: int) -> int | str:
    """Return a count rounded down to tens, as text: 37 is "30+", 7 is "<10"; 0 stays 0."""
    if value < SMALLEST_COUNT:
        return FEW if value else 0
    return f"{value // SMALLEST_COUNT * SMALLEST_COUNT}+"


def finding_split(having: Mapping[str, int], split: Mapping[str, int]) -> dict[str, int | str]:
    """Return images and patients with one finding in a real split, as they may leave.

    A count is hidden where it is of fewer than ten patients, and where the rest of the split is: subtraction gives
    that away.

    Args:
        having: images and patients with the finding.
        split: images and patients of the whole split.
    """
    if split["patients"] < SMALLEST_COUNT or 0 < having["patients"] < SMALLEST_COUNT:
        return {"images": FEW, "patients": FEW}
    rest = {key: split[key] - having[key] for key in ("images", "patients")}
    if 0 < rest["patients"] < SMALLEST_COUNT:
        return {"images": ALL_BUT_FEW, "patients": ALL_BUT_FEW}
    images = ALL_BUT_FEW if 0 < rest["images"] < SMALLEST_COUNT else having["images"]
    return {"images": images, "patients": having["patients"]}
