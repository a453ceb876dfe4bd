"""From a download to a cohort: square, scale, resize, quantise, split by patient, pseudonymise, write.

The parts of the source are read once, on all cores, into a spool inside the unpublished output folder. When all are
seen, findings and images are chosen, identical images are found, patients are split, and the samples are copied in
their final order.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from . import plugins
from ._choices import Choices, choose, differences, preset_of
from ._findings import Wish
from ._listing import is_phantom, listing_sha256
from ._pixels import Rules
from ._pseudonyms import key_check
from ._reading import Readers, Work, cores
from ._selection import Selection, select
from ._split import fold_shares
from ._spool import FILES, Spool
from .cohort import Cohort, CohortWriter, Facts, existing
from .errors import BadOption, BadSource, Mismatch
from .progress import Progress, say
from .runs import cohort_key, fingerprint, publishing
from .source import Source
from .types import SPLITS

REVISION = 3
"""Raise it when the same command gives another cohort."""
_TOLD_ELSEWHERE = ("size", "shares", "findings", "min_finding_images", "min_combination_images", "setting")
"""Choices that the history tells with what came of them."""


def prepare(
    source: str,
    root: Path,
    *,
    out: Path,
    protocol: str = "recommended",
    seed: int = 0,
    like: Path | None = None,
    damaged: Literal["stop", "skip"] = "stop",
    workers: int | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
    **choices: Any,
) -> Cohort:
    """Return the cohort made from a download; the same command again returns the finished one, or goes on.

    Args:
        source: Name of a source plugin.
        root: The download.
        out: Folder of the new cohort; its name is the cohort's name.
        protocol: Whose choices hold where none is given: "recommended", or "paper" or "code" of the source's study.
        seed: Of the split, the order of the samples and every random choice of images.
        like: A cohort whose size, type and pixel rules are taken instead, so that the two can be compared.
        damaged: Whether a file that cannot be read ends the command or is left out and counted.
        workers: Processes that read; as many as there are cores when None. It changes nothing but the time.
        options: Of the source, as a mapping or "key=value" texts.
        choices: By name, see `Choices`; one that is None is not given.

    Raises:
        BadSource: The download does not have the source's layout, or a file in it is damaged.
        BadOption: An option or choice is unknown or not valid, or the source has no such protocol.
        UnknownName: The source has no such finding, or there is no such setting.
        Mismatch: `out` was made by another command, or the images cannot be made like `like`.
        InputError: There are fewer patients than splits or folds, no image is left, one of `findings` has one class in
            train, val or test, or the setting asks for more images than there are.
        BadOutput: `out` cannot be written.
    """
    root, out = Path(root), Path(out)
    _check(out.name, damaged, workers)
    plugin = plugins.find("sources", source)
    chosen, preset = choose(plugin, source, protocol, choices)
    resolved = plugins.resolve(plugin, {**preset, **plugins.pairs(options)})
    opened: Source = plugin(root, **resolved)
    wish = Wish(chosen.findings, chosen.min_finding_images, chosen.min_combination_images)
    wish.check(opened.LABELS)
    model = Cohort(like).facts if like else None
    rules, chosen = _rules(opened, chosen, choices, model)
    config = _config(opened, source, resolved, rules, chosen, model)
    config |= {"seed": seed, "protocol": protocol, "damaged": damaged, "phantom": is_phantom(root, out)}
    config["listing"] = listing_sha256(root, out)
    if (finished := existing(out, config)) is not None:
        return finished
    facts = _facts(opened, out.name, config, rules, model)
    told = _told(config, plugin, resolved, rules, chosen)
    work = Work(opened, rules, damaged == "skip", chosen.empty_slices, seed)
    with Readers(work, opened.parts(), workers or cores()) as readers:
        _make(out, facts, config, told, readers, chosen, wish, opened)
    return _told_to_the_user(Cohort(out))


def _check(name: str, damaged: str, workers: int | None) -> None:
    if not name.isprintable():  # bytes that are not UTF-8 are not printable either
        raise BadOption("A cohort's name is printable text", repr(name), "Choose another --out")
    if damaged not in ("stop", "skip"):
        raise BadOption("--damaged is stop or skip", f"'{damaged}'", "Choose one")
    if workers is not None and workers < 1:
        raise BadOption("--workers is at least 1", str(workers), "Leave it out to use every core")


def _told_to_the_user(cohort: Cohort) -> Cohort:
    found = [(split, cohort.counts()[split]) for split in SPLITS if split in cohort.counts()]
    said = [f"{split} {count['images']:,} images of {count['patients']:,} patients" for split, count in found]
    say(f"{cohort.path.name}: {', '.join(said)}.")
    return cohort


def _rules(source: Source, chosen: Choices, given: Mapping[str, Any], model: Facts | None) -> tuple[Rules, Choices]:
    """Return how pixels are made, and the choices as these rules have them."""
    if model:
        _check_like(given)
    rules = Rules.of(source.VALUE_RULE, chosen, model)
    in_hu = source.VALUE_RULE["rule"] in ("fixed", "dicom_window")
    if rules.value_rule != source.VALUE_RULE and rules.value_rule["rule"] == "fixed" and not in_hu:
        say(f"Note: {chosen.intensity} is a window in the images' own units; these are not Hounsfield units.")
    return rules, rules.used(chosen) if model else chosen


def _check_like(choices: Mapping[str, Any]) -> None:
    """Raise BadOption when a choice is given that --like makes."""
    for name in ("geometry", "field_mm", "spacing_mm", "resize", "bits", "colour"):
        if choices.get(name) is not None:
            raise BadOption(
                "--like takes a cohort's rules for pixels", f"{name} is given, too", "Leave one of them out"
            )


def _config(
    opened: Source,
    source: str,
    options: Mapping[str, Any],
    rules: Rules,
    choices: Choices,
    model: Facts | None,
) -> dict[str, Any]:
    return {
        "kind": "prepare",
        "revision": [REVISION, opened.REVISION],
        "source": source,
        "options": {name: str(value) for name, value in options.items()},
        "rules": [rules.facts, rules.size, rules.value_rule, model.pixels_sha256 if model else None],
        "choices": choices.to_json(),
    }


def _facts(source: Source, name: str, config: Mapping[str, Any], rules: Rules, model: Facts | None) -> Facts:
    classes = tuple(source.MASK_CLASSES)
    if model and model.mask_classes != classes:
        offender = f"this source has {classes or 'none'}, the cohort {model.mask_classes or 'none'}"
        raise Mismatch("Mask classes must agree with those of --like", offender, "Name them in the source's options")
    phantom = config["phantom"]
    return Facts(
        name=name,
        modality=model.modality if model else source.MODALITY,
        provenance=getattr(source, "PROVENANCE", "real"),
        shape=(model.shape[0] if model else 1, rules.size, rules.size),
        dtype=rules.dtype,
        value_range=model.value_range if model else rules.value_range,
        mask_classes=classes,
        labels=tuple(source.LABELS),
        pixel_rules=rules.facts,
        source=f"phantom of {config['source']}" if phantom else config["source"],
        licence="none: procedural images of nobody" if phantom else source.LICENCE,
        notice="" if phantom else source.NOTICE,
    )


def _say_terms(facts: Facts) -> None:
    say(f"Licence of {facts.source}: {facts.licence}.")
    if facts.notice:
        say(f"Notice: {facts.notice}")


def _make(
    out: Path,
    facts: Facts,
    config: Mapping[str, Any],
    told: Mapping[str, Any],
    readers: Readers,
    choices: Choices,
    wish: Wish,
    source: Source,
) -> None:
    key, seed = cohort_key(facts.name), config["seed"]
    with (
        publishing(out, fingerprint(config), resume=FILES) as folder,
        contextlib.closing(Spool(folder, facts, key)) as spool,
    ):
        _read(readers, spool, source)
        facts = replace(facts, shape=(_channels(spool, facts, bool(told.get("like"))), *facts.shape[1:]))
        chosen = select(spool, wish, choices, seed=seed, protocol=config["protocol"])
        left_out = Counter(source.LEFT_OUT) + spool.left_out
        _say_terms(facts)
        _say_what_is_missing(left_out + chosen.dropped, chosen, wish)
        for line in chosen.remarks(wish.names):
            say(line)
        step = {**told, **_counted(len(spool), left_out, chosen, wish), "key": key_check(key)}
        step = {**step, "fingerprint": fingerprint(config)}
        with contextlib.closing(
            CohortWriter(folder, replace(facts, labels=chosen.names, history=[step]), key)
        ) as writer:
            spool.write(writer, chosen.repeats, chosen.splits, seed=seed)
            writer.finish()


def _read(readers: Readers, spool: Spool, source: Source) -> None:
    """Read what is not in the spool yet."""
    done = spool.tasks
    if done:
        say(f"Going on where the last attempt stopped: {len(spool):,} images are read.")
    total = len(source) if hasattr(source, "__len__") else None
    with Progress("prepare", total, done=len(spool)) as progress:
        for _, found in readers.read(done):
            before = len(spool)
            spool.add(found)
            progress.advance(len(spool) - before)


def _channels(spool: Spool, facts: Facts, like: bool) -> int:
    if not len(spool):
        offender = "there is none here that can be read"
        raise BadSource("A source holds at least one image", offender, "Name another folder")
    if like and facts.shape[0] != spool.channels:
        words = {1: "grey", 3: "RGB"}
        offender = f"the images are {words[spool.channels]}, the cohort {words.get(facts.shape[0], facts.shape[0])}"
        raise Mismatch("Grey and RGB are compared with their like", offender, "Choose --colour, or another --like")
    return spool.channels


def _told(
    config: Mapping[str, Any], plugin: type[Source], options: Mapping[str, Any], rules: Rules, choices: Choices
) -> dict[str, Any]:
    """Return what the history says of the command; the download's counts are added when they are known."""
    name, protocol = config["source"], config["protocol"]
    assumed = preset_of(plugin, name, protocol).get("assumed", ())
    others = differences(plugin, name, choices, options)
    return {
        "step": "prepare",
        "source": name,
        "revision": config["revision"],
        # Paths among the source's options are the user's own and stay out of what may be passed on.
        "options": {name: value for name, value in options.items() if not isinstance(value, Path)},
        "protocol": protocol,
        **({"assumed": sorted(assumed)} if assumed else {}),
        **({"protocols": others} if others else {}),
        **({"like": config["rules"][3]} if config["rules"][3] else {}),
        "size": rules.size,
        "value_rule": rules.value_rule,
        "seed": config["seed"],
        "shares": {split: round(share, 6) for split, share in zip(SPLITS, _shares(choices), strict=True)},
        **{key: value for key, value in choices.changed().items() if key not in _TOLD_ELSEWHERE},
    }


