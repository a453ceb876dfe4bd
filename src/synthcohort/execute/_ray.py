"""The same jobs on a Ray cluster. The only file that imports Ray, and only when an address is given."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadOption, MissingDependency
from ._job import Resources
from ._perform import Order, Report, perform

ANSWER = 10.0
"""Seconds that an address has to answer."""
_GRACE = 20.0


class OnRay:
    """A Ray cluster.

    Args:
        address: "local" (Ray on this machine alone), "auto" (the cluster that this machine is in), "HOST:PORT", or
            "ray://HOST:PORT".
        wanted: The resources of all jobs.
        workers: Most jobs at once; None for what the cluster carries.
        device: "auto", "cpu" or "cuda".

    Raises:
        MissingDependency: Ray is not installed.
        BadOption: The address does not answer, or no node has what a job needs.
    """

    def __init__(self, address: str, wanted: Sequence[Resources], *, workers: int | None, device: str) -> None:
        self._ray = _connected(address)
        try:
            self._gpus = self._checked(wanted, device)
        except BaseException:
            self._ray.shutdown()
            raise
        least = min((each.cpus for each in wanted), default=1)
        total = self._ray.cluster_resources()
        carried = total.get("GPU", 0.0) if self._gpus and all(each.gpus for each in wanted) else total["CPU"] / least
        self.workers = workers or max(1, int(carried))
        self._running: dict[Any, Order] = {}

    def _checked(self, wanted: Sequence[Resources], device: str) -> bool:
        """Return whether jobs get GPUs; every job must fit on some node."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        there = any(node.get("GPU", 0) >= 1 for node in nodes)
        use = device != "cpu" and there and any(each.gpus for each in wanted)
        if device == "cuda" and not there and any(each.gpus for each in wanted):
            raise BadOption("--device cuda takes a GPU", "no node of the cluster has one", "Use --device auto")
        for each in {(each.cpus, each.gpus if use else 0, each.memory) for each in wanted}:
            need = dict(zip(("CPU", "GPU", "memory"), each, strict=True))
            if not any(all(node.get(name, 0) >= amount for name, amount in need.items()) for node in nodes):
                found = ", ".join(f"{amount:g} {name}" for name, amount in need.items() if amount)
                raise BadOption("A job fits on a node of the cluster", f"none has {found}", "Give fewer --threads")
        return use

    def start(self, order: Order, resources: Resources) -> bool:
        """Hand an order to Ray, if fewer are there than are worked on at once."""
        if len(self._running) >= self.workers:
            return False
        threads = {name: str(resources.cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        remote = self._ray.remote(perform).options(
            name=order.key,
            num_cpus=resources.cpus,
            num_gpus=1 if resources.gpus and self._gpus else 0,
            memory=resources.memory or None,
            max_retries=0,  # they are counted by the driver
            runtime_env={"env_vars": threads},
        )
        self._running[remote.remote(order)] = order
        return True

    def device(self, resources: Resources) -> str:
        """Return the device that a job of these resources computes on."""
        return "cuda" if resources.gpus and self._gpus else "cpu"

    def wait(self, seconds: float) -> list[Report]:
        """Return the reports that came in; the job of a lost node "died"."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._report(reference, self._running.pop(reference)) for reference in ready]

    def _report(self, reference: Any, order: Order) -> Report:
        try:
            report: Report = self._ray.get(reference)
            return report
        except self._ray.exceptions.RayError as error:
            return Report(order.key, "died", f"its process or node was lost ({type(error).__name__})")

    def close(self) -> None:
        """End all work; jobs under way are left so that they can be taken up again."""
        for reference in self._running:
            with contextlib.suppress(Exception):
                self._ray.cancel(reference)
        if self._running:
            with contextlib.suppress(Exception):
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_GRACE)
        self._ray.shutdown()


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingDependency("--address needs Ray: pip install 'synthcohort[cluster]'") from error
    _check_answers(address)
    try:
        with contextlib.redirect_stdout(None):
            ray.init(
                address=address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=False if address == "local" else None,
            )
    except Exception as error:  # Ray raises bare ones, too
        raise _no_answer(address) from error
    return ray


def _check_answers(address: str) -> None:
    """Knock first: Ray itself tries for minutes."""
    if address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if not parts.hostname or not parts.port or parts.scheme not in ("", "ray"):
            raise BadOption("--address is local, auto, HOST:PORT or ray://HOST:PORT", f"'{address}'", "Write one")
        with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER):
            pass
    except ValueError as error:  # the port is no number
        raise BadOption(
            "--address is local, auto, HOST:PORT or ray://HOST:PORT", f"'{address}'", "Write one"
        ) from error
    except OSError as error:
        raise _no_answer(address) from error


def _no_answer(address: str) -> BadOption:
    steps = {"auto": "Start it with `ray start --head`", "local": "See Ray's logs, or leave --address out"}
    step = steps.get(address, "Start the cluster, or correct the address")
    return BadOption("--address names a Ray cluster that answers", f"'{address}' does not", step)
