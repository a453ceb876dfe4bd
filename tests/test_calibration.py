"""Calibration: closed forms, scikit-learn, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from synthcohort.metrics.auc import patient_draws
from synthcohort.metrics.calibration import BINS, measured, score


def drawn(count: int, *, slope: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return truth, and probabilities whose true recalibration slope is `slope`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.2, size=count)
    return (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(float), 1 / (1 + np.exp(-odds / slope))


def rows(truth: np.ndarray, predicted: np.ndarray, seed: int = 0) -> dict[str, object]:
    found = score(truth[:, None], predicted[:, None], np.arange(len(truth)), labels=["x"], seed=seed)
    return {row.metric: row for row in found}


def test_slope_intercept_and_brier_are_those_of_scikit_learn() -> None:
    truth, predicted = drawn(800, slope=0.6)
    odds = np.log(predicted / (1 - predicted))[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=500).fit(odds, truth)
    found = rows(truth, predicted)
    assert found["calibration_slope"].value == pytest.approx(fit.coef_[0, 0], rel=1e-5)  # the tolerance of its solver
    assert found["calibration_intercept"].value == pytest.approx(fit.intercept_[0], abs=1e-5)
    assert found["brier"].value == pytest.approx(brier_score_loss(truth, predicted), rel=1e-12)
    assert found["calibration_slope"].high < 1


def test_the_error_by_hand() -> None:
    # Every bin predicts .25 and observes 1 of 4: no error; predicted .35, each errs by .1, and by chance only upwards.
    truth = np.tile([1.0, 0, 0, 0], BINS * 10)
    weights = np.ones((3, len(truth)))
    assert measured(truth, np.full(len(truth), 0.25), weights).error == (0, 0, 0)
    assert measured(truth, np.full(len(truth), 0.35), weights).error == pytest.approx((0.1, 0.1, 0.1))


def test_a_step_from_the_fit_is_near_the_whole_way() -> None:
    truth, predicted = drawn(300)
    weights = patient_draws(np.arange(300), seed=1, draws=40)
    found = measured(truth, predicted, weights).draws[:, 0]
    whole = [measured(np.repeat(truth, w), np.repeat(predicted, w), np.ones((1, w.sum()))).values[0] for w in weights]
    # A second-order difference: on average a tenth of the spread that it is the interval of.
    assert np.abs(found - whole).mean() < 0.1 * np.std(whole)


def test_chance_makes_less_of_the_error_than_of_the_plain_one() -> None:
    plain, corrected, low = [], [], []
    for seed in range(40):
        truth, predicted = drawn(300, seed=seed)
        order = np.argsort(predicted)
        plain.append(np.mean([abs(b.mean()) for b in np.array_split((truth - predicted)[order], BINS)]))
        row = rows(truth, predicted, seed)["calibration_error"]
        corrected.append(row.value)
        low.append(row.low)
    # For pure noise, the draws' mean is sqrt(2) times the plain value: 0.59 of it is left.
    assert np.mean(corrected) == pytest.approx((2 - 2**0.5) * np.mean(plain), rel=0.1)
    assert np.mean(np.array(low) == 0) >= 0.92


@pytest.mark.slow
def test_intervals_cover() -> None:
    hits = []
    for seed in range(1000):
        found = rows(*drawn(150, slope=0.7, seed=seed), seed)
        slope, error = found["calibration_slope"], found["calibration_error"]
        # The mean distance of the two logistic curves over normal(-0.5, 1.2), by quadrature, is 0.0543.
        hits.append((slope.low <= 0.7 <= slope.high, error.low <= 0.0543 <= error.high))
    slope, error = np.mean(hits, axis=0)
    assert 0.92 <= slope <= 0.98
    assert error >= 0.95  # its lower end is conservative


def test_too_few_are_not_estimable() -> None:
    truth, predicted = drawn(140)
    for row in rows(truth, predicted).values():
        assert (row.status, row.value, row.reason) == ("not_estimable", None, "fewer than 150 images state it")
    few = np.zeros(400)
    few[:19] = 1
    assert rows(few, np.full(400, 0.1))["brier"].reason == "fewer than 20 images have it, or have it not"


def test_no_slope_where_nothing_varies_or_all_is_separated() -> None:
    truth = np.tile([0.0, 1.0], 100)
    for predicted in (np.full(200, 0.5), truth):
        found = rows(truth, predicted)
        assert found["calibration_slope"].status == "not_estimable"
        assert found["brier"].status == "ok"
