"""A cohort's files: what they hold may come from anywhere, so nothing about it is taken for granted."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import NotACohort
from .types import Array

_HEADER_BYTES, _DEEPEST = 128, 32
REMAKE = "Make one with `synthcohort prepare`"
_SPACING = ("spacing_y_mm", "spacing_x_mm")


def check_types(facts: Any, digests: Any) -> None:
    """Raise ValueError when a field of a `Facts` or the digests are of another type than code relies on."""
    texts = (facts.name, facts.modality, facts.source, facts.licence, facts.notice, *facts.mask_classes, *facts.labels)
    mappings = (facts.pixel_rules, facts.generator or {}, digests, *facts.history)
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(facts.history, list | tuple)
        or not all(isinstance(mapping, dict) for mapping in mappings)
        or not all(Path(name).name for name in digests)
        or any(bad_label(name) for name in facts.labels)
        or _depth(facts.history) > _DEEPEST
    ):
        raise ValueError


def _depth(value: Any) -> int:
    """Return how deep a JSON value is nested; what shows it goes down by calling itself."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner = [item for item in level if isinstance(item, dict | list | tuple)]
        level = [part for item in inner for part in (item.values() if isinstance(item, dict) else item)]
        depth += bool(inner)
    return depth


def bad_label(name: str) -> bool:
    """Return whether a finding cannot be called that: "mean" is what rows over all findings are called."""
    return not name.strip() or not name.isprintable() or name.strip().lower() == "mean"


def type_problems(samples: pd.DataFrame, columns: Sequence[str], labels: Sequence[str]) -> Iterator[str]:
    """Yield the columns whose cells are not of the type that code relies on; empty cells are of every type.

    Args:
        samples: The table.
        columns: Its required columns, which are there.
        labels: Names of findings; label.<name> are there.
    """
    numbers = ["slice_index", *(name for name in _SPACING if name in samples), *(f"label.{name}" for name in labels)]
    for column in dict.fromkeys((*columns, *numbers)):
        allowed: tuple[type, ...] = (int, float, bool, np.number, np.bool_)
        if column not in numbers:
            allowed = (str, int, np.integer)
        if not samples[column].dropna().map(lambda cell, allowed=allowed: isinstance(cell, allowed)).all():
            yield f"samples.parquet has cells of the wrong type in {column}"
        elif column.startswith("label.") and not samples[column].dropna().isin([0, 1]).all():
            yield f"{column} has values other than 0, 1 and empty"


def load_array(path: Path) -> Array:
    """Return a .npy file as a memory map.

    Raises:
        NotACohort: It is no array, or a damaged one.
    """
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise TypeError
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise NotACohort(f"{path.name} must be a readable .npy array", str(path), REMAKE) from error
    return array


class ArrayFile:
    """A .npy file written front to back; its header is filled in at the end, when the length is known."""

    def __init__(self, path: Path, item_shape: tuple[int, ...], dtype: str) -> None:
        self._shape, self._dtype, self._count = tuple(item_shape), np.dtype(dtype), 0
        self._file = path.open("wb")
        self._file.write(b"\0" * _HEADER_BYTES)

    def append(self, array: Array) -> None:
        """Write one more item."""
        assert (array.shape, array.dtype) == (self._shape, self._dtype), f"{array.dtype} {array.shape}"
        self._file.write(np.ascontiguousarray(array).data)
        self._count += 1

    def close(self) -> None:
        """Write the header; a second time does nothing."""
        if self._file.closed:
            return
        with self._file:
            text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": (self._count, *self._shape)})
            header = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
            self._file.seek(0)
            self._file.write(header + text.encode().ljust(_HEADER_BYTES - 11) + b"\n")
