"""The flow against closed forms: the Gaussian posterior, the transport of a Gaussian, the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from synthcohort.cohort import Facts
from synthcohort.errors import BadOption, InputError
from synthcohort.generators import _prior
from synthcohort.generators._prior import GaussianPrior
from synthcohort.generators.flow import Generator, schedule
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


def test_the_prior_has_the_mean_and_the_variance_of_the_data(prior: GaussianPrior) -> None:
    data = waves(40, 2, 8).reshape(40, -1).astype(np.float64)
    mean, covariance = dense(prior)
    coarse = data.reshape(40, 2, 8 // prior.block, prior.block, 8 // prior.block, prior.block).mean((0, 3, 5))
    fine = coarse.repeat(prior.block, 1).repeat(prior.block, 2).ravel()
    np.testing.assert_allclose(mean, fine, atol=1e-6)  # float32
    total = np.square(data - fine).sum() / 39
    assert np.trace(covariance) == pytest.approx(total, rel=1e-5)
    if prior.block == 1:  # the leading eigenvectors are those of the sample covariance
        values, vectors = np.linalg.eigh(np.cov(data.T))
        lead = vectors[:, -5:]
        np.testing.assert_allclose(lead.T @ covariance @ lead, np.diag(values[-5:]), atol=1e-5 * values[-1])


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
    model.fit(waves(200, 1, 8), None, seed=0)
    assert isinstance(model, Generator)
    return model.eval()


def test_a_zero_network_transports_noise_to_the_gaussian_exactly(untrained: Generator) -> None:
    # For x ~ N(mu, S) the flow takes z to x_t = t mu + S_t^(1/2) z, S_t = t^2 S + (1 - t)^2 I. The sampler ends with
    # E[x | x_t] = mu + t S S_t^(-1/2) z at the last of its times, whatever their number.
    mean, covariance = dense(untrained.prior)
    values, vectors = np.linalg.eigh(covariance)
    seeds = list(range(16))
    z = Streams(seeds).normal(1, 8, 8).flatten(1).double().numpy()
    for steps in (2, 8, 50):
        with torch.inference_mode():
            made = untrained.sample(Condition(16), Streams(seeds), steps=steps)
        assert made.masks is None
        t = 1 - 1 / steps
        root = (vectors * (t * values / np.sqrt(t**2 * values + (1 - t) ** 2))) @ vectors.T
        expected = np.clip(mean + z @ root, -1, 1)
        np.testing.assert_allclose(made.images.flatten(1).numpy(), expected, atol=1e-4)  # float32 over 50 steps


def test_fewer_than_one_step_is_refused(untrained: Generator) -> None:
    with pytest.raises(BadOption, match="at least 1"):
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


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(InputError, match="two images"):
        build("flow", facts(), SMALL).fit(waves(1, 1, 8), None, seed=0)


def test_the_prior_takes_at_most_the_images_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import synthcohort.generators.flow as module

    monkeypatch.setattr(module, "MAX_PRIOR_IMAGES", 10)
    images = waves(50, 1, 8)
    model = build("flow", facts(), SMALL)
    model.fit(images, None, seed=2)
    chosen = np.sort(np.random.default_rng(2).permutation(50)[:10])
    np.testing.assert_allclose(model.prior.mean.numpy(), images[chosen].mean(0).ravel(), atol=1e-6)
