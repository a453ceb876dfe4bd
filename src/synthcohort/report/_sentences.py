"""The sentences that read a number aloud: careful, computed from the intervals, and without a verdict on the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..types import Score
from ._compare import Comparison, bounds, paired_reading, usable
from ._controls import Control
from ._glossary import term
from ._headline import GAP
from ._numbers import NARROW, number, space


def say_realism(found: Comparison | None, others: Sequence[Comparison]) -> str:
    """Return what the distances to the real images say.

    Args:
        found: The comparison of the first page.
        others: All distances in all spaces, to say whether they agree.
    """
    if found is None:
        return "Not measured: no feature space was used."
    if found.reading == "not_estimable":
        return _not_estimable(found)
    name = f"{_lower(term(found.subject.metric).title)} in the {_space(found.subject.extractor)} space"
    sentences = {
        "within": f"By {name}, the set could not be told from as many real images of other patients. That is not"
        " proof that there is no difference.",
        "beyond": f"By {name}, the set is closer to unseen patients than the real training images are. Read this"
        " together with the copies below.",
        "between": f"By {name}, the set differs measurably from real images, but less than the bad case does"
        f"{_way(found)}.",
        "bad": f"By {name}, the set is no closer to real images than the bad case is.",
        "blind": f"By {name}, real images of other patients and the bad case cannot be told apart with this many"
        " images, so nothing can be concluded.",
        "unclear": f"By {name}, there is a number but no ceiling beside it, so it cannot be read.",
    }
    return f"{sentences[found.reading]} {_agreement(found, others)}".strip()


def _way(found: Comparison) -> str:
    if found.bad is None or found.ceiling is None or not usable(found.bad):
        return ""
    subject, ceiling, bad = (score.value or 0.0 for score in (found.subject, found.ceiling, found.bad))
    way = 100 * (subject - ceiling) / (bad - ceiling)
    return f" ({way:.0f}{NARROW}% of the way from the ceiling to the bad case)"


def _agreement(found: Comparison, others: Sequence[Comparison]) -> str:
    readable = [c for c in others if c.reading not in ("not_estimable", "unclear", "blind")]
    if len(readable) < 2 or found not in readable:
        return ""
    same = sum(c.reading == found.reading for c in readable)
    rest = "; the others differ, see the table" if same < len(readable) else ""
    return f"{same} of {len(readable)} distances give this reading{rest}."


def say_utility(found: Comparison | None, ratio: Comparison | None) -> str:
    """Return what training on the synthetic images alone achieved."""
    if found is None:
        return "Not measured: no network was trained on the synthetic images."
    if found.reading == "not_estimable":
        return _not_estimable(found)
    first = (
        f"A segmentation network trained on these images alone reached a Dice of {number(found.subject.value)} on real"
        " test patients"
    )
    if found.ceiling is not None and usable(found.ceiling):
        first += f"; trained on real images it reached {number(found.ceiling.value)}"
    if ratio is not None and ratio.subject.value is not None:
        first += f", so it kept {100 * ratio.subject.value:.0f}{NARROW}% of that"
    second = {
        "within": "With this many test patients no loss was shown, which is not the same as no loss.",
        "beyond": "That is above the network trained on real images; check for copies before believing it.",
        "between": "That is measurably below real images and measurably above the bad case.",
        "bad": "That is no better than the bad case.",
        "blind": "With this many test patients the bad case does as well as real images, so nothing can be concluded.",
        "unclear": "There is no ceiling beside it, so it cannot be read.",
    }[paired_reading(found, ratio)]
    return f"{first}. {second}"


def say_copies(found: Comparison | None, *, of: Literal["images", "masks"] = "images") -> str:
    """Return what the search for copied images, or masks, found, with the bound that it supports."""
    if found is None:
        return f"Not measured: the {of} were not compared with the training {of}."
    if found.reading == "not_estimable":
        return _not_estimable(found)
    subject, ceiling, bad = found.subject, found.ceiling, found.bad
    first = (
        f"{number(subject.value, 'share')} of the synthetic {of} resemble a training {of[:-1]} more than"
        f" {'different patients' if of == 'images' else 'the masks of different patients'} resemble each other"
    )
    if ceiling is not None and usable(ceiling):
        first += f"; among real {of} of patients who were never trained on it is {number(ceiling.value, 'share')}"
    second = {
        "within": f"That overlaps the range of held-out patients, which are few: it is neither shown that {of} were"
        f" copied nor that they were not. samples.parquet names the {of} above the threshold, so that they can be left"
        " out.",
        "beyond": "That is below the range of held-out patients.",
        "between": f"That is more than coincidence gives: some {of} repeat training {of}.",
        "bad": f"That is as much as among {of} that are copies on purpose.",
        "blind": f"The detector does not find more among {of} that are copies on purpose, so it is blind here and"
        " nothing can be concluded.",
        "unclear": "There are no held-out patients beside it, so it cannot be read.",
    }[found.reading]
    return f"{first}. {second} {'' if found.reading == 'blind' else _bound(subject, bad)}".strip()


def _bound(subject: Score, bad: Score | None) -> str:
    if bad is None or not usable(bad) or not bad.value or subject.high is None:
        return ""
    bound = min(1.0, bounds(subject)[1] / bad.value)
    return (
        f"The detector finds {number(bad.value, 'share')} of planted copies, so the interval bounds the true share at"
        f" {number(bound, 'share')}, for copies of that kind."
    )


def _not_estimable(found: Comparison) -> str:
    return f"Not estimable: {found.subject.reason or 'no reason was given'}."


def _lower(title: str) -> str:
    return title if title.isupper() else title[0].lower() + title[1:]


def _space(extractor: str) -> str:
    return space(extractor) or "pixel"


def failed_title(failed: Sequence[Control]) -> str:
    """Return the heading of the alarm on the first page."""
    if any(control.called_out is not None for control in failed):
        return "An audit failed on a case whose answer is known"
    return "An audit could not be tried on a case whose answer is known"


def say_control(control: Control) -> str:
    """Return one sentence on whether the audit answered a known case correctly."""
    audit = "the AUC gap" if control.metric == GAP else _AUDITS[control.audit]
    if control.called_out is None:
        return f"{audit} could not be estimated for it, so the audit is unproven here."
    if control.as_expected:
        return f"{'called out' if control.expected else 'left alone'} by {audit}, as it should be."
    if control.expected:
        return f"NOT called out by {audit}. The audit failed on a case whose answer is known: do not rely on it here."
    truth = "its labels are true" if control.audit == "labels" else "it holds no copies"
    return f"called out by {audit} although {truth}. The audit raises false alarms: do not rely on it here."


_AUDITS = {
    "copies": "the search for copies",
    "masks": "the search for copied masks",
    "realism": "the distances",
    "utility": "the task",
    "labels": "the search for the asked findings",
}
