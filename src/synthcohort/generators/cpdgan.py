"""`cpdgan`: the conditional generator that study 003 proposed, trained with the Wasserstein loss, nothing growing.

DuMont Schütte et al. 2021, "Overcoming barriers to data sharing with medical image generation" (npj Digital Medicine 4,
141; arXiv 2012.03769), supplement S.2.2 and S.3. Differs from the study: masks may be made with the images, an image
may have several channels, and the recommended protocol is small enough for trainings of minutes. Where the study's text
and its released code differ, an option names both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..parallel import world
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._cpd_networks import STARTS, CpdCritic, CpdGenerator, FanIn, Projection
from ._objective import adam
from ._penalties import gradient_penalty
from ._progressive_networks import channel_widths
from ._wasserstein import mean_losses, wasserstein

FINEST_CHANNELS = 16  # at the full side, under protocol=recommended
PAPER_EMA_DECAY = 0.999


@dataclass(frozen=True)
class Settings:
    """What a protocol chooses; the options of `Generator` say what each is."""

    latent: int = 512
    channel_base: int | None = 16384
    channel_max: int = 512
    learning_rate: float = 0.005
    projection: Projection = "labels"
    up_fan_in: FanIn = "outputs"
    start: Literal["study", "calm"] = "study"
    update_images: int = 0


PROTOCOLS = {
    "paper": Settings(),
    "recommended": Settings(
        latent=128,
        channel_base=None,
        channel_max=128,
        projection="miyato",
        up_fan_in="inputs",
        start="calm",
        update_images=16,
    ),
}


class Generator(Contract):
    """Wasserstein GAN with gradient penalty, output skips, a residual critic and conditional pixel norm.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names; masks are made as one-hot channels beside the image.
        protocol: Whose values hold where None is given here: "paper", train with --batch 256, or "recommended". The
            study's moving average, 0.999 per step, goes with "paper"; "recommended" takes `train`'s, which widens.
        latent: Length of the latent vector: 512 in the paper, 128 recommended.
        channel_base: Channels are 2 x this / side, at most `channel_max`: 16384 in the paper. Recommended are 8 x the
            full side, which is 16 channels there.
        channel_max: Most channels of a layer: 512 in the paper, 128 recommended.
        learning_rate: Of both networks: 0.005 in both; the paper says that no setting ever changed; the released
            scripts take 0.006 for chest images of 512 px, and batches of 160 at 256 px and 64 at 512 px.
        penalty: Weight of the gradient penalty.
        drift: Weight of the squared score of real images, which the text does not mention. The default is that of the
            released code and of Karras et al. 2018: without it the scores wander off.
        projection: How the critic sees labels. "labels": the score is the labels' inner product with a linear layer, as
            the released code has it and the text says; then an image without findings would teach nothing, and a cohort
            with such images is refused. "miyato": an unconditional score is added, as in the paper that the text cites.
            "labels" is the default of protocol=paper, because it made the published results, and "miyato" otherwise.
        normalise_latent: Whether latent and labels, together, are divided by their root mean square before the first
            layer, as in the released code and in Karras et al. 2018; the text does not say. The norms get them as they
            are in both.
        up_fan_in: What scales the weights of the up-sampling convolutions: the channels they lead to ("outputs"), as
            happens in the released code, or those they come from ("inputs"), as He's rule and the text have it. Only
            where the two differ, from 128 px on at the paper's widths, it matters, by a factor of sqrt(2). "outputs" is
            the default of protocol=paper, because it made the published results.
        start: How the untrained generator treats the latent vector. "study": the scales of its norms are random numbers
            around 0 and all its gains those of the released code (the text gives none), so its first images are noise
            far outside [-1, 1], which takes a thousand updates to leave. "calm", recommended for short trainings: the
            scales are around 1, and the latent vector and the image layers have smaller gains.
        update_images: Images of an update; a batch is split into as many updates. 0, as in the paper, for one of the
            whole batch; 16 recommended, because in a short training more updates are worth more than calmer ones.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square, or their side is no power of two from 16.
    """

    REVISION: ClassVar[int] = 1
    PAPER: ClassVar[str] = "DuMont Schütte et al., 2021, arXiv 2012.03769 (npj Digital Medicine 4, 141)"
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        protocol: Literal["recommended", "paper"] = "recommended",
        latent: int | None = None,
        channel_base: int | None = None,
        channel_max: int | None = None,
        learning_rate: float | None = None,
        penalty: float = 10.0,
        drift: float = 0.001,
        projection: Projection | None = None,
        normalise_latent: bool = True,
        up_fan_in: FanIn | None = None,
        start: Literal["study", "calm"] | None = None,
        update_images: int | None = None,
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        given: dict[str, Any] = {
            "latent": latent,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "learning_rate": learning_rate,
            "projection": projection,
            "up_fan_in": up_fan_in,
            "start": start,
            "update_images": update_images,
        }
        chosen = replace(PROTOCOLS[protocol], **{key: value for key, value in given.items() if value is not None})
        if chosen.latent < 1 or min(penalty, drift, chosen.update_images) < 0:
            raise ValueError("latent is positive; penalty, drift and update_images are not negative")
        self.protocol, self.chosen, self.penalty, self.drift = protocol, chosen, penalty, drift
        base = FINEST_CHANNELS * shape[1] // 2 if chosen.channel_base is None else chosen.channel_base
        widths = channel_widths(shape, base, chosen.channel_max)
        inputs = chosen.latent + len(self.labels)
        self.generator = CpdGenerator(
            inputs,
            widths,
            self.channels,
            normalise=normalise_latent,
            fan_in=chosen.up_fan_in,
            start=STARTS[chosen.start],
        )
        self.critic = CpdCritic(self.channels, widths, len(self.labels), chosen.projection)

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Learn nothing yet; see that every image can teach something.

        Raises:
            InputError: The critic scores images by their labels alone and some have none.
        """
        if not self.conditional or self.chosen.projection != "labels":
            return
        assert labels is not None, "a labelled cohort has labels"
        without = int((labels.sum(1) == 0).sum())
        if without:
            rule = "projection=labels scores an image by its findings alone, so each must have one"
            raise InputError(rule, f"{without} of {len(labels)} training images have none", "Use projection=miyato")

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam without first momentum, "critic" and "generator"."""
        make, rate = adam(0.0, 0.99), self.chosen.learning_rate
        return {"critic": make(self.critic, rate), "generator": make(self.generator, rate)}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def ema_weight(self, clock: Clock, batch: int) -> float:
        """Return 0.001 under protocol=paper, compounded over a step's critic updates; else the contract's profile."""
        if self.protocol != "paper":
            return super().ema_weight(clock, batch)
        updates = -(-batch // self.chosen.update_images) if self.chosen.update_images else 1
        return 1 - math.pow(PAPER_EMA_DECAY, updates)

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and a generator step, or one of each for every part of a batch.

        For the generator's turn the study draws labels from the training label matrix. Those of the batch are such a
        draw, and the new latents do not depend on them.
        """
        real, labels = self.joint(batch), self._told(batch.labels, len(batch.images))
        size = max(self.chosen.update_images // world(), 1) if self.chosen.update_images else len(real)
        parts = zip(real.split(size), labels.split(size), strict=True)
        return mean_losses([self._updates(images, told, rng, update) for images, told in parts])

    def _updates(self, real: Tensor, labels: Tensor, rng: Draws, update: Update) -> dict[str, Tensor]:
        losses = self._critic_step(real, labels, rng, update)
        # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
        self.critic.requires_grad_(False)
        loss = -self.critic(self._fakes(rng, labels), labels).mean()
        update("generator", loss)
        self.critic.requires_grad_(True)
        return {**losses, "generator": loss.detach()}

    def _critic_step(self, real: Tensor, labels: Tensor, rng: Draws, update: Update) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self._fakes(rng, labels)
        scores = self.critic(torch.cat([real, fake]), torch.cat([labels, labels]), parts=2)
        score_real, score_fake = scores.chunk(2)
        loss = wasserstein(score_real, score_fake, self.drift)
        # Mixtures go alone: the standard deviation over a minibatch would otherwise see real and fake images.
        shares = rng.uniform(len(real), 1, 1, 1)
        penalty = gradient_penalty(lambda mixed: self.critic(mixed, labels), real, fake, shares)
        loss = loss + self.penalty * penalty
        update("critic", loss)
        return {"critic": loss.detach(), "penalty": penalty.detach()}

    def _fakes(self, rng: Draws, labels: Tensor) -> Tensor:
        joint: Tensor = self.generator(torch.cat([rng.normal(len(labels), self.chosen.latent), labels], 1))
        return joint

    def _told(self, labels: Tensor | None, count: int) -> Tensor:
        if not self.conditional:
            return torch.zeros(count, 0, device=self.generator.first.bias.device)
        assert labels is not None, "a conditional generator is given labels"
        return labels

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        seen = self.joint(batch)
        scores: Tensor = self.critic(seen, self._told(batch.labels, len(seen)), parts=len(seen))  # no image is compared
        return -scores.reshape(-1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; no layer of the generator looks at more than one."""
        labels = self._told(condition.labels, condition.count)
        return self.separate(self.generator(torch.cat([rng.normal(self.chosen.latent), labels], 1)))
