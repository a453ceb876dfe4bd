"""How long the rest of a study takes, from how long its jobs took."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Clock:
    """Means of seconds by kind of job.

    Args:
        kinds: Key -> kind of job.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._took: dict[str, list[float]] = {}

    def took(self, key: str, seconds: float | None) -> None:
        """Count a finished job."""
        if seconds is not None:
            self._took.setdefault(self._kinds[key], []).append(seconds)

    def seconds_left(self, ended: Collection[str], workers: int) -> float | None:
        """Return the seconds that the other jobs take, shared out over workers; None while one's kind is unknown."""
        left = [kind for key, kind in self._kinds.items() if key not in ended]
        if any(kind not in self._took for kind in left):
            return None
        means = {kind: sum(took) / len(took) for kind, took in self._took.items()}
        return sum(means[kind] for kind in left) / workers

    def left(self, ended: Collection[str], workers: int) -> str:
        """Return the time left in words; "" while it is not known."""
        seconds = self.seconds_left(ended, workers)
        return "" if seconds is None else f"{in_words(seconds)} left"


def in_words(seconds: float) -> str:
    """Return a time as "40 s", "12 min", "3.5 h" or "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
