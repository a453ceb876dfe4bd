"""Checkpoints: everything a resumed run needs, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import runs
from ..errors import Mismatch
from ..nets.generator import Generator


def save_checkpoint(
    path: Path,
    config: runs.Config,
    seen: int,
    model: Generator,
    averages: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write everything a resumed run needs: weights, buffers, averages and optimiser states."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for name, module in averages.items():
        tensors.update({f"average.{name}.{key}": value for key, value in module.state_dict().items()})
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{name}.{index}.{key}": torch.as_tensor(v) for key, v in state.items()})
    runs.save_tensors(path, tensors, config, images_seen=seen)


def load_checkpoint(
    path: Path,
    config: runs.Config,
    model: Generator,
    averages: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> int:
    """Restore what `save_checkpoint` wrote and return the images seen.

    Raises:
        Mismatch: The file is damaged or of another run.
    """
    tensors, stored, facts = runs.load_tensors(path)
    if runs.canonical_json(stored) != runs.canonical_json(config):
        raise Mismatch("A checkpoint belongs to its run", str(path), "Remove it to start over")
    try:
        model.load_state_dict(_below(tensors, "model."))
        for name, module in averages.items():
            module.load_state_dict(_below(tensors, f"average.{name}."))
        for name, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(tensors, f"optimiser.{name}.").items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
            _match_memory(optimiser)
        return int(facts["images_seen"])
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise Mismatch("A checkpoint fits the network of its run", str(path), "Remove it to start over") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _match_memory(optimiser: torch.optim.Optimizer) -> None:
    """Give each moment the memory format of its parameter; files hold contiguous tensors."""
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)
