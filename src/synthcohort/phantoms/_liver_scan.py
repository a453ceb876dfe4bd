"""A stack of CT slices to draw on: coordinates of a standard patient, shapes, smooth fields, and the scanner's noise.

Coordinates in millimetres of a patient of average build, whom `Build` scales to a real size: x to the patient's left
(right in the image), y to the back (down), t from the top of the liver's dome towards the feet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Array

Point = tuple[float, float, float]
_REACH = ((-230.0, 230.0), (-190.0, 190.0), (-70.0, 340.0))
"""What fields cover, along x, y and t."""


@dataclass
class Scan:
    """Some neighbouring slices, or a window of them that shares their pixels.

    Attributes:
        hu: (Z, H, W) float32 Hounsfield units; is drawn on.
        x, y, t: (W,), (H,), (Z,) float32 coordinates; t may run either way.
        soft: Width of an edge in millimetres.
        fine, middle: (Z, H, W) smooth fields of mean 0 and variance about 1.
    """

    hu: Array
    x: Array
    y: Array
    t: Array
    soft: float
    fine: Array
    middle: Array

    def window(self, low: Sequence[float], high: Sequence[float]) -> Scan | None:
        """Return the part between two corners (x, y, t), or None where it has no pixel."""
        if self.t.min() > high[2] or self.t.max() < low[2]:
            return None
        box = self.box(low, high)
        if any(part.start >= part.stop for part in box):
            return None
        z, y, x = box
        return Scan(self.hu[box], self.x[x], self.y[y], self.t[z], self.soft, self.fine[box], self.middle[box])

    def box(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
        """Return the (slices, rows, columns) between two corners."""
        found = []
        for axis, values in enumerate((self.x, self.y, self.t)):
            rising = len(values) < 2 or values[-1] > values[0]
            ends = np.searchsorted(values if rising else values[::-1], (low[axis], high[axis]))
            start, stop = (int(end) for end in ends)
            found.append(slice(start, stop) if rising else slice(len(values) - stop, len(values) - start))
        return found[2], found[1], found[0]

    @property
    def dx(self) -> Array:
        """Return x, to broadcast."""
        return self.x[None, None, :]

    @property
    def dy(self) -> Array:
        """Return y, to broadcast."""
        return self.y[None, :, None]

    @property
    def dt(self) -> Array:
        """Return t, to broadcast."""
        return self.t[:, None, None]

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """Return how far pixels are inside a shape, from the distance to its edge, negative inside."""
        return np.clip(np.float32(0.5) - distance / np.float32(self.soft + soft), 0, 1)

    def paint(self, cover: Array, hu: Array | float) -> None:
        """Lay tissue over the slices where `cover` (0 to 1) says so."""
        self.hu += cover * (hu - self.hu)


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, turned about t.

    Attributes:
        centre: (x, y, t).
        radii: Half axes before it is turned.
        turn: Radians.
    """

    centre: Point
    radii: Point
    turn: float = 0.0

    def window(self, scan: Scan, margin: float = 4.0) -> Scan | None:
        """Return the part of a scan that holds it."""
        wide = max(self.radii[:2]) if self.turn else 0.0
        reach = [max(wide, self.radii[0]) + margin, max(wide, self.radii[1]) + margin, self.radii[2] + margin]
        ends = [[centre + sign * by for centre, by in zip(self.centre, reach, strict=True)] for sign in (-1, 1)]
        return scan.window(*ends)

    def distance(self, scan: Scan) -> Array:
        """Return about how far pixels are from the surface, negative inside."""
        x, y = scan.dx - np.float32(self.centre[0]), scan.dy - np.float32(self.centre[1])
        if self.turn:
            cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
            x, y = x * cos + y * sin, y * cos - x * sin
        squares = (x / np.float32(self.radii[0])) ** 2 + (y / np.float32(self.radii[1])) ** 2
        squares = squares + ((scan.dt - np.float32(self.centre[2])) / np.float32(self.radii[2])) ** 2
        return np.asarray((np.sqrt(squares) - 1) * np.float32(min(self.radii)))


