"""Which labels samples are asked for: rare combinations merged, the order of patients not kept, draws by index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort._labels import (
    combinations,
    drawn_labels,
    known_labels,
    merge_rare,
    mirrored_labels,
    stored_combinations,
)
from synthcohort.cohort import Cohort
from synthcohort.errors import InputError, Mismatch
from synthcohort.types import Array

TABLES = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.tuples(st.integers(0, 6), st.lists(st.integers(0, 1), min_size=width, max_size=width)),
        min_size=1,
        max_size=40,
    )
)


def table(rows):
    return np.array([bits for _, bits in rows], np.float32), np.array([f"p{patient}" for patient, _ in rows])


@given(TABLES, st.integers(1, 4))
def test_no_merged_combination_is_held_by_too_few(rows, least) -> None:
    labels, patients = table(rows)
    try:
        merged = merge_rare(labels, patients, least=least)
    except InputError:
        assert combinations(labels, patients).patients.max() < least
        return
    before = combinations(labels, patients)
    kept = {tuple(vector) for vector, held in zip(before.vectors, before.patients, strict=True) if held >= least}
    assert {tuple(vector) for vector in merged} <= kept
    # What is frequent enough stays, and the number of patients of a kept combination never falls.
    for row, own in zip(merged, labels, strict=True):
        assert tuple(own) not in kept or tuple(own) == tuple(row)
    assert combinations(merged, patients).patients.min() >= least


def test_a_rare_combination_becomes_the_nearest_and_then_the_most_frequent() -> None:
    common = [(patient, bits) for bits, patients in (((0, 0, 0), 12), ((1, 1, 0), 11), ((1, 0, 0), 15))
              for patient in range(patients)]  # fmt: skip
    labels, patients = table([*common, (0, (1, 1, 1)), (1, (0, 0, 1)), (2, (0, 1, 0))])
    merged = merge_rare(labels, patients)
    assert merged[-3].tolist() == [1, 1, 0]  # one finding away
    assert merged[-2].tolist() == [0, 0, 0]
    assert merged[-1].tolist() == [0, 0, 0]  # one away from 000 and from 110: 000 has more patients
    np.testing.assert_array_equal(merged[:-3], labels[:-3])


def test_images_of_one_patient_count_once() -> None:
    labels, patients = table([(0, (1, 0))] * 50 + [(patient, (0, 0)) for patient in range(10)])
    assert merge_rare(labels, patients).sum() == 0
    with pytest.raises(InputError, match="at least 10 training patients hold"):
        merge_rare(labels[:59], patients[:59])


def test_draws_follow_the_stored_shares_and_depend_on_the_index_only() -> None:
    stored = [{"labels": [0, 0], "images": 30}, {"labels": [1, 0], "images": 10}]
    long = drawn_labels(stored, 4000, seed=1)
    np.testing.assert_array_equal(drawn_labels(stored, 7, seed=1), long[:7])
    # 1,000 expected, standard deviation 27: five of them.
    assert abs(long[:, 0].sum() - 1000) < 135
    assert long[:, 1].sum() == 0
    with pytest.raises(InputError, match="this run has none"):
        drawn_labels([], 3, seed=1)


def test_mirrored_labels_keep_the_counts_of_each_split_and_not_the_order(labelled: Path) -> None:
    cohort = Cohort(labelled)
    exact = mirrored_labels(cohort, cohort.facts.labels, exact=True, seed=0)
    start = 0
    for split in ("train", "val", "test"):
        rows = cohort.split(split)
        own = np.nan_to_num(cohort.label_matrix()[rows])
        there = exact[start : start + len(rows)]
        assert sorted(map(tuple, there)) == sorted(map(tuple, own))
        assert split != "train" or not np.array_equal(there, own)
        start += len(rows)
    assert start == len(exact)
    assert not np.array_equal(exact, mirrored_labels(cohort, cohort.facts.labels, exact=True, seed=1))
    subset = mirrored_labels(cohort, cohort.facts.labels[1:], exact=True, seed=0)
    assert subset.sum() == exact[:, 1:].sum()


def test_the_order_follows_from_the_counts_alone_and_merged_vectors_do_not_stay_in_their_split() -> None:
    def labels_of(order: Sequence[int], *, exact: bool) -> Array:
        images = [(p, "train", (p % 2, 0)) for p in range(40)] + [(p, "test", (1, 1)) for p in range(40, 52)]
        images += [(52, "train", (1, 1))]
        table = pd.DataFrame([images[i] for i in order], columns=["patient_id", "split", "labels"])
        cohort = SimpleNamespace(
            samples=table,
            facts=SimpleNamespace(labels=("a", "b")),
            split=lambda name: np.flatnonzero(table["split"] == name),
            label_matrix=lambda: np.array(table["labels"].tolist(), np.float64),
        )
        return mirrored_labels(cast(Cohort, cohort), ("a", "b"), exact=exact, seed=0)

    straight, turned = range(53), range(52, -1, -1)
    for exact in (True, False):
        # Another real order, the same answer: there is nothing of the real order to undo.
        np.testing.assert_array_equal(labels_of(straight, exact=exact), labels_of(turned, exact=exact))
    assert labels_of(straight, exact=True)[41:].tolist() == [[1, 1]] * 12
    # Thirteen patients hold (1, 1), but one of them in the training split: too few.
    merged = labels_of(straight, exact=False)
    assert merged[:, 1].sum() == 0
    assert len(np.unique(merged[41:], axis=0)) == 2  # the test split alone would be (1, 0) throughout


def test_a_run_keeps_no_combination_of_fewer_than_ten_patients(labelled: Path) -> None:
    cohort = Cohort(labelled)
    rows = cohort.split("train")
    stored = stored_combinations(cohort, rows, cohort.facts.labels)
    assert sum(entry["images"] for entry in stored) == len(rows)
    own = combinations(known_labels(cohort, rows, cohort.facts.labels), cohort.samples["patient_id"].to_numpy()[rows])
    frequent = {tuple(map(int, v)) for v, held in zip(own.vectors, own.patients, strict=True) if held >= 10}
    assert {tuple(entry["labels"]) for entry in stored} == frequent
    assert len(frequent) < len(own.vectors)  # so that something was merged
    assert stored_combinations(cohort, rows, ()) == []


def test_a_finding_that_the_mirrored_cohort_lacks_is_named(labelled: Path) -> None:
    with pytest.raises(Mismatch, match="lacks 'tilted'"):
        mirrored_labels(Cohort(labelled), ["large", "tilted"], exact=True, seed=0)
