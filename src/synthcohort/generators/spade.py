"""SPADE: images painted over masks by norms that read the mask (Park, Liu, Wang, Zhu 2019, arXiv 1903.07291).

Study 000 uses the authors' released code as it is. What differs here: images keep their channels (there grey is tiled
to three and the output averaged); below 128 pixels the networks have fewer levels, see `_spade_networks`; the critic
and the generator are updated from the same fakes, which saves a pass (there the critic sees new ones); the divergence
of the style is a mean over images (there a sum over those of a device, one by default); labels, where a cohort has any,
are constant channels of the map; samples are drawn from averaged weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..errors import BadOption
from ..nets.generator import Draws, Streams
from ..types import Batch, Clock, Condition, Generated, Update
from ._mask_bank import MaskSource
from ._painted import Painter
from ._patch_critic import MultiscaleCritic
from ._spade_networks import SpadeGenerator, StyleEncoder, initialise

Features = list[list[Tensor]]
"""What a multiscale critic returns: for each scale every layer, scores last."""


class Generator(Painter):
    """SPADE with a multiscale critic, hinge loss, feature matching and, by default, a style.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names.
        style: "vae": an encoder reads each training image's style and samples draw theirs from a normal distribution,
            so that one mask has many images. "none": the network as published for most of its results and as study 000
            seems to have used it; it has no noise, so it makes one image per mask.
        filters: Channels of the generator's last block and of the first layers of critic and encoder.
        hidden: Channels between a map and what it does to a norm.
        latent: Length of the style.
        divergence: Weight of the style's divergence from a normal distribution, summed over its length.
        feature_matching: Weight of the distance between the critic's layers for fake and real.
        perceptual: Weight of the perceptual loss; above 0 it needs VGG19 weights in the cache. The released code has
            10; it is 0 here, because the weights are not shipped.
        generator_learning_rate: Of generator and encoder.
        critic_learning_rate: Four times that, as in Heusel et al. 2017.
        mask_source: Where masks come from when none are given: "generated" by a small network of its own, "jittered"
            training masks or "training" masks as they are. The last two keep training masks in the weights.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The cohort has no masks, or its images are not square with a power of two from 16 as side.
        BadOption: A number is out of its range, or the perceptual loss cannot see the images.
    """

    PAPER: ClassVar[str] = "Park, Liu, Wang, Zhu 2019, arXiv 1903.07291"

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        style: Literal["vae", "none"] = "vae",
        filters: int = 64,
        hidden: int = 128,
        latent: int = 256,
        divergence: float = 0.05,
        feature_matching: float = 10.0,
        perceptual: float = 0.0,
        generator_learning_rate: float = 1e-4,
        critic_learning_rate: float = 4e-4,
        mask_source: MaskSource = "generated",
        conditional: bool = True,
    ) -> None:
        super().__init__(
            shape=shape,
            labels=labels if conditional else (),
            mask_classes=mask_classes,
            mask_source=mask_source,
            perceptual=perceptual,
        )
        _check(min(filters, hidden, latent), min(divergence, feature_matching))
        self.rates = (generator_learning_rate, critic_learning_rate)
        self.divergence, self.feature_matching = divergence, feature_matching
        self.latent = latent if style == "vae" else 0
        side, plan = shape[1], self.plan_channels
        self.generator = SpadeGenerator(plan, shape[0], side, filters=filters, hidden=hidden, latent=self.latent)
        self.critic = MultiscaleCritic(plan + shape[0], filters, initialise=initialise)
        self.encoder = StyleEncoder(shape[0], side, filters=filters, latent=latent) if self.latent else None

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam as "generator", which has the encoder too, and "critic"; and that of the mask bank."""
        painters = [*self.generator.parameters(), *(self.encoder.parameters() if self.encoder else ())]
        return {
            "generator": torch.optim.Adam(painters, lr=self.rates[0], betas=(0.0, 0.9), fused=True),
            "critic": torch.optim.Adam(self.critic.parameters(), lr=self.rates[1], betas=(0.0, 0.9), fused=True),
            **self.bank.optimisers(),
        }

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network, and what of the mask bank is averaged."""
        return {"generator": self.generator, **super().averaged()}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Update generator and encoder, then the critic, both by the critic as it was, on the same fakes."""
        plan, real = self.plan(batch.masks, batch.labels), batch.images
        style, divergence = self._style(real, rng)
        fake = self.generator(plan, style)
        # Nothing in the critic mixes images, so real and fake go through it together.
        seen = self.critic(torch.cat([torch.cat([plan, plan]), torch.cat([real, fake.detach().to(real.dtype)])], 1))
        seen_real, seen_fake = _split(seen)
        losses = self._generator_losses(plan, real, fake, seen_real)
        if self.encoder:
            losses["divergence"] = self.divergence * divergence
        update("generator", torch.stack(list(losses.values())).sum())
        critic = critic_loss(seen_real, seen_fake)
        update("critic", critic)
        named = {"critic": critic, **losses}
        masks = self.bank.step(batch, clock=clock, rng=rng, update=update)
        return {**{name: loss.detach() for name, loss in named.items()}, **masks}

    def _style(self, real: Tensor, rng: Draws) -> tuple[Tensor | None, Tensor]:
        """Return a style drawn from what the encoder says of each image, and how far that is from a normal one."""
        if self.encoder is None:
            return None, torch.zeros((), device=real.device)
        mean, log_variance = self.encoder(real)
        style = torch.addcmul(mean, rng.normal(len(real), self.latent), (log_variance / 2).exp())
        return style, divergence_from_normal(mean, log_variance)

    def _generator_losses(self, plan: Tensor, real: Tensor, fake: Tensor, seen_real: Features) -> dict[str, Tensor]:
        # Frozen: no gradients of its weights.
        self.critic.requires_grad_(False)
        seen = self.critic(torch.cat([plan, fake.to(plan.dtype)], 1))
        self.critic.requires_grad_(True)
        losses = {"adversarial": generator_loss(seen)}
        if self.feature_matching:
            losses["matching"] = self.feature_matching * matching_loss(seen, seen_real)
        if self.perceptual:
            losses["perceptual"] = self.perceptual * self.perceptual_loss(fake, real)
        return losses

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        seen = self.critic(torch.cat([self.plan(batch.masks, batch.labels), batch.images], 1))
        return -torch.stack([scale[-1].float().flatten(1).mean(1) for scale in seen]).mean(0)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return images with the masks they are painted over; batch norm uses its running statistics.

        Styles are drawn before masks, so masks that are given back come with the same images.
        """
        style = rng.normal(self.latent) if self.latent else None
        masks = self.bank.draw(condition, rng)
        training = self.generator.training
        self.generator.eval()
        images = self.generator(self.plan(masks, condition.labels), style)
        self.generator.train(training)
        return Generated(self.separate(images).images, masks)


def critic_loss(real: Features, fake: Features) -> Tensor:
    """Return the hinge loss of the critic, a mean over scales, float32."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([relu(1 - r[-1].float()).mean() + relu(1 + f[-1].float()).mean() for r, f in pairs]).mean()


