"""`execute`: order, sharing, failures, kills and second drivers, with jobs that do next to nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import execute_driver
from synthcohort import execute as package
from synthcohort.claims import Claims
from synthcohort.errors import BadOption, BadOutput, InputError, Mismatch
from synthcohort.execute import Job, Resources, execute

NOTE, COUNT, FAIL = "execute_jobs:note", "execute_jobs:count", "execute_jobs:fail"
HERE = Path(__file__).parent


def noted(outcomes: Any, job: Job) -> str:
    return str((outcomes[job.key].folder / "note").read_text())


def note(text: str, calls: Path | None = None, **needs: Job) -> Job:
    return Job("note", NOTE, {"text": text}, needs, {"calls": calls} if calls else {}, name=text)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def ends(out: Path) -> dict[str, list[str]]:
    """Return key -> how each attempt ended."""
    claims = Claims(out / "claims")
    found: dict[str, list[str]] = {}
    for path in sorted((out / "claims").iterdir(), key=lambda path: int(path.suffix[1:])):
        text = path.read_text().split("\n")
        found.setdefault(path.stem, []).append(json.loads(text[2])["ended"] if len(text) > 3 else "")
    assert all(claims.owner(key) for key in found)
    return found


def wait_for(there: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# Names.


def test_a_job_is_named_by_its_work_and_not_by_where_it_runs(tmp_path: Path) -> None:
    first = note("a")
    same = Job("note", NOTE, {"text": "a"}, paths={"calls": tmp_path}, resources=Resources(4, 1), name="other words")
    assert first.key == same.key
    others = [
        note("b"),
        Job("text", NOTE, {"text": "a"}),
        Job("note", FAIL, {"text": "a"}),
        Job("note", NOTE, {"text": "a"}, revision=2),
        note("a", first=first),
    ]
    assert len({first.key, *(job.key for job in others)}) == 1 + len(others)
    assert note("a", first=note("b")).key != note("a", first=note("c")).key  # by what it needs, all the way down


# Order, sharing, results.


def test_needed_jobs_come_first_and_a_shared_one_runs_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    root = note("r", calls)
    left, right = note("a", calls, root=root), note("b", calls, root=note("r", calls))
    top = note("z", calls, left=left, right=right)
    outcomes = execute([top, left], tmp_path / "study", workers=2)
    assert noted(outcomes, top) == "rarbz"
    assert sorted(lines(calls)) == ["a", "b", "r", "z"]
    assert lines(calls)[0] == "r"
    assert lines(calls)[-1] == "z"
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    told = json.loads((outcomes[top.key].folder / "job.json").read_text())  # type: ignore[operator]
    assert (told["kind"], told["fingerprint"], told["needs"]["left"]) == ("note", top.fingerprint, left.key)
    assert str(tmp_path) not in json.dumps(told)  # no path

    again = execute([top, left, more := note("more", calls, top=top)], tmp_path / "study", workers=1)
    assert lines(calls)[4:] == ["more"]
    assert noted(again, more) == "rarbzmore"
    assert (again[top.key].attempts, again[more.key].attempts) == (0, 1)
    assert list((tmp_path / "study" / "work").iterdir()) == []


def test_results_that_are_there_start_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute([job := note("a")], tmp_path / "study")
    monkeypatch.setattr(package, "_backend", None)
    assert execute([job], tmp_path / "study")[job.key].done


def test_threads_and_device_are_those_of_the_job(tmp_path: Path) -> None:
    job = Job("environment", "execute_jobs:environment", resources=Resources(cpus=1))
    assert noted(execute([job], tmp_path / "study", device="cpu"), job) == "1 cpu ''"


# Failures.


def failing(how: str, calls: Path) -> Job:
    return Job("fail", FAIL, {"how": how}, paths={"calls": calls}, name=how)


def test_a_divergence_is_a_result(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    bad = failing("diverged", calls)
    after, beside = note("after", bad=bad), note("beside")
    for attempts in (1, 0):  # recorded, and not tried again
        outcomes = execute([after, beside], tmp_path / "study", workers=1)
        assert outcomes[bad.key].status == "diverged"
        assert outcomes[bad.key].reason == "Training diverged: the loss is nan"
        assert outcomes[bad.key].attempts == attempts
        assert (outcomes[after.key].status, outcomes[beside.key].status) == ("skipped", "done")
        assert outcomes[after.key].reason == "fail diverged is not done"
    assert lines(calls) == ["diverged"]


def test_wrong_input_stops_the_study(tmp_path: Path) -> None:
    bad = failing("input", tmp_path / "calls")
    with pytest.raises(BadOption, match="A rule: the offender"):
        execute([bad, note("a", bad=bad)], tmp_path / "study", workers=1)
    assert lines(tmp_path / "calls") == ["input"]


def test_a_full_disk_stops_the_study_and_the_next_call_goes_on(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="No space left on the disk"):
        execute([failing("full", tmp_path / "calls")], tmp_path / "study", workers=1)
    assert not (tmp_path / "study" / "results").exists()
    outcomes = execute([job := note("a")], tmp_path / "study", workers=1)
    assert outcomes[job.key].done


def test_another_exception_is_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    calls = tmp_path / "calls"
    outcomes = execute([job := failing("once", calls)], tmp_path / "study", workers=1)
    assert noted(outcomes, job) == "at last"
    assert (outcomes[job.key].attempts, lines(calls)) == (2, ["once", "once"])
    assert "fail once is tried again: RuntimeError in execute_jobs.py" in capfd.readouterr().err
    assert ends(tmp_path / "study")[job.key] == ["failed", "done"]


@pytest.mark.parametrize(("how", "reason"), [("broken", "RuntimeError in execute_jobs.py:"), ("killed", "status -9")])
def test_what_fails_every_time_is_reported_and_the_others_go_on(tmp_path: Path, how: str, reason: str) -> None:
    calls = tmp_path / "calls"
    bad = failing(how, calls)
    outcomes = execute([note("after", bad=bad), beside := note("beside")], tmp_path / "study", workers=1, retries=1)
    assert outcomes[bad.key].status == "failed"
    assert reason in outcomes[bad.key].reason
    assert "patient" not in outcomes[bad.key].reason  # a path may name one
    assert (outcomes[bad.key].attempts, len(lines(calls))) == (2, 2)
    assert outcomes[beside.key].done


# Kills.


def counted(out: Path, calls: Path, number: int = 30) -> dict[str, Any]:
    first = {"kind": "count", "call": COUNT, "arguments": {"to": number}, "paths": {"calls": str(calls)}}
    last = {"kind": "note", "call": NOTE, "arguments": {"text": "end"}, "needs": {"a": 0}}
    return {"jobs": [first, last], "options": {"workers": 1}}


def start(out: Path, plan: dict[str, Any]) -> subprocess.Popen[str]:
    file = out.with_suffix(f".{time.monotonic_ns()}.json")
    file.write_text(json.dumps(plan))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE)])}
    command = [sys.executable, str(HERE / "execute_driver.py"), str(out), str(file)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def worker_of(out: Path, plan: dict[str, Any]) -> int:
    key = execute_driver.jobs(plan)[0].key
    wait_for(lambda: Claims(out / "claims").owner(key) is not None, "no claim")
    owner = Claims(out / "claims").owner(key)
    assert owner
    return owner.pid


@pytest.mark.parametrize("whom", ["driver", "worker"])
def test_a_kill_loses_nothing_and_repeats_no_more_than_a_step(tmp_path: Path, whom: str) -> None:
    out, calls = tmp_path / "study", tmp_path / "calls"
    plan = counted(out, calls)
    driver = start(out, plan)
    wait_for(lambda: len(lines(calls)) > 4, "no work")
    worker = worker_of(out, plan)
    os.kill(driver.pid if whom == "driver" else worker, signal.SIGKILL)
    if whom == "driver":
        driver.communicate(timeout=60)
        assert (out / "work").exists()
        wait_for(lambda: not Path(f"/proc/{worker}").exists(), "the worker outlives its driver")
        driver = start(out, plan)
    said, errors = driver.communicate(timeout=60)
    assert (driver.returncode, said) == (0, "done\n"), errors
    numbers = [int(line) for line in lines(calls)]
    assert sorted(set(numbers)) == list(range(30))
    assert len(numbers) <= 31  # the step that was under way
    first, last = execute_driver.jobs(plan)
    assert (out / "results" / last.key / "note").read_text() == f"{sum(range(30))}end"
    assert ends(out) == {first.key: ["", "done"], last.key: ["done"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_workers_and_lets_go_of_their_jobs(tmp_path: Path, number: int) -> None:
    out, calls = tmp_path / "study", tmp_path / "calls"
    plan = counted(out, calls)
    driver = start(out, plan)
    wait_for(lambda: len(lines(calls)) > 4, "no work")
    worker = worker_of(out, plan)
    driver.send_signal(number)
    _, errors = driver.communicate(timeout=60)
    assert (driver.returncode, errors) == (130, "")
    assert not Path(f"/proc/{worker}").exists()
    first, last = execute_driver.jobs(plan)
    assert ends(out) == {first.key: ["released"]}
    assert execute_driver.run(out, plan)[last.key].done
    assert len(lines(calls)) <= 31


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    out, calls = tmp_path / "study", tmp_path / "calls"
    shared = {"kind": "count", "call": COUNT, "paths": {"calls": str(calls)}}
    each = [{**shared, "arguments": {"to": 1, "seconds": 0.05 + i / 1000}} for i in range(20)]
    last = {"kind": "note", "call": NOTE, "arguments": {"text": "end"}, "needs": {str(i): i for i in range(20)}}
    plan = {"jobs": [*each, last], "options": {"workers": 1}}
    drivers = [start(out, plan) for _ in range(2)]
    for driver in drivers:
        assert driver.communicate(timeout=60)[0] == "done\n"
    assert len(lines(calls)) == 20
    assert all(found.count("done") == 1 for found in ends(out).values())
    pids = {json.loads(path.read_text().split("\n")[0])["pid"] for path in (out / "claims").glob("count-*")}
    assert len(pids) == 2  # both worked


def test_a_silent_owner_is_followed_and_its_late_result_discarded(tmp_path: Path) -> None:
    out, calls = tmp_path / "study", tmp_path / "calls"
    plan = counted(out, calls, 20) | {"options": {"workers": 1, "expiry": 1.0, "beat": 0.1}}
    asleep = start(out, plan)
    wait_for(lambda: len(lines(calls)) > 4, "no work")
    worker = worker_of(out, plan)
    os.kill(asleep.pid, signal.SIGSTOP)  # as if its machine were cut off
    os.kill(worker, signal.SIGSTOP)
    first, last = execute_driver.jobs(plan)
    outcomes = execute_driver.run(out, plan)
    assert outcomes[last.key].done
    before = (out / "results" / first.key / "job.json").read_bytes()
    for pid in (asleep.pid, worker):
        os.kill(pid, signal.SIGCONT)
    assert asleep.communicate(timeout=60)[0] == "done\n"  # the late driver finds the result
    assert (out / "results" / first.key / "job.json").read_bytes() == before
    assert ends(out)[first.key].count("done") == 1
    assert list((out / "work").iterdir()) == []


# Refusals, before anything is started.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "--workers is at least 1"),
        ({"device": "tpu"}, "'tpu'"),
        ({"address": "127.0.0.1:9"}, "'127.0.0.1:9' does not"),
        ({"address": "somewhere"}, "HOST:PORT"),
        ({"jobs": [Job("note", NOTE, resources=Resources(cpus=4096))]}, "4096"),
        ({"jobs": [Job("two words", NOTE)]}, "one word"),
    ],
)
def test_what_cannot_be_starts_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if "address" in changes:
        pytest.importorskip("ray")
    jobs = changes.pop("jobs", [note("a")])
    with pytest.raises(InputError, match=message):
        execute(jobs, tmp_path / "study", **changes)
    assert not (tmp_path / "study" / "claims").exists()


def test_a_gpu_is_not_asked_for_in_vain(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(BadOption, match="none is there"):
        execute([Job("note", NOTE, {"text": ""}, resources=Resources(gpus=1))], tmp_path / "study", device="cuda")


def test_a_study_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput, match="not a folder"):
        execute([note("a")], tmp_path / "file" / "study")


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    from synthcohort.execute._perform import Order, perform

    report = perform(Order("note-1", {}, {}, {}, str(tmp_path / "elsewhere"), "cpu"))
    assert (report.status, type(report.error)) == ("stop", Mismatch)
    assert "shared file system" in report.reason
