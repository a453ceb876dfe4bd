"""ACDC: every layout, both parts, against nibabel and SimpleITK, and further mistakes."""

from __future__ import annotations

import gzip
import itertools
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from synthcohort import plugins
from synthcohort.errors import BadOption, BadSource, InputError
from synthcohort.prepare import prepare
from synthcohort.sources import acdc

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def refused(read: Callable[[], Any], said: str, *never: str) -> None:
    """Assert that reading is refused in one line that says something and does not say other things."""
    with pytest.raises((BadSource, BadOption)) as caught:
        read()
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    for text in ("/tmp", *never):
        assert text not in message, message


# ACDC


def _edit(path: str, old: str, new: str) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return change


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    whole = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(gzip.compress(bytes(whole)) if path.suffix == ".gz" else bytes(whole))


def _spoil_checksum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-8] ^= 255
    path.write_bytes(data)


INFO = "ED: {ed}\nES: {es}\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"


def write_acdc(folder: Path, number: int, *, ed: int = 1, es: int = 12, masks: bool = True, group: str = "DCM") -> None:
    """Write a patient with the files of the real download; values tell patient and frame."""
    folder = folder / f"patient{number:03d}"
    folder.mkdir(parents=True)
    text = INFO.format(ed=ed, es=es, group=group)
    (folder / "Info.cfg").write_text(text if group else text.replace("Group: \n", ""))
    (folder / f"{folder.name}_4d.nii.gz").write_bytes(b"is not read")
    for frame in (ed, es):
        values = np.random.default_rng(100 * number + frame).integers(0, 99, (6, 5, 3)).astype(np.int16)
        image = nibabel.Nifti1Image(values, np.diag([1.5, 1.25, 10, 1]))
        nibabel.save(image, folder / f"{folder.name}_frame{frame:02d}.nii.gz")
        if masks:
            image = nibabel.Nifti1Image((values % 4).astype(np.uint8), image.affine)
            nibabel.save(image, folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz")


BOTH = {"train", "test"}
ACDC_LAYOUTS: dict[str, tuple[str, str, str, dict[str, set[str]]]] = {
    # name: (training, testing, root, {parts: splits})
    "now": ("database/training", "database/testing", ".", {"training": {"train"}, "all": BOTH}),
    "database": ("database/training", "database/testing", "database", {"training": {"train"}, "all": BOTH}),
    "old": ("training", "testing", ".", {"training": {"train"}, "all": BOTH}),
    "old, with masks": ("training", "testing_with_gt", ".", {"training": {"train"}, "all": BOTH}),
    "above": ("ACDC/database/training", "ACDC/database/testing", ".", {"training": {"train"}, "all": BOTH}),
    "above, old": ("ACDC/training", "ACDC/testing", ".", {"training": {"train"}, "all": BOTH}),
    "two archives": ("training", "database/testing", ".", {"training": {"train"}, "all": BOTH}),
    "training itself": ("training", "testing", "training", {"training": {"train"}, "all": {"train"}}),
    "testing itself": ("training", "testing", "testing", {"training": {"test"}, "all": {"test"}}),
    "patients themselves": ("mine", "testing", "mine", {"training": {""}, "all": {""}}),
}


@pytest.mark.parametrize("layout", ACDC_LAYOUTS)
@pytest.mark.parametrize("parts", ["training", "all"])
def test_acdc_layouts(tmp_path: Path, layout: str, parts: Any) -> None:
    training, testing, root, wanted = ACDC_LAYOUTS[layout]
    write_acdc(tmp_path / training, 1)
    write_acdc(tmp_path / testing, 101)
    source = acdc.Source(tmp_path / root, parts=parts)
    records = list(source.records())
    assert {record.split for record in records} == wanted[parts]
    assert len(records) == len(source) == 6 * len(wanted[parts])
    assert source.LEFT_OUT == {}
    for record in records:
        assert (record.patient == "patient101") == (record.split == "test")


def test_acdc_is_read_as_nibabel_and_simpleitk_read_it(tmp_path: Path) -> None:
    write_acdc(tmp_path / "training", 90, ed=11, es=3)  # end-systole comes first, as in the real patient 90
    records = list(acdc.Source(tmp_path).records())
    assert [(r.attributes["phase"], r.slice_index) for r in records] == [*itertools.product(("ED", "ES"), range(3))]
    for record in records:
        name = f"training/patient090/patient090_frame{11 if record.attributes['phase'] == 'ED' else 3:02d}"
        theirs = nibabel.load(tmp_path / f"{name}.nii.gz")
        np.testing.assert_array_equal(record.image[0], theirs.get_fdata()[:, :, record.slice_index].T)
        itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")))
        np.testing.assert_array_equal(record.image[0], itk[record.slice_index])
        itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}_gt.nii.gz")))
        np.testing.assert_array_equal(record.mask, itk[record.slice_index])
        assert record.spacing_mm == (1.25, 1.5)
        np.testing.assert_allclose(record.volume_range, np.percentile(theirs.get_fdata(), (0.5, 99.5)), rtol=1e-12)


