"""Pixel data of a DICOM file as stored values: the bytes are checked against the header before anything is decoded.

Checks come first because decoders trust what they are given: a header can state a size that fits no memory, a
compressed picture can have another size than its header, and data that are cut short would be filled up with zeros.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import AllTransferSyntaxes, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, RLELossless

from .._files import muted
from ..errors import BadSource
from ..types import Array
from . import _tags
from ._elements import foreign, quiet
from ._header import Header

MAX_PIXELS = 1 << 26
"""Values of a frame, 8192 x 8192: more than any detector has."""
MAX_FRAMES = 1 << 16
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ITEM, _DELIMITER = 0xFFFEE000, 0xFFFEE0DD
_RLE_GROWTH = 64
"""Two bytes of a run become at most 128."""
_INSTALL = {"JPEG-LS": "pyjpegls", "JPEG": "pylibjpeg-libjpeg", "High-Throughput JPEG 2000": "pylibjpeg-openjpeg"}
_RULE = "Pixel data fit their header"


@dataclass(frozen=True)
class Layout:
    """Size and type of the pixels as the header states them.

    Attributes:
        bits: Bits that a value takes up: 8, 16 or 32.
        stored: How many of them, from the lowest, belong to the value.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits: int
    stored: int
    signed: bool
    frames: int

    @property
    def limits(self) -> tuple[int, int]:
        """Return the lowest and the highest value that can be stored."""
        return (-(1 << self.stored - 1), (1 << self.stored - 1) - 1) if self.signed else (0, (1 << self.stored) - 1)


def read_layout(header: Header) -> Layout:
    """Return size and type of the pixels.

    Raises:
        BadSource: They are not stated, contradict each other, or are beyond every limit.
    """
    samples, photometric = header.short(_tags.SAMPLES), header.text(_tags.PHOTOMETRIC)
    bits, stored = header.short(_tags.BITS), header.short(_tags.BITS_STORED)
    signed = header.short(_tags.SIGNED)
    layout = Layout(
        rows=header.short(_tags.ROWS),
        columns=header.short(_tags.COLUMNS),
        samples=samples,
        photometric=photometric,
        planar=header.short(_tags.PLANAR, None if samples > 1 else 0),
        bits=bits,
        stored=stored,
        signed=bool(signed),
        frames=_frames(header),
    )
    if not 0 < layout.rows * layout.columns * samples <= MAX_PIXELS:
        raise header.bad(f"A frame has 1 to {MAX_PIXELS:,} values", "states another size")
    if samples != (3 if photometric in _COLOUR else 1) or photometric not in (*_MONOCHROME, *_COLOUR, "PALETTE COLOR"):
        raise header.bad("Pixels are grey, RGB, YBR or of a palette", "states something else")
    if bits not in (8, 16, 32) or not 0 < stored <= bits or header.short(_tags.HIGH_BIT, stored - 1) != stored - 1:
        raise header.bad("Pixels are the lower bits of 8, 16 or 32", "states something else")
    if signed > 1 or layout.planar > 1:
        raise header.bad("A header states size and type of its pixels", "has an unknown type")
    return layout


def _frames(header: Header) -> int:
    numbers = header.numbers(_tags.FRAMES) or (1.0,)
    if len(numbers) != 1 or not numbers[0].is_integer() or not 1 <= numbers[0] <= MAX_FRAMES:
        raise header.bad(f"A file has 1 to {MAX_FRAMES:,} frames", "states another number")
    return int(numbers[0])


def read_stored(header: Header, layout: Layout) -> Iterator[Array]:
    """Yield the stored values of each frame as pydicom decodes them, in native byte order or not.

    (rows, columns), or (rows, columns, 3) RGB. Bits beyond `layout.stored` are what the file has there, unless a
    decoder of the JPEG family has none.

    Raises:
        BadSource: There is no decoder, or the data are damaged, cut short or do not fit the header.
    """
    decoder = _decoder(header)
    fixed: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.bits,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "raw": layout.samples == 1,
    }
    if header.syntax not in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes):
        fixed["correct_unused_bits"] = False
    if not header.syntax.is_encapsulated:
        _check_native(header, layout)
        fixed |= {"view_only": True, "number_of_frames": layout.frames, "pixel_vr": header.vr}
        for index in range(layout.frames):
            with foreign(header.name, "has damaged pixel data"):
                header.handle.seek(header.offset)
                pixels = decoder.as_array(header.handle, index=index, **fixed)[0]
            yield pixels
        return
    fixed["number_of_frames"] = 1
    for frame in _encoded(header, layout):
        _check_encoded(header, layout, frame)
        with foreign(header.name, f"has {header.syntax.name} that is damaged or of a rare kind"), muted():
            pixels = decoder.as_array(encapsulate([frame], has_bot=False), index=0, **fixed)[0]
        yield pixels


