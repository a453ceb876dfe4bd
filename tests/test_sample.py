"""Sampling: what sample i depends on, what is mirrored, what is said about it, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort import plugins, runs
from synthcohort.cohort import Cohort, Facts, verify, writing_cohort
from synthcohort.errors import BadOption, Mismatch
from synthcohort.sample import MAX_CHUNK, chunk_length, sample
from synthcohort.train import train
from synthcohort.types import Array

TINY: dict[str, dict[str, Any]] = {
    "flow": {"width": 16, "multipliers": (1,), "components": 4},
    "hinge": {"filters": 4, "latent": 8},
    "memoriser": {"code": 16, "hidden": 32},
}
IMAGES_SEEN = {"hinge": 320}  # until its samples leave mid grey
STEPS = {"flow": {"steps": 2}}
Trained = Callable[[str], Path]


@pytest.fixture(scope="module")
def trained(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A function from the name of a generator to its finished run, trained for a few steps."""
    root = tmp_path_factory.mktemp("runs")

    def run(name: str) -> Path:
        given = {"images_seen": IMAGES_SEEN.get(name, 16), "batch": 8, "options": TINY.get(name, {})}
        return train(discs, generator=name, out=root / name, precision="fp32", device="cpu", **given)

    return run


def pixels(cohort: Cohort) -> tuple[Array, Array]:
    return np.asarray(cohort.images), np.asarray(cohort.masks)


@pytest.mark.parametrize("name", ["flow", "hinge", "memoriser", "holdout", "gaussian", "copycat"])
def test_a_sample_depends_on_the_seed_and_its_index_only(name: str, trained: Trained, tmp_path: Path) -> None:
    run, options = trained(name), STEPS.get(name, {})
    many = sample(run, out=tmp_path / "many", n=MAX_CHUNK + 10, batch=1, options=options)
    few = sample(run, out=tmp_path / "few", n=5, batch=1000, options=options)
    for found, expected in zip(pixels(few), pixels(many), strict=True):
        np.testing.assert_array_equal(found, expected[:5])
    # Neighbours differ, within a chunk and over its end.
    if name != "holdout":
        assert len(np.unique(many.images[[0, 1, MAX_CHUNK]], axis=0)) == 3
        other = sample(run, out=tmp_path / "other", n=5, seed=1, options=options)
        assert not np.array_equal(other.images, few.images)


def test_the_chunk_depends_on_the_image_size_only() -> None:
    assert chunk_length((1, 16, 16)) == MAX_CHUNK
    assert chunk_length((3, 128, 128)) == 16
    assert chunk_length((1, 1024, 1024)) == 1


def test_n_gives_every_fifth_sample_to_validation(trained: Trained, tmp_path: Path) -> None:
    made = sample(trained("gaussian"), out=tmp_path / "made", n=12)
    assert list(made.samples["split"]) == (["train"] * 4 + ["val"]) * 2 + ["train"] * 2


def test_like_mirrors_the_splits_and_leaves_the_reference_out(discs: Path, trained: Trained, tmp_path: Path) -> None:
    made, real = sample(trained("gaussian"), out=tmp_path / "made", like=discs).counts(), Cohort(discs).counts()
    assert set(made) == {"train", "val", "test"}
    assert {split: made[split]["images"] for split in made} == {split: real[split]["images"] for split in made}


def test_the_cohort_says_what_it_is(discs: Path, trained: Trained, tmp_path: Path) -> None:
    run = trained("flow")
    made = sample(run, out=tmp_path / "made", n=7, seed=3, options=STEPS["flow"])
    assert verify(made.path) == []
    assert made.pixels_sha256 == Cohort(discs).pixels_sha256
    facts = made.facts
    assert (facts.provenance, facts.name, facts.source) == ("synthetic", "flow of discs", "generator flow")
    assert facts.generator is not None
    assert facts.generator["options"]["width"] == 16
    assert facts.generator["fingerprint"] == runs.read_run(run)["fingerprint"]
    assert facts.generator["trained_on"] == {"train": 30, "val": "<10", "test": "<10", "reference": "<10"}
    assert [step["kind"] for step in facts.history] == ["sample"]
    assert facts.history[0]["seed"] == 3
    assert facts.history[0]["options"] == {"steps": 2, "guidance": 1.0}
    assert set(zip(made.samples["spacing_y_mm"], made.samples["spacing_x_mm"], strict=True)) == {(1.5, 1.25)}
    assert (made.path / "training.jsonl").read_bytes() == (run / runs.LOG).read_bytes()
    np.testing.assert_array_equal(np.asarray(made.masks).max(), 1)


@pytest.mark.parametrize("name", ["memoriser", "holdout", "gaussian", "copycat"])
def test_a_control_says_so(name: str, trained: Trained, tmp_path: Path) -> None:
    assert sample(trained(name), out=tmp_path / "made", n=2).facts.provenance == "control"


