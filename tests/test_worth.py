"""The probe's regression and the learning curve's inverse: closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from synthcohort.evaluate import _linear, _worth
from synthcohort.evaluate._linear import newton


def test_newton_finds_scikit_learns_minimum() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = (x @ rng.normal(size=5) + rng.logistic(size=200) > 0.5).astype(float)
    for penalty in (1e-3, 0.1):
        # scikit-learn sums the loss: C is 1 / (n * penalty).
        other = LogisticRegression(C=1 / (200 * penalty), tol=1e-12, max_iter=5000).fit(x, y)
        own = newton(np.column_stack([x, np.ones(200)]), y, penalty)
        assert own[:-1] == pytest.approx(other.coef_[0], abs=1e-5)  # where its solver stops
        assert own[-1] == pytest.approx(other.intercept_[0], abs=1e-5)


def test_separable_classes_end_in_finite_weights() -> None:
    x = np.linspace(-1, 1, 40)
    own = newton(np.column_stack([x, np.ones(40)]), (x > 0).astype(float), 1e-4)
    assert np.isfinite(own).all()


def test_the_probe_learns_selects_and_leaves_unknown_labels_out() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 100))
    x[:, 7] = 5.0  # a constant feature
    y = np.stack([x[:, 0] + rng.normal(size=600) > 0, rng.random(600) < 0.3, np.zeros(600)], axis=1).astype(float)
    y[rng.random(600) < 0.2, 0] = np.nan
    fit = _linear.fitted(x[:300], y[:300], x[300:400], y[300:400])
    said, truth = fit.predict(x[400:]), y[400:]
    known = np.isfinite(truth[:, 0])
    # Truth is drawn at an AUC of .75; 64 random directions of 100 keep part of it.
    assert roc_auc_score(truth[known, 0], said[known, 0]) > 0.58
    assert np.ptp(said[:, 2]) == 0  # none has it: the same answer to all
    assert fit.turn.shape == (100, 64)
    # A finding that is noise gets a large penalty: its weights are nearly 0.
    assert np.abs(fit.weights[:-1, 1]).max() < 0.2


def test_draws_of_patients_are_nested_and_whole() -> None:
    patients = np.repeat(np.arange(20), 3)
    rows = _worth.nested(patients, [4, 10, 20], seed=3)
    assert [len(each) for each in rows] == [12, 30, 60]
    assert set(rows[0]) < set(rows[1]) < set(rows[2])
    assert _worth.sizes(160) == [10, 20, 40, 80, 160]
    assert _worth.sizes(16) == [4, 8, 16]
    assert _worth.sizes(7) == []


def test_monotone_is_isotonic_regression() -> None:
    curves = np.random.default_rng(2).normal(size=(50, 5)) + np.arange(5) * 0.3
    expected = [IsotonicRegression().fit(np.arange(5), curve).predict(np.arange(5)) for curve in curves]
    assert _worth.monotone(curves) == pytest.approx(np.array(expected), abs=1e-12)


def test_the_inverse_of_a_straight_curve() -> None:
    counts = np.array([10, 20, 40, 80, 160])
    curve = 0.5 + 0.1 * np.log2(counts / 10)
    levels = np.array([0.4, 0.5, 0.55, 0.7, 0.9, 0.95, np.nan])
    found = _worth.equivalent(counts, np.tile(curve, (7, 1)), levels)
    assert found[:6] == pytest.approx([10, 10, 10 * 2**0.5, 40, 160, 160])
    assert np.isnan(found[6])
    assert [_worth.unit(counts, each) for each in (10, 40, 160)] == [_worth.AT_MOST, _worth.EXACT, _worth.AT_LEAST]


def test_of_patients_that_add_nothing_the_fewest() -> None:
    found = _worth.equivalent(np.array([10, 20, 40, 80]), np.array([[0.5, 0.6, 0.6, 0.7]]), np.array([0.6]))
    assert found == pytest.approx([20])
