"""A file of what an interrupted command had done, which nobody without the key can read: it holds patients' ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_LENGTH_BYTES, _CHECK_BYTES = 4, 8


class Journal:
    """Entries written one after the other; a last one that was cut short is as if it had never been written.

    Each is masked with a stream of SHAKE-256 of the key and its place, and carries a check.

    Args:
        path: The file; it need not be there.
        key: 32 secret bytes. Under another one, the journal is empty.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._key = path, key

    def entries(self) -> Iterator[tuple[Any, int]]:
        """Yield each whole entry and where the next one begins."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            place = 0
            while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
                body = file.read(int.from_bytes(head, "little"))
                text = self._masked(body[_CHECK_BYTES:], place)
                if self._check(text) != body[:_CHECK_BYTES]:
                    return
                place = file.tell()
                yield json.loads(text), place

    def open(self, place: int) -> None:
        """Begin to write at `place`; what stands behind it is dropped."""
        self._path.touch()
        self._file = self._path.open("r+b")
        self._file.truncate(place)
        self._file.seek(place)

    def append(self, entry: Any) -> None:
        """Write one entry."""
        text = json.dumps(entry, separators=(",", ":")).encode()
        body = self._check(text) + self._masked(text, self._file.tell())
        self._file.write(len(body).to_bytes(_LENGTH_BYTES, "little") + body)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check(self, text: bytes) -> bytes:
        return hashlib.blake2b(text, key=self._key, digest_size=_CHECK_BYTES).digest()

    def _masked(self, data: bytes, place: int) -> bytes:
        stream = hashlib.shake_256(self._key + place.to_bytes(8, "little")).digest(len(data))
        return np.bitwise_xor(np.frombuffer(data, np.uint8), np.frombuffer(stream, np.uint8)).tobytes()
