"""IDRiD's segmentation set, read as its download comes: every way to store a mask, and the mistakes in a download."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthcohort import plugins
from synthcohort.cohort import verify
from synthcohort.errors import BadSource
from synthcohort.layouts import IDRID_TARGETS
from synthcohort.prepare import prepare
from synthcohort.sources import idrid
from synthcohort.sources._pictures import read_mask

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
import source_exam

IMAGES, MASKS = "A. Segmentation/1. Original Images", "A. Segmentation/2. All Segmentation Groundtruths"
TRAIN, TEST = "a. Training Set", "b. Testing Set"
SHAPE = (28, 42)
LESIONS = ("microaneurysm", "haemorrhage", "hard_exudate", "soft_exudate")


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


def photograph(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)


def square(row: int, column: int, side: int = 4) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + side, column : column + side] = True
    return mask


def put(root: Path, part: str, number: int, **masks: np.ndarray) -> None:
    """Write a photograph and its masks, as PNG would be stored: the reader looks at content, not at the name."""
    path = root / IMAGES / part / f"IDRiD_{number:02d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(number)).save(path, quality=95)
    for place, _ in IDRID_TARGETS.values():
        (root / MASKS / part / place).mkdir(parents=True, exist_ok=True)
    for name, mask in {"optic_disc": square(10, 30, 6), **masks}.items():
        Image.fromarray(mask).save(mask_path(root, part, number, name))


def mask_path(root: Path, part: str, number: int, name: str) -> Path:
    folder, ending = IDRID_TARGETS[name]
    return root / MASKS / part / folder / f"IDRiD_{number:02d}_{ending}.tif"


def download(root: Path) -> Path:
    """Write nine photographs: one without lesions, one with an empty mask, some whose lesions overlap."""
    for number in range(1, 7):
        put(root, TRAIN, number, microaneurysm=square(2, number), haemorrhage=square(4, number + 2))
    put(root, TRAIN, 7)
    put(root, TEST, 55, hard_exudate=square(20, 3), soft_exudate=square(12, 31, 2))
    put(root, TEST, 56, hard_exudate=np.zeros(SHAPE, bool))
    return root


FIRST = f"{IMAGES}/{TRAIN}/IDRiD_01.jpg"


def first_disc(root: Path) -> Path:
    return mask_path(root, TRAIN, 1, "optic_disc")


@pytest.mark.parametrize(
    "options", [{}, {"target": "lesions"}, {"target": "all", "lesion_labels": True}, {"target": "haemorrhage"}]
)
def test_exam(tmp_path: Path, options: dict[str, Any]) -> None:
    source_exam.sit("idrid", download(tmp_path / "d"), tmp_path / "cohort", options)


def test_the_phantom_sits_the_exam_too(tmp_path: Path) -> None:
    phantom = plugins.find("phantoms", "idrid")
    phantom(**plugins.resolve(phantom, {"patients": 9, "size": 96})).write(tmp_path / "d", seed=1)
    source_exam.sit("idrid", tmp_path / "d", tmp_path / "cohort", {"target": "all", "lesion_labels": True})


@pytest.mark.parametrize("root", ["", "A. Segmentation"])
def test_photographs_and_discs(tmp_path: Path, root: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = idrid.Source(download(tmp_path) / root)
    assert source.MASK_CLASSES == ("background", "optic_disc")
    assert source.LABELS == ()
    assert "CC BY 4.0" in source.LICENCE
    records = list(source.records())
    assert [record.patient for record in records] == [f"IDRiD_{n:02d}" for n in (1, 2, 3, 4, 5, 6, 7, 55, 56)]
    assert [record.split for record in records] == ["train"] * 7 + ["test"] * 2
    for record in records:
        part = TRAIN if record.split == "train" else TEST
        pixels = np.asarray(Image.open(tmp_path / IMAGES / part / f"{record.patient}.jpg"))
        np.testing.assert_array_equal(record.image, pixels.transpose(2, 0, 1))
        np.testing.assert_array_equal(record.mask, square(10, 30, 6))
        assert record.group == record.patient
        assert record.spacing_mm is None
        assert record.attributes == {}
    assert capsys.readouterr().err.count("patient of its own") == 1


def test_structures_that_overlap_are_painted_in_order_and_counted(tmp_path: Path) -> None:
    source = idrid.Source(download(tmp_path), target="all", lesion_labels=True)
    order = ("background", "optic_disc", "soft_exudate", "hard_exudate", "haemorrhage", "microaneurysm")
    assert order == source.MASK_CLASSES
    records = {record.patient: record for record in source.records()}
    want = square(10, 30, 6).astype(np.uint8)
    want[square(4, 3)] = 4
    want[square(2, 1)] = 5  # rows 4 and 5, columns 3 and 4 are in both squares: the later class is kept
    np.testing.assert_array_equal(records["IDRiD_01"].mask, want)
    assert records["IDRiD_01"].attributes == {"overlap_pixels": 4}
    assert records["IDRiD_07"].attributes == {"overlap_pixels": 0}
    soft = square(10, 30, 6).astype(np.uint8)
    soft[square(12, 31, 2)] = 2
    soft[square(20, 3)] = 3
    np.testing.assert_array_equal(records["IDRiD_55"].mask, soft)
    assert records["IDRiD_55"].attributes == {"overlap_pixels": 4}


def test_a_lesion_is_there_when_its_mask_has_a_pixel(tmp_path: Path) -> None:
    source = idrid.Source(download(tmp_path), lesion_labels=True)
    assert source.LABELS == LESIONS
    found = {record.patient: tuple(record.labels[name] for name in LESIONS) for record in source.records()}
    assert found["IDRiD_01"] == (1, 1, 0, 0)
    assert found["IDRiD_07"] == (0, 0, 0, 0)  # no files
    assert found["IDRiD_55"] == (0, 0, 1, 1)
    assert found["IDRiD_56"] == (0, 0, 0, 0)  # a file that marks nothing
    assert all(record.mask is not None and record.mask.max() == 1 for record in source.records())


@pytest.mark.parametrize("target", LESIONS)
def test_one_lesion_type(tmp_path: Path, target: Any) -> None:
    records = list(idrid.Source(download(tmp_path), target=target).records())
    assert len(records) == 9
    for record in records:
        part = TRAIN if record.split == "train" else TEST
        path = mask_path(tmp_path, part, int(record.patient[6:]), target)
        want = np.asarray(Image.open(path)) if path.exists() else np.zeros(SHAPE, bool)
        np.testing.assert_array_equal(record.mask, want)


def test_the_papers_protocol_keeps_the_official_parts(tmp_path: Path) -> None:
    root = download(tmp_path / "d")
    for number in range(8, 21):
        put(root, TRAIN, number)
    cohort = prepare("idrid", root, out=tmp_path / "cohort", protocol="paper", size=32, workers=1)
    assert verify(cohort.path) == []
    assert cohort.samples["split"].value_counts().to_dict() == {"train": 18, "val": 2, "test": 2}
    assert set(cohort.facts.history[0]["assumed"]) == {"geometry", "intensity", "shares", "size", "split"}
    assert cohort.facts.mask_classes == ("background", "optic_disc")


# Every way to store a mask


def palette(inside_first: bool, dark: int = 3) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, mask: np.ndarray) -> None:
        picture = Image.fromarray((~mask if inside_first else mask).astype(np.uint8))
        colours = [0, 0, 0, 0, 0, dark]  # the luma of a dark blue rounds to 0
        picture.putpalette(colours[3:] + colours[:3] if inside_first else colours)
        picture.save(path)

    return write


def white_is_zero(path: Path, mask: np.ndarray) -> None:
    """Write a TIFF by hand whose photometric interpretation is WhiteIsZero: what is stored as 255 is shown black."""
    stored = np.where(mask, 0, 255).astype(np.uint8).tobytes()
    height, width = mask.shape
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 0), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(stored)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    folder = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(stored)) + stored + folder)


def rgba(path: Path, mask: np.ndarray) -> None:
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(path)


WAYS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "one bit": lambda path, mask: Image.fromarray(mask).save(path),
    "one bit, fax": lambda path, mask: Image.fromarray(mask).save(path, compression="group4"),
    "grey 255": lambda path, mask: Image.fromarray(mask.astype(np.uint8) * 255).save(path),
    "grey 76, lzw": lambda path, mask: Image.fromarray(mask.astype(np.uint8) * 76).save(path, compression="tiff_lzw"),
    "grey 1": lambda path, mask: Image.fromarray(mask.astype(np.uint8)).save(path),
    "white is zero": white_is_zero,
    "palette": palette(inside_first=False),
    "palette, inside first": palette(inside_first=True, dark=255),
    "palette, inside first, dark": palette(inside_first=True),
    "rgb": lambda path, mask: Image.fromarray(mask[..., None] * np.array((255, 0, 0), np.uint8)).save(path),
    "rgba": rgba,
    "16 bits": lambda path, mask: Image.fromarray(mask.astype(np.uint16) * 300).save(path),
    "32 bits": lambda path, mask: Image.fromarray(mask.astype(np.int32) * 70000).save(path),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_store_a_mask(tmp_path: Path, way: str) -> None:
    root = download(tmp_path)
    mask = square(5, 7, 9)
    WAYS[way](first_disc(root), mask)
    first = next(idrid.Source(root).records())
    np.testing.assert_array_equal(first.mask, mask)


@given(
    st.lists(st.tuples(*[st.sampled_from((0, 0, 1, 128, 255))] * 3), min_size=2, max_size=6),
    st.integers(0, 2**31),
)
def test_what_is_not_black_is_inside_whatever_the_palette(
    tmp_path_factory: pytest.TempPathFactory, colours: list[tuple[int, int, int]], seed: int
) -> None:
    path = tmp_path_factory.mktemp("palette") / "mask.tif"
    values = np.random.default_rng(seed).integers(0, len(colours), SHAPE).astype(np.uint8)
    picture = Image.fromarray(values)
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.save(path)
    np.testing.assert_array_equal(read_mask(path, "it"), np.array(colours)[values].sum(axis=2) > 0)


# Mistakes


def cut(path: Path, keep: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def huge(path: Path) -> None:
    """Write the header of a PNG of 60,000 x 60,000 pixels, as an archive bomb would have."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


