"""Evaluation end to end on handmade cohorts of discs: roles, amounts, copies, resuming, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.errors import BadOption, BadOutput, InputError, Mismatch, UnknownName
from synthcohort.evaluate import _dice, _folder, _sets, evaluate
from synthcohort.evaluate._setting import Plan
from synthcohort.evaluate._work import Evaluation
from synthcohort.tasks import segmentation
from synthcohort.types import Array, Score

SIDE = 32
CLASSES = ("background", "disc")
TINY = {"width": 2, "images_seen": 96, "batch": 8, "learning_rate": 0.02}
REAL_SPLITS = {"train": 8, "val": 3, "test": 4, "reference": 6}  # patients
SLICES = 4


def disc(rng: np.random.Generator, brightness: float) -> tuple[Array, Array]:
    """Return a textured image (1, 32, 32) uint8 with a disc of random place and size, and its mask."""
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column, radius = rng.uniform(10, 22), rng.uniform(10, 22), rng.uniform(4, 8)
    mask = ((y - row) ** 2 + (x - column) ** 2 < radius**2).astype(np.uint8)
    coarse = rng.normal(0, 25, (8, 8)).repeat(4, 0).repeat(4, 1)
    image = 60 + coarse + rng.normal(0, 5, (SIDE, SIDE)) + brightness * mask
    return np.clip(image, 0, 255).astype(np.uint8)[None], mask


def facts(provenance: Any, **changes: Any) -> Facts:
    given = {
        "name": f"{provenance} discs",
        "modality": "phantom",
        "provenance": provenance,
        "shape": (1, SIDE, SIDE),
        "dtype": "uint8",
        "value_range": (0.0, 255.0),
        "mask_classes": CLASSES,
        "generator": None if provenance == "real" else {"generator": "handmade"},
        **changes,
    }
    return Facts(**given)


Sample = tuple[Array, "Array | None", str, str]


def write(out: Path, given: Facts, samples: list[Sample]) -> Path:
    """Write (image, mask, split, patient) samples as a cohort; every patient has one volume."""
    with writing_cohort(out, given, {"made": out.name}, key=b"k" if given.provenance == "real" else None) as writer:
        for number, (image, mask, split, patient) in enumerate(samples):
            row = {"sample_id": f"{out.name}{number}", "patient_id": patient, "group_id": patient}
            writer.append(image, mask, {**row, "slice_index": 0, "split": split})
        writer.finish()
    return out


def real_samples(seed: int = 1, splits: dict[str, int] | None = None) -> list[Sample]:
    rng, samples = np.random.default_rng(seed), []
    for split, patients in (splits or REAL_SPLITS).items():
        for patient in range(patients):
            samples += [(*disc(rng, 100), split, f"{split}{patient}") for _ in range(SLICES)]
    return samples


def synthetic_samples(count: int, *, seed: int = 2, brightness: float = 100, val: bool = True) -> list[Sample]:
    rng = np.random.default_rng(seed)
    splits = ["val" if val and number % 5 == 4 else "train" for number in range(count)]
    return [(*disc(rng, brightness), split, f"s{number}") for number, split in enumerate(splits)]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("real") / "real", facts("real"), real_samples())


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = write(tmp_path_factory.mktemp("synthetic") / "flow", facts("synthetic"), synthetic_samples(50))
    (out / "training.jsonl").write_text('{"images_seen": 10, "loss": 1.0}\n')
    return out


@pytest.fixture(scope="module")
def shared_jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def finished(real: Path, synthetic: Path, shared_jobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "eval"
    evaluate(real, synthetic, out=out, seeds=2, options=TINY, jobs=shared_jobs)
    return out


def rows_of(out: Path) -> list[Score]:
    return _folder.read_scores(out)


def pick(scores: list[Score], **wanted: Any) -> Score:
    found = [s for s in scores if all(getattr(s, key) == value for key, value in wanted.items())]
    assert len(found) == 1, [s.comparison_id for s in found]
    return found[0]


def without_seconds(scores: list[Score]) -> list[dict[str, Any]]:
    return [{**score.to_json(), "seconds": 0} for score in scores]


def test_every_subject_has_a_ceiling_and_a_bad_row(finished: Path) -> None:
    # Planted copies say how good the search is, not the cohort: they have neither ceiling nor bad case.
    rows = [row for row in rows_of(finished) if row.metric != "copy_sensitivity"]
    roles: dict[str, list[str]] = {}
    for row in rows:
        roles.setdefault(row.comparison_id, []).append(row.role)
    assert all(sorted(found) == ["bad", "ceiling", "subject"] for found in roles.values())
    assert {
        "frechet|task|image|", "kid|task|image|", "copies|pixels|copies|", "copies|task|copies|",
        "dice_volume|segmentation|train|disc", "dice_volume|segmentation|train|mean",
        "dice_slice|segmentation|test|mean", "dice_ratio|segmentation|train|mean", "dice_gap|segmentation|train|mean",
    } <= set(roles)  # fmt: skip
    assert {row.subject for row in rows if row.role == "subject"} == {"handmade"}
    assert {row.subject for row in rows if row.role == "bad"} == {"gaussian", "copycat"}
    arms = {row.arm for row in rows if row.metric == "dice_slice"}
    assert arms == {"real->real", "synthetic->real", "gaussian->real", "real->synthetic", "real->gaussian"}


def test_distances_compare_equal_numbers(finished: Path) -> None:
    rows = [row for row in rows_of(finished) if row.arm == "image"]
    # Held out are 4 test patients and every second of 6 reference patients. The ceiling of the task space is the 3
    # validation and the 3 other reference patients, that of the others the 8 training patients; 50 are synthetic.
    compared = {row.comparison_id.split("|")[1]: (row.n_real, row.n_synthetic) for row in rows}
    without_weights = ((4 + 3) * SLICES, 8 * SLICES)
    assert compared == {
        "task": ((4 + 3) * SLICES, (3 + 3) * SLICES),
        "texture": without_weights,
        "radiomics": without_weights,
    }
    assert len({(row.comparison_id.split("|")[1], row.n_real, row.n_synthetic) for row in rows}) == len(compared)


@pytest.mark.parametrize(("space", "count"), [("task", (3 + 3) * SLICES), ("squeezenet", 8 * SLICES)])
def test_what_a_space_was_fitted_to_is_no_ceiling_in_it(
    real: Path, synthetic: Path, tmp_path: Path, space: str, count: int
) -> None:
    cohorts = Cohort(real), Cohort(synthetic)
    plan = Plan((), {}, True, {}, (), {}, (), 1, 0, {})
    work = Evaluation(tmp_path / "eval", cohorts, plan, tmp_path, tmp_path)
    compared = work._compared_in(space)
    assert [len(images) for _, images in compared.items()] == [count] * 3
    ceiling, fitted = set(compared.ceiling.patients.tolist()), set(work.setting.real.train.patients.tolist())
    assert ceiling <= (fitted if space == "squeezenet" else set(work.setting.real.unfitted.patients.tolist()))
    assert not ceiling & set(work.setting.real.held_out.patients.tolist())
    assert not set(work.setting.real.unfitted.patients.tolist()) & fitted


def test_ratio_and_gap_follow_from_the_dice_of_the_arms(finished: Path) -> None:
    rows = rows_of(finished)
    own = pick(rows, metric="dice_volume", arm="synthetic->real", label="mean").value
    ceiling = pick(rows, metric="dice_volume", arm="real->real", label="mean").value
    assert own is not None
    assert ceiling is not None
    assert pick(rows, metric="dice_ratio", role="subject").value == pytest.approx(own / ceiling, rel=1e-12)
    assert pick(rows, metric="dice_gap", role="subject").value == pytest.approx(ceiling - own, rel=1e-12, abs=1e-12)
    itself = pick(rows, metric="dice_ratio", role="ceiling")
    assert (itself.value, itself.low, itself.high) == (1, 1, 1)


def test_the_folder_holds_what_the_report_reads(finished: Path, synthetic: Path) -> None:
    content = json.loads((finished / "eval.json").read_text())
    stages = content["stages"]
    assert set(stages) == {"utility", "features", "distances", "rules", "copies", "attacks"}
    assert 0 < sum(each["seconds"] for each in stages.values()) <= content["seconds"]
    assert content["real"]["counts"]["train"] == {"images": 32, "patients": 8}
    assert content["synthetic"]["generator"] == {"generator": "handmade"}
    assert content["mask_classes"] == list(CLASSES)
    assert any("membership" in sentence for sentence in content["not_measured"])
    assert any("squeezenet" in sentence for sentence in content["not_measured"])
    assert len(content["utility_by_seed"]["segmentation"]["real->real"]) == 2
    samples = pd.read_parquet(finished / "samples.parquet")
    assert list(samples["sample_id"]) == list(Cohort(synthetic).samples["sample_id"])
    assert {"nearest_pixels", "similarity_pixels", "nearest_task", "similarity_task", "copy"} <= set(samples.columns)
    with np.load(finished / "examples.npz") as examples:
        assert examples["images"].shape == (32, 1, SIDE, SIDE)
        assert examples["masks"].shape == (32, SIDE, SIDE)
        assert examples["images"].dtype == np.uint8
    curves = [json.loads(line) for line in (finished / "task_curves.jsonl").read_text().splitlines()]
    assert {(row["arm"], row["seed"]) for row in curves} == {
        (arm, seed) for arm in ("real", "synthetic", "gaussian") for seed in (0, 1)
    }
    assert (finished / "training.jsonl").read_text() == (synthetic / "training.jsonl").read_text()


def test_real_pixels_are_in_pairs_only(finished: Path, real: Path) -> None:
    train = {image.tobytes() for image in Cohort(real).images}
    with np.load(finished / "pairs" / "pairs.npz") as pairs:
        assert {image.tobytes() for image in pairs["nearest"]} <= train
        assert (np.diff(pairs["similarity"]) <= 0).all()
    with np.load(finished / "examples.npz") as examples:
        assert not {image.tobytes() for image in examples["images"]} & train


def test_rows_round_trip(finished: Path) -> None:
    lines = (finished / "scores.jsonl").read_text().splitlines()
    assert [Score(**json.loads(line)).to_json() for line in lines] == [json.loads(line) for line in lines]


def test_an_interrupted_evaluation_goes_on_to_the_same_scores(
    finished: Path, real: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fit = [], segmentation.Task.fit

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["seed"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(segmentation.Task, "fit", interrupted)
    out = tmp_path / "eval"
    with pytest.raises(KeyboardInterrupt):
        evaluate(real, synthetic, out=out, seeds=2, options=TINY)
    assert not (out / "eval.json").exists()
    scores = evaluate(real, synthetic, out=out, seeds=2, options=TINY)
    assert len(calls) == 10  # six fits, and the one that was cut off, and three of the second learner
    assert len(set(calls)) == 2  # the arms are paired by seed
    assert without_seconds(scores) == without_seconds(rows_of(finished))


def test_a_finished_evaluation_is_read_back_and_another_config_refused(
    finished: Path, real: Path, synthetic: Path, shared_jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation.Task, "fit", None)
    again = evaluate(real, synthetic, out=finished, seeds=2, options=TINY, jobs=shared_jobs)
    assert [score.to_json() for score in again] == [score.to_json() for score in rows_of(finished)]
    with pytest.raises(Mismatch, match="seeds=2, now 3"):
        evaluate(real, synthetic, out=finished, seeds=3, options=TINY)


def test_copies_of_training_images_are_called_out_and_real_fits_shared(
    finished: Path, real: Path, shared_jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = [
        (image, mask, "val" if number % 5 == 4 else "train", f"c{number}")
        for number, (image, mask, split, _) in enumerate(real_samples())
        if split == "train"
    ]
    cohort = write(tmp_path / "copies", facts("synthetic"), copied)
    trained = []
    fit = segmentation.Task.fit

    def counted(self: Any, images: Array, *args: Any, **kwargs: Any) -> Any:
        trained.append(len(images))
        return fit(self, images, *args, **kwargs)

    monkeypatch.setattr(segmentation.Task, "fit", counted)
    scores = evaluate(real, cohort, out=tmp_path / "eval", seeds=2, options=TINY, jobs=shared_jobs)
    found = pick(scores, comparison_id="copies|pixels|copies|", role="subject")
    assert found.value == 1
    assert pick(scores, comparison_id="copies|pixels|copies|", role="bad").value == pytest.approx(1, abs=0.2)
    assert pick(scores, comparison_id="copies|pixels|copies|", role="ceiling").value <= 0.1
    clean = pick(rows_of(finished), comparison_id="copies|pixels|copies|", role="subject")
    assert clean.value is not None
    assert clean.value <= 0.1
    samples = pd.read_parquet(tmp_path / "eval" / "samples.parquet")
    assert samples["copy"].all()
    assert list(samples["nearest_pixels"]) == [f"real{number}" for number in range(32)]
    # 26 synthetic training images: the real arm is cut to whole patients, about as many, so it is fitted anew.
    assert set(trained) == {26, 24}
    notes = json.loads((tmp_path / "eval" / "eval.json").read_text())["notes"]
    assert any("cut to 24 images of 6 patients" in note for note in notes)


def test_real_fits_are_shared_between_evaluations(
    finished: Path, real: Path, shared_jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path / "other", facts("synthetic"), synthetic_samples(50, seed=9, brightness=60))
    keys, fit = [], segmentation.Task.fit

    def counted(self: Any, images: Array, *args: Any, **kwargs: Any) -> Any:
        keys.append(images.tobytes())
        return fit(self, images, *args, **kwargs)

    monkeypatch.setattr(segmentation.Task, "fit", counted)
    evaluate(real, other, out=tmp_path / "eval", seeds=2, options=TINY, jobs=shared_jobs, metrics=["dice"])
    # The synthetic arm only, twice and once by the second learner: real and gaussian fits were there.
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_an_oracle_scores_a_dice_of_one(real: Path) -> None:
    test = _sets.real_sets(Cohort(real), ()).test
    assert test.masks is not None
    for volumes in (True, False):
        own = _dice.tally(test, [test.masks, test.masks], len(CLASSES), volumes=volumes)
        assert own.mean(np.arange(2), np.arange(4)).tolist() == [1.0, 1.0]


def test_dice_is_averaged_over_groups_then_classes_then_seeds() -> None:
    sums = np.array([[[1.0, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    counts = np.array([[[2.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    own = _dice.Tally(sums, counts)
    # Seed 0: (2/4, 0.5/1); seed 1: (1/2, 1/2).
    np.testing.assert_allclose(own.mean(np.arange(2), np.arange(2)), [0.5, 0.5, 0.5], rtol=1e-15)
    # Patient 1 alone, seed 0: class 1 is 1/2, class 2 does not occur.
    np.testing.assert_allclose(own.mean(np.array([0]), np.array([1])), [0.5, np.nan, 0.5], rtol=1e-15)


def test_reference_halves_are_disjoint_and_whole(real: Path) -> None:
    sets = _sets.real_sets(Cohort(real), ())
    parts = [sets.train, sets.val, sets.held_out, sets.holdout]
    patients = [set(part.patients.tolist()) for part in parts]
    assert [len(found) for found in patients] == [8, 3, 7, 3]
    assert sum(map(len, patients)) == len(set().union(*patients))


def test_a_cohort_without_val_uses_the_last_fifth_and_fewer_images_cut_the_real_arm(real: Path, tmp_path: Path) -> None:
    cohort = Cohort(write(tmp_path / "flow", facts("synthetic"), synthetic_samples(20, val=False)))
    sets = _sets.real_sets(Cohort(real), ())
    amounts = _sets.equal_amounts(sets, cohort, _sets.whole(cohort, "synthetic", ()), seed=0)
    assert np.array_equal(amounts.train.images, cohort.images[:16])
    assert np.array_equal(amounts.val.images, cohort.images[16:])
    assert (len(amounts.real), amounts.real.patient_count) == (16, 4)
    assert len(amounts.notes) == 2


def test_fidelity_alone_fits_nothing_and_works_without_masks(tmp_path: Path) -> None:
    def bare(samples: list[Sample]) -> list[Sample]:
        return [(image, None, split, patient) for image, _, split, patient in samples]

    own = write(tmp_path / "real", facts("real", mask_classes=()), bare(real_samples()))
    other = write(tmp_path / "flow", facts("synthetic", mask_classes=()), bare(synthetic_samples(40)))
    scores = evaluate(own, other, out=tmp_path / "eval")
    volume = pick(scores, metric="dice_volume")
    assert (volume.status, volume.value, volume.role) == ("not_estimable", None, "subject")
    assert "no masks" in volume.reason
    assert pick(scores, comparison_id="copies|pixels|copies|", role="subject").status == "ok"
    assert not (tmp_path / "eval" / "jobs").exists()
    with pytest.raises(InputError, match="needs a task"):
        evaluate(own, other, out=tmp_path / "other", extractors=["task"])
    with pytest.raises(InputError, match="needs masks"):
        evaluate(own, other, out=tmp_path / "other", tasks=["segmentation"])


def test_missing_splits_are_not_estimable(tmp_path: Path, synthetic: Path) -> None:
    own = write(tmp_path / "real", facts("real"), real_samples(splits={"train": 6, "test": 3}))
    scores = evaluate(own, synthetic, out=tmp_path / "eval", options=TINY)
    assert "no validation split" in pick(scores, metric="dice_volume").reason
    ceiling = pick(scores, comparison_id="copies|pixels|copies|", role="ceiling")
    assert ceiling.status == "not_estimable"
    notes = json.loads((tmp_path / "eval" / "eval.json").read_text())["notes"]
    assert any("copies have no ceiling" in note for note in notes)


def test_images_from_elsewhere_are_scored_and_noted(real: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "elsewhere", facts("real"), real_samples(seed=7))
    evaluate(real, other, out=tmp_path / "eval", metrics=["nearest"], tasks=[])
    notes = json.loads((tmp_path / "eval" / "eval.json").read_text())["notes"]
    assert any("images from elsewhere" in note for note in notes)
    assert not (tmp_path / "eval" / "examples.npz").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"extractors": ["squeezenet"]}, InputError, "squeezenet needs its ImageNet weights"),
        ({"weights": {"squeezenett": Path("x")}}, UnknownName, "Did you mean 'squeezenet'"),
        ({"weights": {"squeezenet": Path("x")}, "extractors": ["task"]}, BadOption, "'squeezenet' is not"),
        ({"metrics": ["frechett"]}, UnknownName, "Did you mean 'frechet'"),
        ({"tasks": ["segmentatio"]}, UnknownName, "Did you mean 'segmentation'"),
        ({"options": {"widht": 3}}, BadOption, "Did you mean 'width'"),
        ({"seeds": 0}, BadOption, "at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    real: Path, synthetic: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        evaluate(real, synthetic, out=tmp_path / "eval", **changes)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_cohorts_that_may_not_be_compared_are_refused(real: Path, synthetic: Path, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd", facts("synthetic", pixel_rules={"window": "x"}), synthetic_samples(10))
    with pytest.raises(Mismatch, match="pixel_rules") as raised:
        evaluate(real, odd, out=tmp_path / "eval")
    assert "\n" not in str(raised.value)
    with pytest.raises(Mismatch, match="first cohort is the real one"):
        evaluate(synthetic, real, out=tmp_path / "eval")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    with pytest.raises(BadOutput):
        evaluate(real, synthetic, out=tmp_path / "taken")
    assert not (tmp_path / "eval").exists()


def test_an_evaluation_that_would_score_nothing_is_refused(real: Path, synthetic: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    with pytest.raises(InputError, match="An evaluation scores something: prdc found no feature space"):
        evaluate(real, synthetic, out=out, metrics=["prdc"], extractors=["pixels"], tasks=[])
    assert not (out / "eval.json").exists()
    assert not (out / "scores.jsonl").exists()
