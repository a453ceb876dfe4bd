"""Which split a patient belongs to: derived from source ids and the seed by SHA-256, never from the pseudonym key."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from .errors import InputError
from .runs import derive_seed
from .types import SPLITS

_ROUNDING = 1e-9
"""0.7 + 0.1 is a little less than 0.8: cumulated shares of whole patients are rounded up by less than one of them."""


def linked(pairs: Iterable[tuple[str, str]], patients: Iterable[str]) -> dict[str, str]:
    """Return patient -> representative, the same for patients that are linked through any chain of pairs."""
    parent = {patient: patient for patient in patients}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = parent[parent[patient]]
            patient = parent[patient]
        return patient

    for left, right in pairs:
        first, second = sorted((root(left), root(right)))
        parent[second] = first
    return {patient: root(patient) for patient in parent}


def fold_shares(shares: Sequence[float], fold: tuple[int, int] | None) -> tuple[float, ...]:
    """Return the shares of train, val, test and reference; with fold (i, k) test has 1/k, the others share the rest."""
    if fold is None:
        return tuple(shares)
    test, others = SPLITS.index("test"), 1 - shares[SPLITS.index("test")]
    rest = 1 - 1 / fold[1]
    return tuple(1 / fold[1] if i == test else share / others * rest for i, share in enumerate(shares))


def divide(
    strata: Mapping[str, str],
    clusters: Mapping[str, str],
    *,
    shares: Sequence[float],
    seed: int,
    fold: tuple[int, int] | None = None,
) -> dict[str, str]:
    """Return patient -> split, with one of k folds as the test split when `fold` is (i, k).

    The k folds depend on the patients, k and the seed only: they are disjoint, and together they hold every patient.

    Args:
        strata: Patient -> what to balance over.
        clusters: Patient -> representative; patients of one cluster share a split.
        shares: Share of train, val, test and reference; that of test is not used with `fold`.
        seed: Another seed gives another split.
        fold: Which fold, from 1, of how many.

    Raises:
        InputError: There are fewer patients than splits or folds.
    """
    if fold is None:
        return assign(strata, clusters, shares=shares, seed=seed)
    number, count = fold
    parts = _deal(strata, clusters, {str(i): 1 / count for i in range(1, count + 1)}, order=(seed, "fold"))
    rest = {patient: name for patient, name in clusters.items() if parts[patient] != str(number)}
    left = [0.0 if split == "test" else share for split, share in zip(SPLITS, shares, strict=True)]
    splits = assign(strata, rest, shares=[share / sum(left) for share in left], seed=seed)
    return {patient: splits.get(patient, "test") for patient in clusters}


def assign(
    strata: Mapping[str, str], clusters: Mapping[str, str], *, shares: Sequence[float], seed: int
) -> dict[str, str]:
    """Return patient -> split, in the given shares overall and, nearly, within each stratum.

    Clusters are taken stratum by stratum, in an order derived from their ids and the seed; each goes to the split that
    is furthest behind its share, so every prefix, and with it every stratum, is split in proportion.

    Args:
        strata: Patient -> what to balance over.
        clusters: Patient -> representative; patients of one cluster share a split.
        shares: Share of train, val, test and reference; they sum to 1. A share of 0 leaves a split empty.
        seed: Another seed gives another split.

    Raises:
        InputError: There are fewer patients than splits.
    """
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    return _deal(strata, clusters, wanted, order=(seed, "split"))


def plain(clusters: Mapping[str, str], *, shares: Sequence[float], seed: int) -> dict[str, str]:
    """Return patient -> split: patients in an order derived from their ids and the seed, cut at cumulated shares.

    As in the released code of study 003: n patients are cut at the whole numbers below 0.8 n and 0.9 n, and nothing is
    balanced. A cluster is never cut: the cut falls between clusters, where it is nearest.

    Args:
        clusters: Patient -> representative; patients of one cluster share a split.
        shares: Share of train, val, test and reference; they sum to 1. A share of 0 leaves a split empty.
        seed: Another seed gives another split.

    Raises:
        InputError: There are fewer patients than splits.
    """
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    members = _members(clusters, wanted, "splits")
    queue = sorted(members, key=lambda name: derive_seed(seed, "plain split", name))
    ends = list(itertools.accumulate(len(members[name]) for name in queue))
    result: dict[str, str] = {}
    start = 0
    for place, (split, share) in enumerate(zip(wanted, itertools.accumulate(wanted.values()), strict=True), 1):
        stop = len(queue) if place == len(wanted) else _nearest(ends, int(share * ends[-1] + _ROUNDING))
        # None is empty, neither this split nor those that are still to come.
        stop = min(max(stop, start + 1), len(queue) - len(wanted) + place)
        result |= {patient: split for name in queue[start:stop] for patient in members[name]}
        start = stop
    return result


def _nearest(ends: Sequence[int], wanted: int) -> int:
    """Return how many clusters to take so that the patients in them, `ends` cumulated, are nearest to `wanted`."""
    above = bisect.bisect_left(ends, wanted)
    below = ends[above - 1] if above else 0
    return above if wanted - below <= ends[above] - wanted else above + 1


def official(
    strata: Mapping[str, str],
    clusters: Mapping[str, str],
    parts: Mapping[str, Collection[str]],
    *,
    shares: Sequence[float],
    seed: int,
) -> tuple[dict[str, str], int]:
    """Return patient -> split as the download has it, and how many patients it has in several parts.

    What the download calls test or val is that; the other patients are divided over the splits that it does not name,
    in proportion to their shares and stratified. A cluster of patients that it has in several parts goes to the first
    of train, val and test among them, so that no test patient is trained on.

    Args:
        strata: Patient -> what to balance over.
        clusters: Patient -> representative; patients of one cluster share a split.
        parts: Patient -> what the download calls the parts that hold their images: "train", "val", "test"; "" where
            it says nothing, which counts as "train".
        shares: Share of train, val, test and reference; those of the splits that the download names are not used.
        seed: Another seed gives another division of the others.

    Raises:
        InputError: The download names no test patient, or too few others.
    """
    said: dict[str, set[str]] = {}
    for patient, name in clusters.items():
        said.setdefault(name, set()).update(part or "train" for part in parts[patient])
    crossing = sum(len(said[name]) > 1 for name in clusters.values())
    part = {name: next(split for split in SPLITS if split in found) for name, found in said.items()}
    named = set(part.values()) - {"train"}
    if "test" not in named:
        raise _without_test(any("test" in found for found in said.values()), shares[SPLITS.index("test")])
    rest = {patient: name for patient, name in clusters.items() if part[name] == "train"}
    left = [0.0 if split in named else share for split, share in zip(SPLITS, shares, strict=True)]
    splits = assign(strata, rest, shares=[share / sum(left) for share in left], seed=seed)
    return {patient: splits.get(patient, part[name]) for patient, name in clusters.items()}, crossing


def _without_test(named: bool, share: float) -> InputError:
    """Return the error of a download without test patients, or whose test patients are all in its other parts too."""
    rule = "The official split is that of a download with test patients"
    merged = "each of its test patients is in another part too, by name or by identical images"
    # Shares that leave test to the download would make a stratified split without a test split.
    more = "" if share > 0 else " with --fold 1/5, or with --shares for test"
    return InputError(rule, merged if named else "this one names none", f"Use --split stratified{more}")


def _deal(
    strata: Mapping[str, str], clusters: Mapping[str, str], wanted: Mapping[str, float], *, order: tuple[int, str]
) -> dict[str, str]:
    members = _members(clusters, wanted, f"{order[1]}s")
    queue = sorted(members, key=lambda name: (strata[name], derive_seed(*order, name)))
    filled = dict.fromkeys(wanted, 0)
    result: dict[str, str] = {}
    for position, name in enumerate(queue):
        split = _furthest_behind(wanted, filled, len(result) + len(members[name]), len(queue) - position)
        filled[split] += len(members[name])
        result.update(dict.fromkeys(members[name], split))
    return result


def _members(clusters: Mapping[str, str], wanted: Mapping[str, float], kind: str) -> dict[str, list[str]]:
    """Return representative -> patients of its cluster, unless there are fewer clusters than splits or folds."""
    members: dict[str, list[str]] = {}
    for patient in sorted(clusters):
        members.setdefault(clusters[patient], []).append(patient)
    if len(members) < len(wanted):
        rule = f"{kind.capitalize()} are by patient and none may be empty"
        raise InputError(rule, f"fewer patients than {kind} ({len(members)} < {len(wanted)})", "Add patients")
    return members


def _furthest_behind(wanted: Mapping[str, float], filled: Mapping[str, int], total: int, left: int) -> str:
    empty = [split for split in wanted if not filled[split]]
    # When as many clusters are left as splits are empty, each of them must go to one of those.
    candidates = empty if left <= len(empty) else list(wanted)
    return max(candidates, key=lambda split: wanted[split] * total - filled[split])
