"""Sources: the shared exam, and the mistakes a download can hold."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from synthcohort.errors import BadOption, BadSource
from synthcohort.phantoms.acdc import Phantom
from synthcohort.sources.acdc import Source as Acdc
from synthcohort.sources.folder import Source as Folder

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture
def download(tmp_path: Path) -> Path:
    root = tmp_path / "download"
    Phantom(patients=5, size=32).write(root, seed=3)
    return root


def grey(path: Path, seed: int, *, shape: tuple[int, ...] = (20, 16), dtype: str = "uint8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True)
    Image.fromarray(values.astype(dtype)).save(path)


def write_folder(root: Path, *, rows: int = 6) -> None:
    """Write 16-bit images of 4 patients with masks of two classes, labels and spacing."""
    lines = ["image,patient,mask,label.oedema,mass,spacing_mm"]
    for i in range(rows):
        grey(root / f"scans/scan{i}.png", i, dtype="uint16")
        mask = np.zeros((20, 16), np.uint8)
        mask[4:9, 3 : 5 + i] = 255
        Image.fromarray(mask).save(root / f"mask{i}.png")
        lines.append(f"scans/scan{i}.png,person-{i % 4},mask{i}.png,{i % 2},{['', '1', '0'][i % 3]},0.{i + 1}")
    (root / "samples.csv").write_text("\n".join(lines) + "\n")


FOLDER: dict[str, Any] = {"mask_classes": ("background", "lesion"), "labels": ("mass",)}


def test_exam_acdc(download: Path, tmp_path: Path) -> None:
    source_exam.sit("acdc", download, tmp_path / "cohort", {})


def test_exam_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    source_exam.sit("folder", tmp_path / "images", tmp_path / "cohort", FOLDER)


@pytest.mark.parametrize("part", ["", "database", "database/training"])
def test_acdc_takes_any_part_of_the_download_as_root(download: Path, part: str) -> None:
    assert len(Acdc(download / part)) == len(Acdc(download))


def test_acdc_reads_the_phase_from_info_and_axes_as_x_y_slice(tmp_path: Path) -> None:
    folder = tmp_path / "patient001"
    folder.mkdir()
    (folder / "Info.cfg").write_text("ED: 12\nES: 1\nGroup: RV\nHeight: 170.0\n")
    for frame in (1, 12):
        volume = np.zeros((5, 4, 2), np.int16)  # x, y, slice
        volume[3, 1, 1] = frame
        mask = (volume > 0).astype(np.uint8) * 3
        for name, values in ((f"patient001_frame{frame:02d}", volume), (f"patient001_frame{frame:02d}_gt", mask)):
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1.5, 1.25, 10, 1])), folder / f"{name}.nii.gz")
    (folder / "patient001_4d.nii.gz").write_bytes(b"is not read")
    records = list(Acdc(tmp_path).records())
    assert [(r.attributes["phase"], r.slice_index) for r in records] == [("ED", 0), ("ED", 1), ("ES", 0), ("ES", 1)]
    assert records[1].image.shape == (1, 4, 5)
    assert records[1].image[0, 1, 3] == 12
    assert records[1].mask is not None
    assert records[1].mask[1, 3] == 3
    assert records[1].spacing_mm == (1.25, 1.5)
    assert {r.stratum for r in records} == {"RV"}
    assert records[0].volume_range == records[1].volume_range


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _save(path: Path, values: Any) -> None:
    affine = nibabel.load(path).affine if path.exists() else np.eye(4)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def _frame(root: Path, ending: str) -> Path:
    return sorted(root.rglob(f"patient002_frame??{ending}.nii.gz"))[0]


def _edit_info(root: Path, text: str) -> None:
    (root / "database/training/patient002/Info.cfg").write_text(text)


DAMAGES = {
    "no mask": (lambda root: _frame(root, "_gt").unlink(), "patient002_frame01_gt.nii.gz"),
    "truncated": (lambda root: _truncate(_frame(root, "")), "readable NIfTI"),
    "not gzip": (lambda root: _frame(root, "").write_bytes(b"hello"), "readable NIfTI"),
    "not nifti": (lambda root: _frame(root, "").write_bytes(gzip.compress(b"hello" * 100)), "readable NIfTI"),
    "other size": (lambda root: _save(_frame(root, "_gt"), np.zeros((3, 3, 3), np.uint8)), "size of its image"),
    "four-dimensional": (lambda root: _save(_frame(root, ""), np.zeros((4, 4, 4, 4), np.int16)), "3-D"),
    "not finite": (lambda root: _save(_frame(root, ""), np.full((4, 4, 4), np.nan, np.float32)), "finite"),
    "no info": (lambda root: (root / "database/training/patient002/Info.cfg").unlink(), "Info.cfg"),
    "info without ES": (lambda root: _edit_info(root, "ED: 1\nGroup: DCM\n"), "lacks a valid ES"),
    "info with a word": (lambda root: _edit_info(root, "ED: one\nES: 2\nGroup: DCM\n"), "lacks a valid ED"),
    "info without group": (lambda root: _edit_info(root, "ED: 1\nES: 2\n"), "lacks a valid Group"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_acdc_names_what_is_damaged_in_one_line(download: Path, damage: str) -> None:
    spoil, said = DAMAGES[damage]
    spoil(download)
    with pytest.raises(BadSource) as caught:
        list(Acdc(download).records())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "patient002" in str(caught.value)


def test_acdc_refuses_mask_values_beyond_three(download: Path) -> None:
    path = _frame(download, "_gt")
    values = np.asarray(nibabel.load(path).dataobj).copy()
    values[0, 0, 0] = 4
    _save(path, values)
    with pytest.raises(BadSource, match="0 to 3"):
        list(Acdc(download).records())


def test_acdc_missing_folder_and_wrong_layout(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="must exist"):
        Acdc(tmp_path / "nowhere")
    with pytest.raises(BadSource, match="one folder a patient"):
        Acdc(tmp_path)


def table(root: Path, *lines: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


def test_folder_reads_grey_16_bit_rgb_palette_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey(tmp_path / "deep.png", 1, dtype="uint16")
    grey(tmp_path / "deep.tif", 2, dtype="uint16")
    grey(tmp_path / "photo.png", 3, shape=(8, 9, 3))
    Image.open(tmp_path / "photo.png").quantize(16).save(tmp_path / "palette.png")
    lines = ["deep.png,1,", "deep.tif,0,", "photo.png,,0.5", "palette.png,1.0,"]
    source = Folder(table(tmp_path, "image,label.sick,spacing_mm", *lines))
    assert "each image counts as its own patient" in capsys.readouterr().err
    records = list(source.records())
    assert [r.image.shape for r in records] == [(1, 20, 16), (1, 20, 16), (3, 8, 9), (3, 8, 9)]
    assert [r.image.dtype for r in records] == [np.uint16, np.uint16, np.uint8, np.uint8]
    want = np.random.default_rng(1).integers(0, 65535, (20, 16), endpoint=True)
    np.testing.assert_array_equal(records[0].image[0], want)
    assert [r.labels["sick"] for r in records] == [1, 0, None, 1]
    assert [r.spacing_mm for r in records] == [None, None, (0.5, 0.5), None]
    assert len({r.patient for r in records}) == 4


BAD_TABLES = {
    "no table": ((), "readable table"),
    "no image column": (("picture", "a.png"), "lacks 'image'"),
    "parent": (("image", "../secret.png"), "line 2 of samples.csv leads elsewhere"),
    "absolute": (("image", "/etc/passwd"), "leads elsewhere"),
    "null byte": (("image", "a\0.png"), "readable table"),
    "link": (("image", "link/secret.png"), "leads elsewhere"),
    "listed twice": (("image,slice_index", "a.png,0", "./a.png,1"), "line 2 of samples.csv repeats"),
    "slice twice": (("image,patient,group", "a.png,p,g", "b.png,p,g"), "patient, group and slice_index"),
    "no patient": (("image,patient", "a.png,"), "names its patient"),
    "bad label": (("image,label.x", "a.png,2"), "line 2 of samples.csv has something else in label.x"),
    "bad spacing": (("image,spacing_mm", "a.png,-1"), "positive number"),
    "infinite spacing": (("image,spacing_mm", "a.png,inf"), "positive number"),
    "bad slice": (("image,slice_index", "a.png,1.5"), "whole number"),
    "long row": (("image", "a.png,b.png"), "longer than the header"),
    "column twice": (("image,image", "a.png,b.png"), "there once"),
    "missing file": (("image", "none.png"), "the image of line 2"),
    "no picture": (("image", "samples.csv"), "samples.csv"),
    "truncated": (("image", "short.png"), "the image of line 2"),
    "transparent": (("image", "clear.png"), "mode RGBA"),
    "several pages": (("image", "pages.tif"), "2 frames"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mistake", BAD_TABLES)
def test_folder_names_the_mistake_in_one_line(tmp_path: Path, mistake: str) -> None:
    root = tmp_path / "images"
    for name in ("images/a.png", "images/b.png", "secret.png", "images/short.png"):
        grey(tmp_path / name, 0, shape=(64, 64))
    _truncate(root / "short.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(root / "clear.png")
    Image.new("L", (8, 8)).save(root / "pages.tif", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    (root / "link").symlink_to(tmp_path)
    lines, said = BAD_TABLES[mistake]
    if lines:
        table(root, *lines)
    with pytest.raises(BadSource) as caught:
        list(Folder(root).records())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_folder_masks(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert (Folder(tmp_path, **FOLDER)._rows[0].mask) is not None
    with pytest.raises(BadOption, match="mask_classes is empty"):
        Folder(tmp_path)
    with pytest.raises(BadSource, match="class indices"):  # 255 is only read as 1 when there are two classes
        list(Folder(tmp_path, mask_classes=("background", "a", "b"), labels=("mass",)).records())
    Image.new("L", (3, 3)).save(tmp_path / "mask0.png")
    with pytest.raises(BadSource, match="its image's size"):
        list(Folder(tmp_path, **FOLDER).records())


def test_folder_option_value_range_must_increase(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="increasing"):
        Folder(tmp_path, value_range=(5, 5))


@pytest.mark.parametrize(
    ("header", "labels", "said"),
    [
        ("image,a,label.a", ("a",), "repeat 'a'"),
        ("image,a", ("a", "a"), "repeat 'a'"),
        ("image,label.", (), "column 'label.'"),
    ],
)
def test_folder_refuses_a_finding_twice_or_without_a_name(
    tmp_path: Path, header: str, labels: tuple[str, ...], said: str
) -> None:
    cells = ["x.png", *("1" for _ in header.split(",")[1:])]
    with pytest.raises((BadOption, BadSource), match=said):
        Folder(table(tmp_path / "images", header, ",".join(cells)), labels=labels)


def test_folder_takes_a_nameless_column_and_trailing_commas_but_no_short_row(tmp_path: Path) -> None:
    grey(tmp_path / "a.png", 0)  # pandas writes its index as a column without a name
    assert len(Folder(table(tmp_path, ",image,patient", "0,a.png,p,,"))) == 1
    with pytest.raises(BadSource, match=r"line 3 of samples.csv has not"):
        Folder(table(tmp_path, "image,patient,label.x", "a.png,p,1", "b.png,p"))