def _shares(choices: Choices) -> tuple[float, ...]:
    return fold_shares(choices.shares, (choices.fold[0], choices.fold[1]) if choices.fold else None)


def _counted(read: int, left_out: Mapping[str, int], chosen: Selection, wish: Wish) -> dict[str, Any]:
    """Return what the history says of images and findings; read = written + dropped, and dropped has its reasons."""
    reasons = {reason: count for reason, count in (Counter(left_out) + chosen.dropped).items() if count}
    total = sum(reasons.values())
    counted: dict[str, Any] = {
        "images": {"read": read + sum(left_out.values()), "written": int(chosen.repeats.sum()), "dropped": total},
        "dropped": reasons,
        "identical_under_several_patients": chosen.twins,
    }
    if chosen.repeated:
        counted["images"]["repeated"] = chosen.repeated
    counted["burned_in_text"] = chosen.text
    if chosen.facts:
        named = {"named": list(wish.names)} if wish.names else {}
        counted["findings"] = {**named, "min_images": wish.min_images, "dropped": list(chosen.rare)}
    return counted | dict(chosen.facts)


def _say_what_is_missing(dropped: Mapping[str, int], chosen: Selection, wish: Wish) -> None:
    reasons = [f"{reason} {count:,}" for reason, count in dropped.items() if count]
    if reasons:
        say(f"Note: images left out: {', '.join(reasons)}.")
    if chosen.rare:
        rare = ", ".join(f"{name} ({count})" for name, count in chosen.rare.items())
        say(f"Note: no labels, since present in fewer than {wish.min_images} images: {rare}.")
        if not chosen.names:
            say("Warning: no finding is left, so this is a cohort without labels. Lower --min-finding-images.")
