"""Control: serves images of patients that nothing else uses. The best that any generator could do."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..nets.generator import Streams
from ..types import Condition, Generated
from ._stored import StoredImages


class Generator(StoredImages):
    """Sample i is stored image i; after the last one the first is served again.

    The sampling seed changes nothing: drawing at random would repeat images while others are left out.
    """

    SPLIT: ClassVar[str] = "reference"

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        """Return the stored images from `condition.first` on, unchanged, with their masks and labels."""
        indices = torch.arange(condition.first, condition.first + condition.count, device=self.images.device)
        return self.stored(indices % len(self.images))
