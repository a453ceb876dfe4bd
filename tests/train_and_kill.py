"""A process that trains, kills its training with SIGKILL and starts it again; test_train.py reads what it leaves.

    python train_and_kill.py PLAN.json

The plan holds "out" (a folder), "constants" of `synthcohort.train`, "kills", "seed" and "jobs": name -> arguments of
`train` without `out`. Each job runs twice: unharmed into out/name-whole, killed `kills` times into out/name-killed.
Children are forked after a first training, so that starting again takes milliseconds. Prints name -> images seen of the
checkpoint at each kill, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from synthcohort import runs
from synthcohort.train import train


def start(**arguments: Any) -> int:
    """Return the process id of a child that trains."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        train(**arguments)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def rows(out: Path) -> int:
    """Return how many rows the log of a run has."""
    log = out / runs.LOG
    return log.read_bytes().count(b"\n") if log.exists() else 0


def kill_when(pid: int, out: Path, logged: int, delay: float) -> None:
    """Kill a child `delay` seconds after its log has `logged` rows."""
    while rows(out) < logged:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the training ended before it was killed"
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the training ended before it was killed"


def run(name: str, plan: dict[str, Any]) -> list[int]:
    """Train one job both ways and return the images seen of the checkpoint at each kill."""
    arguments, rng = plan["jobs"][name], random.Random(f"{plan['seed']} {name}")
    whole, killed = (Path(plan["out"]) / f"{name}-{kind}" for kind in ("whole", "killed"))
    started = time.monotonic()
    assert os.waitpid(start(**arguments, out=whole), 0)[1] == 0
    seconds, total = time.monotonic() - started, rows(whole)
    kept = []
    # The first kill comes at any moment from the start, the others after a random row; the last tenth is for finishing.
    moments = [0, *sorted(rng.sample(range(1, total * 9 // 10), plan["kills"] - 1))]
    for logged in moments:
        kill_when(start(**arguments, out=killed), killed, logged, rng.uniform(0, seconds / total))
        checkpoint = killed / runs.CHECKPOINT
        kept.append(runs.load_tensors(checkpoint)[2]["images_seen"] if checkpoint.exists() else 0)
    assert os.waitpid(start(**arguments, out=killed), 0)[1] == 0
    return kept


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for constant, value in given["constants"].items():
        setattr(importlib.import_module("synthcohort.train"), constant, value)
    for number, job in enumerate(given["jobs"].values()):  # imports what torch and matplotlib import late
        train(**{**job, "images_seen": 1}, out=Path(given["out"]) / f"first-{number}")
    print(json.dumps({name: run(name, given) for name in given["jobs"]}))
