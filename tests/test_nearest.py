"""Copies: planted ones are found, other patients' images are not, and the threshold is the order statistic it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from synthcohort.errors import InputError, Mismatch
from synthcohort.extractors import pixels
from synthcohort.metrics import nearest
from synthcohort.metrics._copies import _threshold
from synthcohort.metrics._gallery import Gallery
from synthcohort.types import Features

SIDE, SLICES = 64, 6


def anatomy(patients, first_patient=0):
    """Images of one build that differ by patient: a common shape plus the patient's own, slowly changing slices."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    common = 90 * (x**2 + 1.5 * y**2 < 0.6) + 60 * ((x - 0.2) ** 2 + y**2 < 0.1)
    images = []
    for patient in range(first_patient, first_patient + patients):
        rng = np.random.default_rng(patient)
        ends = [ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 4) * 700 for _ in range(2)]
        for share in np.linspace(0, 1, SLICES):
            own = (1 - share) * ends[0] + share * ends[1]
            images.append(np.clip(common + own + 40 + rng.normal(0, 2, (SIDE, SIDE)), 0, 255))
    return np.stack(images)[:, None], np.repeat(np.arange(first_patient, first_patient + patients), SLICES)


def as_pixels(images, patients):
    stored = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return Features(pixels.Extractor().extract(stored, (0, 255)), np.asarray(patients).astype(str), "pixels")


@pytest.fixture(scope="module")
def cohort():
    train, reference = anatomy(60), anatomy(20, 60)
    sides = as_pixels(*train), as_pixels(*reference)
    return train[0], *sides, nearest.calibrate(*sides)


DISTORTIONS = {
    "identical": lambda image: image,
    "shifted 1 px": lambda image: np.roll(image, (1, -1), axis=(1, 2)),
    "shifted 2 px": lambda image: np.roll(image, 2, axis=2),
    "shifted and noisy": lambda image: np.roll(image, 1, axis=1) + np.random.default_rng(1).normal(0, 5, image.shape),
    "brighter": lambda image: image * 0.8 + 30,
    "half the contrast": lambda image: 128 + (image - 128) * 0.5,
    "2 % noise": lambda image: image + np.random.default_rng(0).normal(0, 5, image.shape),
}


class TestPlantedCopies:
    @pytest.mark.parametrize("name", DISTORTIONS)
    def test_found_at_their_place(self, cohort, name):
        images, train, reference, calibration = cohort
        chosen = np.arange(3, len(images), 7)
        subject = as_pixels(np.stack([DISTORTIONS[name](images[i]) for i in chosen]), np.arange(len(chosen)))
        found = nearest.verdicts(train, subject, reference, calibration=calibration)
        assert found.copy.mean() >= 0.95
        assert (train.patients[found.nearest] == train.patients[chosen])[found.copy].all()

    def test_other_patients_are_not_copies(self, cohort):
        _, train, reference, calibration = cohort
        others = as_pixels(*anatomy(40, 80))
        # 240 images at 1 in 481 each; slices of a patient go together, so leave room for one patient.
        assert nearest.verdicts(train, others, reference, calibration=calibration).copy.sum() <= SLICES

    def test_shifts_need_the_refinement(self, cohort, monkeypatch):
        images, train, _, _ = cohort
        moved = as_pixels(np.roll(images[:30], 2, axis=3), np.arange(30))
        refined = Gallery(train.values).nearest(moved.values)[1]
        plain = np.einsum("ij,ij->i", *(side.values[:30].reshape(30, -1) for side in (train, moved)))
        assert np.median(refined) > np.median(plain) + 0.02


