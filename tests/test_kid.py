"""KID: brute force over pairs, a public implementation, and exact leave-outs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthcohort.metrics import kid
from synthcohort.types import Features


def brute_force(a, b):
    def k(x, y):
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def sets(n=17, m=23, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(0.4, 1.3, (m, d))


def test_equals_a_loop_over_pairs():
    a, b = sets()
    assert kid.kernel_distance(a, b) == pytest.approx(brute_force(a, b), rel=1e-12)


def test_two_points_by_hand():
    # d = 1: k(0,1) = 1, k(2,3) = 343, cross: k(0,.) = 1, k(1,2) = 27, k(1,3) = 64.
    assert kid.kernel_distance(np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])) == pytest.approx(
        1 + 343 - 2 * (1 + 1 + 27 + 64) / 4
    )


def test_equals_torchmetrics_on_all_images():
    from torchmetrics.image.kid import poly_mmd

    a, b = sets(60, 60, 16)
    expected = float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b)))
    assert kid.kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_blocks_do_not_change_the_value(monkeypatch):
    a, b = sets(50, 40)
    whole = kid.kernel_distance(a, b)
    monkeypatch.setattr(kid, "_BLOCK_ROWS", 7)
    assert kid.kernel_distance(a, b) == pytest.approx(whole, rel=1e-12)


def test_leave_outs_are_exact():
    a, b = sets()
    groups = np.arange(17) % 4, np.arange(23) % 5
    value, without_a, without_b = kid._distances(a, b, *groups)
    assert value == pytest.approx(kid.kernel_distance(a, b), rel=1e-12)
    for g in range(4):
        assert without_a[g] == pytest.approx(kid.kernel_distance(a[groups[0] != g], b), rel=1e-10)
    for g in range(5):
        assert without_b[g] == pytest.approx(kid.kernel_distance(a, b[groups[1] != g]), rel=1e-10)


def test_unbiased_and_covered_when_nothing_differs():
    rng, values, covered = np.random.default_rng(5), [], 0
    for _ in range(150):
        a, b = (Features(rng.normal(size=(40, 3)), np.arange(40), "toy") for _ in range(2))
        (row,) = kid.score(a, b, seed=1)
        values.append(row.value)
        covered += row.low <= 0 <= row.high
    assert abs(np.mean(values)) < 4 * np.std(values) / 150**0.5
    assert min(values) < 0
    assert covered / 150 >= 0.88  # 95 % less 4 standard errors of 150 trials


def test_without_enough_patients_there_is_no_interval():
    a, b = (Features(x, np.zeros(len(x)), "toy") for x in sets())
    (row,) = kid.score(a, b, seed=0)
    assert row.value == pytest.approx(brute_force(a.values, b.values))
    assert row.low is None
    assert row.high is None
