"""Accuracy and area under the ROC curve of several readers on the same images, with readers and images both random.

The variance is that of a mean over readers r of a figure A_r that all readers owe to the same images:

    Var = MS / R + Cov2,    MS = sum (A_r - mean)^2 / (R - 1),    Cov2 = mean over r != s of A_r A_s  -  M8

with M8 the mean product of two readers on images that have none in common. Written out, this is the unbiased
U-statistic ("one-shot") estimate of Gallas 2006 (doi:10.1016/j.acra.2005.11.030; for shares, Gallas, Pennello and
Myers 2007, doi:10.1364/JOSAA.24.000B70) and at the same time the form of Obuchowski and Rockette 1995
(doi:10.1080/03610919508813243) with that Cov2. As in Hillis 2007 (doi:10.1002/sim.2532) a negative Cov2 counts as 0,
and the degrees of freedom are (MS + R Cov2)^2 / (MS^2 / (R - 1)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..statistics import Interval, clopper_pearson
from ..types import Array

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MINIMUM_READERS, MINIMUM_IMAGES = 2, 2


@dataclass(frozen=True)
class Estimate:
    """A figure over readers and images.

    Attributes:
        value: Its mean over readers, 0 to 1.
        by_reader: (R,) of each reader.
        reader_part: MS / R, the part of the variance that more readers make smaller.
        case_part: Cov2, the part that only more images make smaller; never negative.
        freedom: Degrees of freedom of the t distribution; infinite where readers do not differ.
        images: How many.
        ends: The lowest and highest value that the figure can take.
    """

    value: float
    by_reader: Floats
    reader_part: float
    case_part: float
    freedom: float
    images: int
    ends: tuple[float, float] = (0.0, 1.0)

    @property
    def variance(self) -> float:
        """Return the variance of `value` over other readers and other images."""
        return self.reader_part + self.case_part

    def interval(self, level: float) -> Interval:
        """Return the two-sided interval, cut to what the figure can be.

        Where nothing varies (all readers perfect, or all giving one answer to everything) no spread can be seen; the
        interval of a share is then the exact binomial one of a single reader on these images.
        """
        if self.variance == 0 and self.ends == (0.0, 1.0):
            return clopper_pearson(round(self.value * self.images), self.images, level=level)
        reach = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.variance**0.5
        return Interval(self.value - reach, self.value + reach).clipped(*self.ends)

    def above(self, at: float) -> float:
        """Return the one-sided p value against "the figure is at most `at`"; 0 < at < 1."""
        return self._tail(at, 1)

    def below(self, at: float) -> float:
        """Return the one-sided p value against "the figure is at least `at`"; 0 < at < 1."""
        return self._tail(at, -1)

    def _tail(self, at: float, side: int) -> float:
        if self.variance == 0:
            way: Literal["greater", "less"] = "greater" if side > 0 else "less"
            return float(stats.binomtest(round(self.value * self.images), self.images, at, alternative=way).pvalue)
        return float(stats.t.sf(side * (self.value - at) / self.variance**0.5, self.freedom))


def accuracy(said_synthetic: Array, synthetic: Array) -> Estimate | None:
    """Return the mean of sensitivity and specificity, or None with too few readers or images of a kind.

    With as many real as synthetic images this is the share of right answers. Otherwise it still is 0.5 for whoever
    gives one answer to everything, which the share of right answers is not.

    Args:
        said_synthetic: (R, N) bool, what each reader took each image for.
        synthetic: (N,) bool, what it is.
    """
    said, kinds = np.asarray(said_synthetic, bool), np.asarray(synthetic, bool)
    if not _enough(said, kinds):
        return None
    right = (said == kinds).astype(np.float64)
    parts = [right[:, kinds == kind] for kind in (False, True)]
    case_part = sum(_mean_covariance(part) / part.shape[1] for part in parts) / 4
    return _estimate(np.mean([part.mean(axis=1) for part in parts], axis=0), case_part, len(kinds))


def share(answers: Array) -> Estimate | None:
    """Return the mean of (R, N) answers of 0 or 1, e.g. sensitivity from those to synthetic images alone.

    None with too few readers or images.
    """
    values = np.asarray(answers, np.float64)
    if values.shape[0] < MINIMUM_READERS or values.shape[1] < MINIMUM_IMAGES:
        return None
    return _estimate(values.mean(axis=1), _mean_covariance(values) / values.shape[1], values.shape[1])


def detection(said_synthetic: Array, synthetic: Array) -> tuple[Estimate, Estimate] | None:
    """Return d' and the criterion c of signal detection, or None with too few readers or images of a kind.

    d' = z(H) - z(F) and c = -(z(H) + z(F)) / 2, where H is the share of synthetic images called synthetic and F that of
    real ones, both log-linear corrected: (count + 0.5) / (images + 1) (Hautus 1995, doi:10.3758/BF03203619). c above 0
    is a leaning to "real". The variance is that of the first-order expansion in H and F.

    Args:
        said_synthetic: (R, N) bool.
        synthetic: (N,) bool.
    """
    said, kinds = np.asarray(said_synthetic, np.float64), np.asarray(synthetic, bool)
    if not _enough(said, kinds):
        return None
    scores, parts = {}, []
    for kind in (True, False):
        part = said[:, kinds == kind]
        scores[kind] = stats.norm.ppf((part.sum(axis=1) + 0.5) / (part.shape[1] + 1))
        slopes = 1 / stats.norm.pdf(scores[kind])
        parts.append(_mean_covariance(part * slopes[:, None]) / part.shape[1])
    sensitivity = _estimate(scores[True] - scores[False], sum(parts), len(kinds))
    criterion = _estimate(-(scores[True] + scores[False]) / 2, sum(parts) / 4, len(kinds))
    everywhere = (-np.inf, np.inf)
    return replace(sensitivity, ends=everywhere), replace(criterion, ends=everywhere)


def _mean_covariance(values: Floats) -> float:
    """Return the unbiased covariance over images of two readers, meaned over all pairs of readers."""
    readers, images = values.shape
    centred = values - values.mean(axis=1, keepdims=True)
    both, own = (centred.sum(axis=0) ** 2).sum(), (centred**2).sum()
    return float((both - own) / (images - 1) / (readers * (readers - 1)))


def area(ratings: Array, synthetic: Array) -> Estimate | None:
    """Return the area under the ROC curve, or None with too few readers or images of a kind.

    Time and memory grow with the square of the number of different ratings, summed over readers: ten each in a study.

    Args:
        ratings: (R, N) finite; higher speaks for synthetic.
        synthetic: (N,) bool.
    """
    scores, kinds = np.asarray(ratings, np.float64), np.asarray(synthetic, bool)
    if not _enough(scores, kinds):
        return None
    real, fake = _Levels(scores, ~kinds), _Levels(scores, kinds)
    kernel = _kernel(real.values)
    areas = np.einsum("rl,rlk,rk->r", real.shares, kernel, fake.shares)
    return _estimate(areas, max(0.0, _products(areas) - _disjoint(real, fake, kernel)), len(kinds))


class _Levels:
    """How often each reader, and each pair of readers, gave which ratings to images of one kind."""

    def __init__(self, scores: Floats, rows: Flags) -> None:
        found: list[tuple[Floats, npt.NDArray[Any]]] = [np.unique(one, return_inverse=True) for one in scores]
        self.values = np.full((len(scores), max(len(values) for values, _ in found)), np.nan)
        hot = np.zeros((int(rows.sum()), *self.values.shape))
        for reader, (values, level) in enumerate(found):
            self.values[reader, : len(values)] = values
            hot[np.arange(len(hot)), reader, level[rows]] = 1
        self.images, self.hot = len(hot), hot
        self.shares = hot.mean(axis=0)
        flat = hot.reshape(len(hot), -1)
        self.pairs = flat.T @ flat


def _kernel(values: Floats) -> Floats:
    """Return (R, L, L): 1 where the second level is higher than the first, 0.5 where equal."""
    first, second = values[:, :, None], values[:, None, :]
    return np.where(second > first, 1.0, np.where(second == first, 0.5, 0.0))


def _products(figures: Floats) -> float:
    """Return the mean product of the figures of two different readers."""
    return float((figures.sum() ** 2 - (figures**2).sum()) / (len(figures) * (len(figures) - 1)))


def _disjoint(real: _Levels, fake: _Levels, kernel: Floats) -> float:
    """Return M8: the mean product of two readers' comparisons on four different images.

    All products less those that share the real image, less those that share the synthetic one, and those that share
    both added again; of one reader with themself taken out in each.
    """
    n_real, n_fake, readers = real.images, fake.images, len(kernel)
    by_real = np.einsum("irl,rlk,rk->ir", real.hot, kernel, fake.shares * n_fake)
    by_fake = np.einsum("jrk,rlk,rl->jr", fake.hot, kernel, real.shares * n_real)
    size = kernel.shape[0] * kernel.shape[1]
    blocks = np.zeros((readers, kernel.shape[1], readers, kernel.shape[1]))
    blocks[np.arange(readers), :, np.arange(readers), :] = kernel
    flat = blocks.reshape(size, size)
    shared = real.pairs * (flat @ fake.pairs @ flat.T)
    own = np.einsum("rlrk->", shared.reshape(blocks.shape))
    every = by_real.sum() ** 2 - (by_real.sum(axis=0) ** 2).sum()
    same_real = (by_real.sum(axis=1) ** 2).sum() - (by_real**2).sum()
    same_fake = (by_fake.sum(axis=1) ** 2).sum() - (by_fake**2).sum()
    count = readers * (readers - 1) * n_real * (n_real - 1) * n_fake * (n_fake - 1)
    return float((every - same_real - same_fake + shared.sum() - own) / count)


def _estimate(figures: Floats, case_part: float, images: int) -> Estimate:
    readers = len(figures)
    spread, common = float(figures.var(ddof=1)), max(0.0, case_part)
    spread = spread if spread > 1e-24 else 0.0  # figures that are equal up to rounding
    freedom = (spread + readers * common) ** 2 / (spread**2 / (readers - 1)) if spread else float("inf")
    return Estimate(float(figures.mean()), figures, spread / readers, common, freedom, images)


def _enough(answers: Array, kinds: Flags) -> bool:
    return len(answers) >= MINIMUM_READERS and min(int(kinds.sum()), int((~kinds).sum())) >= MINIMUM_IMAGES
