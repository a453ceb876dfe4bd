"""The header of a DICOM file as bytes: which elements there are, what they say, and where the pixel data begin.

pydicom cuts the file into elements; values are read here from their bytes, because pydicom's own conversion is slower,
repairs what is malformed, and quotes it in warnings. Only the elements of `_TAGS` are kept.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydicom.charset import python_encoding
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.uid import ExplicitVRLittleEndian as _ExplicitLittle

from ..errors import BadSource

FIX = "Replace it, or leave out what is damaged with --damaged skip"
MAX_INFLATED = 1 << 28
"""Bytes that a deflated file may take up; a few kilobytes can be made to grow a thousandfold."""

_META_CLASS, _META_SYNTAX = 0x00020002, 0x00020010
CHARSET, IMAGE_CLASS, INSTANCE, MODALITY = 0x00080005, 0x00080016, 0x00080018, 0x00080060
PATIENT, STUDY, SERIES, NUMBER = 0x00100020, 0x0020000D, 0x0020000E, 0x00200013
POSITION, ORIENTATION, SPACING, IMAGER_SPACING = 0x00200032, 0x00200037, 0x00280030, 0x00181164
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (
    0x00280002,
    0x00280004,
    0x00280006,
    0x00280008,
    0x00280010,
    0x00280011,
)
BITS, BITS_STORED, HIGH_BIT, SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
PADDING, PADDING_LIMIT, BURNED_IN = 0x00280120, 0x00280121, 0x00280301
CENTRE, WIDTH, INTERCEPT, SLOPE, MODALITY_LUT = 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00283000
_PALETTE = (*range(0x00281101, 0x00281104), *range(0x00281201, 0x00281204), *range(0x00281221, 0x00281224))
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
_FLOAT_PIXELS, _PIXELS = (0x7FE00008, 0x7FE00009), 0x7FE00010
_TAGS: list[Any] = [
    *(CHARSET, IMAGE_CLASS, INSTANCE, MODALITY, PATIENT, STUDY, SERIES, NUMBER),
    *(POSITION, ORIENTATION, SPACING, IMAGER_SPACING, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS),
    *(BITS, BITS_STORED, HIGH_BIT, SIGNED, PADDING, PADDING_LIMIT, BURNED_IN),
    *(CENTRE, WIDTH, INTERCEPT, SLOPE, MODALITY_LUT, SHARED_GROUPS, FRAME_GROUPS, *_PALETTE),
]
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEADLESS = re.compile(rb"[\x02\x08]\0.\0|\0\x08\0.", re.DOTALL)
"""How a file without preamble begins: an element of group 2 or 8, in either byte order."""
UNDEFINED = 0xFFFFFFFF
_TALKERS = [
    logging.getLogger(name)
    for name in (
        "pydicom",
        "pydicom.pixels.decoders.base",
        "pydicom.pixels.utils",
        "pylibjpeg",
        "pylibjpeg.utils",
        "openjpeg",
        "openjpeg.utils",
        "openjpeg._openjpeg",
    )
]


class NotDicom(BadSource):
    """The file is something else."""


class NoPixels(BadSource):
    """The file is DICOM, but a report, a plan or the like: no image."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep silent inside the block what pydicom and the decoders warn of and log: it may quote the header."""
    before = [logger.disabled for logger in _TALKERS]
    for logger in _TALKERS:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(_TALKERS, before, strict=True):
            logger.disabled = disabled


