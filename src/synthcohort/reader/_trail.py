"""The audit trail: every event holds the digest of the one before, so that a change, a gap or a new order shows.

The digest of the last event (the seal) stands on the administrator's page and in what they download. Who notes it down
can later prove that nothing up to there was changed, removed or put in between: without it, somebody who may write the
database could make the whole chain again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

START = "0" * 64
"""Stands where the digest before the first event would."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        number: From 1, without a gap.
        at: UTC, ISO 8601 with microseconds.
        reader: Whose it is; "" for the administrator's and for nobody's.
        kind: sign-in, sign-in-refused, begin, continue, shown, seen, pause, resume, answer, repeat, refused, time,
            close, reopen, download.
        presentation: Its id, or "".
        detail: JSON, keys in order.
        digest: Of this event and the digest before it, SHA-256, hexadecimal.
    """

    number: int
    at: str
    reader: str
    kind: str
    presentation: str
    detail: str
    digest: str


def digest(before: str, number: int, at: str, reader: str, kind: str, presentation: str, detail: str) -> str:
    """Return the digest of one event that follows the digest `before`."""
    fields = json.dumps([before, number, at, reader, kind, presentation, detail])
    return hashlib.sha256(fields.encode()).hexdigest()


def canonical(detail: object) -> str:
    """Return `detail` as JSON, the same text for the same content."""
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), allow_nan=False)


def chain_problems(events: Iterable[Event]) -> Iterator[str]:
    """Yield what is wrong with `events`, in order of their numbers; nothing when they are as they were written."""
    before = START
    for expected, event in enumerate(events, start=1):
        if event.number != expected:
            yield f"event {expected} is missing"
            return
        said = (event.number, event.at, event.reader, event.kind, event.presentation, event.detail)
        if digest(before, *said) != event.digest:
            yield f"event {expected} was changed"
            return
        before = event.digest
