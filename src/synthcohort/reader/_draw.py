"""Which images a study shows: real ones of patients that nothing learnt from, one each; synthetic ones to match.

With findings, both kinds show every combination equally often (in proportion to their numbers), so that a reader who
knows which finding is common learns nothing from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cohort import Cohort
from ..errors import InputError, Mismatch
from ..runs import derive_seed
from ..types import SPLITS, Array

HELD_OUT = ("test", "reference")
Rows = npt.NDArray[np.int64]
Combination = tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """Images of one kind that may be shown, in a random order.

    Attributes:
        rows: (n,) places in the cohort, one a patient.
        combinations: Of each, its findings as 0 and 1; () without findings to match.
        unknown: How many were left out because a finding to match is not stated.
    """

    rows: Rows
    combinations: tuple[Combination, ...]
    unknown: int = 0

    def without(self, taken: Rows) -> Pool:
        """Return the pool less some rows."""
        kept = np.flatnonzero(~np.isin(self.rows, taken))
        return Pool(self.rows[kept], tuple(self.combinations[place] for place in kept), self.unknown)


@dataclass(frozen=True)
class Drawn:
    """The images of a study, as rows of the two cohorts.

    Attributes:
        study: Rows of real and of synthetic images that readers judge.
        training: The same of images that are shown with their answer first.
        matched: Findings of which both kinds show every combination equally often.
        unknown: Held-out patients left out because one of these findings is not stated.
        unmatched: Held-out patients passed over because the synthetic cohort has too few of their combination.
    """

    study: tuple[Rows, Rows]
    training: tuple[Rows, Rows]
    matched: tuple[str, ...]
    unknown: int
    unmatched: int


def held_out(cohort: Cohort) -> Rows:
    """Return the rows of patients that neither a generator nor its choice of weights saw, in order."""
    return np.sort(np.concatenate([cohort.split(name) for name in HELD_OUT]))


def draw(real: Cohort, subject: Cohort, study: tuple[int, int], training: tuple[int, int], *, seed: int) -> Drawn:
    """Return which images are shown.

    Args:
        real: The real cohort.
        subject: The synthetic one, or in a study of the study itself a control or a real one.
        study: How many real and synthetic images readers judge.
        training: How many are shown with their answer first.
        seed: Decides the draw.

    Raises:
        InputError: A cohort has too few images.
        Mismatch: The findings cannot be matched.
    """
    names = tuple(name for name in real.facts.labels if name in subject.facts.labels)
    pools = _pools(real, subject, names, seed)
    for pool, cohort, count, kind in zip(
        pools, (real, subject), np.add(study, training).tolist(), ("real", "synthetic"), strict=True
    ):
        _check_enough(pool, cohort, count, kind)
    first, passed = _matched(pools, study, names)
    left = (pools[0].without(first[0]), pools[1].without(first[1]))
    second, _ = _matched(left, training, names)
    return Drawn(first, second, names, pools[0].unknown, passed)


def _pools(real: Cohort, subject: Cohort, names: Sequence[str], seed: int) -> tuple[Pool, Pool]:
    first = _one_a_patient(real, held_out(real), derive_seed(seed, "reader", "real"))
    if subject.identity == real.identity:  # against itself: no patient is on both sides
        half = len(first) // 2
        return _pool(real, first[:half], names), _pool(real, first[half:], names)
    every = np.concatenate([subject.split(name) for name in SPLITS])
    rows = held_out(subject) if subject.facts.provenance == "real" else np.sort(every)
    second = _one_a_patient(subject, rows, derive_seed(seed, "reader", "synthetic"))
    return _pool(real, first, names), _pool(subject, second, names)


def _one_a_patient(cohort: Cohort, rows: Rows, seed: int) -> Rows:
    shuffled = np.random.default_rng(seed).permutation(rows)
    _, first = np.unique(cohort.samples["patient_id"].astype(str).to_numpy()[shuffled], return_index=True)
    return np.asarray(shuffled[np.sort(first)], np.int64)


def _pool(cohort: Cohort, rows: Rows, names: Sequence[str]) -> Pool:
    columns = [cohort.facts.labels.index(name) for name in names]
    labels: Array = cohort.label_matrix()[rows][:, columns] if names else np.empty((len(rows), 0))
    known = np.isfinite(labels).all(axis=1)
    found = tuple(tuple(int(value) for value in row) for row in labels[known])
    return Pool(rows[known], found, int((~known).sum()))


def _check_enough(pool: Pool, cohort: Cohort, count: int, kind: str) -> None:
    if len(pool.rows) >= count:
        return
    if kind == "real" or cohort.facts.provenance == "real":
        rule = f"Every {kind} image of a study is of another patient of the splits test and reference"
        have = f"{cohort.path.name} has {len(pool.rows)} such patients"
        have += " with every finding stated" * bool(pool.unknown)
        raise InputError(rule, f"{count} are needed, {have}", "Ask for fewer --images, or prepare more patients")
    found = f"{count} are needed, {cohort.path.name} has {len(pool.rows)}"
    raise InputError("A study shows no image twice as two", found, "Ask for fewer --images, or sample more")


def _matched(pools: tuple[Pool, Pool], counts: tuple[int, int], names: Sequence[str]) -> tuple[tuple[Rows, Rows], int]:
    """Return rows of both kinds, every combination in the same proportion, and how many reals were passed over."""
    real, subject = pools
    there, (wanted, asked) = Counter(subject.combinations), counts
    taken: Counter[Combination] = Counter()
    passed: Counter[Combination] = Counter()
    rows: list[int] = []
    for row, combination in zip(real.rows.tolist(), real.combinations, strict=True):
        if len(rows) == wanted:
            break
        if taken[combination] * asked + asked <= there[combination] * wanted:
            taken[combination] += 1
            rows.append(row)
        else:
            passed[combination] += 1
    if len(rows) < wanted:
        combination, number = passed.most_common(1)[0]
        raise Mismatch(
            "Both kinds show every combination of findings equally often",
            f"{number} real images more with {_named(combination, names)} than the synthetic cohort can match"
            f" ({there[combination]} images)",
            "Sample more with --like the real cohort, or ask for fewer --images",
        )
    chosen = _of_combinations(subject, _shares(taken, wanted, asked))
    return (np.array(rows, np.int64), chosen), sum(passed.values())


def _shares(taken: Counter[Combination], wanted: int, asked: int) -> dict[Combination, int]:
    """Return how many of `asked` images have each combination, in the proportions of `taken`; largest remainders."""
    if not asked:
        return {}
    whole = {key: number * asked // wanted for key, number in taken.items()}
    by_rest = sorted(taken, key=lambda key: (-(taken[key] * asked % wanted), key))
    for key in by_rest[: asked - sum(whole.values())]:
        whole[key] += 1
    return whole


def _of_combinations(pool: Pool, shares: dict[Combination, int]) -> Rows:
    left, rows = Counter(shares), list[int]()
    for row, combination in zip(pool.rows.tolist(), pool.combinations, strict=True):
        if left[combination] > 0:
            left[combination] -= 1
            rows.append(row)
    return np.array(rows, np.int64)


def _named(combination: Combination, names: Sequence[str]) -> str:
    present = [name for name, value in zip(names, combination, strict=True) if value]
    return " and ".join(present) or "no finding"
