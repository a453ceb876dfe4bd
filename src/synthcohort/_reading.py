"""A source's parts read and conformed on all cores, in order, with a bounded number of them in memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from ._burned_in import has_text
from ._pixels import Rules, conform
from .errors import BadSource, WorkerKilled
from .runs import derive_seed, sha256
from .source import Source
from .types import Array, LeftOut, Record

DAMAGED, EMPTY = "damaged or unreadable", "no foreground"
_PARTS_PER_TASK, _LEAST_TASKS, _TASKS_PER_WORKER, _ASKED_FOR_TEXT = 16, 64, 3, 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One image as it is kept until it is known whether, and where, it goes into the cohort.

    Attributes:
        pixels: SHA-256 of the prepared pixels, "" for a constant image: many of those are alike by chance.
        labels: 0, 1 or None, in the order of the source's findings.
        image: (C, size, size) of the cohort's type.
        mask: (size, size) uint8, or None.
        text: Whether the header or the pixels say that text is burned in; None where the pixels were not asked.
    """

    patient: str
    group: str
    slice_index: int
    stratum: str
    split: str
    pixels: str
    labels: tuple[int | None, ...]
    attributes: tuple[tuple[str, str | float | int], ...]
    spacing: tuple[float, float]
    text: bool | None
    image: Array
    mask: Array | None


@dataclass(frozen=True)
class Work:
    """What a worker needs to know.

    Attributes:
        source: The opened source.
        rules: How pixels are made.
        skip_damaged: Whether a part that cannot be read is left out instead of ending everything.
        empty_slices: Probability that a slice without foreground stays.
        seed: Of that choice.
    """

    source: Source
    rules: Rules
    skip_damaged: bool
    empty_slices: float
    seed: int

    def read(self, parts: Sequence[Any]) -> list[Sample | LeftOut]:
        """Return the samples of some parts, in order, and what is left out of them.

        Raises:
            BadSource: A part is damaged and damaged ones are not skipped.
        """
        found: list[Sample | LeftOut] = []
        for part in parts:
            try:
                found += [self._made(item) for item in self.source.read(part)]
            except BadSource:
                if not self.skip_damaged:
                    raise
                found.append(LeftOut(DAMAGED))
        return found

    def _made(self, item: Record | LeftOut) -> Sample | LeftOut:
        if isinstance(item, LeftOut):
            return item
        _check(item, bool(self.source.MASK_CLASSES))
        if item.mask is not None and self.empty_slices < 1 and not item.mask.any() and not self._stays(item):
            return LeftOut(EMPTY)
        image, mask, spacing = conform(item, self.rules)
        return Sample(
            patient=item.patient,
            group=item.group,
            slice_index=item.slice_index,
            stratum=item.stratum,
            split=item.split,
            pixels=sha256(image.tobytes()) if image.min() < image.max() else "",
            labels=tuple([item.labels.get(name) for name in self.source.LABELS]),
            attributes=tuple(item.attributes.items()),
            spacing=spacing,
            text=item.burned_in or self._text(item),
            image=image,
            mask=mask,
        )

    def _text(self, record: Record) -> bool | None:
        """Return whether pixels show text. Of the slices of a volume one in eight is asked: text is on all of them.

        The sharp edges of bone make the question dearer than reading and reducing a slice together.
        """
        if record.stack:
            place = derive_seed(self.seed, "look for text", record.patient, record.group, record.slice_index)
            if place % _ASKED_FOR_TEXT:
                return None
        return has_text(record.image)

    def _stays(self, record: Record) -> bool:
        place = derive_seed(self.seed, "empty slice", record.patient, record.group, record.slice_index)
        return place / 2**63 < self.empty_slices


def _check(record: Record, masks: bool) -> None:
    """Raise unless a record keeps what sources promise; it is checked once, here, for all of them."""
    if record.image.ndim != 3 or len(record.image) not in (1, 3):
        raise BadSource("An image is grey or RGB", f"one has shape {record.image.shape}", "Convert it")
    if (record.mask is None) == masks:
        raise BadSource("Either all images have a mask or none", "one differs from the others", "Complete them")
    if record.mask is not None and record.mask.shape != record.image.shape[1:]:
        offender = f"one is {record.mask.shape}, its image {record.image.shape[1:]}"
        raise BadSource("A mask has the size of its image", offender, "Check the masks")


_work: Work | None = None
"""What this worker process works on."""


class Readers:
    """Worker processes that read a source's parts; with one worker, this process reads them itself.

    The processes start when the block is entered, before any thread, lock or file of the caller exists.

    Args:
        work: What to do.
        parts: Of the source.
        workers: How many processes.
    """

    def __init__(self, work: Work, parts: Sequence[Any], workers: int) -> None:
        # Of the parts alone: an interrupted command counts tasks, and may go on with another number of workers.
        size = max(1, min(_PARTS_PER_TASK, len(parts) // _LEAST_TASKS))
        self._work, self._parts = work, parts
        self.tasks = [range(start, min(start + size, len(parts))) for start in range(0, len(parts), size)]
        self._workers = min(workers, len(self.tasks))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Readers:
        """Start the processes."""
        if self._workers > 1:
            # Where processes can be forked, the source and its tables need not be sent to each of them.
            method = "fork" if sys.platform == "linux" else "spawn"
            context = multiprocessing.get_context(method)
            self._pool = ProcessPoolExecutor(self._workers, context, _start, (self._work, os.getpid()))
            with warnings.catch_warnings():
                # Python 3.12 warns of a fork beside threads; those of linear algebra are idle, and a child uses none.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pool.submit(os.getpid).result()
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; what they were about to do is dropped."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, first: int = 0) -> Iterator[tuple[int, list[Sample | LeftOut]]]:
        """Yield (number of the task, what it gave) from the task `first` on, in order.

        Raises:
            BadSource: A part is damaged and damaged ones are not skipped.
            WorkerKilled: One was, most likely for want of memory.
        """
        todo = self.tasks[first:]
        if self._pool is None:
            for number, task in enumerate(todo, first):
                yield number, self._work.read([self._parts[i] for i in task])
            return
        waiting: deque[Future[list[Sample | LeftOut]]] = deque()
        queue = iter(todo)
        try:
            for number in range(first, len(self.tasks)):
                while len(waiting) < self._workers * _TASKS_PER_WORKER and (ahead := next(queue, None)) is not None:
                    waiting.append(self._pool.submit(_read, [self._parts[i] for i in ahead]))
                yield number, waiting.popleft().result()
        except BrokenProcessPool as error:
            rule = "A process that reads images was killed, most likely for want of memory. Try --workers 1."
            raise WorkerKilled(rule) from error


def _start(work: Work, parent: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process soon after its parent, which may have been killed too suddenly to end it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _read(parts: Sequence[Any]) -> list[Sample | LeftOut]:
    assert _work is not None
    return _work.read(parts)


def cores() -> int:
    """Return how many cores this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
