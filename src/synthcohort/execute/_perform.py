"""One job, in the process that it runs in, wherever that is."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import runs
from ..claims import BEAT, EXPIRY, Claim, Claims
from ..errors import Diverged, InputError, Mismatch, MissingDependency, SynthcohortError, writing
from ._folder import JOB, LOG, StudyFolder
from ._job import Job, Place


@dataclass(frozen=True)
class Order:
    """A job, ready to be sent to another process.

    Attributes:
        key: Of the job.
        content: Of job.json, but for how it ended.
        needs: Role -> key.
        paths: Role -> path.
        out: The study folder.
        device: "cpu" or "cuda".
        dead: Attempts up to this one are known to be dead.
        beat: Seconds between heartbeats.
        expiry: Seconds of silence after which an owner elsewhere is taken for dead.
    """

    key: str
    content: Mapping[str, Any]
    needs: Mapping[str, str]
    paths: Mapping[str, str]
    out: str
    device: str
    dead: int = -1
    beat: float = BEAT
    expiry: float = EXPIRY


@dataclass(frozen=True)
class Report:
    """How an order went.

    Attributes:
        key: Of the job.
        status: "done", "diverged", "failed", "busy" (another process has the job), "stop" (the study cannot go on),
            "died" (the process was killed), "interrupted".
        reason: One line.
        error: Of "stop".
        seconds: That the attempt took.
    """

    key: str
    status: str
    reason: str = ""
    error: Exception | None = None
    seconds: float = 0.0


def described(job: Job) -> dict[str, Any]:
    """Return what job.json says of a job: what names it and how it is called, no path."""
    return {
        "kind": job.kind,
        "name": job.name,
        "fingerprint": job.fingerprint,
        "call": job.call,
        "revision": job.revision,
        "arguments": job.arguments,
        "needs": {role: needed.key for role, needed in job.needs.items()},
    }


def perform(order: Order) -> Report:
    """Make a job's result unless it is there, or another process is making it."""
    study, start = StudyFolder(Path(order.out)), time.perf_counter()
    if not study.graph.exists():
        rule = "A study folder lies where every machine of the study sees it"
        error = Mismatch(rule, f"one does not see {study.out.name}", "Put --out on a shared file system")
        return Report(order.key, "stop", str(error), error)
    if order.key in study.results():
        return _report(study, order.key, start)
    try:
        claim = Claims(study.claims, expiry=order.expiry).take(order.key, dead=order.dead)
    except InputError as error:  # the disk is full
        return Report(order.key, "stop", str(error), error)
    if claim is None:
        return Report(order.key, "busy")
    if order.key in study.results():  # since the look before
        claim.end("released")
        return _report(study, order.key, start)
    return _owned(study, order, claim, start)


def _owned(study: StudyFolder, order: Order, claim: Claim, start: float) -> Report:
    ended, facts, error = "released", dict[str, Any](), None
    try:
        with claim.beating(order.beat):
            ended = _made(study, order, claim)
    except (InputError, MissingDependency) as caught:
        ended, error = "stopped", caught
    except Exception as caught:
        ended = "failed"
        facts["reason"] = in_one_line(caught)
    finally:
        seconds = time.perf_counter() - start
        claim.end(ended, seconds=round(seconds, 3), **facts)
    if error:
        return Report(order.key, "stop", str(error), error, seconds)
    if ended == "failed":
        return Report(order.key, ended, facts["reason"], None, seconds)
    return _report(study, order.key, start)


def _made(study: StudyFolder, order: Order, claim: Claim) -> str:
    """Call the job's function and publish what it wrote; return "done", or "discarded" where another came first."""
    with writing(study.out):
        folder = study.open_work(order.key, claim)
        content = dict(order.content)
        start = time.perf_counter()
        try:
            with _logging(folder):
                _call(study, order, folder)
            content |= {"status": "done", "reason": ""}
        except Diverged as error:
            content |= {"status": "diverged", "reason": str(error)}
        content["seconds"] = round(time.perf_counter() - start, 3)
        if not folder.exists():  # taken over, since this process was silent for too long
            return "discarded"
        runs.write_atomic(folder / JOB, json.dumps(content, indent=2, default=str) + "\n")
        return "done" if study.publish(order.key, folder) else "discarded"


def _call(study: StudyFolder, order: Order, folder: Path) -> None:
    function = pkgutil.resolve_name(order.content["call"])
    needs = {role: study.result(key) for role, key in order.needs.items()}
    paths = {role: Path(path) for role, path in order.paths.items()}
    study.shared.mkdir(exist_ok=True)
    function(Place(folder, needs, paths, study.shared, order.device), **order.content["arguments"])


@contextlib.contextmanager
def _logging(folder: Path) -> Iterator[None]:
    """Keep what the block says to the user, and the traceback of an error, in the job's folder."""
    with (folder / LOG).open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            yield
        except Exception:
            with contextlib.suppress(OSError):
                traceback.print_exc(file=log)
            raise


def _report(study: StudyFolder, key: str, start: float) -> Report:
    told = study.told(key)
    status = "diverged" if told.get("status") == "diverged" else "done"
    return Report(key, status, str(told.get("reason", "")), None, time.perf_counter() - start)


def in_one_line(error: BaseException) -> str:
    """Return an error as one line; of a foreign one its kind and place alone: its text may name a path or a patient."""
    if isinstance(error, SynthcohortError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}; see {LOG} in the job's folder under work"
