"""Reading on several processes, interrupted at any moment, and the journal that makes going on possible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import synthcohort
from synthcohort._journal import Journal
from synthcohort._reading import DAMAGED
from synthcohort.cohort import verify
from synthcohort.errors import BadOption, BadSource
from synthcohort.phantoms.acdc import Phantom
from synthcohort.prepare import prepare

FILES = ("cohort.json", "images.npy", "masks.npy", "samples.parquet")


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture
def download(tmp_path: Path) -> Path:
    root = tmp_path / "download"
    Phantom(patients=12, size=32).write(root, seed=1)
    return root


def write_pictures(root: Path, count: int = 24) -> Path:
    root.mkdir(parents=True)
    lines = ["image,patient,label.mass"]
    for i in range(count):
        values = np.random.default_rng(i).integers(0, 256, (9, 7), dtype=np.uint8)
        Image.fromarray(values).save(root / f"{i}.png")
        lines.append(f"{i}.png,Person-{i // 2},{i % 2}")
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


def content(cohort: Path) -> list[bytes]:
    return [(cohort / name).read_bytes() for name in FILES if (cohort / name).exists()]


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_processes_changes_nothing(download: Path, tmp_path: Path, workers: int) -> None:
    one = prepare("acdc", download, out=tmp_path / "1" / "cohort", size=16, workers=1)
    many = prepare("acdc", download, out=tmp_path / "n" / "cohort", size=16, workers=workers)
    assert content(one.path) == content(many.path)


def test_zero_processes_are_refused(download: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="--workers is at least 1"):
        prepare("acdc", download, out=tmp_path / "cohort", workers=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_file_ends_the_command_or_is_counted(tmp_path: Path, workers: int) -> None:
    root = write_pictures(tmp_path / "pictures")
    (root / "5.png").write_bytes((root / "5.png").read_bytes()[:60])
    (root / "11.png").write_bytes(b"")
    asked: dict[str, Any] = {"size": 8, "workers": workers}
    with pytest.raises(BadSource, match=r"readable PNG, JPEG or TIFF: the image of line 7 of samples\.csv"):
        prepare("folder", root, out=tmp_path / "cohort", **asked)
    assert not list(tmp_path.glob("cohort*"))
    cohort = prepare("folder", root, out=tmp_path / "cohort", damaged="skip", **asked)
    assert verify(cohort.path) == []
    assert cohort.facts.history[0]["images"] == {"read": 24, "written": 22, "dropped": 2}
    assert cohort.facts.history[0]["dropped"] == {DAMAGED: 2}
    with pytest.raises(BadOption, match="stop or skip"):
        prepare("folder", root, out=tmp_path / "other", damaged="ignore")  # type: ignore[arg-type]


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
from pathlib import Path
from synthcohort.sources import folder
from synthcohort.prepare import prepare

class Source(folder.Source):
    def read(self, part):
        yield from super().read(part)
        with open(sys.argv[4], "a") as file:
            file.write("x")
        time.sleep(float(sys.argv[3]))

folder.Source = Source
prepare("folder", Path(sys.argv[1]), out=Path(sys.argv[2]), size=8, workers=int(sys.argv[5]))
"""


