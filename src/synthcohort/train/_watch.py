"""What can be watched while a run goes on: pictures of samples and TensorBoard event files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .. import runs
from ..nets.generator import Generator
from ..pictures import contact_sheet, loss_curves, png_bytes
from ..types import Array, from_unit_range
from ._samples import averaged_model, draw

GRID_SAMPLES = 16


class Reports:
    """What is written while a run goes on: a row of losses, curves, events, now and then a picture of samples.

    Args:
        out: The run folder.
        log: Its log.
        config: The run's config.
        labels: (N, L) labels of the training images, or None.
        pictures: Whether samples are shown; not those of a control, which are real images, or nearly.
        seen: Images seen when training goes on.
    """

    def __init__(
        self, out: Path, log: runs.RowLog, config: runs.Config, labels: Array | None, *, pictures: bool, seen: int
    ) -> None:
        self._out, self._log, self._config, self._pictures = out, log, config, pictures
        self._total, self._resumed, self._started = config["images_seen"], seen, time.monotonic()
        self._events = EventWriter(out, seen, self._total)
        rng = np.random.default_rng(runs.derive_seed(config["seed"], "grid labels"))
        self._labels = None if labels is None else labels[rng.integers(len(labels), size=GRID_SAMPLES)]

    def __enter__(self) -> Reports:
        """Return the reports."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the event files."""
        self._events.close()

    def write(self, seen: int, losses: Mapping[str, float]) -> None:
        """Write the mean losses since the last report."""
        rate = round((seen - self._resumed) / (time.monotonic() - self._started), 1)
        self._log.append([{"images_seen": seen, **losses}])
        self._events.add_scalars({**losses, "images_per_second": rate}, seen)

    def show(self, seen: int, model: Generator, averages: Mapping[str, nn.Module]) -> None:
        """Write the curves and a picture of samples of the averaged weights."""
        runs.write_atomic(self._out / "losses.svg", loss_curves(self._log.rows()))
        if self._pictures:
            sheet = self._sheet(averaged_model(model, averages))
            runs.write_atomic(self._out / f"samples-{seen:09d}.png", png_bytes(sheet))
            self._events.add_image(np.asarray(sheet), seen)

    def _sheet(self, shown: Generator) -> Any:
        seed, precision = self._config["seed"], self._config["precision"]
        made, masks = draw(shown, GRID_SAMPLES, self._labels, seed=seed, purpose="grid", precision=precision)
        return contact_sheet(from_unit_range(made, (0.0, 255.0), "uint8"), masks, columns=8)


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

    def close(self) -> None:
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
