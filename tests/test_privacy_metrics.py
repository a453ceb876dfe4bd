"""What the audits compute: closed forms, reference libraries, and the coverage of their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from synthcohort.metrics import inference, linkability, membership, reidentification
from synthcohort.metrics._attacks import Scored, log_density, monte_carlo
from synthcohort.metrics._intervals import clustered_auc, clustered_share
from synthcohort.metrics._neighbours import nearest
from synthcohort.metrics._risk import risk, wilson
from synthcohort.metrics._sets import equal
from synthcohort.metrics.data_copying import rank_z
from synthcohort.statistics import clopper_pearson
from synthcohort.types import Features


def patients_of(name, count, each):
    return np.array([f"{name}{number}" for number in np.repeat(np.arange(count), each)])


class TestNeighbours:
    def test_agrees_with_scikit_learn(self):
        rng = np.random.default_rng(0)
        queries, gallery = rng.normal(5, 1, (1500, 7)), rng.normal(5, 1, (300, 7))
        far, found = NearestNeighbors(n_neighbors=4).fit(gallery).kneighbors(queries)
        positions, distances = nearest(queries, gallery, 4)
        assert (positions == found).all()
        np.testing.assert_allclose(distances, far, rtol=1e-12)

    def test_a_copy_is_at_distance_0_far_from_the_origin(self):
        gallery = 1e4 + np.random.default_rng(0).normal(size=(50, 6))
        positions, distances = nearest(gallery[::-1], gallery)
        assert (positions[:, 0] == np.arange(50)[::-1]).all()
        assert (distances == 0).all()

    def test_what_is_barred_is_not_found(self):
        values = np.random.default_rng(0).normal(size=(20, 3))
        code = np.arange(20) // 2
        assert (code[nearest(values, values, barred=(code, code))[0][:, 0]] != code).all()
        assert np.isinf(nearest(values[:2], values[:2], barred=(code[:2], code[:2]))[1]).all()


class TestIntervals:
    def test_an_area_is_scikit_learns(self):
        rng = np.random.default_rng(0)
        members, others = rng.integers(3, 9, 40) / 4, rng.integers(0, 7, 30) / 4
        area, _ = clustered_auc(members, others, (np.arange(40), np.arange(30)))
        expected = roc_auc_score(np.repeat([1, 0], [40, 30]), np.concatenate([members, others]))
        assert area == pytest.approx(expected, rel=1e-12)

    def test_a_perfect_area_is_bounded_by_the_patients(self):
        area, interval = clustered_auc(np.arange(40) + 100, np.arange(60), (np.arange(40) // 2, np.arange(60) // 2))
        assert area == 1
        assert interval == (clopper_pearson(20, 20).low, 1.0)

    def test_a_share_of_single_images_is_clopper_and_pearsons(self):
        hits = np.arange(30) < 7
        assert clustered_share(hits, np.arange(30))[1] == pytest.approx(clopper_pearson(7, 30), rel=1e-12)

    def test_images_that_always_agree_count_as_one(self):
        hits, patients = np.repeat(np.arange(30) < 7, 5), np.repeat(np.arange(30), 5)
        wide, single = clustered_share(hits, patients)[1], clopper_pearson(7, 30)
        assert wide.high - wide.low == pytest.approx(single.high - single.low, rel=0.1)  # a t in place of a normal
        assert clustered_share(np.ones(150), patients)[1] == pytest.approx(clopper_pearson(30, 30), rel=1e-9)

    @pytest.mark.parametrize("people", [10, 40])
    @pytest.mark.parametrize("shift", [0.0, 0.8])
    def test_the_interval_of_an_area_covers_it(self, people, shift):
        """1,000 simulations; the standard error of 95 % coverage is 0.7 %, and 10 is the least that is admitted."""
        code, covered = np.repeat(np.arange(people), 3), 0
        truth = stats.norm.cdf(shift / np.sqrt(2.5))
        for seed in range(1000):
            rng = np.random.default_rng(seed)
            sides = [rng.normal(size=people)[code] + 0.5 * rng.normal(size=len(code)) for _ in range(2)]
            interval = clustered_auc(sides[0] + shift, sides[1], (code, code))[1]
            covered += interval.low <= truth <= interval.high
        assert 920 <= covered <= 980

    def test_the_interval_of_a_share_covers_it(self):
        covered = 0
        for seed in range(1000):
            rng = np.random.default_rng(seed)
            code = np.repeat(np.arange(20), rng.integers(1, 6, 20))
            shown = np.sqrt(0.5) * (rng.normal(size=20)[code] + rng.normal(size=len(code))) < stats.norm.ppf(0.3)
            interval = clustered_share(shown, code)[1]
            covered += interval.low <= 0.3 <= interval.high
        assert 920 <= covered <= 985  # an exact interval of a discrete count covers more than it promises


class TestRisk:
    def test_wilson_is_scipys(self):
        centre, half = wilson(7, 30)
        expected = stats.binomtest(7, 30).proportion_ci(method="wilson")
        assert (centre - half, centre + half) == pytest.approx((expected.low, expected.high), rel=1e-12)

    def test_an_attack_no_better_than_control_is_no_risk(self):
        value, interval = risk((5, 50), (5, 50))
        assert value == 0
        assert interval.low == 0

    def test_many_guesses_approach_the_formula(self):
        value, interval = risk((700_000, 1_000_000), (400_000, 1_000_000))
        assert value == pytest.approx(0.5, abs=1e-4)
        assert interval.high - interval.low < 0.01

    def test_the_interval_covers_the_risk(self):
        covered = 0
        for seed in range(2000):
            rng = np.random.default_rng(seed)
            interval = risk((rng.binomial(20, 0.4), 20), (rng.binomial(20, 0.2), 20))[1]
            covered += interval.low <= 0.25 <= interval.high
        assert 0.92 <= covered / 2000 <= 0.985  # Wilson's centres pull both rates to a half: slightly conservative


class TestMembership:
    def test_monte_carlo_by_hand(self):
        """The nearest are at 1 and 4: e is the lower, 1 (both sides count half), and nothing lies within it."""
        members, others = monte_carlo(np.array([[1.0, 3.0]]), np.array([[4.0, 5.0]]))
        assert (members[0], others[0]) == (0, 0)
        members, others = monte_carlo(np.array([[0.5, 1.0], [2.0, 3.0]]), np.array([[2.0, 5.0], [4.0, 5.0]]))
        assert members == pytest.approx([np.log(4) + np.log(2), 0])
        assert others == pytest.approx([0, 0])

    def test_the_density_is_scipys(self):
        rng = np.random.default_rng(0)
        points, queries = rng.normal(size=(60, 3)), rng.normal(size=(700, 3))
        white = np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
        expected = stats.gaussian_kde((points @ white).T).logpdf((queries @ white).T)
        found = log_density(queries @ white, points @ white) - 1.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_a_rate_needs_ten_false_alarms(self):
        rng = np.random.default_rng(0)
        for count, known in ((999, False), (1000, True)):
            sides = patients_of("t", 50, 4), np.array([f"h{number}" for number in range(count)])
            scored = Scored(rng.normal(2, 1, 200), rng.normal(size=count))
            found = [row for row in membership.rows({"loss": scored}, sides) if row.metric == "membership_tpr"]
            assert (found[0].status == "ok") is known
        above = scored.members > np.sort(scored.others)[-11]
        assert found[0].value == above.mean()

    def test_a_tenth_of_a_per_cent_needs_ten_thousand(self):
        rng = np.random.default_rng(0)
        scored = Scored(rng.normal(size=200), rng.normal(size=10_000))
        found = membership.rows({"loss": scored}, (np.arange(200), np.arange(10_000)))
        row = next(row for row in found if row.metric == "membership_tpr_per_mille")
        assert row.status == "ok"
        assert row.low <= 0.001 <= row.high

    @pytest.mark.parametrize("counts", [(10, 10), (60, 120)])
    def test_the_interval_of_the_worst_decile_covers_chance(self, counts):
        missed = 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            scored = Scored(*(rng.normal(size=count) for count in counts))
            found = membership.rows({"loss": scored}, tuple(np.arange(count) for count in counts))
            row = next(row for row in found if row.metric == "membership_worst_decile")
            missed += not row.low <= 0.1 <= row.high
        assert missed <= 0.08 * 300  # both sides' chance is allowed for, so it covers more than it promises

    def test_holdout_is_chance_within_a_tenth_and_a_memoriser_is_found(self):
        """The acceptance at 400 patients of two images on either side, seen in eight dimensions."""

        def side(seed, name):
            rng = np.random.default_rng(seed)
            own = rng.normal(size=(400, 8)).repeat(2, axis=0)
            return Features(own + 0.4 * rng.normal(size=own.shape), patients_of(name, 400, 2), "toy")

        train, held_out, unseen = side(1, "t"), side(2, "h"), side(3, "s")
        for subject, copied in ((unseen, False), (Features(train.values + 0.01, train.patients, "toy"), True)):
            for row in membership.score(train, subject, held_out, seed=0):
                if row.metric == "membership_auc" and not row.label.startswith("best"):
                    if copied:
                        assert row.low > 0.9
                    else:
                        assert row.low <= 0.5 <= row.high
                        assert row.high - row.low <= 0.1


def test_the_rank_z_is_scipys():
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=40), rng.normal(0.3, 1, 60)
    expected = (stats.mannwhitneyu(near, far).statistic - 40 * 60 / 2) / np.sqrt(40 * 60 * 101 / 12)
    assert rank_z(near, far) == pytest.approx(expected, rel=1e-12)
    assert rank_z(near - 9, far) < -8  # nearer than the others: below 0


def test_both_sides_are_equally_many_whole_patients_but_one():
    rng = np.random.default_rng(0)
    train = Features(rng.normal(size=(100, 3)), patients_of("t", 25, 4), "toy")
    held_out = Features(rng.normal(size=(30, 3)), patients_of("h", 15, 2), "toy")
    known, other = equal(train, held_out, seed=1)
    assert len(known) == len(other) == 30
    assert sorted(np.unique(known.patients, return_counts=True)[1])[1:] == [4] * 7


def test_blends_of_a_patients_images_link_them():
    rng = np.random.default_rng(0)
    sides = [
        Features(
            rng.normal(size=(40, 8)).repeat(2, axis=0) + 0.9 * rng.normal(size=(80, 8)), patients_of(n, 40, 2), "toy"
        )
        for n in "th"
    ]
    blends = sides[0].values.reshape(40, 2, 8).mean(axis=1)
    (row,) = linkability.score(sides[0], Features(blends, np.arange(40).astype(str), "toy"), sides[1], seed=0)
    assert row.low > 0.2


def test_patients_with_one_image_can_be_neither_linked_nor_recognised():
    rng = np.random.default_rng(0)
    sides = [Features(rng.normal(size=(40, 4)), patients_of(name, 40, 1), "toy") for name in "tsh"]
    (row,) = linkability.score(*sides, seed=0)
    assert "0 training and 0 held-out patients with two images" in row.reason
    assert {each.status for each in reidentification.score(*sides, seed=0)} == {"not_estimable"}


def test_a_space_that_recognises_nobody_says_nothing():
    rng = np.random.default_rng(0)
    sides = [Features(rng.normal(size=(80, 4)), patients_of(name, 40, 2), "toy") for name in "tsh"]
    verified, *rest = reidentification.score(*sides, seed=0)
    assert verified.value == pytest.approx(0.5, abs=0.15)  # 80 pairs of pure noise
    assert all("does not recognise" in row.reason for row in rest)


def test_a_finding_is_inferred_from_the_nearest_image_alone():
    """Synthetic images are the training images with their labels: every guess is right, chance is a coin."""
    rng = np.random.default_rng(0)
    train, held_out = (Features(rng.normal(size=(200, 6)), patients_of(n, 200, 1), "toy") for n in "th")
    coins = [rng.integers(0, 2, (200, 2)).astype(np.float32) for _ in range(2)]
    coins[0][:195, 1] = np.nan
    rows = inference.score(
        train, train, held_out, seed=0, labels=(coins[0], coins[0], coins[1]), findings=("coin", "rare")
    )
    assert rows[0].value > 0.9
    assert rows[1].status == "not_estimable"  # five training patients whose finding is known
