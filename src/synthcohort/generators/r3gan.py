"""`r3gan`: a generative adversarial network with one regularised loss and no tricks.

Huang, Gokaslan, Kuleshov and Tompkin 2024 (arXiv 2501.05441). Real and fake images are scored in pairs, and both losses
look at the difference alone (relativistic pairing, Jolicoeur-Martineau 2018); the critic's slope is held small on real
images (R1) and on fake ones (R2), at every step (Mescheder et al. 2018). Learning rate, penalty and Adam's second
momentum follow a cosine over the first part of the training.

Differences: a pair has the same labels, and masks where they are given; several findings may be present; the generator
steps on the fakes of the critic's step; the moving average widens with the training as for every generator here; no
augmentation; masks made with the images are squashed (`Generator.squashed`); sides are halved by the mean of 2x2, where
the released code filters with [1, 3, 3, 1] and zeros beyond the border; the first and the last convolution have a bias;
the critic embeds labels in `latent` numbers, there in as many as its last features; and networks small enough for a
processor, which options make as large as the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import BadOption
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._mask_bank import MaskBank, MaskSource
from ._r3gan_networks import CriticNetwork, GeneratorNetwork, stage_sides, stage_widths


class Generator(Contract):
    """R3GAN.

    The paper's networks have blocks 2, patch 1, max_width 768 and, at 32 pixels, width 768, at 256 pixels width 96.

    Args:
        shape: (C, H, W); sides are `patch` times 4 to 7 times a power of two.
        labels: Finding names; generator and critic are told which are present.
        mask_classes: Class names.
        masks: "joint" makes masks with the images, as one-hot channels; "given" paints images over masks.
        mask_source: Where masks come from when none are given and `masks` is "given".
        width: Features at the finest side; they double with each halving.
        max_width: Most features.
        blocks: Residual blocks per stage.
        expansion: Features inside a block, as a multiple of those outside.
        group_size: Channels per group of the 3x3 convolutions, 16 in the paper.
        patch: Pixels per side that become one position, 1 in the paper; 2 trains faster and leaves a grain of 2 pixels.
        latent: Length of the latent vector.
        learning_rate: Of both networks at the start; a quarter of it at the end. The paper has 2e-4, for trainings a
            thousand times as long.
        gamma: Weight of both penalties at the start; a tenth of it at the end. The paper has 0.05 for CIFAR-10, 0.5 and
            1 for ImageNet at 32 and 64 pixels, and 150 for faces at 256.
        burn_in: Share of the training over which learning rate, gamma and Adam's second momentum reach their ends.
        conditional: Tell the networks the labels of cohorts that have them.
    """

    REVISION: ClassVar[int] = 2
    PAPER: ClassVar[str] = "Huang, Gokaslan, Kuleshov, Tompkin, 2024, arXiv 2501.05441"
    accepts: ClassVar[frozenset[str]] = frozenset({"labels", "masks"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        masks: Literal["joint", "given"] = "joint",
        mask_source: MaskSource = "generated",
        width: int = 32,
        max_width: int = 128,
        blocks: int = 1,
        expansion: int = 2,
        group_size: int = 16,
        patch: int = 1,
        latent: int = 64,
        learning_rate: float = 2e-3,
        gamma: float = 1.0,
        burn_in: float = 1.0,
        conditional: bool = True,
    ) -> None:
        given = masks == "given"
        super().__init__(
            shape=shape, labels=labels if conditional else (), mask_classes=mask_classes, given_masks=given
        )
        if min(width, blocks, expansion, group_size, patch, latent) < 1 or max_width < width or blocks > 64:
            rule = "width, blocks (at most 64), expansion, group_size, patch, latent are positive, max_width from width"
            raise BadOption(rule, f"width {width}, max_width {max_width}", "Give such numbers")
        if not (gamma >= 0 and 0 < burn_in <= 1):
            rule = "gamma is not negative, burn_in above 0 and at most 1"
            raise BadOption(rule, f"{gamma} and {burn_in}", "Give such numbers")
        sides = stage_sides(shape, patch)
        widths = stage_widths(len(sides), width, max_width)
        if any(features * expansion % group_size for features in widths):
            rule = "group_size divides expansion times the features of every stage"
            raise BadOption(rule, f"{group_size} and {widths}", "Set another width, max_width or group_size")
        self.latent, self.learning_rate, self.gamma, self.burn_in = latent, learning_rate, gamma, burn_in
        built: dict[str, Any] = {
            "blocks": blocks,
            "expansion": expansion,
            "group_size": group_size,
            "patch": patch,
            "latent": latent,
            "labels": len(self.labels),
        }
        told = len(mask_classes) if given else 0
        self.generator = GeneratorNetwork(sides, widths, channels=self.channels, map_channels=told, **built)
        self.critic = CriticNetwork(sides, widths, channels=self.channels + told, **built)
        self.bank = (
            MaskBank(shape=shape, mask_classes=mask_classes, labels=self.labels, source=mask_source) if given else None
        )
        self._beta2 = 0.9  # of this step; the clock decides it

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Hand the masks to the bank, where images are painted over masks."""
        if self.bank is not None:
            assert masks is not None, "a cohort with mask classes has masks"
            self.bank.fit(masks, labels if self.conditional else None, seed=seed)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam over "critic" and "generator", and what the mask bank has."""
        made: dict[str, torch.optim.Optimizer] = {}
        for name in ("critic", "generator"):
            parameters = getattr(self, name).parameters()
            made[name] = torch.optim.Adam(parameters, lr=self.learning_rate, betas=(0.0, self._beta2), fused=True)
            made[name].register_step_pre_hook(self._set_momentum)
        return made | (dict(self.bank.optimisers()) if self.bank is not None else {})

    def _set_momentum(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimiser.param_groups:
            group["betas"] = (0.0, self._beta2)

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network, and what the mask bank averages."""
        bank = {} if self.bank is None else {f"bank.{name}": each for name, each in self.bank.averaged().items()}
        return {"generator": self.generator, **bank}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step and a generator step on the same fakes, and the mask bank's step where there is one."""
        rate = self.learning_rate * scheduled(1.0, 0.25, clock.fraction, self.burn_in)
        self._beta2 = scheduled(0.9, 0.99, clock.fraction, self.burn_in)
        real, labels, maps = self.joint(batch), self._told(batch.labels), self._maps(batch.masks)
        fake = self.squashed(self.generator(rng.normal(len(real), self.latent), labels, maps).float())
        gamma = self.gamma * scheduled(1.0, 0.1, clock.fraction, self.burn_in)
        losses = self._critic_step(real, fake.detach(), labels, maps, gamma, rate, update)
        # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
        self.critic.requires_grad_(False)
        with torch.no_grad():
            real_scores = self._scores(real, labels, maps)
        loss = relativistic(self._scores(fake, labels, maps), real_scores)
        update("generator", loss, lr=rate)
        self.critic.requires_grad_(True)
        losses["generator"] = loss.detach()
        if self.bank is not None:
            losses.update(self.bank.step(batch, clock=clock, rng=rng, update=update))
        return losses

    def _critic_step(
        self,
        real: Tensor,
        fake: Tensor,
        labels: Tensor | None,
        maps: Tensor | None,
        gamma: float,
        rate: float,
        update: Update,
    ) -> dict[str, float | Tensor]:
        # No layer looks across images, so both halves go through the critic, and its slope back, at once.
        with torch.autocast(real.device.type, enabled=False):
            images = torch.cat([real, fake]).requires_grad_()
            scores = self._scores(images, _twice(labels), _twice(maps))
            (slopes,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
            r1, r2 = slopes.square().sum((1, 2, 3)).unflatten(0, (2, -1)).mean(1)
            contrast = relativistic(*scores.chunk(2))
            loss = contrast + gamma / 2 * (r1 + r2)
        update("critic", loss, lr=rate)
        return {"critic": contrast.detach(), "r1": r1.detach(), "r2": r2.detach()}

    def _told(self, labels: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a conditional generator is given labels"
        return labels

    def _maps(self, masks: Tensor | None) -> Tensor | None:
        if not self.mask_conditional:
            return None
        assert masks is not None, "a generator that paints over masks is given masks"
        return self.onehot(masks) * 2 - 1

    def _scores(self, images: Tensor, labels: Tensor | None, maps: Tensor | None) -> Tensor:
        seen = images if maps is None else torch.cat([images, maps], 1)
        scores: Tensor = self.critic(seen, labels)
        return scores.float()

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        return -self._scores(self.joint(batch), self._told(batch.labels), self._maps(batch.masks)).reshape(-1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return samples; images are painted over masks asked for, or the bank's, where `masks` is "given"."""
        masks = None if self.bank is None else self.bank.draw(condition, rng)
        joint = self.generator(rng.normal(self.latent), self._told(condition.labels), self._maps(masks))
        made = self.separate(joint)
        return made if masks is None else Generated(made.images, masks)


def relativistic(wanted: Tensor, other: Tensor) -> Tensor:
    """Return the loss of the network that wants the scores `wanted` (B,) above those of their pairs, `other` (B,).

    The mean of softplus(other - wanted): Huang et al. 2024, eq. 2, with f(t) = -log(1 + exp(-t)).
    """
    return softplus(other - wanted).mean()


def scheduled(start: float, end: float, fraction: float, burn_in: float) -> float:
    """Return a value that goes from `start` to `end` as a half cosine over the first `burn_in` of the training."""
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction / burn_in, 1.0))) / 2


def _twice(told: Tensor | None) -> Tensor | None:
    return None if told is None else torch.cat([told, told])
