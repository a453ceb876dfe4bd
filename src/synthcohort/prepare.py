"""From a download to a cohort: square, scale, resize, quantise, split by patient, pseudonymise, write.

Records stream from the source into a spool file inside the unpublished output folder; when all are seen, findings and
images are chosen, identical images are found, patients are split, and the samples are copied in their final order.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import _findings, _pixels, plugins
from ._listing import listing_sha256
from ._split import fold_shares
from ._spool import Spool
from .cohort import VALUE_RANGES, Cohort, Facts, existing, writing_cohort
from .errors import BadOption, BadSource, Mismatch
from .layouts import PHANTOM_MARK
from .progress import say, track
from .runs import cohort_key, fingerprint
from .types import SPLITS, Record

REVISION = 2
"""Raise it when the same command gives another cohort."""
SHARES = (0.6, 0.1, 0.15, 0.15)
MAX_SIZE, MAX_FIELD_MM = 8192, 10_000


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
    fold: tuple[int, int] | None = None,
    findings: Sequence[str] = (),
    min_finding_images: int = 0,
    min_combination_images: int = 0,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Cohort:
    """Return the cohort made from a download; the same command again returns the finished one.

    Args:
        source: Name of a source plugin.
        root: The download.
        out: Folder of the new cohort; its name is the cohort's name.
        size: Side of the square images in pixels.
        seed: Of the split, within strata of the patients' rarest finding, and of the order of the samples.
        like: A cohort whose size, type and pixel rules are taken instead, so that the two can be compared.
        field_mm: Side of the centred square that is kept, in millimetres; None keeps the whole image.
        shares: Shares of patients in train, val, test and reference.
        fold: (i, k) makes the i-th, from 1, of k folds of the patients the test split; the others are divided in
            proportion to the other shares. The same seed gives the same k folds.
        findings: Keep only these findings as labels, in this order; all of the source's when empty.
        min_finding_images: A finding that fewer images of the download hold is no label.
        min_combination_images: Images are dropped when fewer images of the download hold the same combination of the
            labels. The released code of study 003 keeps those of more than 256: 257; its text, of 256 or more.
        options: Of the source, as a mapping or "key=value" texts.

    Raises:
        BadSource: The download does not have the source's layout, or a file in it is damaged.
        BadOption: An option, `size`, `field_mm`, `shares`, `fold` or a least number of images is not valid.
        UnknownName: The source has no such finding.
        Mismatch: `out` was made by another command, or the images cannot be made like `like`.
        InputError: There are fewer patients than splits or folds, no image is left, or one of `findings` has one class
            in train, val or test.
        BadOutput: `out` cannot be written.
    """
    root, out = Path(root), Path(out)
    _check_options(out.name, size, field_mm, shares, fold)
    plugin = plugins.find("sources", source)
    resolved = plugins.resolve(plugin, options)
    opened = plugin(root, **resolved)
    wish = _findings.Wish(tuple(findings), min_finding_images, min_combination_images)
    wish.check(opened.LABELS)
    model = Cohort(like).facts if like else None
    rules = _pixels.Rules.of(opened.VALUE_RULE, size=size, field_mm=field_mm, like=model)
    chosen = {"shares": list(shares), "fold": fold, "findings": [wish.names, wish.min_images, wish.min_combination]}
    config = {**_config(opened, source, resolved, rules, model), "seed": seed, **chosen, "phantom": _is_phantom(root)}
    config["listing"] = listing_sha256(root, out)
    if (finished := existing(out, config)) is not None:
        return finished
    _make(out, opened, config, _told(config, resolved, rules), rules, wish, model)
    return Cohort(out)


def _is_phantom(root: Path) -> bool:
    return (root / PHANTOM_MARK).exists()


def _config(
    source: Any, plugin: str, options: Mapping[str, Any], rules: _pixels.Rules, model: Facts | None
) -> dict[str, Any]:
    return {
        "kind": "prepare",
        "revision": [REVISION, source.REVISION],
        "source": plugin,
        "options": {name: str(value) for name, value in options.items()},
        "rules": [rules.facts, rules.size, rules.value_rule, model.pixels_sha256 if model else None],
    }


def _make(
    out: Path,
    source: Any,
    config: Mapping[str, Any],
    told: Mapping[str, Any],
    rules: _pixels.Rules,
    wish: _findings.Wish,
    model: Facts | None,
) -> None:
    facts = _facts(source, out.name, config, rules, model)
    records = track(_checked(source.records(), facts), f"prepare {facts.source}", total=_length(source))
    first = next(records, None)
    if first is None:
        raise BadSource("A source holds at least one image", "there is none here", "Name another folder")
    facts = replace(facts, shape=_shape(first, rules, model))
    _write(out, facts, config, told, rules, wish, itertools.chain([first], records), getattr(source, "LEFT_OUT", {}))


def _write(
    out: Path,
    facts: Facts,
    config: Mapping[str, Any],
    told: Mapping[str, Any],
    rules: _pixels.Rules,
    wish: _findings.Wish,
    records: Iterable[Record],
    left_out: Mapping[str, int],
) -> None:
    key, seed = cohort_key(facts.name), config["seed"]
    with (
        writing_cohort(out, facts, config, key) as writer,
        contextlib.closing(Spool(writer.folder, facts, key)) as spool,
    ):
        for record in records:
            spool.add(record, rules)
        values = spool.values()
        kept = _findings.keep(values, spool.patients, facts.labels, wish)
        values = values[kept.images][:, [facts.labels.index(name) for name in kept.names]]
        patients = list(itertools.compress(spool.patients, kept.images))
        strata = _findings.strata(values, patients, kept.names) if kept.names else {}
        splits, twins = spool.split(kept.images, strata, shares=config["shares"], seed=seed, fold=config["fold"])
        dropped = {**left_out, "rare label combination": len(spool) - len(patients)}
        _say_what_is_missing(dropped, kept, wish)
        for line in _findings.remarks(values, patients, [splits[each] for each in patients], kept.names, wish.names):
            say(line)
        step = {**told, **_counted(len(patients), dropped, twins, wish, kept if facts.labels else None)}
        # Only now is it known what the cohort holds.
        writer.facts = replace(facts, labels=kept.names, history=[{**step, "fingerprint": fingerprint(config)}])
        spool.write(writer, kept.images, splits, seed=seed)
        writer.finish()


def _check_options(
    name: str, size: int, field_mm: float | None, shares: Sequence[float], fold: tuple[int, int] | None
) -> None:
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
    if fold is not None and not (1 <= fold[0] <= fold[1] and fold[1] >= 2):
        raise BadOption("A fold is one of two or more", f"{fold[0]}/{fold[1]}", "Write 1/5 to 5/5")


def _length(source: Any) -> int | None:
    return len(source) if hasattr(source, "__len__") else None


def _facts(source: Any, name: str, config: Mapping[str, Any], rules: _pixels.Rules, model: Facts | None) -> Facts:
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
        source=f"phantom of {config['source']}" if config["phantom"] else config["source"],
        licence="none: procedural images of nobody" if config["phantom"] else source.LICENCE,
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


def _told(config: Mapping[str, Any], options: Mapping[str, Any], rules: _pixels.Rules) -> dict[str, Any]:
    """Return what the history says of the command; the download's counts are added when they are known."""
    shares = fold_shares(config["shares"], config["fold"])
    return {
        "step": "prepare",
        "source": config["source"],
        "revision": config["revision"],
        # Paths among the source's options are the user's own and stay out of what may be passed on.
        "options": {name: value for name, value in options.items() if not isinstance(value, Path)},
        "size": rules.size,
        "value_rule": rules.value_rule,
        "seed": config["seed"],
        "shares": {split: round(share, 6) for split, share in zip(SPLITS, shares, strict=True)},
        **({"fold": list(config["fold"])} if config["fold"] else {}),
    }


