"""AUC: closed forms, scikit-learn, weights against repeated rows, and whether the interval covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synthcohort.metrics import auc
from synthcohort.statistics import cluster_bootstrap

ROUNDING = 1e-12  # sums of a few hundred numbers in float64


def cases(*, least=2, most=40):
    """Truth with both values, and scores of few distinct values so that ties are the rule."""
    return st.integers(least, most).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.int64, n, elements=st.integers(0, 1)).filter(lambda truth: 0 < truth.sum() < len(truth)),
            hnp.arrays(np.float32, n, elements=st.integers(-3, 3).map(float)),
        )
    )


class TestClosedForms:
    def test_separable_reversed_and_all_equal(self):
        truth = np.array([0, 0, 1, 1])
        assert auc.auc(truth, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
        assert auc.auc(truth, np.array([0.4, 0.3, 0.2, 0.1])) == 0.0
        assert auc.auc(truth, np.full(4, 0.7)) == 0.5

    def test_pairs_by_hand(self):
        # Pairs (1, 0): .5 beats .2, ties .5; .2 ties .2, loses to .5: 1 + .5 + .5 + 0 of 4.
        assert auc.auc(np.array([1, 1, 0, 0]), np.array([0.5, 0.2, 0.2, 0.5])) == 0.5
        assert auc.auc(np.array([1, 1, 0, 0, 0]), np.array([3, 1, 1, 0, 2])) == (3 + 1.5) / 6

    def test_one_class_and_nothing_are_nan(self):
        for truth in ([1, 1], [0, 0], []):
            assert np.isnan(auc.auc(np.array(truth, float), np.zeros(len(truth))))

    def test_unknown_truth_is_left_out(self):
        assert auc.auc(np.array([0, np.nan, 1, np.nan]), np.array([1.0, 9, 2, -9])) == 1.0

    def test_two_normals(self):
        # P(N(d, 1) > N(0, 1)) = Phi(d / sqrt 2) = 0.7602 for d = 1; its error at 20,000 each is about 0.0024.
        rng = np.random.default_rng(0)
        scores = np.concatenate([rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000)])
        assert auc.auc(np.repeat([1, 0], 20_000), scores) == pytest.approx(0.760250, abs=4 * 0.0024)


class TestAgainstOthers:
    @given(cases())
    def test_equals_scikit_learn(self, case):
        from sklearn.metrics import roc_auc_score

        assert auc.auc(*case) == pytest.approx(roc_auc_score(*case), abs=ROUNDING)

    @given(cases())
    def test_turning_scores_or_truth_round_gives_the_complement(self, case):
        truth, scores = case
        assert auc.auc(truth, -scores) == pytest.approx(1 - auc.auc(truth, scores), abs=ROUNDING)
        assert auc.auc(1 - truth, scores) == pytest.approx(1 - auc.auc(truth, scores), abs=ROUNDING)

    @given(cases(), st.integers(0, 2**32 - 1))
    def test_weights_are_repeated_rows(self, case, seed):
        truth, scores = case
        weights = np.random.default_rng(seed).integers(0, 4, (5, len(truth)))
        weights[0] = 1
        found = auc.auc_draws(truth, scores, weights)
        repeated = [np.repeat(np.arange(len(truth)), row) for row in weights]
        np.testing.assert_allclose(found, [auc.auc(truth[rows], scores[rows]) for rows in repeated], atol=ROUNDING)

    @given(cases())
    def test_weights_equal_scikit_learns(self, case):
        from sklearn.metrics import roc_auc_score

        truth, scores = case
        weights = np.random.default_rng(0).uniform(0.1, 2, (1, len(truth)))
        expected = roc_auc_score(truth, scores, sample_weight=weights[0])
        assert auc.auc_draws(truth, scores, weights)[0] == pytest.approx(expected, abs=ROUNDING)

    def test_chunks_do_not_matter(self, monkeypatch):
        rng = np.random.default_rng(0)
        truth, scores, weights = rng.integers(0, 2, 30), rng.normal(size=30), rng.integers(0, 3, (11, 30))
        whole = auc.auc_draws(truth, scores, weights)
        monkeypatch.setattr(auc, "_CHUNK_BYTES", 30 * 8 * 4)
        np.testing.assert_array_equal(auc.auc_draws(truth, scores, weights), whole)

    def test_draws_are_those_of_the_cluster_bootstrap(self):
        rng = np.random.default_rng(3)
        truth, scores, patients = rng.integers(0, 2, 40), rng.integers(0, 9, 40), rng.integers(0, 8, 40)
        expected = cluster_bootstrap(lambda rows: auc.auc(truth[rows], scores[rows]), patients, seed=7, draws=50)
        found = auc.auc_draws(truth, scores, auc.patient_draws(patients, seed=7, draws=50))
        np.testing.assert_allclose(found, expected, atol=ROUNDING)

    def test_a_draw_of_one_class_is_nan(self):
        found = auc.auc_draws(np.array([1, 0, 0]), np.array([2, 1, 3]), np.array([[0, 1, 1], [2, 0, 0], [1, 1, 0]]))
        np.testing.assert_equal(found, [np.nan, np.nan, 1.0])


class TestScore:
    @staticmethod
    def toy(seed, patients=60, per_patient=4, shift=1.0):
        """Findings shared by a patient's images, scores with a patient's own offset: rows are not independent."""
        rng = np.random.default_rng(seed)
        names = np.repeat(np.arange(patients), per_patient)
        truth = rng.integers(0, 2, patients)[names]
        scores = shift * truth + rng.normal(0, 0.8, patients)[names] + rng.normal(0, 0.6, len(names))
        return truth.astype(np.float32), scores, names

    def test_rows_and_the_mean(self):
        first, second = self.toy(0), self.toy(1, shift=2.0)
        truth = np.stack([first[0], second[0], np.ones(240), np.full(240, np.nan)], axis=1)
        predicted = np.stack([first[1], second[1], second[1], second[1]], axis=1)
        labels = ("A", "B", "always", "unstated")
        rows = {row.label: row for row in auc.score(truth, predicted, first[2], labels=labels, seed=0)}
        assert list(rows) == [*labels, "mean"]
        assert rows["A"].value == auc.auc(first[0], first[1])
        assert rows["mean"].value == pytest.approx((rows["A"].value + rows["B"].value) / 2)
        for label in ("A", "B", "mean"):
            assert rows[label].metric == "auc"
            assert rows[label].better == "higher"
            assert rows[label].low < rows[label].value < rows[label].high
        assert rows["always"].status == "not_estimable"
        assert rows["always"].reason == "every image has this finding"
        assert rows["unstated"].reason == "no image states this finding"

    def test_below_a_half_stays_below(self):
        truth, scores, patients = self.toy(0)
        rows = auc.score(truth[:, None], -scores[:, None], patients, labels=("A",), seed=0)
        assert rows[0].value < 0.5
        assert auc.mirrored(rows[0].value) == 1 - rows[0].value
        np.testing.assert_array_equal(auc.mirrored(np.array([0.3, 0.5, 0.8])), [0.7, 0.5, 0.8])
        assert np.isnan(auc.mirrored(np.nan))

    def test_findings_share_their_draws(self):
        truth, scores, patients = self.toy(0)
        both = np.stack([truth, truth], axis=1), np.stack([scores, scores], axis=1)
        first, second, mean = auc.score(*both, patients, labels=("A", "B"), seed=0)
        assert (first.low, first.high) == (second.low, second.high)
        assert mean.low == pytest.approx(first.low)  # independent draws would make the mean's narrower

    def test_a_rare_finding_has_a_value_without_an_interval(self):
        _, scores, patients = self.toy(0)
        rare = np.where(patients == 0, 1.0, 0.0)  # 37 % of the draws have not got this patient
        (row, _) = auc.score(rare[:, None], scores[:, None], patients, labels=("rare",), seed=0)
        assert row.status == "ok"
        assert row.low is None

    def test_no_images_are_not_estimable(self):
        rows = auc.score(np.empty((0, 1)), np.empty((0, 1)), np.empty(0), labels=("A",), seed=0)
        assert [row.status for row in rows] == ["not_estimable"] * 2

    def test_the_mean_leaves_out_what_is_not_there(self):
        np.testing.assert_equal(auc.mean_auc(np.array([[0.5, 1.0], [0.5, np.nan], [np.nan] * 2])), [0.75, 0.5, np.nan])

    def test_a_draw_that_lacks_a_finding_has_no_mean(self):
        draws = np.array([[0.5, 1.0, 0.1], [np.nan, 1.0, 0.1]])
        np.testing.assert_equal(auc.mean_auc(np.array([0.5, 0.9, np.nan]), draws), [0.75, np.nan])
        _, scores, patients = self.toy(0)
        truth, held = self.toy(0)[0], np.where(patients == 0, 1.0, 0.0)
        rows = auc.score(np.c_[truth, held], np.c_[scores, scores], patients, labels=("common", "rare"), seed=0)
        assert rows[0].low is not None
        assert rows[-1].status == "ok"
        assert rows[-1].low is None  # of one finding in some draws and of two in others

    def test_the_interval_covers_the_truth(self):
        # Score difference of two images of different patients: normal, sd sqrt(2 (.8^2 + .6^2)) = sqrt 2, mean 1.
        expected, studies = 0.760250, 300
        covered, naive = 0, 0
        for study in range(studies):
            truth, scores, patients = self.toy(study)
            for own in (patients, np.arange(len(patients))):
                weights = auc.patient_draws(own, seed=study, draws=400)
                low, high = np.quantile(auc.auc_draws(truth, scores, weights), [0.025, 0.975])
                covered += (own is patients) * (low <= expected <= high)
                naive += (own is not patients) * (low <= expected <= high)
        # A percentile interval of 60 patients falls a little short of 95 %; 300 studies have a standard error of 1.5 %.
        assert 0.90 <= covered / studies <= 0.98
        assert naive / studies < 0.85  # images taken as independent: what the clusters are for
