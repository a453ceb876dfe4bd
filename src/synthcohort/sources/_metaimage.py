"""MetaImage volumes: a text header (.mhd, or in front of the values in .mha) and raw or zlib-compressed values.

Keys as ITK's MetaIO reads them; the first number of DimSize is x, and x runs fastest. What cannot be read with
certainty is refused in one line: a length that differs from the header's, an unknown type, values in several files.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._files import regular
from ..errors import BadSource
from ..types import Array
from ._table import AGAIN, inside

MAX_BYTES = 2**30
"""Of the values of one volume; 512x512x2000 of 16 bits."""
_HEADER_BYTES = 2**16
_CHUNK = 2**20
_DEFLATE_RATIO = 1032
"""No byte of a deflate stream stands for more."""
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_SYNONYMS = {
    "Position": "Offset",
    "Origin": "Offset",
    "Orientation": "TransformMatrix",
    "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class MetaImage:
    """What a header says.

    Attributes:
        name: What messages call the file.
        data: The file with the values.
        start: Where in it they begin; None for the end of the file less their length.
        shape: (z, y, x).
        dtype: Of the values as they are stored.
        compressed: Whether they are a zlib stream.
        spacing_mm: (x, y, z), positive.
        axes: (3, 3) float64; row i is the direction in which index i (x, y, z) grows, towards the patient's left, back
            and head; a negative spacing is a reversed direction. Of length 1 only where the header keeps to the format.
        origin_mm: (x, y, z) of the first voxel.
    """

    name: str
    data: Path
    start: int | None
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    compressed: bool
    spacing_mm: tuple[float, float, float]
    axes: Array
    origin_mm: tuple[float, float, float]

    def values(self) -> Array:
        """Return (z, y, x) values of the stored type, as a memory map where they are not compressed.

        Raises:
            BadSource: The file with the values is absent, damaged, or longer or shorter than the header says.
        """
        count = math.prod(self.shape)
        length = count * self.dtype.itemsize
        try:
            have = regular(self.data).stat().st_size
            start = have - length if self.start is None else self.start
            if self.compressed:
                values = np.frombuffer(_inflate(self.data, start, have, length), self.dtype)
            elif start >= 0 and have - start == length:
                values = np.memmap(self.data, self.dtype, "r", start, (count,))
            else:
                values = np.empty(0, self.dtype)
        except (OSError, ValueError, zlib.error) as error:
            raise BadSource("A header's values can be read", f"those of {self.name} cannot", AGAIN) from error
        if len(values) != count:
            rule = "A volume has as many values as its header says"
            raise BadSource(rule, f"the file of {self.name} is longer or shorter", AGAIN)
        return values.reshape(self.shape)


def read_header(path: Path, name: str) -> MetaImage:
    """Return the header of a MetaImage file; the values are not looked at.

    Args:
        path: The .mhd or .mha file.
        name: What messages call it.

    Raises:
        BadSource: It is absent or no MetaImage header, or states what this reader does not read.
    """
    text, end = _text(path, name)
    keys = _keys(text, name)
    dims = _dims(keys, name)
    spacing = _floats(keys, "ElementSpacing" if "ElementSpacing" in keys else "ElementSize", dims, name) or [1.0] * dims
    if 0 in spacing:
        raise _bad("spacing is not zero", name, "states 0")
    spacing += [1.0] * (3 - dims)
    data, start = _place(keys, path, end, name)
    return MetaImage(
        name=name,
        data=data,
        start=start,
        shape=_shape(keys, dims, name),
        dtype=_dtype(keys, name),
        compressed=_flag(keys, "CompressedData", name),
        spacing_mm=(abs(spacing[0]), abs(spacing[1]), abs(spacing[2])),
        axes=_axes(keys, dims, name) * np.sign(spacing)[:, None],
        origin_mm=_triple(_floats(keys, "Offset", dims, name) or []),
    )


def _text(path: Path, name: str) -> tuple[str, int]:
    """Return the lines up to ElementDataFile, and where the file goes on after them."""
    try:
        with regular(path).open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise BadSource("Every volume has a readable header", name, AGAIN) from error
    match = re.search(rb"(?:\A|\n)ElementDataFile *=[^\n]*(?:\n|\Z)", head)
    try:
        text = head[: match.end()].decode() if match else ""
    except UnicodeDecodeError:
        text = ""
    if match is None or not text or "\0" in text:
        raise _bad("is plain text that ends with ElementDataFile", name, "is not")
    return text, match.end()


def _keys(text: str, name: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    for line in text.replace("\r", "").split("\n"):
        key, sign, value = (part.strip() for part in line.partition("="))
        key = _SYNONYMS.get(key, key)
        if not line.strip():
            continue
        if not sign or not key:
            raise _bad("has lines 'key = value'", name, "has another")
        if keys.setdefault(key, value) != value:
            raise _bad("states a key once", name, "repeats one")
    return keys


def _dims(keys: Mapping[str, str], name: str) -> int:
    if keys.get("ObjectType", "Image") != "Image" or not _flag(keys, "BinaryData", name, default="True"):
        raise _bad("describes a binary image", name, "describes something else")
    if keys.get("ElementNumberOfChannels", "1") != "1":
        raise _bad("describes one channel", name, "has several")
    if keys.get("NDims") not in ("2", "3"):
        raise _bad("states NDims = 2 or 3", name, "does not")
    return int(keys["NDims"])


def _shape(keys: Mapping[str, str], dims: int, name: str) -> tuple[int, int, int]:
    parts = keys.get("DimSize", "").split()
    if len(parts) != dims or not all(_WHOLE.fullmatch(part) and int(part) for part in parts):
        raise _bad(f"states DimSize as {dims} whole numbers from 1", name, "does not")
    x, y, z = (*map(int, parts), 1)[:3]
    if x * y * z * _dtype(keys, name).itemsize > MAX_BYTES:
        raise _bad(f"describes at most {MAX_BYTES // 2**20} MiB", name, "describes more")
    return z, y, x


def _dtype(keys: Mapping[str, str], name: str) -> np.dtype[np.generic]:
    if keys.get("ElementType") not in _TYPES:
        raise _bad("states an ElementType of one number", name, "states another or none")
    order = ">" if _flag(keys, "BinaryDataByteOrderMSB", name) else "<"
    return np.dtype(order + _TYPES[keys["ElementType"]])


def _flag(keys: Mapping[str, str], key: str, name: str, default: str = "False") -> bool:
    value = keys.get(key, default)
    if value not in ("True", "False", "true", "false", "1", "0"):
        raise _bad(f"states {key} as True or False", name, "does not")
    return value in ("True", "true", "1")


def _floats(keys: Mapping[str, str], key: str, count: int, name: str) -> list[float]:
    """Return the numbers of a key, or none where it is absent."""
    parts = keys.get(key, "").split()
    if key in keys and (len(parts) != count or not all(map(_NUMBER.fullmatch, parts))):
        raise _bad(f"states {key} as {count} numbers", name, "does not")
    values = [float(part) for part in parts]
    if not all(map(math.isfinite, values)):
        raise _bad(f"states {key} in finite numbers", name, "does not")
    return values


def _triple(values: list[float]) -> tuple[float, float, float]:
    x, y, z = (*values, 0.0, 0.0, 0.0)[:3]
    return x, y, z


def _axes(keys: Mapping[str, str], dims: int, name: str) -> Array:
    axes = np.eye(3)
    if matrix := _floats(keys, "TransformMatrix", dims * dims, name):
        axes[:dims, :dims] = np.reshape(matrix, (dims, dims))
    # Compared row by row: headers are found that scale the rows by the spacing, so the determinant may be tiny.
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not lengths.all() or abs(np.linalg.det(axes / lengths)) < 1e-3:
        raise _bad("has a TransformMatrix of three directions", name, "has another")
    return axes


def _place(keys: Mapping[str, str], path: Path, end: int, name: str) -> tuple[Path, int | None]:
    """Return the file with the values and where in it they begin."""
    file, skip = keys["ElementDataFile"], keys.get("HeaderSize", "0")
    if not file or file.split()[0] == "LIST" or "%" in file:
        raise _bad("names one file of values", name, "names none or several")
    if not _WHOLE.fullmatch(skip) and skip != "-1":
        raise _bad("states HeaderSize as -1 or a whole number", name, "does not")
    local = file in ("LOCAL", "Local", "local")
    start = None if skip == "-1" else int(skip) or (end if local else 0)
    return (path if local else inside(path.parent, file, f"ElementDataFile in {name}", AGAIN)), start


def _inflate(path: Path, start: int, end: int, length: int) -> bytearray:
    """Return at most length + 1 bytes of a stream, one more telling that there are too many."""
    result = bytearray()
    if (end - start) * _DEFLATE_RATIO < length:  # not worth a look
        return result
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: a gzip header is taken, too
    with path.open("rb") as file:
        file.seek(start)
        while not stream.eof and len(result) <= length and (chunk := stream.unconsumed_tail or file.read(_CHUNK)):
            result += stream.decompress(chunk, length + 1 - len(result))
        whole = stream.eof and not stream.unused_data and not file.read(1)
    return result if whole else bytearray()


def _bad(rule: str, name: str, offence: str) -> BadSource:
    return BadSource(f"A MetaImage header {rule}", f"{name} {offence}", AGAIN)