def _counted(
    written: int,
    dropped: Mapping[str, int],
    twins: Mapping[str, int],
    wish: _findings.Wish,
    kept: _findings.Kept | None,
) -> dict[str, Any]:
    """Return what the history says of images and findings; read = written + dropped, and dropped has its reasons."""
    reasons = {reason: count for reason, count in dropped.items() if count}
    total = sum(reasons.values())
    counted: dict[str, Any] = {
        "images": {"read": written + total, "written": written, "dropped": total},
        "dropped": reasons,
        "identical_under_several_patients": dict(twins),
    }
    if kept is not None:
        named = {"named": list(wish.names)} if wish.names else {}
        counted["findings"] = {**named, "min_images": wish.min_images, "dropped": list(kept.rare)}
        counted["label_combinations"] = {
            "min_images": wish.min_combination,
            "kept": kept.combinations,
            "dropped": kept.combinations_dropped,
        }
    return counted


def _say_what_is_missing(dropped: Mapping[str, int], kept: _findings.Kept, wish: _findings.Wish) -> None:
    reasons = [f"{reason} {count:,}" for reason, count in dropped.items() if count]
    if reasons:
        say(f"Note: images left out: {', '.join(reasons)}.")
    if kept.rare:
        rare = ", ".join(f"{name} ({count})" for name, count in kept.rare.items())
        say(f"Note: no labels, since present in fewer than {wish.min_images} images: {rare}.")
        if not kept.names:
            say("Warning: no finding is left, so this is a cohort without labels. Lower --min-finding-images.")
