"""Reading DICOM files: the same pixels as pydicom and SimpleITK, one line for damaged ones, and no patient in it."""

from __future__ import annotations

import logging
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from synthcohort.dicom import Frame, NoPixels, NotDicom, open_dicom
from synthcohort.errors import BadSource

sys.path.insert(0, str(Path(__file__).parent / "contracts"))
from dicom_files import SECRETS, encoded, header, image, pydicom_frames, write

CORPUS = Path(pydicom.__file__).parent / "data" / "test_files"
PREAMBLE = 132


def frames(path: Path, **options: Any) -> list[Frame]:
    with open_dicom(path, "file 1 of 1") as file:
        return list(file.frames(**options))


def only(path: Path, **options: Any) -> Frame:
    (frame,) = frames(path, **options)
    return frame


def tried(path: Path) -> tuple[str, list[np.ndarray]]:
    """Return what is wrong with a file, or nothing and its pixels."""
    try:
        return "", [frame.pixels for frame in frames(path)]
    except BadSource as error:
        return str(error), []


# ---- against other readers ----

# Files of pydicom's own tests: byte orders, types, RLE, JPEG, JPEG 2000, palette, YBR, several frames, deflated.
READABLE = [
    "693_J2KI.dcm",
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "rtdose.dcm",
    "rtdose_expb.dcm",
    "rtdose_rle.dcm",
]


@pytest.mark.parametrize("name", READABLE)
def test_files_of_many_kinds_read_as_pydicom_reads_them(name: str) -> None:
    want, have = pydicom_frames(CORPUS / name), [frame.pixels for frame in frames(CORPUS / name)]
    assert len(have) == len(want)
    for ours, theirs in zip(have, want, strict=True):
        assert ours.dtype in (np.float32, np.uint8)
        # float32 holds rescaled values to 7 digits, pydicom computes in float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless]
)
@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_hounsfield_units_spacing_and_axes_are_those_of_simpleitk(tmp_path: Path, syntax: str, dtype: str) -> None:
    # Neither the encoder of JPEG 2000 nor SimpleITK's reader of RLE takes very small ones.
    shape = (40, 33) if syntax in (JPEG2000Lossless, RLELossless) else (7, 5)
    pixels = image(shape, dtype)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    path = write(tmp_path / "slice", pixels, syntax, PixelData=pixels.astype(f"{order}{dtype[0]}2").tobytes())
    frame, theirs = only(path), SimpleITK.ReadImage(str(path))
    assert frame.pixels.dtype == np.float32
    assert frame.pixels.shape == (1, *shape)
    np.testing.assert_array_equal(frame.pixels[0], pixels.astype(int) - 1024)
    np.testing.assert_array_equal(frame.pixels, SimpleITK.GetArrayFromImage(theirs))
    assert frame.spacing_mm == (0.75, 0.5) == theirs.GetSpacing()[1::-1]
    assert frame.position == theirs.GetOrigin()[2] == 12.5


# ---- what a header means ----


def test_a_header_is_told(tmp_path: Path) -> None:
    tags = {"BurnedInAnnotation": "yes", "SOPClassUID": SecondaryCaptureImageStorage, "PatientID": " P 1 "}
    with open_dicom(write(tmp_path / "a", **tags), "x") as file:
        told = (file.patient, file.study, file.series, file.instance, file.modality, file.number)
        assert (file.burned_in, file.secondary) == (True, True)
    secret = SECRETS
    ids = (secret["StudyInstanceUID"], secret["SeriesInstanceUID"], secret["SOPInstanceUID"])
    assert told == ("P 1", *ids, "CT", 4)


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], True),
        (["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"], True),
        ("original\\primary\\ Localizer ", True),
        (["ORIGINAL", "PRIMARY", "AXIAL", "LOCALIZER"], False),
        (["LOCALIZER"], False),
        ("", False),
    ],
)
def test_a_localizer_is_told(tmp_path: Path, kind: Any, want: bool) -> None:
    with open_dicom(write(tmp_path / "a", ImageType=kind), "x") as file:
        assert file.localizer == want


