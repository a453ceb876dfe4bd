"""Controls: cases whose right answer is known, so they are checked against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthcohort import plugins
from synthcohort.errors import InputError
from synthcohort.generators._pca import principal_components
from synthcohort.generators.copycat import GAIN, NOISE, OFFSET
from synthcohort.nets.generator import Draws, Streams
from synthcohort.types import Batch, Clock, Condition, from_unit_range, to_unit_range

CLASSES = ("background", "disc")


def control(name, side=16, classes=CLASSES, labels=(), **options):
    torch.manual_seed(0)
    return plugins.find("generators", name)(shape=(1, side, side), labels=labels, mask_classes=classes, **options)


def pictures(count=30, side=16, dtype="uint8"):
    """Return smooth random stored images and their masks."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:side, :side] / side
    phase = rng.uniform(0, 6, (count, 4, 1, 1))
    wave = np.sin(4 * y + phase[:, 0]) + np.cos(5 * x + phase[:, 1]) + np.sin(7 * (x + y) + phase[:, 2])
    stored = from_unit_range(wave[:, None] / 3, (0, np.iinfo(dtype).max), dtype)
    return stored, (wave > 0).astype(np.uint8)


def draw(model, count, first=0, seed=0, **options):
    return model.sample(Condition(count, first=first), Streams(range(seed, seed + count)), **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_holdout_serves_each_image_once_and_to_the_last_grey_level(dtype):
    stored, masks = pictures(dtype=dtype)
    value_range = (0, np.iinfo(dtype).max)
    model = control("holdout")
    model.fit(to_unit_range(stored, value_range), masks, None, seed=1)
    chunks = [draw(model, 7, first) for first in range(0, 35, 7)]
    images = torch.cat([made.images for made in chunks]).numpy()
    served = from_unit_range(images, value_range, dtype)
    flat = [image.tobytes() for image in served[:30]]
    assert sorted(flat) == sorted(image.tobytes() for image in stored)
    assert np.array_equal(served[30:], served[:5])  # Exhausted: from the start.
    owner = {image.tobytes(): mask for image, mask in zip(stored, masks, strict=True)}
    served_masks = torch.cat([made.masks for made in chunks]).numpy()
    assert all(np.array_equal(owner[key], mask) for key, mask in zip(flat, served_masks[:30], strict=True))


def test_holdout_order_depends_on_the_fit_and_not_on_the_sampling_seed():
    stored, masks = pictures()
    images = to_unit_range(stored, (0, 255))
    model, other = control("holdout"), control("holdout")
    model.fit(images, masks, None, seed=1)
    other.fit(images, masks, None, seed=2)
    assert torch.equal(draw(model, 8, seed=0).images, draw(model, 8, seed=50).images)
    assert not torch.equal(draw(model, 8).images, draw(other, 8).images)
    assert plugins.find("generators", "holdout").SPLIT == "reference"


def test_a_copycat_stays_within_its_jitter_of_one_training_image():
    stored, masks = pictures(side=32)
    images = to_unit_range(stored, (0, 255))
    model = control("copycat", side=32)
    model.fit(images, masks, None, seed=0)
    made = draw(model, 24)
    # Undo nothing: try every training image at every shift of one pixel; one must explain the sample.
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    padded = np.pad(images[:, 0], ((0, 0), (1, 1), (1, 1)), mode="reflect")
    padded_masks = np.pad(masks, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    seen_shifts = set()
    for image, mask in zip(made.images[:, 0].numpy(), made.masks.numpy(), strict=True):
        fits = []
        for position in range(len(images)):
            for dy, dx in shifts:
                window = np.s_[position, 1 + dy : 33 + dy, 1 + dx : 33 + dx]
                if np.array_equal(padded_masks[window], mask):
                    source = (padded[window].ravel() + 1) / 2
                    unit = (image.ravel() + 1) / 2
                    inside = (unit > 0) & (unit < 1)  # Saturated pixels say nothing of gain and offset.
                    slope, intercept = np.polyfit(source[inside], unit[inside], 1)
                    residual = (unit - slope * source - intercept)[inside].std()
                    fits.append((residual, slope, intercept, (dy, dx)))
        residual, slope, intercept, shift = min(fits)
        seen_shifts.add(shift)
        # Estimated from 1,024 noisy pixels: standard errors below 0.003.
        assert residual < 1.15 * NOISE
        assert abs(slope - 1) < GAIN + 0.01
        assert abs(intercept) < OFFSET + 0.01
    assert len(seen_shifts) > 3


def test_gaussian_recovers_mean_and_covariance():
    # Closed form: with every component kept, mean and covariance of the samples are those of the data.
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(3, 256)) * 0.05
    images = (0.1 + rng.normal(size=(200, 3)) @ mixing).astype(np.float32).reshape(200, 1, 16, 16)
    model = control("gaussian", classes=())
    model.fit(images, None, None, seed=0)
    rows = images.reshape(200, 256).astype(np.float64)
    assert model.factors.shape == (3, 256)  # Directions without variance are left out.
    factors = model.factors.double().numpy()
    assert np.allclose(model.mean.numpy(), rows.mean(0), atol=1e-6)
    assert np.allclose(factors.T @ factors, np.cov(rows.T), atol=1e-6)  # float32 buffers
    made = draw(model, 4000).images.reshape(4000, 256).double().numpy()
    # Sampling error: sd / sqrt(4000) of a mean, about var * sqrt(2 / 4000) = 0.02 var of a variance; 5 of them.
    assert np.abs(made.mean(0) - rows.mean(0)).max() < 5 * rows.std(0).max() / np.sqrt(4000)
    assert np.abs(np.cov(made.T) - np.cov(rows.T)).max() < 5 * 0.0224 * rows.var(0).max()


@pytest.mark.parametrize(("count", "pixels"), [(12, 40), (60, 20)])
def test_components_equal_the_singular_value_decomposition(count, pixels):
    rows = np.random.default_rng(0).normal(size=(count, pixels)).astype(np.float32)
    found = principal_components(rows, 5)
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign((found.factors * right[:5]).sum(1))[:, None]
    scale = np.sqrt(count - 1)
    assert np.allclose(found.factors, signs * right[:5] * values[:5, None] / scale, atol=1e-10)
    assert np.allclose(found.scores, signs.T * left[:, :5] * scale, atol=1e-10)
    assert np.allclose(found.scores.var(0, ddof=1), 1, atol=1e-10)


def test_components_do_not_exceed_the_images_less_one():
    rows = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    found = principal_components(rows, 64)
    assert found.scores.shape == (6, 5)
    assert np.allclose(found.mean + found.scores @ found.factors, rows, atol=1e-6)  # All variance kept.


def labelled_rows(counts):
    """Return images (N, 1, 16, 16) and labels (N, 3): a mean for each combination, and noise in three directions."""
    rng = np.random.default_rng(6)
    mixing, effects, offsets = rng.normal(size=(3, 256)) * 0.05, rng.normal(size=(3, 256)) * 0.1, {}
    images, labels = [], []
    for combination, count in counts.items():
        offsets[combination] = rng.normal(size=256) * 0.02
        mean = 0.1 + np.array(combination) @ effects + offsets[combination]
        images.append(mean + rng.normal(size=(count, 3)) @ mixing)
        labels += [combination] * count
    order = rng.permutation(len(labels))
    images = np.concatenate(images)[order].astype(np.float32)
    return images.reshape(-1, 1, 16, 16), np.array(labels, np.float32)[order]


def test_gaussian_of_a_combination_has_its_mean_and_a_rare_one_the_ridges():
    counts = {(0, 0, 0): 60, (1, 0, 0): 40, (0, 1, 0): 16, (0, 0, 1): 15, (1, 0, 1): 3}
    images, labels = labelled_rows(counts)
    model = control("gaussian", classes=(), labels=("a", "b", "c"))
    model.fit(images, None, labels, seed=0)
    rows = images.reshape(-1, 256).astype(np.float64)
    # The ridge as plain least squares: each finding gets 4 = sqrt(16) of a row that says its effect is 0.
    centred = labels - labels.mean(0, dtype=np.float64)
    stacked = np.concatenate([centred, 4 * np.eye(3)]), np.concatenate([rows - rows.mean(0), np.zeros((3, 256))])
    effects = np.linalg.lstsq(*stacked, rcond=None)[0]
    for combination in [*counts, (1, 1, 1)]:
        members = rows[(labels == combination).all(1)]
        ridge = rows.mean(0) + (np.array(combination) - labels.mean(0, dtype=np.float64)) @ effects
        expected = members.mean(0) if len(members) >= 16 else ridge
        asked = torch.tensor([combination], dtype=torch.float32)
        assert np.allclose(model.label_means(asked)[0].numpy(), expected, atol=1e-6), combination  # float32 buffers
        if len(members) >= 16:  # What is told apart is far apart.
            assert np.abs(expected - ridge).max() > 0.005


def test_gaussian_of_labels_keeps_the_covariance_about_its_means():
    images, labels = labelled_rows({(0, 0, 0): 60, (1, 0, 0): 40, (0, 1, 1): 10})
    model = control("gaussian", classes=(), labels=("a", "b", "c"))
    model.fit(images, None, labels, seed=0)
    rows = images.reshape(-1, 256).astype(np.float64)
    means = model.label_means(torch.from_numpy(labels)).double().numpy()
    factors = model.factors.double().numpy()
    pooled = np.cov((rows - means).T)
    assert np.allclose(factors.T @ factors, pooled, atol=1e-6)
    asked = torch.tensor([[1.0, 0, 0]]).repeat(4000, 1)
    made = model.sample(Condition(4000, labels=asked), Streams(range(4000))).images.reshape(4000, 256).double().numpy()
    # Sampling error as above, of the mean of one combination and of the covariance that all share.
    own = rows[(labels == [1, 0, 0]).all(1)].mean(0)
    assert np.abs(made.mean(0) - own).max() < 5 * np.sqrt(pooled.diagonal().max() / 4000)
    assert np.abs(np.cov(made.T) - pooled).max() < 5 * 0.0224 * pooled.diagonal().max()


def test_gaussian_forgets_nothing_of_labels_in_a_weights_file():
    images, labels = labelled_rows({(0, 0, 0): 20, (1, 0, 0): 20, (1, 1, 0): 5})
    model, other = (control("gaussian", classes=(), labels=("a", "b", "c")) for _ in range(2))
    model.fit(images, None, labels, seed=0)
    other.load_state_dict(model.state_dict())
    asked = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    made = [one.sample(Condition(2, labels=asked), Streams([1, 2])).images for one in (model, other)]
    assert torch.equal(*made)


@pytest.mark.parametrize("name", ["holdout", "copycat", "memoriser"])
def test_what_shows_a_stored_image_carries_its_labels(name):
    stored, masks = pictures(count=12)
    images = to_unit_range(stored, (0, 255))
    labels = np.eye(12, dtype=np.float32)  # Each image has a finding of its own.
    small = {"code": 16, "hidden": 64} if name == "memoriser" else {}
    model = control(name, labels=tuple(f"finding{i}" for i in range(12)), **small)
    model.fit(images, masks, labels, seed=1)
    if name == "memoriser":
        # A decoder that is right already: linear from code to pixels, by least squares.
        target = model.joint(Batch(torch.from_numpy(images), torch.from_numpy(masks).long(), None, torch.arange(12)))
        linear = torch.linalg.pinv(torch.cat([model.codes, torch.ones(12, 1)], 1)) @ target.flatten(1)
        model.decoder = Affine(linear, target.shape[1:])
    made = draw(model, 24)
    assert made.labels.dtype == torch.float32
    assert torch.equal(made.labels.sum(1), torch.ones(24))
    shown = torch.corrcoef(torch.cat([made.images.flatten(1), torch.from_numpy(images).flatten(1)]))[:24, 24:]
    assert shown.argmax(1).tolist() == made.labels.argmax(1).tolist()
    assert len(set(shown.argmax(1).tolist())) > 5


class Affine(torch.nn.Module):
    """A matrix whose last row is the intercept."""

    def __init__(self, matrix, shape):
        super().__init__()
        self.matrix, self.shape = matrix, shape

    def forward(self, codes):
        return (codes @ self.matrix[:-1] + self.matrix[-1]).view(-1, *self.shape)


@pytest.mark.parametrize("name", ["holdout", "copycat", "memoriser"])
def test_without_labels_none_are_carried(name):
    stored, masks = pictures()
    model = control(name)
    model.fit(to_unit_range(stored, (0, 255)), masks, None, seed=1)
    assert draw(model, 4).labels is None
    assert "findings" not in model.state_dict()


def test_gaussian_takes_at_most_the_images_it_is_told():
    stored, masks = pictures()
    images = to_unit_range(stored, (0, 255))
    few, some = control("gaussian", max_images=10), control("gaussian", max_images=10)
    few.fit(images, masks, None, seed=0)
    assert len(few.factors) == 9
    some.fit(images, masks, None, seed=1)
    assert not torch.equal(few.mean, some.mean)


@pytest.mark.parametrize("name", ["gaussian", "memoriser"])
def test_one_image_has_no_covariance(name):
    stored, masks = pictures(count=1)
    with pytest.raises(InputError, match="two images"):
        control(name).fit(to_unit_range(stored, (0, 255)), masks, None, seed=0)


def test_a_memoriser_learns_its_training_set_by_heart():
    stored, masks = pictures()
    images = torch.from_numpy(to_unit_range(stored, (0, 255)))
    model = control("memoriser", code=32, hidden=128)
    model.fit(images.numpy(), masks, None, seed=0)
    assert model.codes.shape == (30, 32)
    optimiser = model.optimisers()["decoder"]

    def update(name, loss, *, lr):
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    batch = Batch(images, torch.from_numpy(masks).long(), None, torch.arange(30))
    losses = [
        float(model.step(batch, clock=Clock(i, 30 * i, 6000), rng=Draws(0), update=update)["reconstruction"])
        for i in range(200)
    ]
    assert losses[-1] < 0.02 * losses[0]
    made = draw(model, 16)
    flat, copies = images.flatten(1), made.images.detach().flatten(1)
    similarity = torch.corrcoef(torch.cat([copies, flat]))[:16, 16:]
    assert similarity.amax(1).min() > 0.99  # Each sample is some training image ...
    assert len(set(similarity.argmax(1).tolist())) > 5  # ... and they are not one and the same.
    assert not torch.equal(draw(model, 4, code_noise=0.1).images, draw(model, 4).images)


def test_squashed_masks_are_shares_of_a_place_and_images_are_left_alone():
    model = control("gaussian", classes=("background", "disc", "rim"))
    raw = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    found = model.squashed(raw)
    assert torch.equal(found[:, :1], raw[:, :1])
    shares = np.exp(3 * raw[:, 1:].numpy())
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(found[:, 1:].numpy(), 2 * shares - 1, atol=1e-6)  # float32
    assert torch.equal(model.separate(found).masks, model.separate(raw).masks)
    assert torch.equal(model.squashed(raw[:, :1]), raw[:, :1])
