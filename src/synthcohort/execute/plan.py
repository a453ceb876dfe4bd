"""What a study costs, before anything runs: from speeds that were measured on this machine.

The hours of a part are its images over the measured speed. A part whose speed was not measured is listed, never
guessed, and the hours are then a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import calibrate
from ._job import Job, Work, closure
from ._time_left import in_words

PAPERS = (
    {"study": "Skandarani et al. (GANs for medical image synthesis)", "budget": "about 500 GPU-days, 1,500 runs"},
    {"study": "DuMont Schütte et al. (sharing synthetic data)", "budget": "32,100 + 20,480 GPU-hours (NVIDIA P100)"},
)
"""What the published studies cost, by their own account."""
H100 = (
    "Full published studies on one H100: not measured here. There, run `synthcohort doctor --calibrate` and --plan:"
    " the projection is images over speed, one job at a time, with default options."
)


def plan(
    jobs: Iterable[Job], calibration: Mapping[str, Any] | None = None, *, workers: int | None = None
) -> dict[str, Any]:
    """Return what jobs cost, as JSON-ready types.

    "kinds" holds jobs, hours (None where nothing of a kind was calibrated), disk and memory in bytes of each kind;
    "hours" their sum; "device" "GPU" or "CPU"; "not_calibrated" what the hours leave out; "on" what was calibrated.

    Args:
        jobs: Of a study; needed ones come along.
        calibration: See `calibrate`; the stored one when left out.
        workers: Jobs at once, for the time on the clock.
    """
    graph = closure(jobs)
    found = calibrate.load() if calibration is None else calibration
    points = found["points"] if found else []
    missing: dict[str, None] = {}
    kinds: dict[str, dict[str, Any]] = {}
    for job in graph.values():
        seconds, left_out = _seconds(job, points)
        missing |= dict.fromkeys(left_out)
        kind = kinds.setdefault(job.kind, {"jobs": 0, "hours": None, "disk": 0, "memory": None})
        kind["jobs"] += 1
        if seconds is not None:
            kind["hours"] = (kind["hours"] or 0.0) + seconds / 3600
        kind["disk"] += job.cost.disk or 0
        kind["memory"] = _most(kind["memory"], *(_memory(part, points) for part in job.cost.work))
    hours = sum(kind["hours"] or 0.0 for kind in kinds.values())
    return {
        "jobs": len(graph),
        "kinds": kinds,
        "hours": hours,
        "device": "GPU" if found and found["on"]["device_kind"] == "cuda" else "CPU",
        "workers": workers,
        "disk": sum(kind["disk"] for kind in kinds.values()),
        "not_calibrated": list(missing),
        "on": found["on"] if found else None,
        "papers": list(PAPERS),
        "h100": H100,
    }


def _seconds(job: Job, points: Sequence[calibrate.Point]) -> tuple[float | None, list[str]]:
    """Return the seconds of what is known of a job, None where that is nothing, and what is not."""
    known, missing = [], [f"{job.kind}: {job.cost.unknown}"] if job.cost.unknown else []
    for part in job.cost.work:
        speed = calibrate.images_per_second(points, part.measure, part.plugin, part.side)
        if speed:
            known.append(part.images / speed)
        else:
            missing.append(f"{part.measure} {part.plugin} at {part.side} px")
    return (sum(known) if known or not job.cost.work else None), missing


def _memory(part: Work, points: Sequence[calibrate.Point]) -> int | None:
    return calibrate.memory(points, part.measure, part.plugin, part.side)


def _most(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)


def as_text(found: Mapping[str, Any]) -> str:
    """Return a plan as lines for a person."""
    hours = f"{found['device']}-hours"
    lines = [f"{'kind':<12}{'jobs':>7}{hours:>12}{'disk':>12}{'memory':>12}"]
    lines += [_row(name, kind) for name, kind in found["kinds"].items()]
    total = {"jobs": found["jobs"], "hours": found["hours"], "disk": found["disk"], "memory": None}
    lines.append(_row("all", total))
    if found["on"] is None:
        lines.append("Not calibrated: run `synthcohort doctor --calibrate` once on this machine to have hours.")
    elif found["hours"]:
        on, workers = found["on"], found["workers"] or 1
        least = "at least " if found["not_calibrated"] else ""
        took = in_words(found["hours"] * 3600 / workers)
        lines.append(f"On the clock {least}{took} with {workers} at work, each on {on['device']} ({on['precision']},")
        lines[-1] += f" {on['threads']} threads, batch {on['batch']}, default options, measured {on['date']})."
    lines += [f"Not calibrated, so not counted: {each}" for each in found["not_calibrated"]]
    lines.append("Disk: what is counted are samples; weights, features and fits come on top.")
    lines += [f"Published: {each['study']}: {each['budget']}." for each in found["papers"]]
    return "\n".join([*lines, found["h100"]])


def _row(name: str, kind: Mapping[str, Any]) -> str:
    hours = "-" if kind["hours"] is None else f"{kind['hours']:.2f}"
    disk = "-" if not kind["disk"] else f"{kind['disk'] / 2**20:,.0f} MiB"
    memory = "-" if kind["memory"] is None else f"{kind['memory'] / 2**20:,.0f} MiB"
    return f"{name:<12}{kind['jobs']:>7,}{hours:>12}{disk:>12}{memory:>12}"
