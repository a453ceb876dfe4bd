"""Points of study 003's axes: the published counts, scaled ones on any cohort, and the cohorts cut for them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.cohort import Cohort, Facts, verify, writing_cohort
from synthcohort.errors import BadOption, InputError, UnknownName
from synthcohort.studies._derive import derive
from synthcohort.studies._points import AXES, EXTREME_SEEDS, SEEDS, published, scaled, seeds_of

TABLE = Path(__file__).parent / "golden" / "table_s1.csv"
"""Table S1 of DuMont Schütte et al. 2021."""


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


EACH = {
    "train": (40, 30, 24, 18, 14, 12),
    "val": (6, 5, 4, 4, 3, 3),
    "test": (8, 6, 5, 4, 3, 3),
    "reference": (4,) * 6,
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 32 px with three findings in six combinations, the fewest of which 12 training images hold."""
    return written(tmp_path_factory.mktemp("many") / "many", EACH)


def written(out: Path, each: dict[str, tuple[int, ...]]) -> Path:
    facts = Facts("many", "phantom", "real", (1, 32, 32), "uint8", (0.0, 255.0), labels=("a", "b", "c"))
    rng = np.random.default_rng(3)
    vectors = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1)]
    with writing_cohort(out, facts, {"kind": "test"}, b"k" * 32) as writer:
        number = 0
        for split, counts in each.items():
            for vector, count in zip(vectors, counts, strict=True):
                for _ in range(count):
                    number += 1
                    name = f"p{number}"
                    row = {"sample_id": name, "patient_id": name, "group_id": name, "slice_index": 0, "split": split}
                    row |= {f"label.{key}": bool(value) for key, value in zip("abc", vector, strict=True)}
                    row |= {"spacing_y_mm": 1.5, "spacing_x_mm": 1.0}
                    writer.append(rng.integers(0, 256, (1, 32, 32)).astype(np.uint8), None, row)
        writer.finish()
    return out


def test_the_33_published_points_hold_exactly_what_table_s1_says() -> None:
    wanted = list(csv.DictReader(TABLE.read_text().splitlines()))
    points = [p for cohort in ("chest", "brain") for p in published(cohort, "paper", beyond=False)]
    assert len(points) == len(wanted) == 33
    for row in wanted:
        point = points[wanted.index(row)]
        said = point.to_json()
        each = "-".join(map(str, dict.fromkeys(said["per_combination"])))
        assert point.name.startswith(f"{row['cohort']}-{row['axis']}-")
        assert [said[key] for key in ("resolution", "labels", "label_combinations", "train", "val", "test")] == [
            int(row[key])
            for key in ("resolution", "labels", "label_combinations", "n_train", *("n_val_and_test_each",) * 2)
        ]
        assert each == row["n_per_combination"]


def test_the_ends_of_axes_have_ten_and_twenty_seeds_and_other_points_four() -> None:
    counts = {p.name: seeds_of(p, seeds=SEEDS, extreme_seeds=EXTREME_SEEDS) for p in published("brain", "paper")}
    assert {counts[name] for name in ("brain-classes-10", "brain-classes-2")} == {10}
    assert {counts[name] for name in ("brain-samples-5400", "brain-samples-100")} == {20}
    assert {n for name, n in counts.items() if name not in
            ("brain-classes-10", "brain-classes-2", "brain-samples-5400", "brain-samples-100")} == {4}  # fmt: skip


def test_sides_above_the_table_have_the_settings_of_the_released_scripts() -> None:
    found = {p.name: p for cohort in ("chest", "brain") for p in published(cohort, "paper", axes=["resolution"])}
    large = {name: p.training for name, p in found.items() if p.size > 128}
    assert {name: (t["images_seen"], t["batch"], t["options"]["learning_rate"]) for name, t in large.items()} == {
        "chest-resolution-256": (6_257_000, 160, 0.005),
        "chest-resolution-512": (6_345_000, 64, 0.006),
        "brain-resolution-256": (6_096_000, 160, 0.005),
    }
    stop = found["chest-resolution-128"].training["stop"]
    assert (stop["start"], stop["patience"], stop["against"], stop["n"]) == (9_000_000, 800_000, "train", 10_000)


def test_trainings_stop_as_the_text_says_and_under_code_as_the_released_configs_do() -> None:
    def looks(protocol: str) -> dict[int, tuple[int, int, int]]:
        found = published("chest", protocol, axes=["resolution"], beyond=False)
        stops = {point.size: (point.training["stop"], point.training["images_seen"]) for point in found}
        return {size: (stop["start"], stop["every"], most) for size, (stop, most) in stops.items()}

    # S.3: from 7, 7 and 9 million images on, every 400,000; trainings with few samples took 14 to 16 million at 32 px.
    said = {32: (7_000_000, 400_000, 16_000_000), 64: (7_000_000, 400_000, 16_000_000)}
    assert looks("paper") == looks("recommended") == said | {128: (9_000_000, 400_000, 16_000_000)}
    # Released config.py: every fourth tick of 100, 80 and 60 thousand images; at most 12, 14 and 16 million.
    code = {32: (7_000_000, 400_000, 12_000_000), 64: (7_000_000, 320_000, 14_000_000)}
    assert looks("code") == code | {128: (9_000_000, 240_000, 16_000_000)}


