"""What in a text may lead back to a person: its kinds, and a given list of identifiers, searched in text and bytes.

Patterns are kept so narrow that hexadecimal digests, version numbers, web addresses and counts are none. They find what
has a form; a name in a sentence has none, and is found only when it is on the list.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .errors import BadOption
from .types import Array

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_PATTERNS = {
    "a date": re.compile(
        rf"(?<![\w.]){_YEAR}{_MONTH}{_DAY}(?:[T ]?[0-2]\d[0-5]\d(?:[0-5]\d)?(?:\.\d+)?)?(?![\w])"
        rf"|(?<![\w.-]){_YEAR}([-/.:]){_MONTH}\1{_DAY}(?!\d)"
        rf"|(?<![\w./-])(?:[0-3]?\d)([-/.])(?:[0-3]?\d)\2{_YEAR}(?![\w.])"
        rf"|(?<!\w)\d\d? {_MONTHS},? {_YEAR}(?!\w)|(?<!\w){_MONTHS} \d\d?,? {_YEAR}(?!\w)",
        re.IGNORECASE,
    ),
    # DICOM's own begin with 1.2.840.10008; 2.25 stands before random ones.
    "a DICOM UID": re.compile(r"(?<![\w.])(?!1\.2\.840\.10008\.|2\.25\.)[0-2](?:\.(?:0|[1-9]\d*)){5,}(?![\w.])"),
    "an e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "an absolute path": re.compile(
        r"(?<![\w/:.<*)\]}])/(?!/)(?:[\w.~ -]+/)+[\w.~-]+|(?<!\w)[A-Za-z]:\\[^\\\s\"]+|\\\\[\w.-]+\\[\w$.-]+|file://\S+"
    ),
    "a phone number": re.compile(
        r"(?<![\w.])\+\d{1,3}[ ()/-]{1,2}\d[\d ()/-]{5,}\d(?!\w)|(?<![\w.])0\d{2,5}/\d{4,}(?![\w/.])"
        r"|(?<![\w.-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-])"
    ),
    "a social security number": re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    "a person's name": re.compile(r"(?<!\w)[^\W\d_][\w'-]*\^[^\W\d_][\w'-]*"),
    "an age over 89": re.compile(
        r"(?<!\w)(?:09[1-9]|1[0-4]\d)Y(?!\w)|(?<!\w)(?:9[1-9]|1[01]\d) years? old", re.IGNORECASE
    ),
}
_NOBODYS = {"19700101", "1970-01-01"}
"""Written where a standard wants a date and there is none."""
_COMMON = {"root", "user", "admin", "localhost", "ubuntu", "debian", "docker", "runner", "nobody", "home", "data"}
_SHORTEST, _SHORTEST_IN_BYTES = 3, 6
LONGEST = 512
"""Bytes of an identifier that are looked at."""


def kinds(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what it is, value) of everything in a text that has the form of an identifier."""
    for kind, pattern in _PATTERNS.items():
        yield from ((kind, found.group()) for found in pattern.finditer(text) if found.group() not in _NOBODYS)


class Identifiers:
    """A list of identifiers, searched in text and, those of six bytes or more, in any bytes.

    Upper and lower case are alike in text; in bytes each is searched as given, in capitals and in small letters, in
    UTF-8, UTF-16 and Latin-1.

    Args:
        kind: What they are, e.g. "an identifier of the list".
        values: The identifiers.
    """

    def __init__(self, kind: str, values: list[str]) -> None:
        self._kind = kind
        folded = {value.casefold() for value in values}
        self._short = {value for value in folded if len(value.encode()) < _SHORTEST_IN_BYTES}
        forms = {form for v in values for form in (v, v.upper(), v.lower(), v.casefold())}
        encoded = {data for form in forms for data in _encodings(form) if len(data) >= _SHORTEST_IN_BYTES}
        self._starts: dict[bytes, list[bytes]] = {}
        for data in encoded:
            self._starts.setdefault(data[:_SHORTEST_IN_BYTES], []).append(data)
        self._keys = np.array(sorted(int.from_bytes(start, "little") for start in self._starts), dtype=np.uint64)
        self._first = np.zeros(1 << 16, dtype=bool)
        self._first[self._keys & np.uint64(0xFFFF)] = True

    @classmethod
    def read(cls, path: Path) -> Identifiers:
        """Return those of a text file, one a line.

        Raises:
            BadOption: It cannot be read, is empty, or holds one of fewer than three characters.
        """
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise BadOption(
                "--known is a UTF-8 text file", "it cannot be read", "Check its name and encoding"
            ) from error
        values = [line for line in lines if line]
        short = next((number for number, line in enumerate(lines, 1) if 0 < len(line) < _SHORTEST), None)
        if short is not None or not values:
            offender = "it is empty" if short is None else f"line {short} is shorter"
            raise BadOption(
                f"--known has one identifier of {_SHORTEST} characters or more a line", offender, "Correct it"
            )
        return cls("an identifier of the list", values)

    @classmethod
    def of_this_machine(cls) -> Identifiers:
        """Return the names of this machine, its user and the user's home, unless they are everybody's."""
        names = {socket.gethostname(), socket.gethostname().split(".")[0], Path.home().name}
        with contextlib.suppress(OSError, KeyError):  # a user without a name
            names.add(getpass.getuser())
        return cls(
            "a name of this machine or user", [n for n in names if len(n) > _SHORTEST and n.lower() not in _COMMON]
        )

    def in_text(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield (what it is, value) of every one in a text; one of fewer than six bytes only as a whole word."""
        folded = text.casefold()
        if self._short:
            words = {*folded.split(), *re.findall(r"\w+", folded), *re.findall(r"[^\W_]+", folded)}
            yield from ((self._kind, word) for word in sorted(words & self._short))
        yield from self.in_bytes(folded.encode(errors="surrogateescape"))

    def in_bytes(self, data: bytes | memoryview) -> Iterator[tuple[str, str]]:
        """Yield (what it is, value) of every one that is anywhere in some bytes."""
        if len(data) < _SHORTEST_IN_BYTES or not len(self._keys):
            return
        octets = np.frombuffer(data, np.uint8)
        pairs = octets[:-1].astype(np.uint16) | (octets[1:].astype(np.uint16) << np.uint16(8))
        places = np.flatnonzero(self._first[pairs[: len(octets) - _SHORTEST_IN_BYTES + 1]])
        keys = np.zeros(len(places), np.uint64)
        for i in range(_SHORTEST_IN_BYTES):
            keys |= octets[places + i].astype(np.uint64) << np.uint64(8 * i)
        for place in places[self._among(keys)].tolist():
            rest = bytes(data[place : place + LONGEST])
            for value in self._starts[rest[:_SHORTEST_IN_BYTES]]:
                if rest.startswith(value):
                    yield self._kind, value.decode("latin-1").replace("\0", "")

    def _among(self, keys: Array) -> Array:
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.asarray(self._keys[at] == keys)


def _encodings(text: str) -> Iterator[bytes]:
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
        yield text.encode(encoding, errors="ignore")[:LONGEST]


def blocks(data: memoryview, size: int = 1 << 20) -> Iterator[memoryview]:
    """Yield bytes in blocks that overlap by more than the longest identifier."""
    for start in range(0, max(len(data), 1), size):
        yield data[start : start + size + LONGEST]
