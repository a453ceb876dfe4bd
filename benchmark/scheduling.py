"""Measure what scheduling costs: seconds per trivial job here and on Ray, and a study whose results all exist.

    python benchmark/scheduling.py WORK [--jobs 1000] [--finished 2000] [--workers 2] [--without-ray]

WORK is a new folder. A trivial job writes one short file; its price is claim, heartbeat, synced folder, rename and the
way to a worker and back. Ray is a cluster of this machine alone; its start is not counted. Appends to
results/scheduling.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from machine import circumstances

from synthcohort.execute import Job, Place, execute

RESULTS = Path(__file__).parent / "results" / "scheduling.jsonl"


def trivial(place: Place, *, number: int) -> None:
    """Write a number."""
    (place.folder / "number").write_text(str(number))


def main() -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without-ray", action="store_true")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found: dict[str, Any] = {"benchmark": "scheduling", "jobs": given.jobs, "workers": given.workers}
    found["local_seconds_per_job"] = _per_job(given.work / "local", given.jobs, given.workers, None)
    if not given.without_ray:
        found["ray_seconds_per_job"] = _per_job(given.work / "ray", given.jobs, given.workers, "local")
    made = [Job("trivial", "scheduling:trivial", {"number": number}) for number in range(given.finished)]
    execute(made, given.work / "local", workers=given.workers)
    start = time.perf_counter()
    execute(made, given.work / "local", workers=given.workers)
    found |= {"finished_jobs": given.finished, "finished_seconds": round(time.perf_counter() - start, 3)}
    found |= {"load_average": os.getloadavg()[:2], "command": "python benchmark/scheduling.py WORK", **circumstances()}
    print(json.dumps(found))
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    return 0


def _per_job(out: Path, count: int, workers: int, address: str | None) -> float:
    """Return seconds per job between the first result and the last: starting workers, or Ray, is left out."""
    execute(
        [Job("trivial", "scheduling:trivial", {"number": n}) for n in range(count)],
        out,
        workers=workers,
        address=address,
    )
    times = sorted(path.stat().st_mtime for path in (out / "results").glob("*/job.json"))
    return round((times[-1] - times[0]) / (count - 1), 4)


if __name__ == "__main__":
    sys.exit(main())
