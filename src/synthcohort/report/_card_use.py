"""Lines 1 to 5 of the card: is it useful, for whom not, and are its labels honest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ._card_judge import Part, against, highest, lowest, over, under, why_not
from ._compare import Comparison, bounds, select, usable
from ._headline import GAP, OVERFIT, SHOW, aucs, first
from ._label_text import MEAN
from ._numbers import interval, number
from ._text import measure

DICE_GAP = "dice_gap"
_LOSSES = {DICE_GAP: "Dice", GAP: "AUC"}
_EXTERNAL = "external"
Limits = Mapping[str, float | None]


def use_lines(comparisons: Sequence[Comparison], limits: Limits, primary: str) -> dict[int, list[Part]]:
    """Return the figures of lines 1 to 5.

    Args:
        comparisons: The scores.
        limits: Key -> what a figure has to keep; None where it is not judged.
        primary: "dice_gap", "auc_gap", or "any" for the one that loses more.
    """
    outside = [c for c in comparisons if c.subject.arm.endswith(_EXTERNAL)]
    comparisons = [c for c in comparisons if c not in outside]
    names = list(_LOSSES) if primary == "any" else [primary]
    overall = highest([c for name in names for c in select(comparisons, name, label=MEAN)])
    return {
        1: [_alone(overall, limits["usefulness_loss"]), *_elsewhere(outside, names)],
        2: [_worth(lowest(select(comparisons, "real_equivalent_patients")))],
        3: [_adds(_best_mix(select(comparisons, "mix_gain")), limits["added_value"])],
        4: [_for_whom(comparisons, overall, limits), *_calibrated(comparisons)],
        5: _labels(comparisons, limits["label_overfitting"]),
    }


def _alone(found: Comparison | None, limit: float | None) -> Part:
    score = found.subject if found else None
    status = under(score, limit, strict=True)
    if status == "not_estimable":
        return _silent("loss against real images", found, "evaluate --tasks", _rule("upper end below {}", limit))
    assert found is not None
    value = found.subject.value or 0.0
    what = _LOSSES.get(found.subject.metric, measure(found.subject))
    said = (
        f"A network trained on these images alone does {_worse_by(value)} {what} on real patients than one trained on"
        f" real images{_of(found)}."
    )
    inside = limit is not None and value < limit
    said = f"{said} {against(status, limit, inside=inside)}".strip()
    return Part(f"loss of {what}", found, status, _rule("upper end below {}", limit), said, inside)


def _elsewhere(outside: Sequence[Comparison], names: Sequence[str]) -> list[Part]:
    """Return the loss on patients of an external cohort, where one was given: it is told and not judged."""
    found = highest([c for name in names for c in select(outside, name, label=MEAN)])
    if found is None or not usable(found.subject):
        return []
    said = f"On the external cohort it does {_worse_by(found.subject.value or 0.0)}."
    return [Part("loss, external cohort", found, "shown", "", said)]


def _worse_by(value: float) -> str:
    return f"worse by {number(value)}" if value > 0 else f"no worse (by {number(value)})"


def _of(found: Comparison) -> str:
    """Return the loss as a share of what the bad case loses, where that tells something."""
    bad = found.bad
    if not usable(bad) or bad is None or bad.value is None or found.subject.value is None:
        return ""
    return f"; the bad case loses {number(bad.value)}"


def _worth(found: Comparison | None) -> Part:
    score = found.subject if found else None
    if not usable(score):
        return _silent("equivalent patients", found, "evaluate with the utility metrics")
    assert score is not None
    about = "at least" if "more" in score.unit else "at most" if "fewer" in score.unit else "about"
    ends = interval(replace(score, unit=""))
    said = f"For training they are worth as much as {about} {number(score.value)} real patients"
    said += f" ({ends})." if ends else "."
    return Part("equivalent patients", found, "shown", "", said)


def _best_mix(found: Sequence[Comparison]) -> Comparison | None:
    """Return the mix that adds most by its lower end."""
    measured = [c for c in found if usable(c.subject)]
    return max(measured, key=lambda c: bounds(c.subject)[0], default=found[0] if found else None)


def _adds(found: Comparison | None, limit: float | None) -> Part:
    score, rule = found.subject if found else None, _rule("lower end above {}", limit)
    status = over(score, limit, strict=True)
    if status == "not_estimable":
        return _silent("gain of the mix", found, "evaluate with the utility metrics", rule)
    assert score is not None
    inside = limit is not None and (score.value or 0.0) > limit
    of = f" (mix: {score.label})" if score.label else ""
    gains = "adds" if (score.value or 0.0) > 0 else "changes"
    said = (
        f"Together with real images it {gains} {number(score.value)} beside real images with classical"
        f" augmentation{of}. {against(status, limit, inside=inside)}"
    )
    return Part("gain of the mix", found, status, rule, said.strip(), inside)


def _for_whom(comparisons: Sequence[Comparison], overall: Comparison | None, limits: Limits) -> Part:
    """Return the group or label that loses most.

    It may lose a multiple of the overall loss, or of the line for that where the overall loss is smaller: twice a loss
    of nothing is nothing.
    """
    groups = [c for name in ("subgroup_gap", *_LOSSES) for c in select(comparisons, name) if c.subject.label != MEAN]
    found = highest(groups)
    score, factor = found.subject if found else None, limits["worst_group_factor"]
    if not usable(score) or overall is None or not usable(overall.subject):
        return _silent("worst group", found, "a cohort with attributes or several labels, and the utility metrics")
    assert score is not None
    whole = overall.subject.value or 0.0
    limit = None if factor is None else factor * max(whole, limits["usefulness_loss"] or 0.0)
    status, inside = under(score, limit), limit is not None and (score.value or 0.0) <= limit
    missing = sum(not usable(c.subject) for c in groups)
    said = f"Worst for {score.label}: worse there by {number(score.value)}, overall by {number(whole)}."
    said += f" {against(status, limit, inside=inside)}"
    said += f" {missing} of {len(groups)} groups and labels could not be judged." if missing else ""
    return Part(f"loss for {score.label}", found, status, _rule("upper end at most {}", limit), said.strip(), inside)


def _calibrated(comparisons: Sequence[Comparison]) -> list[Part]:
    found = first(select(comparisons, "calibration_slope"))
    if found is None or not usable(found.subject):
        return []
    value = found.subject.value or 0.0
    reading = "too sure of itself" if value < 1 else "too timid"
    said = f"A network trained on it is {reading} (calibration slope {number(value)}; 1 is right)."
    return [Part("calibration slope", found, "shown", "", said)]


def _labels(comparisons: Sequence[Comparison], limit: float | None) -> list[Part]:
    overfit = first(select(comparisons, OVERFIT, label=MEAN))
    shows = first(aucs(comparisons, SHOW, MEAN))
    if shows is None and overfit is None:
        return [_silent("label overfitting", None, "a cohort with findings, and evaluate --tasks classification")]
    return [_shown_labels(shows, limit), _overfit(overfit, limit)]


def _overfit(found: Comparison | None, limit: float | None) -> Part:
    score, rule = found.subject if found else None, _rule("upper end below {}", limit)
    status = under(score, limit, strict=True)
    if status == "not_estimable":
        return _silent("label overfitting", found, "sample --like the real cohort, so that it has a test split", rule)
    assert score is not None
    value = score.value or 0.0
    inside = limit is not None and value < limit
    better = f"{number(value)} better" if value > 0 else "no better"
    said = (
        f"A classifier trained on these images does {better} on other synthetic images than on real patients."
        f" {against(status, limit, inside=inside)}"
    )
    return Part("label overfitting", found, status, rule, said.strip(), inside)


def _shown_labels(found: Comparison | None, limit: float | None) -> Part:
    """Return whether a classifier of real images recognises the findings, no worse than in real images."""
    name, rule = "findings recognised", _rule("lower end no more than {} below the ceiling", limit)
    if found is None or not usable(found.subject) or not usable(found.ceiling):
        return _silent(name, found, "evaluate --tasks classification", rule)
    assert found.ceiling is not None
    value, top = found.subject.value or 0.0, found.ceiling.value or 0.0
    wanted = None if limit is None else top - limit
    chance = bounds(found.subject)[0] <= 0.5
    said = (
        "A classifier of real images "
        + ("cannot be shown to recognise" if chance else "recognises")
        + f" the findings that these images are said to show: AUC {number(value)}, on real images"
        f" {number(top)}{', by chance 0.50: the labels may mean nothing' if chance else ''}."
    )
    return Part(name, found, over(found.subject, wanted), rule, said, wanted is not None and value >= wanted)


def _silent(name: str, found: Comparison | None, how: str, rule: str = "") -> Part:
    return Part(name, found, "not_estimable", rule, why_not(found, how))


def _rule(words: str, limit: float | None) -> str:
    return "" if limit is None else words.format(number(limit))
