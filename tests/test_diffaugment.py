"""Differentiable augmentation and augmentation of the training images, each against a slow textbook computation."""

from __future__ import annotations

import math

import pytest
import torch

from synthcohort.generators._data_augmentation import augmented
from synthcohort.generators._diffaugment import diffaugment
from synthcohort.nets.generator import Draws

COUNT, SIDE = 6, 16


def joint(channels=2, classes=3, side=SIDE):
    """Return (B, C + K, H, W) images and one-hot masks as -1 and +1."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand((COUNT, channels, side, side), generator=rng) * 2 - 1
    masks = torch.randint(classes, (COUNT, side, side), generator=rng)
    onehot = torch.nn.functional.one_hot(masks, classes).movedim(-1, 1).float() * 2 - 1
    return torch.cat([images, onehot], 1)


class Fixed:
    """Random numbers that are given: uniform draws and integers, in order."""

    def __init__(self, uniform=(), integers=()):
        self.numbers, self.whole = list(uniform), list(integers)

    def uniform(self, count, *shape):
        return torch.full((count, *shape), self.numbers.pop(0))

    def integers(self, high, count, *shape):
        value = self.whole.pop(0)
        assert 0 <= value < high
        return torch.full((count, *shape), value)


def test_colour_is_brightness_then_saturation_then_contrast_of_each_image():
    # Zhao et al. 2020: + U(-0.5, 0.5); deviation from the mean over channels x U(0, 2); from the image's x U(0.5, 1.5).
    x, rng = joint(), torch.Generator().manual_seed(4)
    found = diffaugment(x, 2, ("color",), Draws(4))
    shift, colour, contrast = (torch.rand((COUNT, 1, 1, 1), generator=rng).flatten().tolist() for _ in range(3))
    for i, image in enumerate(x[:, :2].double()):
        wanted = image + shift[i] - 0.5
        grey = (wanted[0] + wanted[1]) / 2
        wanted = torch.stack([grey + 2 * colour[i] * (each - grey) for each in wanted])
        wanted = wanted.mean() + (0.5 + contrast[i]) * (wanted - wanted.mean())
        # float32, values of order 1.
        torch.testing.assert_close(found[i, :2].double(), wanted, rtol=0, atol=2e-6)
    assert torch.equal(found[:, 2:], x[:, 2:])  # mask levels are no colours


def test_a_grey_image_has_no_saturation():
    x = joint(1)
    dull, bright = (diffaugment(x, 1, ("color",), Fixed([0.5, share, 0.5])) for share in (0.0, 0.99))
    # float32 rounding of x - m + m.
    torch.testing.assert_close(dull, x, rtol=0, atol=1e-6)
    torch.testing.assert_close(bright, x, rtol=0, atol=1e-6)


def test_translation_moves_each_image_with_its_mask_and_leaves_zeros():
    x, rng = joint(), torch.Generator().manual_seed(4)
    found, reach = diffaugment(x, 2, ("translation",), Draws(4)), 2  # an eighth of 16
    down, right = (torch.randint(2 * reach + 1, (COUNT,), generator=rng) - reach for _ in range(2))
    assert len({(int(a), int(b)) for a, b in zip(down, right, strict=True)}) > 3
    for i in range(COUNT):
        for row in range(SIDE):
            for column in range(SIDE):
                from_row, from_column = row - int(down[i]), column - int(right[i])
                inside = 0 <= from_row < SIDE and 0 <= from_column < SIDE
                wanted = x[i, :, from_row, from_column] if inside else torch.zeros(5)
                assert torch.equal(found[i, :, row, column], wanted)


@pytest.mark.parametrize(("side", "reach"), [(16, 2), (20, 3), (32, 4), (128, 16)])  # an eighth, halves upwards
def test_a_translation_reaches_an_eighth_of_the_side(side, reach):
    seen = set()
    line = torch.arange(1.0, side + 1).expand(200, 1, side, side)
    found = diffaugment(line, 1, ("translation",), Draws(0))
    for row in found[:, 0, side // 2].tolist():
        seen.add(int(row[side // 2]) - side // 2 - 1)
    assert seen == set(range(-reach, reach + 1))


def test_cutout_empties_a_rectangle_of_half_the_side_in_every_channel():
    x, rng = joint(), torch.Generator().manual_seed(4)
    found = diffaugment(x, 2, ("cutout",), Draws(4))
    y, z = (torch.randint(SIDE + 1, (COUNT,), generator=rng) for _ in range(2))
    for i in range(COUNT):
        wanted = x[i].clone()
        wanted[:, max(0, int(y[i]) - 4) : int(y[i]) + 4, max(0, int(z[i]) - 4) : int(z[i]) + 4] = 0
        assert torch.equal(found[i], wanted)


def test_the_policy_is_kept_in_order_and_none_is_the_identity():
    x = joint()
    assert diffaugment(x, 2, (), Draws(4)) is x
    both = diffaugment(x, 2, ("translation", "cutout"), Draws(4))
    rng = Draws(4)
    assert torch.equal(both, diffaugment(diffaugment(x, 2, ("translation",), rng), 2, ("cutout",), rng))
    assert not torch.equal(both, diffaugment(x, 2, ("cutout", "translation"), Draws(4)))


@pytest.mark.parametrize("name", ["color", "translation", "cutout"])
def test_gradients_flow_to_every_channel_that_is_left(name):
    x = joint().double().requires_grad_()

    def altered(x):
        return diffaugment(x, 2, (name,), Draws(4))

    # In float32 a difference quotient of a linear map over 1e-2 is right to 1e-4.
    probe = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (slope,) = torch.autograd.grad((altered(x) * probe).sum(), x)
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        change = ((altered(x + direction) - altered(x - direction)) / 2 * probe).sum()
    assert float((slope * direction).sum()) == pytest.approx(float(change), rel=1e-4)
    assert slope.abs().amax((0, 2, 3)).min() > 0


def test_altered_images_are_float32_whatever_they_were():
    x = joint()
    assert diffaugment(x.bfloat16(), 2, ("color", "cutout"), Draws(4)).dtype == torch.float32


def test_no_augmentation_is_the_identity():
    x = joint()
    assert augmented(x, 2, (), Draws(0)) is x


def test_a_flip_mirrors_every_second_image_with_its_mask():
    x, chosen = joint(), torch.randint(2, (COUNT, 1, 1), generator=torch.Generator().manual_seed(4)).flatten()
    found = augmented(x, 2, ("flip",), Draws(4))
    assert 0 < int(chosen.sum()) < COUNT
    for i in range(COUNT):
        # Places are sums in float32: bilinear weights are off by 1e-6 of a pixel.
        torch.testing.assert_close(found[i], x[i].flip(-1) if chosen[i] else x[i], rtol=0, atol=1e-5)


def test_a_quarter_turn_and_a_shift_are_exact():
    x = joint()
    # 0.5 + 90 / (2 x 60) is outside the draw's range, so that a turn of 90 degrees can be known.
    turned = augmented(x, 2, ("rotation",), Fixed([0.5 + 90 / 120]))
    torch.testing.assert_close(turned, x.rot90(-1, (2, 3)), rtol=0, atol=1e-4)
    moved = augmented(x, 2, ("shift",), Fixed([1.0, 0.75]))  # an eighth right: 2 pixels; a sixteenth down: 1
    rows, columns = (torch.arange(SIDE) - 1).clamp(0), (torch.arange(SIDE) - 2).clamp(0)
    torch.testing.assert_close(moved, x[:, :, rows][..., columns], rtol=0, atol=1e-5)  # the border goes on


def bilinear(image, y, x):
    """Return an image (H, W) at one place in pixels, the border going on."""
    y, x = min(max(y, 0), SIDE - 1), min(max(x, 0), SIDE - 1)
    top, left = min(int(y), SIDE - 2), min(int(x), SIDE - 2)
    down, right = y - top, x - left
    upper = (1 - right) * image[top, left] + right * image[top, left + 1]
    return (1 - down) * upper + down * ((1 - right) * image[top + 1, left] + right * image[top + 1, left + 1])


def test_all_together_is_the_textbook_resampling():
    x, rng = joint(1, 2), torch.Generator().manual_seed(9)
    found = augmented(x, 1, ("flip", "rotation", "shift"), Draws(9))
    flip = torch.randint(2, (COUNT, 1, 1), generator=rng).flatten()
    turn, right, down = ((2 * torch.rand((COUNT, 1, 1), generator=rng).double().flatten() - 1) for _ in range(3))
    middle, off = (SIDE - 1) / 2, 0
    for i in range(COUNT):
        angle = math.radians(60 * float(turn[i]))
        for row in range(SIDE):
            for column in range(SIDE):
                x0, y0 = column - middle - float(right[i]) * SIDE / 8, row - middle - float(down[i]) * SIDE / 8
                xs = math.cos(angle) * x0 + math.sin(angle) * y0
                ys = math.cos(angle) * y0 - math.sin(angle) * x0
                xs, ys = (-xs if flip[i] else xs) + middle, ys + middle
                wanted = bilinear(x[i, 0].double(), ys, xs)
                assert float(found[i, 0, row, column]) == pytest.approx(float(wanted), abs=1e-4)
                nearest = x[i, 1:, min(max(round(ys), 0), SIDE - 1), min(max(round(xs), 0), SIDE - 1)]
                off += not torch.equal(found[i, 1:, row, column], nearest)
    assert off <= 2  # halfway between two pixels float32 may choose the other


def test_an_augmented_mask_is_a_mask():
    found = augmented(joint(), 2, ("flip", "rotation", "shift"), Draws(9))[:, 2:]
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(found.sum(1), torch.full((COUNT, SIDE, SIDE), -1.0))  # one class each
