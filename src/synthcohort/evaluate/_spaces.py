"""Feature spaces: which are used, and features cached by the content they were taken from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..errors import BadOption, InputError, Mismatch, writing
from ..extractors.pixels import SIZE, area_weights
from ..runs import fingerprint, write_atomic
from ..types import Array, Features
from ._clock import Clock
from ._jobs import Fitted
from ._sets import ImageSet

PIXELS, ALIGNED, TASK, MASKS = "pixels", "aligned", "task", "masks"
FEATURES = "features"
"""The stage in which images are put into a space."""


DECIDING = (PIXELS, ALIGNED)
"""An image is a copy when one of these says so: fixed before any was judged. Their rates of false alarms add up."""
FEWEST_UNSEEN = 99
"""Below that, the largest of their similarities is exceeded by more than 1 % of other images."""


class TaskSpace:
    """The bottleneck of a network that was fitted on the real training images, as an extractor."""

    def __init__(self, fitted: Fitted, revision: int) -> None:
        self.name = f"{TASK}-{fitted.fingerprint[:8]}"
        self._task, self._manifest = fitted.task, {"extractor": TASK, "revision": revision, "fit": fitted.fingerprint}

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return self._manifest

    def extract(self, images: Array, value_range: tuple[float, float]) -> Array:
        """Return (n, d) float32 features of images (n, C, H, W) as stored."""
        features: Array = self._task.features(images, value_range)
        return features


class AlignedSpace:
    """Small pixels under another name, by which the metric knows to search them by registration."""

    name = ALIGNED

    def extract(self, images: Array, value_range: tuple[float, float]) -> Array:
        """Return (n, C, 32, 32) float32 small pixels of images (n, C, H, W) as stored."""
        small: Array = plugins.find("extractors", PIXELS)().extract(images, value_range)
        return small


def aligned(unseen: int, notes: list[str]) -> dict[str, Any]:
    """Return the space that is searched by registration, by name, or nothing, with a note on why.

    Args:
        unseen: Images of patients that nothing was trained on: its threshold is read from them.
        notes: Of the evaluation.
    """
    if unseen >= FEWEST_UNSEEN:
        return {ALIGNED: AlignedSpace()}
    notes.append(
        f"Altered copies were not searched for by registration: its threshold takes {FEWEST_UNSEEN} images of patients "
        f"that nothing was trained on, and there are {unseen}."
    )
    return {}


def decided(verdicts: Mapping[str, Any], count: int) -> Sequence[bool | None]:
    """Return for each of `count` images whether a space that decides took it for a copy; None where none judged it."""
    judged = [verdicts[space].copy for space in DECIDING if space in verdicts]
    return [bool(copy) for copy in np.logical_or.reduce(judged)] if judged else [None] * count


class FeatureCache:
    """Features by content: the set's key and the extractor's manifest.

    Args:
        folder: Where arrays are kept.
        value_range: Lowest and highest legal pixel.
        clock: Counts what extraction takes.
    """

    def __init__(self, folder: Path, value_range: tuple[float, float], clock: Clock | None = None) -> None:
        self._folder, self._value_range, self._clock = folder, value_range, clock or Clock()

    def features(self, images: ImageSet, extractor: Any) -> Features:
        """Return a set in a feature space."""
        with self._clock.stage(FEATURES):
            return Features(self._values(images, extractor), images.patients, extractor.name)

    def _values(self, images: ImageSet, extractor: Any) -> Array:
        if extractor.name in (PIXELS, ALIGNED):  # small images: real ones are kept in no other folder than pairs/
            small: Array = extractor.extract(images.images, self._value_range)
            return small
        key = fingerprint({"images": images.key, "extractor": extractor.manifest()})
        path = self._folder / f"{key[:32]}.npy"
        if path.exists():
            return _load(path)
        values: Array = extractor.extract(images.images, self._value_range)
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
        return values


def mask_features(images: ImageSet, classes: int) -> Features:
    """Return (n, classes - 1, 32, 32) float32: how much of each place is of each class but the background.

    They are kept nowhere: small masks are masks.
    """
    assert images.masks is not None, "masks are compared where both cohorts have them"
    rows, columns = (area_weights(side, SIZE).astype(np.float32) for side in images.masks.shape[1:])
    foreground = np.arange(1, classes)[:, None, None]
    shares = np.empty((len(images), classes - 1, SIZE, SIZE), np.float32)
    for place, mask in enumerate(images.masks):
        shares[place] = rows @ (mask == foreground).astype(np.float32) @ columns.T
    return Features(shares, images.patients, MASKS)


def _load(path: Path) -> Array:
    try:
        values: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Mismatch("Cached features are a readable .npy array", str(path), "Remove the file") from error
    return values


def chosen(
    names: Sequence[str] | None, weights: Mapping[str, Path], *, task: bool
) -> tuple[dict[str, Any], bool, list[str]]:
    """Return the extractors that have weights by name, whether the task space is used, and which were skipped.

    Args:
        names: What the user asked for; None for the task space and every extractor that needs no weights or has them.
        weights: Extractor -> file.
        task: Whether a task is fitted, without which there is no task space.

    Raises:
        UnknownName: There is no such extractor.
        InputError: Weights are missing, or given for an extractor that is not used, or "task" is asked without a task.
    """
    known = [name for name in plugins.names("extractors") if name != PIXELS]
    for name in weights:
        plugins.find("extractors", name)
    if names is None:
        used = [name for name in dict.fromkeys((*known, *weights)) if name in weights or not _takes_weights(name)]
        task_space = task
    else:
        used, task_space = [name for name in names if name not in (TASK, PIXELS)], TASK in names
    idle = [name for name in weights if name not in used]
    if idle:
        raise BadOption(
            "Weights are given for an extractor that is used", f"'{idle[0]}' is not", "Name it in --extractors"
        )
    if task_space and not task:
        raise InputError("The task space needs a task", "no task is fitted here", "Leave task out of --extractors")
    found = {name: plugins.find("extractors", name)(weights=weights.get(name)) for name in used}
    return found, task_space, [name for name in known if name not in used] if names is None else []


def _takes_weights(name: str) -> bool:
    return bool(getattr(plugins.find("extractors", name), "WEIGHTS", True))
