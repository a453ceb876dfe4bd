"""`proggan`: the progressively growing GAN with an auxiliary classifier, study 003's reference model.

Karras et al. 2018, "Progressive growing of GANs" (arXiv 1710.10196), as DuMont Schütte et al. 2021 (arXiv 2012.03769,
supplement S.2.1 and S.3) set it up: growth from 8x8, labels beside the latent vector and named by the critic. Differs
from the study: masks may be made with the images, an image may have several channels, and the recommended protocol is
small enough for trainings of minutes. Where the study's text and its released code differ, an option names both.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import BadOption
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..parallel import world
from ..types import Batch, Clock, Condition, Generated, Update
from ._objective import adam
from ._penalties import gradient_penalty
from ._progressive_networks import (
    FIRST_LEVEL,
    ProgressiveCritic,
    ProgressiveGenerator,
    Resized,
    at_level,
    channel_widths,
    doubled,
)
from ._wasserstein import Auxiliary, label_loss, mean_losses, wasserstein

FINEST_CHANNELS = 16  # at the full side, under protocol=recommended
GROWING_SHARE = 0.4  # of the training, under protocol=recommended
PAPER_EMA_DECAY = 0.999
UPDATE_PIXELS = 2048  # side x images of an update in the study: 256 images at side 8, 128 at side 16, ...


@dataclass(frozen=True)
class Settings:
    """What a protocol chooses; the options of `Generator` say what each is."""

    latent: int = 512
    channel_base: int | None = 8192
    channel_max: int = 512
    learning_rate: float = 0.001
    update_images: int | None = None
    auxiliary: Auxiliary = "shares"


PROTOCOLS = {
    "paper": Settings(),
    "recommended": Settings(
        latent=128, channel_base=None, channel_max=128, learning_rate=0.002, update_images=16, auxiliary="each"
    ),
}


class Generator(Contract):
    """Wasserstein GAN with gradient penalty that starts at 8x8 and doubles its side until it is that of the images.

    Training goes through phases of equal length: 8x8, fade to 16x16, 16x16, fade to 32x32, ..., and what is left at the
    full side. In a fade, images and networks both go over linearly.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names; masks are made as one-hot channels beside the image.
        protocol: Whose values hold where None is given here: "paper", train with --batch 256, or "recommended". The
            study's moving average, 0.999 per critic step, goes with "paper"; "recommended" takes `train`'s.
        latent: Length of the latent vector: 512 in the paper, 128 recommended.
        channel_base: Channels are 2 x this / side, at most `channel_max`: 8192 in the paper. Recommended are 8 x the
            full side, which is 16 channels there.
        channel_max: Most channels of a layer: 512 in the paper, 128 recommended.
        learning_rate: Of both networks: 0.001 in the paper, 0.002 recommended.
        phase_images: Images of each phase: in the paper 1.4 million up to 32 px and 1 million above; recommended are 40
            % of the training for all phases before the last.
        update_images: Images of an update; a batch is split into as many updates. In the paper 256 at side 8, 128 at
            16, 64 at 32 and so on; 16 recommended, because in a short training more updates are worth more than calmer
            ones. 0 for one update of the whole batch.
        penalty: Weight of the gradient penalty.
        drift: Weight of the squared score of real images, which the text does not mention. The default is that of the
            released code and of Karras et al. 2018: without it the scores wander off.
        auxiliary: How the critic's naming of findings is scored. "shares": softmax cross-entropy with labels that are
            divided by their sum, as in the released code; "labels": with labels as they are, as the text reads; images
            without findings then count for nothing. "each": every finding by itself, so that none is an answer, too.
            "shares" is the default of protocol=paper, because it made the published results, and "each" otherwise.
        resized: Which convolution of a block changes the channels: the one that changes the side ("resampling"), as in
            the released code and in Karras et al. 2018, hence the default; or the other ("plain"), as the text has it.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square, or their side is no power of two from 16.
    """

    REVISION: ClassVar[int] = 1
    PAPER: ClassVar[str] = "Karras et al., 2018, arXiv 1710.10196, as in DuMont Schütte et al., 2021, arXiv 2012.03769"
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
        phase_images: int | None = None,
        update_images: int | None = None,
        penalty: float = 10.0,
        drift: float = 0.001,
        auxiliary: Auxiliary | None = None,
        resized: Resized = "resampling",
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        given: dict[str, Any] = {
            "latent": latent,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "learning_rate": learning_rate,
            "update_images": update_images,
            "auxiliary": auxiliary,
        }
        chosen = replace(PROTOCOLS[protocol], **{key: value for key, value in given.items() if value is not None})
        if min(chosen.latent, 1 if phase_images is None else phase_images) < 1:
            raise ValueError("latent and phase_images are positive")
        if min(penalty, drift, chosen.update_images or 0) < 0:
            raise ValueError("penalty, drift and update_images are not negative")
        self.protocol, self.chosen, self.penalty, self.drift = protocol, chosen, penalty, drift
        base = FINEST_CHANNELS * shape[1] // 2 if chosen.channel_base is None else chosen.channel_base
        widths = channel_widths(shape, base, chosen.channel_max)
        self.top = FIRST_LEVEL + len(widths) - 2
        self.phase_images = phase_images
        if phase_images is None and protocol == "paper":
            self.phase_images = 1_400_000 if shape[1] <= 32 else 1_000_000
        self.generator = ProgressiveGenerator(chosen.latent + len(self.labels), widths, self.channels, resized)
        self.critic = ProgressiveCritic(self.channels, widths, len(self.labels), resized)
        self._optimisers: dict[str, weakref.ref[torch.optim.Optimizer]] = {}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam without first momentum, "critic" and "generator"; `step` forgets their state at each phase."""
        make, rate = adam(0.0, 0.99), self.chosen.learning_rate
        made = {"critic": make(self.critic, rate), "generator": make(self.generator, rate)}
        # They belong to who trains: a copy of this module must not copy their state.
        self._optimisers = {name: weakref.ref(optimiser) for name, optimiser in made.items()}
        return made

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def ema_weight(self, clock: Clock, batch: int) -> float:
        """Return 0.001 under protocol=paper, compounded over a step's critic updates; else the contract's profile."""
        if self.protocol != "paper":
            return super().ema_weight(clock, batch)
        updates = -(-batch // self._update_images(self.level(clock), batch))
        return 1 - math.pow(PAPER_EMA_DECAY, updates)

    def level(self, clock: Clock) -> float:
        """Return the logarithm of the side to base 2; between whole numbers, how far a fade is.

        Raises:
            BadOption: The training ends before the full side is reached.
        """
        phases = 2 * (self.top - FIRST_LEVEL)
        length = self.phase_images or max(1, int(GROWING_SHARE * clock.images_total / phases))
        if phases * length >= clock.images_total:
            rule = f"The {phases} phases before the full side take {phases * length:,} images"
            step = "Give more --images-seen, or fewer phase_images"
            raise BadOption(rule, f"the training has {clock.images_total:,}", step)
        doublings, within = divmod(clock.images_seen, 2 * length)
        return min(FIRST_LEVEL + doublings + max(within - length, 0) / length, float(self.top))

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and a generator step at the side of the clock, or one of each for every part of a batch.

        For the generator's turn the study draws labels from the training label matrix. Those of the batch are such a
        draw, and the new latents do not depend on them.
        """
        level, count = self.level(clock), len(batch.images) * world()
        self._forget(level, clock, count)
        self.generator.level.fill_(level)
        real, labels = at_level(self.joint(batch), level), self._told(batch.labels, len(batch.images))
        size = max(self._update_images(level, count) // world(), 1)
        parts = zip(real.split(size), labels.split(size), strict=True)
        return mean_losses([self._updates(images, told, level, rng, update) for images, told in parts])

    def _forget(self, level: float, clock: Clock, count: int) -> None:
        """Clear the optimisers' state where a phase begins, as the released code does."""
        if clock.images_seen < count:
            return
        before = self.level(Clock(clock.step - 1, clock.images_seen - count, clock.images_total))
        if (math.floor(before), math.ceil(before)) != (math.floor(level), math.ceil(level)):
            for reference in self._optimisers.values():
                optimiser = reference()
                if optimiser is not None:
                    optimiser.state.clear()

    def _update_images(self, level: float, count: int) -> int:
        """Return the images of an update, those of all devices."""
        if self.chosen.update_images is None:
            return max(UPDATE_PIXELS >> math.ceil(level), 1)
        return self.chosen.update_images or count

    def _updates(self, real: Tensor, labels: Tensor, level: float, rng: Draws, update: Update) -> dict[str, Tensor]:
        losses = self._critic_step(real, labels, level, rng, update)
        # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
        self.critic.requires_grad_(False)
        fake = self.generator(torch.cat([rng.normal(len(real), self.chosen.latent), labels], 1), level)
        scores, logits = self.critic(fake, level)
        loss = -scores.mean()
        if self.conditional:
            loss = loss + label_loss(logits, labels, self.chosen.auxiliary)
        update("generator", loss)
        self.critic.requires_grad_(True)
        return {**losses, "generator": loss.detach()}

    def _critic_step(self, real: Tensor, labels: Tensor, level: float, rng: Draws, update: Update) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generator(torch.cat([rng.normal(len(real), self.chosen.latent), labels], 1), level)
        scores, logits = self.critic(torch.cat([real, fake]), level, parts=2)
        score_real, score_fake = scores.chunk(2)
        loss = wasserstein(score_real, score_fake, self.drift)
        # Mixtures go alone: the standard deviation over a minibatch would otherwise see real and fake images.
        shares = rng.uniform(len(real), 1, 1, 1)
        penalty = gradient_penalty(lambda mixed: self.critic(mixed, level)[0], real, fake, shares)
        loss = loss + self.penalty * penalty
        losses = {"penalty": penalty.detach()}
        if self.conditional:
            # Means over real and over fake images, added up: twice the mean over both.
            naming = 2 * label_loss(logits, torch.cat([labels, labels]), self.chosen.auxiliary)
            loss, losses["labels"] = loss + naming, naming.detach()
        update("critic", loss)
        return {"critic": loss.detach(), **losses}

    def _told(self, labels: Tensor | None, count: int) -> Tensor:
        if not self.conditional:
            return torch.zeros(count, 0, device=self.generator.level.device)
        assert labels is not None, "a conditional generator is given labels"
        return labels

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        level = float(self.generator.level)
        seen = at_level(self.joint(batch), level)
        scores: Tensor = self.critic(seen, level, parts=len(seen))[0]  # parts of one: no image is compared
        return -scores.reshape(-1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; those of a generator that has not grown up yet are coarse, in pixels of several."""
        labels = self._told(condition.labels, condition.count)
        latent = rng.normal(self.chosen.latent)
        joint = self.generator(torch.cat([latent, labels], 1), float(self.generator.level))
        while joint.shape[2] < self.shape[1]:
            joint = doubled(joint)
        return self.separate(joint)
