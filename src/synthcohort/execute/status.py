"""`study status`: what a study folder says of its jobs, without a driver."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ..claims import Claims, machine
from ..errors import Mismatch
from ._folder import StudyFolder
from ._time_left import Clock, in_words


def status(out: Path | str) -> dict[str, Any]:
    """Return how a study stands, as JSON-ready types.

    "jobs" counts done, diverged, running, failed and waiting; "by_kind" the same of each kind; "running" says who holds
    what, since when and when it was last heard of; "failed" which jobs failed last, and why; "seconds_left" is None
    while no job of some kind has finished.

    Args:
        out: The study folder.

    Raises:
        Mismatch: It is none.
    """
    study = StudyFolder(Path(out))
    try:
        graph: dict[str, dict[str, Any]] = json.loads(study.graph.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Mismatch("A study folder has a graph.json", str(out), "Name the --out of a `study` command") from error
    there, claims = study.results(), Claims(study.claims)
    clock, states = Clock({key: job["kind"] for key, job in graph.items()}), {}
    running, failed = [], []
    for key, job in graph.items():
        name = f"{job['kind']} {job['name']}".strip()
        if key in there:
            told = study.told(key)
            clock.took(key, told.get("seconds"))
            states[key] = "diverged" if told.get("status") == "diverged" else "done"
        elif (owner := claims.owner(key)) is None:
            states[key] = "waiting"
        elif not claims.gone(key, owner):
            states[key] = "running"
            running.append({"job": name, "host": owner.host, "pid": owner.pid, **_times(study, key, owner.attempt)})
            running[-1]["here"] = owner.machine == machine()
        elif owner.ended == "failed":
            states[key] = "failed"
            failed.append({"job": name, "reason": str(owner.facts.get("reason", ""))})
        else:
            states[key] = "waiting"
    ended = {key for key, state in states.items() if state in ("done", "diverged", "failed")}
    return {
        "jobs": _counts(list(states.values())),
        "by_kind": {
            kind: _counts([state for key, state in states.items() if graph[key]["kind"] == kind])
            for kind in dict.fromkeys(job["kind"] for job in graph.values())
        },
        "running": running,
        "failed": failed,
        "seconds_left": clock.seconds_left(ended, max(1, len(running))),
    }


def _counts(states: list[str]) -> dict[str, int]:
    return {state: states.count(state) for state in ("done", "diverged", "running", "failed", "waiting")}


def _times(study: StudyFolder, key: str, attempt: int) -> dict[str, float]:
    """Return for how long a claim has been held, and how long ago it was last heard of, by this machine's clock."""
    facts = (study.claims / f"{key}.{attempt}").stat()
    work = study.out / "work" / key / f"{attempt:04d}"
    began = work.stat().st_ctime if work.exists() else facts.st_mtime
    now = time.time()
    return {"seconds": round(max(0.0, now - began), 1), "silent_seconds": round(max(0.0, now - facts.st_mtime), 1)}


def as_text(found: dict[str, Any]) -> str:
    """Return a status as lines for a person."""
    lines = [" · ".join(f"{count} {state}" for state, count in found["jobs"].items() if count) or "no jobs"]
    lines += [
        f"{kind:<12}" + " · ".join(f"{count} {state}" for state, count in counts.items() if count)
        for kind, counts in found["by_kind"].items()
    ]
    lines += [
        f"running     {each['job']} on {each['host']} ({each['pid']}), heard of {each['silent_seconds']:.0f} s ago"
        for each in found["running"]
    ]
    lines += [f"failed      {each['job']}: {each['reason']}" for each in found["failed"]]
    if found["seconds_left"]:
        lines.append(f"time left   {in_words(found['seconds_left'])} with {max(1, len(found['running']))} at work")
    return "\n".join(lines)
