"""Classification: a DenseNet that learns findings from images, and how well it does it elsewhere.

The recommended protocol is quick: a small DenseNet at the images' own size, masked binary cross-entropy, a fixed
number of images seen. The protocols `paper` and `code` are those of the chest and brain study (see `_study`) and fix
every training value. Unknown findings never enter a loss or a score.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import BadOption, Diverged, InputError
from ..plugins import options
from ..progress import say
from ..runs import derive_seed, file_sha256
from ..statistics import auc
from ..types import Array, from_unit_range, to_unit_range
from . import _densenet, _fitting, _folded, _occlusion, _study

_CHUNK, _LARGE_CHUNK = 256, 32  # images per forward pass outside training: small network, DenseNet-121
_CHECKS = 24  # looks at the validation images during a whole fit
_LARGE_SIDE = 128  # from which a tile of 2 px hides next to nothing
_SMALLEST_SIDE = {"small": 16, "densenet121": 32}
_TRAINING = ("images_seen", "batch", "learning_rate", "patience_images", "augment")

Step = Callable[[Array, int], Tensor]


@dataclass(frozen=True)
class _Data:
    """What a fit learns from, as `Task.fit` is given it; targets are float32."""

    train_images: Array
    train_targets: Array
    val_images: Array
    val_targets: Array
    value_range: tuple[float, float]


class Task(nn.Module):
    """A DenseNet that is fitted to one set of images and findings.

    Args:
        shape: (C, H, W) of an image.
        mask_classes: Class names; not used here.
        labels: Finding names: the columns of the targets.
        protocol: How it is trained: "recommended", or as the study's text ("paper") or released code ("code") has it,
            which is DenseNet-121 at 224 px.
        network: "small" or "densenet121"; both take the images at their own size.
        images_seen: Training images seen in a whole fit, repeats counted.
        batch: Images per step.
        learning_rate: Peak rate of AdamW: it rises over the first tenth of the fit and falls to zero along a cosine.
        patience_images: Images seen without a lower validation loss after which the fit ends early.
        augment: Shift, zoom and dim the training images a little.
        weights: ImageNet weights of DenseNet-121 (torchvision's names), or "download"; random weights without.

    Raises:
        InputError: There are no labels, the images are too small, or the weights are not those of DenseNet-121.
        BadOption: An option cannot go with the protocol or the network.
    """

    NEEDS: ClassVar[str] = "labels"
    REVISION: ClassVar[int] = 1
    WEIGHTS: ClassVar[str] = "densenet121"

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        mask_classes: Sequence[str],
        labels: Sequence[str],
        protocol: Literal["recommended", "paper", "code"] = "recommended",
        network: Literal["small", "densenet121"] = "small",
        images_seen: int = 24_000,
        batch: int = 32,
        learning_rate: float = 3e-3,
        patience_images: int = 12_000,
        augment: bool = True,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.mask_classes, self.labels = tuple(shape), tuple(mask_classes), tuple(labels)
        self.protocol, self.weights, self.augment = protocol, weights, augment
        self.images_seen, self.batch, self.learning_rate = images_seen, batch, learning_rate
        self.patience_images = patience_images
        self._large = network == "densenet121" or protocol != "recommended"
        self._check()
        if self._large:
            self.network = _densenet.densenet121(len(self.labels))
        else:
            self.network = _densenet.small(shape[0], len(self.labels))
        if weights is not None:
            _densenet.load_imagenet(self.network, weights)  # a wrong file is refused before anything is fitted

    def _check(self) -> None:
        if not self.labels:
            raise InputError(
                "Classification needs findings", "the cohort has no labels", "Prepare a cohort with labels"
            )
        _fitting.check_positive({"images_seen": self.images_seen})
        if self.batch < 2:
            raise BadOption("Batch normalisation needs batches of 2 or more", f"batch={self.batch}", "Use a larger one")
        name = "densenet121" if self._large else "small"
        smallest = 1 if self.protocol != "recommended" else _SMALLEST_SIDE[name]
        if min(self.shape[1:]) < smallest:
            offender = f"they are {self.shape[1]}x{self.shape[2]}"
            raise InputError(f"Network '{name}' takes images of {smallest} px or more", offender, "Prepare larger ones")
        if self._large:
            _densenet.check_channels(self.shape[0])
        elif self.weights is not None:
            raise BadOption("ImageNet weights are those of densenet121", "network=small", "Add network=densenet121")
        if self.protocol != "recommended":
            self._check_protocol()

    def _check_protocol(self) -> None:
        known = options(type(self))
        for name in _TRAINING:
            if getattr(self, name) != known[name].default:
                rule = f"protocol={self.protocol} fixes every training value"
                raise BadOption(rule, f"{name}={getattr(self, name)}", f"Leave {name} out, or use protocol=recommended")

    @staticmethod
    def manifest(weights: Path | None) -> dict[str, Any]:
        """Return what a fit depends on besides options, data and seed."""
        if weights is None:
            return {"weights_sha256": None}
        if weights == _densenet.DOWNLOAD:
            return {"weights_sha256": _densenet.SHA256}
        if not weights.is_file():
            raise InputError("Weights are a file", f"{weights.name} is none", "Correct --weights densenet121=FILE")
        return {"weights_sha256": file_sha256(weights)}

    def fit(
        self,
        train_images: Array,
        train_targets: Array,
        val_images: Array,
        val_targets: Array,
        *,
        value_range: tuple[float, float],
        seed: int,
    ) -> list[dict[str, float]]:
        """Fit from new weights and return the log of every look at the validation images.

        A row has images_seen, train_loss, val_loss and val_auc, the mean over the findings that have both values
        (left out when none has). Deterministic given the seed, on one device and thread count.

        Args:
            train_images: (n, C, H, W) as stored.
            train_targets: (n, L) 0 or 1, NaN where unknown; L as `labels`.
            val_images: (m, C, H, W) as stored, of patients that are not trained on.
            val_targets: (m, L), as `train_targets`.
            value_range: Lowest and highest legal pixel.
            seed: Weights, order and augmentation derive from it.

        Raises:
            InputError: There are no training or no validation images, or none of them states a finding.
            Diverged: The loss is not finite.
        """
        _fitting.check_sets(train_images, val_images)
        train, val = (self._targets(targets) for targets in (train_targets, val_targets))
        self._restart(derive_seed(seed, "task weights"))
        run = self._recommended if self.protocol == "recommended" else self._study
        return run(_Data(train_images, train, val_images, val, value_range), seed)

    def _targets(self, targets: Array) -> npt.NDArray[np.float32]:
        own = np.asarray(targets, dtype=np.float32)
        if not np.isfinite(own).any():
            raise InputError("A classifier learns from stated findings", "every one is unknown", "Add labels")
        return own

    def _restart(self, seed: int) -> None:
        _fitting.restart(self.network, seed)
        if self.weights is not None:
            _densenet.load_imagenet(self.network, self.weights)
        elif self._large:
            _say_random()

    def _recommended(self, data: _Data, seed: int) -> list[dict[str, float]]:
        optimiser = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-4)

        def step(positions: Array, seen: int) -> Tensor:
            images = _fitting.pixels(self, data.train_images[positions], data.value_range)
            if self.augment:
                moves = _fitting.drawn_moves(images, derive_seed(seed, "task augmentation", seen))
                images = _fitting.moved(images, *moves)
            optimiser.param_groups[0]["lr"] = self.learning_rate * _fitting.schedule(seen / self.images_seen)
            return self._step(images, data.train_targets[positions], optimiser)

        return _fitting.best_of(
            self,
            _fitting.batches(len(data.train_images), self.batch, seed),
            step,
            lambda seen, losses: self._look(seen, losses, data.val_images, data.val_targets, data.value_range)[0],
            # Not by the AUC, which jumps with few positives.
            lambda row, best: row["val_loss"] < best["val_loss"],
            images_seen=self.images_seen,
            check_every=max(self.images_seen // _CHECKS, min(len(data.train_images), self.images_seen), 1),
            patience=self.patience_images,
        )

    def _study(self, data: _Data, seed: int) -> list[dict[str, float]]:
        code = self.protocol == "code"
        epochs = _study.Epochs(len(data.train_images), seed)
        optimiser, plateau = _study.optimiser_of(self)
        kept = _study.whole_batches(len(data.val_images)) if code else len(data.val_images)

        def step(positions: Array, seen: int) -> Tensor:
            images = _fitting.pixels(self, data.train_images[positions], data.value_range)
            if code:  # C22: the text does not mention the flip
                images = _study.flipped(images, derive_seed(seed, "task augmentation", seen))
            return self._step(images, data.train_targets[positions], optimiser)

        def look(seen: int, losses: list[Tensor]) -> dict[str, float]:
            row, values = self._look(seen, losses, data.val_images[:kept], data.val_targets[:kept], data.value_range)
            row["val_auc"] = _study.validation_auc(values, code=code)
            plateau.step(row["val_auc"])
            return row

        return _fitting.best_of(
            self,
            epochs,
            step,
            look,
            lambda row, best: row["val_auc"] > best["val_auc"],
            images_seen=epochs.total,
            check_every=epochs.images,
            patience=epochs.patience,
        )

    def _step(self, images: Tensor, targets: Array, optimiser: torch.optim.Optimizer) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss = masked_loss(self.train()._scores(images), torch.from_numpy(targets).to(images.device))
        loss.backward()
        optimiser.step()
        return loss.detach()

    def _look(
        self, images_seen: int, losses: list[Tensor], images: Array, targets: Array, value_range: tuple[float, float]
    ) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
        """Return one row of the log, and the validation AUC of each finding, NaN where it has one class only."""
        scores = torch.cat(list(self._chunks(images, value_range, self._scores)))
        row = {
            "images_seen": images_seen,
            "train_loss": float(torch.stack(losses).double().mean()),
            "val_loss": float(masked_loss(scores, torch.from_numpy(targets).to(scores.device))),
        }
        if not all(math.isfinite(value) for value in row.values()):
            raise Diverged(f"The task's loss is not finite after {images_seen} images: use a lower learning_rate")
        found = scores.float().cpu().numpy()
        values = np.array([auc(targets[:, place], found[:, place]) for place in range(targets.shape[1])])
        if np.isfinite(values).any():
            row["val_auc"] = float(np.nanmean(values))
        return row, values

    def predict(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return the probability of each of `labels`, (n, L) float32.

        Args:
            images: (n, C, H, W) as stored.
            value_range: Lowest and highest legal pixel.
        """
        found = [scores.sigmoid().float().cpu() for scores in self._chunks(images, value_range, self._scores)]
        return torch.cat(found).numpy() if found else np.empty((0, len(self.labels)), np.float32)

    @staticmethod
    def moved(images: Array, value_range: tuple[float, float], *, seed: int) -> Array:
        """Return stored images (n, C, H, W), each shifted, zoomed and dimmed a little, as `augment` does in a fit.

        Args:
            images: As stored.
            value_range: Lowest and highest legal pixel.
            seed: Decides the moves.
        """
        if len(images) == 0:
            return images
        units = torch.from_numpy(to_unit_range(images, value_range))
        changed = _fitting.moved(units, *_fitting.drawn_moves(units, seed))
        return from_unit_range(changed.numpy(), value_range, str(images.dtype))

    def features(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return what the head is given, averaged over all positions, (n, d) float32: the `task` feature space.

        d is 1024 for DenseNet-121.

        Args:
            images: (n, C, H, W) as stored.
            value_range: Lowest and highest legal pixel.
        """
        found = [pooled.float().cpu() for pooled in self._chunks(images, value_range, self._pooled)]
        return torch.cat(found).numpy() if found else np.empty((0, 0), np.float32)

    @property
    def maps(self) -> tuple[int, _occlusion.Form]:
        """Return the side of a tile of `importance`, and what its numbers are (see `_occlusion.attribution`).

        "recommended": 2 px, from 128 px on 4, signed. "paper": 2 px at 224 px, normalised. "code": 4 px, floored.
        """
        if self.protocol == "recommended":
            return (2 if min(self.shape[1:]) < _LARGE_SIDE else 4), "signed"
        return (2, "normalised") if self.protocol == "paper" else (4, "floored")

    def importance(self, image: Array, targets: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Return by how much hiding each tile of an image raises the loss against its findings, (rows, columns).

        A tile is hidden in what the network is given: there 0 is ImageNet's mean grey for DenseNet-121, middle grey for
        the small network.

        Args:
            image: (C, H, W) as stored.
            targets: (L,) 0 or 1, NaN where unknown; one at least is known.
            value_range: Lowest and highest legal pixel.
        """
        with torch.inference_mode():
            prepared = self._prepared(_fitting.pixels(self, image[None], value_range))[0]
        known = torch.from_numpy(np.asarray(targets, np.float32)).to(prepared.device)
        tile, form = self.maps
        increases = _occlusion.loss_increases(_folded.Folded(self.network), prepared, known, tile=tile)
        return _occlusion.attribution(increases, form)

    def _scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(self._prepared(images))
        return scores

    def _pooled(self, images: Tensor) -> Tensor:
        return _densenet.pooled(self.network, self._prepared(images))

    def _prepared(self, images: Tensor) -> Tensor:
        if self.protocol == "recommended":
            images = _densenet.imagenet_pixels(images) if self._large else images
        else:  # both resize to 224 px; the code does it as TensorFlow 1 did
            images = _densenet.imagenet_pixels(images, _densenet.SIDE, shifted=self.protocol == "code")
        return images.contiguous(memory_format=torch.channels_last)

    def _chunks(self, images: Array, value_range: tuple[float, float], network: Callable[[Tensor], Tensor]) -> Any:
        return _fitting.chunks(self, images, value_range, network, size=_LARGE_CHUNK if self._large else _CHUNK)


def masked_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of scores (B, L) before the sigmoid, averaged over the known targets."""
    known = torch.isfinite(targets)
    each = nn.functional.binary_cross_entropy_with_logits(scores, torch.nan_to_num(targets), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


@functools.cache
def _say_random() -> None:
    say("densenet121 starts from random weights: name ImageNet's with --weights densenet121=FILE, or =download")
