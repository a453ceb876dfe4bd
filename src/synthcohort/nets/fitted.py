"""Buffers whose size depends on the training data."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """A module whose buffers named in `fitted` take their shape from the state that is loaded."""

    fitted: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        for name in self.fitted:
            if prefix + name in state_dict:
                stored = state_dict[prefix + name]
                current = getattr(self, name)
                device = stored.device if current is None else current.device
                self.register_buffer(name, torch.empty_like(stored, device=device))
        super()._load_from_state_dict(state_dict, prefix, *args)
