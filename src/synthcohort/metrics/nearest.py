"""Copies: synthetic images nearer to a training image than different patients are to each other.

Cosine similarity of features, or normalised cross-correlation of pixels over shifts of up to 2 pixels in half pixels.
The threshold is calibrated between different patients: the nearest image of another patient, for every training image
and for every reference image, of which about 0.1 % lie above it. Lower is better, and the share is read beside
`holdout`, which cannot copy. A share of 0 bounds the true rate by the interval's upper end, for what this detector can
see: it is a screening, not a privacy guarantee. Flips, rotations and elastic deformations are not looked for. The rate
of false alarms holds for images like the real ones: with less noise an image resembles all others more and raises more.

Sources: Somepalli et al. 2023 (arXiv:2212.03860; similarity above a threshold), Dar et al. 2024 (arXiv:2402.01054;
copies of patients in latent diffusion), Akbar et al. 2025 (pixel correlation as a detector).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..statistics import clopper_pearson
from ..types import Array, Features, Value
from ._sides import check_one_space

REVISION = 1
SPACE = "copies"
FALSE_ALARMS = 0.001
CANDIDATES = 16
LARGEST_SHIFT = 2
_IDENTICAL = 1 - 1e-6
_BLOCK_ROWS = 256
_FLAT = 1e-4  # length of a window of an image of length 1

Floats = npt.NDArray[np.float64]
Excluded = Callable[[slice], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Calibration:
    """A threshold with what it stands on.

    Attributes:
        threshold: Similarity above which an image counts as a copy.
        images: Images whose nearest other patient it was read from.
        patients: Patients they belong to.
        false_alarms: Expected share of images without a copy that lie above it all the same, images independent.
        false_alarms_by_patient: The same at most, should the images of a patient always go together.
    """

    threshold: float
    images: int
    patients: int
    false_alarms: float
    false_alarms_by_patient: float


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


class _Gallery:
    """Training images to search: a cosine pass for candidates, then the exact similarity of those."""

    def __init__(self, values: Array) -> None:
        flat = values.reshape(len(values), -1).astype(np.float64)
        self.pixels = values.ndim == 4
        # Features share a large common part (all are images of one organ): without it, cosines tell them apart.
        # Pixels are centred per image instead, so that brightness and contrast drop out.
        self._mean = 0.0 if self.pixels else flat.mean(axis=0)
        self.unit = self.normalise(values)
        self._coarse = self.unit.astype(np.float32)
        if self.pixels:
            self._images = self.unit.reshape(values.shape).astype(np.float32)
            self._norms = np.stack([_norm(window) for window in _windows(self._images)], axis=-1)

    def normalise(self, values: Array) -> Floats:
        """Return rows of unit length (n, d); a constant image has no direction and becomes zeros."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True) if self.pixels else self._mean
        length: Floats = np.linalg.norm(flat, axis=1, keepdims=True)
        unit = np.zeros_like(flat)
        np.divide(flat, length, out=unit, where=length > 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0))))
        return unit

    def cosines(self, values: Array) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Yield the cosines (b, n) of blocks of rows to all training images."""
        rows = self.normalise(values).astype(np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield slice(start, min(start + _BLOCK_ROWS, len(rows))), rows[start : start + _BLOCK_ROWS] @ self._coarse.T

    def nearest(self, values: Array, excluded: Excluded | None = None) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return (position, similarity) of the nearest training image; -inf where every one is excluded."""
        position, best = np.empty(len(values), np.int64), np.empty(len(values))
        for rows, cosines in self.cosines(values):
            barred = excluded(rows) if excluded else np.zeros(cosines.shape, bool)
            cosines[barred] = -np.inf
            count = min(CANDIDATES, cosines.shape[1])
            candidates = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            exact = self._similarity(values[rows], candidates)
            exact[np.take_along_axis(barred, candidates, axis=1)] = -np.inf
            choice = exact.argmax(axis=1)[:, None]
            position[rows] = np.take_along_axis(candidates, choice, axis=1)[:, 0]
            best[rows] = np.take_along_axis(exact, choice, axis=1)[:, 0]
        return position, best

    def _similarity(self, values: Array, candidates: npt.NDArray[np.int64]) -> Floats:
        if self.pixels:
            return self._shifted_correlation(values, candidates)
        return np.asarray(np.einsum("qd,qkd->qk", self.normalise(values), self.unit[candidates]), np.float64)

    def _shifted_correlation(self, values: Array, candidates: npt.NDArray[np.int64]) -> Floats:
        """Return the best normalised cross-correlation (q, k) of each image's centre with its shifted candidates."""
        shift = LARGEST_SHIFT
        centre = values[:, :, shift:-shift, shift:-shift].astype(np.float64).reshape(len(values), -1)
        centre -= centre.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centre, axis=1)
        best: Floats = np.full(candidates.shape, -1.0)
        for number, window in enumerate(_windows(self._images[candidates])):
            dots = np.matmul(window.reshape(*candidates.shape, -1), centre.astype(np.float32)[:, :, None])[:, :, 0]
            norms = self._norms[candidates, number]
            # A window that is flat but for noise correlates with anything by chance: it says nothing.
            telling = (norms > _FLAT) & (length > 0)[:, None]
            found = np.divide(dots, length[:, None] * norms, out=np.zeros_like(norms), where=telling)
            best = np.maximum(best, found)
        return best.clip(-1.0, 1.0)


