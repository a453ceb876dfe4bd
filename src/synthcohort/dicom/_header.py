"""Where the pixel data of a DICOM file begin, and what stands before them."""

from __future__ import annotations

import io
import os
import re
import zlib
from typing import Any, BinaryIO

from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.uid import ExplicitVRLittleEndian as _ExplicitLittle

from ..errors import BadSource
from . import _tags
from ._elements import FIX, Values, foreign

MAX_INFLATED = 1 << 28
"""Bytes that a deflated file may take up; a few kilobytes can be made to grow a thousandfold."""
_HEADLESS = re.compile(rb"[\x02\x08]\0.\0|\0\x08\0.", re.DOTALL)
"""How a file without preamble begins: an element of group 2 or 8, in either byte order."""
_UNDEFINED = 0xFFFFFFFF
_READ: list[Any] = list(_tags.READ)


class NotDicom(BadSource):
    """The file is something else."""


class NoPixels(BadSource):
    """The file is DICOM, but a report, a plan or the like: no image."""


class _AtPixels:
    """Told of every element before its value is read: notes where the pixel data begin and stops there.

    An element that leads beyond the end of the file is refused before so much memory is asked for.
    """

    def __init__(self, handle: BinaryIO, name: str, size: int) -> None:
        self._handle, self._name, self._size = handle, name, size
        self.tag, self.vr, self.offset, self.length = 0, "", 0, 0

    def __call__(self, tag: Any, vr: str | None, length: int) -> bool:
        offset = self._handle.tell()
        if tag >> 16 == _tags.PIXELS >> 16 and tag in (_tags.PIXELS, *_tags.FLOAT_PIXELS):
            self.tag, self.vr, self.offset, self.length = int(tag), vr or "", offset, length
            return True
        if length != _UNDEFINED and offset + length > self._size:
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
        self.length = None if at.length == _UNDEFINED else at.length


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

        def behind_meta(tag: Any, vr: str | None, length: int) -> bool:
            return bool(tag >> 16 != 2 or handle.tell() + length > size)

        meta = Values(read_dataset(handle, False, True, stop_when=behind_meta), name, True)
        syntax = UID(meta.text(_tags.META_SYNTAX), IGNORE) if _tags.META_SYNTAX in meta.elements else _guess(handle)
        if syntax == DeflatedExplicitVRLittleEndian:
            handle, size = _inflate(handle, name)
        at = _AtPixels(handle, name, size)
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        elements = read_dataset(handle, implicit, little, stop_when=at, specific_tags=_READ)
        header = Header(elements, name, syntax, at, handle, size)
        if at.tag != _tags.PIXELS:
            raise _without_pixels(header, meta.text(_tags.META_CLASS), at.tag)
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
    if tag in _tags.FLOAT_PIXELS:
        return header.bad("Pixels are whole numbers", "has others")
    kind = UID(header.text(_tags.IMAGE_CLASS) or meta_class, IGNORE)
    if not kind or _tags.ROWS in header.elements or "Image" in kind.name:
        return header.bad("A DICOM image has pixel data", "ends before them or never had them")
    return NoPixels("A DICOM image has pixel data", f"{header.name} is no image", "Move it elsewhere")
