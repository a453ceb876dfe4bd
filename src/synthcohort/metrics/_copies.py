"""What the searches for copies share: the threshold between different patients, the verdicts and the rows.

Features of the space "aligned" are small pixels that are searched by registration (`_aligned`). That search learns from
the training images what images have in common, so its threshold is read from images that it has not met: the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..statistics import clopper_pearson
from ..types import Array, Features, Value
from ._aligned import AlignedGallery
from ._gallery import Excluded, Floats, Gallery
from ._sides import check_one_space

FALSE_ALARMS = 0.001
ALIGNED = "aligned"
_IDENTICAL = 1 - 1e-6
_SAME_PERSON = 0.94
"""Least weight of a match that, being perfect, shows that two patients are one."""

Weigh = Callable[[Array], Floats]
"""How much a match of each of the images (n, ...) says, (n,) from 0 to 1: it scales their similarities."""


@dataclass(frozen=True)
class Calibration:
    """A threshold with what it stands on.

    Attributes:
        threshold: Similarity above which an image counts as a copy.
        images: Images whose nearest other patient it was read from.
        patients: Patients they belong to.
        false_alarms: Expected share of images without a copy that lie above it all the same, images independent.
        false_alarms_by_patient: The same at most, should the images of a patient always go together.
        search: Of the training images, to use again; None where it has to be made again.
    """

    threshold: float
    images: int
    patients: int
    false_alarms: float
    false_alarms_by_patient: float
    search: Gallery | AlignedGallery | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Verdicts:
    """What was found for each image of the subject.

    Attributes:
        nearest: (n,) int64 position of the nearest training image.
        similarity: (n,) float64, -1 to 1.
        threshold: Similarity above which an image counts as a copy.
        copy: (n,) bool.
    """

    nearest: npt.NDArray[np.int64]
    similarity: Floats
    threshold: float
    copy: npt.NDArray[np.bool_]


def calibrate(train: Features, reference: Features, weigh: Weigh) -> Calibration | None:
    """Return the threshold between different patients, or None when there is only one, or nothing to read it from.

    Pairs of patients that share an identical image are left out: they are one person entered twice. With m images the
    threshold is their k-th largest similarity, k = floor(0.001 (m + 1)), which an exchangeable image without a copy
    exceeds with probability k / (m + 1); with fewer than 999 images it is the largest, and the probability 1 / (m + 1).
    Images of one patient are alike, so of P exchangeable patients the honest bound is k / (P + 1).

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        reference: Images of patients that nothing was trained on; may be empty.
        weigh: How much a match says.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    check_one_space(train, reference)
    gallery, search = Gallery(train.values), _search(train)
    _, code = np.unique(np.concatenate([train.patients, reference.patients]).astype(str), return_inverse=True)
    train_code = code[: len(train)]
    queries = ((train.values, train_code), (reference.values, code[len(train) :]))
    same = np.eye(int(code.max()) + 1, dtype=bool)
    for values, query_code in queries:
        telling = weigh(values) >= _SAME_PERSON
        for rows, cosines in gallery.cosines(values) if len(values) else ():
            query, found = np.nonzero((cosines > _IDENTICAL) & telling[rows, None])
            same[query_code[rows][query], train_code[found]] = True
    same |= same.T
    similarities, patients = [np.empty(0)], [np.empty(0, np.int64)]
    for values, query_code in queries[1:] if train.name == ALIGNED else queries:
        if len(values):
            barred = _barring(same, query_code, train_code)
            similarities.append(search.nearest(values, barred)[1] * weigh(values))
            patients.append(query_code)
    values = np.concatenate(similarities)
    found = np.isfinite(values)
    known = _threshold(values[found], np.concatenate(patients)[found])
    return replace(known, search=search) if known else None


def _search(train: Features) -> Gallery | AlignedGallery:
    return AlignedGallery(train.values, train.patients) if train.name == ALIGNED else Gallery(train.values)


def _barring(same: npt.NDArray[np.bool_], query_code: Array, train_code: Array) -> Excluded:
    return lambda rows: same[query_code[rows][:, None], train_code[None, :]]


def _threshold(similarities: Floats, patients: Array) -> Calibration | None:
    count = len(similarities)
    if count == 0:
        return None
    rank = max(1, int(FALSE_ALARMS * (count + 1)))
    threshold = float(np.sort(similarities)[-rank])
    people = len(np.unique(patients))
    return Calibration(threshold, count, people, rank / (count + 1), min(1.0, rank / (people + 1)))


def verdicts(
    train: Features, subject: Features, reference: Features, weigh: Weigh, *, calibration: Calibration | None
) -> Verdicts:
    """Return for every image of the subject its nearest training image and whether it is a copy.

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        subject: The images to judge, in the same space.
        reference: Images of patients that nothing was trained on.
        weigh: How much a match says.
        calibration: What `calibrate` returned, to reuse it for several subjects.

    Raises:
        Mismatch: The sides come from different extractors.
        InputError: There is one patient only, so nothing to calibrate on.
    """
    check_one_space(train, subject, reference)
    calibration = calibration or calibrate(train, reference, weigh)
    if calibration is None:
        raise InputError("Copies are judged against other patients", "there is one patient", "Prepare more patients")
    nearest, similarity = (calibration.search or _search(train)).nearest(subject.values)
    similarity = similarity * weigh(subject.values)
    return Verdicts(nearest, similarity, calibration.threshold, similarity > calibration.threshold)


def rows(
    name: str, median: str, calibration: Calibration | None, found: Callable[[Calibration], Verdicts], count: int
) -> list[Value]:
    """Return the share of copies with its exact binomial interval, and the median nearest similarity.

    Args:
        name: What the share is called.
        median: What the median is called.
        calibration: Of the threshold, or None where there is one patient only.
        found: Gives the verdicts with a calibration.
        count: Images to judge.
    """
    if calibration is None or count == 0:
        reason = "no image to judge" if calibration else "one patient only: no threshold between patients"
        return [Value(name, None, unit="share", better="lower", status="not_estimable", reason=reason)]
    judged = found(calibration)
    copies = int(judged.copy.sum())
    interval = clopper_pearson(copies, count)
    reason = (
        f"{copies} of {count} above similarity {calibration.threshold:.4f}, calibrated on {calibration.images} images "
        f"of {calibration.patients} other patients (false alarms: {calibration.false_alarms:.2%} expected, at most "
        f"{calibration.false_alarms_by_patient:.2%} should a patient's images all go together)"
    )
    return [
        Value(name, copies / count, interval.low, interval.high, "share", "lower", reason=reason),
        Value(median, float(np.median(judged.similarity)), unit="similarity"),
    ]
