"""Masks that copy a training mask: planted ones are found, tiny and empty ones raise no alarm and no threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.errors import InputError
from synthcohort.evaluate import _folder, _metrics, evaluate
from synthcohort.evaluate._sets import whole
from synthcohort.evaluate._spaces import mask_features
from synthcohort.metrics import mask_copies
from synthcohort.report import report
from synthcohort.types import Features

SIDE, SLICES = 32, 4


def blobs(patients, first=0, share=0.12):
    """Return masks (n, 32, 32) of 0, 1, 2 and their patients: two smooth shapes that differ by patient and slice."""
    masks = []
    for patient in range(first, first + patients):
        rng = np.random.default_rng(patient)
        ends = [ndimage.gaussian_filter(rng.normal(size=(2, SIDE, SIDE)), (0, 4, 4)) for _ in range(2)]
        for place in np.linspace(0, 1, SLICES):
            field = (1 - place) * ends[0] + place * ends[1]
            inside = field > np.quantile(field, 1 - share, axis=(1, 2), keepdims=True)
            masks.append(np.where(inside[1], 2, inside[0]).astype(np.uint8))
    return np.stack(masks), np.repeat(np.arange(first, first + patients), SLICES)


def specks(count, side=2):
    """Return masks (n, 32, 32) of one small square in the middle, the same for all."""
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    masks[:, 15 : 15 + side, 15 : 15 + side] = 1
    return masks


def seen(masks, patients):
    shares = (masks[:, None] == np.arange(1, 3)[:, None, None]).astype(np.float32)
    return Features(shares, np.asarray(patients).astype(str), "masks")


@pytest.fixture(scope="module")
def sides():
    """Masks of training patients and of others, each patient with a speck and an empty mask beside the blobs."""
    parts = []
    for patients, first in ((40, 0), (20, 40)):
        masks, names = blobs(patients, first)
        people = np.arange(first, first + patients)
        every = np.concatenate([masks, specks(patients), np.zeros((patients, SIDE, SIDE), np.uint8)])
        parts.append((every, np.concatenate([names, people, people])))
    train, reference = (seen(*part) for part in parts)
    return parts[0][0], train, reference, mask_copies.calibrate(train, reference)


def test_specks_that_all_patients_share_do_not_raise_the_threshold(sides):
    _, train, reference, calibration = sides
    blobs_only = [4 * count for count in (40, 20)]
    kept = [
        Features(s.values[:n], s.patients[:n], "masks") for s, n in zip((train, reference), blobs_only, strict=True)
    ]
    without = mask_copies.calibrate(*kept)
    assert calibration.threshold == pytest.approx(without.threshold, abs=1e-9)
    assert calibration.threshold < 0.9
    assert calibration.patients == 60  # Nor do they make one person of two.


@pytest.mark.parametrize("shift", [0, 1])
def test_planted_copies_are_found_at_their_place(sides, shift):
    masks, train, reference, calibration = sides
    chosen = np.arange(0, 160, 3)
    subject = seen(np.roll(masks[chosen], shift, axis=2), np.arange(len(chosen)))
    found = mask_copies.verdicts(train, subject, reference, calibration=calibration)
    assert found.copy.mean() > 0.95
    assert (found.nearest == chosen)[found.copy].all()


def test_other_patients_specks_and_empty_masks_are_no_copies(sides):
    _, train, reference, calibration = sides
    others = mask_copies.verdicts(train, seen(*blobs(40, 100)), reference, calibration=calibration)
    assert others.copy.sum() <= SLICES  # 160 masks at 1 in 361 each; those of a patient go together
    for side in (0, 1, 2):
        subject = seen(specks(30, side), np.arange(30))
        assert not mask_copies.verdicts(train, subject, reference, calibration=calibration).copy.any()
        rate = mask_copies.score(train, subject, reference, seed=0, calibration=calibration)[0]
        assert (rate.metric, rate.value, rate.better) == ("mask_copies", 0.0, "lower")


def test_a_similarity_is_scaled_by_the_size_of_the_mask():
    masks, names = blobs(12)
    train = seen(masks, names)
    found = mask_copies.verdicts(train, train, seen(*blobs(4, 50)))
    area = (masks > 0).sum((1, 2))
    assert np.allclose(found.similarity, area / (area + 4), atol=1e-5)  # float32 windows
    assert (found.nearest == np.arange(len(masks))).all()


def cohort(out, masks, splits, patients, *, provenance):
    facts = Facts(
        name="blobs", modality="phantom", provenance=provenance, shape=(1, SIDE, SIDE), dtype="uint8",
        value_range=(0.0, 255.0), mask_classes=("background", "a", "b"), pixel_rules={"resize": "area"},
        generator=None if provenance == "real" else {"generator": "handmade"},
    )  # fmt: skip
    rng = np.random.default_rng(len(masks))  # other images in every cohort
    key = b"k" * 32 if provenance == "real" else None
    with writing_cohort(out, facts, {"made": out.name}, key) as writer:
        for number, (mask, split, patient) in enumerate(zip(masks, splits, patients, strict=True)):
            row = {"sample_id": f"{out.name}{number}", "patient_id": str(patient), "group_id": str(patient)}
            image = np.clip(rng.normal(120, 30, mask.shape), 0, 255).astype(np.uint8)  # has nothing to do with its mask
            writer.append(image[None], mask, {**row, "slice_index": number, "split": split})
        writer.finish()
    return out


def test_an_evaluation_says_which_masks_copy_a_training_mask(tmp_path):
    masks, patients = blobs(24)
    splits = np.repeat(["train"] * 12 + ["val"] * 2 + ["test"] * 4 + ["reference"] * 6, SLICES)
    real = cohort(tmp_path / "real", masks, splits, patients, provenance="real")
    new = blobs(5, 200)[0]
    copied = np.concatenate([masks[:20], new])  # The first 20 masks are training masks; all images are new.
    ids = np.arange(len(copied))
    made = cohort(tmp_path / "made", copied, ["train"] * len(copied), ids, provenance="synthetic")
    names = ("nearest", "mask_copies")
    scores = evaluate(real, made, out=tmp_path / "eval", metrics=names, extractors=(), tasks=())
    rows = {row.role: row for row in scores if row.metric == "mask_copies"}
    assert set(rows) == {"subject", "ceiling", "bad"}
    assert (rows["subject"].arm, rows["subject"].extractor) == ("masks", "masks")
    assert rows["subject"].value == pytest.approx(0.5, abs=0.05)
    assert rows["ceiling"].value <= 0.1
    assert rows["bad"].value > 0.5
    assert (rows["ceiling"].subject, rows["bad"].subject) == ("holdout", "copycat")
    table = pd.read_parquet(tmp_path / "eval" / _folder.SAMPLES)
    assert table["mask_copy"].tolist()[:20] == [True] * 20
    assert table["mask_copy"].sum() <= 22
    assert table["nearest_masks"].tolist()[:20] == [f"real{number}" for number in range(20)]
    assert not table["copy"].any()
    page = report([tmp_path / "eval"], out=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "of the synthetic masks resemble a training mask more than the masks of different patients" in page
    assert "of the synthetic images resemble a training image more than different patients" in page
    assert "That is more than coincidence gives: some masks repeat training masks" in page
    assert "called out by the search for copied masks, as it should be" in page


def test_masks_become_shares_of_places_by_class(tmp_path):
    masks, patients = blobs(2)
    large = masks.repeat(2, 1).repeat(2, 2)[:, 1:-3, :]  # 60 x 64: no whole number of pixels to a place
    made = whole(Cohort(cohort(tmp_path / "a", masks, ["train"] * 8, patients, provenance="real")), "a", ())
    shares = mask_features(made, 3).values
    assert np.array_equal(shares, (masks[:, None] == np.arange(1, 3)[:, None, None]))
    shares = mask_features(replace(made, masks=large), 3).values
    assert shares.shape == (8, 2, 32, 32)
    areas = (large[:, None] == np.arange(1, 3)[:, None, None]).mean((2, 3))
    assert np.allclose(shares.mean((2, 3)), areas, atol=1e-6)


def test_a_cohort_without_masks_is_evaluated_without_it(labelled, discs):
    with_masks, without = (Cohort(path) for path in (discs, labelled))
    assert "mask_copies" in [metric.name for metric in _metrics(with_masks, None)]
    assert "mask_copies" not in [metric.name for metric in _metrics(without, None)]
    with pytest.raises(InputError, match="needs masks"):
        _metrics(without, ["mask_copies"])
