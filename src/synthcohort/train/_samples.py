"""Samples of a generator in training: of its averaged weights, the same latents and training labels every time."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from .. import runs
from ..nets.generator import Generator, Streams
from ..types import Array, Condition
from ._update import averaged_state

CHUNK = 64


def averaged_model(model: Generator, averages: Mapping[str, nn.Module]) -> Generator:
    """Return a copy of the generator with its averaged weights, ready to sample."""
    shown = copy.deepcopy(model).eval()
    shown.load_state_dict(averaged_state(model, averages))
    return shown


def draw(
    shown: Generator, count: int, labels: Array | None, *, seed: int, purpose: str, precision: str
) -> tuple[Array, Array | None]:
    """Return images (count, C, H, W) float32 in [-1, 1] and masks (count, H, W) uint8 or None.

    Args:
        shown: The generator.
        count: How many.
        labels: (N, L) labels to ask for, taken from the top and again from there; None for an unconditional one.
        seed: Run seed.
        purpose: Samples of another purpose have other latents.
        precision: "fp32" or "bf16".
    """
    device = next((tensor.device for tensor in shown.state_dict().values()), torch.device("cpu"))
    images, masks = [], []
    for first in range(0, count, CHUNK):
        rows = np.arange(first, first + min(CHUNK, count - first))
        asked = None
        if shown.conditional and labels is not None:
            asked = torch.from_numpy(labels[rows % len(labels)]).to(device)
        streams = Streams([runs.derive_seed(seed, purpose, int(row)) for row in rows], device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            made = shown.sample(Condition(len(rows), first=first, labels=asked), streams)
        images.append(made.images.float().cpu().numpy())
        masks.append(None if made.masks is None else made.masks.cpu().numpy().astype(np.uint8))
    known = [mask for mask in masks if mask is not None]
    return np.concatenate(images), np.concatenate(known) if known else None
