"""A study on disk: what everybody may know, what is served, and the truth, which the server never opens.

    study.json            the design, and the digests of the three files below
    served/images.npy     (N, H, W, C) uint8 or uint16, little endian, in an order that says nothing
    served/orders.json    what each reader sees, in order, under ids that say nothing
    truth/truth.parquet   row of images.npy -> real or synthetic
    invitations.csv       reader, code: for whoever runs the study to hand out; the server knows digests only
    proof.json            that the files say nothing of the truth, measured before the study
    preregistration.md    what is asked and how it will be answered, fixed before the first reader

Pixels leave as plain values without a header, so that every image has the same number of bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..errors import InputError, writing
from ..runs import file_sha256, sha256, write_atomic

SCHEMA = 1
IMAGES, ORDERS, TRUTH = Path("served/images.npy"), Path("served/orders.json"), Path("truth/truth.parquet")
INVITATIONS, DATABASE = Path("invitations.csv"), Path("answers.sqlite")
PROOF, PREREGISTRATION = Path("proof.json"), Path("preregistration.md")
_HALF_WRITTEN = ".partial-"
"""In the name of a folder whose design did not end."""

LEVELS = 5
"""Of confidence: 1 is a guess, 5 is certain."""
FEW_READERS = 4
"""Below, the intervals of the analysis are too narrow: see docs/concepts/reader-statistics.md."""

Kind = Literal["real", "synthetic"]


class NotAStudy(InputError):
    """A folder is no reader study, or a damaged one."""


@dataclass(frozen=True)
class Design:
    """What study.json says. No truth is in it.

    Attributes:
        name: Shown to readers.
        shape: (C, H, W) of every image.
        dtype: uint8 or uint16.
        window: Lowest and highest value shown at first.
        images: How many different images a reader sees.
        synthetic: How many of them are synthetic. Readers are not told.
        repeats: How many of them are shown once more, to see whether a reader agrees with themself.
        training: Images with their answer shown before the study; 0 for none.
        blocks: Parts with a pause between them.
        findings: That a reader may tick for each image; empty for none.
        marks: Whether a reader may mark artefacts on the image.
        time_limit_s: For each image; None for none.
        go_back: Whether an answer may be changed.
        margin: Of the equivalence test: accuracy within 0.5 +- margin counts as not telling apart.
        alpha: Level of the equivalence test.
        seed: Of every draw.
        cohorts: "real" and "synthetic" -> identity of the cohort.
        readers: Names such as "reader-01".
        subject: What the images called synthetic are: "synthetic"; "control" or "real" in a study of the study itself.
        files: SHA-256 of images, orders and truth, by their path in the folder: rows, orders and truth of two studies
            fit each other in all but what they mean. That of the truth tells nothing, for the truth holds a nonce.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: str
    window: tuple[float, float]
    images: int
    synthetic: int
    repeats: int
    training: int
    blocks: int
    findings: tuple[str, ...]
    marks: bool
    time_limit_s: float | None
    go_back: bool
    margin: float
    alpha: float
    seed: int
    cohorts: Mapping[str, str]
    readers: tuple[str, ...]
    subject: str = "synthetic"
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Presentation:
    """One image before one reader.

    Attributes:
        id: Unguessable, this reader's own.
        image: Row of images.npy.
        block: From 0; -1 for training.
        answer: In training, the truth to show after the answer; None otherwise.
    """

    id: str
    image: int
    block: int
    answer: Kind | None = None


@dataclass(frozen=True)
class Order:
    """What one reader sees.

    Attributes:
        reader: Name.
        code_sha256: Hexadecimal digest of the invitation code.
        presentations: In order.
    """

    reader: str
    code_sha256: str
    presentations: tuple[Presentation, ...]


@dataclass(frozen=True)
class Answer:
    """What a reader said of one presentation; with several of one presentation, the last counts.

    Attributes:
        reader: Name.
        presentation: Id.
        choice: What the reader takes the image for.
        confidence: 1 (a guess) to 5 (certain).
        seconds: From the image's being shown to the answer, pauses not counted.
        timed_out: Whether the time limit ran out; the choice is then the reader's, made after the image was hidden.
        findings: Ticked.
        marks: Artefacts, as (x, y) shares of width and height.
        answered_at: UTC, ISO 8601.
    """

    reader: str
    presentation: str
    choice: Kind
    confidence: int
    seconds: float
    timed_out: bool
    findings: tuple[str, ...]
    marks: tuple[tuple[float, float], ...]
    answered_at: str


