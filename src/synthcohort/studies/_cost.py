"""What a study cost, and what failed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..execute import Job, Outcome
from ._page import Section, Table

BUDGETS = {
    "data-sharing": "32,100 GPU-hours, and 20,480 of a search above 128 px, on P100 GPUs (footnote 1; section 3.3)",
    "gan-study": "about 500 GPU-days and 1,500 runs (sections 3.1 and 5.1)",
}


def cost_section(
    study: str, wanted: Iterable[Job], outcomes: Mapping[str, Outcome], failures: Sequence[Any]
) -> Section:
    """Return what each kind of job took and every failure with its reason.

    Args:
        study: A name in `BUDGETS`.
        wanted: The jobs that end pipelines.
        outcomes: Of all jobs.
        failures: Rows with a reason.
    """
    jobs: dict[str, Job] = {}
    waiting = list(wanted)
    while waiting:
        job = waiting.pop()
        if job.key not in jobs:
            jobs[job.key] = job
            waiting += job.needs.values()
    rows, total = [], 0.0
    for kind in sorted({job.kind for job in jobs.values()}):
        ended = [outcomes[key] for key, job in jobs.items() if job.kind == kind and key in outcomes]
        seconds = sum(each.seconds or 0.0 for each in ended)
        total += seconds
        rows.append([kind, str(len(ended)), str(sum(not each.done for each in ended)), f"{seconds / 3600:.2f}"])
    rows.append(["all", str(sum(int(row[1]) for row in rows)), str(sum(int(row[2]) for row in rows)),
                 f"{total / 3600:.2f}"])  # fmt: skip
    head = ("job", "how many", "not done", "hours, summed over workers")
    made = Section("Cost and failures", [f"The paper's own budget: {BUDGETS[study]}."], [Table(head, rows)])
    if failures:
        lines = [[_named(row), str(row["reason"])] for row in failures]
        made.tables.append(Table(("failed", "why"), lines, f"{len(failures)} that did not end well"))
    else:
        made.texts.append("Nothing diverged or failed.")
    return made


def _named(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {row[key]}" for key in ("cohort", "point", "generator", "trial", "seed") if key in row)
