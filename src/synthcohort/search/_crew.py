"""Several workers of a search on this machine, each a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..devices import machine
from ..errors import WorkerKilled
from . import _trials
from ._worker import SECONDS_BETWEEN_LOOKS, Task, work_quietly

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def crew(task: Task, workers: int, finished: Callable[[int], None]) -> None:
    """Run workers until there are enough trials.

    Args:
        task: The search.
        workers: How many processes.
        finished: Called with the number of trials that have come to their end, now and then.

    Raises:
        WorkerKilled: All workers ended before.
    """
    context = multiprocessing.get_context("spawn")
    with _shared_out(workers) as place:
        crew = []
        for number in range(workers):
            place(number)
            crew.append(context.Process(target=work_quietly, args=(task, number), name=f"worker-{number}"))
            crew[-1].start()
    study = _trials.open_study(task.storage, task.name)
    try:
        while any(process.is_alive() for process in crew):
            finished(len(_trials.done(study)))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        for process in crew:
            process.join()
    finished(len(_trials.done(study)))
    if len(_trials.done(study)) < task.trials:
        raise WorkerKilled(f"All workers ended before the last trial. Look into {task.out / 'workers'}; then run again")


@contextmanager
def _shared_out(workers: int) -> Iterator[Callable[[int], None]]:
    """Give each process started in the block its share of cores, or a GPU; yield what is called before each start."""
    before = dict(os.environ)
    threads = max(1, int(machine()["cpu_cores"]) // workers)
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))

    def place(number: int) -> None:
        import torch

        if torch.cuda.device_count() > 1:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(number % torch.cuda.device_count())

    try:
        yield place
    finally:
        os.environ.clear()
        os.environ.update(before)
