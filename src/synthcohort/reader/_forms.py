"""What a browser sends, checked to the last field: whatever is not exactly an answer is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException

from ._flow import VIEWINGS
from ._study import LEVELS, Design, Kind

MAX_MARKS = 50
MAX_SECONDS = 24 * 3600.0
_FIELDS = {"presentation", "revision", "choice", "confidence", "seconds", "timed_out", "findings", "marks"}


@dataclass(frozen=True)
class Given:
    """An answer as the browser sends it; the fields are those of `Answer`.

    Attributes:
        revision: 0 for the first answer to this presentation.
    """

    presentation: str
    revision: int
    choice: Kind
    confidence: int
    seconds: float
    timed_out: bool
    findings: tuple[str, ...]
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Viewing:
    """That a reader looks, pauses or goes on.

    Attributes:
        presentation: Id.
        kind: One of `VIEWINGS`.
        seconds: For which the reader has seen the image so far.
    """

    presentation: str
    kind: str
    seconds: float


def fields(body: bytes) -> Mapping[str, str]:
    """Return the fields of a form.

    Raises:
        HTTPException: 400.
    """
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=8, strict_parsing=True))
    except ValueError:
        _refuse()


def given(body: bytes, design: Design) -> Given:
    """Return the answer in `body`, as far as it can be checked without knowing the reader.

    Raises:
        HTTPException: 400.
    """
    content = _content(body, _FIELDS)
    revision, confidence, timed_out = content["revision"], content["confidence"], content["timed_out"]
    if content["choice"] not in ("real", "synthetic") or type(timed_out) is not bool:
        _refuse()
    if type(confidence) is not int or not 1 <= confidence <= LEVELS:
        _refuse()
    if type(revision) is not int or not 0 <= revision <= (1000 if design.go_back else 0):
        _refuse()
    return Given(
        _text(content["presentation"]),
        revision,
        content["choice"],
        confidence,
        _seconds(content["seconds"]),
        timed_out,
        _findings(content["findings"], design.findings),
        _marks(content["marks"], MAX_MARKS if design.marks else 0),
    )


def viewing(body: bytes) -> Viewing:
    """Return what `body` says of the reader's looking.

    Raises:
        HTTPException: 400.
    """
    content = _content(body, {"presentation", "kind", "seconds"})
    if content["kind"] not in VIEWINGS:
        _refuse()
    return Viewing(_text(content["presentation"]), content["kind"], _seconds(content["seconds"]))


def _content(body: bytes, names: set[str]) -> dict[str, Any]:
    try:
        content = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        _refuse()
    if not isinstance(content, dict) or content.keys() != names:
        _refuse()
    return content


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 128:
        _refuse()
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS:  # type: ignore[operator]
        _refuse()
    return float(value)  # type: ignore[arg-type]


def _findings(value: object, known: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one in known for one in value):
        _refuse()
    return tuple(name for name in known if name in value)


def _marks(value: object, most: int) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list) or len(value) > most:
        _refuse()
    return tuple(_mark(one) for one in value)


def _mark(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        _refuse()
    for share in value:
        if type(share) not in (int, float) or not math.isfinite(share) or not 0 <= share <= 1:
            _refuse()
    return float(value[0]), float(value[1])


def _refuse() -> NoReturn:
    raise HTTPException(400)
