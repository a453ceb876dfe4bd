"""Scores side by side: a subject, its ceiling and its bad case, and what can be concluded from their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..types import Role, Score

# What the intervals allow to say. "blind": the measure cannot tell the ceiling from the bad case.
Reading = Literal["within", "beyond", "between", "bad", "blind", "unclear", "not_estimable"]


@dataclass(frozen=True)
class Comparison:
    """One comparison_id: the subject, the ceiling (None when missing) and the known-bad cases."""

    subject: Score
    ceiling: Score | None
    bads: tuple[Score, ...]

    @property
    def bad(self) -> Score | None:
        """Return the first known-bad case."""
        return self.bads[0] if self.bads else None

    @property
    def reading(self) -> Reading:
        """Return what the intervals allow to say about the subject.

        within: it overlaps the ceiling. beyond: it is on the far side of the ceiling. between: worse than the ceiling,
        better than the bad case. bad: not better than the bad case. blind: ceiling and bad case overlap.
        unclear: the ceiling or a direction is missing.
        """
        subject, ceiling, bad = self.subject, self.ceiling, self.bad
        if not usable(subject):
            return "not_estimable"
        if ceiling is None or not usable(ceiling) or subject.better == "none":
            return "unclear"
        if bad is not None and usable(bad) and not worse(bad, ceiling):
            return "blind"
        if worse(subject, ceiling):
            return "between" if bad is None or not usable(bad) or worse(bad, subject) else "bad"
        return "beyond" if worse(ceiling, subject) else "within"


def paired_reading(found: Comparison, ratio: Comparison | None) -> Reading:
    """Return the reading of an arm, or that of its ratio to the ceiling where the arm's own interval leaves it open.

    The ratio is paired by learner seed and patient: two intervals that overlap do not mean that it holds 1.
    """
    decided = ratio is not None and found.reading == "within" and ratio.reading in ("between", "beyond", "bad")
    return ratio.reading if ratio is not None and decided else found.reading


def gap_reading(found: Comparison | None, gap: Comparison | None) -> Reading:
    """Return the reading of an arm's gap to the ceiling, or the arm's own where the gap has no interval.

    The gap is paired by learner seed and patient, which the intervals of the two arms are not.
    """
    if gap is not None and gap.subject.low is not None and gap.reading not in ("not_estimable", "unclear"):
        return gap.reading
    return found.reading if found is not None else "not_estimable"


def part(found: Comparison | None, role: Role) -> Score | None:
    """Return the row of a comparison that has the role, or None."""
    if found is None:
        return None
    return {"subject": found.subject, "ceiling": found.ceiling, "bad": found.bad}[role]


def usable(score: Score | None) -> bool:
    """Return whether there is a number."""
    return score is not None and score.status == "ok" and score.value is not None


def bounds(score: Score) -> tuple[float, float]:
    """Return (low, high) of the 95 % interval; the value itself twice when there is none."""
    assert score.value is not None
    if score.low is None or score.high is None:
        return score.value, score.value
    return score.low, score.high


def worse(left: Score, right: Score) -> bool:
    """Return whether `left` is worse than `right` with intervals that do not overlap."""
    (left_low, left_high), (right_low, right_high) = bounds(left), bounds(right)
    return left_high < right_low if right.better == "higher" else left_low > right_high


def compare(scores: Iterable[Score]) -> list[Comparison]:
    """Return the comparisons in the order of their subjects' rows; rows without a subject are left out."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.comparison_id, []).append(score)
    comparisons = []
    for rows in groups.values():
        ceilings = [row for row in rows if row.role == "ceiling"]
        bads = tuple(row for row in rows if row.role == "bad")
        ceiling = ceilings[0] if ceilings else None
        comparisons += [Comparison(row, ceiling, bads) for row in rows if row.role == "subject"]
    return comparisons


def whole_set(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons that are about all images, not about those with one label."""
    return [c for c in comparisons if not c.subject.label]


def select(comparisons: Sequence[Comparison], metric: str, *, arm: str = "", label: str = "") -> list[Comparison]:
    """Return the comparisons of one metric, of one arm and label where given."""
    return [
        c
        for c in comparisons
        if c.subject.metric == metric and (not arm or c.subject.arm == arm) and (not label or c.subject.label == label)
    ]
