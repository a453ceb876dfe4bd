"""The preparation as configuration: pixels in closed form, protocols, and what the history says of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageDraw

from synthcohort import plugins
from synthcohort._choices import PROTOCOLS, Choices, choose, differences
from synthcohort._pixels import Rules, conform
from synthcohort._reading import EMPTY
from synthcohort._steps import step_lines
from synthcohort.cohort import verify
from synthcohort.describe import as_text, describe
from synthcohort.errors import BadOption, BadSource, NotACohort
from synthcohort.phantoms.acdc import Phantom
from synthcohort.prepare import prepare
from synthcohort.privacy import scan
from synthcohort.train._data import training_positions
from synthcohort.types import Record


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


TYPE_RANGE = {"rule": "type_range"}
HU = {"rule": "dicom_window", "low": 0, "high": 80}


def pixels(record: Record, rule: dict[str, Any], **choices: Any) -> np.ndarray:
    return conform(record, Rules.of(rule, Choices(**choices), None))[0]


def ramp(low: float, high: float, count: int = 5) -> Record:
    return Record("p", "g", np.linspace(low, high, count, dtype=np.float32)[None, None].repeat(count, 1))


def test_a_window_in_hounsfield_units() -> None:
    image = ramp(-40, 120)  # -40, 0, 40, 80, 120
    np.testing.assert_array_equal(pixels(image, HU, size=5, intensity="40,80")[0, 0], [0, 0, 128, 255, 255])


def test_the_first_window_of_the_header_and_what_holds_without_one() -> None:
    image = ramp(-40, 120)
    framed = Record("p", "g", image.image, window=(40, 160))
    np.testing.assert_array_equal(pixels(framed, HU, size=5)[0, 0], [0, 64, 128, 191, 255])
    np.testing.assert_array_equal(pixels(image, HU, size=5)[0, 0], [0, 0, 128, 255, 255])


def test_scaling_by_slice() -> None:
    image = Record("p", "g", np.array([[[0, 10, 20, 50]]], np.uint8).repeat(4, 1))
    np.testing.assert_array_equal(pixels(image, TYPE_RANGE, size=4, intensity="slice_maximum")[0, 0], [0, 51, 102, 255])
    wide = Record("p", "g", np.arange(1001, dtype=np.float32)[None, None].repeat(1001, 1))
    got = pixels(wide, TYPE_RANGE, size=1001, intensity="slice_percentiles")[0, 0]
    # 0.5 and 99.5 % of 0..1000 are 5 and 995.
    assert (got[5], got[6], got[500], got[994], got[995]) == (0, 0, 128, 255, 255)


def test_scaling_by_volume_needs_a_volume() -> None:
    with pytest.raises(BadSource, match=r"volume_percentiles needs what these images do not have\. Choose another"):
        pixels(ramp(0, 1), TYPE_RANGE, size=4, intensity="volume_percentiles")


def test_sixteen_bits_hold_more_than_eight() -> None:
    image = Record("p", "g", np.arange(0, 65536, 4096, dtype=np.uint16).reshape(1, 4, 4))
    got = pixels(image, TYPE_RANGE, size=4, bits=16)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, image.image)


def test_a_crop_is_not_resampled() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(1, 6, 8)
    record = Record("p", "g", image, mask=image[0] % 3, spacing_mm=(2.0, 1.5))
    got, mask, spacing = conform(record, Rules.of(TYPE_RANGE, Choices(size=4, geometry="crop"), None))
    np.testing.assert_array_equal(got, image[:, 1:5, 2:6])
    assert mask is not None
    np.testing.assert_array_equal(mask, image[0, 1:5, 2:6] % 3)
    assert spacing == (2.0, 1.5)
    padded = pixels(record, TYPE_RANGE, size=10, geometry="crop")
    np.testing.assert_array_equal(padded[:, 2:8, 1:9], image)
    assert padded.sum() == image.sum()


def test_a_stretch_fills_the_square() -> None:
    image = np.zeros((1, 4, 8), np.uint8)
    image[:, :, 4:] = 200
    record = Record("p", "g", image, spacing_mm=(1.0, 1.0))
    got, _, spacing = conform(record, Rules.of(TYPE_RANGE, Choices(size=4, geometry="stretch"), None))
    np.testing.assert_array_equal(got[0, :, 0], 0)
    np.testing.assert_array_equal(got[0, :, 3], 200)
    assert spacing == (1.0, 2.0)


def test_resampling_to_a_spacing_is_a_field() -> None:
    record = Record("p", "g", np.zeros((1, 40, 40), np.uint8), spacing_mm=(0.5, 0.5))
    one = conform(record, Rules.of(TYPE_RANGE, Choices(size=8, spacing_mm=2.0), None))
    two = Rules.of(TYPE_RANGE, Choices(size=8, field_mm=16.0), None)
    assert one[2] == (2.0, 2.0)
    assert Rules.of(TYPE_RANGE, Choices(size=8, spacing_mm=2.0), None).facts == two.facts


def test_colour_becomes_luma_and_grey_three_channels() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = pixels(Record("p", "g", rgb.transpose(2, 0, 1)), TYPE_RANGE, size=8, colour="grey")
    want = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    assert np.abs(grey[0].astype(int) - want).max() <= 1  # Pillow's luma is in whole numbers
    three = pixels(Record("p", "g", grey), TYPE_RANGE, size=8, colour="rgb")
    np.testing.assert_array_equal(three, np.repeat(grey, 3, axis=0))


def test_the_pyramid_is_means_of_two_by_two() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 256, 256), dtype=np.uint8)
    record = Record("p", "g", image)
    halves = image[0].astype(float).reshape(32, 8, 32, 8).mean(axis=(1, 3))
    got = pixels(record, TYPE_RANGE, size=32, resize="pyramid")[0]
    assert np.abs(got - halves).max() <= 0.501  # rounded once, at the end
    with pytest.raises(BadOption, match="pyramid ends at"):
        Choices(size=48, resize="pyramid")


def test_empty_slices_are_dropped_with_a_probability(tmp_path: Path) -> None:
    root = tmp_path / "download"
    Phantom(patients=6, size=32).write(root, seed=1)
    for path in sorted(root.rglob("*_gt.nii.gz")):
        mask = nibabel.load(path)
        volume = np.asarray(mask.dataobj).copy()
        volume[:, :, ::2] = 0
        nibabel.save(nibabel.Nifti1Image(volume, mask.affine), path)
    counts = {}
    for share in (1.0, 0.5, 0.0):
        cohort = prepare("acdc", root, out=tmp_path / f"{share}", size=16, empty_slices=share)
        assert verify(cohort.path) == []
        counts[share] = len(cohort)
        left = cohort.facts.history[0]["dropped"].get(EMPTY, 0)
        assert counts[share] + left == counts[1.0]
        assert cohort.masks is not None
        if share == 0:
            assert cohort.masks.any(axis=(1, 2)).mean() > 0.9  # a tiny foreground may vanish at 16 px
    assert counts[0.0] < counts[0.5] < counts[1.0]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"intensity": "40"}, "Intensity is source, CENTRE,WIDTH or one of"),
        ({"intensity": "40,-1"}, "Intensity is"),
        ({"intensity": "nan,80"}, "Intensity is"),
        ({"field_mm": 100, "spacing_mm": 1}, "A field and a spacing say the same thing"),
        ({"field_mm": 100, "geometry": "crop"}, "A field has its own geometry"),
        ({"empty_slices": 1.5}, "is a probability"),
        ({"bits": 12}, "one of 8, 16"),
        ({"split": "random"}, "one of stratified, plain, official"),
        ({"split": "plain", "fold": (1, 5)}, "Folds are stratified"),
        ({"shares": (0.8, 0.1, 0.2, 0.0)}, "sum to 1"),
        ({"colour": "blue"}, "one of source, grey, rgb"),
        ({"oversample": -1}, "takes a number of images"),
        ({"sise": 64}, "Did you mean 'size'"),
        ({"setting": "chest-classes-21"}, "Did you mean 'chest-classes-2"),
        ({"setting": "chest-classes-20"}, "is cut from chexpert, not acdc"),
    ],
)
def test_a_wrong_choice_is_one_line(tmp_path: Path, wrong: dict[str, Any], line: str) -> None:
    with pytest.raises((BadOption, BadOption.__base__), match=line):  # type: ignore[arg-type]
        choose(plugins.find("sources", "acdc"), "acdc", "recommended", wrong)


def test_an_unknown_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="A protocol is one that the source has: 'code' for nih_cxr14"):
        prepare("nih_cxr14", tmp_path, out=tmp_path / "cohort", protocol="code")


@pytest.mark.parametrize("name", plugins.names("sources"))
def test_every_protocol_of_a_source_can_be_chosen(name: str) -> None:
    plugin = plugins.find("sources", name)
    assert set(plugin.PROTOCOLS) <= {*PROTOCOLS} - {"recommended"}
    for protocol, preset in plugin.PROTOCOLS.items():
        choices, options = choose(plugin, name, protocol, {})
        assert choices.to_json() != Choices().to_json()
        plugins.resolve(plugin, options)
        assert set(preset.get("assumed", ())) <= {*Choices().to_json(), *plugins.options(plugin)}
        rows = differences(plugin, name, choices, plugins.resolve(plugin, options))
        assert rows
        assert [row for row in rows if row["here"] != row[protocol]] == []


def test_a_settings_numbers_are_among_the_differences() -> None:
    plugin = plugins.find("sources", "chexpert")
    choices, options = choose(plugin, "chexpert", "code", {"setting": "chest-classes-20"})
    rows = {row["choice"]: row for row in differences(plugin, "chexpert", choices, options)}
    images = rows["images of the setting"]
    assert (images["paper"], images["code"]) == ([29000, 3800, 3800], [29000, 3800, 3400])
    assert "here" not in images
    assert {row["recommended"] for key, row in rows.items() if key == "size"} <= {32}


def test_padding_is_the_lowest_pixel_whatever_the_type(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        record = Record("p", "g", np.full((1, 4, 8), 200, dtype))
        for resize in ("bilinear", "pyramid"):
            got = pixels(record, TYPE_RANGE, size=8, intensity="125,350", resize=resize)  # -50 to 300
            assert (got[0, 0, 0], got[0, -1, -1]) == (0, 0)
            assert got[0, 4, 4] == pytest.approx(250 / 350 * 255, abs=1)


def test_choices_that_like_makes_are_refused_and_the_others_told(tmp_path: Path) -> None:
    root = tmp_path / "download"
    Phantom(patients=8, size=32).write(root, seed=1)
    model = prepare("acdc", root, out=tmp_path / "model", size=16, geometry="crop")
    with pytest.raises(BadOption, match="--like takes a cohort's rules for pixels: bits is given"):
        prepare("acdc", root, out=tmp_path / "wrong", like=model.path, bits=16)
    twin = prepare("acdc", root, out=tmp_path / "twin", like=model.path, size=64)
    assert twin.facts.history[0]["size"] == 16
    assert twin.facts.history[0]["geometry"] == "crop"
    assert twin.pixels_sha256 == model.pixels_sha256


def test_repeats_are_shown_to_training_and_to_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    lines = ["image,patient,label.mass"]
    for i in range(40):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,p{i},{i % 2}")
    (root / "samples.csv").write_text("\n".join(lines))
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=8, oversample=60)
    assert verify(cohort.path) == []
    train = cohort.split("train")
    assert cohort.counts()["train"] == {"images": len(train), "patients": len(train), "repeats": 60 - len(train)}
    shown = cohort.split("train", repeats=True)
    assert len(shown) == 60
    assert len({image.tobytes() for image in cohort.images[shown]}) == len(train)
    assert cohort.samples["sample_id"].is_unique
    assert len(training_positions(cohort, "train")) == 60
    assert f"{60 - len(train)} repeats" in as_text(describe(cohort.path))


def test_the_history_and_describe_tell_the_protocol_and_its_assumptions(tmp_path: Path) -> None:
    root = tmp_path / "download"
    Phantom(patients=12, size=32).write(root, seed=1)
    cohort = prepare("acdc", root, out=tmp_path / "cohort", protocol="paper", size=16, split="stratified", seed=1)
    (step,) = cohort.facts.history
    assert step["protocol"] == "paper"
    assert "size" in step["assumed"]
    (row,) = [row for row in step["protocols"] if row["choice"] == "size"]
    assert row == {"choice": "size", "here": 16, "recommended": 128, "paper": 256, "assumed": ["paper"]}
    text = as_text(describe(cohort.path))
    assert "size: here 16, recommended 128, paper 256 (assumed)" in text


@pytest.mark.parametrize(
    "step",
    [
        {"setting": {"name": 3, "combinations": 7}},
        {"setting": {"combinations": {"train": 1}}},
        {"setting": {"combinations": ["text", {"findings": 4}, {"findings": [1, None], "train": "many"}]}},
        {"setting": [], "protocols": 5},
        {"protocols": [1, {"choice": None, "assumed": 3, "here": {}}]},
    ],
)
def test_a_history_that_someone_wrote_by_hand_is_shown(step: dict[str, Any]) -> None:
    assert all(isinstance(line, str) for line in step_lines(step))


def test_a_history_nested_without_end_is_no_cohort(tmp_path: Path) -> None:
    root = tmp_path / "download"
    Phantom(patients=8, size=32).write(root, seed=1)
    path = prepare("acdc", root, out=tmp_path / "cohort", size=16).path / "cohort.json"
    content = json.loads(path.read_text())
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    path.write_text(json.dumps({**content, "history": [{"deep": deep}]}))
    with pytest.raises(NotACohort, match="right type"):
        describe(path.parent)


def test_a_phantom_among_which_a_real_image_lies_is_none(tmp_path: Path) -> None:
    root = tmp_path / "download"
    Phantom(patients=8, size=32).write(root, seed=1)
    for place in (root, root / "database", root / "database" / "training"):
        phantom = prepare("acdc", place, out=tmp_path / f"of-{place.name}", size=16)
        assert phantom.facts.source == "phantom of acdc"
        assert as_text(describe(phantom.path)).startswith(f"of-{place.name}: phantom cohort")
    (root / "database" / "training" / "patient001" / "real.txt").write_text("something else")
    real = prepare("acdc", root, out=tmp_path / "real", size=16)
    assert real.facts.source == "acdc"
    assert "CC BY-NC-SA" in real.facts.licence
    assert real.facts.notice


def test_images_with_text_are_marked_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    lines = ["image,patient"]
    for i in range(12):
        picture = Image.fromarray(np.full((96, 256), 40 + i, np.uint8))
        if i == 3:
            ImageDraw.Draw(picture).text((20, 30), "DOE JOHN 1960", fill=255, font_size=24)
        picture.save(root / f"{i}.png")
        lines.append(f"{i}.png,p{i}")
    (root / "samples.csv").write_text("\n".join(lines))
    cohort = prepare("folder", root, out=tmp_path / "cohort", size=16)
    assert cohort.facts.history[0]["burned_in_text"] == {"images": 1, "asked": 12}
    assert cohort.samples["attr.burned_in_text"].sum() == 1
    assert "burned into 1 of 12 images" in capsys.readouterr().err
    (line,) = [line for line in scan(cohort.path) if "burned" in line]
    assert "1 images" in line


def test_real_images_of_an_export_are_not_called_synthetic(tmp_path: Path) -> None:
    root = tmp_path / "export"
    root.mkdir()
    lines = ["image,patient,synthetic"]
    for i in range(8):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,p{i},false")
    (root / "samples.csv").write_text("\n".join(lines))
    with pytest.raises(BadOption, match="Real images are not called synthetic"):
        prepare("folder", root, out=tmp_path / "cohort", size=8, options={"provenance": "synthetic"})
