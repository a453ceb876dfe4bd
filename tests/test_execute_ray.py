"""`execute` on Ray: two nodes of this machine, one of them killed in mid-training."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import execute_driver
from synthcohort import runs
from synthcohort.claims import Claims
from synthcohort.execute import Job, execute
from synthcohort.studies._stages import Settings, Source, sampling, training
from test_execute import COUNT, ends, lines, start, wait_for

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


class Cluster:
    """A head without a core, and nodes of one core each; every node and all it started is one session."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder, self.nodes = folder, list[subprocess.Popen[bytes]]()
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent / "src"), str(HERE), os.environ.get("PYTHONPATH", "")]),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
        }
        os.environ["RAY_AUTH_MODE"] = "disabled"
        self._start("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")
        self.address = f"127.0.0.1:{self.port}"
        wait_for(self._answers, "Ray's head does not answer")

    def add(self) -> subprocess.Popen[bytes]:
        """Start a node."""
        self._start(f"--address={self.address}", "--num-cpus=1")
        log = self._folder / f"node-{len(self.nodes) - 1}.log"
        wait_for(lambda: "Ray runtime started" in log.read_text(), "a node does not start")
        return self.nodes[-1]

    def _start(self, *words: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words]
        with (self._folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            options: dict[str, Any] = {"env": self._environment, "stdout": log, "stderr": log}
            self.nodes.append(subprocess.Popen(command, start_new_session=True, **options))

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @staticmethod
    def kill(node: subprocess.Popen[bytes]) -> None:
        """Kill a node with all its processes, as a power cut would."""
        for pid in [*_children(node.pid), node.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait()

    def close(self) -> None:
        """Kill all nodes."""
        for node in reversed(self.nodes):
            self.kill(node)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_children(child)]
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()
        os.environ.pop("RAY_AUTH_MODE", None)


def node_of(cluster: Cluster, pid: int) -> subprocess.Popen[bytes]:
    return next(node for node in cluster.nodes if pid in _children(node.pid))


def test_a_node_is_killed_in_mid_job_and_its_job_goes_on_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    out, calls = tmp_path / "study", tmp_path / "calls"
    first = {"kind": "count", "call": COUNT, "arguments": {"to": 100, "seconds": 0.1}, "paths": {"calls": str(calls)}}
    plan = {"jobs": [first], "options": {"address": cluster.address}}
    cluster.add()
    cluster.add()
    driver = start(out, plan)
    wait_for(lambda: len(lines(calls)) > 4, "no work")
    (job,) = execute_driver.jobs(plan)
    owner = Claims(out / "claims").owner(job.key)
    assert owner
    Cluster.kill(node_of(cluster, owner.pid))
    said, errors = driver.communicate(timeout=300)
    assert (driver.returncode, said.splitlines()[-1]) == (0, "done"), errors
    numbers = [int(line) for line in lines(calls)]
    assert sorted(set(numbers)) == list(range(100))
    assert len(numbers) <= 101  # the step that was under way
    assert ends(out) == {job.key: ["", "done"]}


def test_a_training_on_a_killed_node_ends_in_the_same_samples(cluster: Cluster, discs: Path, tmp_path: Path) -> None:
    settings = Settings(images_seen=40_000, batch=8, precision="fp32")
    source = Source(discs)

    def made() -> Job:
        run = training(source, "dcgan", {"filters": 8}, settings, seed=0)
        return sampling(run, source, settings, seed=0)

    whole = execute([job := made()], tmp_path / "whole", device="cpu")[job.key].folder
    cluster.add()
    out = tmp_path / "study"
    code = (
        "import sys; from pathlib import Path; from synthcohort.execute import execute; "
        "from synthcohort.studies._stages import *; s = Source(sys.argv[1]); "
        "t = Settings(images_seen=40_000, batch=8, precision='fp32'); "
        "r = training(s, 'dcgan', {'filters': 8}, t, seed=0); "
        "execute([sampling(r, s, t, seed=0)], sys.argv[2], address=sys.argv[3], device='cpu')"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src") + os.pathsep + os.environ.get("PYTHONPATH", "")}
    driver = subprocess.Popen([sys.executable, "-c", code, str(discs), str(out), cluster.address], env=environment)
    log = f"work/{job.needs['run'].key}/*/run/{runs.LOG}"
    wait_for(lambda: any(path.stat().st_size > 500 for path in out.glob(log)), "no training")
    owner = Claims(out / "claims").owner(job.needs["run"].key)
    assert owner
    Cluster.kill(node_of(cluster, owner.pid))
    time.sleep(1)
    cluster.add()
    assert driver.wait(timeout=400) == 0
    assert [found.count("done") for found in ends(out).values()] == [1, 1]
    assert whole is not None
    images = [(folder / "cohort" / "images.npy").read_bytes() for folder in (whole, out / "results" / job.key)]
    assert images[0] == images[1]
    assert json.loads((out / "results" / job.key / "job.json").read_text())["status"] == "done"
