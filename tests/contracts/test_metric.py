"""The exam that every metric of SPACE "features" sits: ideal, order, paired seeds, corruption, mismatch.

A new file in metrics/ is found by itself; a metric with another direction or ideal states it in `better`.
"""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

from synthcohort import plugins
from synthcohort.errors import Mismatch
from synthcohort.types import Features, Samples, Value

MODULES = {name: importlib.import_module(plugins.find("metrics", name).__module__) for name in plugins.names("metrics")}
ON_SAMPLES = {name: module for name, module in MODULES.items() if module.SPACE == "samples"}
ON_FEATURES = {name: module for name, module in MODULES.items() if module.SPACE == "features"}


def cohort(seed, count=90, dimensions=6, noise=0.0):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(count // 3), 3)
    own = rng.normal(size=(count // 3, dimensions))[patients]
    values = own + 0.5 * rng.normal(size=(count, dimensions)) + noise * rng.normal(size=(count, dimensions))
    return Features(values, patients, "toy")


@pytest.mark.parametrize("name", MODULES)
def test_declares_what_it_is(name):
    module = MODULES[name]
    assert module.SPACE in ("features", "samples", "copies", "masks", "audit", "predictions")
    assert isinstance(module.REVISION, int)
    parameters = inspect.signature(module.score).parameters
    assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", ON_FEATURES)
class TestOnFeatures:
    def values(self, name, *sides, seed=0) -> list[Value]:
        return ON_FEATURES[name].score(*sides, seed=seed)

    def test_rows_are_complete(self, name):
        for row in self.values(name, cohort(0), cohort(1)):
            assert row.status == "ok"
            assert row.better in ("higher", "lower")
            assert isinstance(row.value, float)
            assert row.low <= row.value <= row.high
            assert row.low < row.high

    def test_a_set_against_itself_is_ideal(self, name):
        against_itself, against_another = (self.values(name, cohort(0), cohort(seed)) for seed in (0, 1))
        for ideal, other in zip(against_itself, against_another, strict=True):
            if ideal.metric == "c2st_auc":  # a set against itself is guessing, give or take the folds
                assert ideal.low <= 0.5
            elif ideal.better == "lower":
                assert ideal.value <= 1e-6
                assert ideal.value < other.value
            else:
                assert ideal.value >= 1.0

    def test_order_does_not_matter(self, name):
        real, synthetic = cohort(0), cohort(1)
        shuffle = np.random.default_rng(9).permutation(len(real))
        mixed = Features(real.values[shuffle], real.patients[shuffle], "toy")
        for row, again in zip(self.values(name, real, synthetic), self.values(name, mixed, synthetic), strict=True):
            # The value is a sum in another order. The patients keep their groups, so the interval is the same too.
            assert again.value == pytest.approx(row.value, rel=1e-9)
            assert (again.low, again.high) == pytest.approx((row.low, row.high), rel=1e-6, abs=1e-9)

    def test_the_same_call_gives_the_same_bits(self, name):
        assert self.values(name, cohort(0), cohort(1)) == self.values(name, cohort(0), cohort(1))

    def test_float32_features_give_the_float64_value(self, name):
        real, synthetic = cohort(0), cohort(1)
        single = [Features(side.values.astype(np.float32), side.patients, "toy") for side in (real, synthetic)]
        for row, again in zip(self.values(name, real, synthetic), self.values(name, *single), strict=True):
            # The input carries 1e-7; KID is a small difference of large sums and loses three digits more.
            assert again.value == pytest.approx(row.value, rel=1e-4)

    def test_growing_noise_is_seen(self, name):
        ladder = [self.values(name, cohort(0), cohort(1, noise=noise)) for noise in (0.0, 1.5, 3.0, 6.0)]
        for steps in zip(*ladder, strict=True):
            if steps[0].metric == "recall":  # wide noise widens the synthetic balls: recall cannot see it
                continue
            found = [row.value if row.better == "lower" else -row.value for row in steps]
            assert found == sorted(found)
            assert found[-1] > found[0]

    def test_the_input_is_left_alone(self, name):
        real, synthetic = cohort(0), cohort(1)
        before = real.values.copy(), synthetic.values.copy()
        self.values(name, real, synthetic)
        assert (real.values == before[0]).all()
        assert (synthetic.values == before[1]).all()

    def test_two_spaces_are_not_mixed(self, name):
        other = Features(cohort(1).values, cohort(1).patients, "another")
        with pytest.raises(Mismatch):
            self.values(name, cohort(0), other)

    def test_two_patients_give_no_interval(self, name):
        few = Features(cohort(0).values[:30], np.arange(30) % 2, "toy")
        for row in self.values(name, few, cohort(1)):
            assert row.low is None
            assert row.status == "ok" or "patients" in row.reason

    def test_nothing_is_not_estimable(self, name):
        empty = Features(np.empty((0, 6)), np.empty(0), "toy")
        for row in self.values(name, cohort(0), empty):
            assert row.status == "not_estimable"
            assert row.value is None
            assert row.reason

    @pytest.mark.parametrize("damage", ["nan", "infinite", "constant", "one image"])
    @pytest.mark.parametrize("side", ["real", "synthetic"])
    def test_degenerate_features_are_not_estimable(self, name, damage, side):
        values = cohort(0).values.copy()
        if damage in ("nan", "infinite"):
            values[3, 1] = {"nan": np.nan, "infinite": np.inf}[damage]
        broken = Features(np.ones_like(values) if damage == "constant" else values, cohort(0).patients, "toy")
        if damage == "one image":
            broken = Features(values[:1], cohort(0).patients[:1], "toy")
        sides = (broken, cohort(1)) if side == "real" else (cohort(1), broken)
        for row in self.values(name, *sides):
            if damage == "constant" and side == "synthetic":  # a collapse is a finding: it is scored, and badly
                assert row.status == "ok"
                assert row.better == "higher" or row.value > 0.5
                continue
            assert (row.status, row.value, row.low) == ("not_estimable", None, None)
            assert row.reason


def samples(seed, count=120, *, noise=0.0, collapsed=False):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    row, column = rng.uniform(6, 10, (2, count, 1, 1))
    masks = ((y - row) ** 2 + (x - column) ** 2 < 12).astype(np.uint8)
    images = 60 + 90 * masks + rng.normal(0, 10 + noise, masks.shape)
    images = np.clip(images, 0, 255).astype(np.uint8)[:, None]
    if noise:
        masks = (masks | (rng.random(masks.shape) < noise / 500)).astype(np.uint8)
    if collapsed:
        images, masks = np.full_like(images, 7), np.zeros_like(masks)
    labels = np.stack([np.arange(count) % 2, np.ones(count)], axis=1).astype(np.float32)
    return Samples(images, masks, labels, np.arange(count) // 3, (0, 255), ("background", "disc"), ("a", "b"))


@pytest.mark.parametrize("name", ON_SAMPLES)
class TestOnSamples:
    def values(self, name, *sides, seed=0) -> list[Value]:
        return ON_SAMPLES[name].score(*sides, seed=seed)

    def test_rows_are_complete(self, name):
        for row in self.values(name, samples(0), samples(1)):
            assert row.status == "ok"
            assert isinstance(row.value, float)
            assert row.low <= row.value <= row.high

    def test_the_same_call_gives_the_same_bits_and_leaves_the_input_alone(self, name):
        real, subject = samples(0), samples(1)
        before = real.images.copy(), subject.images.copy(), subject.masks.copy()
        assert self.values(name, real, subject) == self.values(name, real, subject)
        for left, right in zip(before, (real.images, subject.images, subject.masks), strict=True):
            assert (left == right).all()

    def test_growing_noise_is_seen(self, name):
        ladder = [self.values(name, samples(0), samples(1, noise=noise))[0] for noise in (0.0, 15.0, 60.0)]
        if ladder[0].better == "lower":
            found = [row.value for row in ladder]
            assert found == sorted(found)
            assert found[-1] > found[0]

    def test_nothing_is_not_estimable(self, name):
        empty = Samples(
            samples(0).images[:0], samples(0).masks[:0], samples(0).labels[:0], np.empty(0), (0, 255),
            ("background", "disc"), ("a", "b"),
        )  # fmt: skip
        for row in self.values(name, samples(0), empty):
            assert (row.status, row.value) == ("not_estimable", None)
            assert row.reason

    def test_one_image_and_constant_images_raise_nothing(self, name):
        one = Samples(
            samples(0).images[:1], samples(0).masks[:1], samples(0).labels[:1], np.zeros(1), (0, 255),
            ("background", "disc"), ("a", "b"),
        )  # fmt: skip
        for sides in ((samples(0), one), (one, samples(0)), (samples(0), samples(1, collapsed=True)), (one, one)):
            for row in self.values(name, *sides):
                assert row.status == "ok" or row.reason

    def test_a_cohort_without_masks_and_labels_is_legal(self, name):
        bare = [
            Samples(each.images, None, np.empty((len(each), 0)), each.patients, (0, 255))
            for each in (samples(0), samples(1))
        ]
        for row in self.values(name, *bare):
            assert row.status == "ok"
