"""From a download to a cohort: square, scale, resize, quantise, split by patient, pseudonymise, write.

Records stream from the source into a spool file inside the unpublished output folder; when all are seen, identical
images are found, patients are split, and the samples are copied in their final order.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import _pixels, plugins
from ._split import assign, linked
from .cohort import VALUE_RANGES, Cohort, CohortWriter, Facts, existing, writing_cohort
from .errors import BadOption, BadSource, Mismatch
from .progress import say, track
from .runs import canonical_json, cohort_key, derive_seed, file_sha256, fingerprint, sha256
from .types import SPLITS, Array, Record

REVISION = 1
"""Raise it when the same command gives another cohort."""
SHARES = (0.6, 0.1, 0.15, 0.15)
MAX_SIZE, MAX_FIELD_MM = 8192, 10_000
_SMALL_TEXT = (".csv", ".cfg", ".txt", ".json")


def prepare(
    source: str,
    root: Path,
    *,
    out: Path,
    size: int = 128,
    seed: int = 0,
    like: Path | None = None,
    field_mm: float | None = None,
    shares: Sequence[float] = SHARES,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Cohort:
    """Return the cohort made from a download; the same command again returns the finished one.

    Args:
        source: Name of a source plugin.
        root: The download.
        out: Folder of the new cohort; its name is the cohort's name.
        size: Side of the square images in pixels.
        seed: Of the split and of the order of the samples.
        like: A cohort whose size, type and pixel rules are taken instead, so that the two can be compared.
        field_mm: Side of the centred square that is kept, in millimetres; None keeps the whole image.
        shares: Shares of patients in train, val, test and reference.
        options: Of the source, as a mapping or "key=value" texts.

    Raises:
        BadSource: The download does not have the source's layout, or a file in it is damaged.
        BadOption: An option, `size`, `field_mm` or `shares` is not valid.
        Mismatch: `out` was made by another command, or the images cannot be made like `like`.
        InputError: There are fewer patients than splits.
        BadOutput: `out` cannot be written.
    """
    root, out = Path(root), Path(out)
    _check_options(out.name, size, field_mm, shares)
    plugin = plugins.find("sources", source)
    resolved = plugins.resolve(plugin, options)
    opened = plugin(root, **resolved)
    model = Cohort(like).facts if like else None
    rules = _pixels.Rules.of(opened.VALUE_RULE, size=size, field_mm=field_mm, like=model)
    config = {
        "kind": "prepare",
        "revision": [REVISION, opened.REVISION],
        "source": source,
        "options": {name: str(value) for name, value in resolved.items()},
        "rules": [rules.facts, rules.size, rules.value_rule, model.pixels_sha256 if model else None],
        "seed": seed,
        "shares": list(shares),
        "listing": _listing_sha256(root, out),
    }
    if (finished := existing(out, config)) is not None:
        return finished
    facts = _facts(opened, out.name, source, rules, model)
    records = track(_checked(opened.records(), facts), f"prepare {source}", total=_length(opened))
    first = next(records, None)
    if first is None:
        raise BadSource("A source holds at least one image", f"{root} has none", "Name another folder")
    facts = replace(facts, shape=_shape(first, rules, model))
    _write(out, facts, config, resolved, rules, itertools.chain([first], records))
    return Cohort(out)


def _write(
    out: Path,
    facts: Facts,
    config: Mapping[str, Any],
    options: Mapping[str, Any],
    rules: _pixels.Rules,
    records: Iterable[Record],
) -> None:
    key, seed = cohort_key(facts.name), config["seed"]
    with (
        writing_cohort(out, facts, config, key) as writer,
        contextlib.closing(_Spool(writer.folder, facts, key)) as spool,
    ):
        for record in records:
            spool.add(record, rules)
        splits, duplicates = spool.split(shares=config["shares"], seed=seed)
        # Only now is it known how many images there were.
        writer.facts = replace(facts, history=[_step(config, options, rules, duplicates, len(spool))])
        spool.write(writer, splits, seed=seed)
        writer.finish()


def _check_options(name: str, size: int, field_mm: float | None, shares: Sequence[float]) -> None:
    if not name.isprintable():  # bytes that are not UTF-8 are not printable either
        raise BadOption("A cohort's name is printable text", repr(name), "Choose another --out")
    if not 4 <= size <= MAX_SIZE:
        raise BadOption(f"Images are 4 to {MAX_SIZE} pixels wide", f"size {size}", "Choose another --size")
    if field_mm is not None and not 1 <= field_mm <= MAX_FIELD_MM:
        rule = f"A field of view is 1 to {MAX_FIELD_MM} mm"
        raise BadOption(rule, f"field_mm {field_mm}", "Give millimetres")
    valid = len(shares) == len(SPLITS) and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6  # not so with a NaN
    if not valid or shares[0] == 0:
        raise BadOption(f"Shares of {', '.join(SPLITS)} sum to 1", f"{tuple(shares)}", f"The default is {SHARES}")


def _listing_sha256(root: Path, out: Path) -> str:
    """Return a cheap digest of what the download holds: relative names and sizes, and the content of small texts."""
    root, out = root.resolve(), out.resolve()
    listing = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        # An output inside the download must not change what the download is.
        ours = any(p.parent == out.parent and p.name.split(".partial-")[0] == out.name for p in [path, *path.parents])
        if ours or any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        size = path.stat().st_size
        text = path.suffix.lower() in _SMALL_TEXT and size < 1 << 28
        listing.append([relative.as_posix(), size, file_sha256(path) if text else ""])
    return fingerprint({"listing": listing})


def _length(source: Any) -> int | None:
    return len(source) if hasattr(source, "__len__") else None


def _facts(source: Any, name: str, plugin: str, rules: _pixels.Rules, model: Facts | None) -> Facts:
    classes = tuple(source.MASK_CLASSES)
    if model and model.mask_classes != classes:
        offender = f"this source has {classes or 'none'}, the cohort {model.mask_classes or 'none'}"
        raise Mismatch("Mask classes must agree with those of --like", offender, "Name them in the source's options")
    dtype = model.dtype if model else "uint8"
    return Facts(
        name=name,
        modality=model.modality if model else source.MODALITY,
        provenance=getattr(source, "PROVENANCE", "real"),
        shape=(1, rules.size, rules.size),
        dtype=dtype,
        value_range=model.value_range if model else VALUE_RANGES[dtype],
        mask_classes=classes,
        labels=tuple(source.LABELS),
        pixel_rules=rules.facts,
        source=plugin,
        licence=source.LICENCE,
    )


def _shape(first: Record, rules: _pixels.Rules, model: Facts | None) -> tuple[int, int, int]:
    channels = first.image.shape[0]
    if model and model.shape[0] != channels:
        words = {1: "grey", 3: "RGB"}
        offender = f"the images are {words.get(channels, channels)}, the cohort {words.get(model.shape[0])}"
        raise Mismatch("Grey and RGB are not turned into each other", offender, "Name another cohort for --like")
    return channels, rules.size, rules.size


def _checked(records: Iterator[Record], facts: Facts) -> Iterator[Record]:
    """Yield the records that fit together; what one source promises is checked once, here, for all of them."""
    channels = 0
    seen: set[tuple[str, str, int]] = set()
    for record in records:
        place = (record.patient, record.group, record.slice_index)
        channels = channels or record.image.shape[0]
        if record.image.ndim != 3 or record.image.shape[0] != channels:
            raise BadSource("All images of a cohort have the same channels", "grey and RGB are mixed", "Separate them")
        if (record.mask is None) != (not facts.mask_classes):
            raise BadSource("Either all images have a mask or none", f"image {len(seen) + 1} differs", "Complete them")
        if record.mask is not None and record.mask.shape != record.image.shape[1:]:
            raise BadSource("A mask has the size of its image", f"image {len(seen) + 1} differs", "Check the masks")
        if place in seen:
            raise BadSource("A slice is there once", f"image {len(seen) + 1} repeats one", "Check the slice indices")
        seen.add(place)
        yield record


@dataclass(frozen=True)
class _Entry:
    patient: str
    group: str
    stratum: str
    pixels: str
    row: dict[str, Any]


@dataclass
class _Spool:
    """Prepared samples in the order of the source, on disk until their final order is known."""

    folder: Path
    facts: Facts
    key: bytes
    entries: list[_Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._paths = [self.folder / "spool.images", self.folder / "spool.masks"]
        self._files = [path.open("wb") for path in self._paths]

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, record: Record, rules: _pixels.Rules) -> None:
        """Prepare one record and keep it."""
        image, mask, spacing = _pixels.conform(record, rules, self.facts)
        self._files[0].write(image.data)
        if mask is not None:
            self._files[1].write(mask.data)
        pixels = sha256(image.tobytes()) if image.min() < image.max() else ""
        self.entries.append(_Entry(record.patient, record.group, record.stratum, pixels, self._row(record, spacing)))

    def _row(self, record: Record, spacing: tuple[float, float]) -> dict[str, Any]:
        return {
            "sample_id": self._pseudonym("sample", record.patient, record.group, record.slice_index),
            "patient_id": self._pseudonym("patient", record.patient),
            "group_id": self._pseudonym("group", record.patient, record.group),
            "slice_index": record.slice_index,
            "split": "",
            **{f"label.{name}": record.labels.get(name) for name in self.facts.labels},
            **{f"attr.{name}": value for name, value in record.attributes.items()},
            "spacing_y_mm": spacing[0],
            "spacing_x_mm": spacing[1],
        }

    def _pseudonym(self, *what: str | int) -> str:
        return hmac.digest(self.key, canonical_json(what).encode(), "sha256").hex()[:16]

    def split(self, *, shares: Sequence[float], seed: int) -> tuple[dict[str, str], dict[str, int]]:
        """Return patient -> split, and how many patients and images are identical under different patients."""
        holders: dict[str, dict[str, int]] = {}
        for entry in self.entries:
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
        strata = {entry.patient: entry.stratum for entry in reversed(self.entries)}
        clusters = linked((pair for group in shared for pair in itertools.pairwise(group)), strata)
        return assign(strata, clusters, shares=shares, seed=seed), {"patients": len(patients), "images": images}

    def write(self, writer: CohortWriter, splits: Mapping[str, str], *, seed: int) -> None:
        """Copy the samples group by group in an order that does not betray the source's, and remove the spool."""
        for file in self._files:
            file.flush()
        images = self._load(0, self.facts.shape, self.facts.dtype)
        masks = self._load(1, self.facts.shape[1:], "uint8") if self.facts.mask_classes else None
        places = {(e.patient, e.group): derive_seed(seed, "order", e.patient, e.group) for e in self.entries}
        keys = [(places[e.patient, e.group], e.row["slice_index"]) for e in self.entries]
        for i in sorted(range(len(keys)), key=lambda position: keys[position]):
            entry = self.entries[i]
            row = {**entry.row, "split": splits[entry.patient]}
            writer.append(images[i], None if masks is None else masks[i], row)
        for path in self._paths:
            path.unlink()

    def close(self) -> None:
        """Close the files; what a full disk did not take has been reported by then."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()

    def _load(self, which: int, item: tuple[int, ...], dtype: str) -> Array:
        return np.memmap(self._paths[which], dtype=dtype, mode="r", shape=(len(self), *item))


def _step(
    config: Mapping[str, Any], options: Mapping[str, Any], rules: _pixels.Rules, duplicates: dict[str, int], read: int
) -> dict[str, Any]:
    # Paths among the source's options are the user's own and stay out of what may be passed on.
    told = {name: value for name, value in options.items() if not isinstance(value, Path)}
    return {
        "step": "prepare",
        "source": config["source"],
        "revision": config["revision"],
        "options": told,
        "size": rules.size,
        "value_rule": rules.value_rule,
        "seed": config["seed"],
        "shares": dict(zip(SPLITS, config["shares"], strict=True)),
        "images": {"read": read, "written": read, "dropped": 0},
        "identical_under_several_patients": duplicates,
        "fingerprint": fingerprint(config),
    }
