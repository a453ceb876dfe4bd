"""The contract of a generator: what `train.py` and `sample.py` call, and nothing else."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import plugins
from ..cohort import Facts
from ..errors import BadOption, InputError
from ..types import Array, Batch, Clock, Condition, Generated, Update
from ._draws import Draws, Streams

__all__ = ["EMA_EXPONENT", "RESERVED", "Draws", "Fitted", "Generator", "Streams", "build", "parameters"]

RESERVED = ("shape", "labels", "mask_classes")
"""What the cohort decides; everything else in a generator's signature is an option."""
MASK_SLOPE = 3.0  # of mask channels before the softmax: networks begin with outputs of about 1
EMA_EXPONENT = 6.94  # Karras et al. 2023 (EDM2), eq. 2 and appendix C: a profile 10 % as wide as the training is long.


class Fitted(nn.Module):
    """A module whose buffers named in `fitted` take their shape from the state that is loaded."""

    fitted: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for name in self.fitted:
            if prefix + name in state_dict:
                stored = state_dict[prefix + name]
                current = getattr(self, name)
                device = stored.device if current is None else current.device
                self.register_buffer(name, torch.empty_like(stored, device=device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Generator(Fitted):
    """Base of all generators. The keyword-only signature of `__init__` is the configuration.

    All networks and buffers exist after `__init__`; nothing is added while training. Buffers whose size depends on the
    training data are named in `fitted` and take their shape from the checkpoint.

    Args:
        shape: (C, H, W) of an image.
        labels: Finding names, empty for none.
        mask_classes: Class names by index, background first; empty for none. When given, masks are emitted with images.
        given_masks: Whether images are painted over masks that the generator is given, in place of made with them.

    Raises:
        BadOption: Masks are to be given and the cohort has none.
    """

    REVISION: ClassVar[int] = 1
    """Raise it when the same options give another result."""
    PAPER: ClassVar[str] = ""
    """Where it comes from, in a line: authors, year and where to find it."""
    CONTROL: ClassVar[bool] = False
    """True for a control, whose output holds or resembles real images on purpose; `export` refuses it."""
    SPLIT: ClassVar[str] = "train"
    """The split it learns from."""
    ITERATIVE: ClassVar[bool] = True
    """False when `fit` is all the training there is."""
    accepts: ClassVar[frozenset[str]] = frozenset()
    """What it can be conditioned on: "labels", "masks"."""
    emits: ClassVar[frozenset[str]] = frozenset()
    """What it decides itself beside image and mask: "labels" for a control that serves stored images with theirs."""

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        labels: Sequence[str],
        mask_classes: Sequence[str],
        given_masks: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.labels, self.mask_classes = tuple(shape), tuple(labels), tuple(mask_classes)
        self.mask_conditional = given_masks
        if given_masks and not mask_classes:
            rule = "A generator that paints images over masks needs a cohort with masks"
            raise BadOption(rule, "this cohort has none", "Choose another generator, or prepare the masks too")

    @property
    def conditional(self) -> bool:
        """Return whether its samples show the labels that are asked for; `Condition.labels` is there then."""
        return "labels" in self.accepts and bool(self.labels)

    @property
    def labelled(self) -> bool:
        """Return whether its samples carry labels: those asked for, or their own."""
        return bool(self.labels) and ("labels" in self.accepts | self.emits)

    @property
    def channels(self) -> int:
        """Return image channels, plus one-hot mask channels where masks are made with the images."""
        return self.shape[0] + (0 if self.mask_conditional else len(self.mask_classes))

    def fit(self, images: Array, masks: Array | None, labels: Array | None, *, seed: int) -> None:
        """Learn what is learnt in closed form, once, before the first step.

        Args:
            images: (N, C, H, W) float32 in [-1, 1], all of its split.
            masks: (N, H, W) uint8, or None.
            labels: (N, L) float32 0/1, unknown ones 0; None when the cohort has none.
            seed: For whatever is random in it.
        """

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers by name."""
        return {}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the modules of which an exponential moving average is kept and used for sampling."""
        return {}

    def ema_weight(self, clock: Clock, batch: int) -> float:
        """Return how much the newest weights count in the average, 0 to 1, after the step that began at `clock`.

        The default is a power-function profile: its width grows with the training (Karras et al. 2023).

        Args:
            clock: Where training stood before the step.
            batch: Images in the step, those of all devices.
        """
        return 1 - math.pow(1 - 1 / (clock.step + 1), EMA_EXPONENT + 1)

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make one training step through `update` and return the losses.

        Nothing may be random but through `rng`, and nothing may be computed over the images of a batch but through
        `parallel`: then several devices do what one would.

        Args:
            batch: The images, or this device's share of them.
            clock: Where training stands before this step.
            rng: Random numbers of this step.
            update: Backpropagates, averages gradients over devices and steps one optimiser.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained in steps")

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return `condition.count` samples. Sampling options are keyword-only parameters of the subclass."""
        raise NotImplementedError

    def surprise(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return how little the weights fit each image, (B,) float32, or None where they say nothing of one image.

        Whoever holds the weights can compute it; images that were trained on tend to score lower.

        Args:
            batch: Images with the masks and labels that they had in training.
            rng: Random numbers.
        """
        return None

    def joint(self, batch: Batch) -> Tensor:
        """Return image and one-hot mask channels as one (B, C + K, H, W) tensor, masks as -1 and +1."""
        if not self.mask_classes or self.mask_conditional or batch.masks is None:
            return batch.images
        return torch.cat([batch.images, self.onehot(batch.masks).to(batch.images.dtype) * 2 - 1], dim=1)

    def squashed(self, raw: Tensor) -> Tensor:
        """Return what a network gives, (B, channels, H, W), with its mask channels made alike to those of `joint`.

        Softmax over the classes of each place, from -1 to 1. Masks of training images are -1 or +1 and nothing between:
        left free, mask channels show a critic at a glance which images are generated, and it learns nothing else.
        """
        if raw.shape[1] == self.shape[0]:
            return raw
        images, masks = raw.float().split([self.shape[0], raw.shape[1] - self.shape[0]], 1)
        return torch.cat([images, 2 * torch.softmax(MASK_SLOPE * masks, 1) - 1], 1)

    def onehot(self, masks: Tensor) -> Tensor:
        """Return masks (B, H, W) int64 as (B, K, H, W) float32 of 0 and 1."""
        return nn.functional.one_hot(masks, len(self.mask_classes)).movedim(-1, 1).float()

    def separate(self, joint: Tensor) -> Generated:
        """Return a (B, channels, H, W) tensor as images clamped to [-1, 1] and masks, if they are in it, by argmax."""
        images = joint[:, : self.shape[0]].float().clamp(-1, 1)
        masks = joint[:, self.shape[0] :].argmax(1) if joint.shape[1] > self.shape[0] else None
        return Generated(images, masks)


def build(name: str, facts: Facts, options: Mapping[str, Any], *, seed: int = 0) -> Generator:
    """Return a generator for images of a cohort, its weights drawn from `seed`.

    Raises:
        BadOption: The options do not fit together or do not fit the images.
    """
    _check_memory(name, facts, parameters(name, facts, options))
    with _refusing(name, facts):
        model = _made(name, facts, options, seed)
        model.optimisers()  # refuses a learning rate that none can have
    return model


def parameters(name: str, facts: Facts, options: Mapping[str, Any]) -> int:
    """Return how many numbers a generator for images of a cohort learns; none of them is made.

    Raises:
        BadOption: As for `build`.
    """
    with _refusing(name, facts), torch.device("meta"):
        return sum(parameter.numel() for parameter in _made(name, facts, options, 0).parameters())


def _made(name: str, facts: Facts, options: Mapping[str, Any], seed: int) -> Generator:
    plugin = plugins.find("generators", name)
    given = {"shape": facts.shape, "labels": facts.labels, "mask_classes": facts.mask_classes, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return plugin(**given)  # type: ignore[no-any-return]


@contextlib.contextmanager
def _refusing(name: str, facts: Facts) -> Iterator[None]:
    """Turn what torch says of options that fit nothing into one line."""
    try:
        yield
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        raise BadOption(f"The options of {name} must fit {facts.shape} images", str(error), "See `list`") from error


def _check_memory(name: str, facts: Facts, count: int) -> None:
    """Raise InputError when training could never fit: weights, their average, gradients and two moments."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = 5 * 4 * count
    if needed > there:
        found = f"{name} with {len(facts.labels)} findings at {facts.shape[1]} px takes {needed >> 30:,} GiB to train"
        rule = f"A generator and its optimiser fit into memory ({there >> 30} GiB here)"
        raise InputError(rule, found, "Prepare fewer findings or smaller images, or choose narrower networks")
