"""What a study would run: what its cohorts hold, and its jobs, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..execute import Job


@dataclass(frozen=True)
class Plan:
    """What a study would run.

    Attributes:
        points: What its cohorts hold, one row each, JSON-ready.
        jobs: Those that end it; what they need comes along.
    """

    points: Sequence[dict[str, Any]]
    jobs: Sequence[Job]

    def as_text(self) -> str:
        """Return the points as a table with tabs between."""
        if not self.points:
            return ""
        rows = [list(self.points[0]), *([_said(value) for value in row.values()] for row in self.points)]
        return "\n".join("\t".join(row) for row in rows)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(str(each) for each in dict.fromkeys(value))
    return "?" if value is None else str(value)
