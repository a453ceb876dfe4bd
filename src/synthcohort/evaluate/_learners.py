"""What can be fitted to images and tested on patients beside the task itself: the probe, and the task on mixed images.

A second learner of another kind keeps a conclusion from being that of one network. For findings it is a ridge-penalised
logistic regression on stored features that know nothing of these images; for masks, where features of whole images do
not say which pixel is what, a U-Net of half the width that sees a quarter of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed, fingerprint
from ..types import Array
from . import _auc, _dice, _linear
from ._jobs import Jobs
from ._sets import ImageSet, joined
from ._spaces import FeatureCache
from ._utility import Outcome

Rows = npt.NDArray[np.int64]
LINEAR = "linear"
FIRST_SPACES = ("dinov2", "inception", "squeezenet", "texture")
"""Whose features the probe takes, the best first; none of them was learnt on these images."""


@dataclass(frozen=True)
class Part:
    """Training images: some rows of a set, or all of it."""

    images: ImageSet
    rows: Rows | None = None

    @property
    def taken(self) -> ImageSet:
        """Return the images themselves."""
        return self.images if self.rows is None else self.images.take(self.rows)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images) if self.rows is None else len(self.rows)


class Learner(Protocol):
    """Something that learns from images what the task learns."""

    metric: str

    def said(
        self, train: Sequence[Part], val: ImageSet, tested: Mapping[str, ImageSet], *, seed: int
    ) -> dict[str, Array]:
        """Return what it says of every set after learning from `train`, stopped or selected by `val`."""

    def outcome(self, on: ImageSet, said: Sequence[Array]) -> Outcome:
        """Return what that is worth, for the predictions of one fit or of several seeds."""

    def moved(self, real: ImageSet, count: int, *, seed: int) -> list[Part]:
        """Return `count` classically augmented copies to train on; none where every batch is augmented anyway."""


class LinearProbe:
    """Logistic regression on features.

    Args:
        cache: Of features.
        extractor: The feature space.
        task: The task's class, which knows how its images may be moved.
        value_range: Lowest and highest legal pixel.
        counted: (L,) bool, the findings that are scored.
        seed: Decides the bootstrap draws.
    """

    metric = _auc.AUC

    def __init__(
        self,
        cache: FeatureCache,
        extractor: Any,
        task: Any,
        value_range: tuple[float, float],
        counted: Array,
        *,
        seed: int,
    ) -> None:
        self._cache, self._extractor, self._task, self._range = cache, extractor, task, value_range
        self._counted, self._seed = counted, seed

    def said(
        self, train: Sequence[Part], val: ImageSet, tested: Mapping[str, ImageSet], *, seed: int
    ) -> dict[str, Array]:
        """Return (n, L) probabilities; the seed changes nothing."""
        features = np.concatenate([self._features(part.images)[_all(part.rows)] for part in train])
        labels = np.concatenate([part.images.labels[_all(part.rows)] for part in train])
        fit = _linear.fitted(features, labels, self._features(val), val.labels)
        return {where: fit.predict(self._features(images)) for where, images in tested.items()}

    def outcome(self, on: ImageSet, said: Sequence[Array]) -> Outcome:
        """Return AUCs."""
        return _auc.outcome(on, np.stack(said), self._counted, seed=self._seed)

    def moved(self, real: ImageSet, count: int, *, seed: int) -> list[Part]:
        """Return augmented copies of images drawn round by round."""
        chosen = np.arange(count) % len(real)
        images = self._task.moved(real.images[chosen], self._range, seed=derive_seed(seed, "moved copies"))
        key = fingerprint({"moved": real.key, "count": count, "seed": seed, "task": self._task.REVISION})
        return [Part(replace(real.take(chosen, "moved copies"), images=images, key=key))]

    def _features(self, images: ImageSet) -> Array:
        return self._cache.features(images, self._extractor).values


def _all(rows: Rows | None) -> Any:
    return slice(None) if rows is None else rows


class Network:
    """The task, or a smaller one of its kind.

    Args:
        jobs: Its fits.
        needs: "masks" or "labels".
        facts: Value range and classes.
        counted: (L,) bool, the findings that are scored; not used for masks.
        seed: Decides the bootstrap draws.
    """

    def __init__(self, jobs: Jobs, needs: str, facts: Any, counted: Array, *, seed: int) -> None:
        self._jobs, self._needs, self._facts, self._counted, self._seed = jobs, needs, facts, counted, seed
        self.metric = _dice.VOLUME if needs == "masks" else _auc.AUC

    def said(
        self, train: Sequence[Part], val: ImageSet, tested: Mapping[str, ImageSet], *, seed: int
    ) -> dict[str, Array]:
        """Return masks (n, H, W) or probabilities (n, L); the fit is stored and shared."""
        parts = [part.taken for part in train if len(part)]
        task = self._jobs.fitted(parts[0] if len(parts) == 1 else joined(*parts), val, seed=seed).task
        return {where: task.predict(images.images, self._facts.value_range) for where, images in tested.items()}

    def outcome(self, on: ImageSet, said: Sequence[Array]) -> Outcome:
        """Return Dice by volume, or AUCs."""
        if self._needs == "labels":
            return _auc.outcome(on, np.stack(said).astype(np.float64), self._counted, seed=self._seed)
        sums = _dice.tally(on, said, len(self._facts.mask_classes), volumes=True)
        return _dice.outcome(sums, self._seed)

    def moved(self, real: ImageSet, count: int, *, seed: int) -> list[Part]:
        """Return nothing: every batch is augmented where classical augmentation is asked for."""
        return []


def smaller(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the U-Net probe: half the width, a quarter of the images, twice the rate."""
    return {
        **options,
        "width": max(options["width"] // 2, 4),
        "images_seen": max(options["images_seen"] // 4, 1),
        "patience_images": max(options["patience_images"] // 4, 1),
        "learning_rate": 2 * options["learning_rate"],
    }
