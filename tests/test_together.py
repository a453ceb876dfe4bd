"""Two processes that train together end in what one ends in, by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from synthcohort import runs
from synthcohort.errors import BadOption
from synthcohort.runs import LOG, WEIGHTS, RowLog
from synthcohort.train import train
from synthcohort.train._together import joined

COMMON = ["--images-seen", "96", "--batch", "8", "--precision", "fp32", "--device", "cpu"]
# The shared exam does this without the command for every generator; here is one with the gradient of a gradient.
GENERATOR = ["--generator", "wgan_gp", "--set", "filters=4", "--set", "latent=8"]


def command(cohort: Path, out: Path) -> list[str]:
    return ["train", str(cohort), "--out", str(out), *COMMON, *GENERATOR]


def test_two_processes_end_in_what_one_ends_in(discs: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A rendezvous through a file: ports may be taken.
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-endpoint", "localhost:0", "-m", "synthcohort"]
    done = subprocess.run(
        [*launch, *command(discs, tmp_path / "two")],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    single = [sys.executable, "-m", "synthcohort", *command(discs, tmp_path / "one")]
    subprocess.run(single, env=environment, capture_output=True, check=True, timeout=300)
    assert (tmp_path / "two" / "run.json").read_text() == (tmp_path / "one" / "run.json").read_text()
    one, two = (runs.load_tensors(tmp_path / name / WEIGHTS)[0] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, expected in one.items():
        # Gradients are summed in another order; twelve steps of Adam at 1e-3 make at most a few rates of that.
        torch.testing.assert_close(two[name], expected, rtol=1e-3, atol=2e-4, msg=lambda text, name=name: name + text)
    logs = [RowLog(tmp_path / name / LOG).rows() for name in ("one", "two")]
    assert [row["images_seen"] for row in logs[0]] == [row["images_seen"] for row in logs[1]]  # written once
    assert json.loads((tmp_path / "two" / "outcome.json").read_text())["ended"] == "finished"


def test_a_batch_is_shared_out_equally(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(BadOption, match="multiple of 3"):
        train(discs, generator="flow", out=tmp_path / "run", batch=8, device="cpu")
    assert not (tmp_path / "run").exists()


def test_alone_nothing_is_joined() -> None:
    with joined("cpu", 7) as device:
        assert device == torch.device("cpu")
        assert not torch.distributed.is_initialized()
