"""The mean image of each combination of findings: its own where images are enough, otherwise a ridge regression's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..nets.generator import Fitted
from ..types import Array
from ._pca import BLOCK, IMAGES

ENOUGH = 16
"""Images that a combination needs for its own mean, whose standard error is then a quarter of the spread of its images.
Also the ridge: it halves the effect of a finding seen in that many of very many images."""


class LabelMeans(Fitted):
    """Means of (n, d) rows given 0/1 labels.

    Args:
        pixels: d, the length of a row.
        labels: L, the number of findings.
    """

    fitted: ClassVar[tuple[str, ...]] = ("combinations", "own")
    intercept: Tensor
    effects: Tensor
    combinations: Tensor
    own: Tensor

    def __init__(self, pixels: int, labels: int) -> None:
        super().__init__()
        self.register_buffer("intercept", torch.zeros(pixels))
        self.register_buffer("effects", torch.zeros(labels, pixels))
        self.register_buffer("combinations", torch.zeros(0, labels))
        self.register_buffer("own", torch.zeros(0, pixels))

    def fit(self, rows: Array, labels: Array) -> None:
        """Compute the means of rows (n, d) float32 with labels (n, L) 0/1."""
        known = labels.astype(np.float64)
        shares = known.mean(0)
        centred = known - shares
        inverse = np.linalg.inv(centred.T @ centred + ENOUGH * np.eye(len(shares)))
        blocks = [rows[:, start : start + BLOCK] for start in range(0, rows.shape[1], BLOCK)]
        effects = np.concatenate([inverse @ (centred.T @ block) for block in blocks], 1)
        mean = np.concatenate([block.mean(0, dtype=np.float64) for block in blocks])
        self.intercept, self.effects = _tensor(mean - shares @ effects), _tensor(effects)
        combinations, which, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        often = np.flatnonzero(counts >= ENOUGH)
        self.combinations = _tensor(combinations[often])
        means = [rows[which.ravel() == one].mean(0, dtype=np.float64) for one in often]
        self.own = _tensor(np.array(means).reshape(len(often), rows.shape[1]))

    def forward(self, labels: Tensor) -> Tensor:
        """Return the means (n, d) for labels (n, L) float32 0/1."""
        means = self.intercept + labels @ self.effects
        matches = (labels[:, None] == self.combinations).all(2)
        for position, match in enumerate(matches.T):
            means[match] = self.own[position]
        return means

    def subtract(self, rows: Array, labels: Array) -> None:
        """Take from each of (n, d) rows, in place, the mean that its labels (n, L) have."""
        for start in range(0, len(rows), IMAGES):
            some = slice(start, start + IMAGES)
            rows[some] -= self(torch.from_numpy(labels[some])).numpy()


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
