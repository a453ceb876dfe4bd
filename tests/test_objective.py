"""Adversarial objectives: textbook losses, the critic schedule against a loop, the gradient penalty by differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthcohort.generators._dcgan_networks import Critic, Look
from synthcohort.generators._objective import generator_turn
from synthcohort.generators._penalties import gradient_penalty
from synthcohort.generators.dcgan import DCGAN, LSGAN, WGAN, WGANGP, Hinge

REAL = torch.tensor([2.5, -0.3, 0.9, -4.0])
FAKE = torch.tensor([-1.5, 0.2, 3.0, -0.7])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


TEXTBOOK = {
    # Goodfellow et al. 2014, eq. 1 and the non-saturating form of section 3.
    DCGAN: (
        lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(),
        lambda f: -np.log(sigmoid(f)).mean(),
    ),
    # Mao et al. 2017, eq. 9.
    LSGAN: (lambda r, f: 0.5 * np.mean((r - 1) ** 2) + 0.5 * np.mean(f**2), lambda f: 0.5 * np.mean((f - 1) ** 2)),
    # Arjovsky et al. 2017, algorithm 1, as minimisation; Gulrajani et al. 2017, algorithm 1, without the penalty.
    WGAN: (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
    WGANGP: (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
    # Lim & Ye 2017: hinges at 1 and -1.
    Hinge: (lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), lambda f: -f.mean()),
}


@pytest.mark.parametrize("kind", TEXTBOOK)
def test_losses_are_the_textbook_losses(kind):
    critic, generator = TEXTBOOK[kind]
    real, fake = REAL.double(), FAKE.double()
    assert float(kind.objective.critic(real, fake, 1.0)) == pytest.approx(critic(real.numpy(), fake.numpy()), rel=1e-12)
    assert float(kind.objective.generator(fake)) == pytest.approx(generator(fake.numpy()), rel=1e-12)


def test_a_confident_critic_does_not_overflow():
    assert torch.isfinite(DCGAN.objective.critic(torch.tensor([-1e4]), torch.tensor([1e4]), 1.0))


@pytest.mark.parametrize(("critic_steps", "warmup"), [(5, 25), (1, 1), (3, 500), (2, 501), (150, 2), (4, 0)])
def test_turns_equal_the_loop_that_counts(critic_steps, warmup):
    turns, generator_steps = [], 0
    while len(turns) < 60_000:
        burst = generator_steps < warmup or (warmup and generator_steps % 500 == 0)
        due = max(100, critic_steps) if burst else critic_steps
        turns += [False] * (due - 1) + [True]
        generator_steps += 1
    assert [generator_turn(step, critic_steps, warmup) for step in range(len(turns))] == turns


def penalised(norm="layer", activation="leaky_relu"):
    """Return a tiny float64 critic, real and fake images and shares."""
    torch.manual_seed(3)
    critic = Critic(1, [2, 3], Look(activation, norm)).double()
    real, fake = torch.rand((2, 4, 1, 16, 16), dtype=torch.float64) * 2 - 1
    return critic, real, fake, torch.rand((4, 1, 1, 1), dtype=torch.float64)


@pytest.mark.parametrize("norm", ["layer", "instance", "none"])
def test_the_penalty_is_that_of_a_loop_over_images(norm):
    critic, real, fake, shares = penalised(norm)
    terms = []
    for x, z, share in zip(real, fake, shares, strict=True):
        mixed = (share * x + (1 - share) * z).requires_grad_()
        (slope,) = torch.autograd.grad(critic(mixed[None])[0], mixed)
        terms.append((np.sqrt((slope.numpy() ** 2).sum()) - 1) ** 2)
    found = float(gradient_penalty(critic, real, fake, shares).detach())
    assert found == pytest.approx(np.mean(terms), rel=1e-12)


@pytest.mark.parametrize(
    ("norm", "activation"),
    [
        ("layer", "leaky_relu"),
        ("instance", "leaky_relu"),
        ("none", "relu"),
        ("none", "leaky_relu"),
        ("none", "elu"),
        ("none", "selu"),
    ],
)
def test_parameter_gradients_of_the_penalty_equal_finite_differences(norm, activation):
    critic, real, fake, shares = penalised(norm, activation)
    gradient_penalty(critic, real, fake, shares).backward()
    stride, checked = 1e-6, 0
    for name, parameter in critic.named_parameters():
        flat = parameter.data.view(-1)
        found = torch.zeros_like(flat) if parameter.grad is None else parameter.grad.flatten()
        for position in range(0, len(flat), max(1, len(flat) // 12)):
            kept, values = float(flat[position]), []
            for offset in (stride, -stride):
                flat[position] = kept + offset
                values.append(float(gradient_penalty(critic, real, fake, shares).detach()))
            flat[position] = kept
            # Rounding: 1e-16 of a penalty near 1, over 2e-6, is 1e-10; the stride's own error is of its square.
            expected = (values[0] - values[1]) / (2 * stride)
            assert float(found[position]) == pytest.approx(expected, rel=1e-6, abs=2e-9), (name, position)
            checked += abs(expected) > 1e-5
    assert checked > 20  # Zeros alone would prove nothing.


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25), (0.0, 1.0)])
def test_the_penalty_of_a_linear_critic_is_known(slope, penalty):
    # Two-sided: a slope of one half is punished too.
    _, real, fake, shares = penalised()
    direction = torch.linspace(-1, 1, 256, dtype=torch.float64)
    weight = (slope * direction / direction.norm()).requires_grad_()
    found = gradient_penalty(lambda joint: joint.flatten(1) @ weight, real, fake, shares)
    assert float(found.detach()) == pytest.approx(penalty, abs=1e-12)
    found.backward()
    assert weight.grad.isfinite().all()  # also where the norm has no derivative


def test_the_penalty_is_computed_in_full_precision_under_autocast():
    critic, *rest = penalised()
    critic, (real, fake, shares) = critic.float(), (part.float() for part in rest)
    exact = gradient_penalty(critic, real, fake, shares)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient_penalty(critic, real, fake, shares)
    assert torch.equal(found, exact)