def test_scaled_axes_follow_the_published_rules(many: Path) -> None:
    points = {p.name: p for p in scaled([Cohort(many)])}
    classes = [p for p in points.values() if p.axis == "classes"]
    assert [(p.number, p.each, p.images) for p in classes] == [
        (6, (12, 12), (72, 18, 18)),
        (4, (18, 18), (72, 12, 12)),
        (2, (30, 30), (60, 6, 6)),
    ]
    assert [p.extreme for p in classes] == [True, False, True]
    samples = [p for p in points.values() if p.axis == "samples"]
    assert [p.number for p in samples] == [24, 18, 12, 8]  # 24 times 1, .76, .5, .25 ..., 8 at least
    assert {p.images[1:] for p in samples} == {(12, 15)}  # val and test do not change
    assert [p.number for p in points.values() if p.axis == "resolution"] == [16, 32]


def test_the_ends_stay_when_an_axis_is_thinned(many: Path) -> None:
    numbers = [p.number for p in scaled([Cohort(many)], axes=["samples"], most=2)]
    assert numbers == [24, 8]


def test_a_point_of_folds_holds_what_every_fold_has(many: Path, tmp_path: Path) -> None:
    moved = EACH | {"train": (41, 31, 23, 16, 15, 13), "test": (7, 5, 6, 6, 2, 2)}
    folds = [Cohort(many), Cohort(written(tmp_path / "fold", moved))]
    points = {p.name: p for p in scaled(folds)}
    ends = [points["many-classes-6"], points["many-classes-2"], points["many-samples-23"]]
    assert [point.images for point in ends] == [(72, 18, 12), (60, 6, 4), (69, 12, 15)]
    assert points["many-resolution-32"].images == (None, 25, None)
    other = EACH | {"train": (30, 40, 24, 18, 14, 12)}  # not the same images: another order of combinations
    with pytest.raises(InputError, match="Folds hold the same images"):
        scaled([folds[0], Cohort(written(tmp_path / "other", other))])


def test_a_cut_cohort_is_nested_whole_and_holds_what_its_point_says(many: Path, tmp_path: Path) -> None:
    cohort = Cohort(many)
    made = {}
    for point in scaled([cohort], axes=["samples"]):
        made[point.number] = derive(cohort, tmp_path / point.name, wanted=point.cut, size=point.size, seed=0)
        assert verify(made[point.number].path) == []
        counts = made[point.number].counts()
        assert tuple(counts[split]["images"] for split in ("train", "val", "test")) == point.images
        assert counts["reference"]["images"] == 12  # of the combinations that stay
        assert made[point.number].facts.labels == ("a", "b")
    train = {n: set(c.samples["sample_id"][c.samples["split"] == "train"]) for n, c in made.items()}
    assert train[8] < train[12] < train[18] < train[24]
    held = [set(c.samples["sample_id"][c.samples["split"] == "test"]) for c in made.values()]
    assert all(each == held[0] for each in held)


def test_half_the_side_is_the_mean_of_squares(many: Path, tmp_path: Path) -> None:
    cohort = Cohort(many)
    (point,) = [p for p in scaled([cohort], axes=["resolution"]) if p.size == 16]
    half = derive(cohort, tmp_path / "half", wanted=point.cut, size=16, seed=0)
    assert verify(half.path) == []
    first = cohort.images[7, 0, :2, :2].astype(float).mean()
    assert half.images.shape == (len(cohort), 1, 16, 16)
    assert half.images[7, 0, 0, 0] == np.rint(first)
    assert half.samples["spacing_y_mm"].iloc[0] == 3.0
    assert half.pixels_sha256 != cohort.pixels_sha256
    assert derive(cohort, tmp_path / "half", wanted=point.cut, size=16, seed=0).identity == half.identity


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"axes": ["classes", "sizes"]}, BadOption, "'sizes'"),
        ({"sides": [20]}, BadOption, "20 px where the images have 32"),
        ({"findings": ["d"]}, UnknownName, "no 'd' there"),
        ({"findings": ["c"], "axes": ["classes"]}, InputError, "many has 2"),
    ],
)
def test_what_an_axis_cannot_hold_is_refused(many: Path, given: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        scaled([Cohort(many)], **{"axes": AXES, **given})


def test_a_finding_that_does_not_occur_and_a_cohort_without_labels_are_refused(
    many: Path, discs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="discs has none"):
        scaled([Cohort(discs)])
    cohort = Cohort(many)
    cohort.samples["label.c"] = False
    with pytest.raises(InputError, match="'c' is in none of many"):
        scaled([cohort], findings=["a", "c"])
    assert max(point.labels for point in scaled([cohort])) == 2  # one that is not named is left out
