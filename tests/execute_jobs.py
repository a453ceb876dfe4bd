"""Jobs for tests of `execute`, in a file of their own since workers import them by name."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from synthcohort.errors import BadOption, Diverged
from synthcohort.execute import Place


def note(place: Place, *, text: str) -> None:
    """Write a text after those of the needed jobs; count the call in the file that paths may name."""
    if "calls" in place.paths:
        with place.paths["calls"].open("a") as file:
            file.write(f"{text}\n")
    before = [(place.needs[role] / "note").read_text() for role in sorted(place.needs)]
    (place.folder / "note").write_text("".join([*before, text]))


def count(place: Place, *, to: int, seconds: float = 0.02) -> None:
    """Count slowly, taking up what an interrupted attempt left; write down every number that was counted."""
    state = place.folder / "state"
    done = int(state.read_text()) if state.exists() else 0
    for number in range(done, to):
        time.sleep(seconds)
        with place.paths["calls"].open("a") as file:
            file.write(f"{number}\n")
        state.with_name("new").write_text(str(number + 1))
        state.with_name("new").replace(state)
    (place.folder / "note").write_text(str(sum(range(to))))


def fail(place: Place, *, how: str) -> None:
    """Fail in one of the ways there are."""
    with place.paths["calls"].open("a") as file:
        file.write(f"{how}\n")
    if how == "diverged":
        raise Diverged("Training diverged: the loss is nan")
    if how == "input":
        raise BadOption("A rule", "the offender", "The next step")
    if how == "once":
        if len(place.paths["calls"].read_text().splitlines()) == 1:
            raise RuntimeError("not yet")
        (place.folder / "note").write_text("at last")
        return
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "full":
        raise OSError(errno.ENOSPC, "No space left on device", str(place.folder))
    raise RuntimeError(f"cannot read {Path('/home/someone/patient-17')}")


def environment(place: Place) -> None:
    """Write what the process may use."""
    import torch

    seen = os.environ["CUDA_VISIBLE_DEVICES"]
    (place.folder / "note").write_text(f"{torch.get_num_threads()} {place.device} {seen!r}")