def generator_loss(fake: Features) -> Tensor:
    """Return the hinge loss of the generator, a mean over scales, float32."""
    return -torch.stack([layers[-1].float().mean() for layers in fake]).mean()


def matching_loss(fake: Features, real: Features) -> Tensor:
    """Return the mean absolute difference of every layer but the scores, summed over layers, a mean over scales.

    Wang et al. 2018, arXiv 1711.11585, eq. 4, without their weights. No gradient flows to `real`.
    """
    scales = [
        torch.stack([(f.float() - r.detach().float()).abs().mean() for f, r in zip(made[:-1], shown[:-1], strict=True)])
        for made, shown in zip(fake, real, strict=True)
    ]
    return torch.stack([layers.sum() for layers in scales]).mean()


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, I), a mean over images.

    Args:
        mean: (B, D).
        log_variance: (B, D).
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2


def _split(seen: Features) -> tuple[Features, Features]:
    """Return the first and the second half of the batch."""
    halves = [[layer.chunk(2) for layer in scale] for scale in seen]
    return [[a for a, _ in scale] for scale in halves], [[b for _, b in scale] for scale in halves]


def _check(smallest: int, lightest: float) -> None:
    if smallest < 1 or lightest < 0:
        rule = "filters, hidden and latent are at least 1; divergence and feature_matching are not negative"
        raise BadOption(rule, f"the least of them are {smallest} and {lightest}", "Give such numbers")
