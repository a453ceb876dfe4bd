"""What the stages of an evaluation cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Sums the time of stages. A stage inside another stops the outer one, so that every second counts once.

    Attributes:
        stages: Stage -> "seconds" of wall time and "cpu_seconds" of this process, in the order of first use.
    """

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._open: list[str] = []
        self._since = _now()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time until the end of the block to a stage."""
        self._settle()
        self._open.append(name)
        self.stages.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0})
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return the stages with their sums, rounded to milliseconds."""
        return {name: {kind: round(sum_, 3) for kind, sum_ in each.items()} for name, each in self.stages.items()}

    def _settle(self) -> None:
        now = _now()
        if self._open:
            for kind, until, since in zip(("seconds", "cpu_seconds"), now, self._since, strict=True):
                self.stages[self._open[-1]][kind] += until - since
        self._since = now


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
