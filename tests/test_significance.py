"""Verdicts: hand-made cases first, then scipy, then error rates of simulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from synthcohort.significance import (
    benjamini_hochberg,
    bootstrap_p,
    holm,
    non_inferiority,
    rank_sum,
    sign_flip,
)


def test_parity_is_claimed_only_when_the_whole_interval_is_below_the_margin() -> None:
    assert non_inferiority(0.019) == "not inferior"
    assert non_inferiority(0.02) == "not shown"
    assert non_inferiority(0.3, margin=0.5) == "not inferior"
    assert non_inferiority(None) == non_inferiority(float("nan")) == "not estimable"


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, never falling again: .04 .06 .06 .06.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def test_benjamini_hochberg_is_scipys() -> None:
    values = np.random.default_rng(0).random(40) ** 2
    assert benjamini_hochberg(values) == pytest.approx(stats.false_discovery_control(values), rel=1e-12)
    assert len(benjamini_hochberg([])) == 0


def test_sign_flips_by_hand_and_as_scipy_counts_them() -> None:
    assert sign_flip([1, 2, 3, 4]) is None
    assert sign_flip([1, 2, 3, 4, 5]) == 2 / 32
    assert sign_flip([0.0] * 6) == 1.0
    values = np.random.default_rng(1).normal(0.4, size=9)
    found = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(values) == pytest.approx(found.pvalue, rel=1e-12)
    with pytest.raises(ValueError, match="finite"):
        sign_flip([1, 2, 3, 4, np.nan])


def test_tied_sums_count_as_extreme() -> None:
    values = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]  # sums tie up to rounding
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in itertools.product((1, -1), repeat=6)
    ]
    assert sign_flip(values) == sum(each >= sum(values) - 1e-9 for each in sums) / 64


def test_sign_flips_keep_their_level() -> None:
    rng = np.random.default_rng(2)
    found = [sign_flip(rng.standard_t(3, size=7)) for _ in range(2000)]
    # Exact: 6 of 128 flips are at most .05; three standard errors of 2000 draws are .014.
    assert np.mean([p <= 0.05 for p in found]) == pytest.approx(6 / 128, abs=0.015)


def test_rank_sum_is_that_of_separate_groups() -> None:
    assert rank_sum([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert rank_sum([], [1.0]) is None


def test_p_of_a_bootstrap() -> None:
    assert bootstrap_p(np.array([1.0] * 999)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.array([-1.0, 1.0])) == 1.0
    assert bootstrap_p(np.array([np.nan, 1.0])) is None
