"""Planted copies: each kind is what it says, moves the mask with the image, and is counted by exact intervals."""

from __future__ import annotations

import numpy as np
import pytest

from synthcohort.evaluate import _planted
from synthcohort.evaluate._sets import ImageSet
from synthcohort.statistics import clopper_pearson

SIDE, RANGE = 32, (0.0, 255.0)


def training(patients=12, each=4):
    """Return smooth images whose mask marks their bright part, so that mask and image can be held together."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(3)
    centres = rng.uniform(12, 20, size=(patients * each, 2, 1, 1))
    hills = 200 * np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / 30)
    names = np.repeat([f"p{n}" for n in range(patients)], each)
    images = np.rint(hills).astype(np.uint8)[:, None]
    masks = (images[:, 0] > 100).astype(np.uint8)
    return ImageSet("train", images, masks, np.empty((len(images), 0)), names, names, "k" * 64)


@pytest.fixture(scope="module")
def made():
    return _planted.planted(training(), RANGE, seed=5, count=12)


def test_every_kind_is_planted_from_every_patient(made):
    assert set(made) == set(_planted.KINDS)
    for copies in made.values():
        assert len(set(copies.patients)) == 12
        assert (copies.images.dtype, copies.images.shape) == (np.uint8, (12, 1, SIDE, SIDE))


def original(copies):
    """Return the training images that were drawn for a kind: the draw is the first thing the seed decides."""
    train = training()
    kind = copies.name.split(", ")[1]
    rng = np.random.default_rng(_planted.derive_seed(5, "planted", kind))
    return train.take(_planted._from_many_patients(train.patients, 12, rng)).images.astype(float)


def test_known_changes(made):
    assert (made["identical"].images == original(made["identical"])).all()
    assert (made["flipped"].images == original(made["flipped"])[..., ::-1]).all()
    noise = made["noised"].images - original(made["noised"])
    inside = original(made["noised"]) > 90  # where noise of 25 grey values is seldom cut off
    assert noise[inside].std() == pytest.approx(25.5, rel=0.1)  # 1,000 pixels: 2 % is one standard error
    share = original(made["intensity"]) / 255
    for image, before in zip(made["intensity"].images / 255, share, strict=True):
        assert min(np.abs(image - before**gamma).max() for gamma in (0.7, 1.4)) < 0.003  # half a grey value
    moved = made["shifted"].images[:, 0].astype(float)
    for image, before in zip(moved, original(made["shifted"])[:, 0], strict=True):
        assert any(
            (np.roll(before, (a, b), (0, 1))[4:-4, 4:-4] == image[4:-4, 4:-4]).all() for a in (-2, 2) for b in (-2, 2)
        )


def test_sizes_change_as_stated(made):
    def areas(kind, before):
        images = original(made[kind]) if before else made[kind].images
        return (images > 100).sum((1, 2, 3))

    for kind, factors in (("rescaled", (0.9, 1.1)), ("cropped", (1.25,)), ("rotated", (1.0,))):
        ratio = np.sqrt(areas(kind, False) / areas(kind, True))
        distance = np.abs(ratio[:, None] - np.array(factors)).min(1)
        assert np.median(distance) < 0.04, kind  # about 50 pixels: one more or less at the rim is 0.01, several are
    assert np.std(made["rotated"].images - original(made["rotated"])) > 0.5


@pytest.mark.parametrize("kind", _planted.GEOMETRIC)
def test_masks_move_with_their_images(made, kind):
    copies = made[kind]
    bright = copies.images[:, 0] > 100
    both = (bright & (copies.masks == 1)).sum((1, 2))
    assert (2 * both / (bright.sum((1, 2)) + copies.masks.sum((1, 2))) > 0.85).all()  # the nearest pixel rounds the rim


def test_a_blend_is_half_of_each_of_two_patients():
    train = training(patients=2, each=1)
    blend = _planted.planted(train, RANGE, seed=0, count=2)["blended"]
    assert (blend.images == np.rint(train.images.astype(float).mean(0))).all()
    one = train.take([0])
    assert set(_planted.planted(one, RANGE, seed=0)) == set(_planted.KINDS) - {"blended"}


def test_the_seed_decides_everything():
    first, again, other = (_planted.planted(training(), RANGE, seed=seed, count=5) for seed in (1, 1, 2))
    for kind in _planted.KINDS:
        assert (first[kind].images == again[kind].images).all()
        assert first[kind].key == again[kind].key
        assert first[kind].key != other[kind].key


def test_shares_have_exact_intervals_and_the_least_is_named():
    rows = {
        row.label: row for row in _planted.sensitivity({"identical": (10, 10), "noised": (3, 10), "blended": (9, 10)})
    }
    assert set(rows) == {"identical", "noised", "blended", "all", "least"}
    assert (rows["all"].value, rows["least"].value) == (22 / 30, 0.3)
    assert (rows["all"].low, rows["all"].high) == clopper_pearson(22, 30)
    assert rows["least"].reason.startswith("noised")
    assert _planted.sensitivity({}) == []
