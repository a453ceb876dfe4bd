"""The flow against closed forms: the Gaussian posterior, the transport of a Gaussian, the learning rate."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from synthcohort.cohort import Facts
from synthcohort.errors import BadOption, InputError
from synthcohort.generators import _prior
from synthcohort.generators._denoiser import Known, schedule
from synthcohort.generators._prior import GaussianPrior
from synthcohort.generators.flow import Generator
from synthcohort.nets.generator import Streams, build
from synthcohort.types import Array, Condition

SMALL: dict[str, Any] = {"width": 16, "multipliers": (1, 2), "components": 6}


def facts(side: int = 8, channels: int = 1, classes: tuple[str, ...] = ()) -> Facts:
    return Facts(
        name="waves", modality="none", provenance="real", shape=(channels, side, side), dtype="uint8",
        value_range=(0.0, 255.0), mask_classes=classes,
    )  # fmt: skip


def waves(count: int, channels: int, side: int, *, seed: int = 0, spread: float = 0.2) -> Array:
    """Return (count, channels, side, side) float32 of smooth random patterns with a little noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(size=(4, channels, side // 2, side // 2)).repeat(2, 2).repeat(2, 3)
    strength = spread * np.array([1.0, 0.6, 0.3, 0.2])
    smooth = np.einsum("nk,kchw->nchw", rng.normal(size=(count, 4)) * strength, patterns)
    images = 0.1 + 0.2 * patterns[0] + smooth + 0.1 * spread * rng.normal(size=smooth.shape)
    return np.asarray(images, dtype=np.float32)


def dense(prior: GaussianPrior) -> tuple[Array, Array]:
    """Return the mean (d,) and the covariance (d, d) over pixels that a fitted prior stands for, float64."""
    channels, height, width = prior.grid
    side = prior.block
    down = np.kron(np.eye(channels * height), np.ones((1, side)))  # rows summed in blocks, then columns
    rows = down.reshape(channels, height, channels, height * side)
    columns = np.kron(np.eye(width), np.ones((1, side)))
    to_grid = np.einsum("chdi,wj->chwdij", rows, columns).reshape(channels * height * width, -1) / side
    np.testing.assert_allclose(to_grid @ to_grid.T, np.eye(len(to_grid)), atol=1e-12)  # orthonormal coordinates
    basis = prior.basis.double().numpy() @ to_grid
    rest, variances = float(prior.rest), prior.variances.double().numpy()
    covariance = (basis.T * (variances - rest)) @ basis + rest * np.eye(to_grid.shape[1])
    return prior.mean.double().numpy() @ to_grid, covariance


@pytest.fixture(params=[8, 4], ids=["pixels", "blocks of two pixels"])
def prior(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GaussianPrior:
    monkeypatch.setattr(_prior, "GRID_SIDE", request.param)
    fitted = GaussianPrior(2, 8, 8, components=5)
    assert fitted.block == 8 // request.param
    fitted.fit(torch.from_numpy(waves(40, 2, 8)))
    return fitted


def test_the_prior_has_the_directions_of_the_data_and_the_spread_of_data_left_out(prior: GaussianPrior) -> None:
    data = waves(40, 2, 8).reshape(40, -1).astype(np.float64)
    side = prior.block

    def coarse(rows: Array) -> Array:
        return rows.reshape(-1, 2, 8 // side, side, 8 // side, side).mean((3, 5)).reshape(len(rows), -1) * side

    mean, vectors = coarse(data).mean(0), np.linalg.eigh(np.cov(coarse(data).T))[1][:, :-6:-1]
    np.testing.assert_allclose(prior.mean.numpy(), mean, atol=1e-6)  # float32, here and below
    np.testing.assert_allclose(np.abs(prior.basis.numpy() @ vectors), np.eye(5), atol=1e-3)
    along, total = np.zeros(5), 0.0
    for held in np.split(np.arange(40), 5):
        others = np.delete(data, held, 0)
        found = np.linalg.svd(coarse(others) - coarse(others).mean(0), full_matrices=False)[2][:5]
        along += np.square((coarse(data[held]) - coarse(others).mean(0)) @ found.T).sum(0) / 40
        means = (coarse(others).mean(0) / side).reshape(2, 8 // side, 8 // side).repeat(side, 1).repeat(side, 2)
        total += np.square(data[held] - means.ravel()).sum() / 40
    rest = (total - along.sum()) / (128 - 5)
    np.testing.assert_allclose(prior.rest.item(), rest, rtol=1e-4)
    np.testing.assert_allclose(prior.variances.numpy(), np.maximum(along, rest), rtol=1e-4)


def test_the_gaussian_is_not_surer_of_new_patients_than_it_may_be() -> None:
    # Twelve patients, four images each that hardly differ: twenty components hold them all, and no thirteenth patient.
    rng = np.random.default_rng(4)
    looks = rng.normal(size=(24, 1, 8, 8))
    images = (looks.repeat(4, 0) + 0.05 * rng.normal(size=(96, 1, 8, 8))).astype(np.float32)
    fitted = GaussianPrior(1, 8, 8, components=20)
    fitted.fit(torch.from_numpy(images[:48]))
    new = torch.from_numpy(images[48:])
    for level in (0.1, 0.5):
        time = 1 / (1 + level)
        x_t = torch.lerp(torch.from_numpy(rng.normal(size=new.shape).astype(np.float32)), new, time)
        guess, spread = fitted.posterior(x_t, torch.full((48,), time))
        error = float((guess - new).square().mean().sqrt())
        assert error < 1.05 * level  # where all that is known is the noise, it is not made worse
        assert error == pytest.approx(float(spread[0]), rel=0.1)  # and it says how far off it is


@pytest.mark.parametrize("time", [0.0, 0.3, 0.9, 0.999])
def test_the_posterior_is_the_dense_formula(prior: GaussianPrior, time: float) -> None:
    mean, covariance = dense(prior)
    x_t = np.random.default_rng(3).normal(size=(3, 128))
    noise = (1 - time) ** 2 * np.eye(128)
    gain = time * covariance @ np.linalg.inv(time**2 * covariance + noise)
    expected = mean + (x_t - time * mean) @ gain.T
    left = covariance - time * gain @ covariance
    found, spread = prior.posterior(torch.from_numpy(x_t).float().view(3, 2, 8, 8), torch.full((3,), time))
    # float32 against float64; at 0.999 the noise variance is 1e-6 and its rounding is amplified.
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=2e-5 if time < 0.99 else 2e-3)
    np.testing.assert_allclose(spread.flatten().numpy(), np.sqrt(np.trace(left) / 128), rtol=1e-3)


def test_times_within_a_batch_do_not_mix(prior: GaussianPrior) -> None:
    x_t, times = torch.from_numpy(waves(3, 2, 8, seed=4)), torch.tensor([0.1, 0.5, 0.9])
    together = prior.posterior(x_t, times)
    alone = [prior.posterior(x_t[i : i + 1], times[i : i + 1]) for i in range(3)]
    for part in (0, 1):
        torch.testing.assert_close(together[part], torch.cat([each[part] for each in alone]), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def untrained() -> Generator:
    """A flow fitted to waves, its network still zero."""
    model = build("flow", facts(), SMALL)
    model.fit(waves(200, 1, 8), None, None, seed=0)
    assert isinstance(model, Generator)
    return model.eval()


def square_root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("time", [0.0, 0.4, 0.95])
def test_colouring_is_the_dense_square_root(prior: GaussianPrior, time: float) -> None:
    mean, covariance = dense(prior)
    root = square_root(time**2 * covariance + (1 - time) ** 2 * np.eye(128))
    white = np.random.default_rng(6).normal(size=(3, 128))
    found = prior.colour(torch.from_numpy(white).float().view(3, 2, 8, 8), time)
    np.testing.assert_allclose(found.flatten(1).numpy(), time * mean + white @ root, atol=2e-5)  # float32
    back = prior.scaled(prior.scaled(found, time, -0.5), time, 0.5)
    torch.testing.assert_close(back, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 8, 64])
def test_a_zero_network_transports_noise_to_the_gaussian(untrained: Generator, steps: int) -> None:
    # For x ~ N(mu, S) the velocity field is linear and its flow from noise z is x_t = t mu + (t^2 S + (1 - t)^2)^(1/2)
    # z, at any number of steps. The last interval is replaced by the posterior mean at its start.
    mean, covariance = dense(untrained.prior)
    last, seeds = 1 - 1 / steps, list(range(16))
    z = Streams(seeds).normal(1, 8, 8).flatten(1).double().numpy()
    marginal = last**2 * covariance + (1 - last) ** 2 * np.eye(64)
    x_t = last * mean + z @ square_root(marginal)
    expected = mean + (x_t - last * mean) @ np.linalg.solve(marginal, last * covariance)
    with torch.inference_mode():
        made = untrained.sample(Condition(16), Streams(seeds), steps=steps)
    assert made.masks is None
    np.testing.assert_allclose(made.images.flatten(1).numpy(), np.clip(expected, -1, 1), atol=1e-4)  # float32
    if steps == 64:  # and so it ends close to mean and covariance of the data
        np.testing.assert_allclose(expected, mean + z @ square_root(covariance), atol=0.05)


def test_what_the_network_adds_is_integrated_to_second_order(untrained: Generator) -> None:
    # A network whose output is one constant everywhere; the finest integration stands for the exact path.
    model, seeds = copy.deepcopy(untrained), list(range(4))
    model.network.leave[-1].bias.data.fill_(0.3)

    def path(steps: int) -> torch.Tensor:
        white = Streams(seeds).normal(1, 8, 8)
        times = [0.5 * step / steps for step in range(steps + 1)]
        with torch.inference_mode():
            for now, then in itertools.pairwise(times):
                velocity = model._white_velocity(white, now)
                ahead = model._white_velocity(white + (then - now) * velocity, then)
                white = white + (then - now) / 2 * (velocity + ahead)
        return model.prior.colour(white, 0.5)

    # dx/dt = (E[x | x_t] + c s(t) - x_t) / (1 - t), integrated without the coordinates of the sampler.
    def midpoint(steps: int) -> torch.Tensor:
        x = Streams(seeds).normal(1, 8, 8)
        with torch.inference_mode():
            for step in range(steps):
                time = 0.5 * (step + 0.5) / steps
                guess, learnt = model.denoised(x, 0.5 * step / steps)
                middle = x + 0.25 / steps * (guess + learnt - x) / (1 - 0.5 * step / steps)
                guess, learnt = model.denoised(middle, time)
                x = x + 0.5 / steps * (guess + learnt - middle) / (1 - time)
        return x

    exact = midpoint(64)
    errors = [float((path(steps) - exact).abs().max()) for steps in (2, 4, 8)]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    assert errors[2] < 0.01  # of a range of 2


def test_a_sampling_without_steps_is_refused(untrained: Generator) -> None:
    with pytest.raises(BadOption, match="'steps' is from 1 to 1000"):
        untrained.sample(Condition(1), Streams([0]), steps=0)


def test_the_loss_of_a_zero_network_is_one(untrained: Generator) -> None:
    # The target is scaled to unit spread at every time, if the data is the Gaussian that was fitted.
    mean, covariance = dense(untrained.prior)
    rng = np.random.default_rng(5)
    data = torch.from_numpy(rng.multivariate_normal(mean, covariance, 4000).astype(np.float32)).view(-1, 1, 8, 8)
    for time in (0.1, 0.5, 0.9):
        noise = torch.from_numpy(rng.normal(size=data.shape).astype(np.float32))
        guess, spread = untrained.prior.posterior(torch.lerp(noise, data, time), torch.full((4000,), time))
        # 256,000 squares, of which a few leading directions count most: a per cent of sampling error.
        assert ((data - guess) / spread).square().mean().item() == pytest.approx(1, abs=0.03)


def test_the_learning_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    assert schedule(0.0, 0.02) == 0
    assert schedule(0.01, 0.02) == pytest.approx(0.5)
    assert schedule(0.02, 0.02) == 1
    assert schedule(0.51, 0.02) == pytest.approx(0.5)
    assert schedule(1.0, 0.02) == pytest.approx(0, abs=1e-15)
    assert schedule(0.0, 0.0) == 1
    shares = [schedule(fraction / 1000, 0.1) for fraction in range(1001)]
    assert np.argmax(shares) == 100
    assert np.abs(np.diff(shares)).max() < 0.011  # without a jump


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({"multipliers": (1, 2, 2)}, 20),
        ({"patch": 3}, 16),
        ({"patch": 0}, 16),
        ({"width": 50}, 16),  # three groups do not divide fifty features
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict[str, Any], side: int) -> None:
    with pytest.raises(BadOption, match="options of flow must fit") as raised:
        build("flow", facts(side), {**SMALL, **options})
    assert "\n" not in str(raised.value)


def test_two_images_have_no_covariance_that_can_be_tried() -> None:
    with pytest.raises(InputError, match="three images"):
        build("flow", facts(), SMALL).fit(waves(2, 1, 8), None, None, seed=0)
    build("flow", facts(), SMALL).fit(waves(3, 1, 8), None, None, seed=0)


def test_the_prior_takes_at_most_the_images_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import synthcohort.generators.flow as module

    monkeypatch.setattr(module, "MAX_PRIOR_IMAGES", 10)
    images = waves(50, 1, 8)
    model = build("flow", facts(), SMALL)
    model.fit(images, None, None, seed=2)
    chosen = np.sort(np.random.default_rng(2).permutation(50)[:10])
    np.testing.assert_allclose(model.prior.mean.numpy(), images[chosen].mean(0).ravel(), atol=1e-6)


@pytest.mark.parametrize("options", [{"width": 17}, {"width": 0}, {"components": 0}, {"learning_rate": -1.0}])
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, float]) -> None:
    with pytest.raises(BadOption):
        build("flow", facts(), {**SMALL, **options})


def test_more_components_than_pixels_leave_a_rest_variance() -> None:
    model = build("flow", facts(), {**SMALL, "components": 1000})
    model.fit(waves(200, 1, 8), None, None, seed=0)
    assert len(model.prior.variances) <= 8 * 8 - 1
    assert float(model.prior.rest) > 0


def labelled(**options: Any) -> Generator:
    """Return a flow told two findings, fitted, its network saying something."""
    known = Facts(
        name="waves", modality="none", provenance="real", shape=(1, 8, 8), dtype="uint8", value_range=(0.0, 255.0),
        labels=("first", "second"),
    )  # fmt: skip
    model = build("flow", known, {**SMALL, **options})
    model.fit(waves(200, 1, 8), None, np.random.default_rng(1).integers(2, size=(200, 2)).astype(np.float32), seed=0)
    stream = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=stream) * 0.05)
    assert isinstance(model, Generator)
    return model.eval()


