"""`stylegan2`: style-based generator and residual discriminator, with adaptive augmentation; told the findings.

Karras et al. 2020 (arXiv:1912.04958), adaptive augmentation Karras et al. 2020b (arXiv:2006.06676). "recommended" takes
the settings of the second paper's code for small data on one GPU (its `auto`), "paper" those of the first (its
configuration F). Differences from the published code: the critic moves first and the generator learns from the same
latent vectors (a pass less), masks made with the images are squashed (`Generator.squashed`), the critic scores real and
generated images in one batch whose groups of the minibatch standard deviation do not mix them, style mixing is drawn
for each image instead of each batch, and the mean path length starts at the first one instead of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import parallel
from ..errors import BadOption, InputError
from ..nets.generator import Draws, Streams
from ..nets.generator import Generator as Contract
from ..types import Batch, Clock, Condition, Generated, Update
from ._ada import Augmentation, Pipe
from ._penalties import squared_slopes
from ._stylegan2_networks import GROUP, Critic, StyleNetwork

MIN_SIDE, MAX_SIDE = 8, 1024
R1_EVERY, PATH_EVERY, PATH_DECAY = 16, 4, 0.01
BETAS, EPS = (0.0, 0.99), 1e-8
SMALL_SIDE = 64
SMALL: dict[str, Any] = {"channel_max": 32, "path_length_weight": 0.0, "style_mixing": 0.0, "r1_weight": 10.0}
""""recommended" up to 64 px; more than that side has the values of `PROTOCOLS`."""
MOST_LAYERS = 64
PROTOCOLS: dict[str, dict[str, Any]] = {
    "recommended": {
        "learning_rate": 0.0025,
        "ema_ramp": 0.05,
        "mapping_layers": 2,
        "channel_base": 16384,
        "augment": "anatomy",
        "channel_max": 512,
        "path_length_weight": 2.0,
        "style_mixing": 0.9,
    },
    "paper": {
        "learning_rate": 0.002,
        "r1_weight": 10.0,
        "ema_half_life": 10_000.0,
        "ema_ramp": 0.0,
        "mapping_layers": 8,
        "channel_base": 32768,
        "channel_max": 512,
        "augment": "none",
        "path_length_weight": 2.0,
        "style_mixing": 0.9,
    },
}


class Given(NamedTuple):
    """What generated images are made from: latent vectors twice for mixing, where they meet, noise, labels."""

    latent: Tensor
    other: Tensor
    crossing: Tensor
    noise: Tensor
    labels: Tensor | None

    def half(self) -> Given:
        """Return the first half of the images."""
        count = max(len(self.latent) // 2, 1)
        labels = None if self.labels is None else self.labels[:count]
        return Given(self.latent[:count], self.other[:count], self.crossing[:count], self.noise[:count], labels)


class Generator(Contract):
    """StyleGAN2 with adaptive discriminator augmentation.

    An option that is None takes the protocol's value.

    Args:
        shape: (C, H, W); square, the side a power of two from 8 to 1024.
        labels: Finding names.
        mask_classes: Class names; masks are generated as one-hot channels beside the image.
        protocol: "paper" is configuration F of Karras et al. 2020, as in the `stylegan2` setting of the published code;
            "recommended" is that code's `auto` setting, which the second paper's results on small data come close to.
            Up to 64 px, where trainings may be of minutes on a CPU, it has fewer channels, neither path length penalty
            nor style mixing (as that code's `cifar` setting for 32 px) and the first paper's R1: with `auto`'s a
            thousandth of it the critic left the generator behind on hearts of 32 px.
        channel_base: A layer has this many channels divided by its side, at most `channel_max`; paper 32768,
            recommended 16384, which the published code takes below 512 px.
        channel_max: 512; recommended 32 up to 64 px. With a GPU, 512 is the published value at any side.
        latent: Length of latent vector and style.
        mapping_layers: Paper 8, recommended 2.
        learning_rate: Of both networks, before the correction for lazy regularisation; paper 0.002, recommended 0.0025.
        r1_weight: Gamma of R1; 0 for none. 10; recommended above 64 px 0.0002 side^2 / batch.
        path_length_weight: Of the path length penalty; 0 for none. 2; recommended up to 64 px 0.
        style_mixing: Share of the images made of two styles. 0.9; recommended up to 64 px 0.
        ema_half_life: Images after which a weight counts half in the average; paper 10,000, recommended batch x 312.5.
        ema_ramp: The half-life is at most this share of the images seen; 0 for no such limit, as in the paper.
        augment: Adaptive augmentation: "none" as in the paper, "bgc", or "anatomy", the recommended one, which is "bgc"
            without flips and quarter turns.
        conditional: Whether samples show given labels; otherwise labels are ignored.

    Raises:
        InputError: The images are not square or their side is none of the possible ones.
        BadOption: A number is out of its range.
    """

    REVISION: ClassVar[int] = 2
    PAPER: ClassVar[str] = "Karras et al. 2020, arXiv:1912.04958 (StyleGAN2) and arXiv:2006.06676 (augmentation)"
    accepts: ClassVar[frozenset[str]] = frozenset({"labels"})

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        protocol: Literal["recommended", "paper"] = "recommended",
        channel_base: int | None = None,
        channel_max: int | None = None,
        latent: int = 512,
        mapping_layers: int | None = None,
        learning_rate: float | None = None,
        r1_weight: float | None = None,
        path_length_weight: float | None = None,
        style_mixing: float | None = None,
        ema_half_life: float | None = None,
        ema_ramp: float | None = None,
        augment: Pipe | None = None,
        conditional: bool = True,
    ) -> None:
        super().__init__(shape=shape, labels=labels if conditional else (), mask_classes=mask_classes)
        side = _checked_side(shape)
        table = PROTOCOLS[protocol] | (SMALL if protocol == "recommended" and side <= SMALL_SIDE else {})

        def chosen(name: str, given: Any) -> Any:
            return table.get(name) if given is None else given

        self.latent, self.style_mixing = latent, chosen("style_mixing", style_mixing)
        self.path_length_weight = chosen("path_length_weight", path_length_weight)
        self.learning_rate = chosen("learning_rate", learning_rate)
        self.r1_weight = chosen("r1_weight", r1_weight)
        self.ema_half_life, self.ema_ramp = chosen("ema_half_life", ema_half_life), chosen("ema_ramp", ema_ramp)
        most = chosen("channel_max", channel_max)
        layers = chosen("mapping_layers", mapping_layers)
        base = chosen("channel_base", channel_base)
        weights = (self.path_length_weight, self.r1_weight, self.ema_ramp, self.ema_half_life)
        _check_numbers(min(latent, base, most, layers), layers, self.style_mixing, weights)
        widths = channel_widths(side, base, most)
        self.generator = StyleNetwork(side, self.channels, widths, latent, len(self.labels), layers)
        self.critic = Critic(side, self.channels, widths, len(self.labels))
        pipe: Pipe = chosen("augment", augment)
        self.augmentation = Augmentation(shape[0], side, pipe) if pipe != "none" else None
        self.register_buffer("path_length", torch.zeros(()))

    path_length: Tensor

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam "critic" and "generator", corrected for the steps that only regularise (`lazy_adam`)."""
        critic = R1_EVERY if self.r1_weight != 0 else None
        generator = PATH_EVERY if self.path_length_weight else None
        return {
            "critic": lazy_adam(self.critic, self.learning_rate, critic),
            "generator": lazy_adam(self.generator, self.learning_rate, generator),
        }

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the generator network."""
        return {"generator": self.generator}

    def ema_weight(self, clock: Clock, batch: int) -> float:
        """Return the weight that halves the past's share every `ema_half_life` images, sooner while there are few."""
        half_life = batch * 10_000 / 32 if self.ema_half_life is None else self.ema_half_life
        if self.ema_ramp:
            half_life = min(half_life, clock.images_seen * self.ema_ramp)
        return float(1 - math.pow(0.5, batch / max(half_life, 1e-8)))

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make a critic and a generator step, each followed by its regularising step when that is due."""
        real = self.joint(batch)
        given = self._drawn(len(real), batch.labels, rng)
        style = self._styles(given)
        self.generator.follow(style[:, 0].detach())
        fake = self.squashed(self.generator.synthesis(style, given.noise))
        losses = self._critic_steps(real, fake.detach(), given.labels, clock, rng, update)
        # Frozen: no gradients of its weights.
        self.critic.requires_grad_(False)
        loss = softplus(-self.critic(self._augmented(fake, rng), given.labels)).mean()
        update("generator", loss)
        self.critic.requires_grad_(True)
        losses["generator"] = loss.detach()
        if self.path_length_weight and clock.step % PATH_EVERY == 0:
            losses["path_length"] = self._path_length_step(given.half(), rng, update)
        return losses

    def _critic_steps(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, clock: Clock, rng: Draws, update: Update
    ) -> dict[str, float | Tensor]:
        count = len(real)
        shown = torch.cat([real, fake])
        group = math.gcd(count, GROUP)
        told = None if labels is None else paired(torch.cat([labels, labels]), group)
        scores = unpaired(self.critic(paired(self._augmented(shown, rng), group), told, group), group)
        loss = softplus(-scores[:count]).mean() + softplus(scores[count:]).mean()
        update("critic", loss)
        losses: dict[str, float | Tensor] = {"critic": loss.detach()}
        if self.augmentation is not None:
            whole = count * parallel.world()
            self.augmentation.follow(scores[:count].detach(), step=clock.step, batch=whole)
            losses["augmentation"] = self.augmentation.probability.clone()
        if self.r1_weight != 0 and clock.step % R1_EVERY == 0:
            losses["r1"] = self._r1_step(real, labels, rng, update)
        return losses

    def _r1_step(self, real: Tensor, labels: Tensor | None, rng: Draws, update: Update) -> Tensor:
        count = len(real)
        weight = self.r1_weight
        if weight is None:
            weight = 0.0002 * self.shape[1] ** 2 / (count * parallel.world())
        plan = None if self.augmentation is None else self.augmentation.draw(count, rng)

        def score(joint: Tensor) -> Tensor:
            seen = joint if plan is None or self.augmentation is None else self.augmentation(joint, plan)
            return cast("Tensor", self.critic(seen, labels))

        penalty = squared_slopes(score, real).mean()
        update("critic", penalty * (weight / 2 * R1_EVERY))
        return penalty.detach()

    def _path_length_step(self, given: Given, rng: Draws, update: Update) -> Tensor:
        with torch.autocast(given.latent.device.type, enabled=False):
            style = self._styles(given)
            joint = self.squashed(self.generator.synthesis(style, given.noise))
            lengths = path_lengths(joint, style, rng.normal(*joint.shape))
            self._follow_lengths(parallel.mean(lengths.detach().mean()))
            penalty = (lengths - self.path_length).square().mean()
        update("generator", penalty * (self.path_length_weight * PATH_EVERY))
        return penalty.detach()

    def _follow_lengths(self, mean: Tensor) -> None:
        # From the first mean on. The published code starts at 0, so that for some hundred steps the penalty holds the
        # image to one that no style changes: here the generator never came back from it.
        followed = torch.lerp(self.path_length, mean, PATH_DECAY)
        self.path_length.copy_(torch.where(self.path_length == 0, mean, followed))

    def _drawn(self, count: int, labels: Tensor | None, rng: Draws) -> Given:
        layers = self.generator.synthesis.layers
        mixed = rng.uniform(count) < self.style_mixing
        crossing = torch.where(mixed, rng.integers(layers - 1, count) + 1, layers)
        latent, other = rng.normal(count, 2, self.latent).unbind(1)
        return Given(latent, other, crossing, rng.normal(count, self.generator.synthesis.noise), self._told(labels))

    def _styles(self, given: Given) -> Tensor:
        labels = None if given.labels is None else torch.cat([given.labels, given.labels])
        both = self.generator.mapping(torch.cat([given.latent, given.other]), labels)
        first, second = (self.generator.everywhere(style) for style in both.chunk(2))
        layer = torch.arange(first.shape[1], device=first.device)
        return torch.where((layer < given.crossing[:, None])[..., None], first, second)

    def _augmented(self, joint: Tensor, rng: Draws) -> Tensor:
        if self.augmentation is None:
            return joint
        return cast("Tensor", self.augmentation(joint, self.augmentation.draw(len(joint), rng)))

    def _told(self, labels: Tensor | None) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a conditional generator is given labels"
        return labels

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return how little the critic takes each image for real (LOGAN: Hayes et al. 2019, arXiv:1705.07663)."""
        told = batch.labels if self.conditional else None
        scores: Tensor = self.critic(self.joint(batch), told, 1)  # groups of one: nobody else changes an image's score
        return -scores.float().reshape(-1)

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        rng: Streams,
        *,
        truncation: float = 1.0,
        noise: Literal["random", "constant"] = "random",
    ) -> Generated:
        """Return samples.

        Args:
            condition: How many, and the labels they show.
            rng: One stream per sample.
            truncation: Psi: how far from the mean style, 1 for where training put it; less varies less.
            noise: "constant" paints the same noise into every sample, as the published sampling script does.
        """
        style = self.generator.mapping(rng.normal(self.latent), self._told(condition.labels))
        style = torch.lerp(self.generator.style_mean, style, truncation)
        synthesis = self.generator.synthesis
        painted = rng.normal(synthesis.noise) if noise == "random" else synthesis.pattern
        return self.separate(synthesis(self.generator.everywhere(style), painted))


