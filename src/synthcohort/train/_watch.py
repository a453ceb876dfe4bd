"""What can be watched while a run goes on: pictures of samples and TensorBoard event files."""

from __future__ import annotations

import copy
import time
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


def sample_sheet(
    model: Generator, averages: Mapping[str, nn.Module], labels: Array | None, seed: int, precision: str
) -> Any:
    """Return a picture of samples of the averaged generator; the same latents and training labels every time."""
    shown = copy.deepcopy(model).eval()
    shown.load_state_dict(averaged_state(model, averages))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    streams = Streams([runs.derive_seed(seed, "grid", i) for i in range(GRID_SAMPLES)], device)
    asked = None
    if model.conditional and labels is not None:
        rng = np.random.default_rng(runs.derive_seed(seed, "grid labels"))
        asked = torch.from_numpy(labels[rng.integers(len(labels), size=GRID_SAMPLES)]).to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        made = shown.sample(Condition(GRID_SAMPLES, labels=asked), streams)
    images = from_unit_range(made.images.float().cpu().numpy(), (0.0, 255.0), "uint8")
    masks = None if made.masks is None else made.masks.cpu().numpy().astype(np.uint8)
    return contact_sheet(images, masks, columns=8)


class EventWriter:
    """TensorBoard event files under RUN/events; nothing for a generator without steps.

    TensorBoard's own writer puts the host's name into the name of the file, and writes in a thread where a full disk
    goes unseen.
    """

    def __init__(self, out: Path, seen: int, total: int) -> None:
        self._records = None
        if not total:
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        # TensorBoard reads the files in the order of their names.
        path = out / "events" / f"events.out.tfevents.{time.time_ns()}"
        path.parent.mkdir(exist_ok=True)
        self._records, self._event = RecordWriter(path.open("xb", buffering=0)), Event
        self._add(0, file_version="brain.Event:2")
        if seen:  # what a killed run wrote after its checkpoint is dropped, from the step given here on
            self._add(seen + 1, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> EventWriter:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close."""
        if self._records:
            self._records.close()

    def add_scalars(self, values: Mapping[str, float], images_seen: int) -> None:
        """Write each value under its name."""
        if self._records:
            from torch.utils.tensorboard.summary import scalar

            for name, value in values.items():
                self._add(images_seen, summary=scalar(name, value))

    def add_image(self, image: Array, images_seen: int) -> None:
        """Write an (H, W, 3) uint8 picture."""
        if self._records:
            from torch.utils.tensorboard import summary

            self._add(images_seen, summary=summary.image("samples", image, dataformats="HWC"))

    def _add(self, step: int, **content: Any) -> None:
        assert self._records is not None
        self._records.write(self._event(wall_time=time.time(), step=step, **content).SerializeToString())
