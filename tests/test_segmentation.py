"""The segmentation task: learns discs, repeats bitwise, keeps the best weights, and states its rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from synthcohort.errors import Diverged, InputError
from synthcohort.tasks.segmentation import Task, _augmented, _loss

RANGE = (0.0, 255.0)


def discs(count: int, seed: int, *, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images (n, 1, side, side) uint8 with one bright disc each, and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    centre = rng.uniform(side * 0.3, side * 0.7, (2, count, 1, 1))
    radius = rng.uniform(side * 0.12, side * 0.25, (count, 1, 1))
    masks = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).astype(np.uint8)
    images = rng.normal(60, 20, (count, side, side)) + 120 * masks
    return np.clip(images, 0, 255).astype(np.uint8)[:, None], masks


def make(**options: Any) -> Task:
    options = {"width": 4, "images_seen": 640, "batch": 16, **options}
    return Task(shape=(1, 32, 32), mask_classes=("background", "disc"), labels=(), **options)


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_it_learns_discs_and_repeats_bitwise() -> None:
    train, val, test = discs(64, 1), discs(16, 2), discs(32, 3)
    first, second, other = make(images_seen=480), make(images_seen=480), make(images_seen=16)
    log = first.fit(*train, *val, value_range=RANGE, seed=5)
    torch.rand(1)  # the global stream must not matter
    assert second.fit(*train, *val, value_range=RANGE, seed=5) == log
    other.fit(*train, *val, value_range=RANGE, seed=6)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    predicted = first.predict(test[0], RANGE)
    assert predicted.shape == (32, 32, 32)
    assert predicted.dtype == np.uint8
    assert dice(test[1], predicted) > 0.9  # 0.97 when written; an untrained network stays below 0.3
    assert log[-1]["images_seen"] == 480


def test_fitting_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make(images_seen=16).fit(*discs(16, 1), *discs(4, 2), value_range=RANGE, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_the_weights_with_the_lowest_validation_loss_are_kept() -> None:
    train, (images, masks) = discs(32, 1), discs(8, 2)
    val = images, 1 - masks  # wrong on purpose: what is learnt makes the validation loss rise
    task = make(images_seen=480, learning_rate=0.1)
    log = task.fit(*train, *val, value_range=RANGE, seed=1)
    best = min(range(len(log)), key=lambda place: log[place]["val_loss"])
    assert best < len(log) - 1
    short = make(images_seen=480, learning_rate=0.1, patience_images=1)
    stopped = short.fit(*train, *val, value_range=RANGE, seed=1)
    assert stopped == log[: len(stopped)]
    assert len(stopped) < len(log)
    again = task._look(0, [torch.zeros(1)], val, RANGE, _loss())
    assert again["val_loss"] == pytest.approx(log[best]["val_loss"], rel=1e-6)


def test_a_class_that_is_absent_from_training_is_hardly_ever_predicted() -> None:
    images, masks = discs(32, 1)
    options = {"width": 4, "images_seen": 1600, "batch": 16, "learning_rate": 0.02}
    task = Task(shape=(1, 32, 32), mask_classes=("background", "disc", "absent"), labels=(), **options)
    task.fit(images, masks, *discs(8, 2), value_range=RANGE, seed=0)
    predicted = task.predict(discs(8, 3)[0], RANGE)
    assert (predicted == 1).mean() > 0.05
    assert (predicted == 2).mean() < 0.01  # chance would be a third


def test_features_are_pooled_and_do_not_depend_on_the_batch() -> None:
    task, (images, _) = make(), discs(300, 4)
    together = task.features(images, RANGE)
    assert together.shape == (300, 32)
    assert together.dtype == np.float32
    # Convolutions may sum in another order for another batch size: float32 rounding only.
    np.testing.assert_allclose(task.features(images[290:], RANGE), together[290:], rtol=1e-4, atol=1e-5)


def test_uint16_images_give_what_uint8_images_of_the_same_grey_give() -> None:
    task, (images, _) = make(), discs(4, 4)
    deep = images.astype(np.uint16) * 257
    np.testing.assert_allclose(task.features(deep, (0.0, 65535.0)), task.features(images, RANGE), rtol=1e-4, atol=1e-5)


def test_augmentation_moves_the_mask_with_its_image() -> None:
    masks = torch.from_numpy(discs(32, 3)[1]).long()
    images, moved = _augmented(masks[:, None].float() * 2 - 1, masks, 7)
    assert (moved != masks).any(dim=(1, 2)).float().mean() > 0.9
    assert dice((images[:, 0] > 0).numpy(), moved.numpy() > 0) > 0.97  # edges differ: bilinear against nearest


def test_fitting_without_a_validation_split_is_refused() -> None:
    images, masks = discs(4, 1)
    with pytest.raises(InputError, match="there are no validation images"):
        make().fit(images, masks, images[:0], masks[:0], value_range=RANGE, seed=0)
    with pytest.raises(InputError, match="there are no training images"):
        make().fit(images[:0], masks[:0], images, masks, value_range=RANGE, seed=0)


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    with pytest.raises(Diverged, match="learning_rate"):
        make(learning_rate=float("inf")).fit(*discs(16, 1), *discs(4, 2), value_range=RANGE, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_classes": ("background",)}, "background and a structure"),
        ({"shape": (1, 8, 8)}, "16 px or more"),
        ({"width": 0}, "'width' is at least 1"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    given = {"shape": (1, 32, 32), "mask_classes": ("background", "disc"), "labels": (), **options}
    with pytest.raises(InputError, match=message):
        Task(**given)
