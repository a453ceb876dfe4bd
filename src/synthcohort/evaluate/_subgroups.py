"""Who is it worse for? What training on synthetic images loses among patients who share an attribute.

A subgroup of fewer than ten patients is not scored, and its size is not told; where one of an attribute is so small,
the numbers of images of the others are rounded down to tens, so that it cannot be had by subtraction.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..types import Value
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import ImageSet
from ._utility import SYNTHETIC, Tested, add, valued

GAP, WORST = "subgroup_gap", "subgroup_gap_worst"
FEWEST_PATIENTS, FEWEST_OF_A_CLASS = 10, 20
MOST_VALUES = 12
AGES = (0, 40, 60, 80)
_IGNORED = frozenset({"burned_in_text"})
_LARGEST = "the largest of several, and so without an interval"
FEW = f"fewer than {FEWEST_PATIENTS} patients"
FEW_OF_ALL = f"no finding has {FEWEST_OF_A_CLASS} images with it and {FEWEST_OF_A_CLASS} without"

Places = npt.NDArray[np.int64]


def subgroups(samples: pd.DataFrame) -> dict[str, Places]:
    """Return "sex=F" -> rows of the table, of every attribute that divides it into 2 to 12 parts.

    Ages are taken in bands; other numbers with more values are left out.

    Args:
        samples: Rows of a cohort's table, in the order of its images.
    """
    found: dict[str, Places] = {}
    for column in samples.columns:
        name = str(column).removeprefix("attr.")
        if name == column or name in _IGNORED:
            continue
        values = _banded(name, samples[column])
        kinds = sorted(values.dropna().unique())
        if 2 <= len(kinds) <= MOST_VALUES:
            found |= {f"{name}={kind}": np.flatnonzero((values == kind).to_numpy(bool)) for kind in kinds}
    return found


def _banded(name: str, values: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(values, errors="coerce")
    if name != "age" or numbers.isna().all():
        return values.astype("string")
    ends = [*(f"{low} to {high - 1}" for low, high in itertools.pairwise(AGES)), f"{AGES[-1]} and over"]
    return pd.cut(numbers, [*AGES, np.inf], right=False, labels=ends).astype("string")


def scorable(on: ImageSet, groups: Mapping[str, Places]) -> dict[str, Places]:
    """Return the subgroups with enough patients."""
    return {name: rows for name, rows in groups.items() if len(np.unique(on.patients[rows])) >= FEWEST_PATIENTS}


def counted_in(on: ImageSet, rows: Places, counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return (L,) which findings have enough images with them and without them in a subgroup."""
    labels = on.labels[rows]
    enough: npt.NDArray[np.bool_] = (
        counted & ((labels == 1).sum(0) >= FEWEST_OF_A_CLASS) & ((labels == 0).sum(0) >= FEWEST_OF_A_CLASS)
    )
    return enough


def add_gaps(
    rows: Rows, task: str, family: str, on: ImageSet, groups: Mapping[str, Places], trains: Mapping[str, Tested]
) -> None:
    """Add what each arm loses to training on real images in each subgroup, and the worst one.

    Args:
        rows: Where the scores go.
        task: The task's name.
        family: Of the comparison.
        on: What the arms are tested on.
        groups: Subgroup -> its rows of `on`.
        trains: Trained on -> tested; their `subgroups` hold what was scored.
    """
    large = scorable(on, groups)
    hidden = {_attribute(name) for name in groups if name not in large}
    gaps: dict[str, float] = {}
    for name, places in groups.items():
        count = len(places) // 10 * 10 if _attribute(name) in hidden else len(places)
        if name not in large:
            _say_none(rows, task, family, trains[SYNTHETIC], name, FEW, 0)
            continue
        if name not in trains[REAL].subgroups:
            _say_none(rows, task, family, trains[SYNTHETIC], name, FEW_OF_ALL, count)
            continue
        real = trains[REAL].subgroups[name]
        for arm in (SYNTHETIC, REAL, GAUSSIAN):
            own = trains[arm].subgroups[name]
            gap, spread = real.values[-1] - own.values[-1], real.draws[:, -1] - own.draws[:, -1]
            value = valued(GAP, name, gap, spread, "lower", otherwise=FEW_OF_ALL)
            add(rows, value, task, family, replace(trains[arm], tested=count, seconds=0.0))
            if arm == SYNTHETIC and value.value is not None:
                gaps[name] = value.value
    if gaps:
        _add_worst(rows, task, family, trains[SYNTHETIC], gaps)


def _attribute(name: str) -> str:
    return name.partition("=")[0]


def _say_none(rows: Rows, task: str, family: str, tested: Tested, name: str, reason: str, count: int) -> None:
    value = Value(GAP, None, better="lower", label=name, status="not_estimable", reason=reason)
    add(rows, value, task, family, replace(tested, tested=count, seconds=0.0))


def _add_worst(rows: Rows, task: str, family: str, tested: Tested, gaps: Mapping[str, float]) -> None:
    """Add the largest gap. It has no interval: the largest of several is large by chance, too."""
    name = max(gaps, key=lambda each: gaps[each])
    value = Value(WORST, gaps[name], better="lower", label=name, reason=_LARGEST)
    add(rows, value, task, family, replace(tested, seconds=0.0))
