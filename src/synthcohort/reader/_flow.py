"""Where a reader stands: worked out from what is stored, so that any device at any time goes on at the same image."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from ._study import Order, Presentation
from ._trail import Event

VIEWINGS = ("seen", "pause", "resume")
"""Events that say for how long a reader has seen an image so far."""

Place = Literal["instructions", "rest", "image", "done"]


@dataclass(frozen=True)
class Standing:
    """Where a reader stands.

    Attributes:
        place: Before everything, before a block, at an image, or at the end.
        presentation: The image, or the first of the block; None elsewhere.
        number: From 1, of the image among those of its part (training, or the study).
        of: How many that part has.
    """

    place: Place
    presentation: Presentation | None = None
    number: int = 0
    of: int = 0


@dataclass(frozen=True)
class Looking:
    """What is known of a reader's looking at one presentation.

    Attributes:
        shown: Whether its pixels were ever sent.
        wall: Seconds since they first were.
        seconds: That the reader saw it, as far as the browser has said.
        paused: Whether the reader has paused and not gone on.
    """

    shown: bool
    wall: float
    seconds: float
    paused: bool


def standing(order: Order, answered: Mapping[str, int], passed: Collection[str]) -> Standing:
    """Return where a reader stands.

    Args:
        order: What the reader sees.
        answered: Presentation -> revision.
        passed: "begin", and the numbers of the blocks the reader went on to.
    """
    if "begin" not in passed:
        return Standing("instructions")
    for shown in order.presentations:
        if shown.id not in answered:
            first = order.presentations[0].block
            rests = shown.block != first and str(shown.block) not in passed
            number, of = position(order, shown)
            return Standing("rest" if rests else "image", shown, number, of)
    return Standing("done")


def position(order: Order, shown: Presentation) -> tuple[int, int]:
    """Return the number, from 1, of a presentation among those of its part, and how many that part has."""
    part = [one.id for one in order.presentations if (one.block < 0) == (shown.block < 0)]
    return part.index(shown.id) + 1, len(part)


def before(order: Order, shown: Presentation) -> str | None:
    """Return the id of the presentation before this one; None for the first of its part."""
    number, _ = position(order, shown)
    part = [one.id for one in order.presentations if (one.block < 0) == (shown.block < 0)]
    return part[number - 2] if number > 1 else None


def looking(events: Sequence[Event]) -> Looking:
    """Return what the events of one presentation, oldest first, say of the reader's looking at it."""
    shown = [event.at for event in events if event.kind == "shown"]
    stops = [event.kind for event in events if event.kind in ("pause", "resume")]
    seen = [json.loads(event.detail).get("seconds", 0.0) for event in events if event.kind in VIEWINGS]
    wall = (datetime.now(timezone.utc) - datetime.fromisoformat(shown[0])).total_seconds() if shown else 0.0
    return Looking(bool(shown), wall, max(seen, default=0.0), stops[-1:] == ["pause"])
