"""What readers said of which image, as arrays: answers joined with the order they were asked in and with the truth.

Rule, fixed beforehand: a reader counts who answered every image of the study (training left out); the others are
listed. Of an image shown twice the first answer counts, the second is for agreement alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ._study import Answer, Design, NotAStudy, Order, Presentation

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """R readers who finished and the N images that each of them saw.

    Attributes:
        readers: Their names.
        images: (N,) rows of images.npy.
        synthetic: (N,) what they are.
        said: (R, N) whether called synthetic.
        confidence: (R, N) 1 to 5.
        seconds: (R, N).
        timed_out: (R, N).
        marks: (R, N) how many artefacts were marked.
        findings: (R, N, F) which findings were ticked, in the order of the design.
        again: For each reader what was said the first and the second time of the images shown twice, (K,) bool each.
        unfinished: Readers who did not finish -> images answered and images asked, repeats counted too.
    """

    readers: tuple[str, ...]
    images: npt.NDArray[np.int64]
    synthetic: Flags
    said: Flags
    confidence: npt.NDArray[np.int64]
    seconds: Floats
    timed_out: Flags
    marks: npt.NDArray[np.int64]
    findings: Flags
    again: tuple[tuple[Flags, Flags], ...]
    unfinished: Mapping[str, tuple[int, int]]

    @property
    def ratings(self) -> npt.NDArray[np.int64]:
        """Return (R, N): confidence, negative where called real."""
        return np.where(self.said, self.confidence, -self.confidence)


def join(design: Design, orders: Sequence[Order], truth: pd.DataFrame, answers: Sequence[Answer]) -> Readings:
    """Return what the readers said who finished.

    Args:
        design: Of the study.
        orders: What each reader was asked, in order.
        truth: Kind of each row of images.npy.
        answers: Of any readers; with several of one presentation, the last counts.

    Raises:
        NotAStudy: Readers were asked about different images, or about images without a truth.
    """
    given = {(answer.reader, answer.presentation): answer for answer in answers}
    asked = {order.reader: [shown for shown in order.presentations if shown.block >= 0] for order in orders}
    said = {name: [given.get((name, shown.id)) for shown in shown_to] for name, shown_to in asked.items()}
    done = [name for name, found in said.items() if found and all(answer is not None for answer in found)]
    counts = {name: (sum(answer is not None for answer in found), len(found)) for name, found in said.items()}
    images = _images(asked)
    kinds = _kinds(truth, images)
    parts = [_of_reader(asked[name], said[name], images, design) for name in done]
    shape, ticks = (len(done), len(images)), (len(done), len(images), len(design.findings))
    return Readings(
        readers=tuple(done),
        images=images,
        synthetic=kinds,
        said=_stack(parts, "said", shape, bool),
        confidence=_stack(parts, "confidence", shape, np.int64),
        seconds=_stack(parts, "seconds", shape, np.float64),
        timed_out=_stack(parts, "timed_out", shape, bool),
        marks=_stack(parts, "marks", shape, np.int64),
        findings=_stack(parts, "findings", ticks, bool),
        again=tuple(part["again"] for part in parts),
        unfinished={name: counts[name] for name in said if name not in done},
    )


def _images(asked: Mapping[str, Sequence[Presentation]]) -> npt.NDArray[np.int64]:
    """Return the images that every reader was asked about."""
    found = {frozenset(shown.image for shown in shown_to) for shown_to in asked.values()}
    if len(found) != 1:
        raise NotAStudy("Every reader is asked about the same images", "the orders differ", "Use orders as designed")
    return np.array(sorted(found.pop()), dtype=np.int64)


def _kinds(truth: pd.DataFrame, images: npt.NDArray[np.int64]) -> Flags:
    kinds = truth["kind"].to_numpy() if "kind" in truth else np.array([])
    if len(images) == 0 or images[0] < 0 or images[-1] >= len(kinds):
        raise NotAStudy("Every image of a study has its truth", "some have none", "Use the truth as designed")
    chosen = kinds[images]
    if not np.isin(chosen, ["real", "synthetic"]).all():
        raise NotAStudy("An image is real or synthetic", "the truth says something else", "Use the truth as designed")
    return np.asarray(chosen == "synthetic", bool)


def _of_reader(
    shown_to: Sequence[Presentation], said: Sequence[Answer | None], images: npt.NDArray[np.int64], design: Design
) -> dict[str, Any]:
    """Return one reader's answers as (N,) arrays in the order of `images`."""
    answers = [answer for answer in said if answer is not None]
    asked = np.array([shown.image for shown in shown_to])
    _, first = np.unique(asked, return_index=True)
    second = np.setdiff1d(np.arange(len(asked)), first)
    called = np.array([answer.choice == "synthetic" for answer in answers])
    before = first[np.searchsorted(images, asked[second])]
    kept = [answers[row] for row in first]
    ticks = [[name in answer.findings for name in design.findings] for answer in kept]
    return {
        "said": called[first],
        "confidence": [answer.confidence for answer in kept],
        "seconds": [answer.seconds for answer in kept],
        "timed_out": [answer.timed_out for answer in kept],
        "marks": [len(answer.marks) for answer in kept],
        "findings": np.array(ticks, bool).reshape(len(kept), len(design.findings)),
        "again": (called[before], called[second]),
    }


def _stack(parts: Sequence[Mapping[str, Any]], name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    stacked: npt.NDArray[Any] = np.array([part[name] for part in parts], dtype=dtype).reshape(shape)
    return stacked
