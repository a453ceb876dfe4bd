"""How long the rest of a study takes, from how long its jobs took."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ._job import Job


class Clock:
    """Means of seconds by kind of job; of a kind that has none yet, what was expected, scaled as the others were.

    Args:
        graph: Key -> job.
    """

    def __init__(self, graph: Mapping[str, Job]) -> None:
        self._graph = graph
        self._took: dict[str, list[float]] = {}
        self._expected = self._measured = 0.0

    def took(self, job: Job, seconds: float | None) -> None:
        """Count a finished job."""
        if seconds is None:
            return
        self._took.setdefault(job.kind, []).append(seconds)
        if job.cost.seconds:
            self._expected += job.cost.seconds
            self._measured += seconds

    def seconds_left(self, ended: Collection[str], workers: int) -> float | None:
        """Return the seconds that the other jobs take, shared out over workers; None while nothing is known of one."""
        total = 0.0
        for key, job in self._graph.items():
            if key in ended:
                continue
            each = self._of(job)
            if each is None:
                return None
            total += each
        return total / workers

    def left(self, ended: Collection[str], workers: int) -> str:
        """Return the time left in words; "" while nothing is known."""
        seconds = self.seconds_left(ended, workers)
        return "" if seconds is None else f"{in_words(seconds)} left"

    def _of(self, job: Job) -> float | None:
        scale = self._measured / self._expected if self._expected else 1.0
        if job.cost.seconds is not None:
            return job.cost.seconds * scale
        known = self._took.get(job.kind)
        return sum(known) / len(known) if known else None


def in_words(seconds: float) -> str:
    """Return a time as "40 s", "12 min", "3.5 h" or "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
