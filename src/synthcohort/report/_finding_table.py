"""The table of findings, as plain dicts of text that the template prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..types import Score
from ._compare import part, usable
from ._counts import ALL_BUT_FEW, FEW, count_text, openly
from ._findings import Finding, mean_of
from ._label_sentences import say_hidden, say_rare, say_worst
from ._label_text import MEAN, SHOWINGS, display
from ._numbers import space
from ._subject import Subject
from ._table import cell


def finding_section(subject: Subject) -> dict[str, Any] | None:
    """Return the table of findings and what is said about it; None for a cohort without findings."""
    found = subject.findings
    if not found:
        return None
    mean = mean_of(subject.comparisons)
    rows = [_row(each) for each in found]
    return {
        "rows": [*rows, _row(mean)] if mean.auc is not None else rows,
        "kid_space": next((space(each.kid.subject.extractor) for each in found if each.kid is not None), ""),
        "said": [text for text in (say_worst(found), say_hidden(found), say_rare(found)) if text],
    }


def _row(each: Finding) -> dict[str, Any]:
    return {
        "name": display(each.name),
        "is_mean": each.name == MEAN,
        "is_rare": each.is_rare,
        "train": _held(each, "train"),
        "test": _held(each, "test"),
        "synthetic": count_text(each.images) if each.synthetic else "",
        "auc_real": _measured(part(each.auc, "ceiling")),
        "auc_synthetic": _measured(part(each.auc, "subject")),
        "gap": _measured(part(each.gap, "subject")),
        "is_lost": each.is_lost,
        "overfit": _measured(part(each.overfit, "subject")),
        "overfit_ceiling": _measured(part(each.overfit, "ceiling")),
        "showing": SHOWINGS[each.showing] if usable(part(each.shows, "subject")) else "",
        "state": each.showing.replace("_", "-"),
        "shows": _measured(part(each.shows, "subject")),
        "kid": _measured(part(each.kid, "subject")),
        "kid_ceiling": _measured(part(each.kid, "ceiling")),
        "reasons": _reasons(each),
    }


def _held(each: Finding, split: str) -> dict[str, str]:
    """Return images and patients with a finding in a split; one text where both are hidden."""
    counts = each.real.get(split)
    if counts is None:
        return {"images": "", "patients": ""}
    patients, images = counts["patients"], count_text(counts["images"])
    if patients in (FEW, ALL_BUT_FEW):
        return {"images": "", "patients": f"{patients} patients"}
    if patients == 0:
        return {"images": "none", "patients": ""}
    return {"images": images, "patients": f"{count_text(patients)} patients"}


def _reasons(each: Finding) -> list[str]:
    """Return why a value is missing, each reason once."""
    trios: Sequence[Any] = [c for c in (each.auc, each.gap, each.shows, each.overfit, each.kid) if c is not None]
    missing = [s for c in trios for s in (c.subject, c.ceiling) if s is not None and s.status == "not_estimable"]
    return [openly(reason, images=True) for reason in dict.fromkeys(s.reason for s in missing) if reason]


def _measured(score: Score | None) -> dict[str, str]:
    """Return a cell that is a dash where nothing could be estimated: the row below says why."""
    return cell(score if usable(score) else None)
