"""Copies: synthetic images nearer to a training image than different patients are to each other.

Cosine similarity of features, or normalised cross-correlation of pixels over shifts of up to 2 pixels in half pixels.
The threshold is calibrated between different patients: the nearest image of another patient, for every training image
and for every reference image, of which about 0.1 % lie above it. Lower is better, and the share is read beside
`holdout`, which cannot copy. A share of 0 bounds the true rate by the interval's upper end, for what this detector can
see: it is a screening, not a privacy guarantee. The rate of false alarms holds for images like the real ones: with less
noise an image resembles all others more and raises more.

In the space "aligned" training images are laid over each image (`_aligned`), which finds flips, turns, scalings, crops,
noise and blends of two, and the threshold is read from reference images only. Elastic deformations are not looked for,
and neither is what a training image shares with those of another training patient: it does not tell them apart.

Sources: Somepalli et al. 2023 (arXiv:2212.03860; similarity above a threshold), Dar et al. 2024 (arXiv:2402.01054;
copies of patients in latent diffusion), Akbar et al. 2025 (pixel correlation as a detector).
"""

from __future__ import annotations

import numpy as np

from ..types import Array, Features, Value
from . import _copies, _excess
from ._copies import Calibration as Calibration
from ._copies import Verdicts
from ._excess import GATE_LEVEL as GATE_LEVEL
from ._excess import Tally as Tally
from ._gallery import Floats

REVISION = 1
SPACE = "copies"


def _alike(values: Array) -> Floats:
    """Return (n,) ones: a match of one image says as much as that of another."""
    return np.ones(len(values))


def calibrate(train: Features, reference: Features) -> Calibration | None:
    """Return the threshold between different patients; see `_copies.calibrate`."""
    return _copies.calibrate(train, reference, _alike)


def verdicts(
    train: Features, subject: Features, reference: Features, *, calibration: Calibration | None = None
) -> Verdicts:
    """Return for every image its nearest training image and whether it is a copy; see `_copies.verdicts`."""
    return _copies.verdicts(train, subject, reference, _alike, calibration=calibration)


def score(
    train: Features,
    subject: Features,
    reference: Features,
    *,
    seed: int,
    calibration: Calibration | None = None,
    judged: Verdicts | None = None,
) -> list[Value]:
    """Return the share of copies with its exact binomial interval, and the median nearest similarity.

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        subject: The images to judge, in the same space.
        reference: Images of patients that nothing was trained on.
        seed: Unused: nothing is drawn. Every metric takes one.
        calibration: What `calibrate(train, reference)` returned, to reuse it for several subjects.
        judged: What `verdicts` returned for this subject and calibration, where it is known already.
    """
    return _copies.rows(
        "copies",
        "nearest_similarity_median",
        calibration or calibrate(train, reference),
        lambda known: judged or verdicts(train, subject, reference, calibration=known),
        len(subject),
    )


def beyond(
    subject: Tally, others: Tally, planted: tuple[int, int], calibration: Calibration | None, *, tests: int = 1
) -> list[Value]:
    """Return what copies there are beyond chance: excess over held-out patients, bound, gate; see `_excess.rows`."""
    return _excess.rows("copies", subject, others, planted, calibration, tests)


def left(excess: Value, planted: tuple[int, int], kept: float) -> list[Value]:
    """Return a bound on the copies that withholding by this search leaves behind; see `_excess.left_row`."""
    return _excess.left_row("copies", excess, planted, kept)
