"""Adversarial generators over one shared convolutional generator and critic.

Each objective comes with the optimiser, learning rates, critic norm and critic steps of its reference, so that more
than the loss differs unless options make them equal.

A new objective is one `Objective` and one subclass. What an objective is stands in `_objective.py`, the networks in
`_dcgan_networks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from ..nets.generator import Draws, Generator, Streams
from ..types import Batch, Clock, Condition, Generated, Update
from ._dcgan_networks import (
    CriticNorm,
    ProjectionCritic,
    channel_widths,
    critic_network,
    generator_network,
    initialise,
)
from ._objective import Objective, adam, clip_parameters, generator_turn, rmsprop
from ._penalties import gradient_penalty

NAMES = {"dcgan": "DCGAN", "hinge": "Hinge", "lsgan": "LSGAN", "wgan": "WGAN", "wgan_gp": "WGANGP"}


class DCGAN(Generator):
    """Non-saturating GAN (Goodfellow et al. 2014) with the optimiser of Radford et al. 2016.

    Where the cohort has labels, they stand beside the latent vector at the generator's door and the critic scores an
    image together with them (`ProjectionCritic`).

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names; masks are generated as one-hot channels beside the image.
        filters: Channels at half the full side; they double with each halving, up to 512.
        latent: Length of the latent vector.
        generator_learning_rate: Learning rate of the generator; None takes the objective's, here and below.
        critic_learning_rate: Learning rate of the critic.
        critic_steps: Critic steps, each on a batch of its own, per generator step.
        critic_warmup: Generator steps at the start that follow 100 critic steps each, as does every 500th later; 0 for
            `critic_steps` throughout. The 25 of `wgan` are 2,500 batches: in a training of minutes that is nearly all.
        critic_norm: "batch", "layer" or "none".
        clip: Bound of the critic's parameters before each of its steps; 0 for none.
        penalty: Weight of the gradient penalty, which needs a critic without batch norm; 0 for none.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square, their side is no power of two from 16, or the options exclude each other.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})
    objective: ClassVar[Objective] = Objective(
        critic=lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        generator=lambda fake: softplus(-fake).mean(),
        generator_learning_rate=2e-4,
        critic_learning_rate=2e-4,
        optimiser=adam(0.5, 0.999),
    )

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        filters: int = 64,
        latent: int = 128,
        generator_learning_rate: float | None = None,
        critic_learning_rate: float | None = None,
        critic_steps: int | None = None,
        critic_warmup: int | None = None,
        critic_norm: CriticNorm | None = None,
        clip: float | None = None,
        penalty: float | None = None,
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        given: dict[str, Any] = {
            "generator_learning_rate": generator_learning_rate,
            "critic_learning_rate": critic_learning_rate,
            "critic_steps": critic_steps,
            "critic_warmup": critic_warmup,
            "critic_norm": critic_norm,
            "clip": clip,
            "penalty": penalty,
        }
        self.chosen = replace(self.objective, **{key: value for key, value in given.items() if value is not None})
        widths = channel_widths(shape, filters)
        self.latent = latent
        self.generator = generator_network(latent + len(self.labels), widths, self.channels)
        seen = (self.channels, widths[::-1], self.chosen.critic_norm)
        self.critic = ProjectionCritic(*seen, len(self.labels)) if self.conditional else critic_network(*seen)
        self.generator.apply(initialise)
        self.critic.apply(initialise)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers "critic" and "generator"."""
        make = self.chosen.optimiser
        return {
            "critic": make(self.critic, self.chosen.critic_learning_rate),
            "generator": make(self.generator, self.chosen.generator_learning_rate),
        }

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and, when it is the generator's turn, a generator step on the same fakes and labels.

        Sharing the fakes saves a pass through the generator; its gradient flows only where it will be used.
        """
        real, labels = self.joint(batch), self._told(batch.labels)
        latent = rng.normal(len(real), self.latent)
        turn = generator_turn(clock.step, self.chosen.critic_steps, self.chosen.critic_warmup)
        with torch.set_grad_enabled(turn):
            fake = self._fakes(latent, labels)
        losses = self._critic_step(real, fake.detach(), labels, rng, update)
        if turn:
            # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
            self.critic.requires_grad_(False)
            loss = self.chosen.generator(self._scores(fake, labels))
            update("generator", loss)
            self.critic.requires_grad_(True)
            losses["generator"] = loss.detach()
        return losses

    def _critic_step(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, rng: Draws, update: Update
    ) -> dict[str, float | Tensor]:
        clip_parameters(self.critic, self.chosen.clip)
        # Two passes: batch statistics over both together would let a real image's score depend on the fakes.
        loss = self.chosen.critic(self._scores(real, labels), self._scores(fake, labels))
        parts: dict[str, float | Tensor] = {}
        if self.chosen.penalty:
            shares = rng.uniform(len(real), 1, 1, 1)
            penalty = gradient_penalty(lambda joint: self._scores(joint, labels), real, fake, shares)
            loss = loss + self.chosen.penalty * penalty
            parts["penalty"] = penalty.detach()
        update("critic", loss)
        return {"critic": loss.detach(), **parts}

    def _told(self, labels: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a conditional generator is given labels"
        return labels

    def _fakes(self, latent: Tensor, labels: Tensor | None) -> Tensor:
        joint: Tensor = self.generator(latent if labels is None else torch.cat([latent, labels], 1))
        return joint

    def _scores(self, joint: Tensor, labels: Tensor | None) -> Tensor:
        scores: Tensor = self.critic(joint) if labels is None else self.critic(joint, labels)
        return scores.float()  # Losses in full precision.

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; batch norm uses its running statistics, so none depends on the others."""
        training = self.generator.training
        self.generator.eval()
        joint = self._fakes(rng.normal(self.latent), self._told(condition.labels))
        self.generator.train(training)
        return self.separate(joint)


class Hinge(DCGAN):
    """Hinge GAN (Lim & Ye 2017), Adam's momenta as in Miyato et al. 2018 (arXiv 1802.05957, section 4).

    Lim and Ye's own code keeps DCGAN's batch norm and takes RMSprop at 2e-4. Optimiser, learning rates and norm are our
    choice for trainings of minutes. On 700 cardiac slices of 32 px with masks, with 32 filters and 32,000 images seen,
    one trial each, the samples' spread (standard deviation over samples, mean over pixels; 0.45 for the real ones) was
    0.07 with batch norm and SAGAN's 1e-4 and 4e-4, 0.11 with batch norm and 2e-4, 0.25 with layer norm and 2e-4, 0.37
    with layer norm and 5e-4.
    """

    objective: ClassVar[Objective] = Objective(
        critic=lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        generator=lambda fake: -fake.mean(),
        generator_learning_rate=5e-4,
        critic_learning_rate=5e-4,
        optimiser=adam(0.0, 0.9),
        critic_norm="layer",
    )


class LSGAN(DCGAN):
    """Least-squares GAN (Mao et al. 2017, arXiv 1611.04076, eq. 9: targets 0 and 1, one half before every square).

    RMSprop at 1e-4 and one critic step as in the least-squares mode of the code released with Gulrajani et al. 2017.
    The code released with Mao et al. takes Adam with a first momentum of 0.5, at 1e-3 on 112 px scenes.
    """

    objective: ClassVar[Objective] = Objective(
        critic=lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        generator=lambda fake: (fake - 1).square().mean() / 2,
        generator_learning_rate=1e-4,
        critic_learning_rate=1e-4,
        optimiser=rmsprop,
    )


class WGAN(DCGAN):
    """Wasserstein GAN with clipped critic parameters (Arjovsky, Chintala, Bottou 2017, arXiv 1701.07875, algorithm 1).

    The critic keeps DCGAN's batch norm, whose gains are clipped too, and its schedule is that of the released code: see
    `generator_turn`.
    """

    objective: ClassVar[Objective] = Objective(
        critic=lambda real, fake: fake.mean() - real.mean(),
        generator=lambda fake: -fake.mean(),
        generator_learning_rate=5e-5,
        critic_learning_rate=5e-5,
        optimiser=rmsprop,
        critic_steps=5,
        critic_warmup=25,
        clip=0.01,
    )


class WGANGP(DCGAN):
    """Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1).

    The critic has layer norm, as in the released code: the penalty is on the gradient of each image alone.
    """

    objective: ClassVar[Objective] = Objective(
        critic=WGAN.objective.critic,
        generator=WGAN.objective.generator,
        generator_learning_rate=1e-4,
        critic_learning_rate=1e-4,
        optimiser=adam(0.0, 0.9),
        critic_steps=5,
        critic_norm="layer",
        penalty=10.0,
    )
