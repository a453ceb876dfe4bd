"""What an adversarial objective is: losses, optimisers, whose turn it is, clipping and the gradient penalty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import BadOption
from ._dcgan_networks import CriticNorm

BURST_CRITIC_STEPS, BURST_PERIOD = 100, 500  # Arjovsky et al. 2017, released code


@dataclass(frozen=True)
class Objective:
    """What one adversarial generator is: two losses on raw scores, and how they are usually minimised.

    Attributes:
        critic: (scores of real, scores of fake) -> scalar loss.
        generator: Scores of fake -> scalar loss.
        generator_learning_rate: Learning rate of the generator.
        critic_learning_rate: Learning rate of the critic.
        optimiser: Makes an optimiser from parameters and a learning rate.
        critic_steps: Critic steps per generator step.
        critic_warmup: Generator steps at the start that follow 100 critic steps each; see `generator_turn`.
        critic_norm: Normalisation in the critic.
        clip: Bound of every critic parameter's absolute value before a critic step; 0 for none.
        penalty: Weight of the gradient penalty in the critic's loss; 0 for none.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    generator_learning_rate: float
    critic_learning_rate: float
    optimiser: Callable[[nn.Module, float], torch.optim.Optimizer]
    critic_steps: int = 1
    critic_warmup: int = 0
    critic_norm: CriticNorm = "batch"
    clip: float = 0.0
    penalty: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be minimised.

        Raises:
            BadOption: A number is out of its range, or a penalty meets batch norm.
        """
        if self.critic_steps < 1 or min(self.critic_warmup, self.clip, self.penalty) < 0:
            given = f"{self.critic_steps}, {self.critic_warmup}, {self.clip} and {self.penalty}"
            rule = "critic_steps is at least 1; critic_warmup, clip and penalty are not negative"
            raise BadOption(rule, given, "Give such numbers")
        if self.penalty and self.critic_norm == "batch":
            rule = "A gradient penalty looks at each image alone, which batch norm in the critic mixes with others"
            raise BadOption(rule, f"penalty={self.penalty} with critic_norm=batch", "Set critic_norm=layer or none")


def adam(beta1: float, beta2: float) -> Callable[[nn.Module, float], torch.optim.Optimizer]:
    """Return a maker of Adam optimisers; fused, because a loop over small tensors costs as much as their gradients."""

    def make(network: nn.Module, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=lr, betas=(beta1, beta2), fused=True)

    return make


def rmsprop(network: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return RMSprop with a squared-gradient average of 0.99, PyTorch's default; TensorFlow's was 0.9."""
    return torch.optim.RMSprop(network.parameters(), lr=lr)


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