def test_guidance_scales_what_the_labels_add_to_the_expected_data() -> None:
    model, x_t = labelled(), torch.from_numpy(waves(2, 1, 8, seed=5))
    known = Known(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    with torch.inference_mode():
        with_labels, without = (sum(model.denoised(x_t, 0.4, told)) for told in (known, known.unlabelled()))
        once, thrice = (sum(model.denoised(x_t, 0.4, known, guidance)) for guidance in (1.0, 3.0))
        plain = model.sample(Condition(2, labels=known.labels[:, :2]), Streams([1, 2]), steps=2)
        one = model.sample(Condition(2, labels=known.labels[:, :2]), Streams([1, 2]), steps=2, guidance=1.0)
    assert (with_labels - without).abs().max() > 1e-3
    torch.testing.assert_close(once, with_labels, rtol=0, atol=1e-6)  # float32, here and below
    torch.testing.assert_close(thrice, without + 3 * (with_labels - without), rtol=0, atol=1e-5)
    assert torch.equal(plain.images, one.images)


def test_given_masks_stand_at_the_door_and_the_gaussian_is_of_images_alone() -> None:
    model = build("flow", facts(classes=("none", "some")), {**SMALL, "masks": "given", "mask_source": "training"})
    masks = np.random.default_rng(2).integers(2, size=(50, 8, 8)).astype(np.uint8)
    images = waves(50, 1, 8)
    model.fit(images, masks, None, seed=0)
    assert model.prior.grid[0] == 1
    np.testing.assert_allclose(model.prior.mean.numpy(), images.mean(0).ravel(), atol=1e-6)
    seen: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        made = model.sample(Condition(3), Streams([1, 2, 3]), steps=1)
    assert made.masks is not None
    assert made.images.shape == (3, 1, 8, 8)
    assert all((mask.numpy() == masks).all((1, 2)).any() for mask in made.masks)
    expected = torch.stack([made.masks == 0, made.masks == 1], 1).float() * 2 - 1
    assert torch.equal(seen[0][:, 2:], expected)  # after the noisy image and its posterior mean
