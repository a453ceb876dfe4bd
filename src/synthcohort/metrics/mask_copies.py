"""Masks that copy a training mask: nearer to it than the masks of different patients are to each other.

A mask is a patient's data: a generator that paints new images over old masks shows whose heart it is by its outline.
Masks are compared as images are in `nearest`, by the correlation of their one-hot maps over small shifts, and the
threshold is calibrated between different patients in the same way, with one difference. Small structures are alike by
nature: two patients may well have the same mask of five pixels, which says nothing about copying, and would raise the
threshold until nothing is found. So a similarity is scaled by a / (a + 4), a being the mask's area as if the picture
had 32 x 32 pixels: a mask has to cover about 2 % of the picture before even an exact copy of it can count, and an empty
one never does. The rate is read beside that of held-out patients, and the share of planted copies that is found says
how much the search is worth on masks like these. Turned and stretched copies are found only while they still overlap.

Sources: as for `nearest`; that masks are audited like images is this project's own demand.
"""

from __future__ import annotations

import numpy as np

from ..types import Array, Features, Value
from . import _copies, _excess
from ._copies import Calibration, Verdicts
from ._excess import Tally as Tally
from ._gallery import Floats

REVISION = 1
SPACE = "masks"
FEW_PIXELS = 4.0


def _size(masks: Array) -> Floats:
    """Return (n,) a / (a + 4) of masks (n, K, 32, 32), a being the sum over classes and places."""
    area = masks.sum(axis=(1, 2, 3), dtype=np.float64)
    return np.asarray(area / (area + FEW_PIXELS))


def calibrate(train: Features, reference: Features) -> Calibration | None:
    """Return the threshold between different patients; see `_copies.calibrate`."""
    return _copies.calibrate(train, reference, _size)


def verdicts(
    train: Features, subject: Features, reference: Features, *, calibration: Calibration | None = None
) -> Verdicts:
    """Return for every mask its nearest training mask and whether it is a copy; see `_copies.verdicts`."""
    return _copies.verdicts(train, subject, reference, _size, calibration=calibration)


def score(
    train: Features,
    subject: Features,
    reference: Features,
    *,
    seed: int,
    calibration: Calibration | None = None,
    judged: Verdicts | None = None,
) -> list[Value]:
    """Return the share of masks that copy a training mask with its exact binomial interval, and the median similarity.

    Args:
        train: Masks of the training images, (n, K, 32, 32): how much of each place is of each class but the background.
        subject: The masks to judge, likewise.
        reference: Masks of patients that nothing was trained on.
        seed: Unused: nothing is drawn. Every metric takes one.
        calibration: What `calibrate(train, reference)` returned, to reuse it for several subjects.
        judged: What `verdicts` returned for this subject and calibration, where it is known already.
    """
    return _copies.rows(
        "mask_copies",
        "mask_similarity_median",
        calibration or calibrate(train, reference),
        lambda known: judged or verdicts(train, subject, reference, calibration=known),
        len(subject),
    )


def beyond(
    subject: Tally, others: Tally, planted: tuple[int, int], calibration: Calibration | None, *, tests: int = 1
) -> list[Value]:
    """Return what copies there are beyond chance: excess over held-out patients, bound, gate; see `_excess.rows`."""
    return _excess.rows("mask_copies", subject, others, planted, calibration, tests)


def left(excess: Value, planted: tuple[int, int], kept: float) -> list[Value]:
    """Return a bound on the copies that withholding by this search leaves behind; see `_excess.left_row`."""
    return _excess.left_row("mask_copies", excess, planted, kept)
