"""The statistics of a reader study: by hand, against libraries, by simulation, and as published."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats import inter_rater

from synthcohort.reader._agreement import between, own_kappa, within
from synthcohort.reader._each_reader import confusion, figures, roc
from synthcohort.reader._equivalence import equivalence
from synthcohort.reader._multireader import Estimate, accuracy, area, detection, share
from synthcohort.reader._paper import pooled_binomial, signed_rank
from synthcohort.reader._simulate import Observers, feelings
from synthcohort.statistics import clopper_pearson

GOLDEN = json.loads((Path(__file__).parent / "golden" / "reader_studies.json").read_text())
KINDS = np.arange(40) < 20


def answers(observers: Observers, kinds: np.ndarray, readers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what simulated readers say, and their ratings."""
    felt = feelings(observers, kinds, readers=readers, shown=1, seed=seed)
    said, confidence = felt.said[:, 0], felt.confidence[:, 0]
    return said, np.where(said, confidence, -confidence)


# Published figures


@pytest.mark.parametrize("name", GOLDEN["003"])
def test_the_tables_of_study_003(name: str) -> None:
    table = GOLDEN["003"][name]
    found = signed_rank(table["accuracies"], 100)
    assert found.mean == pytest.approx(table["mean"], abs=5e-5)
    assert found.sd == pytest.approx(table["sd"], abs=5e-4)  # with divisor n, as printed
    if "less" in table:
        assert found.less == pytest.approx(table["less"], abs=5e-4)
        assert found.greater == pytest.approx(table["greater"], abs=5e-4)
        assert found.dropped == 1


def test_chest_at_512_pixels_is_printed_with_two_means() -> None:
    # Text and counts say 0.710, the listed accuracies 0.688: three of five are those of the brain row.
    chest, brain = GOLDEN["003"]["chest 512"], GOLDEN["003"]["brain 256"]
    assert (chest["true_reals"] + chest["true_synthetics"]) / 100 == pytest.approx(0.710)
    assert signed_rank(chest["accuracies"], 100).mean == pytest.approx(0.688)
    assert (brain["true_reals"] + brain["true_synthetics"]) / 100 == pytest.approx(0.532)


def test_study_000() -> None:
    found = GOLDEN["000"]
    assert pooled_binomial(found["right"], found["answers"]) == pytest.approx(found["p"], rel=0.01)


def test_accuracies_as_floats_would_hide_ties() -> None:
    right = GOLDEN["003"]["chest 128"]["accuracies"]
    as_floats = np.array(right) / 100 - 0.5
    assert len(np.unique(np.abs(as_floats))) > len({abs(2 * each - 100) for each in right})


# Signed ranks


@pytest.mark.parametrize("right", [[3, 8, 9, 1, 7], [5, 5, 6, 7, 2, 2, 9], [9, 9, 9]])
def test_signed_ranks_are_all_signs_counted(right: list[int]) -> None:
    off = np.array([2 * each - 10 for each in right if 2 * each != 10])
    ranks = stats.rankdata(np.abs(off))
    own = ranks[off > 0].sum()
    sums = [np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(ranks))]
    found = signed_rank(right, 10)
    assert found.less == pytest.approx(np.mean([each <= own for each in sums]))
    assert found.greater == pytest.approx(np.mean([each >= own for each in sums]))


def test_signed_ranks_without_ties_are_those_of_scipy() -> None:
    right = [51, 47, 44, 58, 41, 61, 30, 35]
    for side in ("less", "greater"):
        reference = stats.wilcoxon(np.array(right) - 50, alternative=side, method="exact").pvalue
        assert getattr(signed_rank(right, 100), side) == pytest.approx(reference, abs=1e-12)


def test_readers_all_at_chance_give_no_signed_rank_test() -> None:
    found = signed_rank([50, 50], 100)
    assert (found.less, found.greater, found.dropped) == (None, None, 2)


# Each reader


