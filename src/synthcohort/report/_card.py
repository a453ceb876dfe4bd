"""The report card: sixteen questions, what was measured for each, and whether it keeps the line fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..gates import LIMITS, CardFile
from . import _card_text
from ._card_facts import facts_lines
from ._card_judge import WORDS, Part, Status, first_told, together
from ._card_likeness import likeness_lines
from ._card_patients import patients_lines
from ._card_use import use_lines
from ._compare import Comparison
from ._counts import openly, score_json
from ._findings import few_held_out
from ._read import Evaluation

ENOUGH_SEEDS = 5
_BELIEVED = (6, 7, 8, 13, 14, 16)  # lines that hold also where the generator was trained on another cohort
_UTILITY = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Line:
    """One line of the card.

    Attributes:
        number: 1 to 16.
        parts: Its figures; the first decides.
        status: met, not_met, not_estimable or shown.
        judged: Whether there is a line to keep: a gate of the release.
        reason: Why the status is not what the figures say, "" otherwise.
        indication: What the figures say where the status may not.
    """

    number: int
    parts: Sequence[Part]
    status: Status
    judged: bool
    reason: str = ""
    indication: Status | None = None

    @property
    def key(self) -> str:
        """Return its name for programs."""
        return _card_text.QUESTIONS[self.number][0]

    @property
    def question(self) -> str:
        """Return what it asks."""
        return _card_text.QUESTIONS[self.number][1]

    @property
    def deciding(self) -> Part:
        """Return the figure that is printed."""
        return first_told(self.parts)

    @property
    def said(self) -> str:
        """Return what it says, the deciding figure first."""
        told = [self.deciding, *(part for part in self.parts if part is not self.deciding)]
        return openly(" ".join(part.said for part in told if part.said), images=True)

    def to_json(self, few: Mapping[str, bool]) -> dict[str, Any]:
        """Return the line as JSON-ready types, with small counts hidden."""
        return {
            "number": self.number,
            "name": self.key,
            "question": self.question,
            "status": self.status,
            "judged": self.judged,
            "reason": self.reason,
            "indication": self.indication,
            "said": self.said,
            "figures": [
                {
                    "name": part.name,
                    "status": part.status,
                    "rule": part.rule,
                    **{role: _score(part.found, role, few) for role in ("subject", "ceiling", "bad")},
                }
                for part in self.parts
            ],
        }


def _score(found: Comparison | None, role: str, few: Mapping[str, bool]) -> dict[str, Any] | None:
    score = getattr(found, role, None)
    return score_json(score, few) if score is not None else None


@dataclass(frozen=True)
class Card:
    """The card of one cohort.

    Attributes:
        file: What was fixed beforehand; None where nothing was.
        lines: Sixteen.
    """

    file: CardFile | None
    lines: Sequence[Line]

    def having(self, status: Status) -> list[Line]:
        """Return the lines to be kept that have a status."""
        return [line for line in self.lines if line.judged and line.status == status]

    @property
    def unmet(self) -> list[Line]:
        """Return the lines to be kept that were not shown to be kept; none where no line was fixed."""
        return [*self.having("not_met"), *self.having("not_estimable")] if self.file else []

    def to_json(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the card as JSON-ready types."""
        few = few_held_out(evaluation)
        return {"file": _file_json(self.file), "lines": [line.to_json(few) for line in self.lines]}


def _file_json(file: CardFile | None) -> dict[str, Any] | None:
    if file is None:
        return None
    declared = {key: getattr(file, key) for key in _card_text.DECLARED}
    task = {"primary": file.primary, "setting": file.setting}
    return {**file.to_json(), "declarations": declared, "task": task, "lines": dict(file.limits)}


def card(evaluation: Evaluation, comparisons: Sequence[Comparison], others: Sequence[Evaluation]) -> Card:
    """Return the card of a cohort.

    Args:
        evaluation: The EVAL.
        comparisons: Its scores, compared.
        others: Every EVAL of the report, this one too: of its generator with other seeds, they tell how stable it is.
    """
    file = evaluation.card
    limits = file.limits if file else {key: limit.default for key, limit in LIMITS.items()}
    parts = {
        **use_lines(comparisons, limits, file.primary if file else "any"),
        **likeness_lines(comparisons, limits),
        **patients_lines(comparisons, limits, file.release if file else ""),
        **facts_lines(evaluation, others),
    }
    return Card(file, [_line(number, parts[number], evaluation, limits) for number in _card_text.QUESTIONS])


def _line(number: int, parts: Sequence[Part], evaluation: Evaluation, limits: Mapping[str, float | None]) -> Line:
    judged = any(limits[key] is not None for key, limit in LIMITS.items() if limit.line == number)
    found = Line(number, parts, together(part.status for part in parts), judged)
    if evaluation.is_foreign and number not in _BELIEVED:
        return replace(found, status="not_estimable", reason=_card_text.FOREIGN)
    if not judged or found.status == "not_estimable":
        return found
    if evaluation.card is None:
        return replace(found, status="not_estimable", reason=_card_text.NO_LINE_FIXED, indication=found.status)
    if number in _UTILITY and (why := _exploratory(evaluation)):
        said = _card_text.EXPLORATORY.format(why=why)
        return replace(found, status="not_estimable", reason=said, indication=found.status)
    return found


def _exploratory(evaluation: Evaluation) -> str:
    """Return why utility is not good enough to decide on, or ""."""
    assert evaluation.card is not None
    if evaluation.card.setting == "quick":
        return _card_text.QUICK
    if (evaluation.facts.get("utility") or {}).get("depth") == "quick":
        return _card_text.QUICK_RUN
    return _card_text.FEW_SEEDS if evaluation.learner_seeds < ENOUGH_SEEDS else ""


def verdict(cards: Mapping[str, Card]) -> str:
    """Return the line that `report` prints about lines that were not shown to be kept; "" where all were.

    Args:
        cards: Cohort -> its card.
    """
    said = []
    for name, of in cards.items():
        for status in ("not_met", "not_estimable"):
            numbers = [str(line.number) for line in of.unmet if line.status == status]
            if numbers:
                said.append(f"{name}: line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)} {WORDS[status]}")
    return "; ".join(said)
