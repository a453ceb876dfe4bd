"""ACDC holds one heart under two patients' names: both are kept on one side, and a release of one of them is found.

Needs the download: SYNTHCOHORT_ACDC names its folder. Only counts are looked at, and nothing of it is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.cohort import Cohort
from synthcohort.evaluate import _sets, _spaces
from synthcohort.evaluate._sets import ImageSet
from synthcohort.metrics import nearest
from synthcohort.plugins import find
from synthcohort.prepare import prepare
from synthcohort.types import Features

ROOT = os.environ.get("SYNTHCOHORT_ACDC", "")
pytestmark = pytest.mark.skipif(not ROOT, reason="SYNTHCOHORT_ACDC names no ACDC download")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    out = tmp_path_factory.mktemp("acdc") / "real"
    prepare("acdc", Path(ROOT), out=out, size=64)
    return Cohort(out)


@pytest.fixture(scope="module")
def twins(prepared: Cohort) -> tuple[str, str]:
    """Return the two patients that hold the same images."""
    holders: dict[bytes, set[str]] = {}
    for image, patient in zip(np.asarray(prepared.images), prepared.samples["patient_id"].astype(str), strict=True):
        holders.setdefault(image.tobytes(), set()).add(patient)
    (pair,) = {frozenset(each) for each in holders.values() if len(each) > 1}
    one, other = sorted(pair)
    return one, other


def seen(images: ImageSet, cohort: Cohort, space: str) -> Features:
    small = find("extractors", "pixels")().extract(images.images, cohort.facts.value_range)
    return Features(small, images.patients, space)


def test_prepare_finds_them_and_keeps_them_in_one_split(prepared: Cohort, twins: tuple[str, str]) -> None:
    samples = prepared.samples[prepared.samples["patient_id"].astype(str).isin(twins)]
    step: Any = prepared.facts.history[0]
    assert step["identical_under_several_patients"] == {"patients": 2, "images": len(samples)}
    assert samples["split"].nunique() == 1


@pytest.mark.parametrize("space", _spaces.DECIDING)
def test_a_release_of_one_is_found_when_the_other_was_trained_on(
    prepared: Cohort, twins: tuple[str, str], space: str
) -> None:
    real, (trained, released) = _sets.real_sets(prepared, ()), twins
    everything = _sets.whole(prepared, "all", ())
    others = real.train.take(np.flatnonzero(~np.isin(real.train.patients, twins)))
    train = _sets.joined(others, everything.take(np.flatnonzero(everything.patients == trained)))
    subject = everything.take(np.flatnonzero(everything.patients == released))
    held_out = real.held_out.take(np.flatnonzero(~np.isin(real.held_out.patients, twins)))
    sides = [seen(each, prepared, space) for each in (train, subject, held_out)]
    found = nearest.verdicts(*sides)
    assert found.copy.all()
    assert (train.patients[found.nearest] == trained).all()
    # The audit is not bought with false alarms: of patients that nobody was trained on hardly one is accused.
    unseen = real.holdout.take(np.flatnonzero(~np.isin(real.holdout.patients, twins)))
    assert nearest.verdicts(sides[0], seen(unseen, prepared, space), sides[2]).copy.mean() <= 0.03


def test_one_person_entered_twice_does_not_raise_the_threshold(prepared: Cohort, twins: tuple[str, str]) -> None:
    real = _sets.real_sets(prepared, ())
    without = real.train.take(np.flatnonzero(real.train.patients != twins[1]))
    held_out = seen(real.held_out, prepared, _spaces.PIXELS)
    with_both, with_one = (
        nearest.calibrate(seen(each, prepared, _spaces.PIXELS), held_out) for each in (real.train, without)
    )
    assert with_both is not None
    assert with_one is not None
    assert with_both.threshold == pytest.approx(with_one.threshold, abs=0.01)
    assert with_both.threshold < 0.95