def channel_widths(side: int, base: int, most: int) -> dict[int, int]:
    """Return the channels of the layers at each side from 4: base / side, at most `most` and at least 1."""
    return {2**power: max(1, min(base // 2**power, most)) for power in range(2, side.bit_length())}


def lazy_adam(network: nn.Module, learning_rate: float, interval: int | None) -> torch.optim.Adam:
    """Return Adam with a rate and betas that k + 1 steps leave where k steps of the usual one would.

    Every `interval`-th step is followed by one that only regularises (Karras et al. 2020, app. B).

    Args:
        network: What it moves.
        learning_rate: Before the correction.
        interval: k; None for no such steps.
    """
    share = 1.0 if interval is None else interval / (interval + 1)
    betas = (BETAS[0] ** share, BETAS[1] ** share)
    return torch.optim.Adam(network.parameters(), lr=learning_rate * share, betas=betas, eps=EPS, fused=True)


def path_lengths(joint: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Return (B,) how much each image moves with its styles, seen through random images (eq. 4).

    Args:
        joint: (B, C, H, W), made from `styles`.
        styles: (B, layers, S); the length is the root of the mean over layers of the squared slope's sum.
        noise: Standard normal, of the shape of `joint`.
    """
    seen = (joint * noise).sum() / math.sqrt(joint.shape[2] * joint.shape[3])
    (slopes,) = torch.autograd.grad(seen, styles, create_graph=True)
    lengths: Tensor = slopes.square().sum(2).mean(1).sqrt()
    return lengths


def paired(both: Tensor, group: int) -> Tensor:
    """Return real rows and generated rows after them in an order that keeps the minibatch groups of each apart.

    Group j of a batch of N is its rows j, j + N / group, j + 2 N / group, ...: of the batch of both, groups up to the
    middle are made the groups of the real rows.
    """
    return both.reshape(2, group, -1, *both.shape[1:]).transpose(0, 1).reshape(both.shape)


def unpaired(both: Tensor, group: int) -> Tensor:
    """Return rows as they were before `paired`."""
    return both.reshape(group, 2, -1, *both.shape[1:]).transpose(0, 1).reshape(both.shape)


def _checked_side(shape: tuple[int, int, int]) -> int:
    side = shape[1]
    if shape[2] != side or side & (side - 1) or not MIN_SIDE <= side <= MAX_SIDE:
        rule = f"This generator makes square images with a side that is a power of two, {MIN_SIDE} to {MAX_SIDE}"
        raise InputError(rule, f"{shape[1]}x{shape[2]}", "Prepare the cohort with another --size")
    return side


def _check_numbers(smallest: int, layers: int, share: float, weights: tuple[float | None, ...]) -> None:
    if layers > MOST_LAYERS:
        raise BadOption(f"mapping_layers is at most {MOST_LAYERS}", str(layers), "The paper has 8")
    if smallest < 1:
        rule = "latent, channel_base, channel_max and mapping_layers are at least 1"
        raise BadOption(rule, str(smallest), "Give positive numbers")
    if not 0 <= share <= 1:
        raise BadOption("style_mixing is a share from 0 to 1", str(share), "Give 0 to 1")
    if any(weight is not None and weight < 0 for weight in weights):
        raise BadOption(
            "Weights of penalties, ema_ramp and ema_half_life are not negative",
            str(min(w for w in weights if w)),
            "Give 0 for none",
        )