def test_acdc_test_patients_without_masks_are_counted(tmp_path: Path) -> None:
    write_acdc(tmp_path / "training", 1)
    write_acdc(tmp_path / "testing", 101, masks=False, group="")
    write_acdc(tmp_path / "testing", 102)
    source = acdc.Source(tmp_path, parts="all")
    assert source.LEFT_OUT == {"no mask": 6}
    assert {record.patient for record in source.records()} == {"patient001", "patient102"}
    write_acdc(tmp_path / "testing_with_gt", 101, group="")  # the same patients, with masks
    assert {r.patient for r in acdc.Source(tmp_path, parts="all").records()} == {"patient001", "patient101"}


def test_acdc_with_a_test_part_sits_the_exam(tmp_path: Path) -> None:
    for number in range(1, 6):
        write_acdc(tmp_path / "d/training", number, group=("DCM", "NOR")[number % 2])
    write_acdc(tmp_path / "d/testing", 101)
    write_acdc(tmp_path / "d/testing", 102, masks=False)
    source_exam.sit("acdc", tmp_path / "d", tmp_path / "cohort", {"parts": "all"})


PATIENT = "training/patient001"
OUTLINE = f"{PATIENT}/patient001_frame12_gt.nii.gz"


def _place(affine: Any, *, coded: bool = True) -> Callable[[Path], Any]:
    """Return what gives a mask another affine, or, not coded, none and its voxel size only."""

    def change(root: Path) -> None:
        for path in [root / OUTLINE] if coded else [root / OUTLINE, root / OUTLINE.replace("_gt", "")]:
            image = nibabel.load(path)
            values = np.asarray(image.dataobj)
            moved = nibabel.Nifti1Image(values, affine if path.name == Path(OUTLINE).name else image.affine)
            nibabel.save(moved, path)
            if not coded:
                _overwrite(path, 252, bytes(4))
            assert (int(nibabel.load(path).header["sform_code"]) > 0) == coded

    return change


