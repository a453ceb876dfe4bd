"""Lines 6 to 8 of the card: does it look like the real set, what is missing, what is impossible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..types import Score
from ._card_judge import Part, against, highest, over, under, why_not
from ._compare import Comparison, bounds, select, usable, whole_set
from ._counts import openly
from ._headline import DISTANCES, TASK_SPACE
from ._numbers import number, space

Limits = Mapping[str, float | None]
_REACH = ("recall", "coverage")
_EVALUATE = "evaluate with an extractor"


def likeness_lines(comparisons: Sequence[Comparison], limits: Limits) -> dict[int, list[Part]]:
    """Return the figures of lines 6 to 8.

    Args:
        comparisons: The scores.
        limits: Key -> what a figure has to keep; None where it is not judged.
    """
    return {
        6: _looks(comparisons),
        7: [_missing(comparisons, limits["coverage_of_ceiling"]), *_foreground(comparisons)],
        8: [_impossible(comparisons, limits["impossible_excess"])],
    }


def _looks(comparisons: Sequence[Comparison]) -> list[Part]:
    overall = whole_set(comparisons)
    separated = highest([c for c in select(overall, "c2st_auc") if not _learnt(c)] or select(overall, "c2st_auc"))
    distances = [_distance(each) for each in _a_distance_each(overall)]
    found = [*([_told_apart(separated)] if separated and usable(separated.subject) else []), *distances]
    if not found:
        return [Part("distance", None, "not_estimable", "", why_not(separated, _EVALUATE))]
    clash = _disagreement(overall)
    return [*found, *([Part("disagreement", None, "shown", "", clash)] if clash else [])]


def _learnt(found: Comparison) -> bool:
    return found.subject.extractor.startswith(TASK_SPACE)


def _a_distance_each(overall: Sequence[Comparison]) -> list[Comparison]:
    """Return one distance for each of at most two spaces, those that were not trained on these images first."""
    chosen: dict[str, Comparison] = {}
    for name in DISTANCES:
        for each in select(overall, name):
            if usable(each.subject):
                chosen.setdefault(each.subject.extractor, each)
    return sorted(chosen.values(), key=_learnt)[:2]


def _told_apart(found: Comparison) -> Part:
    value, ceiling = found.subject.value or 0.0, found.ceiling
    beside = f"; for real images of other patients it is {number(ceiling.value)}" if ceiling and usable(ceiling) else ""
    low = bounds(found.subject)[0]
    word = "almost always" if low >= 0.95 else "often" if low >= 0.75 else "sometimes" if low > 0.5 else "not"
    said = (
        f"A simple classifier can {word} tell these images from real ones"
        f" (AUC {number(value)}, 0.50 is chance{beside})."
    )
    return Part(f"told apart, {space(found.subject.extractor)}", found, "shown", "", said)


def _distance(found: Comparison) -> Part:
    where = f"in the {space(found.subject.extractor)} space"
    sentences = {
        "within": f"Its distance to real images {where} is that of other real patients.",
        "beyond": f"It is closer to unseen patients {where} than real training images are: look at the copies.",
        "between": f"It differs from real images {where}{_share(found)}.",
        "bad": f"It is no closer to real images {where} than the bad case is: it does not look like them.",
        "blind": f"Nothing can be said {where}: real images and the bad case are as near.",
        "unclear": f"There is a distance {where} but nothing to read it by.",
        "not_estimable": "",
    }
    return Part(f"distance, {space(found.subject.extractor)}", found, "shown", "", sentences[found.reading])


def _share(found: Comparison) -> str:
    """Return how far a distance has gone from its ceiling to the bad case."""
    subject, ceiling, bad = found.subject, found.ceiling, found.bad
    if bad is None or not usable(bad) or ceiling is None or not usable(ceiling) or subject.value is None:
        return ""
    low, high = ceiling.value or 0.0, bad.value or 0.0
    way = (subject.value - low) / (high - low) if high != low else 0.0
    return f", {number(max(0.0, min(1.0, way)), 'share')} of the way from real images to the bad case"


def _disagreement(overall: Sequence[Comparison]) -> str:
    """Return a flag where spaces disagree on whether the set is nearer to its ceiling or to its bad case."""
    readings = {c.subject.extractor: c.reading for c in _a_distance_each(overall)}
    if {"within", "beyond"} & set(readings.values()) and {"between", "bad"} & set(readings.values()):
        return "The feature spaces disagree: do not rely on one of them."
    return ""


def _missing(comparisons: Sequence[Comparison], share: float | None) -> Part:
    """Return recall or coverage, of all images or of a label, where it is the least share of its ceiling."""
    every = [c for name in _REACH for c in select(comparisons, name) if not _learnt(c)]
    every = every or [c for name in _REACH for c in select(comparisons, name)]
    found = [c for c in every if usable(c.subject) and usable(c.ceiling) and c.reading != "blind" and _top(c)]
    if not found:
        blind = any(c.reading == "blind" for c in every)
        said = "Could not be estimated: the ceiling and the bad case cannot be told apart with this many images."
        first = every[0] if every else None
        return Part("coverage", first, "not_estimable", "", said if blind else why_not(first, _EVALUATE))
    worst = min(found, key=lambda c: bounds(c.subject)[0] / _top(c))
    limit = None if share is None else share * _top(worst)
    status, value = over(worst.subject, limit), worst.subject.value or 0.0
    inside = limit is not None and value >= limit
    of = f" with {worst.subject.label}" if worst.subject.label else ""
    said = (
        f"Of what real images{of} look like, it reaches {number(min(1.0, value / _top(worst)), 'share')} of what real"
        f" images of other patients reach ({worst.subject.metric}, {space(worst.subject.extractor)} space)."
        f" {against(status, share, inside=inside)}"
    )
    rule = "" if share is None else f"lower end at least {number(share, 'share')} of the ceiling"
    return Part(f"{worst.subject.metric}{of}", worst, status, rule, said.strip(), inside)


def _top(found: Comparison) -> float:
    return found.ceiling.value if found.ceiling is not None and found.ceiling.value else 0.0


def _foreground(comparisons: Sequence[Comparison]) -> list[Part]:
    """Return the mask class whose share of the image is furthest from the real one's."""
    found = [c for c in select(comparisons, "foreground_share") if usable(c.subject) and _top(c)]
    if not found:
        return []
    worst = max(found, key=lambda c: abs((c.subject.value or 0.0) / _top(c) - 1))
    said = (
        f"Masks cover {number(worst.subject.value, 'share')} of the image with {worst.subject.label}, real ones"
        f" {number(_top(worst), 'share')}."
    )
    return [Part(f"foreground, {worst.subject.label}", worst, "shown", "", said)]


