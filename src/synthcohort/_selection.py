"""From what was read to what a cohort holds: which images, how often, with which labels, in which split.

The order is that of study 003: rare combinations counted in the pool, balance, split by patient, rare combinations
counted in train, the cut of a setting, repeats.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _cut, _findings, _split
from ._choices import Choices
from ._findings import Kept, Wish
from ._labels import combinations
from ._settings import setting
from ._spool import TEXT, Spool
from .errors import InputError
from .progress import say
from .types import SPLITS, Array

RARE, BALANCED, CUT = "rare label combination", "without a finding, to balance", "not in the setting"


@dataclass
class Selection:
    """What becomes of the images.

    Attributes:
        names: The labels, in order.
        repeats: (N,) int64, how often each image stands in the cohort; 0 for one that does not.
        splits: Patient -> split.
        dropped: Reason -> images.
        rare: Findings that are no labels, since they are in too few images -> in how many.
        twins: Patients and images that are identical to another patient's.
        text: Images in which text seems to be burned in, and those that were asked.
        facts: What the history says of the labels.
    """

    names: tuple[str, ...]
    repeats: Array
    splits: dict[str, str]
    dropped: Counter[str]
    rare: Mapping[str, int]
    twins: Mapping[str, int]
    text: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    _values: Array = field(default_factory=lambda: np.zeros((0, 0)))
    _patients: Sequence[str] = ()

    @property
    def repeated(self) -> int:
        """Return how many images of the cohort stand there once more."""
        return int(np.clip(self.repeats - 1, 0, None).sum())

    def remarks(self, named: Sequence[str]) -> Iterator[str]:
        """Yield what cannot be estimated from these labels, see `_findings.remarks`."""
        yield from _findings.remarks(
            self._values, self._patients, [self.splits[each] for each in self._patients], self.names, named
        )


def select(spool: Spool, wish: Wish, choices: Choices, *, seed: int, protocol: str) -> Selection:
    """Return what a cohort holds of what was read.

    Args:
        spool: What was read.
        wish: What the user asks of the labels.
        choices: The others.
        seed: Of every random choice.
        protocol: Whose setting, where `choices.setting` names one.

    Raises:
        InputError: No image is left, or there are too few of something.
    """
    offered, values = spool.facts.labels, spool.values()
    ids, codes = spool.patients, spool.column("patient")
    pool = Wish(wish.names, wish.min_images, wish.min_combination if choices.count_combinations == "pool" else 0)
    kept = _findings.keep(values, codes, offered, pool)
    values = values[:, [offered.index(name) for name in kept.names]]
    dropped = Counter({RARE: int((~kept.images).sum())})
    images = kept.images.copy()
    if choices.balance:
        stays = _cut.balance(values[images], kept.names, seed=seed)
        dropped[BALANCED] = int((~stays).sum())
        images[np.flatnonzero(images)[~stays]] = False
    text = _say_text(spool, images)
    splits, twins = _divided(spool, images, values, kept.names, choices, seed)
    names, images, facts = _taken(values, images, splits, codes, ids, kept, wish, choices, seed, protocol, dropped)
    values = values[:, [kept.names.index(name) for name in names]]
    repeats = images.astype(np.int64)
    if choices.oversample:
        places = _places(splits, ids, codes)[images]
        repeats[images] = _cut.oversample(values[images], places, to=choices.oversample, seed=seed)
    patients = [ids[code] for code in codes[images]]
    return Selection(names, repeats, splits, dropped, kept.rare, twins, text, facts, values[images], patients)


def _say_text(spool: Spool, images: Array) -> dict[str, int]:
    """Say, and return, in how many images text seems to be burned in, and in how many it was looked for."""
    found, asked = (spool.text() == 1) & images, (spool.text() >= 0) & images
    count, among = int(found.sum()), int(asked.sum())
    if count:
        patients = len(np.unique(spool.column("patient")[found]))
        say(
            f"Warning: text seems to be burned into {count:,} of {among:,} images that were asked, of {patients:,} "
            f"patients. Look at them (attr.{TEXT} in samples.parquet) before anything is shared: a generator may "
            "learn to write it."
        )
    return {"images": count, "asked": among}


def _divided(
    spool: Spool, images: Array, values: Array, names: Sequence[str], choices: Choices, seed: int
) -> tuple[dict[str, str], dict[str, int]]:
    """Return patient -> split, and how many patients and images are identical under different patients."""
    codes, ids = spool.column("patient"), spool.patients
    same = spool.identical(images)
    sharing = [[ids[code] for code in np.unique(codes[positions])] for positions in same]
    twins = {"patients": len({name for group in sharing for name in group}), "images": sum(map(len, same))}
    if twins["images"]:
        say(
            f"Warning: {twins['patients']} patients hold {twins['images']} images that are identical to another "
            "patient's; patients with identical images are kept in one split."
        )
    of_image = [ids[code] for code in codes[images]]
    strata = _findings.strata(values[images], of_image, names) if names else {}
    strata = strata or {name: spool.strata()[name] for name in dict.fromkeys(of_image)}
    clusters = _split.linked((pair for group in sharing for pair in itertools.pairwise(group)), strata)
    if choices.split == "plain":
        return _split.plain(clusters, shares=choices.shares, seed=seed), twins
    if choices.split == "official":
        return _official(spool, images, strata, clusters, choices, seed), twins
    fold = (choices.fold[0], choices.fold[1]) if choices.fold else None
    return _split.divide(strata, clusters, shares=choices.shares, seed=seed, fold=fold), twins


def _official(
    spool: Spool,
    images: Array,
    strata: Mapping[str, str],
    clusters: Mapping[str, str],
    choices: Choices,
    seed: int,
) -> dict[str, str]:
    parts: dict[str, set[str]] = {}
    called, codes = spool.official(), spool.column("patient")
    for at in np.flatnonzero(images).tolist():
        parts.setdefault(spool.patients[codes[at]], set()).add(called[at])
    splits, mixed = _split.official(strata, clusters, parts, shares=choices.shares, seed=seed)
    if mixed:
        say(f"Warning: {mixed} patients stand in several parts of the download; none of them is a test patient.")
    return splits


def _places(splits: Mapping[str, str], ids: Sequence[str], codes: Array) -> Array:
    """Return (N,) places in `SPLITS`; -1 for images of patients that are in no split."""
    of_patient = [SPLITS.index(splits[name]) if name in splits else -1 for name in ids]
    return np.array(of_patient, dtype=np.int64)[codes]


def _taken(
    values: Array,
    images: Array,
    splits: Mapping[str, str],
    codes: Array,
    ids: Sequence[str],
    kept: Kept,
    wish: Wish,
    choices: Choices,
    seed: int,
    protocol: str,
    dropped: Counter[str],
) -> tuple[tuple[str, ...], Array, dict[str, Any]]:
    """Return labels, images and what the history says of both, after the cut."""
    told: dict[str, Any] = {"kept": kept.combinations, "dropped": kept.combinations_dropped}
    told = {"label_combinations": {"min_images": wish.min_combination, **told}}
    least = wish.min_combination if choices.count_combinations == "train" else 0
    wanted = setting(choices.setting, protocol).cut if choices.setting else _cut.Cut(least=least)
    if least and not choices.setting:
        _check_least(values[images], _places(splits, ids, codes)[images], least)
    if not kept.names or wanted == _cut.Cut():
        return kept.names, images, told if kept.names else {}
    places = _places(splits, ids, codes)[images]
    taken = _cut.cut(values[images], places, kept.names, wanted, seed=seed)
    if not taken.images.any():
        raise InputError("A cohort holds an image", "none is left", "Ask for fewer images of each combination")
    dropped[CUT if choices.setting else RARE] += int((~taken.images).sum())
    result = images.copy()
    result[np.flatnonzero(images)[~taken.images]] = False
    told["label_combinations"] |= {
        "kept": len(taken.vectors),
        "dropped": kept.combinations_dropped + taken.combinations_dropped,
        **({"missing_in_train": taken.missing} if taken.missing else {}),
    }
    if taken.missing:
        say(f"Warning: train has {taken.missing:,} images fewer than the setting; all there are were taken.")
    names = taken.findings if choices.setting else kept.names
    return names, result, {**told, **({"setting": _setting(choices, taken.rows())} if choices.setting else {})}


def _check_least(values: Array, places: Array, least: int) -> None:
    """Raise unless a combination of findings, and not that of none alone, has enough training images."""
    train = values[places == SPLITS.index("train")]
    found = combinations(_findings.present_only(train), np.zeros(len(train), dtype=object))
    large = found.images >= least
    if not large.any():
        offender = f"the most frequent has {found.images.max(initial=0)}"
        rule = f"A combination of findings needs {least} training images"
        raise InputError(rule, offender, "Lower --min-combination-images")


def _setting(choices: Choices, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": choices.setting, "combinations": rows}
