"""Frechet distance: closed forms, a public implementation, a textbook square root, and the awkward cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from synthcohort.metrics import frechet
from synthcohort.types import Features


def features(values, name="toy"):
    return Features(np.asarray(values, np.float32), np.arange(len(values)) // 3, name)


def textbook(a, b):
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with the general matrix square root, float64."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(linalg.sqrtm(first @ second))
    shift = a.mean(axis=0) - b.mean(axis=0)
    return shift @ shift + np.trace(first + second - 2 * root)


def from_torchmetrics(a, b):
    from torchmetrics.image.fid import _compute_fid

    sides = [(torch.from_numpy(x.mean(axis=0)), torch.from_numpy(np.cov(x, rowvar=False))) for x in (a, b)]
    return float(_compute_fid(*sides[0], *sides[1]))


def gaussians(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), rng.normal(0.3, 1.2, (m, d)) @ rng.normal(size=(d, d))


class TestClosedForm:
    def test_diagonal_gaussians(self):
        # Points +-s on each axis have mean 0 and covariance diag(2 s^2 / (N-1)), N = 2d.
        d = 6
        scale_a, scale_b, shift = np.arange(1.0, 7), np.arange(2.0, 14, 2), np.full(d, 0.5)
        a, b = (np.concatenate([np.diag(s), -np.diag(s)]) for s in (scale_a, scale_b))
        expected = shift @ shift + 2 / (2 * d - 1) * np.sum((scale_a - scale_b) ** 2)
        assert frechet.frechet_distance(a, b + shift) == pytest.approx(expected, rel=1e-12)

    def test_trace_of_commuting_matrices(self):
        basis = linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
        left, right = np.arange(1.0, 9), np.arange(9.0, 1, -1)
        found = frechet.trace_of_root(basis * left @ basis.T, basis * right @ basis.T)
        assert found == pytest.approx(np.sqrt(left * right).sum(), rel=1e-12)

    def test_one_dimension(self):
        a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[1.0], [1.5], [2.0]])
        assert frechet.frechet_distance(a, b) == pytest.approx(0.5**2 + (2 - 0.5) ** 2, rel=1e-12)

    def test_a_set_has_distance_zero_to_itself(self):
        for shape in ((400, 20), (20, 400)):
            a = np.random.default_rng(1).normal(size=shape)
            assert frechet.frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * shape[1])  # sqrt of rounding


class TestAgainstReferences:
    @pytest.mark.parametrize(("n", "m", "d"), [(500, 300, 32), (150, 900, 64), (2000, 2000, 8)])
    def test_textbook_and_torchmetrics(self, n, m, d):
        a, b = gaussians(n, m, d)
        found = frechet.frechet_distance(a, b)
        assert found == pytest.approx(textbook(a, b), rel=1e-9)  # float64 on all sides
        assert found == pytest.approx(from_torchmetrics(a, b), rel=1e-9)

    @pytest.mark.parametrize(("n", "m"), [(30, 25), (25, 30), (30, 400), (400, 30)])
    def test_fewer_images_than_dimensions(self, n, m):
        a, b = gaussians(n, m, 80)
        # The reference loses digits to its null space: the root of 1e-16 is 1e-8, fifty times over.
        assert frechet.frechet_distance(a, b) == pytest.approx(textbook(a, b), rel=1e-5)

    def test_both_routes_agree(self):
        a, b = gaussians(120, 130, 60)
        wide = [np.pad(x, ((0, 0), (0, 80))) for x in (a, b)]  # more dimensions than images, the same distance
        assert frechet.moments(a).scatter is None
        assert frechet.moments(wide[0]).covariance is None
        assert frechet.frechet_distance(*wide) == pytest.approx(frechet.frechet_distance(a, b), rel=1e-6)

    def test_singular_covariance_takes_the_other_route(self):
        a, b = gaussians(300, 300, 20)
        a[:, 7], b[:, 7] = 0, 0  # a feature that is never active: Cholesky fails
        kept = [i for i in range(20) if i != 7]
        with pytest.raises(linalg.LinAlgError):
            linalg.cholesky(np.cov(a, rowvar=False))
        expected = frechet.frechet_distance(a[:, kept], b[:, kept])
        assert frechet.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


class TestRefusals:
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_negative_eigenvalue_raises(self, side):
        good, bad = np.eye(4), np.diag([1.0, 1, 1, -0.1])
        with pytest.raises(frechet.InvalidCovariance, match="negative eigenvalue"):
            frechet.trace_of_root(*((bad, good) if side == "left" else (good, bad)))

    def test_features_that_are_not_finite_raise(self):
        a = np.ones((5, 2))
        a[2, 1] = np.nan
        with pytest.raises(frechet.InvalidCovariance, match="finite"):
            frechet.frechet_distance(a, np.eye(5, 2))


class TestScore:
    def test_the_name_is_fid_only_in_the_2015_space(self):
        a, b = (features(x) for x in gaussians(60, 60, 5))
        assert frechet.score(a, b, seed=0)[0].metric == "frechet"
        a, b = (Features(x.values, x.patients, "inception-2015-6726825d") for x in (a, b))
        assert frechet.score(a, b, seed=0)[0].metric == "fid"
        a, b = (Features(x.values, x.patients, "inception-other-00000000") for x in (a, b))
        assert frechet.score(a, b, seed=0)[0].metric == "frechet"

    def test_few_images_are_scored_with_a_warning(self):
        (value,) = frechet.score(*(features(x) for x in gaussians(30, 40, 64)), seed=0)
        assert value.status == "ok"
        assert "30 images in 64 dimensions" in value.reason
        assert "ceiling" in value.reason

    def test_one_image_is_not_estimable(self):
        (value,) = frechet.score(features(np.ones((1, 3))), features(np.ones((9, 3))), seed=0)
        assert (value.status, value.value) == ("not_estimable", None)

    def test_the_interval_is_as_wide_as_the_spread_of_repeated_studies(self):
        rng, found, widths = np.random.default_rng(3), [], []
        for _ in range(60):
            (value,) = frechet.score(
                features(rng.normal(size=(150, 4))), features(rng.normal(0.5, 1.3, (150, 4))), seed=0
            )
            found.append(value.value)
            widths.append((value.high - value.low) / 2)
        # t(about 18) reaches 2.10 standard errors; 60 studies know a spread to 9 %, and the jackknife errs upwards.
        assert 0.75 <= np.mean(widths) / 2.10 / np.std(found, ddof=1) <= 1.35
