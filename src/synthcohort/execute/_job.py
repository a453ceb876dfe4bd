"""Jobs: what a study is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import runs
from ..errors import BadOption

SHORT = 20
"""Characters of the fingerprint in a folder's name: 80 bits."""


@dataclass(frozen=True)
class Resources:
    """What a job needs of the machine it runs on.

    Attributes:
        cpus: Cores, and threads it computes with: results depend on the number of threads, never on where it runs.
        gpus: 1 where it computes on a GPU when there is one (`execute(device=...)` decides), else 0.
        memory: Bytes of main memory; 0 when unknown.
    """

    cpus: int = 1
    gpus: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Work:
    """A part of a job whose speed can be measured beforehand: see `calibrate`.

    Attributes:
        measure: "train", "sample", "fit" or "features".
        plugin: Name of the generator, task or extractor.
        side: Of the images in pixels.
        images: How many go through, repeats counted.
    """

    measure: str
    plugin: str
    side: int
    images: int


@dataclass(frozen=True)
class Cost:
    """What a job is expected to cost, for `plan` and for the time left. No part of its fingerprint.

    Attributes:
        work: Its parts that can be measured beforehand.
        disk: Bytes of its result; None when unknown.
        unknown: Parts that nothing is known of, in words: "distances and the search for copies".
    """

    work: tuple[Work, ...] = ()
    disk: int | None = None
    unknown: str = ""


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work: a function, its arguments, and the jobs whose results it needs.

    Two jobs with the same `fingerprint` are one job: a study that lists a training twice trains once.

    Attributes:
        kind: One word for tables and folder names: "train", "sample", "evaluate", "fit" ...
        call: "package.module:function". It is called as `function(place, **arguments)`, see `Place`, in some process on
            some machine. What it returns is ignored: its result are the files in `place.folder`.
        arguments: JSON values; they name the work: never a path, a device or a number of workers. A real cohort is
            named by `Cohort(path).identity` here and found by `paths`.
        needs: Role -> job whose result it reads; the function finds it as `place.needs[role]`.
        paths: Role -> file or folder outside the study that it reads, found as `place.paths[role]`. They are no part of
            the fingerprint: put the identity or digest of what lies there into `arguments`.
        resources: Of the machine.
        cost: Expected.
        name: For people, in progress and failures: "flow, seed 3". No part of the fingerprint.
        revision: Integer to raise when the function's results change for the same arguments.
    """

    kind: str
    call: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Job] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)
    resources: Resources = Resources()
    cost: Cost = Cost()
    name: str = ""
    revision: int = 1

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 of what names the work: kind, call, revision, arguments and the needed jobs'."""
        needs = {role: job.fingerprint for role, job in self.needs.items()}
        named = {"kind": self.kind, "call": self.call, "revision": self.revision, "arguments": self.arguments}
        return runs.fingerprint({**named, "needs": needs})

    @property
    def key(self) -> str:
        """Return the name of the job's folder in the study."""
        return f"{self.kind}-{self.fingerprint[:SHORT]}"

    @property
    def title(self) -> str:
        """Return the job in words."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True)
class Place:
    """Where a job's function works.

    Attributes:
        folder: To write to. It is empty, or holds what an interrupted attempt left there, possibly on another machine;
            it becomes the job's result by one rename when the function returns.
        needs: Role -> folder of a needed job's result; read only.
        paths: Role -> file or folder outside the study; read only.
        shared: A folder of the study that jobs may keep caches in (`evaluate(jobs=...)`); others write there, too.
        device: "cpu" or "cuda", for the `device` argument of train, sample ...
    """

    folder: Path
    needs: Mapping[str, Path]
    paths: Mapping[str, Path]
    shared: Path
    device: str


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: "done"; "diverged" (a result, recorded and not tried again); "failed" after all retries; "skipped" since
            a job it needs is not done.
        folder: Its result; of "diverged" what was left; None when failed or skipped.
        reason: One line unless done.
        seconds: How long the attempt took that ended it; None when skipped.
        attempts: How often this driver started it; 0 when its result was there already.
    """

    status: str
    folder: Path | None = None
    reason: str = ""
    seconds: float | None = None
    attempts: int = 0

    @property
    def done(self) -> bool:
        """Return whether there is a result to read."""
        return self.status == "done"


def closure(jobs: Iterable[Job]) -> dict[str, Job]:
    """Return key -> job of all the jobs and those they need, each once, needed ones first.

    Raises:
        BadOption: A job's kind is no single word, or two jobs share a key and differ.
    """
    found: dict[str, Job] = {}

    def add(job: Job) -> None:
        if job.key in found:
            return
        if not job.kind.isidentifier():
            raise BadOption("A job's kind is one word", f"'{job.kind}'", "Name it train, sample or the like")
        for needed in job.needs.values():
            add(needed)
        found[job.key] = job

    for job in jobs:
        add(job)
    return found
