"""What an adversarial objective is: losses, optimisers, whose turn it is, clipping, penalty, feature matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from .. import parallel
from ..errors import BadOption
from ._dcgan_networks import CriticNorm

BURST_CRITIC_STEPS, BURST_PERIOD = 100, 500  # Arjovsky et al. 2017, released code

Optimiser = Callable[[nn.Module, float], torch.optim.Optimizer]


@dataclass(frozen=True)
class Objective:
    """What one adversarial generator is: two losses on raw scores, and how they are usually minimised.

    Attributes:
        critic: (scores of real, scores of fake, real_target) -> scalar loss.
        generator: Scores of fake -> scalar loss.
        generator_learning_rate: Learning rate of the generator.
        critic_learning_rate: Learning rate of the critic.
        optimiser: Makes an optimiser from parameters and a learning rate.
        critic_steps: Critic steps per generator step.
        critic_warmup: Generator steps at the start that follow 100 critic steps each; see `generator_turn`.
        critic_norm: Normalisation in the critic.
        clip: Bound of every critic parameter's absolute value before a critic step; 0 for none.
        penalty: Weight of the gradient penalty in the critic's loss; 0 for none.
        has_target: Whether the critic's loss says what a real score aims at.
        real_target: What it aims at; below 1 it is the one-sided label smoothing of Salimans et al. 2016.
        feature_matching: Weight of `feature_distance` in the generator's loss.
    """

    critic: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    generator_learning_rate: float
    critic_learning_rate: float
    optimiser: Optimiser
    critic_steps: int = 1
    critic_warmup: int = 0
    critic_norm: CriticNorm = "batch"
    clip: float = 0.0
    penalty: float = 0.0
    has_target: bool = False
    real_target: float = 1.0
    feature_matching: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be minimised.

        Raises:
            BadOption: A number is out of its range, or a loss without a target is given one.
        """
        if self.critic_steps < 1 or min(self.critic_warmup, self.clip, self.penalty, self.feature_matching) < 0:
            given = f"{self.critic_steps}, {self.critic_warmup}, {self.clip}, {self.penalty}, {self.feature_matching}"
            rule = "critic_steps is at least 1; critic_warmup, clip, penalty and feature_matching are not negative"
            raise BadOption(rule, given, "Give such numbers")
        if not 0 < self.real_target <= 1:
            raise BadOption("Option 'real_target' is above 0 and at most 1", str(self.real_target), "Give 0.9 or so")
        if self.real_target != 1 and not self.has_target:
            rule = "Label smoothing needs a loss with a target for real scores, as those of dcgan and lsgan"
            raise BadOption(rule, f"real_target={self.real_target} and none", "Leave real_target out")

    @property
    def penalises_batch_norm(self) -> bool:
        """Return whether the penalty on each image's slope meets a norm that mixes it with the others."""
        return self.penalty > 0 and self.critic_norm == "batch"


def log_loss(real: Tensor, fake: Tensor, real_target: float) -> Tensor:
    """Return the cross entropy of scores as log odds (Goodfellow et al. 2014, eq. 1), as a minimisation."""
    sure: Tensor = softplus(-real).mean() + softplus(fake).mean()
    # -t log s(x) - (1 - t) log (1 - s(x)) = softplus(-x) + (1 - t) x
    return sure if real_target == 1 else sure + (1 - real_target) * real.mean()


def least_squares(real: Tensor, fake: Tensor, real_target: float) -> Tensor:
    """Return half the squared distances of scores from the target and from 0 (Mao et al. 2017, eq. 9)."""
    return ((real - real_target).square().mean() + fake.square().mean()) / 2


def wasserstein(real: Tensor, fake: Tensor, real_target: float) -> Tensor:
    """Return how much higher fakes score (Arjovsky et al. 2017, algorithm 1); there is no target."""
    return fake.mean() - real.mean()


def hinge(real: Tensor, fake: Tensor, real_target: float) -> Tensor:
    """Return how far scores fall short of 1 and -1 (Lim & Ye 2017, eq. 11); these are margins and no targets."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def feature_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Return the squared distance between the mean features of real images and fakes (Salimans et al. 2016, sec. 3.1).

    Args:
        real: (B, length) features; no gradient flows to them.
        fake: (B, length) features.
    """
    with torch.autocast(fake.device.type, enabled=False):
        # Over the batch of all devices: a mean of distances of parts would be larger.
        return parallel.mean(real.detach().float().mean(0) - fake.float().mean(0)).square().sum()


def adam(beta1: float, beta2: float) -> Optimiser:
    """Return a maker of Adam optimisers; fused, because a loop over small tensors costs as much as their gradients."""

    def make(network: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=lr, betas=(beta1, beta2), fused=True)

    return make


def rmsprop(network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return RMSprop with a squared-gradient average of 0.99: PyTorch's default, as in the code of Arjovsky et al."""
    return torch.optim.RMSprop(network.parameters(), lr=lr, alpha=0.99)


def generator_turn(step: int, critic_steps: int, critic_warmup: int) -> bool:
    """Return whether the generator steps after critic step `step`, counted from 0.

    Generator step g, counted from 0, follows 100 critic steps where g < `critic_warmup` or 500 divides g, and otherwise
    `critic_steps` (released code of Arjovsky et al. 2017). Without warm-up it always follows `critic_steps`. Nothing is
    counted along the way, so a resumed run goes on alike.
    """
    if not critic_warmup:
        return (step + 1) % critic_steps == 0
    burst = max(BURST_CRITIC_STEPS, critic_steps)
    position = step - critic_warmup * burst
    if position < 0:
        return (step + 1) % burst == 0
    to_next_burst = -critic_warmup % BURST_PERIOD * critic_steps
    if position < to_next_burst:
        return (position + 1) % critic_steps == 0
    position = (position - to_next_burst) % (burst + (BURST_PERIOD - 1) * critic_steps)
    return position + 1 >= burst and (position + 1 - burst) % critic_steps == 0


@torch.no_grad()
def clip_parameters(network: nn.Module, bound: float) -> None:
    """Clamp every parameter to [-bound, bound], in place; 0 leaves them as they are."""
    if bound:
        for parameter in network.parameters():
            parameter.clamp_(-bound, bound)
