"""Copies beyond chance: closed forms, scipy's distributions, coverage at tiny rates, and the error of the gate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from synthcohort.metrics import mask_copies, nearest
from synthcohort.metrics._copies import Calibration, _threshold
from synthcohort.metrics._excess import GATE_LEVEL, Tally, bound, excess, gate, rank_of
from synthcohort.statistics import clopper_pearson


def tally(hits, count, *, each=1):
    """Return the first `hits` of `count` images as copies, `each` images to a patient."""
    return Tally(np.arange(count) < hits, np.arange(count) // each)


def test_without_any_copy_the_upper_end_is_that_of_the_subject_alone():
    value, (low, high) = excess(tally(0, 1000), tally(0, 40, each=4))
    assert value == 0
    assert high == pytest.approx(clopper_pearson(0, 1000).high, rel=1e-12)
    assert low == pytest.approx(-clopper_pearson(0, 10).high, rel=1e-12)  # ten patients, not forty images


def test_the_interval_joins_exact_ones_by_square_and_add():
    own, chance = clopper_pearson(30, 200), clopper_pearson(2, 50)
    value, (low, high) = excess(tally(30, 200), tally(2, 50))
    assert value == pytest.approx(0.15 - 0.04)
    assert low == pytest.approx(0.11 - math.hypot(0.15 - own.low, chance.high - 0.04))
    assert high == pytest.approx(0.11 + math.hypot(own.high - 0.15, 0.04 - chance.low))


def test_a_set_against_itself_has_no_excess():
    value, (low, high) = excess(tally(5, 60), tally(5, 60))
    assert (value, low) == (0, -high)


def test_images_of_a_patient_that_go_together_widen_it():
    # 100 patients of four images, ten of them copied with all four: no more is known than of 100 images.
    alone, together = (excess(tally(40, 400, each=each), tally(0, 200))[1] for each in (1, 4))
    assert together.low < alone.low < 0.1 < alone.high < together.high


def test_the_bound_is_the_upper_end_over_the_lower_end_of_the_sensitivity():
    assert bound(0.003, 855, 900) == pytest.approx(0.003 / clopper_pearson(855, 900).low)
    assert bound(-0.01, 9, 10) == 0
    assert bound(0.9, 1, 10) == 1
    assert bound(0.1, 0, 10) is None
    assert bound(0.1, 0, 0) is None


def test_the_gate_is_beta_binomial():
    for own, chance, rank, people in (((4, 80), (1, 30), 1, 60), ((3, 1000), (0, 12), 2, 300), ((9, 9), (2, 5), 1, 7)):
        after = (rank + chance[0], people + 1 - rank + chance[1] - chance[0])
        assert gate(own, chance, rank, people).p == pytest.approx(
            stats.betabinom.sf(own[0] - 1, own[1], *after), rel=1e-8
        )
    # One other patient, threshold their similarity: each further image lies above with probability 1/2, 1/3 ...
    assert gate((1, 1), (0, 1), 1, 1).p == pytest.approx(1 / 3)
    assert gate((2, 2), (0, 1), 1, 1).p == pytest.approx(1 / 6)


def test_the_gate_says_how_many_copies_fail_it():
    found = gate((0, 500), (1, 20), 1, 80)
    assert found.p == 1
    assert gate((found.fails_from, 500), (1, 20), 1, 80).p <= GATE_LEVEL
    assert gate((found.fails_from - 1, 500), (1, 20), 1, 80).p > GATE_LEVEL
    assert gate((4, 4), (0, 3), 1, 5) == gate((4, 4), (0, 3), 1, 5)._replace(fails_from=None)
    assert gate((500, 500), (0, 20), 12, 10) == (1.0, None)


def test_nothing_fails_whose_share_is_at_most_that_of_held_out_patients():
    # Held-out patients unlike those of the threshold: the beta-binomial alone would accuse half of them.
    assert gate((500, 1000), (6, 12), 1, 500).p == 1
    assert gate((501, 1000), (6, 12), 1, 500).p < GATE_LEVEL


def test_tests_share_the_error_level():
    one, three = (gate((6, 200), (0, 20), 1, 60, tests=tests) for tests in (1, 3))
    assert three.p == pytest.approx(3 * one.p)
    assert three.fails_from > one.fails_from


def test_a_gate_of_ten_thousand_samples_is_exact_enough():
    # Sums of ten thousand terms in float64; scipy adds them another way.
    assert gate((80, 10_000), (2, 300), 10, 3000).p == pytest.approx(
        stats.betabinom.sf(79, 10_000, 12, 2991 + 298), rel=1e-6
    )


@pytest.mark.parametrize(("module", "name"), [(nearest, "copies"), (mask_copies, "mask_copies")])
def test_rows(module, name):
    known = Calibration(0.9, 499, 120, 1 / 500, 1 / 121)
    assert rank_of(known) == 1
    rows = {row.metric: row for row in module.beyond(tally(40, 400), tally(0, 60, each=3), (850, 900), known)}
    assert set(rows) == {f"{name}_excess", f"{name}_bound", f"{name}_gate"}
    assert rows[f"{name}_excess"].value == 0.1
    assert rows[f"{name}_bound"].value == pytest.approx(rows[f"{name}_excess"].high / clopper_pearson(850, 900).low)
    assert rows[f"{name}_bound"].low is None  # it is an end of an interval and has none of its own
    assert rows[f"{name}_gate"].value <= GATE_LEVEL
    assert rows[f"{name}_gate"].reason.startswith("not met: 40 of 400")


@pytest.mark.parametrize(
    ("subject", "others", "planted", "known", "estimable"),
    [
        pytest.param(tally(0, 9), tally(0, 9), (9, 9), None, (), id="one patient: no threshold"),
        pytest.param(tally(0, 0), tally(0, 9), (9, 9), 50, (), id="no image"),
        pytest.param(tally(0, 9), tally(0, 0), (9, 9), 50, (), id="no held-out patient"),
        pytest.param(tally(0, 9), tally(0, 9, each=9), (9, 9), 50, (), id="one held-out patient"),
        pytest.param(tally(0, 90), tally(0, 9), (0, 9), 50, ("excess", "gate"), id="nothing planted is found"),
        pytest.param(tally(0, 2), tally(0, 2), (9, 9), 5, ("excess", "bound"), id="two samples cannot fail"),
    ],
)
def test_what_cannot_be_told_is_not_estimable(subject, others, planted, known, estimable):
    calibration = known and Calibration(0.9, known, known, 1 / (known + 1), 1 / (known + 1))
    for row in nearest.beyond(subject, others, planted, calibration):
        told = row.metric.removeprefix("copies_") in estimable
        assert (row.status, row.value is not None, bool(row.reason)) == ("ok" if told else "not_estimable", told, True)


def drawn(rng, people, each, rate, together):
    """Return hits at a rate, of whole patients with probability `together`, otherwise image by image."""
    whole = rng.random(people) < together
    hits = np.where(whole[:, None], (rng.random(people) < rate)[:, None], rng.random((people, each)) < rate)
    return Tally(hits.ravel(), np.repeat(np.arange(people), each))


@pytest.mark.parametrize(
    ("people", "each", "rate", "chance"),
    [(6, 4, 0.001, 0.001), (6, 4, 0.05, 0.02), (40, 3, 0.01, 0.002), (40, 3, 0.3, 0.1)],
)
def test_excess_and_bound_hold_at_their_level(people, each, rate, chance):
    # At least 95 %, up to 1.4 points of chance in 2,000 simulations. Exact intervals hold more often at tiny rates.
    rng, sensitivity, samples = np.random.default_rng(11), 0.93, 300
    flagged = rate * sensitivity + (1 - rate) * chance  # a copy that is found, or a false alarm
    inside = below = 0
    for _ in range(2000):
        others = drawn(rng, people, each, chance, 0.5)
        _, around = excess(tally(rng.binomial(samples, flagged), samples), others)
        inside += around.low <= flagged - chance <= around.high
        limit = bound(around.high, rng.binomial(200, sensitivity), 200)
        below += limit is not None and rate <= limit
    assert inside / 2000 > 0.936
    assert below / 2000 > 0.936


def failures(rng, rounds, *, people, held_out, samples, each, alike):
    """Return how often a subject that copies nobody fails, its samples being images of further patients."""
    failed = 0
    for _ in range(rounds):
        own = rng.normal(size=(people + held_out, 1)) * alike
        values = own + rng.normal(size=(people + held_out, each)) * (1 - alike**2) ** 0.5
        known = _threshold(values[:people].ravel(), np.repeat(np.arange(people), each))
        found = int((rng.normal(size=samples) > known.threshold).sum())
        alarms = int((values[people:] > known.threshold).any(1).sum())
        failed += gate((found, samples), (alarms, held_out), rank_of(known), people).p <= GATE_LEVEL
    return failed / rounds


@pytest.mark.parametrize(
    "sizes",
    [
        {"people": 20, "held_out": 4, "samples": 100, "each": 1, "alike": 0.0},
        {"people": 20, "held_out": 4, "samples": 400, "each": 5, "alike": 0.9},
        {"people": 400, "held_out": 60, "samples": 2000, "each": 5, "alike": 0.5},
    ],
)
def test_who_copies_nobody_fails_once_in_a_thousand_at_most(sizes):
    # 4,000 rounds: 4 failures are expected at the level, 12 or more come by chance less than once in a thousand.
    assert failures(np.random.default_rng(3), 4000, **sizes) * 4000 < 12
