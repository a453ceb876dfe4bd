"""Intervals: closed forms first, then their behaviour on repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthcohort import statistics as st


class TestGroups:
    def test_a_patient_is_in_one_group_and_groups_are_even(self):
        patients = np.repeat(np.arange(37), np.arange(37) % 5 + 1)
        groups = st.patient_groups(patients, seed=3)
        assert all(len(np.unique(groups[patients == p])) == 1 for p in range(37))
        assert np.ptp(np.bincount(groups)) <= 5
        assert len(np.unique(groups)) == 10

    def test_few_patients_are_a_group_each(self):
        groups = st.patient_groups(np.array(["a", "a", "b", "c"]), seed=0)
        assert sorted(np.bincount(groups)) == [1, 1, 2]

    def test_the_seed_decides(self):
        patients = np.arange(50)
        assert (st.patient_groups(patients, seed=1) == st.patient_groups(patients, seed=1)).all()
        assert (st.patient_groups(patients, seed=1) != st.patient_groups(patients, seed=2)).any()


class TestJackknife:
    def test_the_mean_has_the_textbook_variance(self):
        values = np.random.default_rng(0).normal(size=10)
        found = st.jackknife(lambda rows: values[rows].mean(), np.arange(10), values.mean(), seed=0)
        assert found is not None
        # Leave-one-out of a mean is s^2 / n exactly.
        assert found.variance == pytest.approx(values.var(ddof=1) / 10, rel=1e-12)
        assert found.freedom == 9

    def test_equal_groups_reduce_to_the_textbook_formula(self):
        left_out = np.array([1.0, 2.0, 4.0, 9.0])
        found = st.jackknife_variance(4.2, left_out, [5, 5, 5, 5])
        assert found.variance == pytest.approx(3 / 4 * np.sum((left_out - 4) ** 2), rel=1e-12)

    def test_too_few_patients_give_none(self):
        assert st.jackknife(lambda rows: 0.0, np.array([1, 1, 2, 2]), 0.0, seed=0) is None

    def test_two_sides_add_and_welch_decides_the_freedom(self):
        left, right = st.Variance(4.0, 9), st.Variance(1.0, 4)
        interval = st.normal_interval(10.0, left, right)
        freedom = 25 / (16 / 9 + 1 / 4)
        assert interval == pytest.approx(stats.t.interval(0.95, freedom, 10, 5**0.5), rel=1e-12)
        assert st.normal_interval(10.0, left, None) is None

    def test_clustered_rows_are_covered_at_about_the_level(self):
        rng, hits = np.random.default_rng(1), 0
        patients = np.repeat(np.arange(30), 4)
        for trial in range(300):
            values = rng.normal(size=30).repeat(4) + 0.3 * rng.normal(size=120)
            variance = st.jackknife(lambda rows, v=values: v[rows].mean(), patients, values.mean(), seed=trial)
            interval = st.normal_interval(values.mean(), variance)
            hits += interval.low <= 0 <= interval.high
        # 300 trials at 95 %: 4 standard errors are 0.05. Images taken for independent would cover about 0.67.
        assert 0.90 <= hits / 300 <= 1.0


class TestBootstrap:
    def test_cluster_draws_have_the_variance_of_patient_means(self):
        means = np.random.default_rng(2).normal(size=40)
        patients = np.repeat(np.arange(40), 3)
        values = means.repeat(3)
        draws = st.cluster_bootstrap(lambda rows: values[rows].mean(), patients, seed=0, draws=4000)
        # Variance of a mean of 40 draws; 4000 draws know a standard deviation to 1.1 %, 4 of them are 5 %.
        assert draws.std() == pytest.approx(means.std() / 40**0.5, rel=0.05)

    def test_paired_arms_get_the_same_draw(self):
        table = np.random.default_rng(3).normal(size=(4, 12))

        def difference(runs, rows):
            return (table + 0.25)[np.ix_(runs, rows)].mean() - table[np.ix_(runs, rows)].mean()

        draws = st.hierarchical_bootstrap(difference, np.arange(12) // 2, seeds=4, seed=0, draws=50)
        np.testing.assert_allclose(draws, 0.25, atol=1e-12)

    def test_seeds_and_patients_both_count(self):
        rng = np.random.default_rng(4)
        table = rng.normal(size=(10, 1)) + rng.normal(size=(1, 20))
        draws = st.hierarchical_bootstrap(
            lambda runs, rows: table[np.ix_(runs, rows)].mean(), np.arange(20), seeds=10, seed=0, draws=4000
        )
        expected = table.mean(axis=1).var() / 10 + table.mean(axis=0).var() / 20
        assert draws.var() == pytest.approx(expected, rel=0.1)  # 4000 draws know a variance to 2.2 %

    def test_undefined_draws_are_left_out_up_to_a_point(self):
        draws = np.append(np.arange(1000.0), np.full(40, np.nan))
        assert st.percentile_interval(draws) == pytest.approx((24.975, 974.025))
        assert st.percentile_interval(np.append(draws, np.full(40, np.nan))) is None

    def test_same_seed_same_draws(self):
        first, again = (st.cluster_bootstrap(np.mean, np.arange(9), seed=5, draws=20) for _ in range(2))
        assert (first == again).all()


class TestClopperPearson:
    @pytest.mark.parametrize(("count", "total"), [(0, 10_000), (3, 50), (25, 50), (50, 50), (1, 1)])
    def test_agrees_with_scipy(self, count, total):
        expected = stats.binomtest(count, total).proportion_ci(method="exact")
        assert st.clopper_pearson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)

    def test_none_of_ten_thousand(self):
        # 1 - 0.025^(1/10000), by hand.
        assert st.clopper_pearson(0, 10_000).high == pytest.approx(1 - 0.025**1e-4, rel=1e-9)

    def test_impossible_counts_are_refused(self):
        with pytest.raises(ValueError, match="3 of 2"):
            st.clopper_pearson(3, 2)
