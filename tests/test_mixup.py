"""Mixup: each sample is the mixture of two training images that it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from synthcohort import plugins
from synthcohort.cohort import Facts
from synthcohort.errors import BadOption, InputError
from synthcohort.nets.generator import Streams, build
from synthcohort.types import Condition

COUNT, SIDE = 6, 8
CLASSES = ("background", "disc")


def fitted(alpha=1.0, count=COUNT):
    """Return a mixup of `count` images, each of which alone has a bright pixel, its finding and its mask there."""
    model = plugins.find("generators", "mixup")(
        shape=(1, SIDE, SIDE), labels=tuple(f"finding{i}" for i in range(count)), mask_classes=CLASSES, alpha=alpha
    )
    images = np.full((count, 1, SIDE * SIDE), -1, np.float32)
    images[np.arange(count), 0, np.arange(count)] = 1
    model.fit(
        images.reshape(count, 1, SIDE, SIDE),
        (images[:, 0] > 0).astype(np.uint8).reshape(count, SIDE, SIDE),
        np.eye(count, dtype=np.float32),
        seed=0,
    )
    return model


def weights(made, count=COUNT):
    """Return (n, count): how much of each training image is in a sample, read from its own pixel."""
    return (made.images.flatten(1)[:, :count] + 1) / 2


def drawn(model, count=400):
    return model.sample(Condition(count), Streams(range(count)))


def test_a_sample_is_a_convex_combination_of_two_different_images():
    found = weights(drawn(fitted()))
    assert torch.equal((found > 0).sum(1), torch.full((400,), 2))
    assert torch.allclose(found.sum(1), torch.ones(400), atol=1e-4)  # 16-bit grey levels
    # Every image is drawn, and every pair: 400 draws of 30 ordered pairs.
    assert len({tuple(row.nonzero().flatten().tolist()) for row in found}) == 15


def test_mask_and_labels_are_those_of_the_heavier_image():
    made = drawn(fitted())
    heavier = weights(made).argmax(1)
    assert torch.equal(made.labels.argmax(1), heavier)
    assert torch.equal(made.labels.sum(1), torch.ones(400))
    assert torch.equal(made.masks.flatten(1).argmax(1), heavier)
    assert made.masks.sum() == 400


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_follow_the_beta_distribution(alpha):
    # The weight of the lighter image is that of Beta(alpha, alpha) folded at a half.
    lighter = weights(drawn(fitted(alpha), 1000)).sort(1).values[:, -2].double().numpy()
    expected = lambda x: 2 * stats.beta(alpha, alpha).cdf(np.minimum(x, 0.5))  # noqa: E731
    assert stats.kstest(lighter, expected).pvalue > 0.001  # Fixed seeds: it either holds or not.
    assert stats.kstest(lighter, lambda x: 2 * stats.beta(2 * alpha, alpha).cdf(np.minimum(x, 0.5))).pvalue < 1e-6


def test_two_images_are_enough_and_one_is_not():
    assert torch.equal((weights(drawn(fitted(count=2), 20), 2) > 0).sum(1), torch.full((20,), 2))
    with pytest.raises(InputError, match="two images"):
        fitted(count=1)


def test_alpha_is_above_zero():
    facts = Facts(
        name="x", modality="none", provenance="real", shape=(1, 8, 8), dtype="uint8", value_range=(0.0, 255.0)
    )
    with pytest.raises(BadOption, match="alpha is above 0"):
        build("mixup", facts, {"alpha": 0.0})
