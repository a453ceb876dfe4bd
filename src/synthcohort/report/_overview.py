"""Several cohorts side by side: one table, and a figure for each kind of usefulness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import _figures, _label_text, _text
from ._compare import Comparison, Reading, part, usable
from ._findings import CHANCE
from ._glossary import term
from ._headline import AUCS, UTILITY, Headline
from ._subject import Subject
from ._table import cell

_Shown = tuple[Comparison | None, Reading]
# Question -> what is shown for it; a cohort with masks and findings has two kinds of usefulness.
_COLUMNS: dict[str, Callable[[Headline], Sequence[_Shown]]] = {
    "realism": lambda h: [(h.realism, h.realism.reading if h.realism else "not_estimable")],
    "utility": lambda h: [(h.utility, h.utility_reading), (h.auc, h.auc_reading)],
    "copies": lambda h: [(c, c.reading if c else "not_estimable") for c in (h.copies, h.mask_copies)],
    "labels": lambda h: [(h.shows, h.shows.reading if h.shows else "not_estimable")],
    "overfit": lambda h: [(h.overfit, h.overfit_reading)],
}

_OF_LABELS = ("labels", "overfit")
_NAMED = ("utility", "copies", "labels")  # a Dice, an AUC and a mirrored AUC are never mistaken for each other


def overview(found: Sequence[Subject]) -> dict[str, Any]:
    """Return the table's columns and rows and its figures, as (source SVG text, caption, alternative text)."""
    columns = [key for key in _COLUMNS if key not in _OF_LABELS or any(_measured(s, key) for s in found)]
    last = [title for title, has in _differences(found) if has] or ["Dice ratio"]
    return {
        "columns": [_question(key) for key in columns],
        "last": " / ".join(last),
        "rows": [_row(s, columns, mixed=_mixed(found)) for s in found],
        "measures": _measures(found, columns),
    }


def _question(key: str) -> str:
    return _text.QUESTIONS.get(key) or _label_text.PARTS[key]


def _differences(found: Sequence[Subject]) -> list[tuple[str, bool]]:
    return [
        (term("dice_ratio").title, any(s.headline.utility or s.headline.ratio for s in found)),
        (term("auc_gap").title, any(s.headline.auc or s.headline.gap for s in found)),
    ]


def _measured(subject: Subject, key: str) -> list[_Shown]:
    return [(c, reading) for c, reading in _COLUMNS[key](subject.headline) if c is not None]


def _measures(found: Sequence[Subject], columns: Sequence[str]) -> list[str]:
    """Return what the columns show, each measure once."""
    shown = [c.subject for s in found for key in columns for c, _ in _measured(s, key) if c is not None]
    return list(dict.fromkeys(_text.measure(score) for score in shown))


def _mixed(found: Sequence[Subject]) -> set[str]:
    """Return the columns in which the cohorts have different scores, which are then named."""
    metrics = {key: {c.subject.metric for s in found for c, _ in _measured(s, key) if c} for key in _NAMED}
    return {key for key, names in metrics.items() if len(names) > 1}


def _row(subject: Subject, columns: Sequence[str], *, mixed: set[str]) -> dict[str, Any]:
    shown = subject.headline
    paired = [c for c in (shown.ratio, shown.gap) if c is not None]
    differences: Sequence[Comparison | None] = paired or [None]
    return {
        "name": subject.name,
        "slug": subject.slug,
        "is_control": subject.evaluation.is_control,
        "cells": [
            {"question": _question(key), "entries": _entries(_measured(subject, key), named=key in mixed)}
            for key in columns
        ],
        "differences": [cell(part(c, "subject")) for c in differences],
    }


def _entries(shown: Sequence[_Shown], *, named: bool) -> list[dict[str, Any]]:
    if not shown:
        nothing = cell(None)
        return [{"name": "", "subject": nothing, "ceiling": nothing, "bad": nothing, "reading": "not measured"}]
    return [
        {
            "name": _name(c) if named else "",
            "subject": cell(part(c, "subject")),
            "ceiling": cell(part(c, "ceiling")),
            "bad": cell(part(c, "bad")),
            "reading": _text.READINGS[reading],
        }
        for c, reading in shown
    ]


def _name(found: Comparison | None) -> str:
    return term(found.subject.metric).title if found is not None else ""


def overview_figures(found: Sequence[Subject]) -> list[dict[str, str]]:
    """Return one figure for Dice and one for AUC, where several cohorts are compared by it."""
    if len(found) < 2:
        return []
    dice = _forest([(s.headline.utility, s.name) for s in found], _text.AXES["utility"], None)
    auc = _forest([(s.headline.auc, _marked(s)) for s in found], _label_text.AXIS, CHANCE)
    drawn = ((dice, term(UTILITY).title.split(",")[0]), (auc, term(AUCS[0]).title))
    return [
        {"svg": svg, "caption": _text.OVERVIEW.format(score=name), "alt": _text.ALT_OVERVIEW.format(score=name)}
        for svg, name in drawn
        if svg
    ]


def _marked(subject: Subject) -> str:
    mirrored = subject.headline.auc is not None and subject.headline.auc.subject.metric == AUCS[1]
    return f"{_text.shortened(subject.name, most=23)} (mirrored)" if mirrored else subject.name


def _forest(pairs: Sequence[tuple[Comparison | None, str]], axis: str, mark: float | None) -> str:
    shown = [(c, name) for c, name in pairs if c is not None and usable(c.subject)]
    if not shown:
        return ""
    names = [_text.shortened(name) for _, name in shown]
    return _figures.forest([c for c, _ in shown], names, axis=axis, roles=_text.UTILITY_ROLES, mark=mark)
