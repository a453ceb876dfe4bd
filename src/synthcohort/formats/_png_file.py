"""PNG files, encoded here: Pillow cannot write 16-bit RGB, and is slower.

Each row is stored as its difference from the row above and packed by run lengths and Huffman codes. On hearts and chest
radiographs of 128 to 512 pixels that took a quarter to two fifths of the time of Pillow's compress_level=1, for 10 %
fewer to 3 % more bytes, and a fifth to a fifteenth of that of level 6, for 5 to 17 % more
(benchmark/results/export_formats.jsonl).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

from ..types import Array

_GREY, _RGB = 0, 2
_UP = 2


def png_file(pixels: Array, texts: Mapping[str, str]) -> bytes:
    """Return a picture as a PNG file with text chunks, the same bytes for the same pixels and texts.

    Args:
        pixels: (H, W) or (1 or 3, H, W) uint8 or uint16.
        texts: Keyword -> text; what is not Latin-1 becomes "?".
    """
    planes = pixels[None] if pixels.ndim == 2 else pixels
    channels, height, width = planes.shape
    bits = 8 * planes.dtype.itemsize
    head = struct.pack(">IIBBBBB", width, height, bits, _RGB if channels == 3 else _GREY, 0, 0, 0)
    said = [_chunk(b"tEXt", _latin(key) + b"\0" + _latin(text)) for key, text in texts.items()]
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", head), *said, _chunk(b"IDAT", _packed(planes)), _chunk(b"IEND", b"")]
    )


def _packed(planes: Array) -> bytes:
    height = planes.shape[1]
    big_endian = planes.dtype.newbyteorder(">")
    rows = np.ascontiguousarray(planes.transpose(1, 2, 0), dtype=big_endian).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    return packer.compress(filtered.data) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _latin(text: str) -> bytes:
    return text.encode("latin-1", errors="replace")
