"""The texture space: closed forms, ranges, and that it tells a blurred image from a sharp one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from synthcohort.errors import BadOption
from synthcohort.extractors.texture import QUANTILES, Extractor


def test_a_ramp_has_one_gradient_and_no_curvature():
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 5, (32, 1))[None, None]
    found = Extractor().extract(ramp, (0, 255))[0].reshape(2, 3, len(QUANTILES))
    np.testing.assert_allclose(found[0, 1], 5 / 255, atol=1e-7)  # float32 of exact values
    np.testing.assert_allclose(found[1, 1], 10 / 255, atol=1e-7)  # twice as steep per pixel at half the size
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-7)
    np.testing.assert_allclose(found[0, 0], np.quantile(np.tile(np.arange(1, 31), 30) * 5 / 255, QUANTILES), atol=1e-7)


def test_shape_and_independence_of_the_batch():
    images = np.random.default_rng(0).integers(0, 65535, (300, 2, 17, 20), dtype=np.uint16)
    together = Extractor().extract(images, (0, 65535))
    assert together.shape == (300, 2 * Extractor.dimensions)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together[7], Extractor().extract(images[7:8], (0, 65535))[0])


def test_blur_lowers_every_gradient_quantile():
    sharp = np.random.default_rng(0).integers(0, 255, (4, 1, 32, 32), dtype=np.uint8)
    soft = ndimage.gaussian_filter(sharp, (0, 0, 1, 1))
    gradients = [Extractor().extract(images, (0, 255))[:, 6:12] for images in (sharp, soft)]
    assert (gradients[1] < gradients[0]).all()


def test_it_takes_no_weights(tmp_path):
    with pytest.raises(BadOption, match="texture has none"):
        Extractor(weights=tmp_path)
