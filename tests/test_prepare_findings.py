"""prepare with findings: which are kept, which images with them, folds, strata, warnings, and that counts add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from synthcohort import _findings, cli
from synthcohort._split import assign, divide, fold_shares, linked
from synthcohort.cohort import Cohort, verify
from synthcohort.describe import as_text, describe
from synthcohort.errors import BadOption, InputError, Mismatch, UnknownName
from synthcohort.prepare import prepare
from synthcohort.types import SPLITS

SHARED = Path(__file__).parents[2] / "shared" / "data" / "nih_cxr14"
SHARES = (0.6, 0.1, 0.15, 0.15)


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def write_images(root: Path, rows: Sequence[tuple[str, Sequence[str]]], names: Sequence[str] = ("a", "b", "c")) -> Path:
    """Write a folder of random pictures: (patient, cells of the findings) each."""
    root.mkdir()
    lines = [",".join(["image", "patient", *(f"label.{name}" for name in names)])]
    for i, (patient, cells) in enumerate(rows):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (6, 6)).astype(np.uint8)).save(root / f"{i}.png")
        lines.append(",".join([f"{i}.png", patient, *cells]))
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


def mixed(count: int = 40) -> list[tuple[str, Sequence[str]]]:
    """Return `count` patients with two images each: a in half of them, b in a quarter, c in the first image of two."""
    rows: list[tuple[str, Sequence[str]]] = []
    for i in range(count):
        rows.append((f"person{i}", (str(i % 2), str(int(i % 4 == 0)), "1" if i in (3, 8) else "")))
        rows.append((f"person{i}", (str(i % 2), "0", "0")))
    return rows


# The pure part, against counting by hand

TABLES = arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.sampled_from([0, 1, np.nan]))


@given(TABLES, st.integers(0, 6), st.integers(0, 6))
def test_keep_counts_findings_and_then_combinations(values: Any, min_images: int, min_combination: int) -> None:
    offered = "wxyz"[: values.shape[1]]
    names = [name for i, name in enumerate(offered) if (values[:, i] == 1).sum() >= min_images]
    keys = [tuple(bool(row[offered.index(name)] == 1) for name in names) for row in values]
    counts = Counter(keys)
    wish = _findings.Wish((), min_images, min_combination)
    if max(counts.values()) < min_combination:
        with pytest.raises(InputError, match=f"held by {max(counts.values())} images"):
            _findings.keep(values, [f"p{i}" for i in range(len(values))], tuple(offered), wish)
        return
    kept = _findings.keep(values, [f"p{i}" for i in range(len(values))], tuple(offered), wish)
    assert list(kept.names) == names
    assert set(kept.rare) == set(offered) - set(names)
    assert kept.images.tolist() == [counts[key] >= min_combination for key in keys]
    assert kept.combinations == sum(count >= min_combination for count in counts.values())
    assert kept.combinations + kept.combinations_dropped == len(counts)


def test_keep_takes_the_named_findings_in_their_order_and_study_003s_limit() -> None:
    # 257 images of one combination and 256 of another: "more than 256" keeps the first.
    values = np.array([[1, 0, 1]] * 257 + [[0, 1, 1]] * 256, np.float32)
    kept = _findings.keep(values, ["p"] * 513, ("a", "b", "c"), _findings.Wish(("c", "a"), 0, 257))
    assert kept.names == ("c", "a")
    assert int(kept.images.sum()) == 257
    assert (kept.combinations, kept.combinations_dropped) == (1, 1)
    # Without b and a both are one combination.
    assert _findings.keep(values, ["p"] * 513, ("a", "b", "c"), _findings.Wish(("c",), 0, 257)).images.all()


@given(TABLES, st.integers(1, 5))
def test_strata_are_the_rarest_finding_a_patient_ever_has(values: Any, persons: int) -> None:
    names = "wxyz"[: values.shape[1]]
    patients = [f"p{i % persons}" for i in range(len(values))]
    has = {
        p: {
            name
            for i, name in enumerate(names)
            for row, q in zip(values, patients, strict=True)
            if q == p and row[i] == 1
        }
        for p in set(patients)
    }
    holders = Counter(name for found in has.values() for name in found)
    want = {p: min(found, key=lambda name: (holders[name], names.index(name)), default="") for p, found in has.items()}
    assert _findings.strata(values, patients, names) == want


IDS = st.lists(st.integers(0, 10**6), min_size=12, max_size=60, unique=True).map(lambda ids: [f"p{i}" for i in ids])


@given(IDS, st.integers(2, 6), st.integers(0, 3), st.data())
def test_folds_are_disjoint_exhaustive_and_the_same_for_the_same_seed(
    ids: list[str], count: int, seed: int, data: st.DataObject
) -> None:
    strata = {patient: data.draw(st.sampled_from(["", "x", "y"])) for patient in ids}
    twins = data.draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=3))
    clusters = linked(twins, strata)
    tests: Counter[str] = Counter()
    for number in range(1, count + 1):
        splits = divide(strata, clusters, shares=SHARES, seed=seed, fold=(number, count))
        assert set(splits) == set(ids)
        assert set(splits.values()) == set(SPLITS)
        assert all(splits[a] == splits[b] for a, b in twins)
        backwards = divide(strata, dict(reversed(clusters.items())), shares=SHARES, seed=seed, fold=(number, count))
        assert backwards == splits
        tests.update(patient for patient, split in splits.items() if split == "test")
    assert tests == Counter(ids)  # every patient in exactly one test fold


def test_folds_have_equal_sizes_within_strata_and_the_rest_keeps_its_proportions() -> None:
    strata = {f"p{i:03d}": "AB"[i < 50] for i in range(200)}
    for number in range(1, 6):
        splits = divide(strata, {p: p for p in strata}, shares=SHARES, seed=1, fold=(number, 5))
        counts = Counter(splits.values())
        assert counts["test"] == 40
        for split, share in zip(("train", "val", "reference"), (0.6, 0.1, 0.15), strict=True):
            assert abs(counts[split] - 160 * share / 0.85) < 1
        assert Counter(strata[p] for p, split in splits.items() if split == "test") == {"A": 30, "B": 10}
    assert fold_shares(SHARES, (2, 5)) == pytest.approx((0.8 * 0.6 / 0.85, 0.8 * 0.1 / 0.85, 0.2, 0.8 * 0.15 / 0.85))
    assert fold_shares(SHARES, None) == SHARES
    one, other = (divide(strata, {p: p for p in strata}, shares=SHARES, seed=s, fold=(1, 5)) for s in (1, 2))
    assert one != other
    assert divide(strata, {p: p for p in strata}, shares=SHARES, seed=1) == assign(
        strata, {p: p for p in strata}, shares=SHARES, seed=1
    )


def test_fewer_patients_than_folds() -> None:
    with pytest.raises(InputError, match=r"fewer patients than folds \(4 < 5\)"):
        divide(dict.fromkeys("abcd", ""), {p: p for p in "abcd"}, shares=SHARES, seed=0, fold=(1, 5))


def test_remarks_count_patients_and_name_each_kind_once() -> None:
    # 12 patients of two images: "rare" in one patient (both images), "never" in none, "often" in 10.
    patients = [f"p{i // 2}" for i in range(24)]
    splits = ["train"] * 12 + ["val"] * 4 + ["test"] * 4 + ["reference"] * 4
    rare = [1.0 if patient == "p0" else 0.0 for patient in patients]
    often = [0.0 if patient in ("p1", "p6") or i % 4 == 0 else 1.0 for i, patient in enumerate(patients)]
    values = np.array([rare, [0.0] * 24, often], np.float32).T
    lines = list(_findings.remarks(values, patients, splits, ("rare", "never", "often"), ()))
    assert lines[0] == "Warning: one class in the whole cohort, so nothing can be learnt of: never."
    assert lines[1] == "Warning: held by fewer than 10 patients: rare (1)."
    assert lines[2].endswith(": rare (val, test).")
    # Six patients are in train, so no combination is held by ten.
    assert lines[3] == "Warning: 4 of the 4 label combinations in train are held by fewer than 10 patients."
    assert lines[4].startswith("Note: 4 of the 4 label combinations in train have fewer than 3,000 images")
    assert lines[5] == "Note: train has 12 images; 9,000 were enough for study 003's chest radiographs."
    assert len(lines) == 6
    with pytest.raises(InputError, match="'never' has one class in the whole cohort"):
        list(_findings.remarks(values, patients, splits, ("rare", "never", "often"), ("never",)))
    with pytest.raises(InputError, match="'rare' has one class in val, test"):
        list(_findings.remarks(values, patients, splits, ("rare", "never", "often"), ("often", "rare")))
    assert len(list(_findings.remarks(values, patients, splits, ("rare", "never", "often"), ("often",)))) == 6


def test_unknown_is_no_class_and_enough_data_is_not_remarked_on() -> None:
    values = np.array([[1.0], [np.nan]] * 4500, np.float32)
    patients = [f"p{i}" for i in range(9000)]
    (line,) = _findings.remarks(values, patients, ["train"] * 9000, ("x",), ())
    assert "one class in the whole cohort" in line
    values = np.array([[1.0], [0.0]] * 4500, np.float32)
    assert list(_findings.remarks(values, patients, ["train"] * 9000, ("x",), ("x",))) == []
    # A combination of 4,500 images of 9 patients is large, and still rare.
    nine = [f"p{i % 9}" if i % 2 else f"q{i}" for i in range(9000)]
    (line,) = _findings.remarks(values, nine, ["train"] * 9000, ("x",), ("x",))
    assert line == "Warning: 1 of the 2 label combinations in train are held by fewer than 10 patients."
    assert list(_findings.remarks(np.zeros((5, 0), np.float32), patients[:5], ["train"] * 5, (), ())) == []


# The verb


def test_findings_reach_the_cohort_in_the_order_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path / "images", mixed())
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=6, findings=["b", "a"])
    assert cohort.facts.labels == ("b", "a")
    assert [c for c in cohort.samples.columns if c.startswith("label.")] == ["label.b", "label.a"]
    assert np.nansum(cohort.label_matrix(), axis=0).tolist() == [10, 40]
    assert cohort.facts.history[0]["findings"] == {"named": ["b", "a"], "min_images": 0, "dropped": []}
    assert cohort.facts.history[0]["label_combinations"] == {"min_images": 0, "kept": 3, "dropped": 0}
    assert verify(cohort.path) == []
    # Each image keeps its own labels: pixels name the image, and the table says what it holds.
    want = {}
    for i, (_, cells) in enumerate(mixed()):
        want[np.random.default_rng(i).integers(0, 256, (6, 6)).astype(np.uint8).tobytes()] = [
            int(cells[1]),
            int(cells[0]),
        ]
    assert [want[image.tobytes()] for image in cohort.images] == cohort.label_matrix().tolist()
    assert "label combinations in train" in capsys.readouterr().err


def test_rare_findings_and_combinations_are_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "images", mixed())
    # c is in 2 images; then (a, b) leave 40 images (1, 0), 30 (0, 0) and 10 (0, 1).
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=6, min_finding_images=3, min_combination_images=11)
    assert cohort.facts.labels == ("a", "b")
    step = cohort.facts.history[0]
    assert step["images"] == {"read": 80, "written": 70, "dropped": 10}
    assert step["dropped"] == {"rare label combination": 10}
    assert step["findings"] == {"min_images": 3, "dropped": ["c"]}
    assert step["label_combinations"] == {"min_images": 11, "kept": 2, "dropped": 1}
    said = capsys.readouterr().err
    assert "fewer than 3 images: c (2)" in said
    assert "left out: rare label combination 10" in said
    assert "nothing can be learnt of: b" in said  # its images were the rare combination
    assert len(cohort) == sum(entry["images"] for entry in cohort.counts().values()) == 70
    assert verify(cohort.path) == []
    with pytest.raises(InputError, match="held by 40 images"):
        prepare("folder", root, out=tmp_path / "x", size=6, min_finding_images=3, min_combination_images=41)
    assert not list(tmp_path.glob("x*"))


def test_an_image_that_is_dropped_is_nobodys_twin(tmp_path: Path) -> None:
    rows = [*mixed(), ("somebody", ("1", "1", "1"))]  # the only image with all three
    root = write_images(tmp_path / "images", rows)
    (root / "80.png").write_bytes((root / "0.png").read_bytes())
    twins = "identical_under_several_patients"
    all_of_them = prepare("folder", root, out=tmp_path / "all", size=6)
    assert all_of_them.facts.history[0][twins] == {"patients": 2, "images": 2}
    kept = prepare("folder", root, out=tmp_path / "kept", size=6, min_combination_images=2)
    assert kept.facts.history[0][twins] == {"patients": 0, "images": 0}
    assert kept.samples["patient_id"].nunique() == 40


def test_every_new_argument_is_part_of_the_command(tmp_path: Path) -> None:
    root, out = write_images(tmp_path / "images", mixed()), tmp_path / "cohort"
    prepare("folder", root, out=out, size=6)
    for other in ({"fold": (1, 5)}, {"findings": ("a",)}, {"min_finding_images": 1}, {"min_combination_images": 1}):
        with pytest.raises(Mismatch, match="only for the same command"):
            prepare("folder", root, out=out, size=6, **other)  # type: ignore[arg-type]
    assert len(prepare("folder", root, out=out, size=6)) == 80


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"findings": ["A"]}, UnknownName, "no 'A' there"),
        ({"findings": ["aa"]}, UnknownName, "Did you mean 'a'"),
        ({"findings": ["a", "a"]}, BadOption, "named once"),
        ({"min_finding_images": -1}, BadOption, "0 or more"),
        ({"fold": (0, 5)}, BadOption, "0/5"),
        ({"fold": (6, 5)}, BadOption, "6/5"),
        ({"fold": (1, 1)}, BadOption, "1/1"),
        ({"fold": (1, 41)}, InputError, "fewer patients than folds"),
        ({"findings": ["c"]}, InputError, "'c' has one class in"),
    ],
)
def test_mistakes_about_findings_leave_nothing(
    tmp_path: Path, wrong: dict[str, Any], error: type[InputError], said: str
) -> None:
    root = write_images(tmp_path / "images", mixed())
    with pytest.raises(error, match=said):
        prepare("folder", root, out=tmp_path / "cohort", size=6, **wrong)
    assert not list(tmp_path.glob("cohort*"))


def test_a_source_without_findings_has_none_to_choose_from(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", [(f"p{i}", ()) for i in range(8)], names=())
    with pytest.raises(UnknownName, match="Choose from none"):
        prepare("folder", root, out=tmp_path / "cohort", size=6, findings=["a"])
    with pytest.raises(BadOption, match="this source has none"):
        prepare("folder", root, out=tmp_path / "cohort", size=6, min_combination_images=2)
    step = prepare("folder", root, out=tmp_path / "cohort", size=6).facts.history[0]
    assert not {"findings", "label_combinations"} & set(step)


def test_a_rare_finding_is_spread_over_the_splits(tmp_path: Path) -> None:
    # 20 of 200 patients hold b, some in the second image only; 60, 10, 15 and 15 % of them are 12, 2, 3 and 3.
    rows = [(f"p{i}", ("1", str(int(i % 10 == 0 and j == i % 20 // 10)), "0")) for i in range(200) for j in range(2)]
    cohort = prepare("folder", write_images(tmp_path / "images", rows), out=tmp_path / "cohort", size=6)
    found = describe(cohort.path)["findings"]["b"]
    for split, share in zip(SPLITS, (12, 2, 3, 3), strict=True):
        assert abs(found[split]["patients"] - share) <= 1


def test_cross_validation_by_patient(tmp_path: Path) -> None:
    root, seen = write_images(tmp_path / "images", mixed()), []
    for number in range(1, 5):
        arguments = ["prepare", "folder", root, "--out", tmp_path / f"fold{number}", "--size", "6"]
        assert cli.main([str(each) for each in [*arguments, "--fold", f"{number}/4", "--findings", "a, b"]]) == 0
        cohort = Cohort(tmp_path / f"fold{number}")
        assert cohort.facts.history[0]["fold"] == [number, 4]
        assert cohort.facts.history[0]["shares"]["test"] == 0.25
        assert cohort.counts()["test"] == {"images": 20, "patients": 10}
        seen += [cohort.images[i].tobytes() for i in cohort.split("test")]
    assert len(set(seen)) == len(seen) == 80


@pytest.mark.parametrize("text", ["1", "a/5", "1/5/5", "0/5"])
def test_a_fold_is_written_1_5(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path / "images", mixed(8))
    assert cli.main(["prepare", "folder", str(root), "--out", str(tmp_path / "c"), "--fold", text]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# describe


def test_describe_counts_images_and_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = prepare("folder", write_images(tmp_path / "images", mixed()), out=tmp_path / "cohort", size=6)
    facts = describe(cohort.path)
    total = {
        key: sum(split[key] for split in facts["findings"]["c"].values()) for key in facts["findings"]["c"]["train"]
    }
    assert total == {"present": 2, "absent": 40, "unknown": 38, "patients": 2}
    assert sum(split["patients"] for split in facts["findings"]["a"].values()) == 20  # 40 images of 20 patients
    # By hand: a alone in 39 images, nothing in 30, b alone in 9, a+c and b+c in one each; unknown counts as 0.
    assert facts["combinations"] == [
        {"findings": ["a"], "images": 39, "patients": 20},
        {"findings": [], "images": 30, "patients": 20},
        {"findings": ["b"], "images": 9, "patients": 9},
        *facts["combinations"][3:],
    ]
    assert {tuple(each["findings"]) for each in facts["combinations"][3:]} == {("a", "c"), ("b", "c")}
    json.dumps(facts)
    text = as_text(facts)
    for part in (
        "5 combinations of findings",
        "39 images of 20 patients: a",
        "30 images of 20 patients: none",
        "unknown",
    ):
        assert part in text
    assert "more" not in text


def test_describe_shows_the_ten_most_frequent_combinations(tmp_path: Path) -> None:
    rows = [(f"p{i}", tuple(f"{i % 13:04b}")) for i in range(60)]
    root = write_images(tmp_path / "images", rows, names=("a", "b", "c", "d"))
    facts = describe(prepare("folder", root, out=tmp_path / "cohort", size=6).path)
    assert len(facts["combinations"]) == 13
    assert sum(each["images"] for each in facts["combinations"]) == 60
    assert "and 3 more" in as_text(facts)


# Real radiographs


@pytest.mark.reference
@pytest.mark.skipif(not SHARED.exists(), reason="the real NIH radiographs are not beside the project")
def test_all_real_radiographs_are_accounted_for(tmp_path: Path) -> None:
    cohort = prepare("nih_cxr14", SHARED, out=tmp_path / "cohort", size=64, min_finding_images=50)
    step = cohort.facts.history[0]
    assert step["images"] == {"read": 1000, "written": 1000, "dropped": 0}
    assert step["identical_under_several_patients"] == {"patients": 0, "images": 0}
    assert cohort.samples["patient_id"].nunique() == 682
    patients = {split: entry["patients"] for split, entry in cohort.counts().items()}
    assert patients == {"train": 409, "val": 68, "test": 103, "reference": 102}
    assert set(cohort.facts.labels) == {"Atelectasis", "Effusion", "Infiltration", "Pneumonia", "Edema", "No Finding"}
    assert np.isfinite(cohort.label_matrix()).all()


def test_two_findings_that_are_one_fact_are_said() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.integers(0, 2, (2, 6000)).astype(np.float32)
    values = np.stack([first, 1 - first, other], axis=1)
    values[:5, 1] = np.nan
    patients = [f"p{row % 60}" for row in range(6000)]
    lines = list(_findings.remarks(values, patients, ["train"] * 6000, ("a", "not a", "b"), ()))
    said = [line for line in lines if "counts one fact twice" in line]
    assert len(said) == 1
    assert said[0].endswith(": a and not a.")
