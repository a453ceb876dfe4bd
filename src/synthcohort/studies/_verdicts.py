"""Published findings, each with a rule set before the run, and what this run's data say of it.

A verdict follows from an interval's sign or an exact test, never from a mean alone, and from no fewer pipelines than
the rule names. "cannot tell" is the usual answer of a small study, and the only one of the smoke preset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import writing
from ..runs import write_atomic
from ._page import Section, Table

Verdict = Literal["supports", "contradicts", "cannot tell"]
LEAST_SEEDS = 5
SMOKE = "the smoke preset computes too little to say anything"
WORDS = {"supports": "supported", "contradicts": "contradicted", "cannot tell": "cannot tell"}


@dataclass(frozen=True)
class Finding:
    """One published finding and what this run says of it.

    Attributes:
        key: Its name in findings.json.
        study: "000" (Skandarani et al.) or "003" (DuMont Schütte et al.).
        where: Section or figure of the paper.
        claim: What it says.
        rule: What was decided beforehand to speak for and against it.
        verdict: What the data do.
        evidence: The numbers, or why there are none.
    """

    key: str
    study: str
    where: str
    claim: str
    rule: str
    verdict: Verdict = "cannot tell"
    evidence: str = "not measured"


def by_interval(low: float | None, high: float | None, *, above: float = 0.0) -> Verdict:
    """Return whether an interval lies wholly above a number ("supports"), wholly below it, or neither."""
    if low is None or high is None:
        return "cannot tell"
    return "supports" if low > above else "contradicts" if high < above else "cannot tell"


def within(low: float | None, high: float | None, *, margin: float) -> Verdict:
    """Return whether an interval lies wholly within -+ margin ("supports"), wholly outside, or neither."""
    if low is None or high is None:
        return "cannot tell"
    return (
        "supports"
        if -margin < low and high < margin
        else "contradicts"
        if abs_least(low, high) > margin
        else ("cannot tell")
    )


def abs_least(low: float, high: float) -> float:
    """Return the smallest absolute value in an interval."""
    return 0.0 if low <= 0 <= high else min(abs(low), abs(high))


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what several verdicts on one finding say together: supported if all support, contradicted if one does."""
    found = list(verdicts)
    if "contradicts" in found:
        return "contradicts"
    return "supports" if found and set(found) == {"supports"} else "cannot tell"


def silenced(findings: Sequence[Finding], preset: str) -> list[Finding]:
    """Return the findings as the smoke preset may report them: none of them can be told."""
    if preset != "smoke":
        return list(findings)
    return [Finding(**{**asdict(found), "verdict": "cannot tell", "evidence": SMOKE}) for found in findings]


def section(findings: Sequence[Finding]) -> Section:
    """Return the findings page."""
    counts = {name: sum(found.verdict == verdict for found in findings) for verdict, name in WORDS.items()}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    head = ("Published finding", "Where", "Rule, set beforehand", "This run", "Evidence")
    rows = [
        (found.claim, f"study {found.study}, {found.where}", found.rule, WORDS[found.verdict], found.evidence)
        for found in findings
    ]
    return Section("Published findings", [f"Of {len(findings)} published findings: {said}."], [Table(head, rows)])


def write_findings(out: Path, findings: Sequence[Finding]) -> None:
    """Write findings.json."""
    content: list[dict[str, Any]] = [asdict(found) for found in findings]
    with writing(out):
        write_atomic(out / "findings.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
