"""Lines 9 to 12 of the card: copies, membership, attacks beyond control, re-identification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ._card_judge import Part, against, highest, lowest, not_above, over, under, why_not
from ._compare import Comparison, bounds, select, usable
from ._headline import COPIES, MASK_COPIES, excess
from ._numbers import number, space

Limits = Mapping[str, float | None]
_ATTACKS = ("singling_out", "linkability", "inference")
_NAMES = {"singling_out": "singling a patient out", "linkability": "linking images", "inference": "inferring a finding"}
_AUDIT = "evaluate with the attacks"
_COPY_AUDIT = "evaluate with the copy audit"
MASKS = "masks"
_API = "Through a query API an attacker can draw more images than were judged here."


def patients_lines(comparisons: Sequence[Comparison], limits: Limits, release: str) -> dict[int, list[Part]]:
    """Return the figures of lines 9 to 12.

    Args:
        comparisons: The scores.
        limits: Key -> what a figure has to keep; None where it is not judged.
        release: What leaves the house; "" where nobody declared it.
    """
    more = [Part("query API", None, "shown", "", _API)] if release == "query API" else []
    return {
        9: [*_copies(comparisons, limits), *more],
        10: [*_membership(comparisons, limits["membership_tpr"]), *_weights(comparisons, release), *more],
        11: _attacks(comparisons, limits["attack_excess"]),
        12: [_recognised(comparisons, limits["reidentification_auc"])],
    }


def _copies(comparisons: Sequence[Comparison], limits: Limits) -> list[Part]:
    of_masks = [_mask_copies(comparisons, limits["copies_excess"])] if select(comparisons, MASK_COPIES) else []
    return [
        _excess(comparisons, limits["copies_excess"]),
        *of_masks,
        _bound(comparisons, limits["copies_bound"]),
        _sensitivity(comparisons, "all", limits["copy_sensitivity"]),
        _sensitivity(comparisons, "least", limits["copy_sensitivity_least"]),
    ]


def _excess(comparisons: Sequence[Comparison], limit: float | None) -> Part:
    """Return the share of copies beyond that among held-out patients: no more than chance may be shown."""
    name, rule = "copies beyond chance", "" if limit is None else f"lower end at most {number(limit, 'share')}"
    found = highest_low(_of_images(comparisons, "copies_excess"))
    plain = _worst(select(comparisons, COPIES))
    if found is None or not usable(found.subject):
        said = f"{_share_said(plain)}What chance explains of that: {_lower(why_not(found, _COPY_AUDIT))}"
        return Part("copies" if plain else name, found or plain, "not_estimable", rule, said)
    status = not_above(found.subject, limit)
    beyond = bounds(found.subject)[0] > (limit or 0.0)
    told = (
        f"{number(found.subject.value, 'share')} of the images are copies beyond what chance explains."
        if beyond
        else "No more images resemble a training image than images of held-out patients do."
    )
    return Part(name, found, status, rule, f"{_share_said(plain)}{told}", not beyond)


def _of_images(comparisons: Sequence[Comparison], metric: str, label: str = "") -> list[Comparison]:
    """Return the comparisons of a metric that are about images, not about masks."""
    return [c for c in select(comparisons, metric, label=label) if c.subject.arm != MASKS]


def highest_low(found: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison whose interval's lower end is highest; one without a value only where none has one."""
    measured = [c for c in found if usable(c.subject)]
    return max(measured, key=lambda c: bounds(c.subject)[0], default=found[0] if found else None)


def _worst(found: Sequence[Comparison]) -> Comparison | None:
    measured = [c for c in found if usable(c.subject) and usable(c.ceiling)]
    return max(measured, key=lambda c: excess(c.subject, c.ceiling), default=None)


def _share_said(found: Comparison | None, of: str = "image") -> str:
    if found is None or found.ceiling is None:
        return ""
    return (
        f"{number(found.subject.value, 'share')} of the {of}s resemble a training {of} too closely; of held-out"
        f" patients' {of}s {number(found.ceiling.value, 'share')} do. "
    )


def _mask_copies(comparisons: Sequence[Comparison], limit: float | None) -> Part:
    name, rule = "copied masks", "" if limit is None else "interval overlaps that of held-out patients"
    found = _worst(select(comparisons, MASK_COPIES))
    if found is None:
        return Part(name, None, "not_estimable", rule, why_not(select(comparisons, MASK_COPIES)[0], _COPY_AUDIT))
    above = excess(found.subject, found.ceiling) > 0 and bounds(found.subject)[0] > _end(found)
    status = "shown" if limit is None else "not_met" if above else "met"
    return Part(name, found, status, rule, _share_said(found, "mask").strip() if above else "", not above)  # type: ignore[arg-type]


def _end(found: Comparison) -> float:
    assert found.ceiling is not None
    return bounds(found.ceiling)[1]


def _bound(comparisons: Sequence[Comparison], limit: float | None) -> Part:
    name, rule = "bound on copies", "" if limit is None else f"at most {number(limit, 'share')}"
    found = lowest(_of_images(comparisons, "copies_bound"))
    if found is None or not usable(found.subject):
        return Part(name, found, "not_estimable", rule, "" if found is None else why_not(found, _COPY_AUDIT))
    value = found.subject.value or 0.0
    # The bound is an end of an interval itself: it has none of its own.
    top = bounds(found.subject)[1]
    status = "shown" if limit is None else "met" if top <= limit else "not_met"
    more = "" if status != "not_met" else " That is more than the line allows."
    said = f"The true share of copies is below {number(value, 'share')}, allowing for what the detector misses.{more}"
    return Part(name, found, status, rule, said)  # type: ignore[arg-type]


