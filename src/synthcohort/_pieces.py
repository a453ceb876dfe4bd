"""Parts of files as the privacy scan looks at them, and bytes of any kind as such parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ._traces import LONGEST
from .types import Array

MAX_UNPACKED = 1 << 28
"""Bytes of a packed part, of a JSON text or of a picture that are looked at; a larger one is reported as unreadable."""
BLOCK = 1 << 20
_RUN = re.compile(rb"[\x20-\x7e\t\n\r]{12,}|(?:[\x20-\x7e]\0){6,}")
COLUMN_NAME = "a column's name"
_LEAST, _MOST, _TIMES = 1 << 26, 1 << 30, 200
_OPENING = 1 << 16


class TooMuch(Exception):
    """A file unpacks to more than is looked at."""


class Allowance:
    """How many bytes may still be unpacked from a file, so that no small file takes hours.

    They are as many as the file has, because stored parts are no larger than it, and 200 times that, but 64 MiB to
    1 GiB. What an archive within an archive unpacks to counts at every level, and each costs 64 KiB more.
    """

    def __init__(self, size: int) -> None:
        self._left = size + min(_MOST, max(_LEAST, _TIMES * size))

    def spend(self, count: int) -> None:
        """Take what is about to be unpacked, in bytes.

        Raises:
            TooMuch: Less is left.
        """
        self._left -= count
        if self._left < 0:
            raise TooMuch

    def enter(self) -> None:
        """Take what an archive within an archive costs, however little is in it."""
        self.spend(_OPENING)


@dataclass(frozen=True)
class Piece:
    """A part of what a file holds.

    Attributes:
        place: Where it is, in words that quote nothing of the file.
        text: A text in it.
        runs: Whether the text is what could be read in bytes of an unknown kind, some of it by chance.
        data: Bytes, e.g. of pixels.
        image: (C, H, W).
        wrong: What is wrong there whatever it says.
        value: What it says that is wrong.
    """

    place: str
    text: str | None = None
    runs: bool = False
    data: memoryview | None = None
    image: Array | None = None
    wrong: str = ""
    value: str = ""


def by_runs(stream: BinaryIO) -> Iterator[Piece]:
    """Yield what can be read in a file of an unknown kind."""
    for block in overlapping(stream):
        yield from runs(block, "bytes")


def overlapping(stream: Any) -> Iterator[bytes]:
    """Yield what is left of a file in blocks that overlap by the longest identifier."""
    rest = b""
    while block := stream.read(BLOCK):
        yield rest + block
        rest = (rest + block)[-LONGEST:]


def runs(data: bytes, place: str) -> Iterator[Piece]:
    """Yield the readable runs of some bytes, of one or two bytes a character."""
    for found in _RUN.finditer(data):
        raw = found.group()
        yield Piece(place, (raw[::2] if raw[1:2] == b"\0" else raw).decode("ascii", "replace"), runs=True)


def behind(stream: BinaryIO) -> Iterator[Piece]:
    """Yield what stands behind the end of a file's content: nothing should."""
    rest = stream.read(BLOCK)
    if rest.strip(b"\0"):
        yield Piece("behind its end", wrong="bytes that are no part of it")
        yield from runs(rest, "behind its end")


def whole(stream: BinaryIO) -> bytes:
    """Return what is left of a file.

    Raises:
        ValueError: It is too large to be held.
    """
    data = stream.read(MAX_UNPACKED + 1)
    if len(data) > MAX_UNPACKED:
        raise ValueError
    return data


def octets(values: Array) -> memoryview:
    """Return an array's bytes."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
