"""What a file holds, whatever its kind: texts, bytes and pictures, one at a time, compressed ones unpacked.

The kind is told from the first bytes, not from the name. Pixels are never read as text: dark ones look like digits.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from ._pieces import (
    BLOCK,
    COLUMN_NAME,
    MAX_UNPACKED,
    Allowance,
    Piece,
    TooMuch,
    by_runs,
    octets,
    overlapping,
    whole,
)
from ._pixel_contents import nifti, npy, picture

_NO_TRACES = {"seed", "published", "datePublished", "contentSize"}
"""Keys of numbers and dates that the person who exports chose, or that say how large a file is."""
_LONGEST_LINE = 1 << 20
_ROWS = 256  # of a table, held at a time; a row may hold a picture
_LONGEST_PLACE = 80
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_FORWARD = {"text", "nifti", "npy", "bytes", "gzip"}
"""Kinds that are read front to back."""
_IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"II*\0": "tiff", b"MM\0*": "tiff"}
_MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PAR1": "parquet", b"\x93NUMPY": "npy"}


def pieces(stream: BinaryIO, name: str = "") -> Iterator[Piece]:
    """Yield what a file holds; one that unpacks to far more than it is, not to its end, which the last piece says.

    Args:
        stream: The file, open for reading bytes and at its beginning.
        name: Its name; only its ending is looked at, where the content does not tell.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    try:
        yield from _pieces(stream, name, Allowance(size))
    except TooMuch:
        yield Piece("its content", wrong="unpacks to far more than the file is, and was not read to its end")