def _decoder(header: Header) -> Decoder:
    name = header.syntax.name if header.syntax in AllTransferSyntaxes else "one that DICOM does not list"
    with quiet(), contextlib.suppress(NotImplementedError):
        decoder = get_decoder(header.syntax)
        if decoder.is_available:
            return decoder
    package = next((package for start, package in _INSTALL.items() if name.startswith(start)), "")
    fix = f"Install {package}" if package else "Convert it with another tool"
    raise BadSource("The transfer syntax of an image can be read", f"{header.name} has {name}", fix)


def _check_native(header: Header, layout: Layout) -> None:
    """Raise unless the pixel data are there and as long as the header's numbers ask for."""
    if header.length is None:
        raise header.bad(_RULE, "says that they are uncompressed, and they are not")
    row = layout.columns * layout.samples * layout.bits // 8
    if layout.photometric == "YBR_FULL_422":
        row = row // 3 * 2
    wanted = row * layout.rows * layout.frames
    if min(header.length, header.size - header.offset) < wanted:
        raise header.bad("Pixel data are complete", "has fewer bytes than its size asks for")
    # A few bytes after the last pixel are padding; as much as a row or a column means that the size is wrong.
    if header.length - wanted >= max(2, min(row, row // layout.columns * layout.rows)):
        raise header.bad(_RULE, "has more bytes than its size asks for")


def _encoded(header: Header, layout: Layout) -> Iterator[bytes]:
    """Yield the compressed bytes of each frame."""
    if header.length is not None:
        raise header.bad(_RULE, "says that they are compressed, and they are not")
    with foreign(header.name, "has damaged pixel data"):
        _check_items(header)
        header.handle.seek(header.offset)
        frames = generate_frames(header.handle, number_of_frames=layout.frames)
    for _ in range(layout.frames):
        with foreign(header.name, "has fewer frames than it states"):
            frame = next(frames)
        yield frame
    with foreign(header.name, "has damaged pixel data"):
        if next(frames, None) is not None:
            raise header.bad(_RULE, "has more frames than it states")


def _check_items(header: Header) -> None:
    """Raise unless every item lies in the file and the end is marked."""
    place, tag = header.offset, _ITEM
    while tag == _ITEM:
        header.handle.seek(place)
        start = header.handle.read(8)
        if len(start) < 8:
            break
        group, element, length = struct.unpack("<HHL", start)
        tag, place = group << 16 | element, place + 8 + length
    if tag != _DELIMITER or place > header.size:
        raise header.bad("Pixel data are complete", "ends inside them")


def _check_encoded(header: Header, layout: Layout, frame: bytes) -> None:
    """Raise unless a compressed frame is complete and has the size that the header states."""
    if header.syntax == RLELossless:
        if len(frame) * _RLE_GROWTH < layout.rows * layout.columns * layout.samples * layout.bits // 8:
            raise header.bad("Pixel data are complete", "has fewer bytes than its size asks for")
        return
    if not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):  # the mark that ends a picture of the JPEG family
        raise header.bad("Pixel data are complete", "has a compressed picture without an end")
    *size, bits = _j2k_size(frame) if header.syntax in JPEG2000TransferSyntaxes else _jpeg_size(frame)
    if size != [layout.rows, layout.columns, layout.samples] or bits > layout.bits:
        raise header.bad(_RULE, "states another size than its compressed picture")


def _j2k_size(frame: bytes) -> tuple[int, int, int, int]:
    """Return rows, columns, components and bits of a JPEG 2000 codestream, bare or in a JP2 file; 0 if damaged."""
    start = frame.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(frame) < start + 43:
        return 0, 0, 0, 0
    right, bottom, left, top = struct.unpack(">4L", frame[start + 8 : start + 24])
    components, bits = struct.unpack(">HB", frame[start + 40 : start + 43])
    return bottom - top, right - left, components, (bits & 0x7F) + 1


def _jpeg_size(frame: bytes) -> tuple[int, int, int, int]:
    """Return rows, columns, components and bits of a JPEG or JPEG-LS picture; 0 if damaged."""
    place = 2
    while frame[place : place + 1] == b"\xff" and len(frame) >= place + 10:
        marker, length, bits, rows, columns, components = struct.unpack(">xBHBHHB", frame[place : place + 10])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return rows, columns, components, bits
        place += 1 if marker == 0xFF else 2 + length  # a marker may be filled up before
    return 0, 0, 0, 0
