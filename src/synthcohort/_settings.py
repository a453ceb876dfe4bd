"""The 33 settings of study 003 as data: which source, what is prepared, what is cut, and how much that gives.

DuMont Schütte et al., npj Digital Medicine 2021, supplement, Table S1; where its released code differs, the protocol
"code" holds the code's numbers, and where table and text differ, "paper" holds the table's, "recommended" the text's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ._cut import Cut
from .errors import UnknownName

_SOURCES = {"chest": "chexpert", "brain": "rsna_ich"}
_SHARES = (0.8, 0.1, 0.1, 0.0)
_BALANCE = {"chest": "", "brain": "no_finding"}
_LOW = 32
_SIDES = (32, 64, 128)
_HELD = 4000
"""Images of val and of test on the resolution axis."""
_SLACK = 0.02
"""Several times what a split by patients varies: 0.3 % (chest) to 0.4 % (brain) of train is one standard deviation."""

# Most frequent combinations, training images of each, findings left.
_CLASSES = {
    "chest": ((20, 1450, 9), (15, 1600, 8), (10, 2000, 5), (6, 2300, 5), (4, 3900, 5), (2, 6300, 4)),
    "brain": ((10, 2500, 5), (8, 3120, 5), (6, 4170, 5), (4, 6250, 4), (2, 12500, 2)),
}
# Images of each combination in val and test. The released code has fewer in test.
_CLASSES_HELD = {"chest": (190, 190), "brain": (300, 300)}
_CLASSES_HELD_CODE = {"chest": (190, 170), "brain": (300, 200)}
# Most frequent combinations, findings left, images of each in val and test, training images of each.
_SAMPLES = {
    "chest": (3, 4, 750, (5950, 4500, 3000, 1500, 1000, 500, 400, 200)),
    "brain": (6, 5, 500, (5400, 4500, 3000, 1500, 1000, 500, 300, 100)),
}
# Combinations, findings left, least and most training images of one. Table S1 counts no "No Finding" in the last row.
_RESOLUTION = {"chest": (138, 14, (256, 7586)), "brain": (20, 5, (155, 85876))}
# Training images. Table S1 has the chest's number in the rows of the brain; S.1 says 173,271.
_TRAIN = {"chest": 117168, "brain": 173271}
_TRAIN_PAPER = {"chest": 117168, "brain": 117168}
# Combinations held by fewer images are left out. S.1 does not say where it counts; Table S1 counts in train.
_LEAST = {
    "recommended": {"chest": (256, "pool"), "brain": (100, "pool")},
    "paper": {"chest": (256, "train"), "brain": (100, "train")},
    "code": {"chest": (257, "pool"), "brain": (111, "pool")},
}


@dataclass(frozen=True)
class Setting:
    """One row of Table S1.

    Attributes:
        name: COHORT-AXIS-NUMBER, e.g. "chest-samples-3000".
        source: Plugin that reads its download: "chexpert" or "rsna_ich".
        preparation: What `prepare` does before the cut, by its own names: size, shares, min_combination_images,
            count_combinations and balance. What the user gives goes before it.
        cut: What is cut after the split. Its `least` is set where combinations are counted in train.
        images: How many images train, val and test hold then; under "code", train of the resolution axis holds all
            that the split gives it.
        labels: How many findings, "No Finding" among them, are left as labels, as Table S1 says.
        combinations: How many combinations of them.
        each: Least and most training images of a combination.
    """

    name: str
    source: str
    preparation: Mapping[str, Any]
    cut: Cut
    images: tuple[int, int, int]
    labels: int
    combinations: int
    each: tuple[int, int]


def settings() -> tuple[str, ...]:
    """Return the names of all settings, in the order of Table S1."""
    return tuple(
        f"{cohort}-{axis}-{number}"
        for cohort in _SOURCES
        for axis, numbers in (
            ("classes", [row[0] for row in _CLASSES[cohort]]),
            ("samples", _SAMPLES[cohort][3]),
            ("resolution", _SIDES),
        )
        for number in numbers
    )


def setting(name: str, protocol: str = "recommended") -> Setting:
    """Return a setting by its name, as a protocol ("recommended", "paper", "code") has it.

    Raises:
        UnknownName: There is no such setting; the message proposes the nearest.
    """
    if name not in settings():
        close = difflib.get_close_matches(name, settings(), n=1, cutoff=0.5)
        hint = f"Did you mean '{close[0]}'?" if close else f"Choose one like {', '.join(settings()[:15:7])}"
        raise UnknownName("A setting is one of the 33 of study 003", f"no '{name}' there", hint)
    cohort, axis, number = name.split("-")
    cut, each, labels, combinations = _AXES[axis](cohort, int(number), protocol)
    train, val, test = ((n or 0) * combinations for n in cut.each)
    least, counted = _LEAST[protocol][cohort]
    return Setting(
        name=name,
        source=_SOURCES[cohort],
        preparation={
            "size": int(number) if axis == "resolution" else _LOW,
            "shares": _SHARES,
            "min_combination_images": least,
            "count_combinations": counted,
            "balance": _BALANCE[cohort],
        },
        cut=replace(cut, least=least if counted == "train" else 0),
        images=_whole(cohort, protocol) if axis == "resolution" else (train, val, test),
        labels=labels,
        combinations=combinations,
        each=each,
    )


_Axis = tuple[Cut, tuple[int, int], int, int]
"""A cut, least and most training images of a combination, findings left, combinations."""


def _classes(cohort: str, number: int, protocol: str) -> _Axis:
    combinations, each, labels = next(row for row in _CLASSES[cohort] if row[0] == number)
    held = (_CLASSES_HELD_CODE if protocol == "code" else _CLASSES_HELD)[cohort]
    return Cut(combinations=combinations, each=(each, *held)), (each, each), labels, combinations


def _samples(cohort: str, number: int, _: str) -> _Axis:
    combinations, labels, held, _numbers = _SAMPLES[cohort]
    return Cut(combinations=combinations, each=(number, held, held)), (number, number), labels, combinations


def _resolution(cohort: str, _: int, protocol: str) -> _Axis:
    combinations, labels, each = _RESOLUTION[cohort]
    total = _whole(cohort, protocol)
    if protocol == "paper":
        return Cut(combinations=combinations, total=total), each, labels, combinations
    if protocol == "code":
        return Cut(total=(None, *total[1:])), each, labels, combinations
    return Cut(total=total, slack=_SLACK), each, labels, combinations


def _whole(cohort: str, protocol: str) -> tuple[int, int, int]:
    return (_TRAIN_PAPER if protocol == "paper" else _TRAIN)[cohort], _HELD, _HELD


_AXES = {"classes": _classes, "samples": _samples, "resolution": _resolution}
