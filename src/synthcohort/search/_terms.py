"""What is the same for every trial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Sampler = Literal["tpe", "random"]


@dataclass(frozen=True)
class Terms:
    """What is the same for every trial.

    Attributes:
        sampler: "tpe" (learns from the trials so far) or "random".
        prune: Whether a trial that is worse than the middle of the others so far is given up.
        images_seen: Training images.
        batch: Images per training step.
        looks: How often the distance is measured; the smallest counts.
        against: "val" (validation patients) or "train" (training images, as in study 000).
        n: Images compared at most.
        extractor: Feature space of the distance.
        precision: See `train`.
        device: See `train`.
        weights: Extractor -> file of its weights.
    """

    sampler: Sampler = "tpe"
    prune: bool = True
    images_seen: int = 100_000
    batch: int = 64
    looks: int = 5
    against: Literal["val", "train"] = "val"
    n: int = 2000
    extractor: str = "texture"
    precision: str = "auto"
    device: str = "auto"
    weights: Mapping[str, Path] = field(default_factory=dict)

    def stop(self) -> dict[str, Any]:
        """Return when to look, as `train` takes it; no trial ends before its images are seen."""
        look = {"every": max(1, self.images_seen // self.looks), "patience": self.images_seen}
        return {**look, "against": self.against, "n": self.n, "extractor": self.extractor}


DEFAULTS = Terms()
