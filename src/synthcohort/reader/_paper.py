"""The tests that the two studies used, for `protocol=paper`: on readers alone, or on answers alone.

Study 003 took one accuracy a reader to a one-sided Wilcoxon signed-rank test against 0.5; study 000 named an average
of 60 % of 4 readers x 100 images. Neither knows that readers saw the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of accuracies against 0.5.

    Attributes:
        readers: How many.
        dropped: Readers at exactly 0.5, who say nothing in this test.
        mean: Of accuracy.
        sd: Over readers, with divisor n as study 003 prints it.
        less: p value of "accuracy is below 0.5", the one study 003 prints; None where all are dropped.
        greater: p value of "accuracy is above 0.5".
    """

    readers: int
    dropped: int
    mean: float
    sd: float
    less: float | None
    greater: float | None


def signed_rank(right: Sequence[int], total: int) -> SignedRank:
    """Return the test on how many of `total` answers each reader had right.

    Counts, not shares: 0.45 - 0.5 and 0.55 - 0.5 differ in size as floats, so ties would not be seen. The p values are
    exact, over all signs of the midranks of what differs from 0.5.

    Args:
        right: One count a reader.
        total: Answers of each reader.
    """
    off = 2 * np.asarray(right, np.int64) - total
    kept = off[off != 0]
    shares = np.asarray(right, np.float64) / total
    found: dict[Literal["less", "greater"], float] = {}
    if len(kept):
        doubled = np.rint(2 * stats.rankdata(np.abs(kept))).astype(np.int64)
        weights = _sums(doubled)
        positive = int(doubled[kept > 0].sum())
        tails = (weights[: positive + 1].sum(), weights[positive:].sum())
        found = {"less": min(1.0, float(tails[0])), "greater": min(1.0, float(tails[1]))}
    mean, spread = float(shares.mean()), float(shares.std())
    return SignedRank(len(off), int((off == 0).sum()), mean, spread, found.get("less"), found.get("greater"))


def _sums(ranks: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the chance of each sum of positive ranks when every sign is a fair coin."""
    chance = np.zeros(int(ranks.sum()) + 1)
    chance[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chance)
        moved[rank:] = chance[: len(chance) - rank]
        chance = (chance + moved) / 2
    return chance


def pooled_binomial(right: int, total: int) -> float:
    """Return the exact two-sided p value that answers are right half the time, as if all were independent.

    They are not: readers share images, and a reader's answers share the reader.
    """
    return float(stats.binomtest(right, total).pvalue)
