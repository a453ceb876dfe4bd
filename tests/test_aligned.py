"""The aligned search: registration finds known placements, altered copies are found, and who is next decides."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from synthcohort.evaluate._spaces import ALIGNED, PIXELS, aligned, decided
from synthcohort.metrics import _registered, nearest
from synthcohort.metrics._aligned import AlignedGallery
from synthcohort.types import Features

SIDE = 32


def pictures(count, seed):
    """Return (n, 1, 32, 32) float32 smooth random images."""
    noise = np.random.default_rng(seed).normal(size=(count, 1, SIDE, SIDE))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 1.5, 1.5), mode="wrap")
    return (smooth / smooth.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


def small(values, patients, name=ALIGNED):
    return Features(values, np.asarray(patients), name)


PLACEMENT = torch.tensor([0.06, -0.05, 0.07, -0.04])


def test_registration_finds_a_known_placement():
    originals = torch.from_numpy(pictures(5, 0))
    wanted = 0.5 * _registered.sampled(originals, PLACEMENT.expand(5, 4)) + 3  # gain and offset drop out
    found = _registered.registered(wanted, originals, torch.zeros(5, 4))
    # 0.01 of half a side is a sixth of a pixel: the edge, which is repeated, pulls a little.
    assert (found - PLACEMENT).abs().max() < 0.01


def test_laying_back_undoes_a_placement():
    originals = torch.from_numpy(ndimage.gaussian_filter(pictures(3, 1), (0, 0, 3, 3)))
    back, inside = _registered.laid_back(_registered.sampled(originals, PLACEMENT.expand(3, 4)), PLACEMENT, 1)
    shown = inside.bool() & (_registered.laid_back(torch.ones(1, 1, SIDE, SIDE), PLACEMENT, 1)[0][0, 0] > 0)
    inner = torch.zeros_like(shown)
    inner[4:-4, 4:-4] = shown[4:-4, 4:-4]
    assert (back - originals)[:, 0, inner].abs().max() < 0.1 * originals.std()  # two linear interpolations
    assert 0.8 < inside.mean() < 1


def altered(images):
    flipped = images[..., ::-1].copy()
    turned = ndimage.rotate(images, 5, axes=(2, 3), reshape=False, mode="nearest", order=1)
    cropped = ndimage.zoom(images[..., 3:29, 2:28], (1, 1, SIDE / 26, SIDE / 26), order=1)
    noised = images + 0.5 * np.random.default_rng(9).normal(size=images.shape).astype(np.float32)
    blended = (images + np.roll(images, 1, axis=0)) / 2
    return {"flipped": flipped, "turned": turned, "cropped": cropped, "noised": noised, "blended": blended}


@pytest.fixture(scope="module")
def known():
    train, reference = pictures(60, 2), pictures(120, 3)
    sides = small(train, np.arange(60)), small(reference, 1000 + np.arange(120))
    return *sides, nearest.calibrate(*sides)


@pytest.mark.parametrize("kind", ["flipped", "turned", "cropped", "noised", "blended"])
def test_altered_copies_are_found(known, kind):
    train, reference, calibration = known
    copies = altered(train.values[:20])[kind]
    found = nearest.verdicts(train, small(copies, np.arange(20)), reference, calibration=calibration)
    assert found.copy.mean() >= 0.95
    if kind != "blended":
        assert (found.nearest == np.arange(20)).mean() >= 0.95


def test_unseen_images_are_no_copies(known):
    train, reference, calibration = known
    others = small(pictures(60, 4), 2000 + np.arange(60))
    assert nearest.verdicts(train, others, reference, calibration=calibration).copy.sum() <= 3  # 1/121 expected


def test_the_threshold_is_read_from_images_that_were_not_met(known):
    assert (known[2].images, known[2].patients) == (120, 120)
    both = [small(side.values, side.patients, PIXELS) for side in known[:2]]
    assert nearest.calibrate(*both).images == 180
    assert nearest.calibrate(known[0], small(np.empty((0, 1, SIDE, SIDE), np.float32), np.empty(0))) is None


def test_a_patient_entered_twice_hides_no_copy(known):
    train = np.concatenate([known[0].values, known[0].values[:1]])
    gallery = AlignedGallery(train, np.arange(61))
    alone = AlignedGallery(train[:60], np.arange(60))
    copy = altered(train[:1])["turned"]
    assert gallery.nearest(copy)[1] > 0.8
    assert alone.nearest(copy)[1] > 0.8


def test_who_is_barred_is_not_found(known):
    gallery = AlignedGallery(known[0].values, known[0].patients)
    all_but_one = lambda rows: np.arange(60)[None] != np.full(len(range(2)), 7)[:, None]  # noqa: E731
    position, similarity = gallery.nearest(known[0].values[:2], all_but_one)
    assert list(position) == [7, 7]
    assert np.isfinite(similarity).all()
    nobody = gallery.nearest(known[0].values[:1], lambda rows: np.ones((1, 60), bool))
    assert nobody[1][0] == -np.inf


def test_the_same_call_gives_the_same_bits(known):
    first, again = (AlignedGallery(known[0].values, known[0].patients).nearest(known[1].values[:10]) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


def test_constant_images_and_one_patient_are_borne():
    flat = np.zeros((5, 1, SIDE, SIDE), np.float32)
    assert np.isfinite(AlignedGallery(flat, np.arange(5)).nearest(flat[:2])[1]).all()
    one = AlignedGallery(pictures(3, 5), np.zeros(3))
    assert one.nearest(pictures(3, 5))[1].min() > 0.9


def test_either_space_makes_a_copy():
    def judged(*copy):
        return SimpleNamespace(copy=np.array(copy, bool))

    found = {PIXELS: judged(1, 0, 0), ALIGNED: judged(0, 1, 0), "texture": judged(1, 1, 1)}
    assert decided(found, 3) == [True, True, False]
    assert decided({PIXELS: judged(0, 1)}, 2) == [False, True]
    assert decided({}, 2) == [None, None]


def test_too_few_unseen_images_are_said():
    notes: list[str] = []
    assert list(aligned(99, notes)) == [ALIGNED]
    assert notes == []
    assert aligned(98, notes) == {}
    assert "98" in notes[0]
