"""Worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from ..errors import BadOption
from ._job import Resources
from ._perform import Order, Report

GRACE = 20.0
"""Seconds that a job has to leave off after Ctrl-C."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(index) for index in range(count)]


@dataclass
class _Worker:
    """One process, its number of threads and its GPU ("" for none); the order it works on."""

    process: subprocess.Popen[bytes]
    connection: Connection
    cpus: int
    gpu: str
    order: Order | None = None


class Local:
    """A pool of worker processes, started as they are needed.

    Args:
        wanted: The resources of all jobs.
        workers: Most that work at once; None for one on each GPU, else as many as the cores carry.
        device: "auto", "cpu" or "cuda".

    Raises:
        BadOption: A GPU is asked for where there is none, or a job needs more cores than there are.
    """

    def __init__(self, wanted: Sequence[Resources], *, workers: int | None, device: str) -> None:
        self._gpus = gpus() if device != "cpu" and any(each.gpus for each in wanted) else []
        if device == "cuda" and not self._gpus and any(each.gpus for each in wanted):
            raise BadOption("--device cuda takes a GPU", "none is there", "Use --device auto")
        self._cores, most = cores(), max((each.cpus for each in wanted), default=1)
        if most > self._cores:
            raise BadOption("A job needs as many cores", f"{most}, there are {self._cores}", "Give fewer --threads")
        self.workers = workers or len(self._gpus) or max(1, self._cores // most)
        self._pool: list[_Worker] = []

    def start(self, order: Order, resources: Resources) -> bool:
        """Start an order if there is room for it now, and return whether there was."""
        gpu = bool(resources.gpus and self._gpus)
        busy = [worker for worker in self._pool if worker.order]
        if len(busy) >= self.workers or sum(each.cpus for each in busy) + resources.cpus > self._cores:
            return False
        if gpu and len([each for each in busy if each.gpu]) >= len(self._gpus):
            return False
        worker = self._worker(resources.cpus, gpu=gpu)
        worker.order = order
        with contextlib.suppress(OSError):  # killed while it was idle: `wait` sees it, and the order is tried again
            worker.connection.send(order)
        return True

    def device(self, resources: Resources) -> str:
        """Return the device that a job of these resources computes on."""
        return "cuda" if resources.gpus and self._gpus else "cpu"

    def wait(self, seconds: float) -> list[Report]:
        """Return the reports that came in, at the latest after some seconds; a killed worker's job "died"."""
        by_connection = {worker.connection: worker for worker in self._pool}
        reports = []
        for ready in wait(list(by_connection), seconds):
            worker = by_connection[ready]  # type: ignore[index]
            order, worker.order = worker.order, None
            try:
                reports.append(worker.connection.recv())
            except (EOFError, OSError):
                self._pool.remove(worker)
                worker.connection.close()
                code = worker.process.wait()
                if order:
                    reports.append(Report(order.key, "died", f"its process ended with status {code}"))
        return reports

    def close(self) -> None:
        """End all workers; jobs under way are left so that they can be taken up again."""
        for worker in self._pool:
            worker.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + GRACE
        for worker in self._pool:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.connection.close()
        self._pool.clear()

    def _worker(self, cpus: int, *, gpu: bool) -> _Worker:
        """Return an idle worker with so many threads, with a GPU or without."""
        idle = [worker for worker in self._pool if not worker.order]
        for worker in idle:
            if worker.cpus == cpus and bool(worker.gpu) == gpu:
                return worker
        if len(self._pool) >= self.workers and idle:
            self._end(idle[0])
        name = ""
        if gpu:
            for worker in [each for each in self._pool if each.gpu and not each.order]:
                self._end(worker)
            name = next(name for name in self._gpus if name not in {each.gpu for each in self._pool})
        self._pool.append(_started(cpus, name))
        return self._pool[-1]

    def _end(self, worker: _Worker) -> None:
        self._pool.remove(worker)
        worker.connection.close()
        worker.process.wait()


def _started(cpus: int, gpu: str) -> _Worker:
    # Threads and devices are fixed before anything that reads them is imported.
    ours, theirs = socket.socketpair()
    environment = {
        **os.environ,
        **dict.fromkeys(_THREADS, str(cpus)),
        "CUDA_VISIBLE_DEVICES": gpu,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}._worker", str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the driver prints results there
            start_new_session=True,
        )
    return _Worker(process, Connection(ours.detach()), cpus, gpu)
