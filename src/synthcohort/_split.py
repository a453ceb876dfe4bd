"""Which split a patient belongs to: derived from source ids and the seed by SHA-256, never from the pseudonym key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .errors import InputError
from .runs import derive_seed
from .types import SPLITS


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


def _deal(
    strata: Mapping[str, str], clusters: Mapping[str, str], wanted: Mapping[str, float], *, order: tuple[int, str]
) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for patient in sorted(clusters):
        members.setdefault(clusters[patient], []).append(patient)
    if len(members) < len(wanted):
        kind = f"{order[1]}s"
        rule = f"{kind.capitalize()} are by patient and none may be empty"
        raise InputError(rule, f"fewer patients than {kind} ({len(members)} < {len(wanted)})", "Add patients")
    queue = sorted(members, key=lambda name: (strata[name], derive_seed(*order, name)))
    filled = dict.fromkeys(wanted, 0)
    result: dict[str, str] = {}
    for position, name in enumerate(queue):
        split = _furthest_behind(wanted, filled, len(result) + len(members[name]), len(queue) - position)
        filled[split] += len(members[name])
        result.update(dict.fromkeys(members[name], split))
    return result


def _furthest_behind(wanted: Mapping[str, float], filled: Mapping[str, int], total: int, left: int) -> str:
    empty = [split for split in wanted if not filled[split]]
    # When as many clusters are left as splits are empty, each of them must go to one of those.
    candidates = empty if left <= len(empty) else list(wanted)
    return max(candidates, key=lambda split: wanted[split] * total - filled[split])
