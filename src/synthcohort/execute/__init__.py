"""A graph of jobs, run on this machine or on a Ray cluster.

    real = Cohort(path)
    run = Job("train", "synthcohort.studies._jobs:train", {"cohort": real.identity, "seed": 0}, paths={"cohort": path})
    made = Job("sample", "synthcohort.studies._jobs:sample", {"n": 100}, needs={"run": run}, paths={"cohort": path})
    outcomes = execute([made], out)
    outcomes[made.key].folder

A job's function is `function(place: Place, **arguments)`; it writes to `place.folder` and calls train, sample, evaluate
..., which take up what an interrupted attempt left there. The study folder is the only state: a second driver on the
same folder, on this machine or another one that sees it, shares the work. A job is named by its fingerprint, has one
owner at a time (see `claims`), and its result is published by one rename: who finishes late discards.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import runs
from ..claims import BEAT, EXPIRY
from ..errors import BadOption, writing
from ._drive import Backend, Driver
from ._folder import StudyFolder
from ._job import Cost, Job, Outcome, Place, Resources, Work, closure
from ._perform import described


def execute(
    jobs: Iterable[Job],
    out: Path | str,
    *,
    workers: int | None = None,
    address: str | None = None,
    device: str = "auto",
    retries: int = 2,
    expiry: float = EXPIRY,
    beat: float = BEAT,
) -> dict[str, Outcome]:
    """Run jobs and all they need; return `Job.key` -> how it ended, once every job has ended.

    Jobs whose results are in the study folder are not run again. A job that raises Diverged has a result: that it
    diverged. A job that raises InputError or MissingDependency stops the study. Any other exception, and a killed
    worker, is tried again, `retries` times; then the job has failed, those that need it are skipped, and the study goes
    on with the others.

    Ctrl-C and SIGTERM end the workers, let go of their jobs and raise KeyboardInterrupt; the same call goes on.

    Args:
        jobs: What is wanted; needed jobs come along by themselves.
        out: The study folder, on a file system that every machine of the study sees. Made when it is not there.
        workers: Most jobs at once; when left out one on each GPU, or as many as the cores (or the cluster) carry. Each
            computes with the threads of its `Resources.cpus`, never more in all than there are cores.
        address: None for processes on this machine; for Ray "local", "auto", "HOST:PORT" or "ray://HOST:PORT".
        device: "auto" (a GPU for jobs that take one, where there are GPUs), "cpu", or "cuda" (refused without a GPU).
        retries: See above.
        expiry: Seconds of silence after which an owner on another machine is taken for dead.
        beat: Seconds between heartbeats; much less than `expiry`.

    Raises:
        InputError: The cluster does not answer, a GPU is not there or `out` cannot be written (then nothing was
            started), or a job raised it.
        KeyboardInterrupt: The study was interrupted.
    """
    if workers is not None and workers < 1:
        raise BadOption("--workers is at least 1", str(workers), "Give a positive number")
    if device not in ("auto", "cpu", "cuda"):
        raise BadOption("A study's device is auto, cpu or cuda", f"'{device}'", "Use --device auto")
    graph, study = closure(jobs), StudyFolder(Path(out))
    _write_graph(study, graph)
    driver = Driver(study, graph, retries=retries, expiry=expiry, beat=beat)
    driver.take_up()
    if len(driver.outcomes) < len(graph):
        with _interruptible():
            wanted = [job.resources for key, job in graph.items() if key not in driver.outcomes]
            driver.run(_backend(address, wanted, workers=workers, device=device))
    return driver.outcomes


def _backend(address: str | None, wanted: list[Resources], **how: Any) -> Backend:
    if address is None:
        from ._local import Local

        return Local(wanted, **how)
    from ._ray import OnRay

    return OnRay(address, wanted, **how)


def _write_graph(study: StudyFolder, graph: Mapping[str, Job]) -> None:
    listed = {key: described(job) for key, job in graph.items()}
    with writing(study.out):
        study.out.mkdir(parents=True, exist_ok=True)
    runs.write_atomic(study.graph, json.dumps(listed, default=str) + "\n")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM, which a scheduler sends before it kills, for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["Cost", "Job", "Outcome", "Place", "Resources", "Work", "execute"]
