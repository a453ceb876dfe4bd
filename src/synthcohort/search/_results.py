"""What came out of a search, as rows and as a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _trials
from ._trials import ENDED, OPTIONS

if TYPE_CHECKING:
    from optuna import Study


def as_rows(study: Study) -> list[dict[str, Any]]:
    """Return one row a trial that came to its end, in order; the number is its place in the storage."""
    from optuna.trial import TrialState

    return [
        {
            "trial": trial.number,
            "first_started_as": _trials.origin(trial),
            "ended": str(trial.user_attrs.get(ENDED, "pruned")),
            "frechet": trial.value if trial.state is TrialState.COMPLETE else None,  # a pruned one has its last
            "distances": {str(seen): value for seen, value in sorted(trial.intermediate_values.items())},
            "varied": trial.params,
            "options": trial.user_attrs.get(OPTIONS),
            "same_as": trial.user_attrs.get("same_as"),
            "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 1),
        }
        for trial in _trials.done(study)
    ]


def summary(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best trial, and how many were tried and how they ended."""
    ended = Counter("finished" if row["ended"] == "finished" else row["ended"].partition(":")[0] for row in rows)
    scored = [row for row in rows if row["frechet"] is not None]
    best = min(scored, key=lambda row: row["frechet"], default=None)
    return {
        "generator": config["generator"],
        "tried": len(rows),
        "ended": dict(sorted(ended.items())),
        "selected_on": config["stop"]["against"],
        "extractor": config["stop"]["extractor"],
        "images_seen": config["images_seen"],
        "best": best,
        "run": None if best is None else f"runs/trial-{_first(rows, best):05d}",
    }


def _first(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> int:
    """Return the number in the name of the best run's folder, which another trial of the same options may have made."""
    if best["same_as"] is None:
        return int(best["first_started_as"])
    return next(int(row["first_started_as"]) for row in rows if row["trial"] == best["same_as"])
