"""The answers of the first page: a question, and for each part of it a sentence and three numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _label_sentences, _sentences, _text
from ._compare import Comparison, bounds, part, select, usable, whole_set
from ._counts import openly
from ._headline import DISTANCES
from ._label_text import PARTS
from ._subject import Subject
from ._table import cell, sample_sizes

_Part = tuple[str, str, Comparison | None]


def answers(subject: Subject) -> list[dict[str, Any]]:
    """Return the questions in their order; a part has a title only where the question has several."""
    shown = subject.headline
    distances = [c for name in DISTANCES for c in select(whole_set(subject.comparisons), name)]
    asked: dict[str, list[_Part]] = {
        "realism": [("", _sentences.say_realism(shown.realism, distances), shown.realism)],
        "utility": _utility(subject),
        "copies": _copies(subject),
        "labels": _labels(subject),
    }
    return [
        {"question": _text.QUESTIONS[key], "key": key, "parts": [_described(each, len(parts)) for each in parts]}
        for key, parts in asked.items()
        if parts
    ]


def _utility(subject: Subject) -> list[_Part]:
    """Return one part for each road that was taken; that of masks where none was."""
    shown, parts = subject.headline, []
    if shown.utility is not None or shown.auc is None:
        parts.append(("segmentation", _sentences.say_utility(shown.utility, shown.ratio), shown.utility))
    if shown.auc is not None:
        parts.append(("classification", _label_sentences.say_auc(shown.auc, shown.gap, subject.findings), shown.auc))
    return parts


def _copies(subject: Subject) -> list[_Part]:
    """Return one part for the images, and one for the masks where they were compared."""
    shown = subject.headline
    parts: list[_Part] = [("images", _sentences.say_copies(shown.copies), shown.copies)]
    if shown.mask_copies is not None:
        parts.append(("masks", _sentences.say_copies(shown.mask_copies, of="masks"), shown.mask_copies))
    return parts


def _labels(subject: Subject) -> list[_Part]:
    shown = subject.headline
    parts: list[_Part] = []
    if shown.shows is not None:
        parts.append(("shows", _label_sentences.say_shows(shown.shows), shown.shows))
    if shown.overfit is not None:
        parts.append(("overfit", _label_sentences.say_overfit(shown.overfit), shown.overfit))
    return parts


def _described(each: _Part, parts: int) -> dict[str, Any]:
    name, said, found = each
    said = openly(said, images=name in ("classification", "shows", "overfit"))
    return {"title": PARTS[name] if parts > 1 else "", "said": said, **_numbers(found)}


def _numbers(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return {"trio": []}
    subject = found.subject
    return {
        "measure": _text.measure(subject),
        "trio": [{"role": role, "name": name, **cell(part(found, role))} for role, name in _text.ROLES.items()],
        "n": sample_sizes(subject),
        "strip": _strip(found),
    }


def _strip(found: Comparison) -> list[dict[str, Any]]:
    """Return where ceiling, bad case and subject lie on one line, in per cent from the left."""
    trio = [(role, s) for role, s in (("ceiling", found.ceiling), ("bad", found.bad), ("subject", found.subject)) if s]
    shown: Sequence[tuple[str, Any]] = [(role, score) for role, score in trio if usable(score)]
    if len(shown) < 2:
        return []
    ends = [end for _, score in shown for end in bounds(score)]
    low, span = min(ends), max(ends) - min(ends)
    if span == 0:
        return []

    def place(value: float) -> float:
        return round(3 + 94 * (value - low) / span, 2)

    return [
        {
            "role": role,
            "at": place(float(score.value or 0)),
            "from": place(bounds(score)[0]),
            "width": round(place(bounds(score)[1]) - place(bounds(score)[0]), 2),
        }
        for role, score in shown
    ]
