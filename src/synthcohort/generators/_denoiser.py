"""What generators that remove noise step by step share: the U-Net and what it is told, label dropout and guidance.

Labels are hidden from the network in some training images, and the difference that they make is scaled when sampling
(Ho and Salimans 2022, arXiv:2207.12598, algorithms 1 and 2). Masks are made with the images, as channels of one tensor,
or given: then they stand at the network's door and come from a mask bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import BadOption
from ..nets.generator import Draws, Generator, Streams
from ..nets.unet import GROUP_CHANNELS, TimeUNet
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._mask_bank import MaskBank, MaskSource

Masks = Literal["joint", "given"]

MOST_BLOCKS, MOST_STEPS = 64, 1000
LEVELS = (-1.28, -0.67, -0.32, 0.0, 0.32, 0.67, 1.28)  # quantiles of the standard normal that levels are drawn from


@dataclass(frozen=True)
class Known:
    """What the network is told beside noisy data and a time.

    Attributes:
        labels: (B, L + 1) findings and a 1, or all 0 where they are not told; None without labels.
        maps: (B, K, H, W) given masks, one-hot as -1 and +1; None where masks are made with the images.
    """

    labels: Tensor | None = None
    maps: Tensor | None = None

    def unlabelled(self) -> Known:
        """Return the same without the labels."""
        return self if self.labels is None else replace(self, labels=torch.zeros_like(self.labels))


class Denoiser(Generator):
    """A U-Net that says what is behind noisy data, its optimiser, what it is told, and guidance.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names; empty where the network is not told them.
        mask_classes: Class names.
        masks: "joint" or "given".
        mask_source: Where masks come from when they are to be given and none are.
        label_dropout: Share of the training images whose labels the network is not told.
        learning_rate: Peak rate of Adam.
        warmup: Share of the training over which the rate rises.
        views: How many versions of the data the network is shown.
        betas: Of Adam.
        unet: width, multipliers, blocks, patch and attention_levels of the U-Net.

    Raises:
        BadOption: Masks are to be given and the cohort has none.
        ValueError: The options do not fit together or do not fit the images.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"labels", "masks"})
    LOSS: ClassVar[str]
    """What the loss and the optimiser are called."""

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        masks: Masks,
        mask_source: MaskSource,
        label_dropout: float,
        learning_rate: float,
        warmup: float,
        views: int,
        betas: tuple[float, float],
        unet: Mapping[str, Any],
    ) -> None:
        given = masks == "given"
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes, given_masks=given)
        _check(shape, unet)
        if not (0 <= label_dropout < 1 and 0 <= warmup < 1):
            raise ValueError("label_dropout and warmup are shares, from 0 to below 1")
        self.label_dropout, self.learning_rate, self.warmup, self.betas = label_dropout, learning_rate, warmup, betas
        self._groups = [size for size in (shape[0], self.channels - shape[0]) if size]
        seen = views * self.channels + (len(mask_classes) if given else 0)
        self.network = TimeUNet(seen, self.channels, labels=len(self.labels), **unet)
        self.bank = (
            MaskBank(shape=shape, mask_classes=mask_classes, labels=self.labels, source=mask_source) if given else None
        )

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Hand the masks to the bank, where masks are given."""
        if self.bank is not None:
            assert masks is not None, "a cohort with mask classes has masks"
            self.bank.fit(masks, labels if self.conditional else None, seed=seed)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam over the network, and what the mask bank has."""
        adam = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, betas=self.betas, fused=True)
        return {self.LOSS: adam, **(self.bank.optimisers() if self.bank is not None else {})}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the network, and what the mask bank averages."""
        bank = {} if self.bank is None else {f"bank.{name}": each for name, each in self.bank.averaged().items()}
        return {"network": self.network, **bank}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make one step on the denoising loss, and one of the mask bank where it learns."""
        data = self.joint(batch)
        known = Known(self._shown_labels(batch.labels, rng), self._maps(batch.masks))
        loss = self.loss(data, known, rng)
        update(self.LOSS, loss, lr=self.learning_rate * schedule(clock.fraction, self.warmup))
        learnt = {} if self.bank is None else self.bank.step(batch, clock=clock, rng=rng, update=update)
        return {self.LOSS: loss.detach(), **learnt}

    def loss(self, data: Tensor, known: Known, rng: Draws) -> Tensor:
        """Return the loss of clean data (B, channels, H, W)."""
        noise = rng.normal(*data.shape)
        return self.losses(data, known, noise, rng.normal(len(data))).mean()

    def losses(self, data: Tensor, known: Known, noise: Tensor, level: Tensor) -> Tensor:
        """Return the loss of each image, (B,).

        Args:
            data: Clean, (B, channels, H, W).
            known: What the network is told.
            noise: Standard normal, as the data.
            level: How noisy, (B,): a standard normal number in place of the time or noise level that it stands for.
        """
        raise NotImplementedError

    @torch.no_grad()
    def surprise(self, batch: Batch, rng: Draws) -> Tensor:
        """Return the mean loss of each image at the same noise levels for all, over their middle."""
        labels = None
        if self.conditional:
            assert batch.labels is not None, "a labelled cohort has labels"
            labels = told(batch.labels, torch.ones_like(batch.labels[:, 0], dtype=torch.bool))
        data, known = self.joint(batch), Known(labels, self._maps(batch.masks))
        levels = [torch.full_like(data[:, 0, 0, 0], level) for level in LEVELS]
        return torch.stack([self.losses(data, known, rng.normal(*data.shape), level) for level in levels]).mean(0)

    def balanced(self, squares: Tensor) -> Tensor:
        """Return the mean of squares (B, channels, H, W) of each image, (B,); image and mask channels count half each.

        A mask has a channel for each class and a grey image one: by numbers, the image would hardly count.
        """
        means = [part.mean((1, 2, 3)) for part in squares.split(self._groups, dim=1)]
        return torch.stack(means).mean(0)

    def answer(self, seen: Sequence[Tensor], time: Tensor, known: Known) -> Tensor:
        """Return what the network says of versions of the data (B, channels, H, W) at `time` (B,), float32."""
        maps = [] if known.maps is None else [known.maps]
        out: Tensor = self.network(torch.cat([*seen, *maps], 1), time, known.labels)
        return out.float()

    def asked(self, condition: Condition, rng: Streams, guidance: float) -> tuple[Known, Tensor | None]:
        """Return what the network is told of the samples asked for, and the masks (B, H, W) they are painted over.

        Raises:
            BadOption: The guidance cannot be given.
        """
        self._check_guidance(guidance)
        labels = None
        if self.conditional:
            assert condition.labels is not None, "a conditional generator is asked for labels"
            labels = told(condition.labels, torch.ones_like(condition.labels[:, 0], dtype=torch.bool))
        masks = None if self.bank is None else self.bank.draw(condition, rng)
        return Known(labels, self._maps(masks)), masks

    def made(self, data: Tensor, masks: Tensor | None) -> Generated:
        """Return data (B, channels, H, W) as samples; `masks` are those that they were painted over."""
        made = self.separate(data)
        return made if masks is None else replace(made, masks=masks)

    def _check_guidance(self, guidance: float) -> None:
        if guidance <= 0:
            raise BadOption("Option 'guidance' is above 0", str(guidance), "Give 1 to 4")
        if guidance != 1 and not self.conditional:
            raise BadOption("Guidance needs labels", f"guidance is {guidance}, there are none", "Leave guidance out")
        if guidance != 1 and not self.label_dropout:
            rule = "Guidance needs a network that was trained without labels too"
            raise BadOption(rule, "label_dropout was 0", "Leave guidance out, or train again with label_dropout")

    def _shown_labels(self, labels: Tensor | None, rng: Draws) -> Tensor | None:
        if not self.conditional:
            return None
        assert labels is not None, "a labelled cohort has labels"
        return told(labels, rng.uniform(len(labels)) >= self.label_dropout)

    def _maps(self, masks: Tensor | None) -> Tensor | None:
        if not self.mask_conditional:
            return None
        assert masks is not None, "a generator that paints over masks is given masks"
        return self.onehot(masks) * 2 - 1


