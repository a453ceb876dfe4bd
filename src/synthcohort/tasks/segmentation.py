"""Segmentation: a small U-Net that learns masks from images, and how well it does it elsewhere.

Source: Ronneberger et al. 2015 (arXiv:1505.04597), in MONAI's BasicUNet form with batch normalisation. The loss is
cross-entropy plus soft Dice over the foreground classes of a batch; a class that no training image has is legal and is
pushed towards nowhere. A fit ends after a fixed number of images seen, or when the validation loss stops falling,
and keeps the weights of the lowest validation loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import Diverged, InputError
from ..runs import derive_seed
from ..types import Array
from . import _fitting

_CHECKS = 24  # looks at the validation images during a whole fit
_SMALLEST_SIDE = 16


class Task(nn.Module):
    """A U-Net that is fitted to one set of images and masks.

    Args:
        shape: (C, H, W) of an image.
        mask_classes: Class names by index, background first.
        labels: Finding names; not used here.
        width: Channels at full resolution; the bottleneck, and with it the feature space, has eight times as many.
        images_seen: Training images seen in a whole fit, repeats counted.
        batch: Images per step.
        learning_rate: Peak rate of AdamW: it rises over the first tenth of the fit and falls to zero along a cosine.
        patience_images: Images seen without a lower validation loss after which the fit ends early.
        augment: Shift, zoom and dim the training images a little.

    Raises:
        InputError: There are no foreground classes, or the images are too small.
    """

    NEEDS: ClassVar[str] = "masks"
    WEIGHTS: ClassVar[str] = ""
    REVISION: ClassVar[int] = 1

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        mask_classes: Sequence[str],
        labels: Sequence[str],
        width: int = 16,
        images_seen: int = 16_000,
        batch: int = 16,
        learning_rate: float = 3e-3,
        patience_images: int = 8_000,
        augment: bool = False,
    ) -> None:
        super().__init__()
        _check(shape, mask_classes, {"width": width, "images_seen": images_seen, "batch": batch})
        self.shape, self.mask_classes, self.labels = tuple(shape), tuple(mask_classes), tuple(labels)
        self.images_seen, self.batch, self.learning_rate = images_seen, batch, learning_rate
        self.patience_images, self.augment = patience_images, augment
        self.network = _network(shape[0], len(mask_classes), width)

    def fit(
        self,
        train_images: Array,
        train_masks: Array,
        val_images: Array,
        val_masks: Array,
        *,
        value_range: tuple[float, float],
        seed: int,
    ) -> list[dict[str, float]]:
        """Fit from new weights and return the log: images_seen, train_loss and val_loss at every look at validation.

        Deterministic given the seed, on one device and thread count.

        Args:
            train_images: (n, C, H, W) as stored.
            train_masks: (n, H, W) uint8.
            val_images: (m, C, H, W) as stored, of patients that are not trained on.
            val_masks: (m, H, W) uint8.
            value_range: Lowest and highest legal pixel.
            seed: Weights, order and augmentation derive from it.

        Raises:
            InputError: There are no training or no validation images.
            Diverged: The loss is not finite.
        """
        _fitting.check_sets(train_images, val_images)
        _fitting.restart(self.network, derive_seed(seed, "task weights"))
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-4)
        loss_of = _loss()

        def step(positions: Array, seen: int) -> Tensor:
            images, masks = self._tensors(train_images[positions], train_masks[positions], value_range)
            if self.augment:
                images, masks = _augmented(images, masks, derive_seed(seed, "task augmentation", seen))
            optimiser.param_groups[0]["lr"] = self.learning_rate * _fitting.schedule(seen / self.images_seen)
            return self._step(images, masks, optimiser, loss_of)

        return _fitting.best_of(
            self,
            _fitting.batches(len(train_images), self.batch, seed),
            step,
            lambda seen, losses: self._look(seen, losses, (val_images, val_masks), value_range, loss_of),
            lambda row, best: row["val_loss"] <= best["val_loss"],
            images_seen=self.images_seen,
            check_every=max(self.images_seen // _CHECKS, min(len(train_images), self.images_seen), 1),
            patience=self.patience_images,
        )

    def _step(self, images: Tensor, masks: Tensor, optimiser: torch.optim.Optimizer, loss_of: nn.Module) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss: Tensor = loss_of(self.train().network(images), masks[:, None])
        loss.backward()
        optimiser.step()
        return loss.detach()

    def _look(
        self,
        images_seen: int,
        losses: list[Tensor],
        validation: tuple[Array, Array],
        value_range: tuple[float, float],
        loss_of: nn.Module,
    ) -> dict[str, float]:
        """Return one row of the log; the validation loss is that of all validation images as one batch."""
        scores = torch.cat(list(_fitting.chunks(self, validation[0], value_range, self.network)))
        truth = torch.from_numpy(validation[1].astype(np.int64)).to(scores.device)
        row = {
            "images_seen": images_seen,
            "train_loss": float(torch.stack(losses).double().mean()),
            "val_loss": float(loss_of(scores, truth[:, None])),
        }
        if not all(math.isfinite(value) for value in row.values()):
            raise Diverged(f"The task's loss is not finite after {images_seen} images: use a lower learning_rate")
        return row

    def predict(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
        """Return the class index (n, H, W) uint8 of every pixel.

        Args:
            images: (n, C, H, W) as stored.
            value_range: Lowest and highest legal pixel.
        """
        answers = _fitting.chunks(self, images, value_range, self.network)
        found = [scores.argmax(1).to(torch.uint8).cpu() for scores in answers]
        return torch.cat(found).numpy() if found else np.empty((0, *self.shape[1:]), np.uint8)

    def features(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return the bottleneck averaged over all positions, (n, 8 * width) float32: the `task` feature space.

        Args:
            images: (n, C, H, W) as stored.
            value_range: Lowest and highest legal pixel.
        """
        found = [pooled.float().cpu() for pooled in _fitting.chunks(self, images, value_range, self._bottleneck)]
        return torch.cat(found).numpy() if found else np.empty((0, 0), np.float32)

    def _bottleneck(self, images: Tensor) -> Tensor:
        network: Any = self.network
        hidden = network.conv_0(images)
        for down in (network.down_1, network.down_2, network.down_3, network.down_4):
            hidden = down(hidden)
        pooled: Tensor = hidden.mean(dim=(2, 3))
        return pooled

    def _tensors(self, images: Array, masks: Array, value_range: tuple[float, float]) -> tuple[Tensor, Tensor]:
        pixels = _fitting.pixels(self, images, value_range)
        return pixels, torch.from_numpy(masks.astype(np.int64)).to(pixels.device)


