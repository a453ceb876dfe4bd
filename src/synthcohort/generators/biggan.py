"""`biggan`: the model that study 003 tried and discarded, as far as its description goes.

DuMont Schuette et al. 2021, S.2.3, after Brock, Donahue and Simonyan 2019 (arXiv 1809.11096). The study found one
stable setting, at 32 pixels: a batch of 256, learning rates of 0.01 and 0.04 and two critic steps per generator step.
These rates are 200 times those of the released code of Brock et al.; `protocol=paper` has them and may well diverge.

Differences: several findings may be present at a time; masks are made with the images, as one-hot channels; samples
use the running statistics of batch norm, not those of further passes ("standing statistics").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..errors import BadOption
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..types import Batch, Clock, Condition, Generated, Update
from ._biggan_networks import CriticNetwork, GeneratorNetwork, overlap, stage_widths

Protocol = Literal["recommended", "paper"]
RATES: Mapping[Protocol, tuple[float, float]] = {"recommended": (1e-4, 4e-4), "paper": (0.01, 0.04)}
"""Learning rates of generator and critic."""
AVERAGED_FROM, AVERAGE_KEEPS = 20_000, 0.9999  # generator steps; released code of Brock et al.


class Generator(Contract):
    """BigGAN as in study 003.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names; masks are generated as one-hot channels beside the image.
        protocol: "paper": the study's learning rates, and a moving average of 0.9999 from generator step 20,000 on,
            which the study does not mention and the released code of Brock et al. has; before it, samples are those of
            the raw weights. "recommended": learning rates of Brock et al.'s script for large batches (its command
            line's defaults are half of them), and the moving average of every generator here, because a training of
            minutes has no 20,000 steps.
        width: Features at the full side; they double with each halving, up to the study's 256.
        latent: Length of the latent vector.
        generator_learning_rate: Learning rate of the generator; None takes the protocol's.
        critic_learning_rate: Learning rate of the critic; None takes the protocol's.
        critic_steps: Critic steps, each on a batch of its own, per generator step.
        orthogonality: Weight of the orthogonal regularisation of both networks. Brock et al. name 1e-4; the default of
            their released code is none, and what it adds for a weight is half the gradient of their equation 3.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square, their side is no power of two from 16, or a number is out of its range.
    """

    REVISION: ClassVar[int] = 1
    PAPER: ClassVar[str] = "Brock, Donahue, Simonyan, 2019, arXiv 1809.11096; as in DuMont Schuette et al., 2021, S.2.3"
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        protocol: Protocol = "recommended",
        width: int = 64,
        latent: int = 120,
        generator_learning_rate: float | None = None,
        critic_learning_rate: float | None = None,
        critic_steps: int = 2,
        orthogonality: float = 1e-4,
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        if critic_steps < 1 or not orthogonality >= 0 or width < 8 or width % 8:
            rule = "critic_steps is at least 1, orthogonality not negative and width a multiple of 8"
            raise BadOption(rule, f"{critic_steps}, {orthogonality} and {width}", "Give such numbers")
        widths = stage_widths(shape, width)
        if latent < len(widths) - 1:
            rule = "latent has a number for the dense layer and for each residual block"
            raise BadOption(rule, f"{latent} for {len(widths) - 1}", "Give more")
        rates = RATES[protocol]
        self.protocol, self.critic_steps, self.orthogonality = protocol, critic_steps, orthogonality
        self.generator_rate = rates[0] if generator_learning_rate is None else generator_learning_rate
        self.critic_rate = rates[1] if critic_learning_rate is None else critic_learning_rate
        self.generator = GeneratorNetwork(widths, channels=self.channels, latent=latent, labels=len(self.labels))
        self.critic = CriticNetwork(widths, channels=self.channels, labels=len(self.labels))
        self.latent = self.generator.piece * self.generator.pieces

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam over "critic" and "generator"."""
        return {
            "critic": torch.optim.Adam(self.critic.parameters(), self.critic_rate, betas=(0.0, 0.999), fused=True),
            "generator": torch.optim.Adam(
                self.generator.parameters(), self.generator_rate, betas=(0.0, 0.999), fused=True
            ),
        }

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def ema_weight(self, clock: Clock, batch: int) -> float:
        """Return the weight of the newest generator, counted in generator steps under "paper"."""
        if self.protocol == "recommended":
            return super().ema_weight(clock, batch)
        if not self._turn(clock):
            return 0.0
        return 1.0 if clock.step // self.critic_steps < AVERAGED_FROM else 1 - AVERAGE_KEEPS

    def _turn(self, clock: Clock) -> bool:
        return (clock.step + 1) % self.critic_steps == 0

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and, when it is the generator's turn, a generator step on the same fakes and labels."""
        real, labels, turn = self.joint(batch), self._told(batch.labels), self._turn(clock)
        with torch.set_grad_enabled(turn):
            fake = self.generator(rng.normal(len(real), self.latent), labels)
        # No layer of the critic looks across images, so both halves go through it at once.
        both = torch.cat([real, fake.detach().to(real.dtype)])
        scores = self._scores(both, None if labels is None else torch.cat([labels, labels]))
        hinge = hinge_loss(*scores.chunk(2))
        update("critic", hinge + self._orthogonality(self.critic))
        losses: dict[str, float | Tensor] = {"critic": hinge.detach()}
        if turn:
            # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
            self.critic.requires_grad_(False)
            loss = -self._scores(fake, labels).mean()
            update("generator", loss + self._orthogonality(self.generator))
            self.critic.requires_grad_(True)
            losses["generator"] = loss.detach()
        return losses

    def _orthogonality(self, network: nn.Module) -> Tensor | float:
        return self.orthogonality * overlap(network) if self.orthogonality else 0.0

    def _told(self, labels: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a conditional generator is given labels"
        return labels

    def _scores(self, joint: Tensor, labels: Tensor | None) -> Tensor:
        scores: Tensor = self.critic(joint, labels)
        return scores.float()

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        return -self._scores(self.joint(batch), self._told(batch.labels)).reshape(-1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; batch norm uses its running statistics, so none depends on the others."""
        training = self.generator.training
        self.generator.eval()
        joint = self.generator(rng.normal(self.latent), self._told(condition.labels))
        self.generator.train(training)
        return self.separate(joint)


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the critic's loss on raw scores (B,) of real and of fake images (Lim and Ye 2017)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()
