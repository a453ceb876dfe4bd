"""The Frechet distance between two Gaussians, in float64 and symmetric form.

Source: Heusel et al. 2017 (arXiv:1706.08500, eq. 6); Dowson and Landau 1982. Covariances divide by N-1.

For covariances A = L L^T and B, the eigenvalues of A B are those of the symmetric L^T B L, so
tr (A B)^(1/2) = sum of the square roots of eigvalsh(L^T B L): real by construction, and an eigenvalue that is clearly
negative proves an invalid covariance instead of vanishing into an absolute value. A set with fewer images than
dimensions enters by its centred images instead: the matrix is then n x n, and has no null space to lose digits in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from ..errors import SynthcohortError
from ..types import Array

Matrix = npt.NDArray[np.float64]
_NEGATIVE = 1e-7  # of the largest eigenvalue; rounding stays below 1e-10


class InvalidCovariance(SynthcohortError):
    """A matrix is no covariance: it has a clearly negative eigenvalue or entries that are not finite."""


@dataclass(frozen=True)
class Moments:
    """A set of features as a Gaussian.

    Attributes:
        mean: (d,) float64.
        trace: Trace of the covariance.
        covariance: (d, d) float64 with divisor N-1, or None when there are fewer images than dimensions.
        scatter: (n, d) centred features over sqrt(N-1), so that covariance = scatter^T scatter; None otherwise.
    """

    mean: Matrix
    trace: float
    covariance: Matrix | None
    scatter: Matrix | None


def moments(features: Array) -> Moments:
    """Return the mean and the unbiased covariance of features (n, d), n at least 2, in float64.

    Raises:
        InvalidCovariance: A feature is not finite.
    """
    values = np.asarray(features, dtype=np.float64)
    mean = values.mean(axis=0)
    scatter = (values - mean) / np.sqrt(len(values) - 1)
    trace = float(np.einsum("ij,ij->", scatter, scatter))
    if not np.isfinite(trace):
        raise InvalidCovariance("Features must be finite, some are not; check the extractor and its weights")
    if len(values) <= values.shape[1]:
        return Moments(mean, trace, None, scatter)
    return Moments(mean, trace, scatter.T @ scatter, None)


def trace_of_root(left: Matrix, right: Matrix) -> float:
    """Return tr (left right)^(1/2) of two covariances (d, d) float64.

    Raises:
        InvalidCovariance: One of them has a clearly negative eigenvalue.
    """
    try:
        factor = linalg.cholesky(left, lower=True, check_finite=False)
        # trmm: L is triangular, which halves the work of both products. right.T is right, laid out as BLAS wants it.
        half = linalg.blas.dtrmm(1.0, factor, right.T, side=0, lower=1, trans_a=1)
        return _sum_of_roots(linalg.blas.dtrmm(1.0, factor, half, side=1, lower=1, overwrite_b=1))
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(left, check_finite=False)
        factor = vectors * np.sqrt(_not_negative(np.asarray(values, np.float64)))
        return _sum_of_roots(factor.T @ right @ factor)


def _sum_of_roots(symmetric: Matrix) -> float:
    values = np.asarray(linalg.eigvalsh(symmetric, driver="evd", check_finite=False), np.float64)  # reads one triangle
    return float(np.sqrt(_not_negative(values)).sum())


def _not_negative(values: Matrix) -> Matrix:
    largest = float(np.abs(values).max())
    if not np.isfinite(largest) or values.min() < -_NEGATIVE * largest:
        raise InvalidCovariance("A covariance has no negative eigenvalue, this one has; check the features")
    # Below this an eigenvalue is rounding; its root would be worth 1e-8 of the largest.
    return np.where(values > len(values) * np.finfo(np.float64).eps * largest, values, 0.0)


def distance(left: Moments, right: Moments) -> float:
    """Return the Frechet distance between two Gaussians."""
    first, second = (left, right) if _size(left) <= _size(right) else (right, left)
    if first.scatter is not None:
        cross = first.scatter @ (second.scatter.T if second.scatter is not None else _present(second.covariance))
        root = _sum_of_roots(cross @ (cross.T if second.scatter is not None else first.scatter.T))
    else:
        root = trace_of_root(_present(first.covariance), _present(second.covariance))
    shift = left.mean - right.mean
    return max(0.0, float(shift @ shift) + left.trace + right.trace - 2 * root)


def _size(side: Moments) -> int:
    return len(side.mean) if side.scatter is None else len(side.scatter) - 1


def _present(matrix: Matrix | None) -> Matrix:
    assert matrix is not None, "a set is its covariance or its scatter"
    return matrix


def frechet_distance(features_a: Array, features_b: Array) -> float:
    """Return the Frechet distance between two sets of features (n, d) and (m, d), n and m at least 2.

    Raises:
        InvalidCovariance: A feature is not finite.
    """
    return distance(moments(features_a), moments(features_b))
