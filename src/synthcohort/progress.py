"""Progress with time left on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """A progress line on standard error. Silent when standard error is not a terminal.

    Args:
        title: What is being done.
        total: How many units there are; None when unknown.
        done: How many are done already (a resumed job).
        unit: What is counted.
    """

    def __init__(self, title: str, total: int | None, *, done: int = 0, unit: str = "images") -> None:
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> Progress:
        """Show the line."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line as it stands."""
        if self._bar:
            self._bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done."""
        if self._bar:
            self._bar.update(self._task, advance=count, note=note)


def track(items: Iterable[Item], title: str, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield the items, showing progress."""
    with Progress(title, total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


def say(message: str) -> None:
    """Print one line for the user to standard error (results go to standard output)."""
    # Names from a download may hold control characters, which a terminal would obey.
    line = "".join(c if c.isprintable() else "?" for c in message)
    print(line, file=sys.stderr, flush=True)
