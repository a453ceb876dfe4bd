"""Which findings a cohort keeps as labels, which images with them, and what can be estimated from what is left.

Label tables are (N, L) float32 with 1, 0 and NaN for unknown. Where a whole combination of findings is meant, unknown
counts as 0, as it does in what a generator is given.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._labels import Combinations, combinations
from .errors import BadOption, InputError, UnknownName
from .types import Array

FEW_PATIENTS = 10
"""Below this number of patients a finding is rare: intervals over patients say next to nothing."""
GUIDELINE = 3000
"""Training images per label combination from which study 003 saw no loss (DuMont Schütte et al. 2021, discussion)."""
GUIDELINE_TOTAL = 9000
"""Training images down to which it saw none on chest radiographs, with three combinations (ibid.)."""
_SCORED = ("train", "val", "test")


@dataclass(frozen=True)
class Wish:
    """What the user asks of the labels.

    Attributes:
        names: Findings to keep, in this order; empty for all.
        min_images: A finding present in fewer images is no label.
        min_combination: Images are dropped when fewer hold the same combination of findings.
    """

    names: tuple[str, ...] = ()
    min_images: int = 0
    min_combination: int = 0

    def check(self, offered: Sequence[str]) -> None:
        """Raise unless the wish fits a source that offers these findings.

        Raises:
            UnknownName: A name is not among them; the message proposes the nearest.
            BadOption: A name is there twice, a number is negative, or there are no findings at all.
        """
        for name in self.names:
            if name not in offered:
                close = difflib.get_close_matches(name, offered, n=1)
                hint = f"Did you mean '{close[0]}'?" if close else f"Choose from {', '.join(offered) or 'none'}"
                raise UnknownName("A finding must be one of the source's", f"no '{name}' there", hint)
        if len(set(self.names)) < len(self.names):
            raise BadOption("A finding is named once", ", ".join(self.names), "Name each once")
        if min(self.min_images, self.min_combination) < 0:
            raise BadOption(
                "A least number of images is 0 or more", f"{min(self.min_images, self.min_combination)}", "0 keeps all"
            )
        if not offered and max(self.min_images, self.min_combination):
            raise BadOption("Only images with findings are chosen by them", "this source has none", "Leave it out")


@dataclass(frozen=True)
class Kept:
    """What became of a wish.

    Attributes:
        names: The labels, in order.
        rare: Findings that are no labels because they are present in too few images -> in how many.
        images: (N,) bool, the images that stay.
        combinations: How many combinations of findings stay.
        combinations_dropped: How many do not.
    """

    names: tuple[str, ...]
    rare: dict[str, int]
    images: Array
    combinations: int
    combinations_dropped: int


def keep(values: Array, patients: Sequence[str] | Array, offered: Sequence[str], wish: Wish) -> Kept:
    """Return which findings and images stay; all counts are of the whole pool, before anything is dropped.

    Args:
        values: (N, L) labels of all findings.
        patients: Patient of each image.
        offered: Their L names.
        wish: What the user asks for.

    Raises:
        InputError: No image is left.
    """
    wanted = wish.names or tuple(offered)
    present = {name: int((values[:, offered.index(name)] == 1).sum()) for name in wanted}
    names = tuple(name for name in wanted if present[name] >= wish.min_images)
    found = combinations(
        present_only(values[:, [offered.index(name) for name in names]]), np.asarray(patients, dtype=object)
    )
    large = found.images >= wish.min_combination
    if not large.any():
        offender = f"the most frequent of {len(large)} is held by {found.images.max(initial=0)} images"
        raise InputError(
            f"A label combination needs {wish.min_combination} images",
            offender,
            "Ask for fewer, or name fewer findings",
        )
    rare = {name: present[name] for name in wanted if name not in names}
    return Kept(names, rare, large[found.of_image], int(large.sum()), int((~large).sum()))


def present_only(values: Array) -> Array:
    """Return labels as (N, L) float32 0/1, unknown as 0."""
    return np.asarray(values == 1, dtype=np.float32)


def strata(values: Array, patients: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return patient -> the rarest finding that any of their images holds, or "" without one.

    Rarest by the number of patients that hold it; the first of `names` where they are equally rare.
    """
    ids, holds = _holders(values, patients)
    order = np.argsort(holds.sum(axis=0), kind="stable")
    first = holds[:, order].argmax(axis=1)
    rarest = [names[place] for place in order[first]]
    return {ids[row]: rarest[row] if holds[row].any() else "" for row in range(len(ids))}


