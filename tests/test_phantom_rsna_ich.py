"""The RSNA phantom: the real layout and headers, the same bytes from the same seed, blood where the table says so."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from scipy import ndimage

from synthcohort.cohort import verify
from synthcohort.errors import BadOption, BadOutput
from synthcohort.layouts import RSNA_CORRUPT, RSNA_ROOT, RSNA_SUBTYPES
from synthcohort.phantoms._head import Head, room
from synthcohort.phantoms._head_bleeds import Bleed
from synthcohort.phantoms._head_illness import draw_bleeds
from synthcohort.phantoms._head_scan import Scan, acquire
from synthcohort.phantoms._head_scene import SUBTYPES, VISIBLE_MM2, Patient, draw, shown
from synthcohort.phantoms._head_space import Field, Pose
from synthcohort.phantoms.rsna_ich import Phantom, _code
from synthcohort.prepare import prepare
from synthcohort.sources.rsna_ich import Source

TAGS = [
    *("SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyID"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation"),
    *("Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope", "PixelData"),
]
"""All that the headers of the real set hold, in order."""
STRAIGHT = Pose(shift=(0.0, 0.0), turn=0.0, roll=0.0, pitch=0.0, scale=(1.0, 1.0, 1.0))
FIELD_MM, SIDE = 230.0, 96
LEVELS = np.array([36, 52, 64, 76, 88], np.float32)


@pytest.fixture(scope="module", autouse=True)
def _identifiers_that_are_no_uids() -> Iterator[None]:
    """Keep pydicom from warning of every file: those of the real set are not valid either."""
    settings = pydicom.config.settings
    before, settings.reading_validation_mode = settings.reading_validation_mode, pydicom.config.IGNORE
    yield
    settings.reading_validation_mode = before


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("[!.]*")) if path.is_file()
    }


def rows(root: Path, name: str = "stage_2_train.csv") -> list[tuple[str, str]]:
    with (root / RSNA_ROOT / name).open(newline="", encoding="utf-8") as file:
        read = csv.reader(file)
        assert next(read) == ["ID", "Label"]
        return [(identifier, label) for identifier, label in read]


def labels(root: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for identifier, label in rows(root):
        image, subtype = identifier.rsplit("_", 1)
        found[image][subtype] = int(label)
    return found


def headers(root: Path, folder: str = "stage_2_train") -> dict[str, Any]:
    return {path.stem: pydicom.dcmread(path) for path in sorted((root / RSNA_ROOT / folder).iterdir())}


def hu(header: Any) -> np.ndarray:
    return header.pixel_array.astype(np.int32) * int(header.RescaleSlope) + int(header.RescaleIntercept)


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    Phantom(patients=9, size=48).write(root, seed=3)
    return root


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same patients with the quirks."""
    root = tmp_path_factory.mktemp("quirks")
    Phantom(patients=9, size=48, quirks=True).write(root, seed=3)
    return root


def test_the_table_has_six_rows_an_image_and_lists_exactly_the_files(download: Path) -> None:
    assert {path.name for path in (download / RSNA_ROOT).iterdir()} == {
        "stage_2_train.csv",
        "stage_2_train",
        "stage_2_test",
        "stage_2_sample_submission.csv",
    }
    for table, folder in (("stage_2_train.csv", "stage_2_train"), ("stage_2_sample_submission.csv", "stage_2_test")):
        read = rows(download, table)
        images = [identifier.rsplit("_", 1)[0] for identifier, _ in read[::6]]
        assert [identifier for identifier, _ in read] == [
            f"{image}_{kind}" for image in images for kind in RSNA_SUBTYPES
        ]
        assert len(set(images)) == len(images)
        assert {f"{image}.dcm" for image in images} == {path.name for path in (download / RSNA_ROOT / folder).iterdir()}
        assert all(re.fullmatch(r"ID_[0-9a-f]{9}", image) for image in images)
    assert {label for _, label in rows(download)} == {"0", "1"}
    assert {label for _, label in rows(download, "stage_2_sample_submission.csv")} == {"0.5"}
    for found in labels(download).values():
        assert found["any"] == max(found[subtype] for subtype in SUBTYPES)


