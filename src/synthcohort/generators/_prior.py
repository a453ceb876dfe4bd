"""What a Gaussian knows of the data: the posterior mean of an image given its noisy version on a straight path.

For x ~ N(mu, S) and x_t = t x + (1 - t) z with z ~ N(0, I), the posterior mean is
mu + t S (t^2 S + (1 - t)^2 I)^-1 (x_t - t mu). S has the leading principal components on a coarse grid and one variance
for everything else. Block means times the block side are orthonormal coordinates, so noise has unit spread on the grid.
Where there are labels, mu is what a ridge regression gives for them and S is what is left; where they are not told, mu
is the mean of all.

The directions are those of all data; how far the data spreads along them, and beside them, is measured on images that
the directions were not computed from. A Gaussian of a thousand images of sixty patients is otherwise too sure of the
next patient, and where there is little noise worse than none.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..nets.generator import Fitted
from ..types import Array
from ._label_means import ENOUGH
from ._pca import principal_components

GRID_SIDE = 32
FOLDS = 5
LEAST = 1e-6  # of the total variance: what lies beside the components at least


class GaussianPrior(Fitted):
    """Mean, leading components and rest variance of (channels, height, width) data.

    Args:
        channels: Channels of the data.
        height: Rows.
        width: Columns.
        components: Principal components kept.
        labels: Findings that the mean depends on.
    """

    fitted: ClassVar[tuple[str, ...]] = ("basis", "variances")
    mean: Tensor
    shares: Tensor
    effects: Tensor
    basis: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, channels: int, height: int, width: int, components: int, labels: int = 0) -> None:
        super().__init__()
        self.block = max(1, min(height, width) // GRID_SIDE)
        while height % self.block or width % self.block:
            self.block -= 1
        self.grid = (channels, height // self.block, width // self.block)
        coordinates = channels * self.grid[1] * self.grid[2]
        self.components = min(components, coordinates - 1)  # something is left for the rest variance
        self.register_buffer("mean", torch.zeros(coordinates))
        self.register_buffer("basis", torch.zeros(0, coordinates))
        self.register_buffer("variances", torch.zeros(0))
        self.register_buffer("rest", torch.ones(()))
        if labels:
            self.register_buffer("shares", torch.zeros(labels))
            self.register_buffer("effects", torch.zeros(labels, coordinates))

    def fit(self, data: Tensor, labels: Tensor | None = None) -> None:
        """Compute mean, components and rest variance of data (n, channels, height, width) with labels (n, L) 0/1."""
        if labels is not None:
            self.shares, self.effects = _effects(self._coordinates(data), labels)
            data = data - self._pixels((labels - self.shares) @ self.effects)
        found = principal_components(self._coordinates(data).numpy(), self.components)
        lengths = np.linalg.norm(found.factors, axis=1)
        variances, rest = self._spreads(data, len(lengths))
        self.mean = torch.from_numpy(found.mean.astype(np.float32))
        self.basis = torch.from_numpy((found.factors / lengths[:, None]).astype(np.float32))
        self.variances = torch.from_numpy(np.maximum(variances, rest).astype(np.float32))
        self.rest = torch.tensor(rest, dtype=torch.float32)

    def _spreads(self, data: Tensor, count: int) -> tuple[Array, float]:
        """Return the variance along the first `count` components, (count,), and the mean one beside them.

        Each part of the data, in its order, where a patient's images lie together, is measured against mean and
        components of the others.
        """
        along, total = np.zeros(count), 0.0
        for held in np.array_split(np.arange(len(data)), min(FOLDS, len(data))):
            others = torch.cat([data[: held[0]], data[held[-1] + 1 :]])
            found = principal_components(self._coordinates(others).numpy(), count)
            unit = found.factors / np.linalg.norm(found.factors, axis=1)[:, None]
            away = data[held[0] : held[-1] + 1] - self._pixels(torch.from_numpy(found.mean.astype(np.float32))[None])
            along[: len(unit)] += np.square(self._coordinates(away).numpy() @ unit.T).sum(0)
            total += float(away.square().sum(dtype=torch.float64))
        rest = max(total - along.sum(), LEAST * total) / (data[0].numel() - count)
        return along / len(data), rest / len(data)

    def means(self, told: Tensor | None) -> Tensor:
        """Return the mean on the grid, (1 or B, coordinates); `told` (B, L + 1) is labels and a 1, or all 0."""
        if told is None:
            return self.mean[None]
        return self.mean + (told[:, :-1] - told[:, -1:] * self.shares) @ self.effects

    def posterior(self, x_t: Tensor, time: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the posterior mean (B, C, H, W) of the data and its root mean square spread (B, 1, 1, 1).

        Args:
            x_t: (B, C, H, W) noisy data, float32.
            time: (B,) times in [0, 1); 0 is noise.
            told: (B, L + 1) labels and a 1, or all 0; None without labels.
        """
        with torch.autocast(x_t.device.type, enabled=False):
            t, noise, own = time[:, None], (1 - time[:, None]).square(), self.means(told)
            centred = self._coordinates(x_t) - t * own
            rest = t * self.rest / (t.square() * self.rest + noise)
            leading = t * self.variances / (t.square() * self.variances + noise)
            coarse = own + ((leading - rest) * (centred @ self.basis.T)) @ self.basis - rest * t * own
            # All that the components do not explain, fine detail included, shrinks by one factor.
            mean = self._pixels(coarse) + rest[:, :, None, None] * x_t
            pixels, known = x_t[0].numel(), len(self.variances)
            left = (self.variances * noise / (t.square() * self.variances + noise)).sum(1, keepdim=True)
            left = left + (pixels - known) * self.rest * noise / (t.square() * self.rest + noise)
        return mean, (left / pixels).sqrt()[:, :, None, None]

    def colour(self, white: Tensor, time: float, told: Tensor | None = None) -> Tensor:
        """Return t mu + (t^2 S + (1 - t)^2 I)^(1/2) white: noisy data, (B, C, H, W), of one time."""
        with torch.autocast(white.device.type, enabled=False):
            own = self.means(told)
        return time * self._pixels(own) + self.scaled(white, time, 0.5)

    def scaled(self, x: Tensor, time: float, power: float) -> Tensor:
        """Return (t^2 S + (1 - t)^2 I)^power x for (B, C, H, W) x and one time."""
        with torch.autocast(x.device.type, enabled=False):
            noise = (1 - time) ** 2
            rest = (time**2 * self.rest + noise) ** power
            leading = (time**2 * self.variances + noise) ** power
            return rest * x + self._pixels(((leading - rest) * (self._coordinates(x) @ self.basis.T)) @ self.basis)

    def _coordinates(self, data: Tensor) -> Tensor:
        return (functional.avg_pool2d(data, self.block) * self.block).flatten(1)

    def _pixels(self, coordinates: Tensor) -> Tensor:
        coarse = coordinates.view(len(coordinates), *self.grid) / self.block
        return coarse.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)


def _effects(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share (L,) of images with each finding, and what each adds to rows (n, d), (L, d)."""
    known, values = labels.numpy().astype(np.float64), rows.numpy().astype(np.float64)
    centred = known - known.mean(0)
    solved = np.linalg.solve(centred.T @ centred + ENOUGH * np.eye(known.shape[1]), centred.T @ values)
    return torch.from_numpy(known.mean(0).astype(np.float32)), torch.from_numpy(solved.astype(np.float32))
