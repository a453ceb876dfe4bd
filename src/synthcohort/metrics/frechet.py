"""Frechet distance between two sets of features.

Source: Heusel et al. 2017 (arXiv:1706.08500, eq. 6); how it is computed stands in `_frechet.py`. Lower is better, 0 is
ideal. The estimate is biased upward by about 1/N, and the more so the fewer images per dimension, so it is read beside
the ceiling at the same n; `frechet_infinity` extrapolates the bias away. Called "fid" in the space of the 2015
Inception network only. It cannot see copies.
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..statistics import jackknife, normal_interval
from ..types import Features, Value
from ._frechet import InvalidCovariance as InvalidCovariance
from ._frechet import distance as distance
from ._frechet import frechet_distance as frechet_distance
from ._frechet import moments as moments
from ._frechet import trace_of_root as trace_of_root
from ._sides import check_one_space, unusable

REVISION = 1
SPACE = "features"
PER_LABEL = True  # at equal numbers in every role, so that it can be read beside its ceiling


def score(real: Features, synthetic: Features, *, seed: int) -> list[Value]:
    """Return the Frechet distance with a jackknife interval over the patients of both sides.

    Args:
        real: (n, d) held-out real features.
        synthetic: (m, d) features of the subject, of the same extractor.
        seed: Decides the jackknife groups.

    Raises:
        Mismatch: The two sides come from different extractors.
    """
    check_one_space(real, synthetic)
    name = "fid" if real.name.startswith("inception-2015") else "frechet"
    fewest, dimensions = min(len(real), len(synthetic)), real.values.shape[1]
    if broken := unusable(real, synthetic):
        return [Value(name, None, better="lower", status="not_estimable", reason=broken)]
    left, right = moments(real.values), moments(synthetic.values)
    value = distance(left, right)
    interval = normal_interval(
        value,
        jackknife(lambda rows: distance(moments(real.values[rows]), right), real.patients, value,
                  seed=derive_seed(seed, "frechet", "real")),
        jackknife(lambda rows: distance(left, moments(synthetic.values[rows])), synthetic.patients, value,
                  seed=derive_seed(seed, "frechet", "synthetic")),
    )  # fmt: skip
    reason = ""
    if fewest <= dimensions:
        reason = (
            f"{fewest} images in {dimensions} dimensions: biased upward, read only against the ceiling at the same n"
        )
    low, high = interval.clipped(0.0, np.inf) if interval else (None, None)
    return [Value(name, value, low, high, better="lower", reason=reason)]