def test_confusion_in_the_words_of_the_papers() -> None:
    synthetic = np.array([0, 0, 0, 1, 1], bool)
    said = np.array([0, 1, 0, 1, 0], bool)
    found = confusion(said, synthetic)
    assert (found.true_reals, found.false_synthetics, found.true_synthetics, found.false_reals) == (2, 1, 1, 1)
    assert (found.right, found.total) == (3, 5)


def test_a_reader_s_figures_by_hand() -> None:
    synthetic = np.repeat([True, False], 50)
    said = np.concatenate([np.arange(50) < 35, np.arange(50) < 20])
    found = figures(said, np.where(said, 1, -1), synthetic)
    assert (found["accuracy"].value, found["accuracy"].low, found["accuracy"].high) == (0.65, *clopper_pearson(65, 100))
    assert found["sensitivity"].value == 0.7
    assert found["specificity"].value == 0.6
    hit, false = stats.norm.ppf(35.5 / 51), stats.norm.ppf(20.5 / 51)
    assert found["d_prime"].value == pytest.approx(hit - false)
    assert found["criterion"].value == pytest.approx(-(hit + false) / 2)
    assert found["auc"].value == pytest.approx(0.65)  # of one threshold: (sensitivity + specificity) / 2


def test_a_reader_s_area_is_scikit_learn_s() -> None:
    _, ratings = answers(Observers(1.0), KINDS, 1, 5)
    found = figures(ratings[0] > 0, ratings[0], KINDS)["auc"]
    assert found.value == pytest.approx(roc_auc_score(KINDS, ratings[0]), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_one_kind_only_is_not_estimable() -> None:
    found = figures(np.array([True, False]), np.array([3, -2]), np.array([True, True]))
    assert found["accuracy"].value == 0.5
    assert {name for name, value in found.items() if value.status == "not_estimable"} == {
        "specificity",
        "d_prime",
        "criterion",
        "auc",
    }


def test_roc_points_end_at_the_corners() -> None:
    ratings = np.array([5, 1, -1, -5, 4, -2, -3, -4])
    false, hit = roc(ratings, np.arange(8) < 4, np.array([5, 1, -1, -5]))
    np.testing.assert_array_equal(hit, [0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_array_equal(false, [0, 0, 0.25, 0.25, 1, 1])


# Readers and images


def test_variance_of_the_area_is_the_definition_written_out() -> None:
    rng = np.random.default_rng(2)
    synthetic, readers = np.arange(9) < 4, 3
    scores = rng.integers(0, 4, (readers, 9)).astype(float)
    pairs = [
        [np.sign(scores[r, j] - scores[r, i]) / 2 + 0.5 for j in np.flatnonzero(synthetic)]
        for r in range(readers)
        for i in np.flatnonzero(~synthetic)
    ]
    kernel = np.array(pairs).reshape(readers, 5, 4)
    areas = kernel.mean(axis=(1, 2))
    others = list(itertools.permutations(range(readers), 2))
    together = np.mean([areas[r] * areas[s] for r, s in others])
    reals, fakes = list(itertools.permutations(range(5), 2)), list(itertools.permutations(range(4), 2))
    apart = np.mean([kernel[r, i, j] * kernel[s, a, b] for r, s in others for i, a in reals for j, b in fakes])
    found = area(scores, synthetic)
    assert found is not None
    np.testing.assert_allclose(found.by_reader, areas, rtol=0, atol=1e-12)
    assert found.case_part == pytest.approx(max(0.0, together - apart), abs=1e-12)
    assert found.reader_part == pytest.approx(areas.var(ddof=1) / readers, abs=1e-12)


def test_area_of_two_levels_is_accuracy_with_the_same_variance() -> None:
    # With yes and no alone the area is the mean of sensitivity and specificity, so both roads have to meet.
    said, _ = answers(Observers(0.8), np.arange(60) < 30, 6, 3)
    one, two = accuracy(said, np.arange(60) < 30), area(said.astype(float), np.arange(60) < 30)
    assert one is not None
    assert two is not None
    assert two.value == pytest.approx(one.value, abs=1e-12)
    assert two.variance == pytest.approx(one.variance, abs=1e-12)
    assert two.freedom == pytest.approx(one.freedom, rel=1e-9)


def test_variance_of_accuracy_is_the_two_way_analysis_of_variance() -> None:
    said, _ = answers(Observers(0.5, case_sd=0.8), KINDS, 5, 1)
    right = (said == KINDS).astype(float)
    case_part = 0.0
    for kind in (False, True):
        part = right[:, kind == KINDS]
        readers, images = part.shape
        by_case = readers * part.mean(axis=0).var(ddof=1)
        rest = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
        residual = (rest**2).sum() / ((readers - 1) * (images - 1))
        case_part += (by_case - residual) / readers / images / 4
    found = accuracy(said, KINDS)
    assert found is not None
    assert found.case_part == pytest.approx(case_part, abs=1e-12)


def test_one_answer_to_everything_is_chance_at_any_ratio() -> None:
    synthetic = np.arange(100) < 20
    found = accuracy(np.zeros((4, 100), bool), synthetic)
    assert found is not None
    assert found.value == 0.5
    assert found.interval(0.95) == clopper_pearson(50, 100)  # nothing varies: one reader's worth of images


def test_too_few_readers_or_images_give_none() -> None:
    said = np.zeros((1, 40), bool)
    assert accuracy(said, KINDS) is None
    assert area(said, KINDS) is None
    assert detection(said, KINDS) is None
    assert share(said) is None
    assert accuracy(np.zeros((3, 40), bool), np.zeros(40, bool)) is None


def test_mean_d_prime_by_hand() -> None:
    said, _ = answers(Observers(1.0), KINDS, 4, 9)
    found = detection(said, KINDS)
    assert found is not None
    each = [figures(row, np.where(row, 1, -1), KINDS) for row in said]
    assert found[0].value == pytest.approx(np.mean([one["d_prime"].value for one in each]))
    assert found[1].value == pytest.approx(np.mean([one["criterion"].value for one in each]))


IMRMC = os.environ.get("SYNTHCOHORT_IMRMC", "")


@pytest.mark.reference
@pytest.mark.skipif(not IMRMC, reason="SYNTHCOHORT_IMRMC names no copy of iMRMC's example input.imrmc")
def test_area_and_variance_are_those_of_imrmc() -> None:
    # Rpackage/iMRMC/tests/testthat/input.imrmc and drafts/test_doIMRMC.Rdata of github.com/DIDSR/iMRMC, ad589e5:
    # 5 readers x 80 images; value, variance and degrees of freedom (Hillis) of each modality as printed there.
    text = Path(IMRMC).read_text()
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "ac9221637d0b0a8f119b75110cccd18a987ece445960695d7d8bb8d6f77ef048"
    )
    rows = [line.split(",") for line in text.split("BEGIN DATA:")[1].split()]
    truth = {case: float(value) == 1 for reader, case, _, value in rows if reader == "truth"}
    published = {
        "testA": (0.704375, 0.00631393024, 6.85458885),
        "testB": (0.7585, 0.00237205276, 35.0001533),
    }
    for modality, (value, variance, freedom) in published.items():
        scores = {(reader, case): float(x) for reader, case, of, x in rows if of == modality}
        table = np.array([[scores[reader, case] for case in truth] for reader in sorted({key[0] for key in scores})])
        found = area(table, np.array(list(truth.values())))
        assert found is not None
        assert found.value == pytest.approx(value, abs=1e-9)
        assert found.variance == pytest.approx(variance, rel=1e-7)  # digits printed
        assert found.freedom == pytest.approx(freedom, rel=1e-7)


# Equivalence


def estimate(value: float, error: float) -> Estimate:
    return Estimate(value, np.array([value, value]), error**2, 0.0, 1e9, 100)


@pytest.mark.parametrize(
    ("value", "verdict", "words", "differs"),
    [
        (0.50, "equivalent", "equivalent within \N{PLUS-MINUS SIGN}0.10", False),
        (0.55, "equivalent", "equivalent within \N{PLUS-MINUS SIGN}0.10", True),
        (0.70, "better than chance", "told apart (better than chance)", True),
        (0.30, "worse than chance", "told apart (worse than chance)", True),
    ],
)
def test_verdicts(value: float, verdict: str, words: str, differs: bool) -> None:
    found = equivalence(estimate(value, 0.02), margin=0.1)
    assert (found.verdict, found.words, found.differs) == (verdict, words, differs)


def test_a_small_study_cannot_tell() -> None:
    found = equivalence(estimate(0.52, 0.08), margin=0.1)
    assert found.verdict == "cannot tell"
    assert found.words == "cannot tell: the study is too small"
    assert found.p > 0.05


@pytest.mark.parametrize("value", [0.41, 0.45, 0.5, 0.53, 0.58])
@pytest.mark.parametrize("error", [0.01, 0.04])
def test_the_band_and_the_p_value_decide_alike(value: float, error: float) -> None:
    found = equivalence(estimate(value, error), margin=0.1, alpha=0.05)
    assert (found.p < 0.05) == (found.verdict == "equivalent")
    z = min(value - 0.4, 0.6 - value) / error
    assert found.p == pytest.approx(stats.norm.sf(z), rel=1e-4)  # with so many degrees of freedom


# Agreement


def test_cohen_s_kappa_and_its_interval_are_those_of_the_libraries() -> None:
    rng = np.random.default_rng(4)
    one = rng.random(60) < 0.4
    two = np.where(rng.random(60) < 0.7, one, ~one)
    found = own_kappa(one, two)
    reference = inter_rater.cohens_kappa([[sum((one == a) & (two == b)) for b in (0, 1)] for a in (0, 1)])
    assert found.value == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)
    assert found.low == pytest.approx(reference.kappa_low, abs=1e-9)
    assert found.high == pytest.approx(reference.kappa_upp, abs=1e-9)


def test_fleiss_s_kappa_is_that_of_statsmodels() -> None:
    said, _ = answers(Observers(1.0, case_sd=0.8), KINDS, 5, 2)
    found = between(said)
    ones = said.sum(axis=0)
    assert found.value == pytest.approx(inter_rater.fleiss_kappa(np.stack([5 - ones, ones], axis=1)), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_a_reader_s_leaning_is_not_agreement() -> None:
    rng = np.random.default_rng(0)
    shares = (0.05, 0.95, 0.05, 0.95)  # who answer at random, but lean
    pairs = [(rng.random(500) < p, rng.random(500) < p) for p in shares]
    found = within(pairs)
    assert found.value is not None
    assert abs(found.value) < 0.1
    assert cohen_kappa_score(*(np.concatenate(side) for side in zip(*pairs, strict=True))) > 0.7


def test_agreement_that_has_no_meaning() -> None:
    same, none = np.zeros(12, bool), np.zeros(0, bool)
    assert own_kappa(none, none).reason == "no image was shown twice"
    assert own_kappa(same, same).status == within([(same, same)]).status == between(np.zeros((3, 9), bool)).status
    assert own_kappa(same, same).status == "not_estimable"
    few = own_kappa(np.array([True, False]), np.array([True, False]))
    assert (few.value, few.low) == (1.0, None)
    assert within([(none, none)]).reason == "no image was shown twice"
    assert between(np.zeros((1, 9), bool)).reason == "fewer than two readers"


# Simulation: Roe and Metz's kind of model, readers and images random (doi:10.1016/S1076-6332(97)80161-X).


def truth(observers: Observers) -> dict[str, float]:
    """Return what the figures of simulated readers estimate, by integration over readers."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    distance = (observers.d_prime + observers.reader_sd * nodes)[:, None] / 2
    lean = (observers.criterion + observers.reader_sd * nodes)[None, :]
    cuts = np.array([-1.6, -1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2, 1.6])  # of x from the criterion, between ratings
    below = [stats.norm.cdf(cuts + lean[..., None] - side * distance[..., None]) for side in (-1, 1)]
    levels = [np.diff(each, axis=-1, prepend=0.0, append=1.0) for each in below]
    lower = np.cumsum(levels[0], axis=-1) - levels[0] / 2
    right = (stats.norm.cdf(distance - lean) + stats.norm.cdf(distance + lean)) / 2
    return {
        "accuracy": float((weights * right).sum()),
        "auc": float((weights * (levels[1] * lower).sum(axis=-1)).sum()),
        "d_prime": observers.d_prime,
        "criterion": observers.criterion,
    }


def estimates(observers: Observers, readers: int, images: int, runs: int) -> Iterator[dict[str, Estimate]]:
    kinds = np.arange(images) < images // 2
    for seed in range(runs):
        said, ratings = answers(observers, kinds, readers, seed)
        found, both = (accuracy(said, kinds), area(ratings, kinds)), detection(said, kinds)
        assert found[0] is not None
        assert found[1] is not None
        assert both is not None
        yield {"accuracy": found[0], "auc": found[1], "d_prime": both[0], "criterion": both[1]}


def coverage(observers: Observers, readers: int, images: int, runs: int) -> dict[str, float]:
    expected, inside = truth(observers), dict.fromkeys(truth(observers), 0)
    for found in estimates(observers, readers, images, runs):
        for name, one in found.items():
            low, high = one.interval(0.95)
            inside[name] += low <= expected[name] <= high
    return {name: count / runs for name, count in inside.items()}


def test_intervals_cover_readers_and_images_in_short() -> None:
    found = coverage(Observers(1.0, criterion=0.2), 5, 60, 300)
    assert all(0.905 <= each <= 0.985 for each in found.values()), found  # 95 % less and plus 3.6 standard errors


@pytest.mark.slow
@pytest.mark.parametrize("readers", [4, 10])
@pytest.mark.parametrize("images", [40, 200])
@pytest.mark.parametrize("observers", [Observers(0.0), Observers(1.0, 0.2, 0.3, 0.7), Observers(2.0, 0.0, 0.2, 0.3)])
def test_intervals_cover_readers_and_images(readers: int, images: int, observers: Observers) -> None:
    found = coverage(observers, readers, images, 2000)
    assert all(0.92 <= each <= 0.98 for each in found.values()), found


def on_the_margin(margin: float) -> Observers:
    """Return readers whose accuracy is 0.5 + margin exactly."""
    low, high = 0.0, 4.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if truth(Observers(middle))["accuracy"] < 0.5 + margin else (low, middle)
    return Observers(low)


def called_equivalent(observers: Observers, readers: int, images: int, runs: int) -> float:
    found = (each["accuracy"] for each in estimates(observers, readers, images, runs))
    return float(np.mean([equivalence(each, margin=0.1).verdict == "equivalent" for each in found]))


def test_equivalence_keeps_its_level_in_short() -> None:
    observers = on_the_margin(0.1)
    assert truth(observers)["accuracy"] == pytest.approx(0.6)
    assert called_equivalent(observers, 10, 100, 500) <= 0.05 + 3 * (0.05 * 0.95 / 500) ** 0.5
    assert called_equivalent(Observers(0.0), 10, 100, 100) > 0.5  # and it has power


@pytest.mark.slow
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("readers", "images"), [(5, 100), (10, 200), (20, 400)])
def test_equivalence_keeps_its_level(side: int, readers: int, images: int) -> None:
    observers = Observers(side * on_the_margin(0.1).d_prime)
    assert called_equivalent(observers, readers, images, 4000) <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


@pytest.mark.slow
def test_fleiss_s_kappa_s_interval_covers() -> None:
    # Readers without differences of their own: the interval is one over images.
    observers, kinds = Observers(0.8, 0.0, 0.0, 0.6), np.arange(100) < 50
    values = [between(answers(observers, kinds, 6, seed)[0]) for seed in range(2000)]
    large = between(answers(observers, np.arange(200_000) < 100_000, 6, 1)[0]).value
    inside = np.mean([each.low <= large <= each.high for each in values])  # type: ignore[operator]
    assert 0.92 <= inside <= 0.98