def code_digest(code: str) -> str:
    """Return the SHA-256 of an invitation code as it may be typed: case, spaces and hyphens do not count."""
    return sha256("".join(character for character in code.upper() if character.isalnum()))


def write_study(folder: Path, design: Design, orders: tuple[Order, ...]) -> Design:
    """Write the orders, then study.json with the digests of what lies in `folder`; return the design as written.

    Images and truth are the designer's, and lie there before: study.json makes a folder a study.
    """
    with writing(folder):
        (folder / ORDERS).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / ORDERS, json.dumps([asdict(order) for order in orders]) + "\n")
        there = [path for path in (IMAGES, ORDERS, TRUTH) if (folder / path).exists()]
        written = replace(design, files={path.as_posix(): file_sha256(folder / path) for path in there})
        write_atomic(folder / "study.json", json.dumps({"schema": SCHEMA, **asdict(written)}, indent=2) + "\n")
    return written


def read_design(folder: Path) -> Design:
    """Return the design of the study in `folder`.

    Raises:
        NotAStudy: There is none, or it is damaged.
    """
    if _HALF_WRITTEN in folder.absolute().name:
        raise NotAStudy("A study is designed to its end", f"{folder} is a half-written one", "Design it again")
    content = _read_json(folder, Path("study.json"))
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise _damaged(folder, "study.json")
    try:
        pairs = {"shape": tuple(content["shape"]), "window": tuple(content["window"])}
        lists = {"findings": tuple(content["findings"]), "readers": tuple(content["readers"])}
        design = Design(**{**content, **pairs, **lists})
        _check_types(design)
        if not all(isinstance(content[name], list) for name in lists):
            raise TypeError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, "study.json") from error
    return design


def _check_types(design: Design) -> None:
    """Raise ValueError or TypeError where a field is not what `Design` says."""
    (low, high), limit = design.window, design.time_limit_s
    whole = ("images", "synthetic", "repeats", "training", "seed", "blocks")
    texts = (design.name, design.subject, *design.findings, *design.readers)
    texts += tuple(text for table in (design.cohorts, design.files) for pair in table.items() for text in pair)
    rules = (
        len(design.shape) == 3 and all(type(size) is int and size > 0 for size in design.shape),
        design.dtype in ("uint8", "uint16"),
        math.isfinite(low) and math.isfinite(high) and low < high,
        all(type(getattr(design, name)) is int and getattr(design, name) >= 0 for name in whole),
        design.blocks > 0,
        type(design.marks) is bool and type(design.go_back) is bool,
        limit is None or 0 < limit < math.inf,
        0 < design.margin < 0.5 and 0 < design.alpha < 0.5,
        all(isinstance(text, str) for text in texts),
    )
    if not all(rules):
        raise ValueError


def check_file(folder: Path, design: Design, path: Path) -> None:
    """Refuse a file that is not the one that the study was designed with.

    Args:
        folder: Of the study.
        design: What its study.json says.
        path: Of images, orders or truth, in the folder.

    Raises:
        NotAStudy: The file is absent, was changed, or is another study's.
    """
    try:
        found = file_sha256(folder / path)
    except OSError as error:
        raise _damaged(folder, path.as_posix()) from error
    if found != design.files.get(path.as_posix()):
        rule = "Images, orders and truth are those that the study was designed with"
        raise NotAStudy(rule, f"{folder / path} is another file", "Put the study's own back")


def read_orders(folder: Path) -> tuple[Order, ...]:
    """Return what each reader sees.

    Raises:
        NotAStudy: The file is absent or damaged.
    """
    try:
        return tuple(
            Order(one["reader"], one["code_sha256"], tuple(Presentation(**shown) for shown in one["presentations"]))
            for one in _read_json(folder, ORDERS)
        )
    except (KeyError, TypeError) as error:
        raise _damaged(folder, ORDERS.as_posix()) from error


def read_truth(folder: Path) -> pd.DataFrame:
    """Return one row an image, in the order of images.npy: kind, and one column label.<name> each.

    Only the design and the analysis call this; the server must not.

    Raises:
        NotAStudy: The file is absent or damaged.
    """
    try:
        return pd.read_parquet(folder / TRUTH)
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(TRUTH)) from error


def _read_json(folder: Path, name: Path) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, str(name)) from error


def _damaged(folder: Path, name: str) -> NotAStudy:
    rule = f"A reader study is a folder with a readable {name}"
    return NotAStudy(rule, str(folder), "Make it with `synthcohort reader design`")
