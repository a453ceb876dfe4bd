"""What attackers and accidents do: hostile folders, killed and doubled processes, full disks, names that leak."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthcohort import cli, plugins, prepare, runs
from synthcohort.cohort import Cohort, Facts, verify, writing_cohort
from synthcohort.errors import (
    BadOption,
    BadOutput,
    BadSource,
    InputError,
    NotACohort,
    NotAnEvaluation,
    UnknownName,
    writing,
)
from synthcohort.report._pictures import read_pictures
from synthcohort.report._read import read_evaluation
from synthcohort.sources.folder import Source

SIDE, COUNT = 8, 6


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six images of six patients without masks."""
    out = tmp_path / "cohort"
    facts = Facts("cohort", "made up", "real", (1, SIDE, SIDE), "uint8", (0.0, 255.0))
    with writing_cohort(out, facts, {"kind": "test"}, b"k" * 32) as writer:
        for i in range(COUNT):
            row = {"sample_id": f"s{i}", "patient_id": f"p{i}", "group_id": f"g{i}", "slice_index": 0}
            row |= {"split": ("train", "val", "test")[i % 3], "spacing_y_mm": 1.5, "spacing_x_mm": None}
            writer.append(np.full((1, SIDE, SIDE), i, np.uint8), None, row)
        writer.finish()
    return out


# A cohort from a stranger.


@pytest.mark.parametrize(
    "change",
    [
        {"digests": ["images.npy"]},
        {"digests": {"": "0" * 64}},
        {"history": "abc"},
        {"history": [1]},
        {"generator": "flow"},
        {"name": 5},
        {"labels": [{}]},
        {"provenance": "genuine"},
        {"value_range": [float("nan"), 255.0]},
    ],
)
def test_a_field_of_another_type_makes_no_cohort(cohort: Path, change: dict[str, Any]) -> None:
    path = cohort / "cohort.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NotACohort):
        Cohort(cohort)


def test_json_that_is_nested_too_deeply_makes_no_cohort(cohort: Path) -> None:
    (cohort / "cohort.json").write_text("[" * 200_000)
    with pytest.raises(NotACohort):
        Cohort(cohort)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _archive(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), images=np.zeros(3))
    path.with_suffix(".npz").replace(path)


def _broken_archive(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(20))


# numpy leaves the file of a broken archive to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [_empty, _archive, _broken_archive])
def test_an_array_file_of_another_kind_makes_no_cohort(cohort: Path, damage: Callable[[Path], None]) -> None:
    damage(cohort / "images.npy")
    with pytest.raises(NotACohort, match=r"images\.npy must be a readable"):
        Cohort(cohort)


@pytest.mark.parametrize(
    ("column", "value"),
    [("split", [1]), ("patient_id", {"a": 1}), ("sample_id", 1.5), ("spacing_y_mm", "<script>"), ("slice_index", "0")],
)
def test_a_table_cell_of_another_type_makes_no_cohort(cohort: Path, column: str, value: Any) -> None:
    table = pd.read_parquet(cohort / "samples.parquet")
    table[column] = pd.Series([value] * len(table))
    table.to_parquet(cohort / "samples.parquet")
    with pytest.raises(NotACohort, match=f"wrong type in {column}"):
        Cohort(cohort)


def test_a_cohort_written_by_hand_may_number_its_patients(cohort: Path) -> None:
    content = json.loads((cohort / "cohort.json").read_text())
    del content["digests"]
    (cohort / "cohort.json").write_text(json.dumps(content))
    table = pd.read_parquet(cohort / "samples.parquet").assign(patient_id=range(COUNT))
    table.to_parquet(cohort / "samples.parquet")
    assert verify(cohort) == []


# The pseudonym key.


def test_a_key_that_was_never_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "pseudonym.key").write_bytes(b"")
    with pytest.raises(InputError, match="has 32 bytes"):
        runs.cohort_key("cohort")


def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(BadOutput, match="No space left"):
        patched.setattr(os, "fsync", full)
        runs.cohort_key("cohort")
    assert list((tmp_path / "home").iterdir()) == []
    assert len(runs.cohort_key("cohort")) == 32