def _pieces(stream: BinaryIO, name: str, left: Allowance) -> Iterator[Piece]:
    kind = _kind_of(stream, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from _READERS[kind](stream) if kind in _READERS else _UNPACKING[kind](stream, left)
    except TooMuch:
        raise
    except Exception:  # there is no list of what parsers raise on bytes that someone made
        yield Piece(kind, wrong=f"cannot be read as {kind}, so that nothing is known of it")


def _kind_of(stream: BinaryIO, name: str = "") -> str:
    head = stream.read(400)
    stream.seek(0)
    return _kind(head, name)


def _kind(head: bytes, name: str) -> str:
    if head[128:132] == b"DICM" or name.lower().endswith(".dcm"):
        return "dicom"
    if head[344:347] in (b"n+1", b"ni1") or head[4:8] == b"n+2\0":
        return "nifti"
    for magic, kind in {**_IMAGES, **_MAGIC}.items():
        if head.startswith(magic):
            return "picture" if magic in _IMAGES else kind
    ending = name.lower().rpartition(".")[2]
    if ending in ("json", "jsonl", "csv", "tsv"):
        return ending
    return "bytes" if b"\0" in head or not _is_text(head) else "text"


def _is_text(head: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        head[: len(head) - 4].decode("utf-8")  # a character may be cut
        return True
    return False


def _text(stream: BinaryIO) -> Iterator[Piece]:
    lines = io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
    for number, line in enumerate(iter(lambda: lines.readline(_LONGEST_LINE), ""), 1):
        yield Piece(f"line {number}", line)


def _json(stream: BinaryIO) -> Iterator[Piece]:
    yield from _values(json.loads(whole(stream)), "")


def _json_lines(stream: BinaryIO) -> Iterator[Piece]:
    for number, line in enumerate(stream, 1):
        yield from (Piece(f"line {number}", piece.text) for piece in _values(json.loads(line), ""))


def _values(value: Any, key: str) -> Iterator[Piece]:
    """Yield keys, texts and whole numbers, in the place of their topmost key."""
    if isinstance(value, dict):
        for name, item in value.items():
            place = key or (name if re.fullmatch(r"[a-zA-Z_@:]{1,30}", name) else "a key")
            yield Piece(place, name)
            yield from () if name in _NO_TRACES else _values(item, place)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield Piece(key, str(value))


def _table(delimiter: str) -> Callable[[BinaryIO], Iterator[Piece]]:
    def read(stream: BinaryIO) -> Iterator[Piece]:
        rows = csv.reader(io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline=""), delimiter=delimiter)
        for name in next(rows, []):
            yield Piece(COLUMN_NAME, name)
        for number, row in enumerate(rows, 2):
            yield from (Piece(f"row {number}, column {column}", cell) for column, cell in enumerate(row, 1))

    return read


def _parquet(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    file = pq.ParquetFile(stream)
    for key, said in (file.schema_arrow.metadata or {}).items():
        yield Piece("metadata", f"{key.decode(errors='replace')} {said.decode(errors='replace')}")
    for name in file.schema_arrow.names:
        yield Piece(COLUMN_NAME, name)
    for batch in file.iter_batches(batch_size=_ROWS):
        left.spend(batch.nbytes)
        for number, column in enumerate(batch.columns, 1):
            texts = set()
            for value in _flat(column.to_pylist()):
                if isinstance(value, bytes):
                    yield from (_within(f"column {number}", piece) for piece in _packed(value, left))
                elif not isinstance(value, float) or value.is_integer():
                    texts.add(f"{value:.0f}" if isinstance(value, float) else str(value))
            yield Piece(f"column {number}", "\n".join(texts))


def _flat(value: Any) -> Iterator[Any]:
    """Yield the values inside lists and structures."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _flat(item)
    elif value is not None:
        yield value


def _within(place: str, piece: Piece) -> Piece:
    inner = piece.place if len(piece.place) < _LONGEST_PLACE else f"...{piece.place[-_LONGEST_PLACE // 2 :]}"
    return replace(piece, place=f"{place}, {inner}")


def _packed(data: bytes, left: Allowance) -> Iterator[Piece]:
    yield Piece("bytes", data=memoryview(data))
    yield from _inner(io.BytesIO(data), left)


def _inner(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    if _kind_of(stream) in ("gzip", "zip"):
        left.enter()
    yield from _pieces(stream, "", left)


def _dicom(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    from ._dicom_contents import dicom_pieces

    if _DEFLATED in stream.read(BLOCK):
        raise ValueError  # unpacked at once, however much it is; no export is
    stream.seek(0)
    frames = 0
    for place, text, wrong, value in dicom_pieces(stream):
        if isinstance(text, str):
            yield Piece(place, text, wrong=wrong, value=value)
        else:
            left.spend(text.nbytes if frames else 0)
            frames += 1
            yield Piece(place, image=text, data=octets(text))


def _gzip(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    stream.seek(3)
    if stream.read(1)[0] & 0b11000:
        yield Piece("gzip header", wrong="the name of another file, or a comment")
    stream.seek(0)
    with gzip.open(stream) as unpacked:
        for block in overlapping(unpacked):
            left.spend(min(len(block), BLOCK))
            yield Piece("unpacked", data=memoryview(block))
        size = unpacked.tell()
        unpacked.seek(0)
        # Held where it can be: whoever reads here and there in a packed file unpacks it anew each time.
        content: Any = io.BytesIO(whole(unpacked)) if size <= MAX_UNPACKED else unpacked  # type: ignore[arg-type]
        if size > MAX_UNPACKED and _kind_of(content) not in _FORWARD:
            raise TooMuch
        yield from _inner(content, left)


def _zip(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    with zipfile.ZipFile(stream) as archive:
        for number, member in enumerate(archive.infolist(), 1):
            place = f"member {number}"
            yield Piece(place, f"{member.filename} {member.comment.decode(errors='replace')}")
            if member.file_size > MAX_UNPACKED:
                yield Piece(place, wrong="too large to look into")
                continue
            left.spend(member.file_size)  # no more than this is read, whatever the member unpacks to
            yield from (_within(place, piece) for piece in _packed(archive.read(member), left))


_READERS: dict[str, Callable[[BinaryIO], Iterator[Piece]]] = {
    "text": _text,
    "json": _json,
    "jsonl": _json_lines,
    "csv": _table(","),
    "tsv": _table("\t"),
    "npy": npy,
    "nifti": nifti,
    "bytes": by_runs,
}
_UNPACKING: dict[str, Callable[[BinaryIO, Allowance], Iterator[Piece]]] = {
    "parquet": _parquet,
    "picture": picture,
    "dicom": _dicom,
    "gzip": _gzip,
    "zip": _zip,
}
