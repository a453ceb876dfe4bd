"""Planted copies: training images changed in nine ways, to measure how much of such copying a search finds.

A search that finds no copy says as much as its sensitivity. The strengths are fixed and in the row's name; every kind
is drawn anew, from as many patients as there are. A copy that a generator makes may be changed more, or otherwise.

Source: the kinds are those that published detectors are tested on (Pizzi et al. 2022, arXiv:2202.10261).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..runs import derive_seed, fingerprint, sha256
from ..statistics import clopper_pearson
from ..types import Array, Value
from ._sets import ImageSet

REVISION = 1
KINDS: Mapping[str, str] = {
    "identical": "unchanged",
    "flipped": "left and right exchanged",
    "shifted": "moved by 1/16 of the side along both axes",
    "rotated": "turned by 5 degrees",
    "rescaled": "1.1 or 0.9 times as large",
    "intensity": "gamma 0.7 or 1.4",
    "noised": "Gaussian noise of 0.1 of the intensity range",
    "cropped": "a window of 0.8 of the side, enlarged",
    "blended": "half of it, half of another patient's training image",
}
"""Kind -> what is done to a training image."""
GEOMETRIC = ("identical", "flipped", "shifted", "rotated", "rescaled", "cropped")
"""Kinds that move the mask; the others leave it as it is."""
PER_KIND = 100
_SHIFT, _DEGREES, _SCALES, _GAMMAS, _NOISE, _WINDOW = 1 / 16, 5.0, (0.9, 1.1), (0.7, 1.4), 0.1, 0.8

Floats = npt.NDArray[np.float64]
Placement = tuple[Floats, Floats]
"""Matrix (2, 2) and offset (2,): where in the original the pixel of a copy lies, as scipy.ndimage has it."""


def planted(
    train: ImageSet, value_range: tuple[float, float], *, seed: int, count: int = PER_KIND
) -> dict[str, ImageSet]:
    """Return kind -> copies of training images with their masks; `blended` only where there are two patients.

    Args:
        train: What is copied.
        value_range: Lowest and highest legal pixel.
        seed: Decides which images, which way they are changed, and the noise.
        count: Copies of each kind; fewer where there are fewer images.
    """
    copies = {}
    for kind in KINDS:
        rng = np.random.default_rng(derive_seed(seed, "planted", kind))
        chosen = _from_many_patients(train.patients, count, rng)
        originals = train.take(chosen)
        if kind == "blended":
            partners = _of_other_patients(train.patients, chosen, rng)
            if partners is None:
                continue
            images = (originals.images.astype(np.float64) + train.images[partners]) / 2
            masks = originals.masks
        elif kind in GEOMETRIC:
            images, masks = _moved(kind, originals, rng)
        else:
            images, masks = _recoloured(kind, originals.images, value_range, rng), originals.masks
        stored = np.clip(np.rint(images), *value_range).astype(train.images.dtype)
        copies[kind] = _set_of(kind, originals, stored, masks)
    return copies


def _from_many_patients(patients: Array, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return positions of images drawn at random: a second one of a patient only when every patient has one."""
    shuffled = rng.permutation(len(patients))
    _, code = np.unique(patients[shuffled], return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(code[order]) > 0])
    turn = np.empty(len(code), np.int64)
    turn[order] = np.arange(len(code)) - np.repeat(starts, np.diff(np.r_[starts, len(code)]))
    return np.asarray(shuffled[np.argsort(turn, kind="stable")[:count]], np.int64)


def _of_other_patients(patients: Array, chosen: Array, rng: np.random.Generator) -> npt.NDArray[np.int64] | None:
    """Return for each chosen image the position of one of another patient; None when there is one patient."""
    if len(np.unique(patients)) < 2:
        return None
    return np.array([rng.choice(np.flatnonzero(patients != patients[place])) for place in chosen], np.int64)


