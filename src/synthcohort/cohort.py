"""The cohort on disk, schema version 1: cohort.json, images.npy, masks.npy, samples.parquet.

Anyone can write one with numpy and pandas; `verify` says what is wrong with it. A synthetic cohort is the same thing.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ._checks import REMAKE, ArrayFile, check_types, load_array, type_problems
from .errors import InputError, Mismatch, NotACohort
from .runs import file_sha256, fingerprint, publishing, sha256, write_atomic
from .types import SPLITS, Array

SCHEMA = 1
VALUE_RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
_REQUIRED = ("schema", "name", "modality", "provenance", "shape", "dtype", "value_range", "pixels_sha256", "counts")
_COLUMNS = ("sample_id", "patient_id", "group_id", "slice_index", "split")
REPEAT = "repeat"
"""Optional column: 0 for an image, 1, 2 ... for the same one once more, which only training is shown."""

Provenance = Literal["real", "synthetic", "control"]


@dataclass(frozen=True)
class Facts:
    """What cohort.json says.

    Attributes:
        shape: (C, H, W) of every image.
        dtype: uint8 or uint16.
        value_range: Lowest and highest legal pixel.
        mask_classes: Class names by index, background first; empty when there are no masks.
        labels: Finding names; empty when there are none.
        pixel_rules: What makes pixels comparable beside shape, dtype, range and classes (window, resize, spacing rule).
        history: Every preparation step with its parameters.
        source: The source's name.
        licence: The source's licence and terms.
        notice: What whoever shares the cohort, or one made from it, must know.
        generator: For a synthetic cohort, the run that made it; None for a real one.
    """

    name: str
    modality: str
    provenance: Provenance
    shape: tuple[int, int, int]
    dtype: str
    value_range: tuple[float, float]
    mask_classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pixel_rules: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    source: str = ""
    licence: str = ""
    notice: str = ""
    generator: Mapping[str, Any] | None = None

    @property
    def pixels_sha256(self) -> str:
        """Return the digest of what makes pixels comparable; cohorts are compared only when it agrees."""
        return fingerprint(
            {
                "shape": self.shape,
                "dtype": self.dtype,
                "value_range": self.value_range,
                "mask_classes": self.mask_classes,
                "pixel_rules": self.pixel_rules,
            }
        )


class Cohort:
    """A cohort opened for reading. Images and masks are memory-mapped.

    Attributes:
        path: Its folder.
        facts: What cohort.json says.
        images: (N, C, H, W) uint8 or uint16.
        masks: (N, H, W) uint8, or None.
        samples: One row a sample, in the order of the images.
        digests: SHA-256 of each file, as stored.
    """

    def __init__(self, path: Path | str) -> None:
        """Open the cohort in folder `path`.

        Raises:
            NotACohort: It is none, or its parts do not fit together.
        """
        self.path = Path(path)
        try:
            content = json.loads((self.path / "cohort.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise NotACohort("A cohort is a folder with a cohort.json", str(path), REMAKE) from error
        self.facts, self.digests = _parse_facts(content, self.path), dict(content.get("digests") or {})
        self.images = load_array(self.path / "images.npy")
        self.masks = load_array(self.path / "masks.npy") if (self.path / "masks.npy").exists() else None
        try:
            self.samples = pd.read_parquet(self.path / "samples.parquet")
        except (OSError, ValueError) as error:  # pyarrow's errors derive from both
            raise NotACohort("samples.parquet must be readable", str(self.path / "samples.parquet"), REMAKE) from error
        self._check_fit()

    def _check_fit(self) -> None:
        problems = list(_shape_problems(self))
        if problems:
            raise NotACohort("The parts of a cohort must fit together", problems[0], REMAKE)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    @property
    def pixels_sha256(self) -> str:
        """Return the digest that must agree before pixels are compared."""
        return self.facts.pixels_sha256

    @property
    def identity(self) -> str:
        """Return a digest of everything in the cohort that a result can depend on."""
        columns = [c for c in self.samples.columns if c not in ("sample_id", "patient_id", "group_id", "digest")]
        table = self.samples[columns].to_csv(index=False)
        codes = [pd.factorize(self.samples[column])[0].tolist() for column in ("patient_id", "group_id")]
        pixels = [self.digests.get(name) or file_sha256(self.path / name) for name in self._array_files()]
        return fingerprint({"pixels": pixels, "table": sha256(table), "groups": codes, "rule": self.pixels_sha256})

    def _array_files(self) -> list[str]:
        return ["images.npy"] + ["masks.npy"] * (self.masks is not None)

    def split(self, name: str, *, repeats: bool = False) -> Array:
        """Return the positions of one split's samples, in order, as int64.

        Images that were repeated to have more to train on count once, unless `repeats` are asked for.
        """
        chosen = (self.samples["split"] == name).to_numpy()
        if REPEAT in self.samples and not repeats:
            chosen = chosen & (self.samples[REPEAT] == 0).to_numpy()
        return np.flatnonzero(chosen)

    def reference_half(self, half: Literal["A", "B"]) -> Array:
        """Return the positions of one half of the reference patients, split by order of appearance.

        Half A belongs to the held-out images that distances are measured against; half B to what is compared with them.
        """
        positions = self.split("reference")
        order, _ = pd.factorize(self.samples["patient_id"].to_numpy()[positions])
        chosen: Array = positions[order % 2 == (0 if half == "A" else 1)]
        return chosen

    def counts(self) -> dict[str, dict[str, int]]:
        """Return images and patients of each split; images that are repeated count once."""
        return _counts(self.samples)

    def label_matrix(self) -> Array:
        """Return (N, L) float32 labels; unknown is NaN."""
        columns = [f"label.{name}" for name in self.facts.labels]
        return self.samples[columns].astype("Float32").to_numpy(dtype=np.float32, na_value=np.nan)


def _counts(samples: pd.DataFrame) -> dict[str, dict[str, int]]:
    repeated = samples[REPEAT] > 0 if REPEAT in samples else pd.Series(False, index=samples.index)
    counts = {
        str(split): {"images": len(rows), "patients": int(rows["patient_id"].nunique())}
        for split, rows in samples[~repeated].groupby("split", observed=True)
    }
    for split, number in samples["split"][repeated].value_counts().items():
        counts.setdefault(str(split), {"images": 0, "patients": 0})["repeats"] = int(number)
    return counts


def _parse_facts(content: Any, path: Path) -> Facts:
    try:
        missing = [key for key in _REQUIRED if key not in content]
        if missing:
            raise NotACohort("cohort.json must have its fields", f"{path} lacks '{missing[0]}'", REMAKE)
        if content["schema"] != SCHEMA:
            raise NotACohort(
                f"This version reads schema {SCHEMA}", f"{path} has {content['schema']}", "Prepare it again"
            )
        known = {name: content[name] for name in Facts.__dataclass_fields__ if name in content}
        for name in ("shape", "value_range", "mask_classes", "labels"):
            known[name] = tuple(known.get(name) or ())
        facts = Facts(**known)
        channels, height, width = facts.shape
        if facts.provenance not in get_args(Provenance):
            raise ValueError
        if min(channels, height, width) < 1 or facts.dtype not in VALUE_RANGES or len(facts.value_range) != 2:
            raise ValueError
        check_types(facts, content.get("digests") or {})
        digest = facts.pixels_sha256
    except (TypeError, ValueError) as error:
        raise NotACohort("cohort.json must have fields of the right type", str(path), REMAKE) from error
    if content["pixels_sha256"] != digest:
        raise NotACohort("pixels_sha256 must match the fields it covers", str(path), "Restore cohort.json")
    return facts


def _shape_problems(cohort: Cohort) -> Iterator[str]:
    facts, count = cohort.facts, len(cohort.samples)
    missing = [column for column in _COLUMNS if column not in cohort.samples]
    missing += [f"label.{name}" for name in facts.labels if f"label.{name}" not in cohort.samples]
    if missing:
        yield f"samples.parquet lacks the column {missing[0]}"
        return
    yield from type_problems(cohort.samples, _COLUMNS, facts.labels)
    if cohort.images.shape != (count, *facts.shape):
        yield f"images.npy is {cohort.images.shape}, expected {(count, *facts.shape)}"
    if str(cohort.images.dtype) != facts.dtype:
        yield f"images.npy is {cohort.images.dtype}, expected {facts.dtype}"
    if (cohort.masks is None) != (not facts.mask_classes):
        yield "masks.npy and mask_classes must both be there, or neither"
    if cohort.masks is not None and (cohort.masks.shape != (count, *facts.shape[1:]) or cohort.masks.dtype != np.uint8):
        yield f"masks.npy is {cohort.masks.dtype} {cohort.masks.shape}, expected uint8 {(count, *facts.shape[1:])}"


def check_comparable(left: Cohort, right: Cohort) -> None:
    """Raise unless the pixels of two cohorts may be compared.

    Raises:
        Mismatch: Their pixels_sha256 differ; the message names the first rule that does.
    """
    if left.pixels_sha256 == right.pixels_sha256:
        return
    for name in ("shape", "dtype", "value_range", "mask_classes", "pixel_rules"):
        mine, other = getattr(left.facts, name), getattr(right.facts, name)
        if mine != other:
            raise Mismatch(
                "Two cohorts are compared only when their pixels were prepared alike",
                f"{name} is {mine} in {left.path.name} and {other} in {right.path.name}",
                "Prepare one with --like the other",
            )


def verify(path: Path | str) -> list[str]:
    """Return what is wrong with a cohort, one line each; an empty list when nothing is.

    Raises:
        NotACohort: The folder is no cohort at all.
    """
    cohort = Cohort(path)
    return [*_digest_problems(cohort), *_pixel_problems(cohort), *_table_problems(cohort)]


def _digest_problems(cohort: Cohort) -> Iterator[str]:
    for name, digest in cohort.digests.items():
        file = cohort.path / Path(name).name
        if not file.exists() or file_sha256(file) != digest:
            yield f"{name} is not the file that was written (its SHA-256 differs)"


def _pixel_problems(cohort: Cohort, chunk: int = 1024) -> Iterator[str]:
    low, high = cohort.facts.value_range
    for start in range(0, len(cohort), chunk):
        images = cohort.images[start : start + chunk]
        if images.size and (images.min() < low or images.max() > high):
            yield f"images.npy has pixels outside {cohort.facts.value_range} near sample {start}"
            break
    classes = len(cohort.facts.mask_classes)
    for start in range(0, len(cohort) if cohort.masks is not None else 0, chunk):
        assert cohort.masks is not None
        if cohort.masks[start : start + chunk].max(initial=0) >= classes:
            yield f"masks.npy has a class index of {classes} or more near sample {start}"
            break


def _table_problems(cohort: Cohort) -> Iterator[str]:
    rows = cohort.samples
    if rows["sample_id"].duplicated().any():
        yield "samples.parquet has the same sample_id twice"
    if rows[list(_COLUMNS)].isna().any(axis=None):
        yield "samples.parquet has empty cells in a required column"
    unknown = sorted(set(rows["split"].dropna()) - set(SPLITS))
    if unknown:
        yield f"samples.parquet has the unknown split '{unknown[0]}'"
    if cohort.facts.provenance == "real" and (rows.groupby("patient_id")["split"].nunique() > 1).any():
        yield "a patient has samples in more than one split"
    stored = json.loads((cohort.path / "cohort.json").read_text(encoding="utf-8"))["counts"]
    if stored != cohort.counts():
        yield "the counts in cohort.json are not those of samples.parquet"


class CohortWriter:
    """Writes a cohort sequentially into a folder that `publishing` renames when all is well.

    Args:
        folder: The unpublished folder.
        facts: What cohort.json will say.
        key: Key of the per-sample HMAC digests of a real cohort; None for a synthetic one (plain SHA-256).
    """

    def __init__(self, folder: Path, facts: Facts, key: bytes | None) -> None:
        self.folder, self.facts, self._key = folder, facts, key
        # Columns, not rows: a million rows as mappings would fill the memory.
        self._columns: dict[str, list[Any]] = {}
        self._count = 0
        self._files = [ArrayFile(folder / "images.npy", facts.shape, facts.dtype)]
        if facts.mask_classes:
            self._files.append(ArrayFile(folder / "masks.npy", facts.shape[1:], "uint8"))

    def append(self, image: Array, mask: Array | None, row: Mapping[str, Any]) -> None:
        """Add one sample: image (C, H, W) of the cohort's dtype, mask (H, W) uint8 or None, and its table row."""
        arrays = [image] if mask is None else [image, mask]
        assert len(arrays) == len(self._files), "masks are all there or all absent"
        for file, array in zip(self._files, arrays, strict=True):
            file.append(array)
        for name, value in (*row.items(), ("digest", self._digest(image))):
            if name not in self._columns:
                self._columns[name] = [None] * self._count
            self._columns[name].append(value)
        self._count += 1
        if len(row) + 1 < len(self._columns):  # a row without some of the columns
            for values in self._columns.values():
                values += [None] * (self._count - len(values))

    def _digest(self, image: Array) -> str:
        data = np.ascontiguousarray(image).tobytes()
        return sha256(data) if self._key is None else hmac.digest(self._key, data, "sha256").hex()

    def finish(self, columns: Mapping[str, Iterable[Any]] | None = None) -> None:
        """Write the table (with further columns) and cohort.json, last."""
        for file in self._files:
            file.close()
        table = pd.DataFrame(self._columns)
        for name, values in (columns or {}).items():
            table[name] = list(values)
        for name in self.facts.labels:
            table[f"label.{name}"] = table[f"label.{name}"].astype("boolean")
        table.to_parquet(self.folder / "samples.parquet", index=False)
        digests = {p.name: file_sha256(p) for p in sorted(self.folder.iterdir())}
        content = {"schema": SCHEMA, **_facts_json(self.facts), "counts": _counts(table), "digests": digests}
        write_atomic(self.folder / "cohort.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close the files, finished or not."""
        for file in self._files:
            file.close()


def _facts_json(facts: Facts) -> dict[str, Any]:
    content = {name: getattr(facts, name) for name in Facts.__dataclass_fields__}
    return {**content, "pixels_sha256": facts.pixels_sha256}


@contextlib.contextmanager
def writing_cohort(out: Path, facts: Facts, config: Mapping[str, Any], key: bytes | None) -> Iterator[CohortWriter]:
    """Yield a writer; `out` appears, whole, when the block ends without an error.

    Raises:
        BadOutput: `out` exists or cannot be written.
    """
    with publishing(out, fingerprint(config)) as folder:
        writer = CohortWriter(folder, facts, key)
        try:
            yield writer
        finally:
            with contextlib.suppress(OSError):
                writer.close()


def existing(out: Path, config: Mapping[str, Any]) -> Cohort | None:
    """Return the finished cohort at `out` if it was made by the same config, or None if there is nothing.

    Raises:
        Mismatch: `out` exists and is something else.
    """
    if not out.exists():
        return None
    with contextlib.suppress(InputError):
        cohort = Cohort(out)
        made = [step.get("fingerprint") for step in cohort.facts.history]
        if fingerprint(config) in made:
            return cohort
    raise Mismatch(
        "An existing output is reused only for the same command", str(out), "Choose another --out or remove it"
    )