class TestFeatures:
    def space(self, seed, patients, first=0):
        rng = np.random.default_rng(seed)
        values = 5 + rng.normal(size=(patients, 1, 24)) + 0.2 * rng.normal(size=(patients, 4, 24))
        names = np.repeat(np.arange(first, first + patients), 4).astype(str)
        return Features(values.reshape(-1, 24).astype(np.float32), names, "toy")

    def test_copies_in_feature_space(self):
        train, reference = self.space(0, 80), self.space(1, 30, 80)
        noise = np.random.default_rng(2).normal(0, 0.02, (50, 24)).astype(np.float32)
        subject = Features(train.values[:50] + noise, np.arange(50), "toy")
        found = nearest.verdicts(train, subject, reference)
        assert found.copy.all()
        assert (found.nearest == np.arange(50)).all()
        (rate, median) = nearest.score(train, subject, reference, seed=0)
        assert (rate.metric, rate.value, rate.high, rate.better) == ("copies", 1.0, 1.0, "lower")
        assert rate.low == pytest.approx(0.025 ** (1 / 50))
        assert median.value > 0.999

    def test_none_found_has_an_upper_bound(self):
        train, reference, subject = self.space(0, 80), self.space(1, 30, 80), self.space(2, 10, 200)
        rate = nearest.score(train, subject, reference, seed=0)[0]
        assert rate.value == 0.0
        assert rate.high == pytest.approx(1 - 0.025 ** (1 / 40))
        assert "440 images of 110 other patients" in rate.reason


class TestCalibration:
    def test_the_threshold_is_the_stated_order_statistic(self):
        values = np.arange(5000.0)
        calibration = _threshold(values, np.arange(5000) // 5)
        assert calibration.threshold == 4995.0  # the 5th largest: floor(0.001 * 5001)
        assert calibration.false_alarms == pytest.approx(5 / 5001)
        assert calibration.patients == 1000
        assert calibration.false_alarms_by_patient == pytest.approx(5 / 1001)

    def test_few_images_take_the_largest_and_say_so(self):
        calibration = _threshold(np.arange(99.0), np.arange(99))
        assert (calibration.threshold, calibration.false_alarms) == (98.0, 0.01)

    def test_false_alarms_stay_below_what_is_said(self):
        rng, rates = np.random.default_rng(0), []
        for _ in range(200):
            calibration = _threshold(rng.normal(size=300), np.arange(300))
            rates.append(np.mean(rng.normal(size=2000) > calibration.threshold))
        # Mean over 200 calibrations, each rate about exponential: 3 standard errors are 0.21 of it.
        assert np.mean(rates) == pytest.approx(calibration.false_alarms, rel=0.25)

    def test_a_person_entered_twice_does_not_raise_the_threshold(self):
        images, patients = anatomy(12)
        reference = as_pixels(*anatomy(6, 60))
        before = nearest.calibrate(as_pixels(images, patients), reference)
        twice, names = np.concatenate([images, images[:SLICES]]), np.append(patients, np.full(SLICES, 99))
        after = nearest.calibrate(as_pixels(twice, names), reference)
        assert after.threshold == pytest.approx(before.threshold, abs=1e-6)
        assert after.threshold < 0.99

    def test_own_slices_do_not_count(self):
        images, patients = anatomy(1)
        assert nearest.calibrate(as_pixels(images, patients), as_pixels(images[:0], patients[:0])) is None

    def test_constant_images_are_nobodys_copy(self):
        images, patients = anatomy(10)
        images[::SLICES] = 7
        train, reference = as_pixels(images, patients), as_pixels(*anatomy(5, 60))
        found = nearest.verdicts(train, as_pixels(np.full((2, 1, SIDE, SIDE), 7), [0, 1]), reference)
        assert not found.copy.any()
        assert (found.similarity == 0).all()


class TestRefusals:
    def test_another_space(self, cohort):
        _, train, reference, _ = cohort
        with pytest.raises(Mismatch, match="one extractor"):
            nearest.verdicts(train, Features(np.ones((2, 5)), np.arange(2), "toy"), reference)

    def test_one_patient(self):
        one = as_pixels(*anatomy(1))
        nobody = Features(one.values[:0], one.patients[:0], "pixels")
        with pytest.raises(InputError, match="one patient"):
            nearest.verdicts(one, one, nobody)
        assert nearest.score(one, one, nobody, seed=0)[0].status == "not_estimable"
