"""Prepared samples in the order of the source, on disk until it is known which are kept and in what order."""

from __future__ import annotations

import contextlib
import hmac
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import _pixels
from ._split import divide, linked
from .cohort import CohortWriter, Facts
from .progress import say
from .runs import canonical_json, derive_seed, sha256
from .types import Array, Record


@dataclass(frozen=True, slots=True)
class _Entry:
    patient: str
    group: str
    slice_index: int
    stratum: str
    pixels: str
    labels: tuple[int | None, ...]
    attributes: Mapping[str, str | float | int]
    spacing: tuple[float, float]


@dataclass
class Spool:
    """Samples that have gone through the pixel rules.

    Attributes:
        folder: Where they are kept.
        facts: Of the cohort, with all findings of the source.
        key: Under which ids become pseudonyms.
    """

    folder: Path
    facts: Facts
    key: bytes
    _entries: list[_Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the files."""
        self._paths = [self.folder / "spool.images", self.folder / "spool.masks"]
        self._files = [path.open("wb") for path in self._paths]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._entries)

    def add(self, record: Record, rules: _pixels.Rules) -> None:
        """Prepare one record and keep it."""
        image, mask, spacing = _pixels.conform(record, rules, self.facts)
        self._files[0].write(image.data)
        if mask is not None:
            self._files[1].write(mask.data)
        self._entries.append(
            _Entry(
                patient=record.patient,
                group=record.group,
                slice_index=record.slice_index,
                stratum=record.stratum,
                pixels=sha256(image.tobytes()) if image.min() < image.max() else "",
                labels=tuple(record.labels.get(name) for name in self.facts.labels),
                attributes=record.attributes,
                spacing=spacing,
            )
        )

    @property
    def patients(self) -> list[str]:
        """Return the source id of each sample's patient."""
        return [entry.patient for entry in self._entries]

    def values(self) -> Array:
        """Return (N, L) float32 labels; unknown is NaN."""
        table = np.array([entry.labels for entry in self._entries], dtype=np.float32)  # None becomes NaN
        return table.reshape(len(self), len(self.facts.labels))

    def split(
        self,
        kept: Array,
        strata: Mapping[str, str],
        *,
        shares: Sequence[float],
        seed: int,
        fold: tuple[int, int] | None,
    ) -> tuple[dict[str, str], dict[str, int]]:
        """Return patient -> split, and how many patients and images are identical under different patients.

        Args:
            kept: (N,) bool, the samples that count.
            strata: Patient -> what to balance over; the source's own strata when empty.
            shares: Of train, val, test and reference.
            seed: Another seed gives another split.
            fold: Which of how many folds is the test split.
        """
        entries = list(itertools.compress(self._entries, kept))
        holders: dict[str, dict[str, int]] = {}
        for entry in entries:
            if entry.pixels:
                count = holders.setdefault(entry.pixels, {})
                count[entry.patient] = count.get(entry.patient, 0) + 1
        shared = [list(counts) for counts in holders.values() if len(counts) > 1]
        patients = {patient for group in shared for patient in group}
        images = sum(sum(counts.values()) for counts in holders.values() if len(counts) > 1)
        if shared:
            say(
                f"Warning: {len(patients)} patients hold {images} images that are identical to another patient's; "
                "patients with identical images are kept in one split."
            )
        strata = strata or {entry.patient: entry.stratum for entry in reversed(entries)}
        clusters = linked((pair for group in shared for pair in itertools.pairwise(group)), strata)
        splits = divide(strata, clusters, shares=shares, seed=seed, fold=fold)
        return splits, {"patients": len(patients), "images": images}

    def write(self, writer: CohortWriter, kept: Array, splits: Mapping[str, str], *, seed: int) -> None:
        """Copy the kept samples group by group in an order that does not betray the source's, and remove the spool."""
        for file in self._files:
            file.flush()
        images = self._load(0, self.facts.shape, self.facts.dtype)
        masks = self._load(1, self.facts.shape[1:], "uint8") if self.facts.mask_classes else None
        labels = [(name, self.facts.labels.index(name)) for name in writer.facts.labels]
        places = {(e.patient, e.group): derive_seed(seed, "order", e.patient, e.group) for e in self._entries}
        keys = [(places[e.patient, e.group], e.slice_index) for e in self._entries]
        for i in sorted(np.flatnonzero(kept).tolist(), key=lambda position: keys[position]):
            entry = self._entries[i]
            row = self._row(entry, splits[entry.patient], {f"label.{name}": entry.labels[at] for name, at in labels})
            writer.append(images[i], None if masks is None else masks[i], row)
        for path in self._paths:
            path.unlink()

    def _row(self, entry: _Entry, split: str, labels: Mapping[str, int | None]) -> dict[str, Any]:
        return {
            "sample_id": self._pseudonym("sample", entry.patient, entry.group, entry.slice_index),
            "patient_id": self._pseudonym("patient", entry.patient),
            "group_id": self._pseudonym("group", entry.patient, entry.group),
            "slice_index": entry.slice_index,
            "split": split,
            **labels,
            **{f"attr.{name}": value for name, value in entry.attributes.items()},
            "spacing_y_mm": entry.spacing[0],
            "spacing_x_mm": entry.spacing[1],
        }

    def _pseudonym(self, *what: str | int) -> str:
        return hmac.digest(self.key, canonical_json(what).encode(), "sha256").hex()[:16]

    def close(self) -> None:
        """Close the files; what a full disk did not take has been reported by then."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()

    def _load(self, which: int, item: tuple[int, ...], dtype: str) -> Array:
        return np.memmap(self._paths[which], dtype=dtype, mode="r", shape=(len(self), *item))