def start(root: Path, out: Path, seconds: float, reads: Path, workers: int) -> subprocess.Popen[str]:
    arguments = [str(root), str(out), str(seconds), str(reads), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(Path(synthcohort.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_another_number_of_processes_goes_on_with_the_same_tasks(tmp_path: Path) -> None:
    root, out = write_pictures(tmp_path / "pictures"), tmp_path / "out" / "cohort"
    out.parent.mkdir()
    process = start(root, out, 0.05, tmp_path / "reads", 3)
    while not any(path.stat().st_size > 2000 for path in out.parent.glob("*/spool.journal")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (partial,) = out.parent.iterdir()
    (partial / ".samples.parquet.7.partial").write_text("left by a kill")
    cohort = prepare("folder", root, out=out, size=8, workers=1)
    whole = prepare("folder", root, out=tmp_path / "whole" / "cohort", size=8)
    assert content(cohort.path) == content(whole.path)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.path.iterdir())


def test_two_journals_of_one_key_share_no_stream(tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        journal = Journal(tmp_path / f"{number}", b"k" * 32)
        journal.open(0)
        journal.append(["the same"] * 40)
        journal.close()
        texts.append(np.frombuffer((tmp_path / f"{number}").read_bytes(), np.uint8)[32:])
    assert (texts[0] == texts[1]).mean() < 0.1  # chance gives 1 in 256


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_command_goes_on(tmp_path: Path, signal_number: signal.Signals, workers: int) -> None:
    root, out, reads = write_pictures(tmp_path / "pictures"), tmp_path / "out" / "cohort", tmp_path / "reads"
    out.parent.mkdir()
    process = start(root, out, 0.05, reads, workers)
    journal: list[Path] = []
    while not (journal and journal[0].stat().st_size > 2000) and process.poll() is None:
        time.sleep(0.01)
        journal = list(out.parent.glob("cohort.partial-*/spool.journal"))
    process.send_signal(signal_number)
    process.communicate()
    assert not out.exists()
    (partial,) = out.parent.iterdir()
    # What is kept for the next attempt tells nobody who the patients are.
    assert not any(b"Person" in path.read_bytes() for path in partial.iterdir())
    reads.write_text("")
    done = start(root, out, 0, reads, workers)
    assert "Going on where the last attempt stopped" in done.communicate()[1]
    assert len(reads.read_text()) < 24
    assert [path.name for path in out.parent.iterdir()] == ["cohort"]
    whole = prepare("folder", root, out=tmp_path / "whole" / "cohort", size=8)
    assert content(out) == content(whole.path)


def test_the_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    root, out = write_pictures(tmp_path / "pictures"), tmp_path / "cohort"
    process = start(root, out, 5, tmp_path / "reads", 2)
    while not (tmp_path / "reads").exists() and process.poll() is None:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        process.communicate()
        pytest.skip("this system does not list a process's children in /proc")
    workers = children.read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.communicate()
    while any(_runs(worker) for worker in workers):
        time.sleep(0.05)  # a hang here is the failure


def _runs(process: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


ENTRIES = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none(), max_size=3))


@given(ENTRIES, st.integers(0, 400), st.binary(min_size=32, max_size=32))
def test_a_journal_gives_back_every_whole_entry(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any], cut: int, key: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    journal = Journal(path, key)
    journal.open(0)
    for entry in entries:
        journal.append(entry)
    journal.close()
    assert [entry for entry, _ in Journal(path, key).entries()] == entries
    places = [0, *(place for _, place in Journal(path, key).entries())]
    path.write_bytes(path.read_bytes()[:cut])
    whole = sum(place <= cut for place in places) - 1
    found = list(Journal(path, key).entries())
    assert [entry for entry, _ in found] == entries[:whole]
    assert list(Journal(path, bytes(32 * [7]) if key != bytes(32 * [7]) else bytes(32)).entries()) == []
    again = Journal(path, key)
    again.open(places[whole])
    again.append({"more": 1})
    again.close()
    assert [entry for entry, _ in Journal(path, key).entries()] == [*entries[:whole], {"more": 1}]


def test_text_is_looked_for_in_every_picture_and_in_some_slices_of_a_volume(download: Path, tmp_path: Path) -> None:
    pictures = prepare("folder", write_pictures(tmp_path / "pictures"), out=tmp_path / "cohort", size=8)
    assert pictures.facts.history[0]["burned_in_text"] == {"images": 0, "asked": 24}
    slices = prepare("acdc", download, out=tmp_path / "slices", size=16)
    asked = slices.facts.history[0]["burned_in_text"]["asked"]
    assert len(slices) / 16 < asked < len(slices) / 4
