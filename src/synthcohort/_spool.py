"""Prepared samples in the order of the source, on disk until it is known which are kept and in what order.

What is held in memory of a sample are a few numbers, so that a million of them fit; ids are held once each. An
interrupted command finds its spool again and goes on behind the last task that was written whole.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._journal import Journal
from ._pseudonyms import pseudonym
from ._reading import Sample
from .cohort import REPEAT, CohortWriter, Facts
from .errors import BadSource
from .runs import derive_seed
from .types import Array, LeftOut

_UNKNOWN = -1
_KNOWN = {_UNKNOWN: None, 0: False, 1: True}
TEXT = "burned_in_text"
"""Attribute of the samples, where any has it: whether text seems to be burned in; empty where it was not looked for."""
FILES = ("spool.images", "spool.masks", "spool.journal")
"""What an interrupted command leaves for the next one."""


@dataclass
class _Names:
    """Texts, or other values, as whole numbers: their places in `values`."""

    values: list[Any] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)

    def code(self, value: Any) -> int:
        code = self.known.setdefault(value, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code


class Spool:
    """Samples that have gone through the pixel rules.

    Args:
        folder: Where they are kept.
        facts: Of the cohort, with all findings of the source; its number of channels is not looked at.
        key: Under which ids become pseudonyms.

    Attributes:
        facts: As given.
        left_out: Reason -> how many images a source found and did not yield.
        tasks: How many tasks of the reading are in it.
    """

    def __init__(self, folder: Path, facts: Facts, key: bytes) -> None:
        self.facts, self.tasks = facts, 0
        self.left_out: Counter[str] = Counter()
        self._key = key
        self._paths = [folder / name for name in FILES]
        self._journal = Journal(self._paths[2], key)
        self._patients, self._groups, self._strata, self._splits = _Names(), _Names(), _Names(), _Names()
        self._attributes = _Names()
        # One entry a sample: codes of names, then numbers.
        self._codes = {name: array("i") for name in ("patient", "group", "stratum", "split", "attributes")}
        self._index, self._spacing, self._text = array("q"), array("d"), array("b")
        self._labels, self._digests = array("b"), bytearray()
        self._places: set[tuple[int, int]] = set()
        self._pseudonyms: dict[tuple[str, ...], str] = {}
        self._channels = 0
        self._files = self._resume()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._index)

    def _resume(self) -> list[BinaryIO]:
        """Take up what an earlier process left, and return the files of images and masks, open behind it."""
        end = 0
        for path in self._paths[:2]:
            path.touch()
        held = [path.stat().st_size for path in self._paths[:2]]
        for entry, place in self._journal.entries():
            sizes = self._sizes(entry["channels"])
            if any((len(self) + len(entry["rows"])) * size > have for size, have in zip(sizes, held, strict=True)):
                break  # the pixels never reached the disk
            self._take(entry)
            end = place
        self._journal.open(end)
        files: list[BinaryIO] = [path.open("r+b") for path in self._paths[:2]]
        for file, size in zip(files, self._sizes(self._channels), strict=True):
            file.truncate(size * len(self))
            file.seek(size * len(self))
        return files

    def _sizes(self, channels: int) -> tuple[int, int]:
        """Return the bytes of an image and of a mask."""
        area = self.facts.shape[1] * self.facts.shape[2]
        return channels * area * np.dtype(self.facts.dtype).itemsize, area if self.facts.mask_classes else 0

    def add(self, found: Sequence[Sample | LeftOut]) -> None:
        """Keep what one task of the reading gave.

        Raises:
            BadSource: The samples do not fit those that are here.
        """
        samples = [item for item in found if isinstance(item, Sample)]
        channels = {len(sample.image) for sample in samples} | ({self._channels} if self._channels else set())
        if len(channels) > 1:
            raise BadSource(
                "All images of a cohort have the same channels", "grey and RGB are mixed", "Choose --colour"
            )
        left_out = Counter[str]()
        for item in found:
            if isinstance(item, LeftOut):
                left_out[item.reason] += item.count
        entry = {
            "channels": max(channels, default=0),
            "left_out": dict(left_out),
            "rows": [_row(sample) for sample in samples],
        }
        self._take(entry)
        for sample in samples:
            self._files[0].write(sample.image.data)
            if sample.mask is not None:
                self._files[1].write(sample.mask.data)
        for file in self._files:
            file.flush()
        self._journal.append(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Add one task's rows to what is held in memory."""
        self._channels = self._channels or entry["channels"]
        self.left_out.update(entry["left_out"])
        for row in entry["rows"]:
            self._take_row(*row)
        self.tasks += 1

    def _take_row(
        self,
        patient: str,
        group: str,
        slice_index: int,
        stratum: str,
        split: str,
        pixels: str,
        labels: Sequence[int | None],
        attributes: Sequence[tuple[str, Any]],
        spacing: tuple[float | None, float | None],
        text: bool | None,
    ) -> None:
        patient_code = self._patients.code(patient)
        group_code = self._groups.code((patient_code, group))
        if (group_code, slice_index) in self._places:
            raise BadSource("A slice is there once", f"image {len(self) + 1} repeats one", "Check the slice indices")
        self._places.add((group_code, slice_index))
        codes = (
            patient_code,
            group_code,
            self._strata.code(stratum),
            self._splits.code(split),
            self._attributes.code(tuple(map(tuple, attributes))),
        )
        for column, code in zip(self._codes.values(), codes, strict=True):
            column.append(code)
        self._index.append(slice_index)
        self._spacing.extend(float("nan") if value is None else value for value in spacing)
        self._text.append(_UNKNOWN if text is None else text)
        self._labels.extend(_UNKNOWN if value is None else value for value in labels)
        self._digests += bytes.fromhex(pixels)[:16] if pixels else bytes(16)

    def column(self, name: str) -> Array:
        """Return (N,) int codes of "patient", "group", "stratum", "split" or "attributes"."""
        return np.array(self._codes[name], dtype=np.int32)

    @property
    def patients(self) -> list[str]:
        """Return the source ids of the patients, by code."""
        names: list[str] = self._patients.values
        return names

    def strata(self) -> dict[str, str]:
        """Return patient -> what the source balances splits over: that of the patient's first sample."""
        first = np.unique(self.column("patient"), return_index=True)[1].tolist()
        strata = [self._strata.values[self._codes["stratum"][at]] for at in first]
        return dict(zip(self.patients, strata, strict=True))

    def official(self) -> list[str]:
        """Return what the download calls the split of each sample."""
        return [self._splits.values[code] for code in self._codes["split"]]

    def values(self) -> Array:
        """Return (N, L) float32 labels; unknown is NaN."""
        values = np.array(self._labels, dtype=np.int8).reshape(len(self), len(self.facts.labels)).astype(np.float32)
        values[values == _UNKNOWN] = np.nan
        return values

    def text(self) -> Array:
        """Return (N,) int8: 1 where text is burned in, 0 where none was found, -1 where it was not looked for."""
        return np.array(self._text, dtype=np.int8)

    @property
    def channels(self) -> int:
        """Return the number of channels of the samples; 0 without samples."""
        return self._channels

    def identical(self, kept: Array) -> list[Array]:
        """Return, for each set of identical images that several patients hold, the positions of its images."""
        digests = np.frombuffer(bytes(self._digests), dtype=np.uint64).reshape(-1, 2)
        positions = np.flatnonzero(kept & digests.any(axis=1))
        order = positions[np.lexsort(digests[positions].T)]
        bounds = np.flatnonzero((digests[order][1:] != digests[order][:-1]).any(axis=1)) + 1
        patients = self.column("patient")
        return [same for same in np.split(order, bounds) if len(same) > 1 and len(np.unique(patients[same])) > 1]

    def write(self, writer: CohortWriter, repeats: Array, splits: Mapping[str, str], *, seed: int) -> None:
        """Copy samples group by group in an order that does not betray the source's, and remove the spool.

        Args:
            writer: Of the cohort.
            repeats: (N,) int, how often each sample is written; 0 for one that is not kept.
            splits: Patient -> split.
            seed: Of the order.
        """
        self._repeats, self._any_text = bool((repeats > 1).any()), bool((self.text() == 1).any())
        for at, repeat in self._ordered(repeats, seed):
            image = self._load(0, at, self.facts.dtype).reshape(-1, *self.facts.shape[1:])
            mask = self._load(1, at, "uint8").reshape(self.facts.shape[1:]) if self.facts.mask_classes else None
            writer.append(image, mask, self._row(at, repeat, splits, writer.facts.labels))
        self.close()
        for path in self._paths:
            path.unlink()

    def _ordered(self, repeats: Array, seed: int) -> Iterator[tuple[int, int]]:
        """Yield (position, which repeat of it) in the order of the cohort."""
        keys = [derive_seed(seed, "order", self.patients[code], group) for code, group in self._groups.values]
        places = np.array(keys, dtype=np.int64)[self.column("group")]
        order = np.lexsort((np.array(self._index), places))
        self._ranks = _ranks(order, self.column("group"))
        for at in order.tolist():
            yield from ((at, repeat) for repeat in range(int(repeats[at])))

    def _load(self, which: int, at: int, dtype: str) -> Array:
        # Read, not mapped: mapped pages count as this process's memory, and there may be hundreds of gigabytes.
        size = self._sizes(self._channels)[which]
        self._files[which].seek(at * size)
        return np.frombuffer(self._files[which].read(size), dtype=dtype)

    def _row(self, at: int, repeat: int, splits: Mapping[str, str], labels: Iterable[str]) -> dict[str, Any]:
        code, group = self._groups.values[self._codes["group"][at]]
        patient, index = self.patients[code], self._index[at]
        own = ("sample", patient, group, index, *((repeat,) if repeat else ()))
        values = self._labels[at * len(self.facts.labels) : (at + 1) * len(self.facts.labels)]
        stated = dict(zip(self.facts.labels, values, strict=True))
        return {
            "sample_id": pseudonym(self._key, *own),
            "patient_id": self._pseudonym("patient", patient),
            "group_id": self._pseudonym("group", patient, group),
            # The place in the group, not the source's number: that may hold a table position or an instance number.
            "slice_index": int(self._ranks[at]),
            "split": splits[patient],
            **({REPEAT: repeat} if self._repeats else {}),
            **{f"label.{name}": None if stated[name] == _UNKNOWN else stated[name] for name in labels},
            **{f"attr.{name}": value for name, value in self._attributes.values[self._codes["attributes"][at]]},
            **({f"attr.{TEXT}": _KNOWN[self._text[at]]} if self._any_text else {}),
            "spacing_y_mm": self._spacing[2 * at],
            "spacing_x_mm": self._spacing[2 * at + 1],
        }

    def _pseudonym(self, *what: str) -> str:
        """Return a pseudonym that many rows share."""
        if what not in self._pseudonyms:
            self._pseudonyms[what] = pseudonym(self._key, *what)
        return self._pseudonyms[what]

    def close(self) -> None:
        """Close the files; what a full disk did not take has been reported by then."""
        for close in (*(file.close for file in self._files), self._journal.close):
            with contextlib.suppress(OSError):
                close()


def _ranks(order: Array, groups: Array) -> Array:
    """Return (N,) int64, the place of each sample in its group, given an order that holds groups together."""
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    counted = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = counted
    return ranks


def _row(sample: Sample) -> list[Any]:
    """Return what the journal keeps of a sample."""
    spacing = [value if value == value else None for value in sample.spacing]
    return [
        sample.patient,
        sample.group,
        sample.slice_index,
        sample.stratum,
        sample.split,
        sample.pixels,
        sample.labels,
        sample.attributes,
        spacing,
        sample.text,
    ]
