"""What can be watched while a run goes on: pictures of samples and TensorBoard event files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import runs
from ..nets.generator import Generator, Streams
from ..pictures import contact_sheet
from ..types import Array, Condition, from_unit_range
from ._update import averaged_state

GRID_SAMPLES = 16


def sample_sheet(model: Generator, averages: Mapping[str, nn.Module], seed: int, precision: str) -> Any:
    """Return a picture of samples of the averaged generator; the same latents every time."""
    shown = copy.deepcopy(model).eval()
    shown.load_state_dict(averaged_state(model, averages))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    streams = Streams([runs.derive_seed(seed, "grid", i) for i in range(GRID_SAMPLES)], device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        made = shown.sample(Condition(GRID_SAMPLES), streams)
    images = from_unit_range(made.images.float().cpu().numpy(), (0.0, 255.0), "uint8")
    masks = None if made.masks is None else made.masks.cpu().numpy().astype(np.uint8)
    return contact_sheet(images, masks, columns=8)


class EventWriter:
    """TensorBoard event files under RUN/events; nothing for a generator without steps."""

    def __init__(self, out: Path, seen: int, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "events"), purge_step=seen or None) if total else None

    def __enter__(self) -> EventWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close."""
        if self._writer:
            self._writer.close()

    def add_scalars(self, values: Mapping[str, float], images_seen: int) -> None:
        """Write each value under its name."""
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, images_seen)

    def add_image(self, image: Array, images_seen: int) -> None:
        """Write an (H, W, 3) uint8 picture."""
        if self._writer:
            self._writer.add_image("samples", image, images_seen, dataformats="HWC")