@contextlib.contextmanager
def foreign(name: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block on bytes of a file into one line; errors of ours pass.

    Raises:
        BadSource: Something was raised. The original, which may quote the file, is not kept as its cause.
    """
    try:
        with quiet():
            yield
    except (BadSource, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # no list of what parsers raise on such bytes; a panic of Rust is not even an Exception
        raise BadSource("A DICOM file must be readable", f"{name} {what}", FIX) from None


class Values:
    """The elements of a data set or of an item of a sequence.

    Args:
        elements: As pydicom cuts them.
        name: What messages call the file.
        little: Whether numbers are little endian.
    """

    def __init__(self, elements: Dataset, name: str, little: bool) -> None:
        self.elements, self.name = elements, name
        self._found = {int(element.tag): element for element in elements.elements()}
        self.order = "<" if little else ">"

    def bad(self, rule: str, what: str) -> BadSource:
        """Return the error that the file breaks a rule."""
        return BadSource(rule, f"{self.name} {what}", FIX)

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a value; none when it is absent.

        Raises:
            BadSource: The file ends inside it, or it is no plain value.
        """
        element = self._found.get(tag)
        value = b"" if element is None else element.value or b""
        if not isinstance(value, bytes):
            raise self.bad("Elements of a header have their type", "has one of another type")
        return value

    def text(self, tag: int) -> str:
        """Return a text without blanks around it, in the file's character set or, failing that, byte by byte."""
        value = self.raw(tag).strip(b"\0 \t\r\n")
        if value.isascii():
            return value.decode("ascii")
        names = [part.strip() for part in self.raw(CHARSET).decode("latin-1").split("\\")]
        encoding = next((python_encoding[name] for name in names if name in python_encoding), "utf-8")
        try:
            return value.decode(encoding)
        except (UnicodeError, LookupError):
            return value.decode("latin-1")  # bytes stay apart that a replacement character would merge

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return decimal numbers; NaN stands for what is none, and nothing for an empty value."""
        text = self.raw(tag).decode("latin-1").strip("\0 ")
        parts = [part.strip("\0 ") for part in text.split("\\")] if text else []
        return tuple([float(part) if _NUMBER.fullmatch(part) else float("nan") for part in parts])

    def short(self, tag: int, default: int | None = None) -> int:
        """Return an unsigned 16-bit number.

        Raises:
            BadSource: It has another length, or is absent and there is no default.
        """
        value = self.raw(tag)
        if not value and default is not None:
            return default
        if len(value) != 2:
            raise self.bad(
                "A header states size and type of its pixels", f"has no valid ({tag >> 16:04x},{tag & 65535:04x})"
            )
        return int(struct.unpack(f"{self.order}H", value)[0])

    def items(self, tag: int) -> list[Values]:
        """Return the items of a sequence; none when it is absent.

        Raises:
            BadSource: It cannot be read.
        """
        if tag not in self._found:
            return []
        with foreign(self.name, "has a damaged sequence"):
            return [Values(item, self.name, self.order == "<") for item in self.elements[tag].value or ()]


class _AtPixels:
    """Told of every element before its value is read: notes where the pixel data begin and stops there.

    An element that leads beyond the end of the file is refused before so much memory is asked for.
    """

    def __init__(self, handle: BinaryIO, name: str, size: int) -> None:
        self._handle, self._name, self._size = handle, name, size
        self.tag, self.vr, self.offset, self.length = 0, "", 0, 0

    def __call__(self, tag: Any, vr: str | None, length: int) -> bool:
        offset = self._handle.tell()
        if tag >> 16 == _PIXELS >> 16 and tag in (_PIXELS, *_FLOAT_PIXELS):
            self.tag, self.vr, self.offset, self.length = int(tag), vr or "", offset, length
            return True
        if length != UNDEFINED and offset + length > self._size:
            raise BadSource("A DICOM file is complete", f"{self._name} ends inside its header", FIX)
        return False


class Header(Values):
    """The header of a file.

    Attributes:
        syntax: Transfer syntax.
        handle: What the pixel data are read from.
        size: Bytes that it holds.
        offset: Where the value of the pixel data begins.
        length: How many bytes it has; None when it comes as items.
        vr: Its type, "" when it is implicit.
    """

    def __init__(self, elements: Dataset, name: str, syntax: UID, at: _AtPixels, handle: BinaryIO, size: int) -> None:
        super().__init__(elements, name, syntax != ExplicitVRBigEndian)
        self.syntax, self.handle, self.size = syntax, handle, size
        self.offset, self.vr = at.offset, at.vr
        self.length = None if at.length == UNDEFINED else at.length


def read_header(handle: BinaryIO, name: str) -> Header:
    """Return the header of an open file.

    Args:
        handle: The file, at its start.
        name: What messages call it.

    Raises:
        NotDicom: It is no DICOM file.
        NoPixels: It holds no image.
        BadSource: It is damaged, or its pixel data are missing.
    """
    with foreign(name, "cannot be read"):
        size = os.fstat(handle.fileno()).st_size
        _skip_preamble(handle, name, size)
        not_meta = lambda tag, vr, length: tag >> 16 != 2  # noqa: E731
        meta = Values(read_dataset(handle, False, True, stop_when=not_meta), name, True)
        syntax = UID(meta.text(_META_SYNTAX), IGNORE) if _META_SYNTAX in meta.elements else _guess(handle)
        if syntax == DeflatedExplicitVRLittleEndian:
            handle, size = _inflate(handle, name)
        at = _AtPixels(handle, name, size)
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        elements = read_dataset(handle, implicit, little, stop_when=at, specific_tags=_TAGS)
        header = Header(elements, name, syntax, at, handle, size)
        if at.tag != _PIXELS:
            raise _without_pixels(header, meta.text(_META_CLASS), at.tag)
    return header


def _skip_preamble(handle: BinaryIO, name: str, size: int) -> None:
    start = handle.read(132)
    if start[128:] == b"DICM":
        return
    if not size:
        raise BadSource("A DICOM file holds data", f"{name} is empty", FIX)
    if not _HEADLESS.match(start):
        raise NotDicom("Files of the folder are DICOM", f"{name} is not", "Move it elsewhere")
    handle.seek(0)


def _guess(handle: BinaryIO) -> UID:
    """Return the transfer syntax of a file that states none, from its first element."""
    start = handle.read(6)
    handle.seek(-len(start), os.SEEK_CUR)
    if not start[4:6].isalpha():
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if start[:1] == b"\0" else _ExplicitLittle


def _inflate(handle: BinaryIO, name: str) -> tuple[BinaryIO, int]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(handle.read(MAX_INFLATED), MAX_INFLATED)
    if not inflater.eof:
        raise BadSource("A deflated DICOM file is complete, and not huge", f"{name} is not so", FIX)
    return io.BytesIO(data), len(data)


def _without_pixels(header: Header, meta_class: str, tag: int) -> BadSource:
    """Return the error for a file that has no pixel data: damage if it should have them."""
    if tag in _FLOAT_PIXELS:
        return header.bad("Pixels are whole numbers", "has others")
    kind = UID(header.text(IMAGE_CLASS) or meta_class, IGNORE)
    if not kind or ROWS in header.elements or "Image" in kind.name:
        return header.bad("A DICOM image has pixel data", "ends before them or never had them")
    return NoPixels("A DICOM image has pixel data", f"{header.name} is no image", "Move it elsewhere")
