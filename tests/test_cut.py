"""Cuts, balance and repeats of small tables, counted by hand. Study 003's own, at full size: test_settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort._cut import Cut, balance, cut, oversample
from synthcohort.errors import InputError
from synthcohort.types import SPLITS


def small(*counts: tuple[int, int, int, int]) -> tuple[Any, Any]:
    """Return values and splits with counts[k][s] images of combination k (of one finding, k) in split s."""
    rows = [(k, s) for k, count in enumerate(counts) for s, n in enumerate(count) for _ in range(n)]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    values = np.zeros((len(rows), len(counts)), np.float32)
    values[np.arange(len(rows)), [k for k, _ in rows]] = 1
    return values, np.array([s for _, s in rows])


def test_a_cut_that_fits_exactly_and_one_image_short() -> None:
    values, splits = small((5, 3, 2, 1), (4, 2, 2, 0))
    wanted = Cut(combinations=2, each=(4, 2, 2))
    found = cut(values, splits, "ab", wanted, seed=0)
    assert found.counts.tolist() == [[4, 2, 2, 1], [4, 2, 2, 0]]  # reference keeps what it has
    assert found.rows()[0] == {"findings": ["a"], "train": 4, "val": 2, "test": 2, "reference": 1}
    for split, name in ((0, "train has 3 of 4"), (1, "val has 1 of 2"), (2, "test has 1 of 2")):
        one = np.flatnonzero((values[:, 1] == 1) & (splits == split))[0]
        with pytest.raises(InputError, match=f"{name} images of b\\. Choose another --seed"):
            cut(np.delete(values, one, axis=0), np.delete(splits, one), "ab", wanted, seed=0)


def test_at_most_three_shortages_are_named() -> None:
    values, splits = small((3, 1, 1, 0), (2, 1, 1, 0))
    with pytest.raises(InputError) as error:
        cut(values, splits, "ab", Cut(each=(4, 2, 2)), seed=0)
    assert error.value.offender == (
        "train has 3 of 4 images of a; train has 2 of 4 images of b; val has 1 of 2 images of a, and 3 more"
    )
    with pytest.raises(InputError, match="val has 2 of 9 images; test has 2 of 9 images"):
        cut(values, splits, "ab", Cut(total=(5, 9, 9)), seed=0)
    with pytest.raises(InputError, match="1 of findings with 3 training images or more where 2 are wanted"):
        cut(values, splits, "ab", Cut(combinations=2, least=3), seed=0)


def test_of_equally_frequent_combinations_the_one_that_the_table_has_first_stays() -> None:
    values = np.array([[0, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 0]], np.float32)
    found = cut(values, np.zeros(6, int), "ab", Cut(combinations=2), seed=0)
    assert found.images.tolist() == [True, True, False, False, True, True]
    assert (found.findings, found.lost, found.combinations_dropped) == (("a",), ("b",), 1)
    assert found.rows()[0]["findings"] == []


def test_unknown_counts_as_absent_and_frequency_is_that_of_all_splits() -> None:
    values = np.array([[1, np.nan], [1, 0], [0, 1], [0, 1], [np.nan, 1]], np.float32)
    found = cut(values, np.array([0, 0, 1, 2, 3]), "ab", Cut(combinations=1), seed=0)
    assert found.images.tolist() == [False, False, True, True, True]
    assert found.findings == ("b",)


def test_totals_are_shared_out_by_largest_remainders() -> None:
    values, splits = small((10, 0, 0, 0), (6, 0, 0, 0), (4, 0, 0, 0))
    # 7 of 20: 3.5, 2.1 and 1.4; the largest remainder is the first one's.
    assert cut(values, splits, "abc", Cut(total=(7, 0, 0)), seed=0).counts[:, 0].tolist() == [4, 2, 1]
    assert cut(values, splits, "abc", Cut(total=(1, 0, 0)), seed=0).counts.tolist() == [[1, 0, 0, 0]]


def test_another_seed_takes_other_images() -> None:
    values, splits = small((50, 0, 0, 0), (50, 0, 0, 0))
    one, same, other = (cut(values, splits, "ab", Cut(each=(25, 0, 0)), seed=s).images for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


CELLS = st.lists(st.tuples(*[st.integers(0, 6)] * 4), min_size=1, max_size=5).filter(lambda cells: np.sum(cells) > 0)


@given(CELLS, st.integers(1, 5), st.tuples(*[st.none() | st.integers(0, 5)] * 3), st.integers(0, 3))
def test_a_cut_takes_what_is_asked_or_refuses(cells: Any, most: int, each: Any, seed: int) -> None:
    values, splits = small(*cells)
    names = "vwxyz"[: len(cells)]
    totals = {k: sum(cells[k]) for k in range(len(cells)) if sum(cells[k])}
    first = {k: int(np.flatnonzero(values[:, k] == 1)[0]) for k in totals}
    order = sorted(totals, key=lambda k: (-totals[k], first[k]))[:most]
    wanted = Cut(combinations=most, each=each)
    short = [k for k in order if any(n is not None and n > cells[k][s] for s, n in enumerate(each))]
    if len(order) < most or short:
        with pytest.raises(InputError):
            cut(values, splits, names, wanted, seed=seed)
        return
    found = cut(values, splits, names, wanted, seed=seed)
    counts = {k: [int(((splits == s) & (values[:, k] == 1) & found.images).sum()) for s in range(4)] for k in totals}
    for k in totals:
        want = [have if n is None else n for have, n in zip(cells[k], (*each, None), strict=True)]
        assert counts[k] == (want if k in order else [0, 0, 0, 0])
    assert found.counts.tolist() == [counts[k] for k in order if any(counts[k])]
    for smaller in range((each[0] or 0) + 1):
        less = cut(values, splits, names, Cut(combinations=most, each=(smaller, *each[1:])), seed=seed).images
        assert not (less & ~found.images)[splits == 0].any()
        assert (less == found.images)[splits > 0].all()


@given(CELLS, st.tuples(*[st.none() | st.integers(0, 20)] * 3), st.sampled_from([0.0, 0.2]), st.integers(0, 3))
def test_totals_are_exact_and_in_proportion(cells: Any, total: Any, slack: float, seed: int) -> None:
    values, splits = small(*cells)
    names = "vwxyz"[: len(cells)]
    have = np.array(cells)
    wanted = Cut(total=total, slack=slack)
    short = [s for s, n in enumerate(total) if n is not None and have[:, s].sum() < n * (1 - slack * (s == 0))]
    if short:
        with pytest.raises(InputError, match=SPLITS[short[0]]):
            cut(values, splits, names, wanted, seed=seed)
        return
    found = cut(values, splits, names, wanted, seed=seed)
    for s, n in enumerate((*total, None)):
        there = int(have[:, s].sum())
        got = [int(((splits == s) & (values[:, k] == 1) & found.images).sum()) for k in range(len(cells))]
        assert sum(got) == (there if n is None else min(n, there))
        for k, count in enumerate(got):
            assert abs(count - have[k, s] * sum(got) / max(1, there)) < 1
    assert found.missing == (0 if total[0] is None else total[0] - min(total[0], int(have[:, 0].sum())))


# Balance and repeats


VALUES = st.lists(st.tuples(*[st.sampled_from([0, 1, np.nan])] * 3), min_size=1, max_size=40)


@given(VALUES, st.integers(0, 3), st.sampled_from(["No Finding", "no_finding", "oedema"]))
def test_balance_keeps_all_findings_and_as_many_without(rows: Any, seed: int, third: str) -> None:
    values = np.array(rows, np.float32)
    findings = values if third == "oedema" else values[:, :2]
    found = (findings == 1).any(axis=1)
    if not found.any():
        with pytest.raises(InputError, match="none that has one is left"):
            balance(values, ("a", "b", third), seed=seed)
        return
    stays = balance(values, ("a", "b", third), seed=seed)
    assert stays[found].all()
    assert int(stays[~found].sum()) == min(int(found.sum()), int((~found).sum()))
    assert found[stays].mean() >= 0.5


@given(CELLS, st.integers(0, 60), st.integers(0, 3))
def test_repeats_are_even_within_a_combination(cells: Any, to: int, seed: int) -> None:
    values, splits = small(*cells)
    have = np.array(cells)[:, 0]
    if not 0 < have.sum() <= to:
        with pytest.raises(InputError, match=f"train has {have.sum()} images, {to} are wanted"):
            oversample(values, splits, to=to, seed=seed)
        return
    repeats = oversample(values, splits, to=to, seed=seed)
    assert (repeats[splits > 0] == 1).all()
    assert repeats[splits == 0].sum() == to
    for k in np.flatnonzero(have):
        own = repeats[(splits == 0) & (values[:, k] == 1)]
        assert own.min() >= 1
        assert own.max() - own.min() <= 1
        assert abs(own.sum() - have[k] * to / have.sum()) < 1
    assert (repeats == oversample(values, splits, to=to, seed=seed)).all()
