"""Rows of the tables, as plain dicts of text that the template prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..types import Score
from ._compare import Comparison, usable
from ._counts import openly, total
from ._read import Evaluation
from ._text import ARMS, READINGS, ROLES, interval, number, sample_sizes, space, term


def cell(score: Score | None) -> dict[str, str]:
    """Return a score as its printed value and interval."""
    if score is None:
        return {"value": "\N{EM DASH}", "interval": "", "subject": ""}
    if not usable(score):
        return {"value": "not estimable", "interval": "", "subject": score.subject}
    return {"value": number(score.value, score.unit), "interval": interval(score), "subject": score.subject}


def score_groups(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the score table: groups of rows that share an arm, in the order of the scores."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for found in comparisons:
        groups.setdefault(found.subject.arm, []).append(_score_row(found))
    return [{"title": ARMS.get(arm, arm), "rows": rows} for arm, rows in groups.items()]


def _score_row(found: Comparison) -> dict[str, Any]:
    subject = found.subject
    trio = (subject, found.ceiling, found.bad)
    reasons = [f"{ROLES[score.role]}: {openly(score.reason)}" for score in trio if score is not None and score.reason]
    return {
        "title": term(subject.metric).title,
        "label": subject.label,
        "direction": {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}.get(subject.better, ""),
        "better": {"higher": "higher is better", "lower": "lower is better"}.get(subject.better, "no direction"),
        "subject": cell(subject),
        "ceiling": cell(found.ceiling),
        "bad": cell(found.bad),
        "n": sample_sizes(subject),
        "extractor": space(subject.extractor),
        "reading": READINGS[found.reading],
        "state": found.reading.replace("_", "-"),
        "reasons": reasons,
    }


def facts_of(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return who and what was compared, as (name, text) pairs for the first page."""
    real, synthetic = evaluation.real, evaluation.synthetic
    shape = real.get("shape") or synthetic.get("shape") or ()
    size = " \N{MULTIPLICATION SIGN} ".join(str(side) for side in list(shape)[1:])
    channels = f", {shape[0]} channel{'s' if shape[0] != 1 else ''}" if shape else ""
    structures = ", ".join(evaluation.mask_classes[1:])
    pairs = [
        ("Real cohort", str(real["name"])),
        ("Modality", str(real.get("modality", ""))),
        ("Images", f"{size} pixels{channels}" if size else ""),
        ("Real patients", f"{total(real, 'patients')} ({total(real, 'images')} images)"),
        ("Synthetic images", total(synthetic, "images")),
        ("Generator", evaluation.generator or "not recorded"),
        ("Provenance", str(synthetic.get("provenance", "not recorded"))),
        ("Structures", structures),
        ("Evaluated", str(evaluation.facts.get("date") or "")),
        ("Evaluation", str(evaluation.facts.get("fingerprint", ""))[:12]),
    ]
    return [(name, text) for name, text in pairs if text]
