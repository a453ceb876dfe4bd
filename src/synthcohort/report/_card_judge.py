"""Whether a figure keeps its line: by the end of its interval, never by its point value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..types import Score
from ._compare import Comparison, bounds, usable

# "shown": there is a figure, or a plain statement, and no line that it has to keep.
Status = Literal["met", "not_met", "not_estimable", "shown"]
STATUSES: tuple[Status, ...] = ("not_met", "not_estimable", "met", "shown")  # what is worst comes first
WORDS: Mapping[Status, str] = {
    "met": "met",
    "not_met": "not met",
    "not_estimable": "not estimable",
    "shown": "no line set",
}


@dataclass(frozen=True)
class Part:
    """One figure of a line of the card.

    Attributes:
        name: What it is, in few words.
        found: The figure beside its ceiling and bad case; None where there is none.
        status: Whether it keeps its line.
        rule: The line in words; "" where there is none.
        said: What it says to someone who knows no statistics.
        inside: Whether the value itself, without its interval, would keep the line.
    """

    name: str
    found: Comparison | None
    status: Status
    rule: str
    said: str
    inside: bool = False

    @property
    def score(self) -> Score | None:
        """Return the figure."""
        return self.found.subject if self.found else None


def under(score: Score | None, limit: float | None, *, strict: bool = False) -> Status:
    """Return whether the upper end of an interval is at most a limit, or below it where strict."""
    return _judged(score, limit, lambda ends, at: ends[1] < at if strict else ends[1] <= at)


def over(score: Score | None, limit: float | None, *, strict: bool = False) -> Status:
    """Return whether the lower end of an interval is at least a limit, or above it where strict."""
    return _judged(score, limit, lambda ends, at: ends[0] > at if strict else ends[0] >= at)


def not_above(score: Score | None, limit: float | None) -> Status:
    """Return whether the lower end of an interval is at most a limit: nothing beyond it was shown."""
    return _judged(score, limit, lambda ends, at: ends[0] <= at)


def _judged(score: Score | None, limit: float | None, keeps: Callable[[tuple[float, float], float], bool]) -> Status:
    if not usable(score):
        return "not_estimable"
    if limit is None:
        return "shown"
    assert score is not None
    if score.low is None or score.high is None:
        return "not_estimable"
    return "met" if keeps(bounds(score), limit) else "not_met"


def together(statuses: Iterable[Status]) -> Status:
    """Return the status of a line from those of its figures: one that is not met is enough; none is "not estimable"."""
    found = set(statuses)
    return next((status for status in STATUSES if status in found), "not_estimable")


def first_told(parts: Sequence[Part]) -> Part:
    """Return the part that decides a line: the first of the worst status."""
    return min(parts, key=lambda part: STATUSES.index(part.status))


def highest(found: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison whose interval reaches highest; one without a value only where none has one."""
    measured = [c for c in found if usable(c.subject)]
    return max(measured, key=lambda c: bounds(c.subject)[1], default=found[0] if found else None)


def lowest(found: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison whose interval reaches lowest; one without a value only where none has one."""
    measured = [c for c in found if usable(c.subject)]
    return min(measured, key=lambda c: bounds(c.subject)[0], default=found[0] if found else None)


def why_not(found: Comparison | None, how: str) -> str:
    """Return why a figure is not estimable, as a sentence.

    Args:
        found: The comparison, or None where there is no row.
        how: How to measure it.
    """
    if found is None:
        return f"Was not measured ({how})."
    reason = found.subject.reason if not usable(found.subject) else "there is no interval"
    return f"Could not be estimated: {reason or 'the evaluation gives no reason'}."


def against(status: Status, limit: float | None, *, inside: bool) -> str:
    """Return how a line was missed, in words; "" where it was not."""
    if limit is None or status != "not_met":
        return ""
    if inside:
        return "The figure itself lies within the line, but its interval reaches beyond it: not shown to hold."
    return "This misses the line."