def _recoloured(kind: str, images: Array, value_range: tuple[float, float], rng: np.random.Generator) -> Floats:
    low, high = value_range
    share = (images.astype(np.float64) - low) / (high - low)
    if kind == "intensity":
        share = share ** rng.choice(_GAMMAS, size=(len(images), 1, 1, 1))
    else:
        share = share + _NOISE * rng.normal(size=images.shape)
    return np.asarray(share * (high - low) + low)


def _moved(kind: str, originals: ImageSet, rng: np.random.Generator) -> tuple[Floats, Array | None]:
    """Return the images, interpolated linearly, and their masks, by the nearest pixel; edges are repeated."""
    images, masks = originals.images.astype(np.float64), originals.masks
    if kind == "identical":
        return images, masks
    if kind == "flipped":
        return images[..., ::-1], None if masks is None else masks[..., ::-1].copy()
    placements = [_PLACEMENTS[kind](np.array(images.shape[2:], np.float64), rng) for _ in images]
    warped = np.stack([[_warped(c, where, 1) for c in image] for image, where in zip(images, placements, strict=True)])
    if masks is None:
        return warped, None
    return warped, np.stack([_warped(mask, where, 0) for mask, where in zip(masks, placements, strict=True)])


def _warped(plane: Array, where: Placement, order: Literal[0, 1]) -> Array:
    warped: Array = ndimage.affine_transform(plane, where[0], where[1], order=order, mode="nearest")
    return warped


def _shifted(sides: Floats, rng: np.random.Generator) -> Placement:
    return np.eye(2), rng.choice([-1.0, 1.0], size=2) * _SHIFT * sides


def _rotated(sides: Floats, rng: np.random.Generator) -> Placement:
    angle = np.deg2rad(_DEGREES) * rng.choice([-1.0, 1.0])
    return _about_centre(np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), sides)


def _rescaled(sides: Floats, rng: np.random.Generator) -> Placement:
    return _about_centre(np.eye(2) / rng.choice(_SCALES), sides)


def _cropped(sides: Floats, rng: np.random.Generator) -> Placement:
    matrix, offset = _about_centre(np.eye(2) * _WINDOW, sides)
    return matrix, offset + rng.uniform(-0.5, 0.5, size=2) * (1 - _WINDOW) * sides


def _about_centre(matrix: Floats, sides: Floats) -> Placement:
    centre = (sides - 1) / 2
    return matrix, centre - matrix @ centre


_PLACEMENTS: Mapping[str, Callable[[Floats, np.random.Generator], Placement]] = {
    "shifted": _shifted,
    "rotated": _rotated,
    "rescaled": _rescaled,
    "cropped": _cropped,
}


def _set_of(kind: str, originals: ImageSet, images: Array, masks: Array | None) -> ImageSet:
    key = fingerprint({"planted": kind, "revision": REVISION, "images": sha256(np.ascontiguousarray(images).tobytes())})
    return ImageSet(f"planted, {kind}", images, masks, originals.labels, originals.patients, originals.groups, key)


def sensitivity(counts: Mapping[str, tuple[int, int]]) -> list[Value]:
    """Return the share of planted copies that was found: of each kind, of all, and of the kind that is found least.

    Intervals are exact (Clopper and Pearson 1934), for copies drawn independently: they are, within a kind, as long as
    there are as many patients as copies. "least" is the smallest of several shares, so it errs to the careful side.

    Args:
        counts: Kind -> (found, planted); nothing gives no row.
    """
    if not counts:
        return []
    of_kinds = [_share(kind, *count, f"{count[0]} of {count[1]}; {KINDS[kind]}") for kind, count in counts.items()]
    found, planted_ = (sum(count[place] for count in counts.values()) for place in (0, 1))
    least = min(counts, key=lambda kind: counts[kind][0] / counts[kind][1])
    return [
        *of_kinds,
        _share("all", found, planted_, f"{found} of {planted_} of {len(counts)} kinds"),
        _share("least", *counts[least], f"{least}: {KINDS[least]}"),
    ]


def _share(label: str, found: int, planted: int, reason: str) -> Value:
    low, high = clopper_pearson(found, planted)
    return Value("copy_sensitivity", found / planted, low, high, "share", "higher", label=label, reason=reason)
