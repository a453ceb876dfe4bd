"""The convergence stop: when it looks, when it ends a training, which weights it keeps; killed and resumed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from synthcohort import runs
from synthcohort.cohort import Cohort
from synthcohort.errors import BadOption, UnknownName
from synthcohort.extractors.texture import Extractor
from synthcohort.metrics.frechet import frechet_distance
from synthcohort.nets.generator import Streams
from synthcohort.runs import OUTCOME, WEIGHTS, RowLog
from synthcohort.train._convergence import BEST, CONVERGENCE
from synthcohort.types import Condition, Generated, from_unit_range
from test_train import Recording, contents, record

loop = importlib.import_module("synthcohort.train")
STEPPING = "test_convergence:Stepping"


class Stepping(Recording):
    """Noise that is nearest to real images after `best` images seen, and further away before and after."""

    best: ClassVar[int] = 40

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.register_buffer("shown", torch.zeros(()))

    def averaged(self) -> dict[str, torch.nn.Module]:
        return {}

    def step(self, *args: Any, **kwargs: Any) -> Any:
        self.shown += len(args[0].images)
        return super().step(*args, **kwargs)

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        far = 0.2 + (self.shown - self.best).abs() / 100
        images = (far * rng.normal(*self.shape)).clamp(-1, 1)
        return Generated(images, torch.zeros(images[:, 0].shape, dtype=torch.int64))


STOP = {"every": 8, "patience": 16, "start": 16, "against": "train", "n": 40}


def stopped(cohort: Path, out: Path, **changes: Any) -> Path:
    return record(cohort, out, generator=STEPPING, stop={**STOP, **changes}, images_seen=160)


def test_it_looks_from_the_start_on_and_stops_when_the_best_is_old(discs: Path, tmp_path: Path) -> None:
    out = stopped(discs, tmp_path / "run")
    rows = RowLog(out / CONVERGENCE).rows()
    assert [row["images_seen"] for row in rows] == [16, 24, 32, 40, 48, 56]  # best at 40, then 16 images more
    assert min(rows, key=lambda row: row["frechet"])["images_seen"] == 40
    outcome = json.loads((out / OUTCOME).read_text())
    assert outcome["ended"] == "converged"
    assert (outcome["images_trained"], outcome["images_kept"]) == (56, 40)
    assert float(runs.load_tensors(out / WEIGHTS)[0]["shown"]) == 40  # the best snapshot, not the last
    assert not (out / BEST).exists()


def test_the_distance_is_that_of_the_metric_on_stored_pixels(discs: Path, tmp_path: Path) -> None:
    out, cohort = stopped(discs, tmp_path / "run"), Cohort(discs)
    train = cohort.split("train")
    assert len(train) == 30
    chosen = np.concatenate([train, train[:10]])  # fewer than n: taken from the top again, with other noise
    streams = Streams([runs.derive_seed(0, "convergence", i) for i in range(len(chosen))])
    noise = (0.44 * streams.normal(*cohort.facts.shape)).clamp(-1, 1)  # 16 images seen: 0.2 + 24 / 100
    texture = Extractor()
    expected = frechet_distance(
        texture.extract(cohort.images[chosen], (0, 255)),
        texture.extract(from_unit_range(noise.numpy(), (0, 255), "uint8"), (0, 255)),
    )
    first = RowLog(out / CONVERGENCE).rows()[0]
    assert first["n"] == len(chosen) == 40
    assert first["frechet"] == pytest.approx(expected, rel=1e-4)  # 0.44 is rounded to float32 in another order
    assert runs.read_run(out)["config"]["stop"]["repeated"]


def test_without_convergence_the_best_is_kept_all_the_same(discs: Path, tmp_path: Path) -> None:
    out = stopped(discs, tmp_path / "run", patience=1000)
    outcome = json.loads((out / OUTCOME).read_text())
    assert (outcome["ended"], outcome["images_trained"], outcome["images_kept"]) == ("finished", 160, 40)
    assert float(runs.load_tensors(out / WEIGHTS)[0]["shown"]) == 40


def test_a_training_that_ends_before_the_first_look_says_so(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = stopped(discs, tmp_path / "run", start=1000)
    assert "before the first look" in capsys.readouterr().err
    assert float(runs.load_tensors(out / WEIGHTS)[0]["shown"]) == 160


def test_an_interrupted_training_stops_where_an_uninterrupted_one_does(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stopped(discs, tmp_path / "whole")
    for at in (20, 44, 52):  # before the best, after it, and at the last look

        def interrupt(clock: Any, at: int = at) -> None:
            if clock.images_seen >= at:
                raise KeyboardInterrupt

        out = tmp_path / f"part{at}"
        monkeypatch.setattr(Recording, "on_step", staticmethod(interrupt))
        with pytest.raises(KeyboardInterrupt):
            stopped(discs, out)
        monkeypatch.setattr(Recording, "on_step", None)
        stopped(discs, out)
        assert contents(out) == contents(whole)


def test_killed_between_the_last_look_and_the_weights(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stopped(discs, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "publish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stopped(discs, tmp_path / "run")
    stopped(discs, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(whole)


@pytest.mark.parametrize(
    ("stop", "error", "named"),
    [
        ({"every": 0}, BadOption, "every"),
        ({"n": 3}, BadOption, "at least 16"),
        ({"against": "test"}, BadOption, "against"),
        ({"against": "val"}, BadOption, "against=train"),  # the discs have few validation images
        ({"extractor": "textur"}, UnknownName, "texture"),
        ({"evry": 5}, BadOption, "every"),
    ],
)
def test_a_rule_that_cannot_be_is_one_line(
    discs: Path, tmp_path: Path, stop: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        stopped(discs, tmp_path / "run", **stop)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_rule_is_part_of_the_run(discs: Path, tmp_path: Path) -> None:
    config = runs.read_run(stopped(discs, tmp_path / "run"))["config"]
    assert config["stop"]["every"] == 8
    assert config["stop"]["extractor"]["extractor"] == "texture"
    assert "stop" not in runs.read_run(record(discs, tmp_path / "other"))["config"]
