"""The scanner: how a patient lies in it, its slices, its noise and artefacts, and how it stores values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..types import Array
from ._head_scene import SUBTYPES, Patient, draw, shown
from ._head_space import CACHED, Pose

_FINEST = 288
"""Pixels along a side that are drawn at most: about 0.8 mm, which is what a scanner resolves."""
LOWEST, HIGHEST = -1024, 3071
"""Hounsfield units that a scanner stores."""
PADDING = -3024
"""What some store outside the reconstructed circle: -2000 with an intercept of -1024."""


@dataclass(frozen=True)
class Scan:
    """One series of slices. Lengths in millimetres.

    Attributes:
        pose: How the head lies.
        field_mm: Side of the square field of view.
        first, step: Height of the lowest slice, and distance between slices.
        slices: How many.
        tilt: Of the gantry, in radians.
        table: (x, y, z) of the field's middle at the lowest slice, in the scanner's own coordinates.
        outside: Hounsfield units outside the circle that is reconstructed; None when all is.
        noise: Standard deviation in Hounsfield units at 512 pixels.
        streaks: Strength of the streaks between the petrous bones.
        rest: (radius, half width, Hounsfield units) of the headrest; width 0 when it is out of sight.
        moved: (first slice, slices, millimetres) during which the patient moved; 0 slices for none.
        windows: (centre, width) as strings, one or two.
    """

    pose: Pose
    field_mm: float
    first: float
    step: float
    slices: int
    tilt: float
    table: tuple[float, float, float]
    outside: int | None
    noise: float
    streaks: float
    rest: tuple[float, float, float]
    moved: tuple[int, int, float]
    windows: tuple[tuple[str, str], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, slices: int | None) -> Scan:
        """Return a random series, of as many slices as said, or else as cover the head at about 5 mm."""
        scale = rng.normal(1.0, 0.03)
        first, last = rng.uniform(-10, 6) * scale, rng.uniform(123, 132) * scale
        count = slices or int(np.clip(round((last - first) / rng.choice([4.5, 5.0, 5.0, 5.0, 5.5])), 24, 36))
        tilt = float(rng.uniform(-0.35, 0.1) * (rng.random() < 0.4))
        pose = Pose(
            shift=(rng.normal(0, 4), rng.normal(2, 5)),
            turn=rng.normal(0, 0.07),
            roll=rng.normal(0, 0.035),
            pitch=rng.normal(0.0, 0.07),
            scale=(scale * rng.normal(1, 0.015), scale * rng.normal(1, 0.015), scale),
        )
        moved = (int(rng.integers(count)), int(rng.integers(1, 5)), rng.uniform(1.5, 4))
        return cls(
            pose=pose,
            field_mm=float(rng.choice([250.0, 250.0, 240.0, 230.0, rng.uniform(218, 256)])),
            first=float(first),
            step=float((last - first) / count),
            slices=count,
            tilt=tilt,
            table=(0.0, float(rng.normal(-5, 20)), float(rng.uniform(-250, 400))),
            outside=[None, None, PADDING, LOWEST][rng.integers(4)],
            noise=rng.uniform(3.2, 6.0),
            streaks=rng.uniform(0.3, 1.3),
            rest=(rng.uniform(98, 116), 80.0 * (rng.random() < 0.75), rng.uniform(110, 320)),
            moved=moved if rng.random() < 0.06 else (0, 0, 0.0),
            windows=_WINDOWS[rng.choice(len(_WINDOWS), p=_SHARES)],
        )

    @property
    def levels(self) -> Array:
        """Return (Z,) float32 height of each slice above the foramen magnum."""
        return (self.first + self.step * np.arange(self.slices)).astype(np.float32)

    def position(self, index: int, side: int) -> tuple[float, float, float]:
        """Return where the middle of the first pixel of a slice lies, as ImagePositionPatient has it."""
        half = (self.field_mm - self.field_mm / side) / 2
        x, y, z = self.table
        # The table moves along z; the slices are tilted about x.
        up = z + index * self.step / np.cos(self.tilt)
        return x - half, float(y - half * np.cos(self.tilt)), float(up + half * np.sin(self.tilt))

    @property
    def orientation(self) -> tuple[float, float, float, float, float, float]:
        """Return the directions of rows and columns, as ImageOrientationPatient has them."""
        return 1.0, 0.0, 0.0, 0.0, float(np.cos(self.tilt)), float(-np.sin(self.tilt))


TWO_WINDOWS = (("00036", "00080"), ("00036", "00080"))
"""What some scanners of the real set state."""
_WINDOWS = (
    (("40", "80"),),
    (("30", "80"),),
    (("36", "80"),),
    (("35", "100"),),
    (("40", "150"),),
    TWO_WINDOWS,
    (("40", "80"), ("700", "3200")),
    (("50.0", "100.0"),),
)
_SHARES = (0.34, 0.2, 0.08, 0.08, 0.08, 0.1, 0.06, 0.06)


def acquire(patient: Patient, scan: Scan, side: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the slices, (Z, side, side) int16 Hounsfield units, and their labels, (Z, 5) bool.

    Args:
        patient: Who lies in the scanner.
        scan: The series.
        side: Pixels along a side; anatomy and labels do not depend on it.
        rng: Source of the noise.
    """
    levels = scan.levels
    seen = shown(patient, scan.pose, scan.field_mm, levels)
    drawn = min(side, _FINEST)
    series = np.empty((len(levels), side, side), np.int16)
    labels = np.zeros((len(levels), len(SUBTYPES)), bool)
    for bleed, flags in seen.items():
        labels[:, SUBTYPES.index(bleed.subtype)] |= flags
    size = max(1, CACHED // drawn**2)
    for first in range(0, len(levels), size):
        chunk = slice(first, first + size)
        own = {bleed: flags[chunk] for bleed, flags in seen.items()}
        slab, _ = draw(patient, scan.pose, drawn, scan.field_mm, levels[chunk], own)
        series[chunk] = _expose(slab.hu, scan, levels[chunk], first, side, rng)
    return series, labels


def _expose(hu: Array, scan: Scan, levels: Array, first: int, side: int, rng: np.random.Generator) -> Array:
    """Return (Z, side, side) int16 slices with the headrest, artefacts and noise."""
    np.maximum(hu, np.where(hu < -700, _headrest(scan, hu.shape[1]), -1024), out=hu)
    _streak(hu, scan, levels, rng)
    _smear(hu, scan, first)
    if side != hu.shape[1]:
        ramp = _enlarging(hu.shape[1], side)
        hu = ramp @ hu @ ramp.T
    hu = hu + _noise(rng, hu.shape, scan.noise) * (1 + 0.35 * np.exp(-(((levels - 16) / 18) ** 2)))[:, None, None]
    stored = np.clip(np.rint(hu), LOWEST, HIGHEST).astype(np.int16)
    if scan.outside is not None:
        place = (np.arange(side) - (side - 1) / 2) / (side / 2)
        stored[:, np.hypot(place[:, None], place) > 1] = scan.outside
    return stored


def _headrest(scan: Scan, side: int) -> Array:
    radius, half, level = scan.rest
    place = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * np.float32(scan.field_mm / side)
    u, v = place[None, :] - scan.pose.shift[0], place[:, None] - scan.pose.shift[1] - 4
    away = np.hypot(u, v)
    soft = max(scan.field_mm / side, 1.0)
    shell = np.minimum(np.abs(away - radius) - 1.1, np.abs(away - radius - 9) - 1.0)
    wall = np.clip(0.5 - np.maximum(np.maximum(shell, np.abs(u) - half), 20 - v) / soft, 0, 1)
    foam = (np.abs(away - radius - 4.5) < 4.5) & (np.abs(u) < half) & (v > 20)
    return np.asarray(np.where(foam, -930, -1000) + wall * (level + 900), dtype=np.float32)


def _streak(hu: Array, scan: Scan, levels: Array, rng: np.random.Generator) -> None:
    """Add the dark band and the fine lines that hardening of the beam leaves between the petrous bones."""
    side = hu.shape[1]
    place = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * np.float32(scan.field_mm / side)
    nodes = np.arange(-140, 141, 4.0)
    for image, level in zip(hu, levels, strict=True):
        strength = scan.streaks * float(np.exp(-(((level - 18) / 13) ** 2)))
        lines, slope = rng.standard_normal(len(nodes)), rng.normal(0, 0.12)
        if strength < 0.08:
            continue
        v = place - scan.pose.shift[1]
        along = np.interp(v[:, None] + slope * place[None, :], nodes, lines).astype(np.float32)
        band = np.exp(-(((v - 14) / 16) ** 2))[:, None] * np.exp(-((place / 40) ** 2))[None, :]
        reach = np.exp(-(((v - 10) / 42) ** 2))[:, None]
        image += np.float32(strength) * (4.5 * along * reach - 7 * band) * (image > -300)


def _smear(hu: Array, scan: Scan, first: int) -> None:
    """Double the outlines in the slices during which the patient moved."""
    start, count, distance = scan.moved
    for index, image in enumerate(hu, first):
        if start <= index < start + count:
            pixels = distance / scan.field_mm * len(image)
            image *= np.float32(0.62)
            image += np.float32(0.38) * ndimage.shift(
                image / np.float32(0.62), (0.4 * pixels, pixels), order=1, cval=-1000
            )


def _enlarging(small: int, large: int) -> Array:
    """Return (large, small) float32 weights of linear interpolation between the middles of pixels."""
    place = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(small))), dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Array:
    """Return noise as of an image reduced from 512 pixels: the fewer pixels, the less of it."""
    white = rng.standard_normal(shape, dtype=np.float32)
    side = shape[1]
    if side > 300:
        # Neighbouring pixels of a large image share part of their noise.
        white = white[:, :-1] + white[:, 1:]
        white = np.pad((white[:, :, :-1] + white[:, :, 1:]) * np.float32(0.5), ((0, 0), (0, 1), (0, 1)), mode="edge")
    return np.asarray(white * np.float32(strength * min(1.0, (side / 512) ** 0.6)))
