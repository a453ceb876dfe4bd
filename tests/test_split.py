"""Patients divided as in the released code of study 003, and as a download does it. Strata: test_prepare_findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort._split import assign, linked, official, plain
from synthcohort.errors import InputError
from synthcohort.types import SPLITS

STUDY = (0.8, 0.1, 0.1, 0.0)
SHARES = (0.6, 0.1, 0.15, 0.15)


def alone(count: int) -> dict[str, str]:
    return {f"patient{i:05d}": f"patient{i:05d}" for i in range(count)}


def sizes(splits: Mapping[str, str]) -> tuple[int, ...]:
    counts = Counter(splits.values())
    return tuple(counts[split] for split in SPLITS)


@pytest.mark.parametrize(("patients", "train", "val", "test"), [(55192, 44153, 5519, 5520), (18917, 15133, 1892, 1892)])
def test_the_plain_split_has_study_003s_patients_and_the_stratified_one_too_within_one(
    patients: int, train: int, val: int, test: int
) -> None:
    clusters = alone(patients)
    assert sizes(plain(clusters, shares=STUDY, seed=0)) == (train, val, test, 0)
    strata = {name: "abcdefg"[i % 7 * (i % 3 > 0)] for i, name in enumerate(clusters)}
    dealt = sizes(assign(strata, clusters, shares=STUDY, seed=0))
    assert sum(dealt) == patients
    assert all(abs(got - want) <= 1 for got, want in zip(dealt, (train, val, test, 0), strict=True))


@pytest.mark.parametrize(
    ("patients", "shares", "want"),
    [
        (100, (0.7, 0.1, 0.1, 0.1), (70, 10, 10, 10)),  # 0.7 + 0.1 is less than 0.8 in binary
        (20, SHARES, (12, 2, 3, 3)),
        (19, SHARES, (11, 2, 3, 3)),  # cut below 11.4, 13.3 and 16.15
        (5, SHARES, (2, 1, 1, 1)),  # 3, 3.5 and 4.25 would leave val empty, and then no room for the others
        (4, SHARES, (1, 1, 1, 1)),
        (2, (0.999, 0.0, 0.001, 0.0), (1, 0, 1, 0)),
        (7, (1.0, 0.0, 0.0, 0.0), (7, 0, 0, 0)),
    ],
)
def test_plain_cuts_at_the_whole_numbers_below(patients: int, shares: Any, want: Any) -> None:
    assert sizes(plain(alone(patients), shares=shares, seed=0)) == want


def test_plain_depends_on_ids_and_seed_only() -> None:
    clusters = alone(200)
    one = plain(clusters, shares=STUDY, seed=1)
    assert plain(dict(reversed(clusters.items())), shares=STUDY, seed=1) == one
    assert plain(clusters, shares=STUDY, seed=2) != one
    # One more patient moves the others by one place in the order, so hardly anybody changes the split.
    more = plain(alone(201), shares=STUDY, seed=1)
    assert sum(more[name] != one[name] for name in one) <= 2
    # It is a random order, not that of the ids.
    assert {split for name, split in one.items() if int(name[-5:]) < 40} == {"train", "val", "test"}


def test_plain_cuts_between_clusters_where_it_is_nearest() -> None:
    # One cluster of 5 and 15 patients alone: wherever it falls, a cut at 16 or 18 moves by 2 patients at most.
    clusters = {**alone(20), **{f"patient{i:05d}": "patient00000" for i in range(5)}}
    moved = 0
    for seed in range(30):
        splits = plain(clusters, shares=STUDY, seed=seed)
        assert len({splits[f"patient{i:05d}"] for i in range(5)}) == 1
        train, val, test, _ = sizes(splits)
        assert abs(train - 16) <= 2
        assert abs(train + val - 18) <= 3  # val is not empty either, even where both cuts fall into the cluster
        assert min(train, val, test) >= 1
        moved += train != 16
    assert moved


@given(st.integers(4, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=15), st.integers(0, 3))
def test_plain_keeps_clusters_whole_and_no_split_empty(count: int, pairs: Any, seed: int) -> None:
    ids = list(alone(count))
    clusters = linked([(ids[a % count], ids[b % count]) for a, b in pairs], ids)
    if len(set(clusters.values())) < 4:
        with pytest.raises(InputError, match="fewer patients than splits"):
            plain(clusters, shares=SHARES, seed=seed)
        return
    splits = plain(clusters, shares=SHARES, seed=seed)
    assert set(splits) == set(ids)
    assert min(sizes(splits)) >= 1
    assert len({(clusters[name], split) for name, split in splits.items()}) == len(set(clusters.values()))


# A download's own split


def parts_of(train: int, test: int) -> dict[str, tuple[str, ...]]:
    return {name: ("train",) if i < train else ("test",) for i, name in enumerate(alone(train + test))}


def test_official_test_patients_are_test_and_the_others_are_dealt_in_proportion() -> None:
    parts = parts_of(85, 50)
    strata = {name: "ab"[i % 2] for i, name in enumerate(parts)}
    splits, mixed = official(strata, alone(135), parts, shares=SHARES, seed=0)
    assert mixed == 0
    assert {name for name, split in splits.items() if split == "test"} == {
        n for n, p in parts.items() if p == ("test",)
    }
    # 0.6, 0.1 and 0.15 of 0.85: the share of test is not used.
    assert sizes(splits) == (60, 10, 50, 15)
    for stratum in "ab":
        held = Counter(split for name, split in splits.items() if strata[name] == stratum and split != "test")
        assert all(abs(held[split] - n / 2) <= 1 for split, n in (("train", 60), ("val", 10), ("reference", 15)))
    assert official(strata, alone(135), parts, shares=SHARES, seed=1)[0] != splits


def test_a_download_that_names_val_gets_no_other_val_patients() -> None:
    parts = {name: ("", "val", "test")[i % 3 * (i < 9)] for i, name in enumerate(alone(30))}
    splits, mixed = official(
        dict.fromkeys(parts, ""), alone(30), {n: {p} for n, p in parts.items()}, shares=SHARES, seed=0
    )
    assert mixed == 0
    assert all((split == "val") == (parts[name] == "val") for name, split in splits.items())
    assert sizes(splits) == (19, 3, 3, 5)  # 24 in the ratio 0.6 to 0.15


def test_patients_in_several_parts_are_no_test_patients() -> None:
    parts: dict[str, Any] = {**parts_of(20, 10), "patient00000": ("train", "test"), "patient00029": ("val", "test")}
    clusters = {**alone(30), "patient00028": "patient00001"}  # a test patient with a training patient's image
    splits, mixed = official(dict.fromkeys(parts, ""), clusters, parts, shares=SHARES, seed=0)
    assert mixed == 4  # 0 and 29, and 1 and 28 together
    assert splits["patient00029"] == "val"
    assert splits["patient00000"] in ("train", "reference")
    assert splits["patient00001"] == splits["patient00028"] != "test"
    assert sizes(splits)[2] == 8


def test_an_official_split_that_is_none() -> None:
    with pytest.raises(InputError, match=r"names none\. Use --split stratified\.?$"):
        official(dict.fromkeys(alone(9), ""), alone(9), parts_of(9, 0), shares=SHARES, seed=0)
    with pytest.raises(InputError, match=r"names none.*stratified with --fold 1/5, or with --shares for test"):
        official(dict.fromkeys(alone(9), ""), alone(9), parts_of(9, 0), shares=(0.75, 0.25, 0, 0), seed=0)
    merged = {**alone(9), "patient00008": "patient00000"}  # the only test patient has a training patient's image
    with pytest.raises(InputError, match=r"each of its test patients is in another part too.*identical images"):
        official(dict.fromkeys(alone(9), ""), merged, parts_of(8, 1), shares=SHARES, seed=0)
    with pytest.raises(InputError, match=r"fewer patients than splits \(2 < 3\)"):
        official(dict.fromkeys(alone(9), ""), alone(9), parts_of(2, 7), shares=SHARES, seed=0)