def _windows(images: Array) -> Iterator[Array]:
    """Yield (..., C, H-4, W-4) windows of images for every shift of -2 to 2 pixels in half pixels, bilinear.

    Half pixels matter: an image moved by one pixel before it was halved in size has moved by half a pixel here.
    """
    height, width = (side - 2 * LARGEST_SHIFT for side in images.shape[-2:])
    by_half_down = (images[..., 1:, :] + images[..., :-1, :]) / 2
    for rows in (images, by_half_down):
        for moved in (rows, (rows[..., 1:] + rows[..., :-1]) / 2):
            for y in range(moved.shape[-2] - height + 1):
                for x in range(moved.shape[-1] - width + 1):
                    yield moved[..., y : y + height, x : x + width]


def _norm(windows: Array) -> Floats:
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    return np.asarray(np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=1))


def calibrate(train: Features, reference: Features) -> Calibration | None:
    """Return the threshold between different patients, or None when there is only one.

    Pairs of patients that share an identical image are left out: they are one person entered twice. With m images the
    threshold is their k-th largest similarity, k = floor(0.001 (m + 1)), which an exchangeable image without a copy
    exceeds with probability k / (m + 1); with fewer than 999 images it is the largest, and the probability 1 / (m + 1).
    Images of one patient are alike, so of P exchangeable patients the honest bound is k / (P + 1).

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        reference: Images of patients that nothing was trained on; may be empty.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    check_one_space(train, reference)
    gallery = _Gallery(train.values)
    _, code = np.unique(np.concatenate([train.patients, reference.patients]).astype(str), return_inverse=True)
    train_code = code[: len(train)]
    queries = ((train.values, train_code), (reference.values, code[len(train) :]))
    same = np.eye(int(code.max()) + 1, dtype=bool)
    for values, query_code in queries:
        for rows, cosines in gallery.cosines(values) if len(values) else ():
            query, found = np.nonzero(cosines > _IDENTICAL)
            same[query_code[rows][query], train_code[found]] = True
    same |= same.T
    similarities, patients = [], []
    for values, query_code in queries:
        if len(values):
            barred = _barring(same, query_code, train_code)
            similarities.append(gallery.nearest(values, barred)[1])
            patients.append(query_code)
    values = np.concatenate(similarities)
    found = np.isfinite(values)
    return _threshold(values[found], np.concatenate(patients)[found])


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
    train: Features, subject: Features, reference: Features, *, calibration: Calibration | None = None
) -> Verdicts:
    """Return for every image of the subject its nearest training image and whether it is a copy.

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        subject: The images to judge, in the same space.
        reference: Images of patients that nothing was trained on.
        calibration: What `calibrate(train, reference)` returned, to reuse it for several subjects.

    Raises:
        Mismatch: The sides come from different extractors.
        InputError: There is one patient only, so nothing to calibrate on.
    """
    check_one_space(train, subject, reference)
    calibration = calibration or calibrate(train, reference)
    if calibration is None:
        raise InputError("Copies are judged against other patients", "there is one patient", "Prepare more patients")
    nearest, similarity = _Gallery(train.values).nearest(subject.values)
    return Verdicts(nearest, similarity, calibration.threshold, similarity > calibration.threshold)


def score(
    train: Features, subject: Features, reference: Features, *, seed: int, calibration: Calibration | None = None
) -> list[Value]:
    """Return the share of copies with its exact binomial interval, and the median nearest similarity.

    Args:
        train: The training images, (n, d) features or (n, C, H, W) pixels.
        subject: The images to judge, in the same space.
        reference: Images of patients that nothing was trained on.
        seed: Unused: nothing is drawn. Every metric takes one.
        calibration: What `calibrate(train, reference)` returned, to reuse it for several subjects.
    """
    calibration = calibration or calibrate(train, reference)
    if calibration is None or len(subject) == 0:
        reason = "no image to judge" if calibration else "one patient only: no threshold between patients"
        return [Value("copies", None, unit="share", better="lower", status="not_estimable", reason=reason)]
    found = verdicts(train, subject, reference, calibration=calibration)
    count, total = int(found.copy.sum()), len(subject)
    interval = clopper_pearson(count, total)
    reason = (
        f"{count} of {total} above similarity {calibration.threshold:.4f}, calibrated on {calibration.images} images "
        f"of {calibration.patients} other patients (false alarms: {calibration.false_alarms:.2%} expected, at most "
        f"{calibration.false_alarms_by_patient:.2%} should a patient's images all go together)"
    )
    median = float(np.median(found.similarity))
    return [
        Value("copies", count / total, interval.low, interval.high, "share", "lower", reason=reason),
        Value("nearest_similarity_median", median, unit="similarity"),
    ]
