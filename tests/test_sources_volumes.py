"""MetaImage and SLiver07, against SimpleITK, and the mistakes in them."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from synthcohort._split import fold_shares
from synthcohort.errors import BadOption, BadSource
from synthcohort.prepare import prepare
from synthcohort.sources import sliver07
from synthcohort.sources._metaimage import MAX_BYTES, read_header

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


def _is_one_line(error: BadSource) -> None:
    assert "\n" not in str(error)


# MetaImage

HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "5 6 7",
    "ElementSpacing": "0.5 0.75 2",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "v.raw",
}
VALUES = np.arange(-12, 12, dtype="<i2").reshape(2, 3, 4)


def write_header(path: Path, **changes: str | None) -> Path:
    """Write a header with changed keys; None leaves one out."""
    keys = {**{key: value for key, value in HEADER.items() if key != "ElementDataFile"}, **changes}
    keys["ElementDataFile"] = keys.pop("ElementDataFile", HEADER["ElementDataFile"])
    path.write_text("".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None))
    return path


@pytest.mark.parametrize("name", ["v.mhd", "v.mha", "packed.mhd", "packed.mha"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_metaimage_is_read_as_simpleitk_wrote_it(tmp_path: Path, name: str, dtype: str) -> None:
    values = np.random.default_rng(1).integers(0, 100, (3, 4, 5)).astype(dtype)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1.5, -2.0, 30.25))
    cos, sin = np.cos(0.3), np.sin(0.3)
    image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / name), name.startswith("packed"))
    header = read_header(tmp_path / name, name)
    assert header.values().dtype == values.dtype
    np.testing.assert_array_equal(header.values(), values)
    assert isinstance(header.values(), np.memmap) == (not name.startswith("packed"))  # raw values stay on the disk
    np.testing.assert_allclose(header.spacing_mm, image.GetSpacing(), rtol=1e-12)
    np.testing.assert_allclose(header.origin_mm, image.GetOrigin(), rtol=1e-12)
    np.testing.assert_allclose(header.axes.T.ravel(), image.GetDirection(), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, VALUES.tobytes()),
        ({"BinaryDataByteOrderMSB": "True"}, VALUES.astype(">i2").tobytes()),
        ({"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"}, VALUES.astype(">i2").tobytes()),
        ({"HeaderSize": "6"}, b"header" + VALUES.tobytes()),
        ({"HeaderSize": "-1"}, b"any header" + VALUES.tobytes()),
        ({"ElementSpacing": "0.5 0.75 -2"}, VALUES.tobytes()),
        ({"ElementSpacing": None, "ElementSize": "0.5 0.75 2"}, VALUES.tobytes()),
        ({"Offset": None, "Position": "5 6 7"}, VALUES.tobytes()),
        ({"TransformMatrix": None, "Orientation": "0 1 0 -1 0 0 0 0 1"}, VALUES.tobytes()),
        ({"ElementType": "MET_LONG", "DimSize": "2 3 2"}, VALUES.tobytes()),
    ],
)
def test_metaimage_keys_mean_what_simpleitk_makes_of_them(
    tmp_path: Path, changes: dict[str, str | None], data: bytes
) -> None:
    (tmp_path / "v.raw").write_bytes(data)
    path = write_header(tmp_path / "v.mhd", **changes)
    ours, theirs = read_header(path, "v.mhd"), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(ours.values(), sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.spacing_mm, theirs.GetSpacing())
    np.testing.assert_allclose(ours.origin_mm, theirs.GetOrigin())
    np.testing.assert_allclose(ours.axes.T.ravel(), theirs.GetDirection(), atol=1e-12)


def _packed(cut: int = 0, more: bytes = b"") -> bytes:
    import zlib

    data = zlib.compress(VALUES.tobytes())
    return data[: len(data) - cut] + more


METAIMAGES: dict[str, tuple[dict[str, str | None], bytes, str]] = {
    "short": ({}, VALUES.tobytes()[:-1], "longer or shorter"),
    "long": ({}, VALUES.tobytes() + b"x", "longer or shorter"),
    "short for its own header": ({"HeaderSize": "6"}, VALUES.tobytes(), "longer or shorter"),
    "short from the end": ({"HeaderSize": "-1"}, b"abc", "longer or shorter"),
    "packed and cut": ({"CompressedData": "True"}, _packed(cut=3), "longer or shorter"),
    "packed and long": ({"CompressedData": "True"}, _packed(more=b"x"), "longer or shorter"),
    "packed, of another size": ({"CompressedData": "True", "DimSize": "4 3 1"}, _packed(), "longer or shorter"),
    "not packed": ({"CompressedData": "True"}, VALUES.tobytes(), "cannot"),
    "packed bomb": ({"CompressedData": "True", "DimSize": "20000 20000 1"}, _packed(), "longer or shorter"),
    "bomb": ({"DimSize": "99999 99999 999"}, b"", "at most 1024 MiB"),
    "endless numbers": ({"DimSize": "9" * 5000}, b"", "states DimSize"),
    "zero": ({"DimSize": "4 0 2"}, b"", "states DimSize"),
    "negative": ({"DimSize": "4 -3 2"}, b"", "states DimSize"),
    "two of three": ({"DimSize": "4 3"}, b"", "states DimSize"),
    "no size": ({"DimSize": None}, b"", "states DimSize"),
    "four axes": ({"NDims": "4", "DimSize": "4 3 2 1"}, b"", "NDims = 2 or 3"),
    "no axes": ({"NDims": None}, b"", "NDims = 2 or 3"),
    "unknown type": ({"ElementType": "MET_OTHER"}, b"", "ElementType"),
    "no type": ({"ElementType": None}, b"", "ElementType"),
    "an array of types": ({"ElementType": "MET_SHORT_ARRAY"}, b"", "ElementType"),
    "colours": ({"ElementNumberOfChannels": "3"}, b"", "one channel"),
    "text": ({"BinaryData": "False"}, b"", "binary image"),
    "no image": ({"ObjectType": "Tube"}, b"", "binary image"),
    "a word for a flag": ({"CompressedData": "maybe"}, b"", "CompressedData"),
    "a word for spacing": ({"ElementSpacing": "1 1 one"}, b"", "ElementSpacing"),
    "NaN spacing": ({"ElementSpacing": "1 1 nan"}, b"", "ElementSpacing"),
    "infinite spacing": ({"ElementSpacing": "1 1 1e999"}, b"", "ElementSpacing"),
    "zero spacing": ({"ElementSpacing": "1 0 1"}, b"", "spacing is not zero"),
    "flat matrix": ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, b"", "TransformMatrix"),
    "empty matrix": ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, b"", "TransformMatrix"),
    "several files": ({"ElementDataFile": "LIST"}, b"", "one file of values"),
    "a pattern": ({"ElementDataFile": "v%03d.raw 1 2 1"}, b"", "one file of values"),
    "no file": ({"ElementDataFile": "absent.raw"}, b"", "cannot"),
    "a folder": ({"ElementDataFile": "."}, b"", "v.mhd"),
    "a circle of links": ({"ElementDataFile": "circle"}, b"", "elsewhere"),
    "out of the folder": ({"ElementDataFile": "../v.raw"}, b"", "elsewhere"),
    "a link out of it": ({"ElementDataFile": "link"}, b"", "elsewhere"),
    "an absolute path": ({"ElementDataFile": "/etc/hostname"}, b"", "elsewhere"),
    "a null byte": ({"ElementDataFile": "v\0.raw"}, b"", "plain text"),
    "a word for the header's size": ({"HeaderSize": "six"}, b"", "HeaderSize"),
    "twice": ({"Position": "1 2 3"}, b"", "states a key once"),
}


@pytest.mark.parametrize("mistake", METAIMAGES)
def test_a_metaimage_is_refused_in_one_line(tmp_path: Path, mistake: str) -> None:
    changes, data, said = METAIMAGES[mistake]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/v.raw").write_bytes(data)
    (tmp_path / "v.raw").write_bytes(VALUES.tobytes())
    (tmp_path / "in/circle").symlink_to("circle")
    (tmp_path / "in/link").symlink_to(tmp_path / "v.raw")
    path = write_header(tmp_path / "in/v.mhd", **changes)
    refused(lambda: read_header(path, "v.mhd").values(), said)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\xfe" + "NDims = 3\nElementDataFile = v.raw\n".encode("utf-16-le"), bytes(range(256)) * 300],
    ids=["empty", "no header", "UTF-16", "bytes"],
)
def test_what_is_no_metaimage_header_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v.mhd").write_bytes(data)
    refused(lambda: read_header(tmp_path / "v.mhd", "v.mhd"), "MetaImage header")
    refused(lambda: read_header(tmp_path / "absent.mhd", "absent.mhd"), "readable header")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_metaimage_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_header(tmp_path / "v.mhd")
    path.chmod(0)
    refused(lambda: read_header(path, "v.mhd"), "readable header")


@given(st.binary(max_size=300), st.sampled_from(sorted(HEADER)), st.text(max_size=40))
def test_any_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, key: str, to: str
) -> None:
    folder = tmp_path_factory.mktemp("header")
    text = "".join(f"{name} = {to if name == key else value}\n" for name, value in HEADER.items())
    for data in (tail, text.encode(errors="surrogatepass"), text.encode(errors="surrogatepass")[: len(tail)] + tail):
        (folder / "v.mhd").write_bytes(data)
        try:
            header = read_header(folder / "v.mhd", "v.mhd")
        except BadSource as error:
            _is_one_line(error)
        else:
            assert np.prod(header.shape) * header.dtype.itemsize <= MAX_BYTES
            assert header.data.resolve().is_relative_to(folder.resolve())
            assert min(header.spacing_mm) > 0


@given(
    st.tuples(*[st.integers(1, 300)] * 3),
    st.tuples(*[st.floats(-100, 100).filter(lambda x: abs(x) > 1e-3)] * 3),
    st.permutations(sorted(set(HEADER) - {"ElementDataFile", "DimSize", "ElementSpacing"})),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["=", " = ", "  =\t"]),
)
def test_the_order_and_blanks_of_a_header_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    order: list[str],
    end: str,
    sign: str,
) -> None:
    keys = {"DimSize": " ".join(map(str, shape)), "ElementSpacing": " ".join(map(repr, spacing))}
    lines = [f"{key}{sign}{({**HEADER, **keys})[key]}" for key in [*order, *keys]]
    path = tmp_path_factory.mktemp("header") / "v.mhd"
    path.write_bytes((end.join([*lines, f"ElementDataFile{'=' if sign == '=' else ' = '}v.raw"]) + end).encode())
    header = read_header(path, "v.mhd")
    assert header.shape == shape[::-1]
    np.testing.assert_allclose(header.spacing_mm, np.abs(spacing), rtol=1e-12)
    np.testing.assert_array_equal(np.diag(header.axes), np.sign(spacing))


# SLiver07


def write_sliver(
    folder: Path, number: int, direction: tuple[float, ...] = (1, 1, 1), masks: Path | None = None
) -> None:
    """Write an image and its mask with SimpleITK: 4 slices of 12x10 pixels, liver in some of them."""
    rng = np.random.default_rng(number)
    hu = rng.integers(-1000, 300, (4, 12, 10)).astype(np.int16)
    liver = np.zeros(hu.shape, np.uint8)
    liver[1:3, 3 : 5 + number % 4, 2:7] = 1
    for path, values in (
        (folder / f"liver-orig{number:03d}.mhd", hu),
        ((masks or folder) / f"liver-seg{number:03d}.mhd", liver),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.7, 0.7 if number % 2 else 0.75, 2.0))
        image.SetDirection(np.diag(direction).ravel().tolist())
        sitk.WriteImage(image, str(path))


@pytest.fixture
def livers(tmp_path: Path) -> Path:
    for number in range(1, 9):
        write_sliver(tmp_path / "download/training", number)
    return tmp_path / "download"


def test_exam_sliver07(livers: Path, tmp_path: Path) -> None:
    source_exam.sit("sliver07", livers, tmp_path / "cohort", {})


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ((".", "."), (".", ".")),
        (("training", "training"), ("training", "training")),
        (("training-part1", "training-part2"), ("training-part1", "training-part2")),
        (("training-scans", "training-scans"), ("training-labels", "training-labels")),
    ],
)
def test_sliver07_layouts(tmp_path: Path, images: tuple[str, str], masks: tuple[str, str]) -> None:
    for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
        write_sliver(tmp_path / image, number, masks=tmp_path / mask)
    (tmp_path / "liver-orig001.txt").write_text("is not read")
    records = list(sliver07.Source(tmp_path).records())
    assert len(sliver07.Source(tmp_path)) == len(records) == 8
    assert [(r.patient, r.slice_index) for r in records[3:5]] == [("liver-orig001", 3), ("liver-orig002", 0)]
    for record in records:
        number, folder = int(record.patient[-3:]), tmp_path / images[int(record.patient[-3:]) - 1]
        theirs = sitk.ReadImage(str(folder / f"liver-orig{number:03d}.mhd"))
        np.testing.assert_array_equal(record.image[0], sitk.GetArrayFromImage(theirs)[record.slice_index])
        assert record.image.dtype == np.float32
        assert record.spacing_mm == theirs.GetSpacing()[1::-1]
        assert record.mask is not None
        assert record.mask.any() == (record.slice_index in (1, 2))  # slices without liver stay


@pytest.mark.parametrize("direction", list(itertools.product((1, -1), repeat=3)))
def test_sliver07_shows_left_on_the_right_and_back_down(tmp_path: Path, direction: tuple[float, ...]) -> None:
    write_sliver(tmp_path, 1, direction)
    records = list(sliver07.Source(tmp_path).records())
    for name, values in (
        ("orig", [record.image[0] for record in records]),
        ("seg", [record.mask for record in records]),
    ):
        theirs = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / f"liver-{name}001.mhd")), "LPS")
        planes = sitk.GetArrayFromImage(theirs)[:: int(direction[2])]  # slices keep the order of the file
        np.testing.assert_array_equal(np.stack(values), planes)


def test_sliver07_takes_any_mask_value_above_0_for_liver(livers: Path) -> None:
    want = [record.mask for record in sliver07.Source(livers).records()]
    path = livers / "training/liver-seg001.raw"
    path.write_bytes(bytes(255 if value else 0 for value in path.read_bytes()))
    np.testing.assert_array_equal([record.mask for record in sliver07.Source(livers).records()], want)


def test_sliver07_headers_that_hold_the_spacing_twice(livers: Path) -> None:
    path = livers / "training/liver-orig001.mhd"
    want = next(sliver07.Source(livers).records())
    text = path.read_text().replace("TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 0.7 0 0 0 0.7 0 0 0 2")
    path.write_text(text)
    (first, *_) = sliver07.Source(livers).records()
    assert "0.7 0 0" in path.read_text()
    assert first.spacing_mm == want.spacing_mm == (0.7, 0.7)
    np.testing.assert_array_equal(first.image, want.image)


def test_sliver07_masks_without_a_place_are_counted(livers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _edit("training/liver-orig001.mhd", "Offset = 0 0 0", "Offset = -170 -170 30")(livers)
    _edit("training/liver-seg002.mhd", "Offset = 0 0 0", "Offset = 0 0 100")(livers)
    _edit("training/liver-seg004.mhd", "Offset = 0 0 0", "Offset = 0.6 0 -1.9")(livers)  # less than a voxel
    _edit("training/liver-seg005.mhd", "NDims = 3", "NDims = 9")(livers)
    source = sliver07.Source(livers)
    assert "2 of 8 volumes state a place for the image or the mask only" in capsys.readouterr().err
    want = sliver07.Source(livers / "training").parts()
    for part in want[:4]:
        assert len(list(source.read(part))) == 4


def test_sliver07_masks_less_than_a_voxel_away_are_taken(livers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _edit(f"{IMAGE}.mhd", "Offset = 0 0 0", "Offset = -170 -170 30")(livers)
    _edit(f"{MASK}.mhd", "Offset = 0 0 0", "Offset = -169.4 -170 31.9")(livers)
    assert len(list(sliver07.Source(livers).records())) == 32
    assert capsys.readouterr().err == ""


def _both(*changes: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda root: [change(root) for change in changes]


def _edit(path: str, old: str, new: str) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return change


def _values(path: str, values: Any) -> Callable[[Path], Any]:
    return lambda root: (root / path).write_bytes(np.asarray(values).tobytes())


def _as_floats(root: Path) -> None:
    values = np.zeros((4, 12, 10), "<f4")
    values[2, 3, 4] = np.nan
    _edit("training/liver-orig003.mhd", "MET_SHORT", "MET_FLOAT")(root)
    _values("training/liver-orig003.raw", values)(root)


IMAGE, MASK = "training/liver-orig003", "training/liver-seg003"
SLIVERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "image cut": (lambda root: os.truncate(root / f"{IMAGE}.raw", 100), "liver-orig003.mhd is longer or shorter"),
    "image too long": (lambda root: os.truncate(root / f"{IMAGE}.raw", 961), "liver-orig003.mhd is longer or shorter"),
    "mask cut": (lambda root: os.truncate(root / f"{MASK}.raw", 100), "liver-seg003.mhd is longer or shorter"),
    "no values": (lambda root: (root / f"{IMAGE}.raw").unlink(), "liver-orig003.mhd"),
    "no header": (lambda root: (root / f"{IMAGE}.mhd").unlink(), "no liver-orig003.mhd"),
    "no mask": (lambda root: (root / f"{MASK}.mhd").unlink(), "no liver-seg003.mhd"),
    "wider type": (_edit(f"{IMAGE}.mhd", "MET_SHORT", "MET_INT"), "longer or shorter"),
    "unsigned type": (_edit(f"{IMAGE}.mhd", "MET_SHORT", "MET_USHORT"), "Hounsfield units"),
    "swapped bytes": (_edit(f"{IMAGE}.mhd", "OrderMSB = False", "OrderMSB = True"), "Hounsfield units"),
    "NaN": (_as_floats, "finite"),
    "mask of another size": (_edit(f"{MASK}.mhd", "DimSize = 10 12 4", "DimSize = 12 10 4"), "size of its image"),
    "mask of fewer slices": (_edit(f"{MASK}.mhd", "10 12 4", "10 12 3"), "size of its image"),
    "mask of another spacing": (_edit(f"{MASK}.mhd", "96 2\n", "96 2.5\n"), "spacing of its image"),
    "mask mirrored": (_edit(f"{MASK}.mhd", "= 1 0 0 0 1 0 0 0 1", "= -1 0 0 0 1 0 0 0 1"), "is mirrored or turned"),
    "mask mirrored and moved": (
        _both(
            _edit(f"{MASK}.mhd", "= 1 0 0 0 1 0 0 0 1", "= -1 0 0 0 1 0 0 0 1"),
            _edit(f"{MASK}.mhd", "Offset = 0 0 0", "Offset = 100 0 0"),
        ),
        "is mirrored or turned",
    ),
    "mask of negative spacing": (_edit(f"{MASK}.mhd", "ElementSpacing = ", "ElementSpacing = -"), "is mirrored"),
    "mask turned by a degree": (
        _edit(f"{MASK}.mhd", "= 1 0 0 0 1 0 0 0 1", "= 0.99985 0.01745 0 -0.01745 0.99985 0 0 0 1"),
        "is mirrored or turned",
    ),
    "mask moved": (
        _both(
            _edit(f"{IMAGE}.mhd", "Offset = 0 0 0", "Offset = -170 -170 30"),
            _edit(f"{MASK}.mhd", "Offset = 0 0 0", "Offset = -170 -170 32.1"),
        ),
        "liver-seg003.mhd is shifted",
    ),
    "the image for a mask": (
        lambda root: shutil.copy(root / "training/liver-orig003.mhd", root / f"{MASK}.mhd"),
        "Mask values",
    ),
    "mask below 0": (
        lambda root: (
            _edit(f"{MASK}.mhd", "MET_UCHAR", "MET_CHAR")(root),
            _values(f"{MASK}.raw", np.full(480, -1, "i1"))(root),
        ),
        "Mask values",
    ),
    "sagittal": (_edit(f"{IMAGE}.mhd", "1 0 0 0 1 0 0 0 1", "0 1 0 0 0 1 1 0 0"), "slices are axial"),
    "volume twice": (lambda root: write_sliver(root / "training-part1", 3), "lies in two folders"),
    "values elsewhere": (_edit(f"{IMAGE}.mhd", "= liver-orig003.raw", "= ../../liver.raw"), "elsewhere"),
    "bomb": (_edit(f"{IMAGE}.mhd", "10 12 4", "65536 65536 999"), "at most 1024 MiB"),
    "circle of links": (
        lambda root: ((root / f"{IMAGE}.mhd").unlink(), (root / f"{IMAGE}.mhd").symlink_to("liver-orig003.mhd")),
        "readable header",
    ),
}


@pytest.mark.parametrize("damage", SLIVERS)
def test_sliver07_names_what_is_damaged_in_one_line(livers: Path, damage: str) -> None:
    spoil, said = SLIVERS[damage]
    spoil(livers)
    refused(lambda: list(sliver07.Source(livers).records()), said)


def test_a_damaged_volume_does_not_hide_the_others(livers: Path) -> None:
    _edit(f"{IMAGE}.mhd", "NDims = 3", "NDims = 9")(livers)
    source = sliver07.Source(livers)
    assert len(source) == 28
    assert len(source.parts()) == 8
    assert len(list(source.read(source.parts()[3]))) == 4


def test_sliver07_missing_folder_wrong_layout_and_other_names(tmp_path: Path) -> None:
    refused(lambda: sliver07.Source(tmp_path / "nowhere"), "must exist")
    (tmp_path / "training").mkdir()
    (tmp_path / os.fsdecode(b"training/liver-orig\xff01.mhd")).write_text("")
    refused(lambda: sliver07.Source(tmp_path), "MetaImage volumes")


def test_sliver07_says_its_terms_and_its_window() -> None:
    assert "ask the organisers" in sliver07.Source.NOTICE
    assert "derived data" in sliver07.Source.LICENCE
    assert sliver07.Source.VALUE_RULE == {"rule": "fixed", "low": -140.0, "high": 260.0}
    assert set(sliver07.Source.PROTOCOLS) == {"paper"}
    paper = sliver07.Source.PROTOCOLS["paper"]
    assert paper["assumed"] == ("fold", "geometry", "intensity", "shares", "size")
    shares = fold_shares(paper["shares"], paper["fold"])
    np.testing.assert_allclose(shares, (0.72, 0.08, 0.2, 0.0), rtol=1e-12)


def test_sliver07_protocol_of_study_000_keeps_no_reference(livers: Path, tmp_path: Path) -> None:
    cohort = prepare("sliver07", livers, out=tmp_path / "cohort", protocol="paper", size=16, workers=1)
    volumes = cohort.samples.groupby("split")["patient_id"].nunique().to_dict()
    assert volumes == {"train": 5, "val": 1, "test": 2}
