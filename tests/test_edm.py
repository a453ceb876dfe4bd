"""EDM against closed forms: table 1, eq. 5, the exact path of Gaussian data, and the sampler written out slowly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from synthcohort.cohort import Facts
from synthcohort.errors import BadOption
from synthcohort.generators._denoiser import Known, guided, told
from synthcohort.generators.edm import Generator, noise_levels, preconditioning
from synthcohort.nets.generator import Draws, Streams, build
from synthcohort.types import Array, Batch, Clock, Condition

SMALL: dict[str, Any] = {"width": 16, "multipliers": (1, 2)}
SPREAD = 0.5
SEEDS = list(range(6))


def made(classes: int = 0, findings: int = 0, **options: Any) -> Generator:
    facts = Facts(
        name="none", modality="none", provenance="real", shape=(1, 8, 8), dtype="uint8", value_range=(0.0, 255.0),
        mask_classes=tuple(f"class{i}" for i in range(classes)), labels=tuple(f"finding{i}" for i in range(findings)),
    )  # fmt: skip
    model = build("edm", facts, {**SMALL, **options})
    assert isinstance(model, Generator)
    return model


def stirred(model: Generator) -> Generator:
    """Return the generator with a network that says something."""
    stream = torch.Generator().manual_seed(1)
    for parameter in model.network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=stream) * 0.05)
    return model.eval()


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_preconditioning_is_the_table_of_the_paper() -> None:
    levels = [0.002, 0.1, 0.5, 1.0, 80.0]
    found = preconditioning(torch.tensor(levels, dtype=torch.float64), torch.tensor(SPREAD, dtype=torch.float64))
    expected = [
        (
            SPREAD**2 / (level**2 + SPREAD**2),
            level * SPREAD / math.sqrt(SPREAD**2 + level**2),
            1 / math.sqrt(level**2 + SPREAD**2),
            math.log(level) / 4,
        )
        for level in levels
    ]
    np.testing.assert_allclose(torch.stack(found, 1).numpy(), expected, rtol=1e-12)  # float64
    assert [float(part[2]) for part in found] == pytest.approx([0.5, 0.5 / math.sqrt(2), math.sqrt(2), -0.1732868])


def test_input_and_target_of_the_network_have_unit_spread_at_every_level() -> None:
    # 200,000 numbers: a quarter of a per cent of sampling error; the bound is six of that.
    data, added = SPREAD * noise(200_000, seed=3).double(), noise(200_000, seed=4).double()
    for level in (0.01, 0.3, 2.0, 50.0):
        values = preconditioning(torch.tensor([level]).double(), torch.tensor(SPREAD).double())
        skip, out, scale, _ = (float(value) for value in values)
        noisy = data + level * added
        assert float((scale * noisy).std()) == pytest.approx(1, abs=0.015)
        assert float(((data - skip * noisy) / out).std()) == pytest.approx(1, abs=0.015)


def test_the_noise_levels_are_those_of_equation_5() -> None:
    levels = noise_levels(18, 0.002, 80.0, 7.0)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(levels, [*expected, 0], rtol=1e-12)
    assert levels[0] == pytest.approx(80)
    assert levels[17] == pytest.approx(0.002)
    assert levels[1] == pytest.approx(57.586, abs=1e-3)  # computed by hand
    assert noise_levels(1, 0.002, 80.0, 7.0) == [pytest.approx(80), 0]


def textbook(
    denoise: Callable[[torch.Tensor, float], torch.Tensor], steps: int, draws: Streams, churn: float, low: float,
    high: float, extra: float,
) -> torch.Tensor:  # fmt: skip
    """Return algorithm 2 of the paper, line by line, in float64."""
    levels = [(80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(steps)] + [0]
    x = levels[0] * draws.normal(1, 8, 8).double()
    for i in range(steps):
        gamma = min(churn / steps, math.sqrt(2) - 1) if low <= levels[i] <= high else 0.0
        raised = levels[i] + gamma * levels[i]
        if gamma > 0:
            x = x + math.sqrt(raised**2 - levels[i] ** 2) * extra * draws.normal(1, 8, 8).double()
        d = (x - denoise(x, raised)) / raised
        ahead = x + (levels[i + 1] - raised) * d
        if levels[i + 1] != 0:
            d = d / 2 + (ahead - denoise(ahead, levels[i + 1])) / levels[i + 1] / 2
            ahead = x + (levels[i + 1] - raised) * d
        x = ahead
    return x


@pytest.mark.parametrize(
    ("churn", "low", "high", "extra"),
    [(0, 0, math.inf, 1), (4, 0, math.inf, 1), (100, 0.05, 50, 1.003)],
    ids=["none", "everywhere", "at the limit and in part"],
)
def test_the_sampler_is_algorithm_2(churn: float, low: float, high: float, extra: float) -> None:
    model = stirred(made(data_spread=SPREAD))
    options = {"churn": float(churn), "churn_from": float(low), "churn_noise": float(extra)}
    top = None if math.isinf(high) else float(high)
    with torch.inference_mode():
        found = model.sample(Condition(6), Streams(SEEDS), steps=5, churn_to=top, **options).images

        def denoise(x: torch.Tensor, level: float) -> torch.Tensor:
            return model.denoised(x.float(), torch.full((6,), level), Known()).double()

        expected = textbook(denoise, 5, Streams(SEEDS), churn, low, high, extra).clamp(-1, 1)
    assert (expected.abs() < 0.99).float().mean() > 0.2  # not all is clamped
    # Images of unit size from float32 steps that begin at 80: a few times 80 * 6e-8 for each.
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-4)


def test_churn_draws_from_the_streams_and_none_draws_nothing() -> None:
    model = stirred(made())
    with torch.inference_mode():
        plain, none, some, again = (
            model.sample(Condition(2), Streams([1, 2]), steps=4, **options).images
            for options in ({}, {"churn": 0.0, "churn_noise": 2.0}, {"churn": 2.0}, {"churn": 2.0})
        )
        outside = model.sample(Condition(2), Streams([1, 2]), steps=4, churn=2.0, churn_from=100.0).images
    assert torch.equal(plain, none)
    assert torch.equal(plain, outside)
    assert torch.equal(some, again)
    assert not torch.equal(plain, some)


def ideal(spread: float) -> Generator:
    """Return a generator whose network says 0: then D = c_skip x, the ideal denoiser of N(0, spread^2)."""
    model = made(data_spread=spread).eval()
    assert not model.network(noise(1, 1, 8, 8), torch.zeros(1)).any()  # a new network does; below it is not run
    model.network.forward = lambda x, *_: torch.zeros_like(x)  # type: ignore[method-assign]
    return model


def test_gaussian_data_are_sampled_exactly_to_second_order() -> None:
    # The path of N(0, s^2) keeps x / sqrt(s^2 + sigma^2): noise at sigma_max ends at s / sqrt(s^2 + sigma_max^2) of it.
    spread = 0.2
    model, start = ideal(spread), Streams(SEEDS).normal(1, 8, 8) * 80
    exact = start * spread / math.sqrt(spread**2 + 80**2)
    with torch.inference_mode():
        paths = [model.sample(Condition(6), Streams(SEEDS), steps=steps).images for steps in (36, 72, 144)]
    errors = [float((path - exact).abs().max() / exact.abs().max()) for path in paths]
    assert errors == pytest.approx([0.015967, 0.003706, 0.000860], abs=2e-5)  # the same recurrence for one float64
    assert errors[0] > 3.5 * errors[1] > 12.25 * errors[2]  # 4 and 16 in the limit


def test_churn_keeps_the_distribution_of_gaussian_data() -> None:
    with torch.inference_mode():
        found = ideal(0.2).sample(Condition(200), Streams(range(200)), steps=72, churn=20.0).images
    # 12,800 numbers: 0.6 per cent of sampling error, and a half from the steps.
    assert float(found.std()) == pytest.approx(0.2, rel=0.025)


def test_the_loss_is_the_weighted_error_of_the_denoised_data() -> None:
    model, data = stirred(made(data_spread=SPREAD)), 0.3 * noise(5, 1, 8, 8)
    with torch.inference_mode():
        found = float(model.loss(data, Known(), Draws(7)))
        again = Draws(7)
        added = again.normal(5, 1, 8, 8)
        levels = (again.normal(5) * 1.2 - 1.2).exp().tolist()
        total, plain = 0.0, 0.0
        for i, level in enumerate(levels):
            noisy = data[i : i + 1] + level * added[i : i + 1]
            skip, out = SPREAD**2 / (level**2 + SPREAD**2), level * SPREAD / math.sqrt(level**2 + SPREAD**2)
            scale, time = 1 / math.sqrt(level**2 + SPREAD**2), torch.tensor([math.log(level) / 4])
            raw = model.network(scale * noisy, time)
            weight = (level**2 + SPREAD**2) / (level * SPREAD) ** 2
            total += weight * float((skip * noisy + out * raw - data[i : i + 1]).square().mean()) / 5
            plain += float((raw - (data[i : i + 1] - skip * noisy) / out).square().mean()) / 5
    assert found == pytest.approx(total, rel=1e-4)  # float32; the weight reaches 1e4 at the smallest levels
    assert found == pytest.approx(plain, rel=1e-4)


def test_the_spread_is_that_of_the_data_and_its_masks() -> None:
    rng = np.random.default_rng(0)
    images: Array = rng.normal(0.3, 0.4, (30, 1, 8, 8)).astype(np.float32)
    masks = rng.integers(3, size=(30, 8, 8)).astype(np.uint8)
    square = float(np.square(images.astype(np.float64)).mean())
    cases = [(made(), None, square), (made(3), masks, (square + 3) / 4), (made(3, masks="given"), masks, square)]
    for model, given, expected in cases:
        model.fit(images, given, None, seed=0)
        assert float(model.data_spread) == pytest.approx(math.sqrt(expected), rel=1e-6)
    joint = cases[1][0].joint(Batch(torch.from_numpy(images), torch.from_numpy(masks).long(), None, torch.arange(30)))
    assert float(joint.square().mean()) == pytest.approx(cases[1][2], rel=1e-5)
    stated = made(data_spread=0.7)
    stated.fit(images, None, None, seed=0)
    assert float(stated.data_spread) == pytest.approx(0.7)


def test_guidance_of_one_is_no_guidance_and_two_is_twice_the_difference() -> None:
    model = stirred(made(findings=2))
    x, levels = noise(3, 1, 8, 8), torch.full((3,), 0.7)
    known = Known(told(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.ones(3, dtype=torch.bool)))

    def denoise(shown: Known) -> torch.Tensor:
        return model.denoised(x, levels, shown)

    with torch.inference_mode():
        with_labels, without = denoise(known), denoise(Known(torch.zeros(3, 3)))
        assert (with_labels - without).abs().max() > 1e-3
        assert torch.equal(guided(denoise, known, 1.0), with_labels)
        twice = without + 2 * (with_labels - without)
        torch.testing.assert_close(guided(denoise, known, 2.0), twice, rtol=0, atol=1e-6)  # float32
        asked = Condition(2, labels=torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        plain, one, three = (
            model.sample(asked, Streams([1, 2]), steps=3, **options).images
            for options in ({}, {"guidance": 1.0}, {"guidance": 3.0})
        )
    assert torch.equal(plain, one)
    assert not torch.allclose(plain, three, atol=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_labels_are_hidden_in_their_share_of_the_training_images(dropout: float) -> None:
    model = made(findings=2, label_dropout=dropout)
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    labels = torch.tensor([[1.0, 0.0]]).repeat(400, 1)
    batch = Batch(noise(400, 1, 8, 8), None, labels, torch.arange(400))
    model.step(batch, clock=Clock(0, 0, 1000), rng=Draws(3), update=lambda *_, **__: None)
    hidden = (seen[0] == 0).all(1)
    assert torch.equal(seen[0][~hidden], torch.tensor([[1.0, 0.0, 1.0]]).repeat(int((~hidden).sum()), 1))
    # 400 draws: a standard deviation of 0.025; four of it.
    assert float(hidden.float().mean()) == pytest.approx(dropout, abs=0.1 if dropout else 0)


def test_given_masks_stand_at_the_door_and_come_out_as_they_are() -> None:
    model = stirred(made(3, masks="given"))
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    masks = torch.from_numpy(np.random.default_rng(1).integers(3, size=(2, 8, 8)))
    with torch.inference_mode():
        sampled = model.sample(Condition(2, masks=masks), Streams([1, 2]), steps=2)
        other = model.sample(Condition(2, masks=masks.flip(1)), Streams([1, 2]), steps=2)
    assert sampled.images.shape == (2, 1, 8, 8)
    assert sampled.masks is not None
    assert torch.equal(sampled.masks, masks)
    assert [each.shape[1] for each in seen[:3]] == [1 + 3] * 3
    for index in range(3):
        assert torch.equal(seen[0][:, 1 + index], (masks == index).float() * 2 - 1)
    assert not torch.allclose(sampled.images, other.images, atol=1e-3)


def test_a_step_moves_the_weights_down_the_loss_as_adam_does() -> None:
    model = made(data_spread=SPREAD, warmup=0.0)
    other, data = copy.deepcopy(model), 0.3 * noise(4, 1, 8, 8)
    adam = model.optimisers()["edm"]

    def update(name: str, loss: torch.Tensor, *, lr: float) -> None:
        assert (name, lr) == ("edm", 1e-3)
        adam.zero_grad()
        loss.backward()
        adam.step()

    before = model.network.leave[-1].weight.detach().clone()
    batch = Batch(data, None, None, torch.arange(4))
    losses = model.step(batch, clock=Clock(0, 0, 100), rng=Draws(5), update=update)
    assert isinstance(losses["edm"], torch.Tensor)
    assert not losses["edm"].requires_grad
    loss = other.loss(data, Known(), Draws(5))
    loss.backward()
    slope = other.network.leave[-1].weight.grad
    assert slope is not None
    # Adam's first step is the rate times the sign, but where the slope is near its epsilon of 1e-8.
    expected = before - 1e-3 * slope / (slope.abs() + 1e-8)
    torch.testing.assert_close(model.network.leave[-1].weight.detach(), expected, rtol=0, atol=1e-6)
    assert float(losses["edm"]) == pytest.approx(float(loss.detach()), rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"noise_spread": 0.0}, {"data_spread": 0.0}, {"width": 17}, {"blocks": 10**9},
        {"multipliers": (1, 2, 2, 2)}, {"warmup": 1.0}, {"label_dropout": 1.0}, {"masks": "given"},
        {"learning_rate": -1.0},
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(BadOption) as raised:
        made(**options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "'steps' is from 1 to 1000"),
        ({"lowest": 90.0}, "'lowest' is below 'highest'"),
        ({"lowest": 1e-30}, "from 1e-6 to 1e6"),
        ({"highest": 1e30}, "from 1e-6 to 1e6"),
        ({"bend": 0.0}, "'bend' is from 0.1 to 100"),
        ({"bend": 1e-3}, "'bend' is from 0.1 to 100"),
        ({"bend": 1e30}, "'bend' is from 0.1 to 100"),
        ({"churn": -1.0}, "not negative"),
        ({"guidance": 2.0}, "Guidance needs labels"),
        ({"guidance": 0.0}, "'guidance' is above 0"),
    ],
)
def test_sampling_that_cannot_work_is_refused_in_one_line(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadOption, match=rule) as raised:
        made().sample(Condition(1), Streams([0]), **options)
    assert "\n" not in str(raised.value)


def test_guidance_needs_images_that_were_trained_without_labels() -> None:
    model = made(findings=1, label_dropout=0.0)
    with pytest.raises(BadOption, match="trained without labels"):
        model.sample(Condition(1, labels=torch.ones(1, 1)), Streams([0]), guidance=2.0)


def test_image_and_mask_channels_count_half_each() -> None:
    squares = torch.cat([torch.full((2, 1, 8, 8), 4.0), torch.full((2, 3, 8, 8), 2.0)], 1)
    squares[1] *= 10
    assert made(3).balanced(squares).tolist() == [3.0, 30.0]
    assert made(3, masks="given").balanced(squares[:, :1]).tolist() == [4.0, 40.0]
    assert made().balanced(squares[:, :1]).tolist() == [4.0, 40.0]
