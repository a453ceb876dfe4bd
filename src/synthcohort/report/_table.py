"""Rows of the tables, as plain dicts of text that the template prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..types import Score
from ._compare import Comparison, usable
from ._counts import count_text, openly, sizes, total
from ._glossary import term
from ._headline import OVERFIT, excess_reading
from ._label_text import PART_OF_OVERFIT, RULES, display
from ._numbers import interval, number, space
from ._read import Evaluation
from ._text import ARMS, READINGS, ROLES

_FEW_FINDINGS = 5
OWN_KIND = "synthetic->synthetic"


def cell(score: Score | None) -> dict[str, str]:
    """Return a score as its printed value and interval."""
    if score is None:
        return {"value": "\N{EM DASH}", "interval": "", "subject": ""}
    if not usable(score):
        return {"value": "not estimable", "interval": "", "subject": score.subject}
    return {"value": number(score.value, score.unit), "interval": interval(score), "subject": score.subject}


def sample_sizes(score: Score, findings: Mapping[str, bool] | None = None) -> str:
    """Return how many images of each side a score rests on; of a finding see `_counts.sizes`."""
    return " / ".join(count_text(number_of) for number_of in sizes(score, findings or {}))


def score_groups(comparisons: Sequence[Comparison], findings: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Return the score table: groups of rows that share an arm, in the order of the scores, those by finding apart.

    Args:
        comparisons: The scores.
        findings: See `_counts.sizes`.
    """
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for found in comparisons:
        group = groups.setdefault(found.subject.arm, {"rows": [], "by_finding": []})
        group["by_finding" if found.subject.label in findings else "rows"].append(_score_row(found, findings))
    return [{"title": ARMS.get(arm, arm), **group} for arm, group in groups.items()]


def _score_row(found: Comparison, findings: Mapping[str, bool]) -> dict[str, Any]:
    subject = found.subject
    few = subject.label in findings
    said = [score for score in (subject, found.ceiling, found.bad) if score is not None and score.reason]
    reasons = [f"{ROLES[score.role]}: {openly(score.reason, images=few)}" for score in said]
    if few and len(said) > 1 and len({score.reason for score in said}) == 1:
        reasons = [openly(subject.reason, images=True)]
    reading = excess_reading(found) if subject.metric == OVERFIT else found.reading
    # How well a network does on images of its own kind has no better or worse by itself.
    is_own = subject.arm == OWN_KIND and reading != "not_estimable"
    return {
        "title": term(subject.metric).title,
        "label": display(subject.label) if few else subject.label,
        "direction": {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}.get(subject.better, ""),
        "better": {"higher": "higher is better", "lower": "lower is better"}.get(subject.better, "no direction"),
        "subject": cell(subject),
        "ceiling": cell(found.ceiling),
        "bad": cell(found.bad),
        "n": sample_sizes(subject, findings),
        "extractor": space(subject.extractor),
        "reading": PART_OF_OVERFIT if is_own else READINGS[reading],
        "state": "own" if is_own else reading.replace("_", "-"),
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
        ("Findings", _listed(evaluation.findings)),
        ("Labels", RULES.get(evaluation.label_rule, "")),
        ("Source", str(real.get("source") or "")),
        ("Licence", str(real.get("licence") or "")),
        ("Notice", str(real.get("notice") or "")),
        ("Evaluated", str(evaluation.facts.get("date") or "")),
        ("Evaluation", str(evaluation.facts.get("fingerprint", ""))[:12]),
    ]
    return [(name, text) for name, text in pairs if text]


def _listed(findings: Sequence[str]) -> str:
    if len(findings) > _FEW_FINDINGS:
        return f"{len(findings)}, in the table below"
    return ", ".join(display(name) for name in findings)
