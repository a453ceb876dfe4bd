"""The driver: which job is started when, until every job has an outcome."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from ..claims import Claims
from ..progress import Progress, say
from ._folder import StudyFolder
from ._job import Job, Outcome, Resources
from ._perform import Order, Report, described
from ._time_left import Clock

POLL = 1.0
"""Seconds between looks at jobs that another driver has."""


class Backend(Protocol):
    """Where jobs run."""

    workers: int

    def start(self, order: Order, resources: Resources) -> bool:
        """Start an order if there is room for it now, and return whether there was."""

    def device(self, resources: Resources) -> str:
        """Return the device that a job of these resources computes on."""

    def wait(self, seconds: float) -> list[Report]:
        """Return the reports that came in, at the latest after some seconds."""

    def close(self) -> None:
        """End all work; jobs under way are left so that they can be taken up again."""


class Driver:
    """Runs a graph of jobs.

    Args:
        study: The study folder.
        graph: Key -> job, needed ones first.
        retries: How often a job that failed, or whose worker was killed, is started again.
        expiry: Seconds of silence after which an owner on another machine is taken for dead.
        beat: Seconds between heartbeats.
    """

    def __init__(
        self, study: StudyFolder, graph: Mapping[str, Job], *, retries: int, expiry: float, beat: float
    ) -> None:
        self.study, self.graph = study, graph
        self.outcomes: dict[str, Outcome] = {}
        self._retries, self._expiry, self._beat = retries, expiry, beat
        self._claims = Claims(study.claims, expiry=expiry)
        self._attempts = dict.fromkeys(graph, 0)
        self._unmet = {key: len({each.key for each in job.needs.values()}) for key, job in graph.items()}
        self._needed_by: dict[str, list[str]] = {key: [] for key in graph}
        for key, job in graph.items():
            for needed in {each.key for each in job.needs.values()}:
                self._needed_by[needed].append(key)
        self._ready = deque(key for key in graph if not self._unmet[key])
        self._running: set[str] = set()
        self._elsewhere: dict[str, int] = {}
        self._looked = 0.0
        self._progress: Progress | None = None
        self._clock = Clock({key: job.kind for key, job in graph.items()})

    def take_up(self) -> None:
        """Give every job whose result is there its outcome."""
        there = self.study.results()
        for key in self.graph:
            if key in there:
                self._found(key)

    def run(self, backend: Backend) -> None:
        """Run every other job.

        Raises:
            InputError: A job cannot be done as it was asked for; the study stops.
        """
        with Progress("Study", len(self.graph), done=len(self.outcomes), unit="jobs") as self._progress:
            try:
                while len(self.outcomes) < len(self.graph):
                    self._start(backend)
                    for report in backend.wait(POLL if self._running or self._elsewhere else 0.0):
                        self._take(report)
                    self._look_elsewhere()
            finally:
                backend.close()

    def _start(self, backend: Backend) -> None:
        """Start ready jobs while there is room."""
        for _ in range(len(self._ready)):
            key = self._ready.popleft()
            if key in self.outcomes:
                continue
            job = self.graph[key]
            if not backend.start(self._order(key, job, backend.device(job.resources)), job.resources):
                self._ready.appendleft(key)
                return
            self._running.add(key)

    def _order(self, key: str, job: Job, device: str) -> Order:
        return Order(
            key,
            described(job),
            {role: needed.key for role, needed in job.needs.items()},
            {role: str(path.resolve()) for role, path in job.paths.items()},
            str(self.study.out.resolve()),
            device,
            dead=self._elsewhere.pop(key, -1),
            beat=self._beat,
            expiry=self._expiry,
        )

    def _take(self, report: Report) -> None:
        key = report.key
        self._running.discard(key)
        if report.status == "stop":
            assert report.error is not None, "a study stops for a reason"
            raise report.error
        if report.status == "busy":
            self._elsewhere[key] = -1
            return
        self._attempts[key] += 1
        if report.status in ("done", "diverged"):
            self._found(key, report.seconds)
            return
        title = self.graph[key].title
        if self._attempts[key] <= self._retries:
            say(f"{title} is tried again: {report.reason}")
            self._ready.append(key)
            return
        say(f"{title} failed: {report.reason}")
        self._end(key, Outcome("failed", None, report.reason, report.seconds, self._attempts[key]))

    def _look_elsewhere(self) -> None:
        """See which of the jobs that another driver has are done, or were left by it."""
        if not self._elsewhere or time.monotonic() - self._looked < POLL:
            return
        self._looked = time.monotonic()
        there = self.study.results()
        for key in list(self._elsewhere):
            if key in self._running or key in self._ready:
                continue
            if key in there:
                del self._elsewhere[key]
                self._found(key)
                continue
            owner = self._claims.owner(key)
            if owner is None or self._claims.gone(key, owner):
                self._elsewhere[key] = owner.attempt if owner else -1
                self._ready.append(key)

    def _found(self, key: str, seconds: float | None = None) -> None:
        told = self.study.told(key)
        status = "diverged" if told.get("status") == "diverged" else "done"
        took = told.get("seconds", seconds)
        self._clock.took(key, took)
        self._end(key, Outcome(status, self.study.result(key), str(told.get("reason", "")), took, self._attempts[key]))

    def _end(self, key: str, outcome: Outcome) -> None:
        self.outcomes[key] = outcome
        if self._progress:
            self._progress.advance(1, self._clock.left(self.outcomes, max(1, len(self._running))))
        for other in self._needed_by[key]:
            if outcome.done:
                self._unmet[other] -= 1
                if not self._unmet[other] and other not in self.outcomes:
                    self._ready.append(other)
            elif other not in self.outcomes:
                self._end(other, Outcome("skipped", None, f"{self.graph[key].title} is not done"))