ACDCS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one frame for both": (_edit(f"{PATIENT}/Info.cfg", "ES: 12", "ES: 1"), "two frames"),
    "endless number": (_edit(f"{PATIENT}/Info.cfg", "ES: 12", f"ES: {'9' * 5000}"), "lacks a valid ES"),
    "negative number": (_edit(f"{PATIENT}/Info.cfg", "ES: 12", "ES: -12"), "lacks a valid ES"),
    "another frame": (_edit(f"{PATIENT}/Info.cfg", "ES: 12", "ES: 13"), "no training/patient001/patient001_frame13"),
    "Latin letters": (lambda root: (root / f"{PATIENT}/Info.cfg").write_bytes(b"ED: 1\xff"), "readable Info.cfg"),
    "Info.cfg in a circle": (
        lambda root: ((root / f"{PATIENT}/Info.cfg").unlink(), (root / f"{PATIENT}/Info.cfg").symlink_to("Info.cfg")),
        "readable Info.cfg",
    ),
    "no spacing": (
        lambda root: _overwrite(root / f"{PATIENT}/patient001_frame01.nii.gz", 80, bytes(8)),
        "pixel spacing",
    ),
    "wrong checksum": (
        lambda root: _spoil_checksum(root / f"{PATIENT}/patient001_frame01_gt.nii.gz"),
        "readable NIfTI",
    ),
    "size bomb": (
        lambda root: _overwrite(root / f"{PATIENT}/patient001_frame12.nii.gz", 42, struct.pack("<3h", *[32767] * 3)),
        "1024 MiB",
    ),
    "mask mirrored": (_place(np.diag([-1.5, 1.25, 10, 1])), "patient001_frame12_gt.nii.gz is turned or shifted"),
    "mask moved": (_place(np.diag([1.5, 1.25, 10, 1]) + 500 * np.eye(4, k=3)), "is turned or shifted"),
    "mask moved by a fifth of a voxel": (_place(np.diag([1.5, 1.25, 10, 1]) + 0.25 * np.eye(4, k=3)), "or shifted"),
    "mask of other voxels": (_place(np.diag([4.5, 3.75, 30, 1])), "voxels of another size"),
    "mask of other voxels, without a place": (
        _place(np.diag([4.5, 3.75, 30, 1]), coded=False),
        "has voxels of another size",
    ),
    "half of a test patient's masks": (
        lambda root: (root / "testing/patient101/patient101_frame12_gt.nii.gz").unlink(),
        "no testing/patient101/patient101_frame12_gt.nii.gz",
    ),
}


@pytest.mark.parametrize("damage", ACDCS)
def test_acdc_names_further_damage_in_one_line(tmp_path: Path, damage: str) -> None:
    write_acdc(tmp_path / "training", 1)
    write_acdc(tmp_path / "testing", 101)
    spoil, said = ACDCS[damage]
    spoil(tmp_path)
    refused(lambda: list(acdc.Source(tmp_path, parts="all").records()), said)


def test_acdc_protocol_of_study_000_names_options_that_exist() -> None:
    preset = acdc.Source.PROTOCOLS["paper"]
    assert plugins.resolve(acdc.Source, preset["options"]) == {"parts": "all"}
    assert preset["assumed"] == ("geometry", "intensity", "shares", "size")
    assert "share" in acdc.Source.NOTICE
    assert sum(preset["shares"]) == 1


def test_acdc_masks_may_be_rounded_and_need_no_place(tmp_path: Path) -> None:
    write_acdc(tmp_path / "training", 1)
    _place(np.diag([1.5, 1.25, 10, 1]) + 0.05 * np.eye(4, k=3))(tmp_path)
    assert len(list(acdc.Source(tmp_path).records())) == 6
    _place(np.diag([1.5, 1.25, 10, 1]), coded=False)(tmp_path)
    assert len(list(acdc.Source(tmp_path).records())) == 6


def test_the_papers_protocol_without_test_patients_says_what_to_do(tmp_path: Path) -> None:
    for number in range(1, 11):
        write_acdc(tmp_path / "d/training", number)
    wish: dict[str, Any] = {"out": tmp_path / "cohort", "protocol": "paper", "size": 16, "workers": 1}
    with pytest.raises(InputError, match=r"names none\. Use --split stratified with --fold 1/5, or with --shares"):
        prepare("acdc", tmp_path / "d", **wish)
    cohort = prepare("acdc", tmp_path / "d", **wish, split="stratified", fold=(1, 5))
    images = cohort.samples["split"].value_counts().to_dict()
    assert images == {"train": 36, "val": 12, "test": 12}


@pytest.mark.reference
def test_acdc_real_training_set_has_1902_slices() -> None:
    root = Path(__file__).parents[2] / "shared/data/acdc"
    if not root.is_dir():
        pytest.skip("no real ACDC beside the project")
    assert len(acdc.Source(root)) == 1902
    if (root / "database/testing").is_dir():
        assert len(acdc.Source(root, parts="all")) == 1902 + 1078
