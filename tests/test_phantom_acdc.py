"""The ACDC phantom: the real layout, the same bytes from the same seed, hearts that differ as the groups do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from synthcohort.errors import BadOption, BadOutput
from synthcohort.layouts import ACDC_GROUPS
from synthcohort.phantoms.acdc import Phantom
from synthcohort.sources.acdc import Source


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("[!.]*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    Phantom(patients=40, size=64).write(root, seed=0)
    return root


def test_layout_and_types(download: Path) -> None:
    names = [path.name for path in sorted((download / "database/training").iterdir())]
    assert names == [f"patient{i:03d}" for i in range(1, 41)]
    folder = download / "database/training/patient001"
    info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text().splitlines())
    assert {"ED", "ES", "Group"} <= set(info)
    frames = {f"patient001_frame{int(info[phase]):02d}{end}.nii.gz" for phase in ("ED", "ES") for end in ("", "_gt")}
    assert {path.name for path in folder.iterdir()} == {"Info.cfg", *frames}
    image = nibabel.load(folder / f"patient001_frame{int(info['ED']):02d}.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert max(image.shape[:2]) == 64
    assert 6 <= image.shape[2] <= 12
    assert image.header.get_zooms()[0] == image.header.get_zooms()[1] > 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        Phantom(patients=2, size=32).write(tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not set(files(tmp_path / "a").values()) & set(files(tmp_path / "c").values())


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    Phantom(patients=1, size=32).write(tmp_path / "one", seed=5)
    Phantom(patients=5, size=32).write(tmp_path / "five", seed=5)  # patient 1 is of the first group in both
    one, five = files(tmp_path / "one"), files(tmp_path / "five")
    assert all(five[name] == data for name, data in one.items())


def volumes(download: Path) -> dict[tuple[str, str], list[np.ndarray]]:
    """Return (group, phase) -> per patient the millilitres of right ventricle, muscle and left ventricle."""
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for record in Source(download).records():
        assert record.mask is not None
        assert record.spacing_mm is not None
        area = np.bincount(record.mask.ravel(), minlength=4)[1:] * record.spacing_mm[0] * record.spacing_mm[1]
        key = (record.stratum, record.attributes["phase"], record.patient)
        # Slices share the heart's length, so dividing by their number gives a mean area.
        found[key] = found.get(key, np.zeros(3)) + area
    result: dict[tuple[str, str], list[np.ndarray]] = {}
    for (group, phase, _), total in sorted(found.items()):
        result.setdefault((group, phase), []).append(total)
    return result


def test_groups_differ_as_their_diseases_do(download: Path) -> None:
    found = volumes(download)
    assert {group for group, _ in found} == set(ACDC_GROUPS)
    sizes = {key: np.mean(value, axis=0) for key, value in found.items()}
    ejection = {
        group: float(
            np.mean([1 - es[2] / ed[2] for ed, es in zip(found[group, "ED"], found[group, "ES"], strict=True)])
        )
        for group in ACDC_GROUPS
    }
    muscle = {group: sizes[group, "ED"][1] / sizes[group, "ED"][2] for group in ACDC_GROUPS}
    right = {group: sizes[group, "ED"][0] / sizes[group, "ED"][2] for group in ACDC_GROUPS}
    assert ejection["DCM"] < 0.35
    assert ejection["MINF"] < 0.45
    assert min(ejection["NOR"], ejection["HCM"]) > 0.5
    assert max(muscle, key=lambda group: muscle[group]) == "HCM"
    assert min(muscle, key=lambda group: muscle[group]) == "DCM"
    assert right["RV"] > 1.15 * right["NOR"]


def test_hearts_vary_in_place_size_and_turn(download: Path) -> None:
    centres, areas, angles = [], [], []
    for record in Source(download).records():
        assert record.mask is not None
        if (record.mask == 1).any() and (record.mask == 3).any() and record.attributes["phase"] == "ED":
            left, right = (np.argwhere(record.mask == value).mean(axis=0) for value in (3, 1))
            centres.append(left / record.mask.shape)
            areas.append((record.mask > 0).mean())
            angles.append(np.arctan2(*(right - left)))
    assert np.std(centres, axis=0).min() > 0.04
    assert np.std(areas) / np.mean(areas) > 0.3
    assert np.std(np.unwrap(np.sort(np.mod(angles, 2 * np.pi)))) > 0.25  # radians


def test_a_mean_mask_does_not_segment(download: Path) -> None:
    # Otherwise a model of mean pixels would pass for a segmentation.
    masks = []
    for record in Source(download).records():
        assert record.mask is not None
        padded = np.zeros((64, 64), np.uint8)
        padded[: record.mask.shape[0], : record.mask.shape[1]] = record.mask
        masks.append(padded == 2)
    stack = np.stack(masks)
    best = max(2 * (stack & guess).sum() / (stack.sum() + guess.sum() * len(stack)) for guess in guesses(stack))
    assert best < 0.35


def guesses(stack: np.ndarray) -> list[np.ndarray]:
    mean = stack.mean(axis=0)
    return [mean > level for level in np.linspace(0.02, mean.max() * 0.9, 12)]


def test_blood_is_bright_muscle_grey_lung_dark(download: Path) -> None:
    levels = {1: [], 2: [], 3: []}
    darkest = []
    for record in Source(download).records():
        assert record.mask is not None
        assert record.volume_range is not None
        scaled = (record.image[0] - record.volume_range[0]) / (record.volume_range[1] - record.volume_range[0])
        for value, found in levels.items():
            found += [scaled[record.mask == value].mean()] if (record.mask == value).sum() > 20 else []
        darkest.append(np.quantile(scaled, 0.3))
    assert np.mean(levels[3]) > 1.7 * np.mean(levels[2])
    assert np.mean(levels[1]) > 1.5 * np.mean(levels[2])
    assert np.mean(darkest) < 0.5 * np.mean(levels[2])


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"patients": 1000}, {"size": 8}])
def test_impossible_options(wrong: dict[str, int]) -> None:
    with pytest.raises(BadOption, match="1 to 999 patients"):
        Phantom(**wrong)


def test_two_downloads_are_never_mixed(tmp_path: Path) -> None:
    Phantom(patients=2, size=32).write(tmp_path, seed=0)
    before = files(tmp_path)
    with pytest.raises(BadOutput, match="empty folder"):
        Phantom(patients=1, size=32).write(tmp_path, seed=0)
    assert files(tmp_path) == before


def test_testing_patients_follow_the_others_and_change_none(tmp_path: Path) -> None:
    Phantom(patients=5, test_patients=5, size=32).write(tmp_path / "both", seed=2)
    Phantom(patients=5, size=32).write(tmp_path / "one", seed=2)
    both = {record.group: record for record in Source(tmp_path / "both", parts="all").records()}
    for record in Source(tmp_path / "one").records():
        assert record.split == "train"
        assert record.stratum == both[record.group].stratum
    counts = Counter(record.split for record in both.values())
    assert counts == {"train": 10, "test": 10}
