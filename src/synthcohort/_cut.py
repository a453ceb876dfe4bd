"""What study 003 takes from a table of labels: so many images of so many combinations of findings, and no others.

DuMont Schütte et al., npj Digital Medicine 2021, supplement S.1 and Table S1. The rows of a table are the images of a
pool in the order of the source: `values` is (N, L) float32 with 1, 0 and NaN for unknown, which counts as 0 here;
`splits` is (N,) with the place of each image's split in `SPLITS`. Every choice is one random order of the pool under
the seed, of which a smaller number takes a shorter beginning: so smaller sets are subsets of larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._findings import present_only
from ._labels import distinct
from .errors import InputError
from .runs import derive_seed
from .types import SPLITS, Array

_NO_FINDING = "no finding"
_SHOWN = 3
_NEXT = "Choose another --seed, other --shares or a smaller setting"

Counts = tuple[int | None, int | None, int | None]
"""Of train, val and test; None leaves all. Reference keeps all images of the combinations that stay."""


@dataclass(frozen=True)
class Cut:
    """How many images are taken.

    Attributes:
        combinations: Keep this many combinations of findings, those with most images in the pool, whatever their
            split; of equals the one that the table has first. None keeps all.
        least: Before that, combinations with fewer images in train are dropped. What is counted in the pool is
            dropped before the split, by `_findings.keep`.
        each: Images of each combination in train, val and test.
        total: Images in train, val and test, drawn from the combinations in proportion, where `each` is None.
        slack: Share of the `total` of train that may be missing: how many images a split by patients leaves in train
            depends on the seed. All of train is then taken.
    """

    combinations: int | None = None
    least: int = 0
    each: Counts = (None, None, None)
    total: Counts = (None, None, None)
    slack: float = 0.0


@dataclass(frozen=True)
class Taken:
    """What a cut took.

    Attributes:
        images: (N,) bool.
        findings: The L' findings of the table that an image taken holds, in their order.
        lost: The others: they are no labels any more.
        vectors: (K, L') float32 0/1, the combinations that are taken, those with most images in the pool first.
        counts: (K, 4) int64, images taken of each combination in train, val, test and reference.
        combinations_dropped: How many are not taken.
        missing: Images that train has fewer than the cut's total, within its slack.
    """

    images: Array
    findings: tuple[str, ...]
    lost: tuple[str, ...]
    vectors: Array
    counts: Array
    combinations_dropped: int
    missing: int

    def rows(self) -> list[dict[str, Any]]:
        """Return {"findings", "train", "val", "test", "reference"} for each combination, JSON-ready."""
        return [
            {"findings": _present(vector, self.findings), **dict(zip(SPLITS, count, strict=True))}
            for vector, count in zip(self.vectors, self.counts.tolist(), strict=True)
        ]


def cut(values: Array, splits: Array, names: Sequence[str], wanted: Cut, *, seed: int) -> Taken:
    """Return which images are taken.

    For one pool, split and seed, fewer images of each combination are a subset of more, and val and test do not depend
    on how many train has, nor on how many combinations there are.

    Args:
        values: (N, L) labels.
        splits: (N,) whole numbers, places in `SPLITS`.
        names: The L findings.
        wanted: What is taken.
        seed: Of the order.

    Raises:
        InputError: There are fewer combinations or images than are wanted; says of what and how many.
    """
    vectors, of_image, images = distinct(present_only(values))
    have = _counts(of_image, splits, len(vectors))
    chosen = _chosen(of_image, images, have[:, 0], wanted)
    if missing := _missing(have[chosen], vectors[chosen], names, wanted):
        more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError("A cut takes images that are there", "; ".join(missing[:_SHOWN]) + more, _NEXT)
    quota = np.zeros_like(have)
    quota[chosen] = _quota(have[chosen], wanted)
    group = of_image * len(SPLITS) + splits
    rank = _rank(group, np.random.default_rng(derive_seed(seed, "cut")))
    chosen = chosen[quota[chosen].any(axis=1)]
    held = np.any(vectors[chosen], axis=0).tolist()
    return Taken(
        images=rank < quota.reshape(-1)[group],
        findings=tuple(name for name, there in zip(names, held, strict=True) if there),
        lost=tuple(name for name, there in zip(names, held, strict=True) if not there),
        vectors=vectors[chosen][:, held],
        counts=quota[chosen],
        combinations_dropped=len(vectors) - len(chosen),
        missing=0 if wanted.total[0] is None else wanted.total[0] - int(quota[:, 0].sum()),
    )


def balance(values: Array, names: Sequence[str], *, seed: int) -> Array:
    """Return (N,) bool: all images with a finding and, drawn at random, as many without one.

    A column called "No Finding" is no finding. Where there are fewer images without a finding, all of them stay: in
    either case at least half of the images have a finding. Study 003: 107,933 and as many without, 215,866.

    Raises:
        InputError: No image has a finding.
    """
    findings = [place for place, name in enumerate(names) if name.replace("_", " ").lower() != _NO_FINDING]
    found = (values[:, findings] == 1).any(axis=1)
    if not found.any():
        rule = "Images with a finding are balanced with as many without"
        raise InputError(rule, "none that has one is left", "Lower --min-combination-images, or leave --balance out")
    order = np.random.default_rng(derive_seed(seed, "balance")).permutation(np.flatnonzero(~found))
    kept: Array = found.copy()
    kept[order[: int(found.sum())]] = True
    return kept


def oversample(values: Array, splits: Array, *, to: int, seed: int) -> Array:
    """Return (N,) int64, how often each image stands in the cohort so that train has `to` images; 1 outside train.

    Combinations keep their proportions. Within one, each image is repeated equally often, and the rest is drawn
    without replacement: no image stands there more than once more than another. Study 003, S.1: "constant".

    Raises:
        InputError: Train has more images than that, or none.
    """
    train = splits == 0
    if not 0 < train.sum() <= to:
        offender = f"train has {int(train.sum()):,} images, {to:,} are wanted"
        raise InputError("Repeating images only adds to them", offender, "Choose a larger --oversample")
    _, of_image, have = distinct(present_only(values[train]))
    quota = _proportional(have, to)
    rank = _rank(of_image, np.random.default_rng(derive_seed(seed, "oversample")))
    repeats = np.ones(len(values), np.int64)
    repeats[train] = (quota // have)[of_image] + (rank < (quota % have)[of_image])
    return repeats


def _counts(of_image: Array, splits: Array, combinations: int) -> Array:
    """Return (K, 4), the images of each combination in each split."""
    cells = np.bincount(of_image * len(SPLITS) + splits, minlength=combinations * len(SPLITS))
    return cells.reshape(combinations, len(SPLITS))


def _chosen(of_image: Array, images: Array, in_train: Array, wanted: Cut) -> Array:
    """Return the combinations that stay, those with most images first, of equals the one that the table has first."""
    first = np.empty(len(images), np.int64)
    first[of_image[::-1]] = np.arange(len(of_image))[::-1]  # of several values the last one stays
    order = np.lexsort((first, -images))
    order = order[in_train[order] >= wanted.least]
    if len(order) < (wanted.combinations or 1):
        held = f" with {wanted.least} training images or more" * (wanted.least > 0)
        offender = f"{len(order)} of findings{held} where {wanted.combinations or 1} are wanted"
        raise InputError("A cut takes combinations that are there", offender, _NEXT)
    return order[: wanted.combinations]


def _missing(have: Array, vectors: Array, names: Sequence[str], wanted: Cut) -> list[str]:
    """Return what is not there of the images that are wanted of each combination (K, 4), split by split."""
    missing = []
    for split, (each, total) in enumerate(zip(wanted.each, wanted.total, strict=True)):
        there = int(have[:, split].sum())
        if each is not None:
            for row in np.flatnonzero(have[:, split] < each):
                what = " + ".join(_present(vectors[row], names)) or "no finding"
                missing.append(f"{SPLITS[split]} has {have[row, split]:,} of {each:,} images of {what}")
        elif total is not None and there < (total if split else (1 - wanted.slack) * total):
            missing.append(f"{SPLITS[split]} has {there:,} of {total:,} images")
    return missing


def _quota(have: Array, wanted: Cut) -> Array:
    """Return how many images of each combination (K, 4) are taken."""
    quota = have.copy()
    for split, (each, total) in enumerate(zip(wanted.each, wanted.total, strict=True)):
        if each is not None:
            quota[:, split] = each
        elif total is not None:
            quota[:, split] = _proportional(have[:, split], min(total, int(have[:, split].sum())))
    return quota


def _proportional(have: Array, total: int) -> Array:
    """Return whole numbers in proportion to `have` that sum to `total`, by largest remainders; of equals the first."""
    quota, left = np.divmod(have.astype(np.int64) * total, max(1, int(have.sum())))
    quota[np.argsort(-left, kind="stable")[: total - int(quota.sum())]] += 1
    return quota


def _rank(group: Array, rng: np.random.Generator) -> Array:
    """Return each image's place, from 0, within its group in a random order."""
    mixed = rng.permutation(len(group))
    order = mixed[np.argsort(group[mixed], kind="stable")]
    size = np.bincount(group)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
    return rank


def _present(vector: Array, names: Sequence[str]) -> list[str]:
    return [name for name, value in zip(names, vector, strict=True) if value]
