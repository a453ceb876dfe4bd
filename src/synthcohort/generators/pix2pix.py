"""pix2pix: images painted over masks by a U-Net and a critic of patches (Isola et al. 2017, arXiv 1611.07004).

What differs: images keep their channels; below 256 pixels the U-Net has fewer levels and the critic's patches are
smaller; the norm is that of each image by default, which is what batch norm is at the paper's batch of one; labels,
where a cohort has any, are constant channels of the map; samples are drawn from averaged weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import BadOption
from ..nets.generator import Draws, Streams
from ..parallel import BatchNorm2d
from ..types import Batch, Clock, Condition, Generated, Update
from ._mask_bank import MaskSource
from ._painted import Painter
from ._patch_critic import KERNEL, InstanceNorm2d, PatchCritic
from ._pix2pix_network import NoisyUNet

Norm = Literal["instance", "batch"]
MOST_HALVINGS, WIDEST = 3, 8


class Generator(Painter):
    """Conditional GAN with an L1 loss; its noise is dropout, in sampling too.

    Args:
        shape: (C, H, W); square, the side a power of two from 16.
        labels: Finding names.
        mask_classes: Class names.
        filters: Channels after the first convolution of either network.
        norm: "instance", or "batch" over all images of a step, with running statistics for sampling. The paper has
            batch norm at batches of 1 to 10, with the statistics of what is sampled.
        halvings: Strided layers of the critic, whose patches are then 16, 34 or 70 pixels a side; None for as many as
            keep a patch near a quarter of the image, three at 256 pixels as published.
        pixel_weight: Weight of the mean absolute difference of pixels.
        perceptual: Weight of the perceptual loss, which the paper does not have; above 0 it needs VGG19 weights in the
            cache.
        learning_rate: Of both networks.
        mask_source: Where masks come from when none are given: "generated" by a small network of its own, "jittered"
            training masks or "training" masks as they are. The last two keep training masks in the weights.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The cohort has no masks, or its images are not square with a power of two from 16 as side.
        BadOption: A number is out of its range, or the perceptual loss cannot see the images.
    """

    PAPER: ClassVar[str] = "Isola, Zhu, Zhou, Efros 2017, arXiv 1611.07004"

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        filters: int = 64,
        norm: Norm = "instance",
        halvings: int | None = None,
        pixel_weight: float = 100.0,
        perceptual: float = 0.0,
        learning_rate: float = 2e-4,
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
        halvings = _halvings(shape[1]) if halvings is None else halvings
        if filters < 1 or pixel_weight < 0 or not 1 <= halvings <= MOST_HALVINGS:
            rule = f"filters is at least 1, pixel_weight not negative and halvings 1 to {MOST_HALVINGS}"
            raise BadOption(rule, f"{filters}, {pixel_weight} and {halvings}", "Give such numbers")
        self.norm, self.pixel_weight, self.learning_rate = norm, pixel_weight, learning_rate
        plan, layer = self.plan_channels, InstanceNorm2d if norm == "instance" else BatchNorm2d
        self.generator = NoisyUNet(plan, shape[0], shape[1], filters=filters, norm=layer)
        widths = [filters * min(WIDEST, 1 << number) for number in range(halvings + 1)]
        self.critic = PatchCritic(plan + shape[0], widths, padding=1, middle=partial(_middle, layer))
        self.generator.apply(_initialise)
        self.critic.apply(_initialise)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam as "critic" and "generator", and that of the mask bank."""
        networks = {"critic": self.critic, "generator": self.generator}
        made: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=(0.5, 0.999), fused=True)
            for name, network in networks.items()
        }
        return {**made, **self.bank.optimisers()}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network, and what of the mask bank is averaged."""
        return {"generator": self.generator, **super().averaged()}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic step, then a generator step on the same fakes; the critic's loss is halved, as published."""
        plan, real = self.plan(batch.masks, batch.labels), batch.images
        fake = self.generator(plan, [rng.uniform(len(real), *shape) for shape in self.generator.noise])
        scores_real, scores_fake = self._both_scores(plan, real, fake.detach())
        critic = (softplus(-scores_real).mean() + softplus(scores_fake).mean()) / 2
        update("critic", critic)
        # Frozen: no gradients of its weights, and no low-precision copies of them from before their update.
        self.critic.requires_grad_(False)
        losses = {
            "pixels": self.pixel_weight * (fake.float() - real).abs().mean(),
            "adversarial": softplus(-self._scores(plan, fake)).mean(),
        }
        if self.perceptual:
            losses["perceptual"] = self.perceptual * self.perceptual_loss(fake, real)
        update("generator", torch.stack(list(losses.values())).sum())
        self.critic.requires_grad_(True)
        named = {name: loss.detach() for name, loss in [*losses.items(), ("critic", critic)]}
        return {**named, **self.bank.step(batch, clock=clock, rng=rng, update=update)}

    def _both_scores(self, plan: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if self.norm == "batch":  # over both together, a real image's score would depend on the fakes
            return self._scores(plan, real), self._scores(plan, fake)
        both = self._scores(torch.cat([plan, plan]), torch.cat([real, fake.to(real.dtype)]))
        return both[: len(real)], both[len(real) :]

    def _scores(self, plan: Tensor, images: Tensor) -> Tensor:
        scores: Tensor = self.critic(torch.cat([plan, images.to(plan.dtype)], 1))[-1]
        return scores.float()

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        return -self._scores(self.plan(batch.masks, batch.labels), batch.images).flatten(1).mean(1)

    @torch.no_grad()
    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return images with the masks they are painted over.

        What is dropped is drawn before masks, so masks that are given back come with the same images.
        """
        noise = [rng.uniform(*shape) for shape in self.generator.noise]
        masks = self.bank.draw(condition, rng)
        training = self.generator.training
        self.generator.eval()
        images = self.generator(self.plan(masks, condition.labels), noise)
        self.generator.train(training)
        return Generated(self.separate(images).images, masks)


def _halvings(side: int) -> int:
    """Return 3, 2 and 1 for 256, 128 and 64 pixels: patches of 70, 34 and 16."""
    return max(1, min(MOST_HALVINGS, side.bit_length() - 6))


def _middle(norm: type[nn.Module], inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    # A bias would not survive the norm.
    return nn.Conv2d(inputs, outputs, KERNEL, stride=stride, padding=1, bias=False), norm(outputs)


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), gains of batch norm from N(1, 0.02); biases are 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        nn.init.zeros_(bias)
