"""The few numbers of the first page, and whether the controls were called out as they should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..types import Score
from ._compare import Comparison, Reading, bounds, paired_reading, part, select, usable, worse
from ._counts import score_json
from ._read import Evaluation

DISTANCES = ("kid", "fid", "frechet")  # in the order in which they speak for realism; KID is unbiased at small n
UTILITY, RATIO, COPIES, TASK_SPACE = "dice_volume", "dice_ratio", "copies", "task"

# Generators whose right answer is known: (audit, must it be called out).
EXPECTATIONS: dict[str, tuple[tuple[str, bool], ...]] = {
    "copycat": (("copies", True),),
    "memoriser": (("copies", True),),
    "gaussian": (("realism", True), ("utility", True)),
    "holdout": (("copies", False),),
}


@dataclass(frozen=True)
class Headline:
    """The comparisons that answer the three questions; None where nothing was measured."""

    realism: Comparison | None
    utility: Comparison | None
    ratio: Comparison | None
    copies: Comparison | None

    @property
    def utility_reading(self) -> Reading:
        """Return what can be concluded about usefulness, from the paired ratio where that tells more."""
        return paired_reading(self.utility, self.ratio) if self.utility else "not_estimable"

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by the names that other programs read."""
        return {
            "realism": _number(part(self.realism, "subject")),
            "realism_ceiling": _number(part(self.realism, "ceiling")),
            "realism_bad": _number(part(self.realism, "bad")),
            "realism_reading": self.realism.reading if self.realism else "not_estimable",
            "synthetic_on_real": _number(part(self.utility, "subject")),
            "real_on_real": _number(part(self.utility, "ceiling")),
            "bad_on_real": _number(part(self.utility, "bad")),
            "utility_reading": self.utility_reading,
            "ratio": _number(part(self.ratio, "subject")),
            "copies": _number(part(self.copies, "subject")),
            "copies_ceiling": _number(part(self.copies, "ceiling")),
            "copies_bad": _number(part(self.copies, "bad")),
            "copies_reading": self.copies.reading if self.copies else "not_estimable",
        }


def _number(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    kept = ("metric", "subject", "arm", "label", "extractor", "value", "low", "high", "n_real", "n_synthetic")
    row = score_json(score)
    return {name: row[name] for name in (*kept, "status", "reason")}


def headline(comparisons: Sequence[Comparison]) -> Headline:
    """Return the comparisons that stand for a cohort.

    A measure that cannot tell its own ceiling from its bad case says nothing, so it stands only where none can.
    Realism: the first distance, in a space that was not trained on these images if there is one. Copies: the space
    with the largest excess over the held-out patients, because a copy found in any space is a copy.
    """
    return Headline(
        realism=_first([c for name in DISTANCES for c in _unseen_spaces_first(select(comparisons, name))]),
        utility=_first(select(comparisons, UTILITY, arm="synthetic->real", label="mean")),
        ratio=_first(select(comparisons, RATIO)),
        copies=_worst_excess(select(comparisons, COPIES)),
    )


def _unseen_spaces_first(found: Sequence[Comparison]) -> list[Comparison]:
    return sorted(found, key=lambda c: c.subject.extractor.startswith(TASK_SPACE))


def _first(found: Sequence[Comparison]) -> Comparison | None:
    estimable = [c for c in found if usable(c.subject)]
    telling = [c for c in estimable if c.reading != "blind"]
    return next(iter([*telling, *estimable, *found]), None)


def _worst_excess(found: Sequence[Comparison]) -> Comparison | None:
    measured = [c for c in found if usable(c.subject) and usable(c.ceiling)]
    measured = [c for c in measured if c.reading != "blind"] or measured
    return max(measured, key=lambda c: _excess(c.subject, c.ceiling), default=_first(found))


def _excess(score: Score, ceiling: Score | None) -> float:
    assert ceiling is not None
    return bounds(score)[0] - bounds(ceiling)[1]


@dataclass(frozen=True)
class Control:
    """One control in one audit.

    Attributes:
        name: The control, e.g. "copycat".
        evaluation: The cohort in whose evaluation it was scored.
        audit: "copies", "realism" or "utility".
        expected: Whether the audit should call it out.
        called_out: Whether its interval lies beyond the threshold; None when it could not be estimated.
        value: Its score.
        threshold: The bound of the ceiling's interval that it has to pass to be called out.
    """

    name: str
    evaluation: str
    audit: Literal["copies", "realism", "utility"]
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
    found = []
    if evaluation.is_control:
        for audit, expected in EXPECTATIONS.get(evaluation.generator, ()):
            found += _control(name, comparisons, audit, expected, own=evaluation.generator)
    else:
        for audit in ("copies", "realism", "utility"):
            found += _control(name, comparisons, audit, expected=True, own="")
    return found


def _control(
    evaluation: str, comparisons: Sequence[Comparison], audit: str, expected: bool, *, own: str
) -> list[Control]:
    """Return the verdict of one audit on the built-in bad case or, where `own` names it, on the cohort itself."""
    shown = headline(comparisons)
    candidates = {
        "copies": select(comparisons, COPIES),
        "realism": [shown.realism] if shown.realism else [],
        "utility": [shown.utility] if shown.utility else [],
    }[audit]
    pairs = [(c.subject if own else c.bad, c.ceiling) for c in candidates]
    scored = [(score, ceiling) for score, ceiling in pairs if score is not None]
    if not scored:
        return []
    # A copy found in any space is a copy, so the space that shows most speaks for the control.
    measured = [(s, c) for s, c in scored if usable(s) and usable(c)]
    score, ceiling = max(measured, key=lambda pair: _excess(*pair)) if measured else scored[0]
    known = bool(measured)
    return [
        Control(
            name=own or score.subject,
            evaluation=evaluation,
            audit=audit,  # type: ignore[arg-type]
            metric=score.metric,
            extractor=score.extractor,
            expected=expected,
            called_out=worse(score, ceiling) if known and ceiling is not None else None,
            value=score.value,
            low=score.low,
            high=score.high,
            threshold=_threshold(ceiling) if known and ceiling is not None else None,
        )
    ]


def _threshold(ceiling: Score) -> float:
    low, high = bounds(ceiling)
    return low if ceiling.better == "higher" else high
