"""A driver in a process of its own, for tests that kill one: python execute_driver.py OUT PLAN.json.

The plan holds "jobs": one dictionary each, of Job's arguments, with "needs" as role -> position of an earlier job, and
"options" of `execute`. Prints the outcomes' statuses.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from synthcohort.errors import InputError
from synthcohort.execute import Job, Outcome, execute


def jobs(plan: dict[str, Any]) -> list[Job]:
    """Return a plan's jobs."""
    made: list[Job] = []
    for each in plan["jobs"]:
        needs = {role: made[place] for role, place in each.get("needs", {}).items()}
        paths = {role: Path(path) for role, path in each.get("paths", {}).items()}
        made.append(Job(each["kind"], each["call"], each.get("arguments", {}), needs, paths, name=each.get("name", "")))
    return made


def run(out: Path, plan: dict[str, Any]) -> dict[str, Outcome]:
    """Execute a plan."""
    return execute(jobs(plan), out, **plan.get("options", {}))


if __name__ == "__main__":
    try:
        found = run(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
        print(*sorted({outcome.status for outcome in found.values()}))
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        print(error)
        sys.exit(2)