# Two processes, and killed ones.


def test_an_output_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with runs.publishing(tmp_path / "out", "f" * 64) as folder:
        (folder / "mine").write_text("1")
        with pytest.raises(BadOutput, match="another is at work"), runs.publishing(tmp_path / "out", "f" * 64):
            pytest.fail("both were let in")
        assert (folder / "mine").exists()
    assert (tmp_path / "out" / "mine").exists()


def test_a_run_folder_has_one_writer_and_loses_half_written_files(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.safetensors.123.partial").write_text("half")
    with runs.holding(tmp_path):
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(BadOutput, match="another is at work"), runs.holding(tmp_path):
            pytest.fail("both were let in")
    with runs.holding(tmp_path):
        pass


# Numbers and names that no image has.


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 10**20},
        {"field_mm": 1e300},
        {"field_mm": 1e-300},
        {"shares": (float("nan"), 0, 0, 1)},
        {"out": Path("line\nbreak")},
        {"out": Path(os.fsdecode(b"\xff"))},
    ],
)
def test_prepare_refuses_before_it_reads(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        prepare("acdc", tmp_path / "missing", **{"out": tmp_path / "out", **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bounds", [(float("-inf"), 5.0), (0.0, float("inf"))])
def test_a_folder_has_a_finite_value_range(tmp_path: Path, bounds: tuple[float, float]) -> None:
    with pytest.raises(BadOption, match="two increasing numbers"):
        Source(tmp_path, value_range=bounds)


@pytest.mark.parametrize("text", ["", "image,slice_index\na.png,99999999999999999999\n"])
def test_a_table_that_cannot_be_stored_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "samples.csv").write_text(text)
    with pytest.raises(BadSource):
        Source(tmp_path)


def test_a_file_name_that_is_not_utf8_can_be_digested() -> None:
    names = [os.fsdecode(name) for name in (b"\xff", b"\xfe")]
    assert len({runs.fingerprint({"listing": name}) for name in names}) == 2


@pytest.mark.parametrize(
    ("kind", "name"), [("sources", "os:system"), ("generators", "json:loads"), ("sources", ":"), ("tasks", "a:")]
)
def test_a_name_that_leads_to_no_plugin_is_refused(kind: str, name: str) -> None:
    with pytest.raises(UnknownName):
        plugins.find(kind, name)


def test_a_terminal_is_not_sent_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "no\x1b[2Jcohort"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    """The library writes the metadata in an order that is random; ten files would be the same once in 512 times."""
    import torch

    tensors = {"é": torch.ones(3, dtype=torch.uint8), "b": torch.zeros(2, 2)}
    for number in range(10):
        runs.save_tensors(tmp_path / f"{number}", tensors, {"kind": "test"}, note="naïve \n")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    found, config, facts = runs.load_tensors(tmp_path / "0")
    assert (config, facts) == ({"kind": "test"}, {"note": "naïve \n"})
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


# A run from a stranger.


@pytest.fixture
def run(cohort: Path, tmp_path: Path) -> Path:
    """A finished run of the PCA Gaussian."""
    assert cli.main(["train", str(cohort), "--generator", "gaussian", "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def _change(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    tensors, config, facts = runs.load_tensors(run / runs.WEIGHTS)
    change(tensors, facts)
    runs.save_tensors(run / runs.WEIGHTS, tensors, config, **facts)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, facts: tensors.popitem(),
        lambda tensors, facts: facts.clear(),
        lambda tensors, facts: facts["facts"].update(shape="x"),
    ],
)
def test_weights_that_do_not_fit_their_run_are_one_line(
    run: Path, tmp_path: Path, change: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _change(run, change)
    assert cli.main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_samples_that_are_not_finite_are_not_written(run: Path, tmp_path: Path) -> None:
    _change(run, lambda tensors, facts: tensors.update({name: value * np.nan for name, value in tensors.items()}))
    assert cli.main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "made")]) == 1
    assert not any(path.name.startswith("made") for path in tmp_path.iterdir())