def _impossible(comparisons: Sequence[Comparison], excess: float | None) -> Part:
    found = highest(select(whole_set(comparisons), "violations"))
    if found is None or not usable(found.subject):
        return Part("impossible images", found, "not_estimable", "", why_not(found, "evaluate --metrics constraints"))
    if not usable(found.ceiling):
        said = "Could not be estimated: there is no rate among real images beside it."
        return Part("impossible images", found, "not_estimable", "", said)
    limit = None if excess is None else _top(found) + excess
    status, value = under(found.subject, limit), found.subject.value or 0.0
    inside = limit is not None and value <= limit
    said = (
        f"{number(value, 'share')} of the images break a rule that real images keep; of real images"
        f" {number(_top(found), 'share')} do.{_most_broken(comparisons, found.subject)}"
        f" {against(status, limit, inside=inside)}"
    )
    rule = "" if limit is None else f"upper end at most {number(limit, 'share')}"
    return Part("impossible images", found, status, rule, said.strip(), inside)


def _most_broken(comparisons: Sequence[Comparison], total: Score) -> str:
    """Return the group of rules that is broken most, where it is broken often."""
    groups = [c.subject for c in select(comparisons, "violations") if c.subject.label and usable(c.subject)]
    worst = max(groups, key=lambda score: score.value or 0.0, default=None)
    if worst is None or not worst.value or worst.value < 0.5 * (total.value or 0.0):
        return ""
    return openly(f" Most often it is about {worst.label}.")
