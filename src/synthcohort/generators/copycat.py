"""Control: training images with a small jitter. Looks perfect and copies every patient; any audit must say so."""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.generator import Streams
from ..types import Condition, Generated
from ._stored import StoredImages

SHIFT = 1 / 32  # of the side, each axis
GAIN, OFFSET, NOISE = 0.05, 0.03, 0.01  # of the intensity range; the noise is a standard deviation


class Generator(StoredImages):
    """Each sample is a random training image, shifted with its mask, its intensities rescaled and noise added."""

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return jittered training images; a label stays what it was."""
        kept = self.stored(rng.integers(len(self.images)))
        rows, columns = (self._reflected(side, rng.uniform()) for side in self.shape[1:])
        each = torch.arange(condition.count, device=kept.images.device)
        where = (each[:, None, None], rows[:, :, None], columns[:, None, :])
        images = kept.images.movedim(1, -1)[where].movedim(-1, 1)
        masks = None if kept.masks is None else kept.masks[where]

        gain, offset = (2 * rng.uniform(2, 1, 1, 1) - 1).unbind(1)
        unit = (images + 1) / 2 * (1 + GAIN * gain) + OFFSET * offset + NOISE * rng.normal(*self.shape)
        return Generated((unit * 2 - 1).clamp(-1, 1), masks, kept.labels)

    @staticmethod
    def _reflected(side: int, draw: Tensor) -> Tensor:
        """Return (B, side) source positions of an axis shifted by up to `SHIFT`, mirrored at both ends."""
        most = max(1, int(side * SHIFT))
        shift = (draw * (2 * most + 1)).long() - most
        position = (torch.arange(side, device=draw.device) + shift[:, None]).abs()
        return side - 1 - (side - 1 - position).abs()
