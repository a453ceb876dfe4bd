"""The SLiver07 phantom: the real layout, the same bytes from the same seed, abdomens that look and measure right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from synthcohort.errors import BadOption, BadOutput
from synthcohort.layouts import PHANTOM_MARK
from synthcohort.phantoms.sliver07 import Phantom, _Patient
from synthcohort.sources.sliver07 import Source

PATIENTS, SIZE, SLICES = 12, 96, 24


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.rglob("[!.]*")) if path.is_file()}


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    Phantom(patients=PATIENTS, size=SIZE, slices=SLICES).write(root, seed=0)
    return root


@pytest.fixture(scope="module")
def volumes(download: Path) -> list[tuple[sitk.Image, np.ndarray, np.ndarray]]:
    """Return (image, its values, its mask) of each patient as SimpleITK reads them, (z, y, x)."""
    found = []
    for number in range(1, PATIENTS + 1):
        image = sitk.ReadImage(str(download / f"training/liver-orig{number:03d}.mhd"))
        mask = sitk.ReadImage(str(download / f"training/liver-seg{number:03d}.mhd"))
        assert image.GetSpacing() == mask.GetSpacing()
        found.append((image, sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask)))
    return found


def test_layout_and_types(download: Path) -> None:
    names = {f"liver-{kind}{i:03d}.{end}" for kind in ("orig", "seg") for i in range(1, 13) for end in ("mhd", "raw")}
    assert {path.name for path in (download / "training").iterdir()} == names
    assert {path.name for path in download.iterdir()} == {"training", PHANTOM_MARK}
    header = dict(line.split(" = ") for line in (download / "training/liver-orig001.mhd").read_text().splitlines())
    assert header["DimSize"] == f"{SIZE} {SIZE} {SLICES}"
    assert header["ElementType"] == "MET_SHORT"
    assert header["ElementDataFile"] == "liver-orig001.raw"


def test_our_reader_and_simpleitk_read_the_same(
    download: Path, volumes: list[tuple[sitk.Image, np.ndarray, np.ndarray]]
) -> None:
    source = Source(download)
    assert len(source) == PATIENTS * SLICES
    for part, (image, hu, mask) in zip(source.parts(), volumes, strict=True):
        records = list(source.read(part))
        np.testing.assert_array_equal(np.stack([r.image[0] for r in records]), hu)
        np.testing.assert_array_equal(np.stack([r.mask for r in records if r.mask is not None]), mask)
        assert records[0].spacing_mm == image.GetSpacing()[1::-1]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        Phantom(patients=1, size=32, slices=6).write(tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not set(files(tmp_path / "a").values()) & set(files(tmp_path / "c").values())


def test_a_patient_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    Phantom(patients=1, size=32, slices=6).write(tmp_path / "one", seed=5)
    Phantom(patients=3, size=32, slices=6).write(tmp_path / "three", seed=5)
    one, three = files(tmp_path / "one"), files(tmp_path / "three")
    assert len(three) == 3 * len(one)
    assert all(three[name] == data for name, data in one.items())


def test_size_and_slices_change_the_grid_and_not_the_patient(tmp_path: Path) -> None:
    volumes = []
    for size, slices in ((48, 12), (96, 34)):
        root = tmp_path / str(size)
        Phantom(patients=1, size=size, slices=slices).write(root, seed=5)
        mask = sitk.ReadImage(str(root / "training/liver-seg001.mhd"))
        volumes.append(sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1000)
        extent = np.multiply(mask.GetSpacing(), (size, size, slices - 1))
        volumes.append(extent.tolist())
    np.testing.assert_allclose(volumes[1], volumes[3], rtol=1e-3)  # the header rounds the spacing
    np.testing.assert_allclose(volumes[0], volumes[2], rtol=0.04)  # the grid is coarse at the liver's surface


def test_livers_measure_as_real_ones_do(volumes: list[tuple[sitk.Image, np.ndarray, np.ndarray]]) -> None:
    litres = [mask.sum() * np.prod(image.GetSpacing()) / 1e6 for image, _, mask in volumes]
    assert all(0.8 < litre < 3.2 for litre in litres)  # the real ones: 1.2 to 3.0
    assert 1.2 < np.median(litres) < 2.2  # the real ones: 1.7
    assert np.std(litres) > 0.15
    share = np.mean([mask.mean() for *_, mask in volumes])
    assert 0.035 < share < 0.08  # the real ones: about 0.05
    for image, *_ in volumes:
        field = image.GetSpacing()[0] * SIZE
        assert 0.58 * 512 - 1 < field < 0.81 * 512 + 1
        assert 1 < image.GetSpacing()[2] * SLICES / 60 < 6


def test_the_liver_lies_on_the_left_of_the_image_from_below_the_first_slice_to_near_the_last(
    volumes: list[tuple[sitk.Image, np.ndarray, np.ndarray]],
) -> None:
    for _, _, mask in volumes:
        assert set(np.unique(mask)) == {0, 1}
        assert np.argwhere(mask)[:, 2].mean() < 0.45 * SIZE
        levels = np.flatnonzero(mask.any(axis=(1, 2)))
        assert levels[0] >= 1  # the scan begins below the tip
        assert levels[-1] < SLICES - 1  # and ends above the dome


def test_tissues_have_the_hounsfield_units_of_a_portal_venous_scan(
    volumes: list[tuple[sitk.Image, np.ndarray, np.ndarray]],
) -> None:
    livers = []
    for _, hu, mask in volumes:
        assert hu.dtype == np.int16
        assert -1024 <= hu.min() < -950
        livers.append(np.median(hu[mask == 1]))
        corner = hu[:, :4, :4]
        assert abs(np.median(corner) + 1000) < 8
        inner = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray((hu > -300).astype(np.uint8))))
        assert 0.1 < np.mean((hu > -150) & (hu < -60)) / inner.mean() < 0.7  # fat
        assert np.mean(hu > 250) > 0.003  # bone
        assert np.mean((hu[-3:] > -930) & (hu[-3:] < -780)) > 0.05  # lung in the uppermost slices
    assert all(35 < value < 140 for value in livers)
    assert np.ptp(livers) > 20  # fatty to well enhanced


def test_most_livers_hold_lesions_which_show_and_count_as_liver() -> None:
    patients = [_Patient.draw(np.random.default_rng(seed)) for seed in range(26)]
    ill = [patient for patient in patients if patient.liver.lesions]
    assert 0.7 < len(ill) / len(patients) < 0.97
    shown = 0
    for patient in ill[:3]:
        well = replace(patient, liver=replace(patient.liver, lesions=()))
        (hu, mask), (hu_well, mask_well) = (drawn(each) for each in (patient, well))
        np.testing.assert_array_equal(mask, mask_well)
        changed = np.abs(hu.astype(int) - hu_well) > 15  # the noise is the same
        shown += int(changed.sum())
        assert (mask[changed] == 1).mean() > 0.9  # the rest is the soft rim of the liver
    assert shown > 100


def drawn(patient: _Patient) -> tuple[np.ndarray, np.ndarray]:
    hu, mask = zip(*patient.slices(64, 28, np.random.default_rng(0)), strict=True)
    return np.concatenate(hu), np.concatenate(mask)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"patients": 21}, {"size": 8}, {"size": 513}, {"slices": 2}])
def test_impossible_options(wrong: dict[str, int]) -> None:
    with pytest.raises(BadOption, match="1 to 20 patients"):
        Phantom(**wrong)


def test_two_downloads_are_never_mixed(tmp_path: Path) -> None:
    Phantom(patients=1, size=32, slices=4).write(tmp_path, seed=0)
    before = files(tmp_path)
    with pytest.raises(BadOutput, match="empty folder"):
        Phantom(patients=1, size=32, slices=4).write(tmp_path, seed=1)
    assert files(tmp_path) == before
