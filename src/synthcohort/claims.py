"""One owner for one piece of work, among processes and machines that share nothing but a folder.

A piece of work has claim files NAME.0, NAME.1, ...: one for each attempt, never renamed and never rewritten by another
process. The highest is the owner's. To follow an owner that ended, or fell silent, is to create the next number, which
the file system lets one process do; so two that judge an owner dead at once cannot both follow it.

No clocks are compared, since those of two machines differ: an owner is dead when its heartbeat, a counter in its file,
has not changed for `expiry` seconds of the observer's own clock. On one machine the process table says it at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .errors import writing

BEAT = 5.0
"""Seconds between heartbeats."""
EXPIRY = 60.0
"""Seconds of silence after which an owner on another machine is taken for dead."""
_COUNTER = 12
_MOST = 4096


@dataclass(frozen=True)
class Owner:
    """Who made an attempt.

    Attributes:
        attempt: Its number, from 0.
        host: Name of the machine.
        machine: What tells machines (and containers) apart.
        pid: Process.
        born: When the process started, as the machine's process table writes it.
        beat: The heartbeat's counter, as text; "" where the file is being written.
        ended: How it ended: "done", "released", "failed" ...; "" while it is at work.
        facts: What it said when it ended.
    """

    attempt: int
    host: str
    machine: str
    pid: int
    born: str
    beat: str
    ended: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Claim:
    """What an owner holds while it works. Made by `Claims.take`.

    Attributes:
        attempt: Number of the attempt.
        lost: Whether another process took over, because this one was silent for too long.
    """

    def __init__(self, path: Path, attempt: int, handle: int, place: int) -> None:
        self.attempt, self.lost = attempt, False
        self._path, self._handle, self._place, self._beats = path, handle, place, 0
        self._stop = threading.Event()

    @contextlib.contextmanager
    def beating(self, every: float = BEAT) -> Iterator[Claim]:
        """Keep the claim alive while the block runs."""
        thread = threading.Thread(target=self._keep, args=(every,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _keep(self, every: float) -> None:
        while not self._stop.wait(every):
            self._beats += 1
            # A disk that is full or away for a while costs a beat, no more.
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, f"{self._beats:0{_COUNTER}d}".encode(), self._place)
                os.fsync(self._handle)  # other machines see it when the file server has it
            self.lost = self.lost or _path(self._path.parent, _name(self._path), self.attempt + 1).exists()

    def end(self, how: str, **facts: Any) -> None:
        """Say how the attempt ended, and let go."""
        line = json.dumps({"ended": how, **facts}) + "\n"
        with contextlib.suppress(OSError):  # on a full disk: the process's own end will say it
            os.pwrite(self._handle, line.encode(), self._place + _COUNTER + 1)
            os.fsync(self._handle)
        os.close(self._handle)


class Claims:
    """The claims in a folder, seen by one process; it remembers since when each owner has been silent.

    Args:
        folder: Where the claim files are.
        expiry: Seconds of silence after which an owner on another machine is taken for dead.
    """

    def __init__(self, folder: Path, *, expiry: float = EXPIRY) -> None:
        self.folder, self._expiry = folder, expiry
        self._seen: dict[str, tuple[tuple[int, str], float]] = {}
        self._latest: dict[str, int] = {}

    def owner(self, name: str) -> Owner | None:
        """Return who made the last attempt, or None before the first."""
        attempt = self._latest.get(name, 0)
        while _path(self.folder, name, attempt + 1).exists():
            attempt += 1
        found = _read(_path(self.folder, name, attempt), attempt)
        if found:
            self._latest[name] = attempt
        return found

    def gone(self, name: str, owner: Owner) -> bool:
        """Return whether an owner is at work no more: it ended, its process is dead, or it was silent for too long."""
        if owner.ended:
            return True
        if owner.beat and owner.machine == machine() and _born(owner.pid) != owner.born:
            return True
        state, now = (owner.attempt, owner.beat), time.monotonic()
        before, since = self._seen.get(name, ((-1, ""), now))
        if before != state:
            self._seen[name] = state, now
            return False
        return now - since > self._expiry

    def take(self, name: str, *, dead: int = -1) -> Claim | None:
        """Return the claim on a piece of work, or None while another process has it.

        Args:
            name: Of the work.
            dead: Attempts up to this one are known to be dead, from another observer.

        Raises:
            BadOutput: The folder cannot be written.
        """
        owner = self.owner(name)
        if owner and owner.attempt > dead and not self.gone(name, owner):
            return None
        attempt = owner.attempt + 1 if owner else 0
        path = _path(self.folder, name, attempt)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            head = json.dumps({"host": socket.gethostname(), "machine": machine(), "pid": os.getpid(), "born": _own()})
            if not _create(path, f"{head}\n{0:0{_COUNTER}d}\n".encode()):
                return None
            return Claim(path, attempt, os.open(path, os.O_RDWR), len(head.encode()) + 1)

    @contextlib.contextmanager
    def waiting(self, name: str, *, poll: float = 0.5, every: float = BEAT) -> Iterator[Claim]:
        """Wait until the work is nobody else's and hold it while the block runs."""
        while (claim := self.take(name)) is None:
            time.sleep(poll)
        how = "released"
        try:
            with claim.beating(every):
                yield claim
            how = "done"
        finally:
            claim.end(how)


def _path(folder: Path, name: str, attempt: int) -> Path:
    return folder / f"{name}.{attempt}"


def _name(path: Path) -> str:
    return path.name.rpartition(".")[0]


def _create(path: Path, content: bytes) -> bool:
    """Create a whole file unless there is one; return whether it was created.

    A hard link is the one way that older network file systems do in one step, too.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return os.stat(temporary).st_nlink == 2  # the link was made, its confirmation lost and asked for again
        except OSError:
            return _create_alone(path, content)  # a file system without hard links
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _create_alone(path: Path, content: bytes) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def _read(path: Path, attempt: int) -> Owner | None:
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST).decode(errors="replace").split("\n")
    except FileNotFoundError:
        return None
    try:
        head = json.loads(lines[0])
        told = json.loads(lines[2]) if len(lines) > 3 else {}  # a half-written line has no end
        ended = str(told.pop("ended", ""))
        return Owner(attempt, head["host"], head["machine"], int(head["pid"]), head["born"], lines[1], ended, told)
    except (ValueError, KeyError, IndexError, AttributeError):
        return Owner(attempt, "", "", 0, "", "")  # half written


@cache
def machine() -> str:
    """Return what tells this machine and its process numbers from others: of its name, start and process namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _own() -> str:
    return _born(os.getpid()) or "unknown"


def _born(pid: int) -> str:
    """Return when a process of this machine started; "" when there is none, or one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:  # no process table to read (macOS): a number that is used again is taken for the old process
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
