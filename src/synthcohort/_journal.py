"""A file of what an interrupted command had done, which nobody without the key can read: it holds patients' ids."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_LENGTH_BYTES, _NONCE_BYTES, _CHECK_BYTES = 4, 16, 8


class Journal:
    """Entries written one after the other; a last one that was cut short is as if it had never been written.

    Each is masked with a stream of SHAKE-256 of the key and random bytes of its own, and carries a check. So no two
    entries, of whatever journals of a cohort's name, share a stream.

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
            while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
                nonce, check = file.read(_NONCE_BYTES), file.read(_CHECK_BYTES)
                text = self._masked(file.read(int.from_bytes(head, "little")), nonce)
                if self._check(text, nonce) != check:
                    return
                yield json.loads(text), file.tell()

    def open(self, place: int) -> None:
        """Begin to write at `place`; what stands behind it is dropped."""
        self._path.touch()
        self._file = self._path.open("r+b")
        self._file.truncate(place)
        self._file.seek(place)

    def append(self, entry: Any) -> None:
        """Write one entry."""
        text = json.dumps(entry, separators=(",", ":")).encode()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = len(text).to_bytes(_LENGTH_BYTES, "little") + nonce + self._check(text, nonce)
        self._file.write(head + self._masked(text, nonce))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check(self, text: bytes, nonce: bytes) -> bytes:
        return hashlib.blake2b(nonce + text, key=self._key, digest_size=_CHECK_BYTES).digest()

    def _masked(self, data: bytes, nonce: bytes) -> bytes:
        stream = hashlib.shake_256(self._key + nonce).digest(len(data))
        return np.bitwise_xor(np.frombuffer(data, np.uint8), np.frombuffer(stream, np.uint8)).tobytes()
