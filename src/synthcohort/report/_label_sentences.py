"""The sentences of the labelled pages: usefulness by AUC, whether the labels hold, and single findings."""

from __future__ import annotations

from collections.abc import Sequence

from ._compare import Comparison, Reading, bounds, gap_reading, usable, worse
from ._findings import MIRRORED, Finding, showing, worst
from ._headline import excess_reading
from ._label_text import MANY, display
from ._label_text import MIRRORED as MIRRORED_NOTE
from ._numbers import interval, number


def say_auc(found: Comparison | None, gap: Comparison | None, of_each: Sequence[Finding]) -> str:
    """Return what training a classifier on the synthetic images alone achieved; the paired gap decides."""
    if found is None:
        return "Not measured: no classifier was trained on the synthetic images."
    if found.reading == "not_estimable":
        return _not_estimable(found)
    name = _auc(found)
    first = (
        f"A classifier trained on these images alone reached a mean {name} of {number(found.subject.value)} on real"
        " test patients"
    )
    if found.ceiling is not None and usable(found.ceiling):
        first += f"; trained on real images it reached {number(found.ceiling.value)}{_loss(gap)}"
    parts = (f"{first}.", _USEFUL[gap_reading(found, gap)], _scored_of(of_each), _flattery(found))
    return " ".join(part for part in parts if part)


def _scored_of(of_each: Sequence[Finding]) -> str:
    """Return which findings the mean does not hold: a cohort that lost the hard ones would look better for it."""
    missing = [display(each.name) for each in of_each if each.auc is None or not usable(each.auc.subject)]
    if not missing:
        return ""
    return f"The mean is over {len(of_each) - len(missing)} of {len(of_each)} findings, without {_listed(missing)}."


_USEFUL: dict[Reading, str] = {
    "within": "With this many test patients no loss was shown, which is not the same as no loss.",
    "beyond": "That is above the classifier trained on real images; check for copies before believing it.",
    "between": "That is measurably below real images and measurably above the bad case.",
    "bad": "That is no better than the bad case.",
    "blind": "With this many test patients the bad case does as well as real images, so nothing can be concluded.",
    "unclear": "There is no ceiling beside it, so it cannot be read.",
    "not_estimable": "The difference could not be estimated.",
}


def _loss(gap: Comparison | None) -> str:
    """Return "so it lost 0.12 (0.08 to 0.16)"; a gain is said as such."""
    if gap is None or gap.subject.value is None:
        return ""
    value, (low, high) = gap.subject.value, bounds(gap.subject)
    verb = "lost" if value >= 0 else "gained"
    ends = (low, high) if value >= 0 else (-high, -low)
    said = f" ({number(ends[0])} to {number(ends[1])})" if gap.subject.low is not None else ""
    return f", so it {verb} {number(abs(value))}{said}"


def say_shows(found: Comparison) -> str:
    """Return whether the findings that were asked for can be recognised."""
    if found.reading == "not_estimable":
        return _not_estimable(found)
    first = (
        "A classifier trained on real images recognises the findings that these images were asked to show with a mean"
        f" {_auc(found)} of {number(found.subject.value)}"
    )
    beside = []
    if found.ceiling is not None and usable(found.ceiling):
        beside.append(f"on real test patients {number(found.ceiling.value)}")
    if found.bad is not None and usable(found.bad):
        beside.append(f"on images drawn without regard to any finding {number(found.bad.value)}")
    first += f" ({'; '.join(beside)})" if beside else ""
    return " ".join(part for part in (f"{first}.", _verdict(found), _flattery(found)) if part)


def _verdict(found: Comparison) -> str:
    above = found.reading == "beyond"
    return {
        "yes": "They show more plainly than in real images: they may be too typical."
        if above
        else "What was asked for shows about as well as in real images.",
        "weakly": "What was asked for shows, but measurably less than in real images.",
        "no": "That cannot be told from chance: it is not shown that what was asked for appears at all.",
        "reversed": "That is below chance: what was asked for appears the wrong way round.",
        "unseen": "On real images it does no better than chance, so nothing can be concluded.",
        "open": "Without an interval and a bad case it cannot be read.",
        "not_estimable": "",
    }[showing(found)]


def say_overfit(found: Comparison) -> str:
    """Return whether the synthetic images carry their labels in a way that real images do not."""
    if found.reading == "not_estimable":
        return _not_estimable(found)
    subject, ceiling = found.subject, found.ceiling
    first = (
        "A classifier trained on these images scores"
        f" {_more(subject.value)} on other synthetic images than on real test patients"
    )
    if ceiling is None or not usable(ceiling):
        return f"{first}. There is no ceiling beside it, so it cannot be read."
    first += f"; for one trained on real images, two sets of real patients differ by {number(ceiling.value)}"
    if excess_reading(found) == "blind":
        second = "The bad case shows no more than that, so it is not known whether this test would notice anything."
    elif worse(subject, ceiling):
        second = (
            "The synthetic images carry their labels in a way that real images do not: part of what is learnt from them"
            " is a shortcut that is of no use on patients."
        )
    else:
        second = (
            "No label overfitting was shown. Images that carry no label at all also score about 0 here, so read it"
            " beside the line above."
        )
    return f"{first}. {second}"


def _more(value: float | None) -> str:
    value = value or 0.0
    return f"{number(abs(value))} AUC {'more' if value >= 0 else 'less'}"


def say_worst(found: Sequence[Finding]) -> str:
    """Return which finding is served worst, or that no loss was shown for any."""
    measured = [each for each in found if each.gap is not None and usable(each.gap.subject)]
    if not measured:
        return "The gap could not be estimated for any single finding."
    lost = worst(found)
    if lost is None or lost.gap is None:
        return f"For none of the {len(measured)} findings alone was a loss shown; their intervals are wide. {MANY}"
    gap = lost.gap.subject
    others = sum(each.is_lost for each in measured) - 1
    also = f" A loss was shown for {others} other{'s' if others != 1 else ''}." if others else ""
    return (
        f"Served worst is {display(lost.name)}: the AUC on real patients is {number(gap.value)} lower ({interval(gap)})"
        f" than after training on real images.{also} {MANY}"
    )


def say_rare(found: Sequence[Finding]) -> str:
    """Return which findings so few real patients have that little can be said, or ""."""
    rare = [display(each.name) for each in found if each.is_rare]
    if not rare:
        return ""
    held = "is" if len(rare) == 1 else "are"
    return (
        f"{_listed(rare)} {held} rare: fewer than 10 real patients have {'it' if len(rare) == 1 else 'each'} in"
        " training or in test. Little can be learnt or said about such findings, and such patients carry most of the"
        " risk."
    )


def say_hidden(found: Sequence[Finding]) -> str:
    """Return which findings were asked for but do not show, or ""."""
    missing = [display(each.name) for each in found if each.showing in ("no", "reversed")]
    if not missing:
        return ""
    return f"Asked for, but not shown to appear above chance: {_listed(missing)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _auc(found: Comparison) -> str:
    return "mirrored AUC" if found.subject.metric == MIRRORED else "AUC"


def _flattery(found: Comparison) -> str:
    return MIRRORED_NOTE if found.subject.metric == MIRRORED else ""


def _not_estimable(found: Comparison) -> str:
    return f"Not estimable: {found.subject.reason or 'no reason was given'}."