def _holders(values: Array, patients: Sequence[str]) -> tuple[list[str], Array]:
    """Return the patients and (P, L) bool, whether any of their images holds a finding."""
    codes, ids = pd.factorize(np.asarray(patients, dtype=object))
    holds = np.zeros((len(ids), values.shape[1]), bool)
    np.logical_or.at(holds, codes, values == 1)
    return list(ids), holds


def remarks(
    values: Array, patients: Sequence[str], splits: Sequence[str], names: Sequence[str], named: Sequence[str]
) -> Iterator[str]:
    """Yield, one line a kind, what cannot be estimated from these labels, counted in patients.

    Args:
        values: (N, L) labels of the images of the cohort.
        patients: Patient of each.
        splits: Split of each.
        names: The L findings.
        named: Those that the user asked for by name.

    Raises:
        InputError: One that the user asked for has one class only, everywhere or in train, val or test.
    """
    if not names:
        return
    parts = np.asarray(splits)
    single = {name: _single(values[:, column], parts) for column, name in enumerate(names)}
    constant = [name for column, name in enumerate(names) if not _both(values[:, column])]
    for name in named:
        if single.get(name):
            where = "the whole cohort" if name in constant else _list(single[name])
            rule = "A finding that is named has images with and without it in train, val and test"
            raise InputError(
                rule, f"'{name}' has one class in {where}", "Leave it out, or choose another --seed or --shares"
            )
    if constant:
        yield f"Warning: one class in the whole cohort, so nothing can be learnt of: {_list(constant)}."
    pairs = itertools.combinations(range(len(names)), 2)
    twins = [f"{names[one]} and {names[other]}" for one, other in pairs if _one_fact(values[:, [one, other]])]
    if twins:
        yield f"Warning: one always goes with the other, or never, so a mean counts one fact twice: {_list(twins)}."
    held = dict(zip(names, _holders(values, patients)[1].sum(axis=0).tolist(), strict=True))
    few = [f"{name} ({count})" for name, count in held.items() if count < FEW_PATIENTS and name not in constant]
    if few:
        yield f"Warning: held by fewer than {FEW_PATIENTS} patients: {_list(few)}."
    unscored = [f"{name} ({_list(where)})" for name, where in single.items() if where and name not in constant]
    if unscored:
        yield f"Warning: one class in a split, so a finding cannot be scored there: {_list(unscored)}."
    train = parts == "train"
    yield from _guidelines(combinations(present_only(values[train]), np.asarray(patients, dtype=object)[train]))


def _guidelines(train: Combinations) -> Iterator[str]:
    """Yield what the practical guidelines of study 003 say of the label combinations in train."""
    known, images = len(train.images), int(train.images.sum())
    if few := int((train.patients < FEW_PATIENTS).sum()):
        which = f"{few} of the {known} label combinations in train are held"
        yield f"Warning: {which} by fewer than {FEW_PATIENTS} patients."
    if small := int((train.images < GUIDELINE).sum()):
        yield (
            f"Note: {small} of the {known} label combinations in train have fewer than {GUIDELINE:,} images; "
            "that many were enough for the chest radiographs of study 003 (DuMont Schütte et al. 2021)."
        )
    if images < GUIDELINE_TOTAL:
        yield f"Note: train has {images:,} images; {GUIDELINE_TOTAL:,} were enough for study 003's chest radiographs."


def _one_fact(pair: Array) -> bool:
    """Return whether two findings (N, 2) are equal, or complements, wherever both are known, and not constant."""
    first, second = pair[np.isfinite(pair).all(axis=1)].T
    return _both(first) and (np.array_equal(first, second) or np.array_equal(first, 1 - second))


def _single(values: Array, parts: Array) -> list[str]:
    """Return the splits, among those that are scored and not empty, that do not hold both classes."""
    return [part for part in _SCORED if (parts == part).any() and not _both(values[parts == part])]


def _both(values: Array) -> bool:
    return bool((values == 1).any() and (values == 0).any())


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
