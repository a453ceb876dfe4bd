"""Radiomics: textbook loops, scikit-image, the worked example of the IBSI manual, and constant images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from skimage.feature import graycomatrix, graycoprops

from synthcohort.errors import BadOption
from synthcohort.extractors import _grey_levels, radiomics

ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def levels(seed=0, shape=(3, 9, 12), count=6):
    return np.random.default_rng(seed).integers(0, count, shape)


def runs_by_hand(image, count):
    """Walk every line of the four directions."""
    height, width = image.shape
    lines = [list(row) for row in image] + [list(column) for column in image.T]
    for flipped in (image, image[:, ::-1]):
        lines += [list(np.diagonal(flipped, offset)) for offset in range(-height + 1, width)]
    found = np.zeros((count, max(height, width)))
    for line in lines:
        start = 0
        for place in range(1, len(line) + 1):
            if place == len(line) or line[place] != line[start]:
                found[line[start], place - start - 1] += 1
                start = place
    return found


def test_cooccurrence_is_that_of_scikit_image():
    images = levels()
    found = _grey_levels.cooccurrence(images, 6)
    features = _grey_levels.cooccurrence_features(found)
    for place, image in enumerate(images):
        merged = graycomatrix(image.astype(np.uint8), [1], ANGLES, levels=6, symmetric=True)[:, :, 0].sum(-1)
        matrix = (merged / merged.sum())[:, :, None, None]
        np.testing.assert_allclose(found[place], matrix[:, :, 0, 0], rtol=1e-12)
        same = {"contrast": "contrast", "dissimilarity": "dissimilarity", "correlation": "correlation",
                "ASM": "angular second moment", "homogeneity": "inverse difference moment"}  # fmt: skip
        for theirs, ours in same.items():
            assert features[ours][place] == pytest.approx(graycoprops(matrix, theirs)[0, 0], rel=1e-10)


def test_cooccurrence_features_are_their_definitions():
    p = _grey_levels.cooccurrence(levels(1), 6)[0]
    found = {name: float(value[0]) for name, value in _grey_levels.cooccurrence_features(p[None]).items()}
    pairs = [(i, j, p[i - 1, j - 1]) for i in range(1, 7) for j in range(1, 7)]
    mean = sum(i * q for i, _, q in pairs)
    assert found["joint variance"] == pytest.approx(sum((i - mean) ** 2 * q for i, _, q in pairs))
    assert found["autocorrelation"] == pytest.approx(sum(i * j * q for i, j, q in pairs))
    assert found["cluster shade"] == pytest.approx(sum((i + j - 2 * mean) ** 3 * q for i, j, q in pairs))
    assert found["cluster prominence"] == pytest.approx(sum((i + j - 2 * mean) ** 4 * q for i, j, q in pairs))
    assert found["inverse variance"] == pytest.approx(sum(q / (i - j) ** 2 for i, j, q in pairs if i != j))
    assert found["joint entropy"] == pytest.approx(-sum(q * np.log2(q) for *_, q in pairs if q))
    assert found["normalised inverse difference"] == pytest.approx(sum(q / (1 + abs(i - j) / 6) for i, j, q in pairs))
    assert found["sum variance"] == pytest.approx(sum((i + j - found["sum average"]) ** 2 * q for i, j, q in pairs))
    gaps = [sum(q for i, j, q in pairs if abs(i - j) == k) for k in range(6)]
    assert found["difference entropy"] == pytest.approx(-sum(q * np.log2(q) for q in gaps if q))


@pytest.mark.parametrize("shape", [(2, 9, 12), (2, 12, 9), (2, 5, 5)])
def test_run_lengths_are_those_of_a_walk(shape):
    images = levels(2, shape, 3)
    found = _grey_levels.run_lengths(images, 3)
    for place, image in enumerate(images):
        np.testing.assert_array_equal(found[place], runs_by_hand(image, 3))
    assert (found @ np.arange(1, found.shape[2] + 1)).sum() == 4 * images.size  # every pixel once a direction


def test_run_length_features_are_their_definitions():
    runs = _grey_levels.run_lengths(levels(3, (1, 8, 8), 4), 4)
    found = {name: float(value[0]) for name, value in _grey_levels.run_length_features(runs, 64).items()}
    entries = [(g + 1, r + 1, runs[0, g, r]) for g in range(4) for r in range(8)]
    total = runs.sum()
    assert found["short runs"] == pytest.approx(sum(c / r**2 for _, r, c in entries) / total)
    assert found["long runs of low grey levels"] == pytest.approx(sum(c * r**2 / g**2 for g, r, c in entries) / total)
    assert found["grey level non-uniformity"] == pytest.approx((runs[0].sum(axis=1) ** 2).sum() / total)
    assert found["run percentage"] == pytest.approx(total / 256)
    mean = sum(r * c for _, r, c in entries) / total
    assert found["run length variance"] == pytest.approx(sum((r - mean) ** 2 * c for _, r, c in entries) / total)


def test_grey_values_are_those_of_scipy():
    values = np.random.default_rng(4).gamma(2, 0.1, (3, 500)).clip(0, 1)
    found = radiomics.first_order(values, np.minimum((values * 32).astype(int), 31))
    np.testing.assert_allclose(found["skewness"], stats.skew(values, axis=1), rtol=1e-10)
    np.testing.assert_allclose(found["excess kurtosis"], stats.kurtosis(values, axis=1), rtol=1e-10)
    np.testing.assert_allclose(found["interquartile range"], stats.iqr(values, axis=1), rtol=1e-10)
    share = np.bincount(np.minimum((values[0] * 32).astype(int), 31)) / 500
    assert found["entropy"][0] == pytest.approx(stats.entropy(share, base=2))


def test_shape_ranges_and_independence_of_the_batch():
    images = np.random.default_rng(5).integers(0, 256, (140, 2, 10, 11)).astype(np.uint8)
    together = radiomics.Extractor().extract(images, (0, 255))
    assert together.shape == (140, 2 * radiomics.Extractor.dimensions)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(together[130], radiomics.Extractor().extract(images[130:131], (0, 255))[0])
    deep = radiomics.Extractor().extract(images.astype(np.uint16) * 257, (0, 65535))
    np.testing.assert_allclose(deep, together, rtol=1e-5)


def test_a_constant_image_has_finite_features():
    found = radiomics.Extractor().extract(np.full((2, 1, 8, 8), 9, np.uint8), (0, 255))
    assert np.isfinite(found).all()


def test_it_takes_no_weights(tmp_path):
    with pytest.raises(BadOption, match="radiomics has none"):
        radiomics.Extractor(weights=tmp_path)
