"""What `describe --release` lets leave: no count of 1 to 9, no combination of fewer than ten patients, no way back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort._release import LEAST, SETTINGS, rounded, tens
from synthcohort.cli import main
from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.describe import as_text, describe

# Findings of a patient's one image -> how many such patients there are.
HELD = {(1, 0, 0): 34, (0, 0, 0): 27, (1, 1, 0): 12, (0, 1, 1): 9, (1, 0, 1): 3, (1, 1, 1): 1}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "held"
    history = [
        {
            "step": "prepare",
            "seed": 7,
            "size": 4,
            "options": {"views": 2},
            "images": {"read": 93, "written": 86, "dropped": 7},
            "dropped": {"no PatientID": 4, "damaged": 3},
            "identical_under_several_patients": {"patients": 2, "images": 14},
            "label_combinations": {"min_images": 5, "kept": 6, "dropped": 1},
            "setting": {"combinations": [{"findings": ["a"], "train": 8, "val": 21}]},
        }
    ]
    facts = Facts("held", "phantom", "real", (1, 4, 4), "uint8", (0.0, 255.0), labels=("a", "b", "c"), history=history)
    number = 0
    with writing_cohort(out, facts, {}, b"k") as writer:
        for labels, count in HELD.items():
            for _ in range(count):
                row: dict[str, Any] = dict.fromkeys(("sample_id", "patient_id", "group_id"), f"{number:016x}")
                row |= {f"label.{name}": bool(value) for name, value in zip("abc", labels, strict=True)}
                row |= {"slice_index": 0, "split": "val" if number % 20 == 0 else "train"}
                writer.append(np.full((1, 4, 4), number % 256, np.uint8), None, row)
                number += 1
        writer.finish()
    return out


def numbers(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for name, item in value.items() if name not in SETTINGS for pair in numbers(item, name)]
    if isinstance(value, list):
        return [pair for item in value for pair in numbers(item, key)]
    return [(key, value)]


def test_no_exact_count_is_left(cohort: Path) -> None:
    facts = describe(cohort, release=True)
    for part in ("counts", "findings", "combinations", "history"):
        counts = [value for _, value in numbers(facts[part]) if isinstance(value, int)]
        assert set(counts) <= {0}, part
    texts = [value for _, value in numbers(facts["counts"])]
    assert texts == ["80+", "80+", "<10", "<10"]
    assert facts["findings"]["c"]["train"] == {"present": "10+", "absent": "60+", "unknown": 0, "patients": "10+"}
    step = facts["history"][0]
    assert step["images"] == {"read": "90+", "written": "80+", "dropped": "<10"}
    assert step["dropped"] == {"no PatientID": "<10", "damaged": "<10"}
    assert step["identical_under_several_patients"] == {"patients": "<10", "images": "10+"}
    assert step["label_combinations"] == {"min_images": 5, "kept": "<10", "dropped": "<10"}
    assert step["setting"]["combinations"] == [{"findings": ["a"], "train": "<10", "val": "20+"}]
    assert (step["seed"], step["size"], step["options"]) == (7, 4, {"views": 2})


def test_rare_combinations_are_one(cohort: Path) -> None:
    found = describe(cohort, release=True)["combinations"]
    assert [(each["findings"], each["images"], each["patients"]) for each in found] == [
        (["a"], "30+", "30+"),
        ([], "20+", "20+"),
        (["a", "b"], "10+", "10+"),
        ("rare combinations", "10+", "10+"),
    ]


def test_without_release_nothing_is_hidden(cohort: Path) -> None:
    facts = describe(cohort)
    assert [each["patients"] for each in facts["combinations"]] == [34, 27, 12, 9, 3, 1]
    assert facts["counts"] == Cohort(cohort).counts()
    assert "counts_are" not in facts


def test_the_text_shows_no_small_count(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(cohort), "--release"]) == 0
    text = capsys.readouterr().out
    assert text.rstrip() == as_text(describe(cohort, release=True))
    assert "rare combinations" in text
    assert "val           <10 images of <10 patients" in text
    assert "present in train 40+ and not in 30+ images of 40+ patients" in text
    assert not re.search(r"\b[1-9] (?:images|patients)", text)
    assert main(["describe", str(cohort), "--release", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(cohort, release=True)


@given(st.integers(0, 10**9))
def test_tens(value: int) -> None:
    text = tens(value)
    if value == 0:
        assert text == 0
    elif value < LEAST:
        assert text == "<10"
    else:
        assert 0 <= value - int(str(text).removesuffix("+")) < LEAST


@given(st.lists(st.integers(0, 10**4), min_size=2, max_size=8))
def test_a_hidden_count_does_not_follow_from_the_total(parts: list[int]) -> None:
    """Of every count that is shown as <10, other values fit the same table: all of 1 to 9 for two parts."""
    parts[0] = 1 + parts[0] % 9
    shown = (tens(sum(parts)), [tens(part) for part in parts])

    def fits(value: int) -> bool:
        others = [
            range(0, 1) if p == 0 else range(1, 10) if p < 10 else range(p // 10 * 10, p // 10 * 10 + 10)
            for p in parts[1:]
        ]
        low, high = value + sum(r[0] for r in others), value + sum(r[-1] for r in others)
        total = sum(parts)
        bounds = (1, 9) if total < 10 else (total // 10 * 10, total // 10 * 10 + 9)
        return low <= bounds[1] and high >= bounds[0]

    assert shown[1][0] == "<10"
    assert sum(fits(value) for value in range(1, 10)) > 1


def test_flags_and_measures_are_no_counts() -> None:
    value = {"conditional": True, "share": 0.25, "name": "7", "none": None, "count": 3}
    assert rounded(value) == {"conditional": True, "share": 0.25, "name": "7", "none": None, "count": "<10"}
