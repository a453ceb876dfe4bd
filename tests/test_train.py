"""The training loop: killed and resumed, diverged, watched; the order of the data and the average of the weights."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from synthcohort import runs
from synthcohort.cohort import Cohort
from synthcohort.errors import BadOption, Diverged, Mismatch
from synthcohort.nets.generator import EMA_EXPONENT, Draws, Generator, Streams
from synthcohort.runs import CHECKPOINT, LOG, OUTCOME, WEIGHTS, RowLog
from synthcohort.train import train
from synthcohort.train._data import Batches, batch_positions, training_positions
from synthcohort.train._outcome import COLLAPSED
from synthcohort.train._update import average
from synthcohort.types import Batch, Clock, Condition, Generated, Update, to_unit_range

loop = importlib.import_module("synthcohort.train")

TINY = {
    "flow": {"width": 16, "multipliers": [1, 2], "components": 4},
    "hinge": {"filters": 4, "latent": 8},
    "memoriser": {"code": 16, "hidden": 32},
}


class Recording(Generator):
    """Four numbers that go to the mean of the images; writes down what it is given and fails when it is told to."""

    seen: ClassVar[list[Batch]] = []
    autocast: ClassVar[set[bool]] = set()
    poisoned_from: ClassVar[int | None] = None
    on_step: ClassVar[Any] = None

    def __init__(self, *, shape: Any, labels: Any, mask_classes: Any, rate: float = 0.1) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        self.layer, self.rate = nn.Linear(1, 4), rate

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"only": torch.optim.Adam(self.parameters(), lr=self.rate)}

    def averaged(self) -> Mapping[str, nn.Module]:
        return {"layer": self.layer}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        self.seen.append(batch)
        self.autocast.add(torch.is_autocast_enabled("cpu"))
        if self.on_step:
            type(self).on_step(clock)
        noise = rng.normal(len(batch.images), 1)
        loss = (self.layer(noise).float() - batch.images.mean()).square().mean()
        if self.poisoned_from is not None and clock.images_seen >= self.poisoned_from:
            loss = loss * float("nan")
        update("only", loss)
        return {"distance": loss.detach()}

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        level = self.layer(rng.normal(1)).mean(1)[:, None, None, None]
        images = level.expand(-1, *self.shape).clamp(-1, 1)
        return Generated(images, torch.zeros(images[:, 0].shape, dtype=torch.int64))


RECORDING = "test_train:Recording"


@pytest.fixture(autouse=True)
def _recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recording, "seen", [])
    monkeypatch.setattr(Recording, "autocast", set())
    monkeypatch.setattr(Recording, "poisoned_from", None)
    monkeypatch.setattr(Recording, "on_step", None)


def record(cohort: Path, out: Path, **changes: Any) -> Path:
    given = {"generator": RECORDING, "images_seen": 80, "batch": 4, "precision": "fp32", "device": "cpu", **changes}
    return train(cohort, out=out, **given)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a run but the event files, whose names hold the time."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def scalars(out: Path, name: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "events"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


# Killed and resumed.


def kill_and_compare(cohort: Path, out: Path, *, kills: int, steps: int, reports: int) -> None:
    batch = 4
    common = {"cohort": str(cohort), "images_seen": steps * batch, "batch": batch, "precision": "fp32", "device": "cpu"}
    plan = {
        "out": str(out),
        "constants": {"SECONDS_BETWEEN_CHECKPOINTS": 0, "REPORTS_PER_RUN": reports, "GRIDS_PER_RUN": 4},
        "kills": kills,
        "seed": 1,
        "jobs": {name: {**common, "generator": name, "options": options} for name, options in TINY.items()},
    }
    (out / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, str(Path(__file__).parent / "train_and_kill.py"), str(out / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout)
    for name in TINY:
        assert len(kept[name]) == kills
        assert kept[name] == sorted(kept[name])
        assert 0 < kept[name][-1] < steps * batch  # the last one went on from a checkpoint
        whole, killed = (out / f"{name}-{kind}" for kind in ("whole", "killed"))
        assert WEIGHTS in contents(whole)
        assert contents(killed) == contents(whole)  # weights, log and pictures, and nothing else


def test_killed_and_resumed_is_bitwise_the_same_as_uninterrupted(discs: Path, tmp_path: Path) -> None:
    kill_and_compare(discs, tmp_path, kills=3, steps=40, reports=20)


@pytest.mark.slow
def test_killed_ten_times_is_bitwise_the_same_as_uninterrupted(discs: Path, tmp_path: Path) -> None:
    kill_and_compare(discs, tmp_path, kills=10, steps=600, reports=100)


def test_rows_past_the_checkpoint_are_written_once(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_checkpoints_then_stop(clock: Clock) -> None:
        if clock.images_seen == 40:
            monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 3600)
        if clock.images_seen == 60:
            raise KeyboardInterrupt

    whole, part = record(discs, tmp_path / "whole"), tmp_path / "part"
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1)  # at every report
    monkeypatch.setattr(Recording, "on_step", no_more_checkpoints_then_stop)
    with pytest.raises(KeyboardInterrupt):
        record(discs, part)
    assert [row["images_seen"] for row in RowLog(part / LOG).rows()] == list(range(4, 61, 4))
    assert runs.load_tensors(part / CHECKPOINT)[2]["images_seen"] == 40

    monkeypatch.setattr(Recording, "on_step", None)
    record(discs, part)
    assert contents(part) == contents(whole)
    assert scalars(part, "distance") == scalars(whole, "distance")  # TensorBoard drops the lost rows, too


def test_a_finished_run_is_left_alone(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = record(discs, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))}
    monkeypatch.setattr(Recording, "step", None)
    assert record(discs, out) == out
    assert {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))} == before
    assert not (out / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed=0, now 1"),
        ({"batch": 8}, "batch=4, now 8"),
        ({"images_seen": 84}, "images_seen=80, now 84"),
        ({"precision": "bf16"}, "precision='fp32', now 'bf16'"),
        ({"options": {"rate": 0.2}}, r"options.rate=0.1, now 0.2"),
    ],
)
def test_another_config_is_refused(discs: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    out = record(discs, tmp_path / "run")
    before = contents(out)
    with pytest.raises(Mismatch, match=named):
        record(discs, out, **changes)
    assert contents(out) == before


def test_a_checkpoint_of_another_run_is_refused(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(Recording, "poisoned_from", 40)
    for seed in (0, 1):
        with pytest.raises(Diverged):
            record(discs, tmp_path / f"{seed}", seed=seed)
    (tmp_path / "0" / CHECKPOINT).replace(tmp_path / "1" / CHECKPOINT)
    with pytest.raises(Mismatch, match="belongs to its run"):
        record(discs, tmp_path / "1", seed=1)


# Divergence.


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(Recording, "poisoned_from", 40)
    with pytest.raises(Diverged, match="the distance loss is nan"):
        record(discs, out)
    tensors, _, facts = runs.load_tensors(out / CHECKPOINT)
    assert facts["images_seen"] == 40
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert not (out / WEIGHTS).exists()
    assert all(np.isfinite(row["distance"]) for row in RowLog(out / LOG).rows())
    failure = json.loads((out / OUTCOME).read_text())  # a failure is a result
    assert failure["ended"] == "diverged"
    assert failure["images_trained"] == 44
    assert "distance loss is nan" in failure["reason"]

    # The cause removed, the same command goes on to what an untroubled run ends in.
    monkeypatch.setattr(Recording, "poisoned_from", None)
    record(discs, out)
    assert contents(out) == contents(record(discs, tmp_path / "untroubled"))


# What is learnt from.


def test_every_epoch_shows_each_training_image_once(discs: Path, tmp_path: Path) -> None:
    cohort = Cohort(discs)
    count = len(cohort.split("train"))
    record(discs, tmp_path / "run", images_seen=5 * count, batch=count // 3 + 1)  # batches reach over epochs
    shown = torch.cat([batch.positions for batch in Recording.seen]).numpy()
    epochs = shown[: 5 * count].reshape(5, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    assert len(np.unique(epochs, axis=0)) == 5  # each in another order

    # A position names the image and the mask that come with it.
    images = to_unit_range(cohort.images[cohort.split("train")], (0.0, 255.0))
    np.testing.assert_array_equal(torch.cat([batch.images for batch in Recording.seen]).numpy(), images[shown])
    masks = np.asarray(cohort.masks)[cohort.split("train")]
    np.testing.assert_array_equal(torch.cat([batch.masks for batch in Recording.seen]).numpy(), masks[shown])


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (3, 8), (1, 5), (7, 7)])
def test_the_order_is_the_same_from_wherever_it_is_taken_up(count: int, batch: int) -> None:
    whole = batch_positions(count, 0, 6 * batch, seed=3)
    parts = [batch_positions(count, start * batch, batch, seed=3) for start in range(6)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    if count > 4:
        assert not np.array_equal(batch_positions(count, 0, 6 * batch, seed=4), whole)


def test_reference_patients_are_learnt_from_by_the_holdout_half_only(discs: Path) -> None:
    cohort = Cohort(discs)
    assert set(training_positions(cohort, "train")) == set(cohort.split("train"))
    served = training_positions(cohort, "reference")
    assert 0 < len(served) < len(cohort.split("reference"))
    assert set(served) == set(cohort.reference_half("B"))


def newest(step: int) -> float:
    plain = Generator(shape=(1, 8, 8), labels=(), mask_classes=())
    return plain.ema_weight(Clock(step - 1, 8 * (step - 1), 800), 8)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_the_average_is_the_power_function_profile(steps: int) -> None:
    # Karras et al. 2023, eq. 1: the weight of step t is the integral of t^gamma over it, normalised to one.
    raw = np.random.default_rng(0).normal(size=(steps, 3))
    edges = (np.arange(steps + 1) / steps) ** (EMA_EXPONENT + 1)
    expected = np.diff(edges) @ raw
    module, mean = (nn.Linear(3, 1, bias=False, dtype=torch.float64) for _ in range(2))
    for step, weights in enumerate(raw, start=1):
        module.weight.data.copy_(torch.from_numpy(weights)[None])
        average({"m": module}, {"m": mean}, weight=newest(step))
    np.testing.assert_allclose(mean.weight.detach().numpy()[0], expected, rtol=1e-12, atol=1e-13)  # float64 sums


def test_the_average_is_a_tenth_of_the_training_wide_and_copies_buffers() -> None:
    g = EMA_EXPONENT  # eq. 2 of the same paper
    assert ((g + 1) ** 0.5 / ((g + 2) * (g + 3) ** 0.5)) == pytest.approx(0.1, abs=1e-3)
    module, mean = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    module.running_mean.fill_(3.0)
    average({"m": module}, {"m": mean}, weight=newest(100))
    assert torch.equal(mean.running_mean, module.running_mean)


def test_the_weights_are_the_average_and_the_facts_name_no_patient(discs: Path, tmp_path: Path) -> None:
    out = record(discs, tmp_path / "run")
    raw = []

    class Kept(Recording):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            raw.append(self.layer.weight.detach().clone())
            return super().step(*args, **kwargs)

    globals()["Kept"] = Kept
    record(discs, tmp_path / "again", generator="test_train:Kept")
    edges = (torch.arange(21) / 20) ** (EMA_EXPONENT + 1)
    tensors, config, facts = runs.load_tensors(out / WEIGHTS)
    last = runs.load_tensors(tmp_path / "again" / WEIGHTS)[0]["layer.weight"]
    assert torch.equal(tensors["layer.weight"], last)
    # raw holds the weights before each of the 20 steps; what the last step made is what the average lacks.
    partial = torch.einsum("t,tij->ij", edges.diff()[:-1], torch.stack(raw[1:]))
    final = (last - partial) / edges.diff()[-1]
    assert (final - raw[-1]).abs().max() < 0.11  # one step of Adam at rate 0.1, and float32 sums
    assert config["generator"] == RECORDING
    assert facts["facts"]["training_counts"] == {"train": 30, "val": "<10", "test": "<10", "reference": "<10"}
    assert facts["facts"]["spacing_mm"] == [1.5, 1.25]
    assert "secret" not in json.dumps([config, facts])


def test_pixels_on_the_device_make_the_same_batches_bit_for_bit(discs: Path) -> None:
    cohort = Cohort(discs)
    positions, cpu = training_positions(cohort, "train"), torch.device("cpu")
    given = {"batch": 7, "seed": 3, "device": cpu}
    gathered, resident = (Batches(cohort, positions, None, resident=there, **given) for there in (False, True))
    for seen in (0, 7, 28):
        one, other = gathered.after(seen), resident.after(seen)
        for field in ("images", "masks", "positions"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        for images in (one.images, other.images):
            assert images.is_contiguous(memory_format=torch.channels_last)


# How it ended.


class Level(Recording):
    """Emits what it is told to, at the level that was learnt last."""

    spread: ClassVar[float] = 1.0

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        images = (self.spread * rng.normal(*self.shape)).clamp(-1, 1)
        return Generated(images, torch.zeros(images[:, 0].shape, dtype=torch.int64))


@pytest.mark.parametrize(("spread", "collapsed"), [(1.0, False), (0.01, True)])
def test_samples_that_hardly_differ_are_recorded_as_a_collapse(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    spread: float, collapsed: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(Level, "spread", spread)
    out = record(discs, tmp_path / "run", generator="test_train:Level")
    outcome = json.loads((out / OUTCOME).read_text())
    assert (outcome["ended"], outcome["images_trained"], outcome["images_kept"]) == ("finished", 80, 80)
    assert outcome["collapsed"] is collapsed
    assert (outcome["spread"] < COLLAPSED) is collapsed
    assert ("collapsed" in capsys.readouterr().err) is collapsed
    assert runs.load_tensors(out / WEIGHTS)[2]["outcome"] == outcome


def test_finite_weights_whose_samples_are_not_are_recorded_as_divergence(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("synthcohort.train._outcome"), "spread", lambda *_: math.nan)
    out = tmp_path / "run"
    with pytest.raises(Diverged, match="a sample is not finite"):
        record(discs, out, generator="test_train:Level")
    assert json.loads((out / OUTCOME).read_text())["ended"] == "diverged"
    assert not (out / WEIGHTS).exists()


# What is decided at the start.


def test_images_are_counted_in_whole_batches(discs: Path, tmp_path: Path) -> None:
    out = record(discs, tmp_path / "run", images_seen=10)
    assert len(Recording.seen) == 3
    assert runs.read_run(out)["config"]["images_seen"] == 12
    assert RowLog(out / LOG).rows()[-1]["images_seen"] == 12


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_recorded_and_used(discs: Path, tmp_path: Path, precision: str) -> None:
    out = record(discs, tmp_path / "run", precision=precision, images_seen=8)
    assert runs.read_run(out)["config"]["precision"] == precision
    assert Recording.autocast == {precision == "bf16"}
    assert all(tensor.dtype == torch.float32 for tensor in runs.load_tensors(out / WEIGHTS)[0].values())


def test_auto_is_recorded_as_what_it_stands_for_and_no_machine_is(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "choose_precision", lambda precision, device: "bf16")
    config = runs.read_run(record(discs, tmp_path / "run", precision="auto", device="auto", images_seen=4))["config"]
    assert config["precision"] == "bf16"
    assert "device" not in config
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"images_seen": 0},
        {"batch": 0},
        {"precision": "fp16"},
        {"device": "tpu"},
        {"options": ["rte=1"]},
        {"generator": "flow", "options": {"width": 16, "multipliers": [1, 1, 1, 1, 1]}},
    ],
)
def test_what_cannot_be_leaves_no_folder(discs: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        record(discs, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


# What can be watched.


def test_pictures_curves_and_events_are_written(discs: Path, tmp_path: Path) -> None:
    out = record(discs, tmp_path / "run", images_seen=160)
    rows = RowLog(out / LOG).rows()
    assert [row["images_seen"] for row in rows] == list(range(4, 161, 4))
    grids = sorted(path.name for path in out.glob("samples-*.png"))
    assert grids == ["samples-000000048.png", "samples-000000096.png", "samples-000000144.png", "samples-000000160.png"]
    with Image.open(out / grids[-1]) as grid:
        assert grid.size == (8 * 96, 4 * 96)  # 16 samples in rows of eight, each row again with its masks
        assert np.asarray(grid).std() > 0
    assert "<!-- distance -->" in (out / "losses.svg").read_text()
    logged = {row["images_seen"]: row["distance"] for row in rows}
    assert scalars(out, "distance") == pytest.approx(logged, rel=1e-6)  # events hold float32
    assert set(scalars(out, "images_per_second")) == set(logged)


def test_a_control_leaves_no_pictures_of_what_it_makes(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recording, "CONTROL", True)
    out = record(discs, tmp_path / "run")
    assert sorted(contents(out)) == [LOG, "losses.svg", "outcome.json", "run.json", WEIGHTS]
    assert not [path for path in (out / "events").iterdir() if b"PNG" in path.read_bytes()]
    assert scalars(out, "distance")


def test_the_log_holds_means_over_the_steps_since_the_last_row(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = [row["distance"] for row in RowLog(record(discs, tmp_path / "each") / LOG).rows()]
    monkeypatch.setattr(loop, "REPORTS_PER_RUN", 8)
    rows = RowLog(record(discs, tmp_path / "every-second") / LOG).rows()
    assert [row["images_seen"] for row in rows] == list(range(8, 81, 8))
    means = np.reshape(each, (-1, 2)).mean(1)
    np.testing.assert_allclose([row["distance"] for row in rows], means, rtol=1e-12)  # float64 sums of the same losses


def test_a_generator_without_steps_is_finished_by_its_fit(discs: Path, tmp_path: Path) -> None:
    out = train(discs, generator="gaussian", out=tmp_path / "run", images_seen=5000, precision="fp32", device="cpu")
    assert runs.read_run(out)["config"]["images_seen"] == 0
    assert RowLog(out / LOG).rows() == []
    assert sorted(contents(out)) == [LOG, "run.json", WEIGHTS]
    assert not (out / "events").exists()