def _check(shape: Sequence[int], mask_classes: Sequence[str], counts: dict[str, int]) -> None:
    if len(mask_classes) < 2:
        raise InputError(
            "Segmentation needs a background and a structure", f"{len(mask_classes)} mask classes", "Add masks"
        )
    if min(shape[1:]) < _SMALLEST_SIDE:
        offender = f"they are {shape[1]}x{shape[2]}"
        raise InputError(f"Segmentation takes images of {_SMALLEST_SIDE} px or more", offender, "Prepare larger images")
    _fitting.check_positive(counts)


def _network(channels: int, classes: int, width: int) -> nn.Module:
    from monai.networks.nets.basic_unet import BasicUNet

    widths = (width, width, 2 * width, 4 * width, 8 * width, width)
    with torch.random.fork_rng(devices=[]):  # MONAI draws weights from the global stream; `fit` draws them again
        network: nn.Module = BasicUNet(2, channels, classes, features=widths, norm="batch")
    return network


def _loss() -> nn.Module:
    from monai.losses.dice import DiceCELoss

    loss: nn.Module = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    return loss


def _augmented(images: Tensor, masks: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return images and masks shifted by up to 1/16, zoomed by up to 10 % and dimmed by up to 10 %, each on its own."""
    grid, gain = _fitting.drawn_moves(images, seed)
    kept = nn.functional.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)
    return _fitting.moved(images, grid, gain), kept[:, 0].long()
