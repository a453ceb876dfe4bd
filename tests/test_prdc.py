"""Precision, recall, density, coverage: loops written from the papers, hand-made cases, exact leave-outs."""

from __future__ import annotations

import numpy as np
import pytest

from synthcohort.metrics import prdc
from synthcohort.types import Features


def radius(points, i, k):
    return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]


def loops(real, fake):
    def inside(point, centres, k):
        return sum(np.linalg.norm(point - centres[i]) <= radius(centres, i, k) for i in range(len(centres)))

    covered = [min(np.linalg.norm(f - real[i]) for f in fake) <= radius(real, i, 5) for i in range(len(real))]
    return {
        "precision": np.mean([inside(f, real, 3) > 0 for f in fake]),
        "recall": np.mean([inside(r, fake, 3) > 0 for r in real]),
        "density": np.mean([inside(f, real, 5) for f in fake]) / 5,
        "coverage": np.mean(covered),
    }


def sets(n=24, m=19, d=3, seed=0, shift=0.7):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(shift, 1.0, (m, d))


@pytest.mark.parametrize("seed", range(3))
def test_equals_loops(seed):
    a, b = sets(seed=seed)
    assert prdc.prdc(a, b) == pytest.approx(loops(a, b), abs=1e-12)


def test_blocks_do_not_change_the_values(monkeypatch):
    a, b = sets()
    whole = prdc.prdc(a, b)
    monkeypatch.setattr(prdc, "_BLOCK_ROWS", 5)
    assert prdc.prdc(a, b) == whole


def test_far_away_is_zero_and_itself_is_one():
    a, b = sets(shift=100.0)
    assert set(prdc.prdc(a, b).values()) == {0.0}
    assert prdc.prdc(a, a)["precision"] == prdc.prdc(a, a)["recall"] == prdc.prdc(a, a)["coverage"] == 1.0


def test_a_dropped_mode_costs_recall_and_coverage_not_precision():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(0, 1, (100, 2)), rng.normal(50, 1, (100, 2))])
    found = prdc.prdc(real, rng.normal(0, 1, (100, 2)))
    assert found["precision"] > 0.9
    assert 0.4 < found["recall"] <= 0.5
    assert 0.4 < found["coverage"] <= 0.5


def test_leave_outs_are_exact():
    a, b = sets(40, 33)
    groups = np.arange(40) % 4, np.arange(33) // 5 % 5
    tables = prdc._Tables(a, b, groups)
    np.testing.assert_allclose(tables.values(), list(prdc.prdc(a, b).values()), atol=1e-12)
    for g in range(4):
        expected = list(prdc.prdc(a[groups[0] != g], b).values())
        np.testing.assert_allclose(tables.values(without_real=g), expected, atol=1e-12)
    for g in range(5):
        expected = list(prdc.prdc(a, b[groups[1] != g]).values())
        np.testing.assert_allclose(tables.values(without_synthetic=g), expected, atol=1e-12)


def test_intervals_hold_the_value_and_stay_within_bounds():
    a, b = (Features(x, np.arange(len(x)) // 2, "toy") for x in sets(60, 60))
    for row in prdc.score(a, b, seed=0):
        assert row.low <= row.value <= row.high
        assert row.low >= 0
        assert row.high <= 1 or row.metric == "density"


def test_five_images_are_too_few():
    a, b = (Features(x, np.arange(len(x)), "toy") for x in sets(5, 60))
    assert {row.status for row in prdc.score(a, b, seed=0)} == {"not_estimable"}


def test_a_share_that_no_patient_changes_has_no_interval():
    a, b = sets(60, 60)
    apart = prdc.score(Features(a, np.arange(60) // 2, "toy"), Features(b + 1000, np.arange(60) // 2, "toy"), seed=0)
    assert [(row.value, row.low, row.high) for row in apart] == [(0.0, None, None)] * 4