def two_frames(path: Path) -> None:
    pages = [Image.fromarray(square(3, 3)), Image.fromarray(square(9, 9))]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def see_through(path: Path) -> None:
    pixels = np.full((*SHAPE, 4), 255, np.uint8)
    pixels[..., 3] = square(5, 5) * 255
    Image.fromarray(pixels).save(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(photograph(1)).save(path, exif=exif)


def folder_of_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


def folder_loop(root: Path) -> None:
    folder = root / IMAGES / TRAIN
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def noise(path: Path) -> None:
    Image.fromarray(photograph(3)).convert("L").save(path)


def image(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: spoil(root / FIRST)


def mask(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: spoil(first_disc(root))


_AT_IMAGE, _AT_MASK = "1. Original Images/a. Training Set/IDRiD_01.jpg", "5. Optic Disc/IDRiD_01_OD.tif"
MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "photograph cut": (image(cut), _AT_IMAGE),
    "photograph cut in its header": (image(lambda path: cut(path, 0.03)), _AT_IMAGE),
    "photograph empty": (image(lambda path: path.write_bytes(b"")), _AT_IMAGE),
    "photograph is text": (image(lambda path: path.write_text("<html>not found</html>")), _AT_IMAGE),
    "photograph grey": (image(noise), "three colours of 8 bits"),
    "photograph of 16 bits": (
        image(lambda path: Image.fromarray(np.zeros(SHAPE, np.uint16)).save(path, "PNG")),
        "three colours of 8 bits",
    ),
    "photograph turned": (image(turned), "stored upright"),
    "photograph huge": (image(huge), _AT_IMAGE),
    "photograph is a folder": (image(folder_of_that_name), _AT_IMAGE),
    "photograph is a link to itself": (image(loop), _AT_IMAGE),
    "photograph of other size": (
        image(lambda path: Image.fromarray(photograph(1)[:, :-2]).save(path)),
        "IDRiD_01_OD.tif is (28, 42), its photograph (28, 40)",
    ),
    "mask of other size": (mask(lambda path: Image.fromarray(square(3, 3)[1:]).save(path)), "is (27, 42)"),
    "mask cut": (mask(cut), _AT_MASK),
    "mask cut near its end": (mask(lambda path: cut(path, 0.95)), _AT_MASK),
    "mask empty": (mask(lambda path: path.write_bytes(b"")), _AT_MASK),
    "mask is text": (mask(lambda path: path.write_text("II*\0 no picture")), _AT_MASK),
    "mask of two frames": (mask(two_frames), "2 frames"),
    "mask see-through": (mask(see_through), "without transparency"),
    "mask of fractions": (
        mask(lambda path: Image.fromarray(np.full(SHAPE, np.nan, np.float32)).save(path)),
        "mode F",
    ),
    "mask is a picture": (mask(noise), "marks most of it"),
    "mask inside out": (mask(lambda path: Image.fromarray(~square(3, 3)).save(path)), "marks most of it"),
    "disc that marks nothing": (
        mask(lambda path: Image.fromarray(np.zeros(SHAPE, bool)).save(path)),
        "_OD.tif marks nothing",
    ),
    "mask huge": (mask(huge), _AT_MASK),
    "no disc": (mask(lambda path: path.unlink()), "IDRiD_01.jpg has none"),
    "no photograph": (image(lambda path: path.unlink()), "IDRiD_01_OD.tif of a. Training Set has none"),
    "in both sets": (lambda root: put(root, TEST, 7), "IDRiD_07.jpg is in both sets"),
    "no test set": (lambda root: shutil.rmtree(root / IMAGES / TEST), "b. Testing Set"),
    "training set is a link to itself": (folder_loop, "not so '1. Original Images/a. Training Set'"),
    "no discs": (lambda root: shutil.rmtree(root / MASKS / TRAIN / "5. Optic Disc"), "5. Optic Disc"),
    "no masks": (lambda root: shutil.rmtree(root / MASKS), "Groundtruths/a. Training Set/5. Optic Disc"),
    "another layout": (lambda root: (root / IMAGES).rename(root / "images"), "has no 'A. Segmentation/1. Original"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, mistake: str) -> None:
    spoil, said = MISTAKES[mistake]
    root = download(tmp_path / "d")
    spoil(root)
    with pytest.raises(BadSource) as caught:
        list(idrid.Source(root).records())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    if "another" not in mistake:
        assert str(tmp_path) not in str(caught.value)


def test_a_missing_root_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="must exist"):
        idrid.Source(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", [FIRST, f"{IMAGES}/{TRAIN}", f"{MASKS}/{TEST}/5. Optic Disc"])
def test_what_may_not_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    root = download(tmp_path / "d")
    (root / name).chmod(0)
    try:
        with pytest.raises(BadSource, match=r"1\. Original Images|5\. Optic Disc"):
            list(idrid.Source(root).records())
    finally:
        (root / name).chmod(0o700)


def test_files_that_do_not_belong_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = download(tmp_path)
    folder = os.fsencode(root / IMAGES / TRAIN)
    for name in (b"IDRiD_02 (1).jpg", b"IDRiD_003.jpg", b"Thumbs.db", b"IDRiD_1\xe9.jpg", b"idrid_09.jpg"):
        (Path(os.fsdecode(folder + b"/" + name))).write_bytes(b"x")
    for name in (".DS_Store", "._IDRiD_01.jpg"):  # what archives from some systems leave
        (root / IMAGES / TRAIN / name).write_bytes(b"x")
    mask_path(root, TRAIN, 3, "optic_disc").with_name("IDRiD_03_MA.tif").write_bytes(b"x")
    source = idrid.Source(root)
    assert len(source) == len(list(source.records())) == 9
    assert "Note: 6 files have no place" in capsys.readouterr().err


def test_damaged_photographs_can_be_skipped(tmp_path: Path) -> None:
    root = download(tmp_path / "d")
    cut(root / FIRST)
    first_disc(root).with_name("IDRiD_02_OD.tif").write_bytes(b"")
    cohort = prepare("idrid", root, out=tmp_path / "cohort", size=16, damaged="skip", workers=1)
    assert len(cohort.samples) == 7
    assert sum(cohort.facts.history[0]["dropped"].values()) == 2
