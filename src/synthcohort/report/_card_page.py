"""The card as the template prints it."""

from __future__ import annotations

from typing import Any

from . import _card_text, _label_text, _sentences, _text
from ._card import Card, Line
from ._card_judge import WORDS, Status
from ._compare import part
from ._counts import sizes
from ._findings import few_held_out
from ._numbers import NARROW
from ._subject import Subject
from ._table import cell, sample_sizes


def card_section(subject: Subject) -> dict[str, Any]:
    """Return what the template prints of a card."""
    card, evaluation = subject.card, subject.evaluation
    few = few_held_out(evaluation)
    file = card.file
    return {
        "fixed": file is not None,
        "no_card": _card_text.NO_CARD,
        "declared": [(title, getattr(file, key)) for key, title in _card_text.DECLARED.items()] if file else [],
        "facts": [(name, text) for name, text in _facts(subject) if text],
        "alarms": _alarms(subject),
        "summary": _summary(card),
        "groups": _groups(card, few),
        "caveats": _card_text.CAVEATS,
        "no_score": _card_text.NO_SCORE,
    }


def _facts(subject: Subject) -> list[tuple[str, str]]:
    evaluation, file = subject.evaluation, subject.card.file
    return [
        ("Real data set", str(evaluation.real["name"])),
        ("Synthetic images", f"{evaluation.synthetic['name']}{_made_by(subject)}"),
        ("Evaluated", str(evaluation.facts.get("date") or "")),
        ("Evaluation", str(evaluation.facts.get("fingerprint", ""))[:12]),
        ("Card file SHA-256", file.sha256[:12] if file else ""),
    ]


def _made_by(subject: Subject) -> str:
    name = subject.evaluation.generator
    return f" (by {name})" if name and name not in str(subject.evaluation.synthetic["name"]) else ""


def _alarms(subject: Subject) -> list[str]:
    """Return what the page warns of further down, for whoever reads the card alone."""
    evaluation = subject.evaluation
    failed = [control for control in subject.controls if not control.as_expected]
    found = {
        _sentences.failed_title(failed): bool(failed),
        _text.FOREIGN_TITLE: evaluation.is_foreign,
        _label_text.EXACT_TITLE: evaluation.label_rule == "exact",
    }
    return [title for title, holds in found.items() if holds]


def _summary(card: Card) -> list[dict[str, str]]:
    """Return which lines have which status, the bad ones first; a line without a limit is in none."""
    if card.file is None:
        missed = [line for line in card.lines if line.indication == "not_met"]
        said = [{"state": "not_met", "word": "Default lines that would be missed", "lines": _named(missed)}]
        return said if missed else []
    found = [{"state": state, "word": WORDS[state], "lines": _named(card.having(state))} for state in _JUDGED]
    return [each for each in found if each["lines"]]


_JUDGED: tuple[Status, ...] = ("not_met", "not_estimable", "met")


def _named(lines: list[Line]) -> str:
    return ", ".join(f"{line.number}{NARROW}{line.question.rstrip('?').lower()}" for line in lines)


def _groups(card: Card, few: dict[str, bool]) -> list[dict[str, Any]]:
    starts = [number for number, _ in _card_text.GROUPS[1:]] + [len(card.lines) + 1]
    return [
        {"title": title, "lines": [_row(line, few) for line in card.lines if first <= line.number < after]}
        for (first, title), after in zip(_card_text.GROUPS, starts, strict=True)
    ]


def _row(line: Line, few: dict[str, bool]) -> dict[str, Any]:
    deciding = line.deciding
    shown = deciding if deciding.found else next((each for each in line.parts if each.found), deciding)
    figures = {role: cell(part(shown.found, role)) for role in ("subject", "ceiling", "bad")}
    against = _card_text.AGAINST_DEFAULT if not _fixed(line) else _card_text.AGAINST_LINE
    return {
        "number": line.number,
        "question": line.question,
        "said": line.said,
        **figures,
        "what": shown.name if shown.found else "",
        "n": sample_sizes(shown.found.subject, few) if shown.found and any(sizes(shown.found.subject, few)) else "",
        "rule": shown.rule,
        "state": line.status,
        "word": WORDS[line.status] if line.judged or line.status == "not_estimable" else "no line set",
        "reason": line.reason if _fixed(line) else "",
        "indication": against.get(line.indication or "", ""),
        "misses": "not_met" in (line.status, line.indication),
    }


def _fixed(line: Line) -> bool:
    return line.reason != _card_text.NO_LINE_FIXED
