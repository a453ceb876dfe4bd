"""DICOM files as the RSNA set has them: explicit little endian, and identifiers that are no UIDs.

pydicom refuses to write the set's identifiers (`ID_...` is not a valid UID) and takes longer for a file than drawing
it, so the few elements are encoded here. Readers are tested against what this writes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..types import Array

_LONG = ("OB", "OW")
"""Kinds of values whose length takes four bytes."""
_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_WRITER = "2.25.212104836720913547280310915548113426517"

Values = str | float | int | bytes | Sequence[str] | Sequence[float]


def dicom(elements: dict[tuple[int, int], tuple[str, Values]], image_id: str, pixels: Array) -> bytes:
    """Return a file.

    Args:
        elements: (group, element) -> (kind of value, value), without the pixels.
        image_id: What the file's own header calls the image.
        pixels: (H, W) 16-bit integers.
    """
    about = _element((2, 1), "OB", b"\0\1")
    for number, value in ((2, _CT_IMAGE_STORAGE), (3, image_id), (16, _EXPLICIT_LITTLE_ENDIAN), (18, _WRITER)):
        about += _element((2, number), "UI", value)
    body = b"".join(_element(tag, kind, value) for tag, (kind, value) in sorted(elements.items()))
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    length = _element((2, 0), "UL", len(about))
    return b"\0" * 128 + b"DICM" + length + about + body + _element((0x7FE0, 0x10), "OW", raw)


def _element(tag: tuple[int, int], kind: str, value: Values) -> bytes:
    data = _encoded(kind, value)
    head = struct.pack("<HH", *tag) + kind.encode()
    return head + (struct.pack("<HI", 0, len(data)) if kind in _LONG else struct.pack("<H", len(data))) + data


def _encoded(kind: str, value: Values) -> bytes:
    if isinstance(value, bytes):
        return value
    if kind in ("US", "UL"):
        return struct.pack("<H" if kind == "US" else "<I", value)
    several = [value] if isinstance(value, str | float | int) else value
    text = "\\".join(one if isinstance(one, str) else f"{one:.6f}" for one in several).encode("ascii")
    # Values have an even length: identifiers are filled with a zero, text with a space.
    return text + (b"\0" if kind == "UI" else b" ") * (len(text) % 2)
