"""Statistics of the studies: by hand, against scipy, and by simulation of nulls and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthcohort.significance import holm
from synthcohort.studies._spread import between, greater, parity, rank_correlation, summary


def test_a_summary_by_hand_and_its_reason() -> None:
    line = summary([1.0, 2.0, 6.0])
    assert (line["n"], line["mean"]) == (3, 3.0)
    assert line["high"] == pytest.approx(3 + 6.572418, abs=1e-5)  # t(0.975, 2) sd / sqrt(3)
    assert summary([1.0, 2.0])["low"] is None
    assert summary([1.0, 2.0])["reason"] == "2 of at least 3 pipelines"
    assert summary([])["mean"] is None


def test_the_study_s_test_is_scipy_s_one_sided_one() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(1, 1, 10), rng.normal(0, 1, 10)
    assert greater(left, right) == stats.mannwhitneyu(left, right, alternative="greater").pvalue
    assert greater(range(6, 12), range(6)) == pytest.approx(1 / 924, rel=1e-9)  # one of C(12, 6) orders
    assert greater([], right) is None


def test_what_the_p_values_that_study_003_prints_can_mean() -> None:
    # 3.3 and S.5: p < 0.0001 with 10 seeds at the ends of classes, p < 0.001 with 20 of samples; no AUC is printed.
    assert stats.mannwhitneyu(range(10, 20), range(10), alternative="greater", method="exact").pvalue == pytest.approx(
        1 / 184_756
    )
    apart, one_order = greater(range(10, 20), range(10)), greater([*range(11, 20), 9.5], [*range(9), 10])
    assert apart is not None
    assert one_order is not None
    assert apart == pytest.approx(9.1e-5, rel=0.01)  # by the normal approximation: all ten above all ten ...
    assert one_order > 1e-4  # ... and not with one pair in the other order
    assert greater(range(4, 8), range(4)) == pytest.approx(1 / 70)  # what four seeds can reach: 0.014
    half = greater(np.arange(20) + 12.5, range(20))
    assert half is not None
    assert half < 0.001  # 20 seeds reach 0.001 where the ends overlap


def test_two_settings_are_paired_by_the_seeds_that_both_have() -> None:
    line = between({0: 3.0, 1: 4.0, 2: 5.0, 7: 90.0}, {0: 1.0, 1: 3.0, 2: 2.0, 9: -90.0})
    assert (line["pairs"], line["n_larger"]) == (3, 4)
    assert line["difference"] == 2.0
    assert line["p_sign_flip"] is None
    assert line["reason"] == "3 of 5 pairs"
    paired = between(dict(enumerate([2.0, 3, 4, 5, 6])), dict.fromkeys(range(5), 0.0))
    assert paired["p_sign_flip"] == pytest.approx(2 / 32)  # all of one sign: two of 2^5
    assert paired["low"] == pytest.approx(stats.ttest_1samp([2, 3, 4, 5, 6], 0).confidence_interval().low)


def test_parity_needs_the_whole_interval_below_the_margin() -> None:
    assert [parity(summary(values)["high"])["verdict"] for values in (
        [0.001, 0.002, 0.003, 0.002], [0.001, 0.05, 0.003, 0.002], [0.001, 0.002]
    )] == ["not inferior", "not shown", "not estimable"]  # fmt: skip
    assert parity(summary([0.001, 0.002, 0.003, 0.002], patients=0.02)["high"])["verdict"] == "not shown"


def test_the_rank_correlation_is_scipy_s_with_the_interval_of_bonett_and_wright() -> None:
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 7, 5, 8, 6]
    line = rank_correlation(x, y)
    rho = stats.spearmanr(x, y).statistic
    assert line["rho"] == pytest.approx(rho)
    half = 1.959964 * ((1 + rho**2 / 2) / 5) ** 0.5
    assert line["low"] == pytest.approx(np.tanh(np.arctanh(rho) - half), abs=1e-6)
    assert rank_correlation([1, 2, 3], [3, 1, 2])["low"] is None
    assert rank_correlation([1, 1, 1], [1, 2, 3])["rho"] is None
    perfect = rank_correlation(range(8), range(8))
    assert perfect["rho"] == 1.0
    assert 0 < perfect["low"] < perfect["high"] < 1


@pytest.mark.slow
def test_nulls_keep_their_level_and_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    draws = 2000
    rejected = {"mann-whitney": 0, "sign flip": 0}
    covered = {"paired": 0, "summary": 0, "rank": 0}
    covariance = [[1, 0.6], [0.6, 1]]
    true_rank = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair
    for _ in range(draws):
        shared, a, b = rng.normal(size=(3, 6))
        line = between(dict(enumerate(shared + a)), dict(enumerate(shared + b)))
        rejected["mann-whitney"] += line["p_mann_whitney"] < 0.05
        rejected["sign flip"] += line["p_sign_flip"] < 0.05
        covered["paired"] += line["low"] <= 0 <= line["high"]
        own = summary(rng.normal(2, 1, 3).tolist())
        covered["summary"] += own["low"] <= 2 <= own["high"]
        x, y = rng.multivariate_normal([0, 0], covariance, 12).T
        rank = rank_correlation(x.tolist(), y.tolist())
        covered["rank"] += rank["low"] <= true_rank <= rank["high"]
    # Three standard errors of a share of 2,000 draws at 5 % are 1.5 points.
    assert all(count / draws <= 0.065 for count in rejected.values()), rejected
    assert all(0.935 <= covered[name] / draws <= 0.975 for name in ("paired", "summary")), covered
    assert 0.92 <= covered["rank"] / draws <= 0.98, covered


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 6, 10, 20])
def test_the_study_s_decisions_keep_their_level(seeds: int) -> None:
    """Null and margin of what decides in the report: the family of gaps, parity, and the interval of a finding."""
    rng, draws, margin = np.random.default_rng(seeds), 2000, 0.02
    family = parities = supported = contradicted = 0
    for _ in range(draws):
        shared = rng.normal(0, 0.02, (6, seeds))
        lines = [
            between(dict(enumerate(shared[i] + rng.normal(0, 0.02, seeds))),
                    dict(enumerate(shared[i] + rng.normal(0, 0.02, seeds))))
            for i in range(6)
        ]  # fmt: skip
        family += bool((holm([line["p_sign_flip"] for line in lines]) < 0.05).any())
        supported += lines[0]["low"] > 0
        contradicted += lines[0]["high"] < 0
        # A loss that is the margin itself must not be called smaller.
        # All seeds are tested on the same patients; the interval over these is known as well as a bootstrap knows it.
        loss = margin + rng.normal(0, 0.01) + rng.normal(0, 0.01, seeds)
        line = summary(loss.tolist(), patients=1.96 * 0.01)
        parities += parity(line["high"], margin=margin)["verdict"] == "not inferior"
    # Three standard errors of 2,000 draws: 1.5 points at 5 %, 1.05 at 2.5 %.
    assert family / draws <= 0.065
    assert parities / draws <= 0.036
    assert max(supported, contradicted) / draws <= 0.036


@pytest.mark.slow
@pytest.mark.parametrize("count", [6, 7, 12])
def test_the_finding_on_ranks_keeps_its_level_at_its_limit(count: int) -> None:
    rng, draws, rho = np.random.default_rng(count), 2000, 0.7
    linear = 2 * np.sin(np.pi * rho / 6)  # of a normal pair whose Spearman's is rho
    below = above = 0
    for _ in range(draws):
        x, y = rng.multivariate_normal([0, 0], [[1, linear], [linear, 1]], count).T
        line = rank_correlation(x.tolist(), y.tolist())
        below += line["high"] < rho
        above += line["low"] > rho
    assert below / draws <= 0.036
    assert above / draws <= 0.036
