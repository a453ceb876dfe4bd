"""Whether the controls were called out as they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..types import Score
from ._compare import Comparison, bounds, select, usable, worse
from ._headline import COPIES, MASK_COPIES, Headline, excess, headline
from ._read import Evaluation

Audit = Literal["copies", "masks", "realism", "utility", "labels"]

# Generators whose right answer is known: (audit, must it be called out).
EXPECTATIONS: dict[str, tuple[tuple[Audit, bool], ...]] = {
    "copycat": (("copies", True), ("masks", True)),
    "memoriser": (("copies", True), ("masks", True)),
    "mixup": (("copies", True), ("masks", True)),
    "gaussian": (("realism", True), ("utility", True)),
    "holdout": (("copies", False), ("masks", False), ("labels", False)),
}
BUILT_IN: tuple[tuple[Audit, bool], ...] = tuple(
    (audit, True) for audit in ("copies", "masks", "realism", "utility", "labels")
)


@dataclass(frozen=True)
class Control:
    """One control in one audit.

    Attributes:
        name: The control, e.g. "copycat".
        evaluation: The cohort in whose evaluation it was scored.
        audit: "copies", "masks" for copied masks, "realism", "utility", or "labels": whether the findings that were
            asked for can be recovered.
        expected: Whether the audit should call it out.
        called_out: Whether its interval lies beyond the threshold; None when it could not be estimated.
        value: Its score.
        threshold: The bound of the ceiling's interval that it has to pass to be called out.
    """

    name: str
    evaluation: str
    audit: Audit
    metric: str
    extractor: str
    expected: bool
    called_out: bool | None
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None

    @property
    def as_expected(self) -> bool:
        """Return whether the audit answered correctly; an answer that could not be had is not correct."""
        return self.called_out is self.expected

    def to_json(self) -> dict[str, Any]:
        """Return the control as JSON-ready types."""
        return {**asdict(self), "as_expected": self.as_expected}


def controls(evaluation: Evaluation, comparisons: Sequence[Comparison], *, name: str) -> list[Control]:
    """Return every control in an EVAL: the built-in bad cases, and the cohort itself where it is a control.

    Args:
        evaluation: The EVAL.
        comparisons: Its scores, compared.
        name: What the EVAL is called in the report.
    """
    own = evaluation.generator if evaluation.is_control else ""
    tried = _tried(headline(comparisons), comparisons)
    found = []
    for audit, expected in _expectations(evaluation):
        for each, candidates in tried:
            if each == audit and (scored := _scored(candidates, own=bool(own))):
                found.append(_control(name, audit, expected, scored, own=own))
    return found


def _expectations(evaluation: Evaluation) -> tuple[tuple[Audit, bool], ...]:
    if not evaluation.is_control:
        return BUILT_IN
    known = EXPECTATIONS.get(evaluation.generator, ())
    # Images drawn without regard to the labels cannot carry them.
    return (*known, ("labels", True)) if evaluation.options.get("conditional") is False else known


def _tried(shown: Headline, comparisons: Sequence[Comparison]) -> list[tuple[Audit, list[Comparison]]]:
    """Return each audit with the comparisons that may speak for it; usefulness is tried once for each task."""
    gap = shown.gap if shown.gap is not None and usable(shown.gap.subject) else shown.auc
    single: tuple[tuple[Audit, Comparison | None], ...] = (
        ("realism", shown.realism),
        ("utility", shown.utility),
        ("utility", gap),
        ("labels", shown.shows),
    )
    found = [(audit, [comparison]) for audit, comparison in single if comparison is not None]
    return [("copies", select(comparisons, COPIES)), ("masks", select(comparisons, MASK_COPIES)), *found]


def _scored(candidates: Sequence[Comparison], *, own: bool) -> list[tuple[Score, Score | None]]:
    """Return score and ceiling of the control: the cohort itself where it is one, else the built-in bad case."""
    pairs = [(c.subject if own else c.bad, c.ceiling) for c in candidates]
    return [(score, ceiling) for score, ceiling in pairs if score is not None]


def _control(
    evaluation: str, audit: Audit, expected: bool, scored: Sequence[tuple[Score, Score | None]], *, own: str
) -> Control:
    # A copy found in any space is a copy, so the space that shows most speaks for the control.
    measured = [(s, c) for s, c in scored if usable(s) and usable(c)]
    score, ceiling = max(measured, key=lambda pair: excess(*pair)) if measured else scored[0]
    known = bool(measured)
    return Control(
        name=own or score.subject,
        evaluation=evaluation,
        audit=audit,
        metric=score.metric,
        extractor=score.extractor,
        expected=expected,
        called_out=worse(score, ceiling) if known and ceiling is not None else None,
        value=score.value,
        low=score.low,
        high=score.high,
        threshold=_threshold(ceiling) if known and ceiling is not None else None,
    )


def _threshold(ceiling: Score) -> float:
    low, high = bounds(ceiling)
    return low if ceiling.better == "higher" else high