def test_a_photograph_is_no_secondary_capture(tmp_path: Path) -> None:
    with open_dicom(write(tmp_path / "a", SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4"), "x") as file:
        assert not file.secondary


def test_a_header_may_say_little(tmp_path: Path) -> None:
    names = ("PatientID", "InstanceNumber", "PixelSpacing", "WindowWidth", "ImageOrientationPatient", "HighBit")
    path = write(tmp_path / "a", **dict.fromkeys(names))
    with open_dicom(path, "x") as file:
        assert (file.patient, file.number, file.burned_in, file.secondary) == ("", None, False, False)
    frame = only(path)
    assert (frame.spacing_mm, frame.window, frame.position, frame.number) == (None, None, None, None)


@pytest.mark.parametrize(
    ("centre", "width", "window"),
    [
        (40, 80, (40, 80)),
        ([40, 600], [80, 2800], (40, 80)),
        ("40.5", "80.25", (40.5, 80.25)),
        ([40, 600], 80, (40, 80)),
        (40, 0, None),
        (40, -1, None),
        (None, 80, None),
        ("", "", None),
    ],
)
def test_the_first_window_of_several_is_taken(
    tmp_path: Path, centre: Any, width: Any, window: tuple[float, float] | None
) -> None:
    assert only(write(tmp_path / "a", WindowCenter=centre, WindowWidth=width)).window == window


def test_a_damaged_window_or_spacing_is_as_good_as_none(tmp_path: Path) -> None:
    data = encoded(header(image(), WindowWidth="80", PixelSpacing=None, ImagerPixelSpacing=["0.25", "0.125"]))
    (tmp_path / "a").write_bytes(data.replace(b"80", b"8x"))
    assert (only(tmp_path / "a").window, only(tmp_path / "a").spacing_mm) == (None, (0.25, 0.125))
    (tmp_path / "a").write_bytes(data.replace(b"0.25\\0.125", b"0.25\\ -125"))
    assert only(tmp_path / "a").spacing_mm is None


def test_the_position_is_measured_along_the_normal(tmp_path: Path) -> None:
    tags = {"ImagePositionPatient": [3, -20, 7], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}  # sagittal
    assert only(write(tmp_path / "a", **tags)).position == -3


def test_a_patient_is_read_in_the_character_set_of_the_file(tmp_path: Path) -> None:
    for charset, coding in (("ISO_IR 192", "utf-8"), ("ISO_IR 100", "latin-1"), ("rubbish", "utf-8"), ("", "latin-1")):
        data = encoded(header(image(), PatientID="M" * 8, SpecificCharacterSet="ISO_IR 000"))
        name = "Mül1".encode(coding)
        data = data.replace(b"M" * 8, name + b" " * (8 - len(name))).replace(b"ISO_IR 000", charset.ljust(10).encode())
        (tmp_path / "a").write_bytes(data)
        with open_dicom(tmp_path / "a", "x") as file:
            assert file.patient == "Mül1", charset


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    data, meta = encoded(header(image())), PREAMBLE
    (tmp_path / "a").write_bytes(data[meta:])
    np.testing.assert_array_equal(only(tmp_path / "a").pixels[0], image() - 1024)
    start = data.index(b"\x08\0\x16\0UI")  # nor with its meta information
    for syntax, at in ((ExplicitVRLittleEndian, b"\x08\0\x16\0UI"), (ImplicitVRLittleEndian, b"\x08\0\x16\0\x1a")):
        data = encoded(header(image()), syntax)
        start = data.index(at)
        (tmp_path / "a").write_bytes(data[start:])
        np.testing.assert_array_equal(only(tmp_path / "a").pixels[0], image() - 1024)


def test_private_and_deeply_nested_elements_are_passed_over(tmp_path: Path) -> None:
    data = header(image())
    inner = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.RequestAttributesSequence = Sequence([inner])
        inner = outer
    data.RequestAttributesSequence = Sequence([inner])
    data.private_block(0x0009, "ACME", create=True).add_new(1, "OB", b"\xff" * 99)
    (tmp_path / "a").write_bytes(encoded(data))
    np.testing.assert_array_equal(only(tmp_path / "a").pixels[0], image() - 1024)


# ---- what stored values mean ----


def test_values_of_other_modalities_are_rescaled_or_kept(tmp_path: Path) -> None:
    pixels = image((7, 5), "uint16")
    frame = only(write(tmp_path / "a", pixels, Modality="PT", RescaleSlope="0.37", RescaleIntercept="2"))
    np.testing.assert_allclose(frame.pixels[0], pixels * 0.37 + 2, rtol=1e-6, atol=0)  # float32
    bare = {"Modality": "MR", "RescaleSlope": None, "RescaleIntercept": None}
    frame = only(write(tmp_path / "a", pixels, **bare))
    assert frame.pixels.dtype == np.float32
    np.testing.assert_array_equal(frame.pixels[0], pixels)
    grey = image((7, 5), "uint8")
    frame = only(write(tmp_path / "a", grey, **bare))
    assert frame.pixels.dtype == np.uint8
    np.testing.assert_array_equal(frame.pixels[0], grey)


def test_bits_above_the_stored_ones_are_cleared_or_hold_the_sign(tmp_path: Path) -> None:
    bare = {"Modality": "MR", "BitsStored": 12, "RescaleIntercept": 0}
    stray = np.array([[0x1005, 0x8FFF, 0x0123]], np.uint16)  # an overlay in bits 12 and 15
    np.testing.assert_array_equal(only(write(tmp_path / "a", stray, **bare)).pixels[0], [[5, 4095, 0x123]])
    signed = np.array([[0x0FFF, 0x1001, 0x07FF]], np.int16)  # -1 without its upper bits
    np.testing.assert_array_equal(only(write(tmp_path / "a", signed, **bare)).pixels[0], [[-1, 1, 2047]])
    for pixels in (stray, signed):
        path = write(tmp_path / "a", pixels, **bare)
        np.testing.assert_array_equal(only(path).pixels, pydicom_frames(path)[0])


def test_negatives_of_16_bits_in_unsigned_ct_are_found(tmp_path: Path) -> None:
    for bits in (12, 16):
        stored = np.array([[0, 1064, 4095], [64560, 65535, 63536]], np.uint16)  # below: -976, -1 and -2000
        frame = only(write(tmp_path / "a", stored, BitsStored=bits))
        np.testing.assert_array_equal(frame.pixels[0], [[-1024, 40, 3071], [-2000, -1025, -3024]])
    metal = np.array([[20000, 32767]], np.uint16)
    np.testing.assert_array_equal(only(write(tmp_path / "a", metal)).pixels[0], [[18976, 31743]])
    other = only(write(tmp_path / "a", stored, Modality="CR", RescaleIntercept=0))
    np.testing.assert_array_equal(other.pixels[0], stored)  # in a radiograph they are bright


def test_negatives_of_12_bits_are_found_where_asked(tmp_path: Path) -> None:
    stored = np.array([[0, 40, 3071], [3072, 3096, 4095]], np.uint16)
    air = [[0, 40, 3071], [-1024, -1000, -1]]
    zero = {"BitsStored": 12, "RescaleIntercept": 0}
    np.testing.assert_array_equal(only(write(tmp_path / "a", stored, **zero), wrapped=True).pixels[0], air)
    np.testing.assert_array_equal(only(write(tmp_path / "a", stored, **zero)).pixels[0], stored)
    usual = only(write(tmp_path / "a", stored, BitsStored=12), wrapped=True)  # -1024 leaves room for air
    np.testing.assert_array_equal(usual.pixels[0], stored.astype(int) - 1024)


def test_monochrome1_is_turned_over_with_its_window(tmp_path: Path) -> None:
    film = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR", "BitsStored": 12, "RescaleIntercept": 0}
    frame = only(write(tmp_path / "a", np.array([[0, 95, 4095]], np.uint16), WindowCenter=1000, **film))
    np.testing.assert_array_equal(frame.pixels[0], [[4095, 4000, 0]])
    assert frame.window == (3095, 80)
    film |= {"BitsStored": 8, "RescaleSlope": 1}
    frame = only(write(tmp_path / "a", np.array([[0, 5, 255]], np.uint8), **film))
    assert frame.pixels.dtype == np.uint8
    np.testing.assert_array_equal(frame.pixels[0], [[255, 250, 0]])
    signed = np.array([[-2048, 0, 2047]], np.int16)
    frame = only(write(tmp_path / "a", signed, **{**film, "BitsStored": 12, "RescaleIntercept": 10}))
    np.testing.assert_array_equal(frame.pixels[0], [[2057, 9, -2038]])


@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_monochrome1_leaves_measurements_as_they_are(tmp_path: Path, modality: str) -> None:
    stored = np.array([[24, 1024, 1064]], np.int16)
    shown = {"PhotometricInterpretation": "MONOCHROME1", "Modality": modality, "BitsStored": 12}
    frame = only(write(tmp_path / "a", stored, **shown))
    np.testing.assert_array_equal(frame.pixels[0], [[-1000, 0, 40]])
    assert frame.window == (40, 80)
    film = only(write(tmp_path / "a", stored, SOPClassUID=SecondaryCaptureImageStorage, **shown))  # no measurement
    np.testing.assert_array_equal(film.pixels[0], [[-1049, -2049, -2089]])  # -1024 - 1 - values: signed 12 bits


def test_padding_becomes_background_unless_tissue_has_its_value(tmp_path: Path) -> None:
    stored = np.array([[-2000, -2000, 24], [30, 1064, 2000]], np.int16)
    frame = only(write(tmp_path / "a", stored, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(frame.pixels[0], [[-1000, -1000, -1000], [-994, 40, 976]])
    amidst = only(write(tmp_path / "a", stored, PixelPaddingValue=1064))
    np.testing.assert_array_equal(amidst.pixels[0], stored - 1024)
    white = np.array([[65535, 10, 20]], np.uint16)
    frame = only(write(tmp_path / "a", white, PixelPaddingValue=65535, Modality="MR", RescaleIntercept=0))
    np.testing.assert_array_equal(frame.pixels[0], [[10, 10, 20]])
    several = np.array([[-2000, -1990, 24]], np.int16)
    frame = only(write(tmp_path / "a", several, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990))
    np.testing.assert_array_equal(frame.pixels[0], [[-1000, -1000, -1000]])
    nothing_else = np.full((2, 3), -2000, np.int16)
    frame = only(write(tmp_path / "a", nothing_else, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(frame.pixels[0], nothing_else - 1024)


def test_colour_is_rgb_of_8_bits(tmp_path: Path) -> None:
    pixels = image((7, 5, 3), "uint8")
    frame = only(write(tmp_path / "a", pixels))
    assert frame.pixels.dtype == np.uint8
    assert frame.window is None
    np.testing.assert_array_equal(frame.pixels, pixels.transpose(2, 0, 1))
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    path = write(tmp_path / "a", pixels, PlanarConfiguration=1, PixelData=planes.tobytes() + b"\0")
    np.testing.assert_array_equal(only(path).pixels, planes)
    deep = image((7, 5, 3), "uint16")
    path = write(tmp_path / "a", deep, BitsStored=12)
    np.testing.assert_array_equal(only(path).pixels, (deep >> 4).transpose(2, 0, 1))
    path = write(tmp_path / "a", pixels, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_array_equal(only(path).pixels, pydicom_frames(path)[0])


def test_a_modality_table_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [4, 0, 16], "HU", [0, 100, 300, 1000]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    data = header(np.array([[0, 1], [2, 3]], np.uint16), RescaleSlope=None, RescaleIntercept=None)
    data.ModalityLUTSequence = Sequence([table])
    (tmp_path / "a").write_bytes(encoded(data))
    np.testing.assert_array_equal(only(tmp_path / "a").pixels[0], [[0, 100], [300, 1000]])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_frames_come_one_by_one(tmp_path: Path, syntax: str) -> None:
    pixels = image((3, 7, 5))
    have = frames(write(tmp_path / "a", pixels, syntax))
    assert [frame.number for frame in have] == [0, 1, 2]
    np.testing.assert_array_equal([frame.pixels[0] for frame in have], pixels - 1024)


def test_frames_have_their_own_place_scale_and_window(tmp_path: Path) -> None:
    """An enhanced CT: what the slices share and what each has stand in functional groups."""
    pixels = image((2, 7, 5))
    data = header(pixels, RescaleSlope=None, RescaleIntercept=None, PixelSpacing=None, WindowCenter=None)
    shared, own = Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([Dataset()]), Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.25]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for index in range(2):
        group = Dataset()
        group.PlanePositionSequence, group.FrameVOILUTSequence = Sequence([Dataset()]), Sequence([Dataset()])
        group.PixelValueTransformationSequence = Sequence([Dataset()])
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 5 * index]
        group.PixelValueTransformationSequence[0].RescaleSlope = index + 1
        group.PixelValueTransformationSequence[0].RescaleIntercept = -1000
        group.FrameVOILUTSequence[0].WindowCenter, group.FrameVOILUTSequence[0].WindowWidth = 30 + index, 90
        own.append(group)
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(own)
    (tmp_path / "a").write_bytes(encoded(data))
    first, second = frames(tmp_path / "a")
    np.testing.assert_array_equal(first.pixels[0], pixels[0] - 1000)
    np.testing.assert_array_equal(second.pixels[0], pixels[1] * 2 - 1000)
    assert (first.position, second.position) == (0, 5)
    assert (first.window, second.window) == ((30, 90), (31, 90))
    assert first.spacing_mm == second.spacing_mm == (0.5, 0.25)
    data.PerFrameFunctionalGroupsSequence = Sequence(own[:1])
    (tmp_path / "a").write_bytes(encoded(data))
    with pytest.raises(BadSource, match="describes fewer"):
        frames(tmp_path / "a")


# ---- what is wrong with a file ----


def set_short(data: bytes, tag: tuple[int, int], value: int) -> bytes:
    """Return the file with another 16-bit number in one of its top elements."""
    at = data.rindex(struct.pack("<HH", *tag) + b"US") + 8
    return data[:at] + struct.pack("<H", value) + data[at + 2 :]


def set_length(data: bytes, tag: tuple[int, int], length: int, at: int = 8) -> bytes:
    """Return the file with another 32-bit length of an element, which stands `at` bytes behind its beginning."""
    at += data.rindex(struct.pack("<HH", *tag))
    return data[:at] + struct.pack("<L", length) + data[at + 4 :]


RAW, ROWS, COLUMNS = encoded(header(image())), (0x28, 0x10), (0x28, 0x11)
RLE, J2K = encoded(header(image()), RLELossless), encoded(header(image((40, 33))), JPEG2000Lossless)
THREE = encoded(header(image((3, 7, 5))), RLELossless)
JPEG = (CORPUS / "SC_rgb_small_odd_jpeg.dcm").read_bytes()
PALETTE = (CORPUS / "examples_palette.dcm").read_bytes()
DEEP = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


def with_syntax(data: bytes, old: str, new: str) -> bytes:
    """Return the file claiming another transfer syntax."""
    before, after = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (old, new))
    assert data.count(struct.pack("<H", len(before)) + before) == 1
    return data.replace(struct.pack("<H", len(before)) + before, struct.pack("<H", len(after)) + after)


def with_tags(**tags: Any) -> bytes:
    return encoded(header(image(), **tags))


def rle_run_too_long() -> bytes:
    at = RLE.index(b"\xfe\xff\x00\xe0", RLE.index(b"\xfe\xff\x00\xe0") + 8) + 8 + 64  # the first control byte
    return RLE[:at] + bytes([129, 0, 129]) + RLE[at + 3 :]


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "preamble only": (RAW[:PREAMBLE], "cannot be read|ends before"),
    "cut in the meta information": (RAW[:170], "A DICOM"),
    "cut in the header": (RAW[: RAW.index(b"CT", 300)], "A DICOM|Elements"),
    "cut before the pixels": (RAW[: RAW.index(b"\xe0\x7f\x10\0")], "ends before them"),
    "cut in the pixels": (RAW[:-9], "fewer bytes"),
    "no pixels": (with_tags(PixelData=None), "never had them"),
    "pixels of no length": (with_tags(PixelData=b""), "fewer bytes"),
    "another byte in the pixels": (with_tags(PixelData=image().tobytes() + bytes(80)), "more bytes"),
    "rows too many": (set_short(RAW, ROWS, 8), "fewer bytes"),
    "rows too few": (set_short(RAW, ROWS, 6), "more bytes"),
    "columns too few": (set_short(RAW, COLUMNS, 4), "more bytes"),
    "no rows": (set_short(RAW, ROWS, 0), "values"),
    "rows absent": (with_tags(Rows=None), "no valid"),
    "gigantic": (set_short(set_short(RAW, ROWS, 65535), COLUMNS, 65535), "A frame has 1 to 67,108,864 values"),
    "gigantic in RLE": (set_short(set_short(RLE, ROWS, 8000), COLUMNS, 8000), "fewer bytes"),
    "gigantic in JPEG 2000": (set_short(set_short(J2K, ROWS, 8000), COLUMNS, 8000), "another size"),
    "a gigantic codestream": (
        J2K.replace(struct.pack(">LL", 33, 40), struct.pack(">LL", 60000, 60000), 1),
        "another size",
    ),
    "a codestream of more bits": (
        set_short(set_short(set_short(J2K, (0x28, 0x100), 8), (0x28, 0x101), 8), (0x28, 0x102), 7),
        "another size",
    ),
    "turned codestream": (set_short(set_short(J2K, ROWS, 33), COLUMNS, 40), "another size"),
    "two billion frames": (with_tags(NumberOfFrames=2000000000), "frames"),
    "no frames": (with_tags(NumberOfFrames=0), "frames"),
    "half a frame": (with_tags(NumberOfFrames=2), "fewer bytes"),
    "frames absent in RLE": (THREE.replace(b"IS\x02\x003 ", b"IS\x02\x004 "), "fewer frames"),
    "frames too many in RLE": (THREE.replace(b"IS\x02\x003 ", b"IS\x02\x002 "), "more frames"),
    "a gigantic element": (set_length(RAW, (0x7FE0, 0x10), 0xFFFFFFF0), "more bytes|fewer bytes"),
    "a gigantic text": (
        set_length(encoded(header(image()), ImplicitVRLittleEndian), (0x10, 0x20), 0xF0000000, at=4),
        "ends inside its header",
    ),
    "RLE cut": (RLE[:-20], "ends inside"),
    "RLE without an end": (RLE[:-8], "ends inside"),
    "RLE of a longer run": (rle_run_too_long(), "RLE Lossless that is damaged"),
    "RLE of zeros": (RLE[: RLE.index(b"\xfe\xff\x00\xe0") + 16] + bytes(400), "ends inside|RLE"),
    "JPEG 2000 cut": (J2K[:-60], "ends inside"),
    "JPEG 2000 without an end": (J2K.replace(b"\xff\xd9", b"\0\0"), "without an end"),
    "JPEG without an end": (JPEG.replace(b"\xff\xd9", b"\0\0"), "without an end"),
    "JPEG of another size": (set_short(JPEG, ROWS, 4), "another size"),
    "raw called RLE": (with_syntax(RAW, ExplicitVRLittleEndian, RLELossless), "they are not"),
    "RLE called raw": (with_syntax(RLE, RLELossless, ExplicitVRLittleEndian), "they are not"),
    "JPEG 2000 called RLE": (with_syntax(J2K, JPEG2000Lossless, RLELossless), "RLE"),
    "JPEG lossless": (with_syntax(J2K, JPEG2000Lossless, JPEGLosslessSV1), "JPEG Lossless.*Install pylibjpeg-libjpeg"),
    "JPEG-LS": (with_syntax(J2K, JPEG2000Lossless, JPEGLSLossless), "JPEG-LS.*Install pyjpegls"),
    "a film": (with_syntax(J2K, JPEG2000Lossless, MPEG2MPML), "MPEG2.*another tool"),
    "an unknown transfer syntax": (with_syntax(RAW, ExplicitVRLittleEndian, "1.2.3.4"), "does not list"),
    "a CT without units": (with_tags(RescaleSlope=None, RescaleIntercept=None), "has no RescaleSlope"),
    "half a scale": (with_tags(RescaleSlope=None), "slope"),
    "a slope of 0": (with_tags(RescaleSlope=0), "slope"),
    "a slope that is no number": (with_tags(RescaleSlope="11").replace(b"DS\x02\x0011", b"DS\x02\x00na"), "slope"),
    "a slope beyond float32": (with_tags(RescaleSlope="1e300"), "slope"),
    "a NaN": (with_tags(RescaleSlope="111").replace(b"DS\x04\x00111 ", b"DS\x04\x00 NaN"), "slope"),
    "one bit": (set_short(RAW, (0x28, 0x100), 1), "lower bits"),
    "more bits stored than there are": (set_short(RAW, (0x28, 0x101), 17), "lower bits"),
    "a high bit elsewhere": (set_short(RAW, (0x28, 0x102), 11), "lower bits"),
    "type absent": (with_tags(PixelRepresentation=None), "no valid"),
    "type unknown": (set_short(RAW, (0x28, 0x103), 7), "unknown type"),
    "two samples": (with_tags(SamplesPerPixel=2, PlanarConfiguration=0), "grey, RGB"),
    "an unknown colour": (with_tags(PhotometricInterpretation="CMYK"), "grey, RGB"),
    "no colour": (with_tags(PhotometricInterpretation=None), "grey, RGB"),
    "a palette without its colours": (with_tags(PhotometricInterpretation="PALETTE COLOR"), "palette"),
    "a palette cut short": (set_short(PALETTE, (0x28, 0x1101), 9999), "palette"),
    "float pixels": (RAW.replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x08\0OF"), "whole numbers"),
    "a sequence without an end": (RAW[:PREAMBLE] + RAW[PREAMBLE:].replace(b"\x08\0\x60\0", DEEP, 1), "A DICOM"),
    "nested without an end": (RAW.replace(b"\x08\0\x60\0CS", DEEP * 5000 + b"\x08\0\x60\0CS"), "A DICOM"),
    "a deflated file cut": (encoded(header(image()), DeflatedExplicitVRLittleEndian)[:-9], "huge|A DICOM"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_line(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data, message = DAMAGED[kind]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(BadSource, match=message) as caught:
        frames(tmp_path / "file")
    text = str(caught.value)
    assert "file 1 of 1" in text
    assert "\n" not in text
    assert not any(secret in text for secret in (str(tmp_path), *SECRETS.values()))
    assert capfd.readouterr() == ("", "")  # nor does a decoder print anything
    assert not caplog.records


def test_a_deflated_file_is_inflated_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1 << 16
    monkeypatch.setattr("synthcohort.dicom._header.MAX_INFLATED", limit)
    for zeros, fits in ((limit // 2, True), (limit, False)):
        data = header(image())
        data.private_block(0x0009, "ACME", create=True).add_new(1, "OB", bytes(zeros))
        (tmp_path / "file").write_bytes(encoded(data, DeflatedExplicitVRLittleEndian))
        assert (tmp_path / "file").stat().st_size < limit // 32
        assert (tried(tmp_path / "file")[0] == "") == fits


def test_what_is_no_image_is_told_apart_from_what_is_damaged(tmp_path: Path) -> None:
    report = header(image(), SOPClassUID=EncapsulatedPDFStorage)
    for name in ("PixelData", "Rows", "Columns"):
        del report[name]
    (tmp_path / "report").write_bytes(encoded(report))
    (tmp_path / "letter").write_bytes(b"Dear colleague, " * 40)
    report.SOPClassUID = "1.3.12.2.1107.5.9.1"  # a private kind
    report.EncapsulatedDocument = bytes(500)
    (tmp_path / "private").write_bytes(encoded(report))
    (tmp_path / "cut").write_bytes(encoded(report)[:-200])
    for name in ("report", "private"):
        with pytest.raises(NoPixels), open_dicom(tmp_path / name, "x"):
            pass
    with pytest.raises(BadSource, match="ends inside"), open_dicom(tmp_path / "cut", "x"):
        pass
    with pytest.raises(NotDicom), open_dicom(tmp_path / "letter", "x"):
        pass


def test_a_file_that_is_not_there_or_a_folder_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, Path("nul\0byte")):
        with pytest.raises(BadSource, match="x cannot be"), open_dicom(path, "x"):
            pass


def test_limits_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    import tracemalloc

    for kind in [kind for kind in DAMAGED if "gigantic" in kind or "billion" in kind]:
        (tmp_path / "file").write_bytes(DAMAGED[kind][0])
        tracemalloc.start()
        with pytest.raises(BadSource):
            frames(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20, kind
        tracemalloc.stop()


# ---- properties ----

MR = {"Modality": "MR", "RescaleSlope": "1.5", "RescaleIntercept": "-7"}
WHOLE = {
    "raw": encoded(header(image(), **MR)),
    "implicit": encoded(header(image(), **MR), ImplicitVRLittleEndian),
    "12 bits": encoded(header(image(dtype="uint16"), BitsStored=12, **MR)),
    "RLE frames": encoded(header(image((3, 7, 5)), **MR), RLELossless),
    "JPEG 2000": encoded(header(image((40, 33)), **MR), JPEG2000Lossless),
    "RGB": encoded(header(image((7, 5, 3), "uint8"), **MR)),
}
_CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(WHOLE)), changes=_CHANGES, kept=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_changed_bytes_give_one_line_or_the_pixels_that_pydicom_reads(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[PREAMBLE + int(place * (len(data) - PREAMBLE - 1))] = value
    path = tmp_path / "file"
    path.write_bytes(data[: round(kept * len(data))])
    error, have = tried(path)
    assert "\n" not in error
    assert not any(secret in error for secret in SECRETS.values())
    if error or b"MONOCHROME1" in data:
        return  # pydicom leaves it to the viewer to turn those over
    try:
        want = pydicom_frames(path)
    except (NotImplementedError, AttributeError, BytesLengthException):
        return  # of a type, a transfer syntax or a group's length that is amiss pydicom wants more than we need
    assert len(have) == len(want)
    for ours, theirs in zip(have, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)  # float32


@given(number=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_a_decimal_is_read_as_python_writes_it(
    number: float, width: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    centre, span = f"{number:.9g}", f"{width:.9g}"
    path = write(tmp_path_factory.getbasetemp() / "decimal", WindowCenter=centre, WindowWidth=span)
    assert only(path).window == (float(centre), float(span))


# ---- nobody is told ----


def test_no_identifier_is_said_logged_or_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Malformed elements are what pydicom quotes: each identifier is put where another type is expected."""
    caplog.set_level(logging.DEBUG)
    texts = []
    fields = ("Rows", "RescaleSlope", "PixelSpacing", "NumberOfFrames", "SOPClassUID", "WindowCenter", "BitsStored")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for secret in SECRETS.values():
            for field in fields:
                tags = {"NumberOfFrames": 1, **({field: [1.5, 2.5]} if field == "PixelSpacing" else {})}
                (tmp_path / "file").write_bytes(encoded(header(image(), **tags), texts={field: secret}))
                texts.append(tried(tmp_path / "file")[0])
    told = "\n".join([*texts, *capfd.readouterr(), caplog.text, *[str(each.message) for each in warned]])
    assert len(list(filter(None, texts))) > 20
    assert not [secret for secret in SECRETS.values() if secret in told]