def _sensitivity(comparisons: Sequence[Comparison], which: str, limit: float | None) -> Part:
    name = "planted copies found" if which == "all" else "worst kind of planted copy"
    rule = "" if limit is None else f"at least {number(limit, 'share')}"
    found = highest_low(_of_images(comparisons, "copy_sensitivity", which))
    if found is None or not usable(found.subject):
        said = "" if which == "least" else f"Planted copies: {_lower(why_not(found, _COPY_AUDIT))}"
        return Part(name, found, "not_estimable", rule, said)
    status, value = over(found.subject, limit), found.subject.value or 0.0
    inside = limit is not None and value >= limit
    of = "copies planted on purpose" if which == "all" else "the kind of planted copy that is hardest to find"
    few = " only" if status == "not_met" and not inside else ""
    told = f"Of {of} the detector finds{few} {number(value, 'share')}{': it may miss copies' if few else ''}."
    return Part(name, found, status, rule, f"{told} {against(status, limit, inside=inside)}".strip())


def _membership(comparisons: Sequence[Comparison], limit: float | None) -> list[Part]:
    rule = "" if limit is None else f"upper end at most {number(limit, 'share')} at 1 % false alarms"
    found = highest(select(comparisons, "membership_tpr"))
    overall = highest(select(comparisons, "membership_auc"))
    parts = []
    if found is None or under(found.subject, limit) == "not_estimable":
        parts.append(Part("members found", found, "not_estimable", rule, why_not(found, _AUDIT)))
    else:
        status, score = under(found.subject, limit), found.subject
        inside = limit is not None and (score.value or 0.0) <= limit
        said = (
            f"The best attack{_labelled(score.label)} finds {number(score.value, 'share')} of the training set while it"
            f" accuses one in a hundred others wrongly; guessing finds 1 %. {against(status, limit, inside=inside)}"
        )
        parts.append(Part("members found", found, status, rule, said.strip(), inside))
    if overall is not None and usable(overall.subject):
        parts.append(Part("membership AUC", overall, "shown", "", _auc_said(overall)))
    return parts


def _auc_said(found: Comparison) -> str:
    low, high = bounds(found.subject)
    guess = "no better than guessing" if low <= 0.5 else "better than guessing" if high < 0.9 else "nearly every time"
    return (
        f"Over all thresholds the strongest attack tells members from others {guess}"
        f" (AUC {number(found.subject.value)}, 0.50 is guessing)."
    )


def _labelled(label: str) -> str:
    return f" ({label})" if label else ""


def _weights(comparisons: Sequence[Comparison], release: str) -> list[Part]:
    """Return what is missing where weights are released and nobody attacked them."""
    if "weights" not in release:
        return []
    attacked = [
        c for c in select(comparisons, "membership_auc") if c.subject.extractor == "weights" and usable(c.subject)
    ]
    if attacked:
        return []
    said = "The weights are to be released, and no attack on them was made (the loss attack of `evaluate`)."
    return [Part("attack on the weights", None, "not_estimable", "", said)]


def _attacks(comparisons: Sequence[Comparison], limit: float | None) -> list[Part]:
    """Return the three attacks; singling out must be estimable, the others where there is something to attack.

    Linking needs several images of a patient, and inference findings: without them that attack does not apply.
    """
    parts = [_attack(comparisons, name, limit) for name in _ATTACKS]
    first, *others = parts
    told = [replace(part, status="shown") if part.found and part.status == "not_estimable" else part for part in others]
    return [first, *told]


def _attack(comparisons: Sequence[Comparison], name: str, limit: float | None) -> Part:
    rule = "" if limit is None else f"upper end at most {number(limit, 'share')}"
    found = highest(select(comparisons, name))
    if found is None or under(found.subject, limit) == "not_estimable":
        what = _NAMES[name]
        return Part(
            what, found, "not_estimable", rule, f"{what[0].upper()}{what[1:]}: {_lower(why_not(found, _AUDIT))}"
        )
    status, score = under(found.subject, limit), found.subject
    inside = limit is not None and (score.value or 0.0) <= limit
    said = (
        f"{_NAMES[name][0].upper()}{_NAMES[name][1:]} succeeds {number(score.value, 'share')} more often on training"
        f" patients than on others. {against(status, limit, inside=inside)}"
    )
    return Part(_NAMES[name], found, status, rule, said.strip(), inside)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _recognised(comparisons: Sequence[Comparison], limit: float | None) -> Part:
    rule = "" if limit is None else f"upper end at most {number(limit)}"
    found = highest(select(comparisons, "reidentification_auc"))
    if found is None or under(found.subject, limit) == "not_estimable":
        how = "patients with several images, and the attacks"
        return Part("recognised", found, "not_estimable", rule, why_not(found, how))
    status, score = under(found.subject, limit), found.subject
    inside = limit is not None and (score.value or 0.0) <= limit
    said = (
        f"A space that recognises patients ({space(score.extractor)}) finds training patients in these images with AUC"
        f" {number(score.value)}; 0.50 is chance. {against(status, limit, inside=inside)}"
    )
    return Part("recognised", found, status, rule, said.strip(), inside)
