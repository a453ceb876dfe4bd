"""The contract of a generator: what `train.py` and `sample.py` call, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import plugins
from ..cohort import Facts
from ..errors import BadOption, InputError
from ..types import Array, Batch, Clock, Condition, Generated, Update

RESERVED = ("shape", "labels", "mask_classes")
"""What the cohort decides; everything else in a generator's signature is an option."""


class Streams:
    """One random stream per sample, drawn on the CPU, so sample i is the same in any batch and on any device.

    Args:
        seeds: One seed per sample.
        device: Where the drawn tensors go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """Return (B, *shape) standard normal float32."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._streams]).to(self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Return (B, *shape) uniform float32 in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._streams]).to(self._device)

    def integers(self, high: int) -> Tensor:
        """Return (B,) int64 in [0, high)."""
        return torch.cat([torch.randint(high, (1,), generator=g) for g in self._streams]).to(self._device)


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
    """

    REVISION: ClassVar[int] = 1
    """Raise it when the same options give another result."""
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

    def __init__(self, *, shape: tuple[int, int, int], labels: Sequence[str], mask_classes: Sequence[str]) -> None:
        super().__init__()
        self.shape, self.labels, self.mask_classes = tuple(shape), tuple(labels), tuple(mask_classes)

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
        """Return image channels plus one-hot mask channels."""
        return self.shape[0] + len(self.mask_classes)

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

    def step(self, batch: Batch, *, clock: Clock, rng: torch.Generator, update: Update) -> dict[str, float | Tensor]:
        """Make one training step through `update` and return the losses.

        Args:
            batch: The images.
            clock: Where training stands before this step.
            rng: Random numbers of this step, on the CPU.
            update: Backpropagates and steps one optimiser.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained in steps")

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return `condition.count` samples. Sampling options are keyword-only parameters of the subclass."""
        raise NotImplementedError

    def joint(self, batch: Batch) -> Tensor:
        """Return image and one-hot mask channels as one (B, C + K, H, W) tensor, masks as -1 and +1."""
        if not self.mask_classes or batch.masks is None:
            return batch.images
        onehot = nn.functional.one_hot(batch.masks, len(self.mask_classes)).movedim(-1, 1)
        return torch.cat([batch.images, onehot.to(batch.images.dtype) * 2 - 1], dim=1)

    def separate(self, joint: Tensor) -> Generated:
        """Return a (B, C + K, H, W) tensor as images clamped to [-1, 1] and masks by argmax."""
        images = joint[:, : self.shape[0]].float().clamp(-1, 1)
        masks = joint[:, self.shape[0] :].argmax(1) if self.mask_classes else None
        return Generated(images, masks)


def build(name: str, facts: Facts, options: Mapping[str, Any], *, seed: int = 0) -> Generator:
    """Return a generator for images of a cohort, its weights drawn from `seed`.

    Raises:
        BadOption: The options do not fit together or do not fit the images.
    """
    plugin = plugins.find("generators", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: Generator = plugin(
                shape=facts.shape, labels=facts.labels, mask_classes=facts.mask_classes, **options
            )
            model.optimisers()  # refuses a learning rate that none can have
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            if isinstance(error, InputError):
                raise
            raise BadOption(f"The options of {name} must fit {facts.shape} images", str(error), "See `list`") from error
    return model