def test_nothing_of_a_patient_is_in_a_run_or_in_its_samples(discs: Path, trained: Trained, tmp_path: Path) -> None:
    run = trained("flow")
    made = sample(run, out=tmp_path / "made", like=discs, options=STEPS["flow"])
    table = Cohort(discs).samples
    secrets = {str(value).encode() for column in ("patient_id", "group_id", "sample_id") for value in table[column]}
    secrets |= {str(value).encode() for value in table["digest"]} | {b"secret", str(discs).encode()}
    for path in [*run.rglob("*"), *made.path.rglob("*")]:
        content = path.read_bytes() if path.is_file() else b""
        assert not [secret for secret in secrets if secret in content], path.name
    # The table is compressed, so it is read as well.
    text = made.samples.to_csv()
    assert not [secret for secret in secrets if secret.decode() in text]


@pytest.mark.parametrize("spacings", [((1.0, 1.0), (2.0, 1.0)), ((None, None),)])
def test_spacing_is_left_out_where_the_training_images_have_no_common_one(
    spacings: tuple[tuple[float | None, float | None], ...], tmp_path: Path
) -> None:
    facts = Facts("mixed", "none", "real", (1, 16, 16), "uint8", (0.0, 255.0))
    rng = np.random.default_rng(0)
    with writing_cohort(tmp_path / "mixed", facts, {}, b"k") as writer:
        for i in range(4):
            y, x = spacings[i % len(spacings)]
            row = {"sample_id": f"s{i}", "patient_id": f"p{i}", "group_id": f"g{i}", "slice_index": 0, "split": "train"}
            image = rng.integers(0, 256, (1, 16, 16), dtype=np.uint8)
            writer.append(image, None, {**row, "spacing_y_mm": y, "spacing_x_mm": x})
        writer.finish()
    made = sample(train(tmp_path / "mixed", generator="gaussian", out=tmp_path / "run"), out=tmp_path / "made", n=3)
    assert made.masks is None
    assert made.samples[["spacing_y_mm", "spacing_x_mm"]].isna().all(axis=None)
    assert verify(made.path) == []


def test_the_same_call_returns_what_is_there_and_another_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("gaussian")
    made = sample(run, out=tmp_path / "made", n=6, batch=2)
    before = {path.name: path.stat().st_mtime_ns for path in made.path.iterdir()}
    monkeypatch.setattr(plugins.find("generators", "gaussian"), "sample", lambda self, condition, rng: 1 / 0)
    sample(run, out=tmp_path / "made", n=6, batch=4)  # how many at a time changes nothing
    assert {path.name: path.stat().st_mtime_ns for path in made.path.iterdir()} == before
    for changed in ({"n": 7}, {"n": 6, "seed": 1}):
        with pytest.raises(Mismatch, match="reused only for the same command"):
            sample(run, out=tmp_path / "made", **changed)


def test_only_a_finished_run_of_this_revision_is_sampled(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("gaussian")
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / runs.WEIGHTS).rename(unfinished / runs.CHECKPOINT)
    with pytest.raises(Mismatch, match="Only a finished run"):
        sample(unfinished, out=tmp_path / "made", n=2)

    foreign = shutil.copytree(run, tmp_path / "foreign")
    shutil.copy(trained("holdout") / runs.WEIGHTS, foreign / runs.WEIGHTS)
    with pytest.raises(Mismatch, match="Weights belong to their run"):
        sample(foreign, out=tmp_path / "made", n=2)

    with pytest.raises(Mismatch, match=r"run\.json"):
        sample(tmp_path, out=tmp_path / "made", n=2)

    monkeypatch.setattr(plugins.find("generators", "gaussian"), "REVISION", 99)
    with pytest.raises(Mismatch, match="has revision 1 of gaussian, this version 99"):
        sample(run, out=tmp_path / "made", n=2)
    assert not (tmp_path / "made").exists()


def test_like_takes_a_cohort_prepared_alike(discs: Path, trained: Trained, tmp_path: Path) -> None:
    other = shutil.copytree(discs, tmp_path / "other")
    content = json.loads((other / "cohort.json").read_text())
    content["pixel_rules"] = {"resize": "nearest"}
    content["pixels_sha256"] = runs.fingerprint(
        {key: content[key] for key in ("shape", "dtype", "value_range", "mask_classes", "pixel_rules")}
    )
    (other / "cohort.json").write_text(json.dumps(content))
    with pytest.raises(Mismatch, match="prepared like the training cohort"):
        sample(trained("gaussian"), out=tmp_path / "made", like=other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either --n or --like"),
        ({"n": 3, "like": "discs"}, "either --n or --like"),
        ({"n": 0}, "--n is at least 1"),
        ({"n": 3, "batch": 0}, "--batch is at least 1"),
        ({"n": 3, "device": "tpu"}, "'tpu'"),
        ({"n": 3, "options": ["setps=3"]}, "'setps'"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    changes: dict[str, Any], message: str, discs: Path, trained: Trained, tmp_path: Path
) -> None:
    given = {key: discs if value == "discs" else value for key, value in changes.items()}
    with pytest.raises(BadOption, match=message):
        sample(trained("gaussian"), out=tmp_path / "made", **given)
    assert list(tmp_path.iterdir()) == []
