"""prepare: splits, pixels, idempotence, duplicates, refusals, and what a failure leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synthcohort
from synthcohort import _pixels
from synthcohort._choices import Choices
from synthcohort._listing import listing_sha256
from synthcohort._split import assign, linked
from synthcohort.cohort import Cohort, check_comparable, verify
from synthcohort.errors import BadOption, BadOutput, BadSource, InputError, Mismatch
from synthcohort.phantoms.acdc import Phantom
from synthcohort.prepare import prepare
from synthcohort.types import SPLITS, Record

SHARED = Path(__file__).parents[2] / "shared" / "data" / "acdc"


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture
def download(tmp_path: Path) -> Path:
    root = tmp_path / "download"
    Phantom(patients=10, size=32).write(root, seed=1)
    return root


def write_images(root: Path, patients: int = 8, *, channels: int = 1, spacing: str = "") -> Path:
    root.mkdir()
    lines = ["image,patient,spacing_mm"]
    for i in range(patients):
        values = np.random.default_rng(i).integers(0, 256, (12, 12, 3)[: 2 + (channels == 3)]).astype(np.uint8)
        Image.fromarray(values).save(root / f"image{i}.png")
        lines.append(f"image{i}.png,person{i},{spacing}")
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


def assert_nothing_left(out: Path) -> None:
    assert not [path.name for path in out.parent.glob(f"{out.name}*")]


# Splits


def test_assign_keeps_shares_overall_and_within_strata() -> None:
    strata = {f"p{i:03d}": "ABCDE"[i // 20] for i in range(100)}
    splits = assign(strata, {p: p for p in strata}, shares=(0.6, 0.1, 0.15, 0.15), seed=0)
    assert Counter(splits.values()) == {"train": 60, "val": 10, "test": 15, "reference": 15}
    for stratum in "ABCDE":
        counts = Counter(splits[p] for p in strata if strata[p] == stratum)
        for split, share in zip(SPLITS, (12, 2, 3, 3), strict=True):
            assert abs(counts[split] - share) <= 2  # a prefix is off by less than one patient at either end


def test_assign_depends_on_the_seed_and_not_on_the_order() -> None:
    strata = {f"p{i}": "" for i in range(40)}
    clusters = {p: p for p in strata}
    shares = (0.6, 0.1, 0.15, 0.15)
    first = assign(strata, clusters, shares=shares, seed=0)
    backwards = dict(reversed(clusters.items()))
    assert assign(strata, backwards, shares=shares, seed=0) == first
    assert assign(strata, clusters, shares=shares, seed=1) != first


@pytest.mark.parametrize("patients", [4, 5, 6, 7, 11])
def test_assign_leaves_no_split_empty(patients: int) -> None:
    strata = {f"p{i}": "" for i in range(patients)}
    splits = assign(strata, {p: p for p in strata}, shares=(0.6, 0.1, 0.15, 0.15), seed=0)
    assert set(splits.values()) == set(SPLITS)


def test_assign_keeps_clusters_together_and_counts_their_patients() -> None:
    strata = {f"p{i}": "" for i in range(20)}
    clusters = linked([("p1", "p2"), ("p2", "p3"), ("p9", "p8")], strata)
    splits = assign(strata, clusters, shares=(0.5, 0.0, 0.5, 0.0), seed=0)
    assert splits["p1"] == splits["p2"] == splits["p3"]
    assert splits["p8"] == splits["p9"]
    assert Counter(splits.values()) == {"train": 10, "test": 10}


def test_fewer_patients_than_splits() -> None:
    with pytest.raises(InputError, match=r"fewer patients than splits \(3 < 4\)"):
        assign({"a": "", "b": "", "c": ""}, {"a": "a", "b": "b", "c": "c"}, shares=(0.4, 0.2, 0.2, 0.2), seed=0)


# Pixels


def rules(size: int, rule: dict[str, Any] | None = None, **choices: Any) -> _pixels.Rules:
    values = rule or {"rule": "fixed", "low": 0.0, "high": 100.0}
    return _pixels.Rules.of(values, Choices(size=size, **choices), None)


conform = _pixels.conform


def test_values_are_scaled_clipped_and_rounded() -> None:
    image = np.array([[[-5, 0, 50, 100, 101, 20]]], np.float32).repeat(6, axis=1)
    got, _, _ = conform(Record("p", "g", image), rules(6))
    assert got[0, 0].tolist() == [0, 0, 128, 255, 255, 51]  # 127.5 rounds to even


def test_a_constant_volume_becomes_zero() -> None:
    record = Record("p", "g", np.full((1, 4, 4), 7, np.float32), volume_range=(7.0, 7.0))
    rule = rules(4, {"rule": "volume_percentiles"})
    assert conform(record, rule)[0].max() == 0


def test_the_longer_side_is_kept_and_spacing_follows() -> None:
    image = np.full((1, 4, 8), 100, np.float32)
    mask = np.full((4, 8), 2, np.uint8)
    got, masks, spacing = conform(Record("p", "g", image, mask=mask, spacing_mm=(1.0, 2.0)), rules(8))
    assert got[0, :, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]
    assert masks is not None
    assert masks[:, 3].tolist() == [0, 0, 2, 2, 2, 2, 0, 0]
    assert spacing == (1.0, 2.0)
    assert conform(Record("p", "g", image, spacing_mm=(1.0, 2.0)), rules(4))[2] == (2.0, 4.0)


def test_field_mm_makes_pixels_square() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    got, _, spacing = conform(Record("p", "g", image, spacing_mm=(1.0, 2.0)), rules(4, field_mm=8.0))
    assert spacing == (2.0, 2.0)
    assert got.shape == (1, 4, 4)
    with pytest.raises(BadSource, match="pixel spacing"):
        conform(Record("p", "g", image), rules(4, field_mm=8.0))


def test_reduction_is_antialiased_and_masks_follow_it() -> None:
    stripes = np.tile([0.0, 100.0], 16).astype(np.float32)[None, None].repeat(32, axis=1)
    got, _, _ = conform(Record("p", "g", stripes), rules(8))
    # A quarter of the sampling rate: the stripes average out; nearest or point-sampled bilinear would keep 0 or 255.
    assert abs(got[0, :, 1:-1].astype(int) - 128).max() <= 3
    disc = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 20
    _, mask, _ = conform(Record("p", "g", disc[None] * np.float32(100), mask=disc.astype(np.uint8) * 3), rules(16))
    assert mask is not None
    assert set(np.unique(mask)) == {0, 3}
    assert mask.astype(bool).mean() == pytest.approx(disc.mean(), abs=0.01)  # area kept to a rim of 1/8 pixel


# The whole verb


def test_the_same_command_again_changes_nothing(download: Path, tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    cohort = prepare("acdc", download, out=out, size=16)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prepare("acdc", download, out=out, size=16)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert again.identity == cohort.identity
    step = cohort.facts.history[0]
    assert step["images"] == {"read": len(cohort), "written": len(cohort), "dropped": 0}
    with pytest.raises(Mismatch, match="only for the same command"):
        prepare("acdc", download, out=out, size=32)
    info = download / "database/training/patient001/Info.cfg"
    info.write_text(info.read_text() + "Weight: 80\n")
    with pytest.raises(Mismatch, match="only for the same command"):
        prepare("acdc", download, out=out, size=16)


def test_an_output_inside_the_download_is_no_part_of_it(download: Path) -> None:
    first = prepare("acdc", download, out=download / "cohort", size=16)
    assert prepare("acdc", download, out=download / "cohort", size=16).identity == first.identity


def test_splits_and_order_do_not_depend_on_the_key(
    download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare("acdc", download, out=tmp_path / "one", size=16)
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "another home"))
    two = prepare("acdc", download, out=tmp_path / "two", size=16)
    assert one.identity == two.identity
    assert not set(one.samples["patient_id"]) & set(two.samples["patient_id"])
    assert not set(one.samples["sample_id"]) & set(two.samples["sample_id"])
    assert not set(one.samples["digest"]) & set(two.samples["digest"])


def test_the_order_of_the_rows_is_not_the_order_of_the_source(download: Path, tmp_path: Path) -> None:
    from synthcohort.sources.acdc import Source

    cohort = prepare("acdc", download, out=tmp_path / "cohort", size=16)
    slices = cohort.samples.groupby("group_id", sort=False).size().tolist()
    source = list(Counter(record.group for record in Source(download).records()).values())
    assert sorted(slices) == sorted(source)
    assert slices != source
    assert cohort.samples.groupby("group_id")["slice_index"].is_monotonic_increasing.all()


def test_images_and_masks_stay_together(download: Path, tmp_path: Path) -> None:
    cohort = prepare("acdc", download, out=tmp_path / "cohort", size=32)
    assert cohort.masks is not None
    bright = [
        cohort.images[i, 0][cohort.masks[i] == 3].mean() for i in range(len(cohort)) if (cohort.masks[i] == 3).any()
    ]
    wall = [
        cohort.images[i, 0][cohort.masks[i] == 2].mean() for i in range(len(cohort)) if (cohort.masks[i] == 2).any()
    ]
    assert np.mean(bright) > 1.5 * np.mean(wall)  # blood is brighter than muscle wherever the mask is in place


def test_identical_images_keep_their_patients_in_one_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path / "images", 12)
    for name in ("image5.png", "image9.png"):
        (root / name).write_bytes((root / "image2.png").read_bytes())
    for name in ("image3.png", "image4.png"):  # constant images say nothing about identity
        Image.new("L", (12, 12), 7).save(root / name)
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=8)
    assert "3 patients hold 3 images" in capsys.readouterr().err
    assert cohort.facts.history[0]["identical_under_several_patients"] == {"patients": 3, "images": 3}
    pixels = [image.tobytes() for image in cohort.images]
    twins = [i for i, data in enumerate(pixels) if pixels.count(data) == 3]
    assert len(twins) == 3
    assert cohort.samples["split"].iloc[twins].nunique() == 1
    assert cohort.samples["patient_id"].iloc[twins].nunique() == 3


def test_like_makes_cohorts_comparable(download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = prepare("acdc", download, out=tmp_path / "model", size=16)
    other = tmp_path / "other"
    Phantom(patients=5, size=32).write(other, seed=9)
    mine = prepare("acdc", other, out=tmp_path / "mine", size=99, like=model.path)
    check_comparable(model, mine)
    assert mine.facts.shape == (1, 16, 16)
    assert "Note" not in capsys.readouterr().err  # the same source, the same rule


def test_like_takes_pictures_from_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"value_range": (0, 200)}
    model = prepare("folder", write_images(tmp_path / "a"), out=tmp_path / "model", size=8, options=options)
    mine = prepare("folder", write_images(tmp_path / "b"), out=tmp_path / "mine", like=model.path)
    check_comparable(model, mine)
    assert "intensities follow this source's rule" in capsys.readouterr().err
    assert mine.facts.history[0]["value_rule"] == {"rule": "type_range"}


def test_like_refuses_other_channels_and_classes(download: Path, tmp_path: Path) -> None:
    grey = prepare("folder", write_images(tmp_path / "grey"), out=tmp_path / "cohort-grey", size=8)
    colour = prepare("folder", write_images(tmp_path / "rgb", channels=3), out=tmp_path / "cohort-rgb", size=8)
    assert colour.facts.shape == (3, 8, 8)
    with pytest.raises(Mismatch, match="the images are RGB, the cohort grey"):
        prepare("folder", tmp_path / "rgb", out=tmp_path / "x", like=grey.path)
    with pytest.raises(Mismatch, match="the images are grey, the cohort RGB"):
        prepare("folder", tmp_path / "grey", out=tmp_path / "x", like=colour.path)
    with pytest.raises(Mismatch, match="Mask classes must agree"):
        prepare("acdc", download, out=tmp_path / "x", like=grey.path)
    assert_nothing_left(tmp_path / "x")


def test_labels_spacing_and_groups_reach_the_table(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", 8, spacing="0.5")
    lines = (root / "samples.csv").read_text().splitlines()
    lines = [f"{line},{value}" for line, value in zip(lines, ["label.sick", *"10", "", *"1", "", *"010"], strict=True)]
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=6)
    assert cohort.facts.labels == ("sick",)
    labels = cohort.label_matrix()[:, 0]
    assert (np.nansum(labels), np.isnan(labels).sum()) == (3, 2)
    assert set(cohort.samples["spacing_y_mm"]) == {1.0}  # 12 pixels of 0.5 mm became 6
    assert verify(cohort.path) == []


def test_a_failure_leaves_nothing(download: Path, tmp_path: Path) -> None:
    broken = sorted(download.rglob("*_gt.nii.gz"))[-1]
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(BadSource, match="readable NIfTI"):
        prepare("acdc", download, out=tmp_path / "cohort", size=16)
    assert_nothing_left(tmp_path / "cohort")


def test_too_few_patients_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer patients than splits"):
        prepare("folder", write_images(tmp_path / "images", 3), out=tmp_path / "cohort", size=8)
    assert_nothing_left(tmp_path / "cohort")


def test_an_empty_table_and_mixed_channels(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", 0)
    with pytest.raises(BadSource, match="at least one image"):
        prepare("folder", root, out=tmp_path / "cohort", size=8)
    mixed = write_images(tmp_path / "mixed", 5)
    Image.new("RGB", (12, 12)).save(mixed / "image4.png")
    with pytest.raises(BadSource, match="grey and RGB are mixed"):
        prepare("folder", mixed, out=tmp_path / "cohort", size=8)
    assert_nothing_left(tmp_path / "cohort")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 2},
        {"field_mm": -1.0},
        {"field_mm": float("nan")},
        {"shares": (0.5, 0.5)},
        {"shares": (0, 0.5, 0.25, 0.25)},
    ],
)
def test_numbers_that_make_no_sense(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(BadOption):
        prepare("acdc", tmp_path, out=tmp_path / "cohort", **wrong)  # type: ignore[arg-type]


def test_options_as_text(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images")
    table = (root / "samples.csv").read_text().splitlines()
    (root / "samples.csv").write_text("\n".join([table[0] + ",mask", *(f"{row},m.png" for row in table[1:])]) + "\n")
    Image.new("L", (12, 12), 255).save(root / "m.png")
    options = ["mask_classes=background, lesion", "value_range=0,100", "modality=test"]
    facts = prepare("folder", root, out=tmp_path / "cohort", size=8, options=options).facts
    assert facts.mask_classes == ("background", "lesion")
    assert facts.modality == "test"
    assert facts.pixel_rules["values"] == {"rule": "fixed", "low": 0.0, "high": 100.0}


def test_unknown_options_are_refused(download: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="'colour'"):
        prepare("acdc", download, out=tmp_path / "cohort", options=["colour=1"])
    images = write_images(tmp_path / "images")
    with pytest.raises(BadOption, match="Did you mean 'licence'"):
        prepare("folder", images, out=tmp_path / "cohort", options=["licens=x"])


def test_an_output_that_cannot_be_written(download: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadOutput, match="must be writable"):
        prepare("acdc", download, out=tmp_path / "file" / "cohort", size=16)


def test_a_disk_that_takes_no_more(download: Path, tmp_path: Path) -> None:
    # A limit on the size of files fails in the same calls as a full disk, and needs no file system of its own.
    code = (
        "import resource, sys; from pathlib import Path; from synthcohort.prepare import prepare\n"
        "from synthcohort.errors import BadOutput\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: prepare('acdc', Path(sys.argv[1]), out=Path(sys.argv[2]), size=64)\n"
        "except BadOutput as error: print(error)\n"
    )
    out = tmp_path / "cohort"
    environment = {**os.environ, "PYTHONPATH": str(Path(synthcohort.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(download), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.startswith("The output must be writable")
    assert done.stderr == ""
    assert_nothing_left(out)


@pytest.mark.reference
@pytest.mark.skipif(not SHARED.exists(), reason="the real ACDC copy is not beside the project")
def test_real_acdc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = prepare("acdc", SHARED, out=tmp_path / "cohort", size=64)
    assert len(cohort) == 1902
    assert "2 patients hold" in capsys.readouterr().err
    counts = {split: entry["patients"] for split, entry in Cohort(tmp_path / "cohort").counts().items()}
    assert counts == {"train": 60, "val": 10, "test": 15, "reference": 15}


def test_cohorts_and_runs_inside_a_download_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"a")
    alone = listing_sha256(tmp_path, tmp_path / "out")
    study = tmp_path / "study"
    for name in ("study/run.json", "study/cohorts/fold-1/cohort.json", "out/cohort.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert listing_sha256(tmp_path, study / "cohorts" / "fold-2") == alone
    (tmp_path / "images" / "b.png").write_bytes(b"b")
    assert listing_sha256(tmp_path, tmp_path / "out") != alone
