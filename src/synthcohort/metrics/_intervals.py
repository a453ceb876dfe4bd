"""Intervals of shares and areas where the images of a patient go together.

Sources: Korn and Graubard 1998 (Survey Methodology 24:193; the exact binomial interval at the effective number of
observations); Obuchowski 1997 (Biometrics 53:567; the area under a ROC curve of clustered data).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..statistics import LEVEL, Interval, Variance, clopper_pearson, normal_interval
from ..types import Array

Floats = npt.NDArray[np.float64]


def clustered_share(hits: Array, patients: Array, *, level: float = LEVEL) -> tuple[float, Interval]:
    """Return a share and its exact binomial interval at as many observations as the patients leave.

    With one image for each patient it is the interval of Clopper and Pearson. Where the images of a patient agree, the
    observations are counted down to what their variance between patients is worth; where all or none are hits that
    variance says nothing, and every patient counts once.

    Args:
        hits: (n,) 0, 1, or between for a tie.
        patients: (n,) patient of each.
        level: Two-sided confidence.
    """
    _, code = np.unique(patients, return_inverse=True)
    sizes, sums = np.bincount(code).astype(np.float64), np.bincount(code, weights=np.asarray(hits, np.float64))
    count, people = float(sizes.sum()), len(sizes)
    share = float(sums.sum() / count)
    fewest = count**2 / float((sizes**2).sum())
    effective = count if people == len(code) else fewest
    if people > 1 and 0 < share < 1 and people < len(code):
        variance = float(((sums - share * sizes) ** 2).sum()) / count**2 * people / (people - 1)
        widened = (stats.norm.ppf((1 + level) / 2) / stats.t.ppf((1 + level) / 2, people - 1)) ** 2
        effective = min(count, share * (1 - share) / variance * widened) if variance else count
    return share, _binomial(share, max(1.0, effective), level)


def _binomial(share: float, count: float, level: float) -> Interval:
    tail, hits = (1 - level) / 2, share * count
    low = 0.0 if share <= 0 else float(stats.beta.ppf(tail, hits, count - hits + 1))
    high = 1.0 if share >= 1 else float(stats.beta.ppf(1 - tail, hits + 1, count - hits))
    return Interval(min(low, share), max(high, share))


def clustered_auc(
    members: Array, others: Array, patients: tuple[Array, Array], *, level: float = LEVEL
) -> tuple[float, Interval]:
    """Return the area under the ROC curve of two sides that share no patient, with its interval.

    Variances come from the placements of each image among the other side's, summed by patient (Obuchowski 1997); the
    interval is symmetric in the logit. Where the sides do not overlap at all the variance says nothing: then as many
    pairs as the smaller side has patients share none of them, and all were ordered one way (Clopper and Pearson).

    Args:
        members: (n,) scores; higher speaks for a member.
        others: (m,) scores of non-members.
        patients: Of either side, (n,) and (m,).
        level: Two-sided confidence.
    """
    placed = [_placements(members, others), 1 - _placements(others, members)]
    area = float(placed[0].mean())
    parts = [_variance(values, code, area) for values, code in zip(placed, patients, strict=True)]
    if sum(part.variance for part in parts) <= 1e-18 or not 0 < area < 1:
        pairs = min(len(np.unique(code)) for code in patients)
        around = clopper_pearson(round(area * pairs), pairs, level=level)
        return area, Interval(min(around.low, area), max(around.high, area))
    slope = area * (1 - area)
    on_logit = [Variance(part.variance / slope**2, part.freedom) for part in parts]
    found = normal_interval(float(np.log(area / (1 - area))), *on_logit, level=level)
    assert found is not None, "both sides have a variance"
    return area, Interval(*(float(1 / (1 + np.exp(-bound))) for bound in found))


def _placements(values: Array, among: Array) -> Floats:
    """Return the share of `among` below each value, ties half."""
    known = np.sort(among)
    below, upto = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * len(known)), np.float64)


def _variance(placed: Floats, patients: Array, area: float) -> Variance:
    """Return the variance of the mean placement with whole patients as the units."""
    _, code = np.unique(patients, return_inverse=True)
    people = int(code.max()) + 1
    residuals = np.bincount(code, weights=placed - area)
    return Variance(float((residuals**2).sum()) * people / (people - 1) / len(placed) ** 2, people - 1.0)