def test_a_log_with_foreign_rows_is_cleaned_on_resume(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('[1]\n{"x": 1}\n{"images_seen": "a"}\n{"images_seen": 4}\n{"images_s')
    log = runs.RowLog(tmp_path / "log")
    log.rewind("images_seen", 8)
    assert log.rows() == [{"images_seen": 4}]


# An EVAL from a stranger.

_SIDE = {"name": "x", "counts": {"train": {"images": 20, "patients": 20}}}


@pytest.mark.parametrize(
    "change",
    [
        {"notes": 5},
        {"mask_classes": 5},
        {"utility_by_seed": "x"},
        {"real": {**_SIDE, "counts": "x"}},
        {"synthetic": {**_SIDE, "counts": {"train": 5}}},
        {"real": "name"},
        {"seconds": float("nan")},
        {"stages": {"copies": 5}},
    ],
)
def test_facts_of_another_type_make_no_evaluation(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "eval.json").write_text(json.dumps({"real": _SIDE, "synthetic": _SIDE, **change}))
    with pytest.raises(NotAnEvaluation, match=r"eval\.json"):
        read_evaluation(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy's, as above
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(20), b"\x80\x04K\x01."])
def test_pictures_of_another_kind_make_no_evaluation(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "examples.npz").write_bytes(content)
    with pytest.raises(NotAnEvaluation, match=r"examples\.npz"):
        read_pictures(tmp_path / "examples.npz", "images", "masks")


# What a run folder tells about its maker.


def test_event_files_do_not_name_the_host_and_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from synthcohort.train._watch import EventWriter

    for seen in (0, 64):  # the second writer resumes at 64 images, so the first one's 128 counts no more
        with contextlib.closing(EventWriter(tmp_path, seen, 256)) as events:
            for step in (seen + 64, seen + 128):
                events.add_scalars({"loss": step / 2}, step)
            events.add_image(np.zeros((4, 4, 3), np.uint8), seen + 128)
    names = [path.name for path in (tmp_path / "events").iterdir()]
    assert len(names) == 2
    assert not any(socket.gethostname() in name or str(os.getpid()) in name.split(".") for name in names)
    found = EventAccumulator(str(tmp_path / "events")).Reload()
    assert found.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(64, 32.0), (128, 64.0), (192, 96.0)]
    assert [event.step for event in found.Images("samples")] == [192]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_the_event_writer(tmp_path: Path) -> None:
    from synthcohort.train._watch import EventWriter

    with (
        pytest.raises(BadOutput, match="No space left"),
        writing(tmp_path),
        contextlib.closing(EventWriter(tmp_path, 0, 64)) as events,
    ):
        assert events._records is not None
        events._records.close()
        events._records._writer = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 (closed by the writer)
        events.add_scalars({"loss": 1.0}, 64)


def test_the_feature_cache_keeps_no_small_images(tmp_path: Path) -> None:
    from synthcohort.evaluate._sets import ImageSet
    from synthcohort.evaluate._spaces import FeatureCache
    from synthcohort.extractors import pixels, texture

    images = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    patients = np.array(["a", "b", "c"])
    cache = FeatureCache(tmp_path / "features", (0.0, 255.0))
    real = ImageSet("real train", images, None, None, patients, patients, "key")
    assert cache.features(real, pixels.Extractor()).values.shape == images.shape
    assert not (tmp_path / "features").exists()
    cache.features(real, texture.Extractor())
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_loss_curves_are_the_same_file_every_time() -> None:
    from synthcohort.pictures import loss_curves

    rows = [{"images_seen": 64, "loss": 1.0}, {"images_seen": 128, "loss": 0.5}]
    assert loss_curves(rows) == loss_curves(rows)


def test_nothing_is_left_after_the_copy_of_a_damaged_cohort_is_refused(cohort: Path, tmp_path: Path) -> None:
    shutil.copytree(cohort, tmp_path / "copy")
    (tmp_path / "copy" / "images.npy").write_bytes((cohort / "images.npy").read_bytes()[:-1])
    before = sorted(tmp_path.iterdir())
    assert cli.main(["train", str(tmp_path / "copy"), "--generator", "gaussian", "--out", str(tmp_path / "run")]) == 2
    assert sorted(tmp_path.iterdir()) == before
