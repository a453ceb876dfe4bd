"""The cohort on disk: written by hand, written by us, damaged, and round trips."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthcohort._checks import bad_label
from synthcohort.cohort import Cohort, Facts, check_comparable, verify, writing_cohort
from synthcohort.errors import BadOutput, Mismatch, NotACohort


def write_by_hand(path: Path) -> Path:
    """Write a cohort with numpy, pandas and json only, as an outsider would."""
    path.mkdir()
    rng = np.random.default_rng(0)
    np.save(path / "images.npy", rng.integers(0, 256, (6, 1, 8, 8)).astype(np.uint8))
    np.save(path / "masks.npy", rng.integers(0, 2, (6, 8, 8)).astype(np.uint8))
    table = {
        "sample_id": list("abcdef"),
        "patient_id": list("uvvwxx"),
        "group_id": list("123456"),
        "slice_index": 0,
        "split": ["train", "val", "val", "test", "reference", "reference"],
        "label.sick": pd.array([1, 0, None, 1, 0, 1], dtype="boolean"),
    }
    pd.DataFrame(table).to_parquet(path / "samples.parquet")
    rule = {
        "shape": [1, 8, 8],
        "dtype": "uint8",
        "value_range": [0.0, 255.0],
        "mask_classes": ["background", "lesion"],
        "pixel_rules": {},
    }
    digest = hashlib.sha256(json.dumps(rule, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    facts = {"schema": 1, "name": "hand", "modality": "none", "provenance": "real", "labels": ["sick"], **rule}
    counts = {
        s: {"images": i, "patients": p}
        for s, i, p in [("reference", 2, 1), ("test", 1, 1), ("train", 1, 1), ("val", 2, 1)]
    }
    (path / "cohort.json").write_text(json.dumps({**facts, "pixels_sha256": digest, "counts": counts}))
    return path


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads((path / "cohort.json").read_text())
    content.update(changes)
    (path / "cohort.json").write_text(json.dumps(content))


def edit_table(path: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    table = pd.read_parquet(path / "samples.parquet")
    changed = change(table)
    (table if changed is None else changed).to_parquet(path / "samples.parquet")


def put(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table[column] = table[column].astype(object)
        table.loc[row, column] = value

    return change


def test_a_cohort_made_by_hand_passes(tmp_path: Path) -> None:
    path = write_by_hand(tmp_path / "hand")
    assert verify(path) == []
    cohort = Cohort(path)
    assert cohort.counts()["val"] == {"images": 2, "patients": 1}
    np.testing.assert_array_equal(cohort.label_matrix()[:, 0], [1, 0, np.nan, 1, 0, 1])
    assert cohort.split("reference").tolist() == [4, 5]


def save_images(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path / "images.npy", values)


def save_masks(values: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path / "masks.npy", values)


UNFIT = {
    "no json": (lambda path: (path / "cohort.json").unlink(), "cohort.json"),
    "no object": (lambda path: (path / "cohort.json").write_text("[]"), "cohort.json"),
    "half a json": (lambda path: (path / "cohort.json").write_text("{"), "cohort.json"),
    "field missing": (lambda path: (path / "cohort.json").write_text('{"schema": 1}'), "lacks 'name'"),
    "other schema": (lambda path: edit_json(path, schema=99), "schema"),
    "other rule": (lambda path: edit_json(path, pixel_rules={"window": 1}), "pixels_sha256"),
    "strange type": (lambda path: edit_json(path, dtype="float32"), "right type"),
    "no images": (lambda path: (path / "images.npy").unlink(), "images.npy"),
    "images are text": (lambda path: (path / "images.npy").write_text("hello"), "images.npy"),
    "pickled images": (save_images(np.array([{}], dtype=object)), "images.npy"),
    "too few images": (save_images(np.zeros((5, 1, 8, 8), np.uint8)), "images.npy is (5, 1, 8, 8)"),
    "other dtype": (save_images(np.zeros((6, 1, 8, 8), np.uint16)), "uint16"),
    "no masks": (lambda path: (path / "masks.npy").unlink(), "both be there"),
    "masks of another size": (save_masks(np.zeros((6, 4, 4), np.uint8)), "masks.npy"),
    "no table": (lambda path: (path / "samples.parquet").unlink(), "samples.parquet"),
    "table is text": (lambda path: (path / "samples.parquet").write_text("hello"), "samples.parquet"),
    "no split column": (lambda path: edit_table(path, lambda t: t.drop(columns="split")), "column split"),
    "no label column": (lambda path: edit_table(path, lambda t: t.drop(columns="label.sick")), "label.sick"),
}


@pytest.mark.parametrize("damage", UNFIT)
def test_parts_that_do_not_fit_are_no_cohort(tmp_path: Path, damage: str) -> None:
    path = write_by_hand(tmp_path / "hand")
    spoil, said = UNFIT[damage]
    spoil(path)
    with pytest.raises(NotACohort) as caught:
        verify(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


FINDINGS = {
    "pixel out of range": (lambda path: narrow_range(path), "pixels outside"),
    "class out of range": (save_masks(np.full((6, 8, 8), 2, np.uint8)), "class index of 2 or more"),
    "sample twice": (lambda path: edit_table(path, put("sample_id", 1, "a")), "same sample_id twice"),
    "empty cell": (lambda path: edit_table(path, put("patient_id", 0, None)), "empty cells"),
    "unknown split": (lambda path: edit_table(path, put("split", 0, "holdout")), "unknown split 'holdout'"),
    "patient in two splits": (lambda path: edit_table(path, put("patient_id", 0, "v")), "more than one split"),
    "counts": (lambda path: edit_json(path, counts={}), "counts in cohort.json"),
    "digest": (lambda path: edit_json(path, digests={"images.npy": "0" * 64}), "images.npy is not the file"),
    "file of a digest gone": (lambda path: edit_json(path, digests={"x.bin": "0" * 64}), "x.bin is not the file"),
}


def narrow_range(path: Path) -> None:
    rule = Facts("", "", "real", (1, 8, 8), "uint8", (0.0, 100.0), ("background", "lesion"))
    edit_json(path, value_range=[0.0, 100.0], pixels_sha256=rule.pixels_sha256)


@pytest.mark.parametrize("damage", FINDINGS)
def test_verify_finds_each_damage(tmp_path: Path, damage: str) -> None:
    path = write_by_hand(tmp_path / "hand")
    spoil, said = FINDINGS[damage]
    spoil(path)
    assert any(said in line for line in verify(path)), verify(path)


@pytest.mark.parametrize("value", [2, -1, 0.5, float("inf")])
def test_labels_are_0_1_or_empty_before_anything_is_computed(tmp_path: Path, value: float) -> None:
    path = write_by_hand(tmp_path / "hand")
    edit_table(path, lambda t: t.assign(**{"label.sick": [value, 0.0, 1.0, 0.0, None, 0.0]}))
    with pytest.raises(NotACohort, match=r"label\.sick has values other than 0, 1 and empty"):
        Cohort(path)


@pytest.mark.parametrize("name", ["mean", "Mean ", "line\nbreak", "\x1b[31m", " "])
def test_findings_have_names_that_can_be_shown(name: str) -> None:
    assert bad_label(name)
    assert not bad_label("Mean lung density")


def test_a_digest_cannot_point_outside(tmp_path: Path) -> None:
    path = write_by_hand(tmp_path / "hand")
    (tmp_path / "secret").write_text("x")
    edit_json(path, digests={"../secret": hashlib.sha256(b"x").hexdigest()})
    assert any("not the file" in line for line in verify(path))


def test_comparison_names_the_rule_that_differs(tmp_path: Path) -> None:
    left = Cohort(write_by_hand(tmp_path / "left"))
    path = write_by_hand(tmp_path / "right")
    narrow_range(path)
    with pytest.raises(Mismatch, match="value_range is"):
        check_comparable(left, Cohort(path))


facts_strategy = st.builds(
    Facts,
    name=st.text(max_size=9),
    modality=st.text(max_size=9),
    provenance=st.sampled_from(["real", "synthetic", "control"]),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    dtype=st.sampled_from(["uint8", "uint16"]),
    value_range=st.just((0.0, 255.0)),
    mask_classes=st.sampled_from([(), ("background", "a"), ("background", "a", "ü")]),
    labels=st.sampled_from([(), ("x",), ("x", "y z")]),
    pixel_rules=st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3),
    history=st.just([{"step": "test", "n": 1}]),
)


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=facts_strategy, count=st.integers(1, 7), seed=st.integers(0, 2**32), key=st.none() | st.binary(min_size=1))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, facts: Facts, count: int, seed: int, key: bytes | None
) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *facts.shape)).astype(facts.dtype)
    masks = rng.integers(0, max(len(facts.mask_classes), 1), (count, *facts.shape[1:])).astype(np.uint8)
    labels = rng.integers(-1, 2, (count, len(facts.labels)))
    out = tmp_path_factory.mktemp("round") / "cohort"
    with writing_cohort(out, facts, {"kind": "test"}, key) as writer:
        for i in range(count):
            row = {"sample_id": f"s{i}", "patient_id": f"p{i}", "group_id": f"g{i}", "slice_index": i, "split": "train"}
            found = {f"label.{n}": None if v < 0 else int(v) for n, v in zip(facts.labels, labels[i], strict=True)}
            writer.append(images[i], masks[i] if facts.mask_classes else None, {**row, **found})
        writer.finish({"attr.age": range(count)})
    assert verify(out) == []
    cohort = Cohort(out)
    assert cohort.facts == facts
    assert cohort.pixels_sha256 == facts.pixels_sha256
    np.testing.assert_array_equal(cohort.images, images)
    assert (cohort.masks is None) == (not facts.mask_classes)
    if cohort.masks is not None:
        np.testing.assert_array_equal(cohort.masks, masks)
    np.testing.assert_array_equal(cohort.label_matrix(), np.where(labels < 0, np.nan, labels).reshape(count, -1))
    assert cohort.samples["attr.age"].tolist() == list(range(count))
    # Only a synthetic cohort's digests may be recomputed by anybody.
    plain = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    assert (cohort.samples["digest"].tolist() == plain) == (key is None)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    facts = Facts("n", "m", "real", (1, 2, 2), "uint8", (0.0, 255.0))
    with pytest.raises(RuntimeError, match="stop"), writing_cohort(tmp_path / "out", facts, {}, None):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_is_never_overwritten(tmp_path: Path) -> None:
    facts = Facts("n", "m", "real", (1, 2, 2), "uint8", (0.0, 255.0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(BadOutput, match="must not exist yet"), writing_cohort(tmp_path / "out", facts, {}, None):
        pass
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