def test_the_order_of_images_says_nothing_of_patients(download: Path) -> None:
    read = headers(download)
    patients = [read[image].PatientID for image in labels(download)]
    neighbours = np.mean([a == b for a, b in itertools.pairwise(patients)])
    by_chance = sum((count / len(patients)) ** 2 for count in Counter(patients).values())
    assert neighbours < by_chance + 0.06  # three standard errors of a share near 0.12 among 270


def test_headers_hold_what_the_real_ones_do_and_nothing_of_a_person(download: Path) -> None:
    read = {**headers(download), **headers(download, "stage_2_test")}
    for name, header in read.items():
        assert [element.keyword for element in header] == TAGS
        assert header.SOPInstanceUID == header.file_meta.MediaStorageSOPInstanceUID == name
        assert re.fullmatch(r"ID_[0-9a-f]{8}", header.PatientID)
        assert re.fullmatch(r"ID_[0-9a-f]{10}", header.StudyInstanceUID)
        assert re.fullmatch(r"ID_[0-9a-f]{10}", header.SeriesInstanceUID)
        assert (header.Modality, header.StudyID, header.PhotometricInterpretation) == ("CT", "", "MONOCHROME2")
        assert (header.BitsAllocated, header.HighBit, header.RescaleSlope) == (16, header.BitsStored - 1, 1)
        assert header.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    kinds = {(header.BitsStored, header.PixelRepresentation, int(header.RescaleIntercept)) for header in read.values()}
    assert {(16, 1, -1024), (12, 0, -1024)} <= kinds <= {(16, 1, -1024), (12, 0, -1024), (16, 1, 0)}


def test_patients_have_one_or_two_studies_of_evenly_spaced_slices(tmp_path: Path) -> None:
    Phantom(patients=25, size=32, slices=4).write(tmp_path, seed=0)
    series, studies, tilted = defaultdict(list), defaultdict(set), set()
    for header in headers(tmp_path).values():
        series[header.SeriesInstanceUID].append(header)
        studies[header.PatientID].add(header.StudyInstanceUID)
    assert len(studies) == 25
    assert set(Counter(len(found) for found in studies.values())) == {1, 2}
    for found in series.values():
        assert len(found) == 4
        orientation = np.array(found[0].ImageOrientationPatient)
        normal = np.cross(orientation[:3], orientation[3:])
        height = np.sort([normal @ np.array(header.ImagePositionPatient) for header in found])
        np.testing.assert_allclose(np.diff(height), np.diff(height)[0], atol=1e-3)  # millimetres, six decimals written
        assert 105 < np.diff(height).sum() * 4 / 3 < 175
        tilted.add(orientation[4] < 0.999)
    assert tilted == {True, False}


def test_by_default_a_study_covers_the_head_at_about_5_mm(download: Path) -> None:
    series = defaultdict(list)
    for header in headers(download).values():
        series[header.SeriesInstanceUID].append(header.ImagePositionPatient[2])
    assert all(24 <= len(heights) <= 36 for heights in series.values())
    steps = [np.diff(np.sort(np.array(heights, float))).mean() for heights in series.values()]
    assert 4.2 < min(steps) <= max(steps) < 6.2  # along the table, which a tilt of 20 degrees lengthens by 6 %


def test_pydicom_and_simpleitk_read_the_same(download: Path) -> None:
    for name, header in itertools.islice(headers(download).items(), 0, None, 9):
        image = SimpleITK.ReadImage(download / RSNA_ROOT / "stage_2_train" / f"{name}.dcm")
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image)[0], hu(header))
        np.testing.assert_allclose(image.GetSpacing()[:2], np.array(header.PixelSpacing, float)[::-1], rtol=1e-9)
        np.testing.assert_allclose(image.GetOrigin(), np.array(header.ImagePositionPatient, float), atol=1e-9)
        direction = np.array(image.GetDirection()).reshape(3, 3)
        np.testing.assert_allclose(direction[:, :2].T.ravel(), header.ImageOrientationPatient, atol=1e-6)
        assert 4.5 < header.PixelSpacing[0] < 5.4  # a field of 218 to 256 mm, 48 pixels


