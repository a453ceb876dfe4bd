"""The nouns that every room shares: shapes, value ranges, records, batches, conditions and scores.

Axis order and ranges, said once:
    image   (C, H, W); on disk uint8 or uint16, in a network float32 in [-1, 1]
    mask    (H, W) uint8 class index; in a network int64; one-hot channels only inside a generator
    label   (L,) 0, 1 or unknown (None on disk, NaN in arrays)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "val", "test", "reference")

Array = npt.NDArray[Any]
Role = Literal["subject", "ceiling", "bad"]
Better = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Record:
    """One image as a source yields it, in native units.

    Attributes:
        patient: Source id of the patient; never written to disk.
        group: Source id of the volume or study the image belongs to; never written to disk.
        image: (C, H, W) float32 or integer array in native units (HU, scanner units, grey level).
        mask: (H, W) uint8 class index, or None.
        labels: Finding name -> 0, 1 or None (unknown).
        attributes: Further facts, e.g. {"phase": "ED"}; become columns attr.<name>.
        slice_index: Position in the group: any whole number from 0 that is there once; a cohort holds its rank.
        spacing_mm: (y, x) pixel spacing in millimetres, or None when unknown.
        stratum: What splits are balanced over, e.g. the disease group.
        volume_range: (low, high) intensities of the whole volume, for per-volume scaling; None for single images.
        window: (centre, width) of the first display window that the header states, in units of `image`; None without.
        split: What the download calls it: "train", "val", "test", or "" where it has no split.
        burned_in: Whether the header says that text is burned into the pixels.
        stack: Whether it is one of many slices of a volume; text is on all of them, so it is looked for in some.
    """

    patient: str
    group: str
    image: Array
    mask: Array | None = None
    labels: Mapping[str, int | None] = field(default_factory=dict)
    attributes: Mapping[str, str | float | int] = field(default_factory=dict)
    slice_index: int = 0
    spacing_mm: tuple[float, float] | None = None
    stratum: str = ""
    volume_range: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    split: str = ""
    burned_in: bool = False
    stack: bool = False


@dataclass(frozen=True)
class LeftOut:
    """Images that a source found and does not yield.

    Attributes:
        reason: Why, in words that name no patient and no file, e.g. "no PatientID".
        count: How many.
    """

    reason: str
    count: int = 1


@dataclass(frozen=True)
class Batch:
    """What a generator's `step` is given.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1].
        masks: (B, H, W) int64 class index, or None.
        labels: (B, L) float32 0/1, unknown ones 0; None when the cohort has none.
        positions: (B,) int64 position of each sample in the training data.
    """

    images: torch.Tensor
    masks: torch.Tensor | None
    labels: torch.Tensor | None
    positions: torch.Tensor


@dataclass(frozen=True)
class Condition:
    """What a generator is asked for: `count` samples, with labels (B, L) or masks (B, H, W) where it accepts them.

    `first` is the index of the first sample, for a generator that serves stored images in order.
    """

    count: int
    first: int = 0
    labels: torch.Tensor | None = None
    masks: torch.Tensor | None = None


@dataclass(frozen=True)
class Generated:
    """What a generator's `sample` returns.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1].
        masks: (B, H, W) int64 class index, or None.
        labels: (B, L) float32 0/1 where the generator itself decides them, as a control that serves stored images does;
            None where samples carry the labels that were asked for, or none.
    """

    images: torch.Tensor
    masks: torch.Tensor | None = None
    labels: torch.Tensor | None = None


@dataclass(frozen=True)
class Clock:
    """Where training stands. Growth, fades, schedules and critic cadence depend on nothing else.

    Attributes:
        step: Batches seen so far.
        images_seen: Training images seen so far, repeats counted.
        images_total: Images seen when training ends.
    """

    step: int
    images_seen: int
    images_total: int

    @property
    def fraction(self) -> float:
        """Return how much of the training is done, 0 to 1."""
        return self.images_seen / self.images_total


class Update(Protocol):
    """Backpropagates `loss`, checks it, averages gradients and steps the optimiser called `name` at rate `lr`."""

    def __call__(self, name: str, loss: torch.Tensor, *, lr: float | None = None) -> None:
        """Make one optimiser step."""


@dataclass(frozen=True)
class Features:
    """One set of images in one feature space, or as pixels.

    Attributes:
        values: (n, d) float features, or (n, C, H, W) pixels.
        patients: (n,) patient of each row; rows of one patient are never treated as independent.
        name: Extractor or space the values live in.
    """

    values: Array
    patients: Array
    name: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)


@dataclass(frozen=True)
class Samples:
    """One set of samples as they are stored.

    Attributes:
        images: (n, C, H, W) integer, within `value_range`.
        masks: (n, H, W) uint8 class index, or None.
        labels: (n, L) 0, 1 or NaN for unknown; L may be 0.
        patients: (n,) patient of each sample.
        value_range: Lowest and highest legal pixel.
        mask_classes: Class names by index, background first; empty without masks.
        label_names: L finding names.
    """

    images: Array
    masks: Array | None
    labels: Array
    patients: Array
    value_range: tuple[float, float]
    mask_classes: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.images)


@dataclass(frozen=True)
class Value:
    """One number that a metric returns, with its 95 % interval when there is a valid one."""

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    better: Better = "none"
    label: str = ""
    status: Literal["ok", "not_estimable"] = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Score:
    """A `Value` in its context: one line of scores.jsonl.

    Attributes:
        comparison_id: Same for a subject and its ceiling and bad rows.
        role: subject, ceiling (real against reference patients) or bad (a control known to be bad).
        subject: What was scored, e.g. the generator's name.
        arm: Trained on -> tested on, e.g. "synthetic->real"; or "image" for distances between sets.
        n_real: Real images compared.
        n_synthetic: Images of the subject compared.
        extractor: Feature space, with a digest of its weights; "" where none is used.
    """

    comparison_id: str
    role: Role
    metric: str
    subject: str
    arm: str
    label: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    better: Better
    n_real: int
    n_synthetic: int
    extractor: str
    pixels_sha256: str
    seed: int
    status: Literal["ok", "not_estimable"]
    reason: str
    seconds: float
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON-ready types."""
        return asdict(self)


def to_unit_range(images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Return stored pixels as float32 in [-1, 1].

    Args:
        images: Any shape, integer, within `value_range`.
        value_range: (low, high) of the stored type, e.g. (0, 255).
    """
    low, high = value_range
    unit = images.astype(np.float32)
    if low:
        unit -= np.float32(low)
    unit *= np.float32(2 / (high - low))  # in place: a batch is read and written once less with each
    unit -= np.float32(1)
    return unit


def from_unit_range(images: Array, value_range: tuple[float, float], dtype: str) -> Array:
    """Return float images in [-1, 1] as stored pixels: scaled, rounded to nearest, saturated."""
    low, high = value_range
    scaled = np.rint((images.astype(np.float64) + 1) / 2 * (high - low) + low)
    return np.clip(scaled, low, high).astype(dtype)