@dataclass(frozen=True)
class Tube:
    """A straight piece of a vessel or a gut, round in space, tapering from one end to the other."""

    start: Point
    end: Point
    radius: float
    radius_end: float

    def window(self, scan: Scan, margin: float = 3.0) -> Scan | None:
        """Return the part of a scan that holds it."""
        by = max(self.radius, self.radius_end) + margin
        pairs = list(zip(self.start, self.end, strict=True))
        return scan.window([min(pair) - by for pair in pairs], [max(pair) + by for pair in pairs])

    def distance(self, scan: Scan) -> Array:
        """Return how far pixels are from the surface, negative inside."""
        ends = np.array([self.start, self.end], np.float32)
        along = ends[1] - ends[0]
        x, y, t = scan.dx - ends[0, 0], scan.dy - ends[0, 1], scan.dt - ends[0, 2]
        share = (x * along[0] + y * along[1] + t * along[2]) / np.float32(max(float(along @ along), 1e-6))
        share = np.clip(share, 0, 1)
        x, y, t = x - share * along[0], y - share * along[1], t - share * along[2]
        radius = np.float32(self.radius) + share * np.float32(self.radius_end - self.radius)
        return np.asarray(np.sqrt(x * x + y * y + t * t) - radius)


class Field:
    """Smooth random noise that fills the patient, the same whichever slices are looked at.

    Args:
        rng: Source of randomness.
        length_mm: Correlation length.
    """

    def __init__(self, rng: np.random.Generator, length_mm: float) -> None:
        self._length = length_mm
        self._places = [np.arange(low, high + length_mm, length_mm, dtype=np.float32) for low, high in _REACH]
        shape = [len(places) for places in self._places[::-1]]
        self._nodes = rng.standard_normal(shape).astype(np.float32)

    def at(self, x: Array, y: Array, t: Array) -> Array:
        """Return (Z, H, W) float32 of mean 0 and variance about 1."""
        across, down, through = (self._basis(at, places) for at, places in zip((x, y, t), self._places, strict=True))
        planes = np.tensordot(through, self._nodes, 1)
        return np.asarray(down @ planes @ across.T)

    def _basis(self, at: Array, places: Array) -> Array:
        weights = np.exp(-(((at[:, None] - places) / np.float32(self._length)) ** 2))
        return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def smooth_maximum(left: Array, right: Array, width: float) -> Array:
    """Return a maximum that rounds the corner where both are equal, by at most a quarter of `width`."""
    near = np.clip(1 - np.abs(left - right) / np.float32(width), 0, 1)
    return np.asarray(np.maximum(left, right) + near * near * np.float32(width / 4))


def chain(points: Array, radii: Array) -> list[Tube]:
    """Return the tubes between neighbouring points, (n, 3), with the radius (n,) of each."""
    ends = [(float(x), float(y), float(t)) for x, y, t in points]
    sizes = radii.tolist()
    return [Tube(a, b, ra, rb) for a, b, ra, rb in zip(ends, ends[1:], sizes, sizes[1:], strict=False)]


@dataclass(frozen=True)
class Noise:
    """What the scanner adds.

    Attributes:
        strength: Standard deviation in Hounsfield units at 0.7 mm a pixel, in the middle of the patient.
        streaks: Standard deviation of streaks along the patient's broadest directions.
        angles: Their directions in radians.
    """

    strength: float
    streaks: float
    angles: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Noise:
        """Return a random scanner setting."""
        angles = tuple(rng.normal((0, 0.35, -0.35), 0.09).tolist())
        return cls(float(rng.uniform(9, 17)), float(rng.uniform(0.8, 2.6)), angles)

    def add(self, hu: Array, x: Array, y: Array, pixel_mm: float, rng: np.random.Generator) -> None:
        """Add noise and streaks to (Z, H, W) slices; x and y are the places of their columns and rows."""
        white = rng.standard_normal(hu.shape, dtype=np.float32)
        strength = np.float32(self.strength * min(1.0, 0.7 / pixel_mm) ** 0.5)
        if pixel_mm < 1.4:  # the kernel of the reconstruction spreads noise over a few pixels
            for axis in (1, 2):
                white = 0.62 * white + 0.39 * (np.roll(white, 1, axis) + np.roll(white, -1, axis))
        middle = np.exp(-((x[None, :] / 150) ** 2) - (y[:, None] / 110) ** 2)
        white *= strength * (np.float32(0.55) + np.float32(0.55) * middle)
        for angle in self.angles:
            table = rng.standard_normal((len(hu), 512), dtype=np.float32) * np.float32(self.streaks)
            table = 0.5 * (table + np.roll(table, 1, 1))
            place = y[:, None] * np.float32(np.cos(angle)) - x[None, :] * np.float32(np.sin(angle))
            white += table[:, ((place + 300) * 0.7).astype(np.int32) & 511] * middle
        hu += white
