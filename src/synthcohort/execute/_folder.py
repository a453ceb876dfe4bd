"""The study folder, the only state that a study has: who may be anywhere that sees it.

graph.json       the jobs as the last driver asked for them, for `study status`
claims/KEY.0     who makes, or made, the job: see `claims`
work/KEY/        a job under way, or interrupted: one folder for each attempt that got that far
results/KEY/     a finished job, and job.json: what it is and how it ended
shared/          what jobs share on the way, such as fits of the real arm
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import runs
from ..claims import Claim

GRAPH, JOB, LOG = "graph.json", "job.json", "log.txt"
_TAKEN, _COPYING = ".taken", ".copying"


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study."""

    out: Path

    @property
    def graph(self) -> Path:
        """Return the file that lists the jobs."""
        return self.out / GRAPH

    @property
    def claims(self) -> Path:
        """Return the folder of claims."""
        return self.out / "claims"

    @property
    def shared(self) -> Path:
        """Return the folder that jobs share."""
        return self.out / "shared"

    def result(self, key: str) -> Path:
        """Return where a job's result is, or will be."""
        return self.out / "results" / key

    def results(self) -> set[str]:
        """Return the keys of all results that are there.

        The folder is listed, since a network file system may remember for a while that a name was not there.
        """
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in os.scandir(self.out / "results")}
        return set()

    def told(self, key: str) -> dict[str, Any]:
        """Return what a result says of itself; nothing when it is not there or damaged."""
        with contextlib.suppress(OSError, ValueError):
            content = json.loads((self.result(key) / JOB).read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
        return {}

    def open_work(self, key: str, claim: Claim) -> Path:
        """Return this attempt's own folder, with all that the last interrupted attempt left.

        The earlier folder is renamed first, so that an owner that was only silent finds its path gone, and its files
        are copied, so that what it holds open is not what this attempt reads. A kill between any two lines leaves one
        whole folder.
        """
        root = self.out / "work" / key
        own = root / f"{claim.attempt:04d}"
        root.mkdir(parents=True, exist_ok=True)
        earlier = sorted(path for path in root.iterdir() if path.suffix != _COPYING)
        if not earlier:
            own.mkdir()
            return own
        source = earlier[-1]
        if source.suffix != _TAKEN:
            source = source.rename(source.with_name(source.name + _TAKEN))
        copy = own.with_name(own.name + _COPYING)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy, symlinks=True)
        copy.rename(own)
        for path in root.iterdir():
            if path != own:
                shutil.rmtree(path, ignore_errors=True)
        return own

    def publish(self, key: str, work: Path) -> bool:
        """Make a finished folder the job's result by one rename; return False where another's came first.

        Also False where the folder was taken over in the meantime.
        """
        target = self.result(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            runs.sync_folder(work)
            work.rename(target)
        except OSError:
            if key in self.results() or not work.exists():
                return False
            raise
        shutil.rmtree(work.parent, ignore_errors=True)
        return True