def test_units_are_hounsfield(download: Path) -> None:
    middle = []
    for header in headers(download).values():
        pixels = hu(header)
        assert -3024 <= pixels.min() <= -990
        assert np.median(pixels[0]) in (-3024, -1024) or abs(np.median(pixels[0]) + 1000) < 8
        if (pixels[15:33, 15:33] > -100).all():
            middle.append(np.median(pixels[15:33, 15:33]))
    assert len(middle) > 40
    assert 24 < np.median(middle) < 42  # brain


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        Phantom(patients=2, size=32, slices=3).write(tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not set(files(tmp_path / "a").values()) & set(files(tmp_path / "c").values())


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    Phantom(patients=1, size=32, slices=3).write(tmp_path / "one", seed=5)
    Phantom(patients=4, size=32, slices=3).write(tmp_path / "four", seed=5)
    one, four = files(tmp_path / "one"), files(tmp_path / "four")
    images = [name for name in one if name.endswith(".dcm")]
    assert len(images) >= 6
    assert all(four[name] == one[name] for name in images)
    assert set(rows(tmp_path / "one")) <= set(rows(tmp_path / "four"))


def test_no_two_images_get_one_identifier() -> None:
    codes = {_code(number, 4, 0, "image") for number in range(16**4)}
    assert len(codes) == 16**4


def head(seed: int = 0) -> Head:
    return Head.draw(np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(3))
def test_labels_and_anatomy_do_not_depend_on_the_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = head(seed)
    patient = Patient(own, next(bleeds for bleeds in iter(lambda: draw_bleeds(rng, own), None) if bleeds))
    scan = replace(Scan.draw(np.random.default_rng(seed), 6), noise=0.0, streaks=0.0)
    small, few = acquire(patient, scan, 64, np.random.default_rng(0))
    large, many = acquire(patient, scan, 192, np.random.default_rng(0))
    np.testing.assert_array_equal(few, many)
    reduced = large.reshape(6, 64, 3, 64, 3).mean(axis=(2, 4))
    for a, b in zip(np.clip(small, -200, 200), np.clip(reduced, -200, 200), strict=True):
        assert a.std() == b.std() == 0 or np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


BLEEDS = {
    "epidural": Bleed("epidural", 66, (64, 10, 60), (30, 30, 16), shift=3),
    "subdural": Bleed("subdural", 62, (-50, 0, 70), (11, 80, 45), shift=5),
    "intraparenchymal": Bleed("intraparenchymal", 65, (27, -4, 58), (12, 16, 13), shift=2, rim=6),
    "intraventricular": Bleed("intraventricular", 62, (0, 30, 60), (-40, 1.0, 0.2)),
    "subarachnoid": Bleed("subarachnoid", 60, (0, -14, 44), (62, 52, 30)),
}


def drawn(own: Head, bleeds: tuple[Bleed, ...]) -> tuple[np.ndarray, np.ndarray, dict[Bleed, np.ndarray]]:
    patient = Patient(own, bleeds)
    seen = shown(patient, STRAIGHT, FIELD_MM, LEVELS)
    slab, painted = draw(patient, STRAIGHT, SIDE, FIELD_MM, LEVELS, seen)
    return slab.hu, painted, seen


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("seed", range(2))
def test_a_bleed_brightens_what_it_covers_and_changes_nothing_outside_the_brain(subtype: str, seed: int) -> None:
    own = head(seed)
    plain, _, _ = drawn(own, ())
    image, painted, seen = drawn(own, (BLEEDS[subtype],))
    mask = painted[SUBTYPES.index(subtype)]
    assert not np.delete(painted, SUBTYPES.index(subtype), axis=0).any()
    slab = own.slab(STRAIGHT, SIDE, FIELD_MM, LEVELS)
    depth = room(own, slab).depth
    outside = depth < -slab.softness / 2
    np.testing.assert_array_equal(image[outside], plain[outside])
    assert not mask[outside].any()
    # Painted is exactly where it is labelled, and there it is much brighter than the brain that was there.
    np.testing.assert_array_equal(mask.any(axis=(1, 2)), seen[BLEEDS[subtype]])
    assert seen[BLEEDS[subtype]].any()
    difference = image - plain
    assert difference[mask].mean() > 15
    # But at the edge of bone, or on the falx, a sinus or the plexus, which were bright already.
    assert np.mean(difference[mask & (depth > slab.softness)] > 0) > 0.95


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_a_bleed_is_brighter_than_what_surrounds_it(subtype: str) -> None:
    for seed in range(4):
        own = head(10 + seed)
        image, painted, _ = drawn(own, (BLEEDS[subtype],))
        mask = painted[SUBTYPES.index(subtype)]
        brain = room(own, own.slab(STRAIGHT, SIDE, FIELD_MM, LEVELS)).depth > 3
        around = ndimage.binary_dilation(mask, np.ones((1, 7, 7))) & ~mask & brain
        assert np.median(image[mask]) > np.median(image[around]) + 15


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_a_series_is_labelled_with_what_is_drawn(subtype: str) -> None:
    patient = Patient(head(), (BLEEDS[subtype],))
    scan = Scan.draw(np.random.default_rng(0), 6)
    _, found = acquire(patient, scan, 32, np.random.default_rng(0))
    seen = shown(patient, scan.pose, scan.field_mm, scan.levels)[BLEEDS[subtype]]
    assert 0 < seen.sum() < 6
    np.testing.assert_array_equal(found[:, SUBTYPES.index(subtype)], seen)
    assert found.sum() == seen.sum()


def test_tilted_slices_have_their_middle_on_the_table() -> None:
    scan = replace(Scan.draw(np.random.default_rng(0), 6), tilt=-0.3, table=(0.0, -12.0, 40.0))
    half = (scan.field_mm - scan.field_mm / 64) / 2
    rows, columns = np.array(scan.orientation).reshape(2, 3)
    for index in (0, 5):
        middle = np.array(scan.position(index, 64)) + half * (rows + columns)
        np.testing.assert_allclose(middle, (0, -12, 40 + index * scan.step / np.cos(0.3)), atol=1e-9)
    assert columns[2] > 0  # the back of the head lies higher when the gantry leans to the feet


@pytest.mark.parametrize("kind", ["epidural", "subdural"])
def test_blood_under_the_skull_stays_there_on_one_side(kind: str) -> None:
    own = head(1)
    _, painted, _ = drawn(own, (BLEEDS[kind],))
    mask = painted[SUBTYPES.index(kind)]
    slab = own.slab(STRAIGHT, SIDE, FIELD_MM, LEVELS)
    assert (np.sign(slab.x[mask]) == np.sign(BLEEDS[kind].centre[0])).all()
    columns = np.nonzero(mask)[2]  # the patient's left is the right of the image
    assert (columns.mean() > SIDE / 2) == (BLEEDS[kind].centre[0] > 0)
    deepest = {"epidural": BLEEDS[kind].reach[2], "subdural": BLEEDS[kind].reach[0]}[kind]
    assert room(own, slab).depth[mask].max() < 1.5 * deepest


def test_a_mass_moves_the_midline_and_narrows_the_ventricle_beside_it() -> None:
    own = replace(head(2), shrunk=0.5, horns=1.1, calcified=(0.0,) * 4, uneven=0.0)
    bleed = replace(BLEEDS["subdural"], shift=10.0)
    plain, _, _ = drawn(own, ())
    image, _, _ = drawn(own, (bleed,))
    x = own.slab(STRAIGHT, SIDE, FIELD_MM, LEVELS).x
    deep = (np.abs(x) < 30) & (np.abs(own.slab(STRAIGHT, SIDE, FIELD_MM, LEVELS).y) < 45)
    middles = [x[2][(pixels[2] < 16) & (pixels[2] > -50) & deep[2]].mean() for pixels in (plain, image)]
    assert middles[1] - middles[0] > 4  # millimetres, away from the blood on the right


def test_less_than_the_visible_area_is_neither_drawn_nor_labelled() -> None:
    own = head(0)
    radius = float(np.sqrt(VISIBLE_MM2 / np.pi))
    small = Bleed("intraparenchymal", 65, (30, 20, 88), (radius * 0.8,) * 3)
    plain, _, _ = drawn(own, ())
    image, painted, seen = drawn(own, (small,))
    assert not seen[small].any()
    assert not painted.any()
    np.testing.assert_allclose(image, plain, atol=6)  # the brain still makes room for it
    large = replace(small, reach=(radius * 1.3,) * 3)
    assert drawn(own, (large,))[2][large].tolist() == [False] * 4 + [True]


def test_slices_from_base_to_vertex_differ() -> None:
    scan = replace(Scan.draw(np.random.default_rng(0), 10), moved=(0, 0, 0.0))
    series, _ = acquire(Patient(head(), ()), scan, 64, np.random.default_rng(0))
    window = np.clip(series.astype(float), -100, 200).reshape(10, -1)
    near = np.corrcoef(window)
    assert near[1, 8] < 0.75
    bone = (series > 300).mean(axis=(1, 2))
    assert bone[:4].mean() > 1.2 * bone[5:8].mean()  # the base holds most of the bone


def test_heads_vary_between_patients() -> None:
    drawn_heads = [head(seed) for seed in range(30)]
    images = []
    for own in drawn_heads:
        slab, _ = draw(Patient(own, ()), STRAIGHT, 48, FIELD_MM, np.array([64], np.float32), {})
        images.append(slab.hu[0])
    brain = [np.mean((image > 15) & (image < 60)) for image in images]
    water = [np.mean(np.abs(image[12:36, 12:36] - 7) < 8) for image in images]
    assert np.std(brain) / np.mean(brain) > 0.04
    assert np.corrcoef(water, [own.shrunk for own in drawn_heads])[0, 1] > 0.7  # fluid grows with age


def test_how_often_and_in_what_combinations_there_is_blood() -> None:
    rng = np.random.default_rng(0)
    own = head()
    found = [{bleed.subtype for bleed in draw_bleeds(rng, own)} for _ in range(3000)]
    assert abs(np.mean([bool(kinds) for kinds in found]) - 0.4) < 0.03  # three standard errors
    counts = Counter(kind for kinds in found for kind in kinds)
    assert set(counts) == set(SUBTYPES)
    assert min(counts, key=lambda kind: counts[kind]) == "epidural"
    assert 0.2 < np.mean([len(kinds) > 1 for kinds in found if kinds]) < 0.7


def test_a_field_is_the_same_at_every_resolution() -> None:
    field = Field(np.random.default_rng(0), 9.0)
    fine = np.linspace(-100, 100, 41, dtype=np.float32)
    z = np.array([0, 30], np.float32)
    np.testing.assert_allclose(field.at(z, fine, fine)[:, ::4, ::4], field.at(z, fine[::4], fine[::4]), atol=1e-4)
    assert abs(field.at(np.arange(0, 120, 9, dtype=np.float32), fine, fine).std() - 1) < 0.1


def test_the_source_reads_it(download: Path, tmp_path: Path) -> None:
    truth, read = labels(download), headers(download)
    records = list(Source(download).records())
    assert len(records) == len(truth)
    by_pixels = {header.PatientID: 0 for header in read.values()}
    for record, (_, header) in zip(records, sorted(read.items()), strict=True):
        np.testing.assert_array_equal(record.image[0], hu(header))
        assert {name: record.labels[name] for name in SUBTYPES} == {
            name: truth[header.SOPInstanceUID][name] for name in SUBTYPES
        }
        by_pixels[header.PatientID] += 1
    assert sorted(Counter(record.patient for record in records).values()) == sorted(by_pixels.values())
    cohort = prepare("rsna_ich", download, out=tmp_path / "cohort", size=32)
    assert verify(tmp_path / "cohort") == []
    assert len(cohort.samples) == len(truth)


def test_quirks_duplicated_rows_and_a_file_cut_short(download: Path, odd: Path) -> None:
    counts = Counter(identifier for identifier, _ in rows(odd))
    assert sorted(Counter(counts.values()).items()) == [(1, len(counts) - 24), (2, 24)]
    assert set(labels(odd)) - set(labels(download)) == {RSNA_CORRUPT}
    corrupt = odd / RSNA_ROOT / "stage_2_train" / f"{RSNA_CORRUPT}.dcm"
    assert corrupt.is_file()
    with pytest.raises((ValueError, AttributeError)):
        _ = pydicom.dcmread(corrupt).pixel_array


def test_quirks_wrapped_values_and_two_windows(download: Path, odd: Path) -> None:
    usual, strange = headers(download), headers(odd)
    number = {_code(k, 8, 3, "patient"): k for k in range(1, 10)}
    kinds = set()
    for name in sorted(set(usual) & set(strange)):
        header, k = strange[name], number[strange[name].PatientID]
        stored = header.pixel_array.astype(np.int64)
        kind = (header.BitsStored, header.PixelRepresentation, int(header.RescaleIntercept))
        assert (k % 2 == 0) <= (header.WindowCenter == [36, 36])
        if k % 4 == 1:
            assert kind == (12, 0, 0)
            assert (stored + 1024 >= 4096).any()
            true = np.where(stored + 1024 >= 4096, stored - 4096, stored)
        elif k % 4 == 2:
            assert kind == (16, 0, -1024)
            assert (stored >= 4096).any()
            true = np.where(stored >= 4096, stored - 65536, stored) - 1024
        else:
            true = hu(header)
        kinds.add(kind)
        # The same slices, but for what lies outside the circle.
        inside = (true >= -1023) & (hu(usual[name]) >= -1023)
        assert inside.mean() > 0.3
        np.testing.assert_array_equal(true[inside], hu(usual[name])[inside])
    assert {(12, 0, 0), (16, 0, -1024)} <= kinds


def test_the_source_undoes_the_quirks(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(odd)
    assert source.LEFT_OUT == {"known corrupt file": 1}
    assert "24 rows" in capsys.readouterr().err
    for record in source.records():
        assert record.image.min() >= -3024
        assert record.image.max() < 2500
        assert np.median(record.image[0, 0]) < -900  # air, not metal


def test_a_tenth_to_a_fifth_of_all_slices_show_blood(tmp_path: Path) -> None:
    Phantom(patients=40, size=32, slices=6).write(tmp_path, seed=1)
    found = labels(tmp_path).values()
    assert 0.07 < np.mean([one["any"] for one in found]) < 0.24


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"patients": 18939}, {"size": 16}, {"slices": 0}, {"slices": 65}])
def test_impossible_options(wrong: dict[str, int]) -> None:
    with pytest.raises(BadOption, match="1 to 18938 patients"):
        Phantom(**wrong)


def test_two_downloads_are_never_mixed(tmp_path: Path) -> None:
    Phantom(patients=1, size=32, slices=2).write(tmp_path, seed=0)
    before = files(tmp_path)
    with pytest.raises(BadOutput, match="empty folder"):
        Phantom(patients=1, size=32, slices=2).write(tmp_path, seed=0)
    assert files(tmp_path) == before
