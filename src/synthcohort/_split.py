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
    members: dict[str, list[str]] = {}
    for patient in sorted(clusters):
        members.setdefault(clusters[patient], []).append(patient)
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    if len(members) < len(wanted):
        rule = "Splits are by patient and none may be empty"
        raise InputError(rule, f"fewer patients than splits ({len(members)} < {len(wanted)})", "Add patients")
    order = sorted(members, key=lambda name: (strata[name], derive_seed(seed, "split", name)))
    filled = dict.fromkeys(wanted, 0)
    result: dict[str, str] = {}
    for position, name in enumerate(order):
        split = _furthest_behind(wanted, filled, len(result) + len(members[name]), len(order) - position)
        filled[split] += len(members[name])
        result.update(dict.fromkeys(members[name], split))
    return result


def _furthest_behind(wanted: Mapping[str, float], filled: Mapping[str, int], total: int, left: int) -> str:
    empty = [split for split in wanted if not filled[split]]
    # When as many clusters are left as splits are empty, each of them must go to one of those.
    candidates = empty if left <= len(empty) else list(wanted)
    return max(candidates, key=lambda split: wanted[split] * total - filled[split])