def guided(denoise: Callable[[Known], Tensor], known: Known, guidance: float) -> Tensor:
    """Return what `denoise` says with the labels, and `guidance` - 1 times what they added to what it says without."""
    with_labels = denoise(known)
    if guidance == 1:
        return with_labels
    return guidance * with_labels + (1 - guidance) * denoise(known.unlabelled())


def told(labels: Tensor, shown: Tensor) -> Tensor:
    """Return (B, L + 1): labels (B, L) and a 1, or all 0 where `shown` (B,) is false."""
    return torch.cat([labels, torch.ones_like(labels[:, :1])], 1) * shown[:, None]


def schedule(fraction: float, warmup: float) -> float:
    """Return the learning rate's share of its peak: a linear rise over `warmup`, then a cosine to zero."""
    if fraction < warmup:
        return fraction / warmup
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def _check(shape: tuple[int, int, int], unet: Mapping[str, Any]) -> None:
    width, multipliers, patch = unet["width"], unet["multipliers"], unet["patch"]
    least = min(unet["blocks"], patch, len(multipliers), *multipliers)
    if width < GROUP_CHANNELS or width % GROUP_CHANNELS or least < 1:
        rule = f"width is a multiple of {GROUP_CHANNELS}; blocks, patch and multipliers, at least one, are positive"
        raise ValueError(rule)
    if unet["blocks"] > MOST_BLOCKS:  # each is an object: a billion of them take hours before any memory is checked
        raise ValueError(f"blocks is at most {MOST_BLOCKS}")
    factor = patch * 2 ** (len(multipliers) - 1)
    if shape[1] % factor or shape[2] % factor:
        raise ValueError(f"{shape[1]}x{shape[2]} is not a multiple of {factor} (patch x halvings)")
