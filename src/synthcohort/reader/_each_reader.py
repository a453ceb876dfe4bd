"""What one reader did: confusion in the words of study 003, shares, d', criterion, area under the ROC curve.

True reals (TR) are real images called real, false synthetics (FS) real ones called synthetic, true synthetics (TS) and
false reals (FR) the same of synthetic images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..statistics import auc, clopper_pearson
from ..types import Array, Value

Floats = npt.NDArray[np.float64]
_REACH = float(stats.norm.ppf(0.975))
ONE_KIND = "answers to images of one kind only"


@dataclass(frozen=True)
class Confusion:
    """How often which kind was called what."""

    true_reals: int
    false_synthetics: int
    true_synthetics: int
    false_reals: int

    @property
    def reals(self) -> int:
        """Return how many real images were answered."""
        return self.true_reals + self.false_synthetics

    @property
    def synthetics(self) -> int:
        """Return how many synthetic images were answered."""
        return self.true_synthetics + self.false_reals

    @property
    def right(self) -> int:
        """Return how many answers were right."""
        return self.true_reals + self.true_synthetics

    @property
    def total(self) -> int:
        """Return how many images were answered."""
        return self.reals + self.synthetics


def confusion(said_synthetic: Array, synthetic: Array) -> Confusion:
    """Return the counts of one reader, or of several together.

    Args:
        said_synthetic: (N,) or (R, N) bool.
        synthetic: (N,) bool.
    """
    said, kinds = np.broadcast_arrays(np.asarray(said_synthetic, bool), np.asarray(synthetic, bool))
    pairs = ((~said, ~kinds), (said, ~kinds), (said, kinds), (~said, kinds))
    return Confusion(*(int((answer & kind).sum()) for answer, kind in pairs))


def figures(said_synthetic: Array, ratings: Array, synthetic: Array) -> Mapping[str, Value]:
    """Return a reader's figures with 95 % intervals over other images: name -> value.

    Shares have exact binomial intervals, d' and c those of Gourevitch and Galanter 1967 (doi:10.1007/BF02289402), the
    area that of DeLong et al. 1988 (doi:10.2307/2531595).

    Args:
        said_synthetic: (N,) bool.
        ratings: (N,) higher speaks for synthetic.
        synthetic: (N,) bool.
    """
    counts = confusion(said_synthetic, synthetic)
    return {
        "accuracy": _share("accuracy", counts.right, counts.total),
        "sensitivity": _share("sensitivity", counts.true_synthetics, counts.synthetics),
        "specificity": _share("specificity", counts.true_reals, counts.reals),
        **_detection(counts),
        "auc": area_of_one(ratings, synthetic),
    }


def _share(name: str, hits: int, of: int) -> Value:
    if of == 0:
        return Value(name, None, status="not_estimable", reason=ONE_KIND if name != "accuracy" else "no answers")
    return Value(name, hits / of, *clopper_pearson(hits, of), unit="share")


def _detection(counts: Confusion) -> dict[str, Value]:
    if min(counts.reals, counts.synthetics) == 0:
        return {name: Value(name, None, status="not_estimable", reason=ONE_KIND) for name in ("d_prime", "criterion")}
    sides = ((counts.true_synthetics, counts.synthetics), (counts.false_synthetics, counts.reals))
    shares = [(hits + 0.5) / (of + 1) for hits, of in sides]  # log-linear correction
    hit, false = (float(stats.norm.ppf(share)) for share in shares)
    spread = sum(
        share * (1 - share) / (of * float(stats.norm.pdf(z)) ** 2)
        for share, (_, of), z in zip(shares, sides, (hit, false), strict=True)
    )
    distance, lean, reach = hit - false, -(hit + false) / 2, _REACH * spread**0.5
    return {
        "d_prime": Value("d_prime", distance, distance - reach, distance + reach),
        "criterion": Value("criterion", lean, lean - reach / 2, lean + reach / 2),
    }


def area_of_one(ratings: Array, synthetic: Array) -> Value:
    """Return the area under one reader's ROC curve with DeLong's interval.

    Args:
        ratings: (N,) higher speaks for synthetic.
        synthetic: (N,) bool.
    """
    scores, kinds = np.asarray(ratings, np.float64), np.asarray(synthetic, bool)
    n_fake, n_real = int(kinds.sum()), int((~kinds).sum())
    if min(n_fake, n_real) < 2:
        reason = ONE_KIND if min(n_fake, n_real) == 0 else "fewer than two images of a kind"
        return Value("auc", None, status="not_estimable", reason=reason)
    value = auc(kinds.astype(np.float64), scores)
    places = stats.rankdata(scores)
    fake = (places[kinds] - stats.rankdata(scores[kinds])) / n_real
    real = 1 - (places[~kinds] - stats.rankdata(scores[~kinds])) / n_fake
    reach = _REACH * float(fake.var(ddof=1) / n_fake + real.var(ddof=1) / n_real) ** 0.5
    if reach == 0:
        return Value("auc", value, unit="share", reason="no interval: the ratings show no spread")
    return Value("auc", value, max(0.0, value - reach), min(1.0, value + reach), unit="share")


def roc(ratings: Array, synthetic: Array, cuts: Array) -> tuple[Floats, Floats]:
    """Return the share of real and of synthetic images rated at least each cut, from (0, 0) to (1, 1).

    Args:
        ratings: (N,) of one reader.
        synthetic: (N,) bool, of both kinds.
        cuts: (K,) ratings, falling.
    """
    scores, kinds = np.asarray(ratings, np.float64), np.asarray(synthetic, bool)
    reached = scores[None, :] >= np.asarray(cuts, np.float64)[:, None]
    ends = [np.concatenate([[0.0], reached[:, side].mean(axis=1), [1.0]]) for side in (~kinds, kinds)]
    return ends[0], ends[1]
