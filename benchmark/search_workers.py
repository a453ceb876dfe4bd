"""Workers of a search on one storage: is any trial lost or tried twice, and what does a trial cost beside its training?

    python search_workers.py --storage sqlite:////tmp/x/trials.sqlite [--workers 8] [--trials 500] [--kill 2]

Each trial sleeps for a few milliseconds instead of training. `--kill` workers get SIGKILL in the middle, and others
take their trials over. One row of results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from machine import circumstances

from synthcohort.search import Terms, _trials, _worker
from synthcohort.search._space import Choices, Range

RESULTS = Path(__file__).parent / "results" / "search_workers.jsonl"

_trials.HEARTBEAT_SECONDS, _trials.SILENT_SECONDS = 1, 8  # of a worker that trains for minutes: 10 and 60


def pretend(task: _worker.Task, study: Any, trial: Any) -> float:
    """Try options without training; leave a mark on disk that says who did."""
    options = {name: values.suggest(trial, name) for name, values in task.space.items()}
    time.sleep(random.uniform(0.005, 0.02))
    trial.set_user_attr(_trials.ENDED, "finished")
    with (task.out / f"done-{os.getpid()}").open("a") as file:
        file.write(f"{trial.number}\n")
    return float(options["rate"])


def start(task: _worker.Task, number: int) -> None:
    """Be a worker."""
    _trials.HEARTBEAT_SECONDS, _trials.SILENT_SECONDS = 1, 8
    _worker._distance = pretend
    _worker.work(task, number)


def main() -> int:
    """Run the workers and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--kill", type=int, default=0)
    given = parser.parse_args()
    out = Path(tempfile.mkdtemp())
    name = f"workers-{time.time_ns()}"
    study = _trials.open_study(given.storage, name, create=True)
    space = {"rate": Range(1e-5, 1e-2, False, True), "filters": Choices((16, 32))}
    terms = Terms(sampler="random", prune=False)
    task = _worker.Task(out, out, "dcgan", {}, space, given.storage, name, given.trials, 0, terms)
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    crew = [context.Process(target=start, args=(task, number)) for number in range(given.workers)]
    for process in crew:
        process.start()
    while given.kill and len(_trials.done(study)) < given.trials // 2:
        time.sleep(0.2)
    for process in crew[: given.kill]:
        os.kill(process.pid or 0, signal.SIGKILL)
    for process in crew:
        process.join()
    seconds = time.perf_counter() - began
    finished = [trial.number for trial in _trials.done(study)]
    marks = Counter(int(line) for path in out.glob("done-*") for line in path.read_text().split())
    rates = Counter(trial.params["rate"] for trial in _trials.done(study))
    row = {
        "benchmark": "search workers",
        "command": f"search_workers.py --workers {given.workers} --trials {given.trials} --kill {given.kill}",
        "storage": given.storage.partition(":")[0],
        "workers": given.workers,
        "killed": given.kill,
        "trials": given.trials,
        "finished": len(finished),
        "tried_twice_to_the_end": sum(count > 1 for count in marks.values()),
        "same_draw_twice": sum(count > 1 for count in rates.values()),
        "finished_without_a_mark": len(set(finished) - set(marks)),
        "seconds": round(seconds, 1),
        "seconds_per_trial": round(seconds / given.trials, 4),
        **circumstances(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))
    return 0 if len(finished) == given.trials and max(marks.values()) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
