"""Where the pixels of a few slices lie in a head, smooth random fields on them, and distances to simple shapes.

Head coordinates in millimetres of a standard head: x to the patient's left (the right of the image), y to the back
(down), z to the top. The midline is x = 0, the foramen magnum z = 0, the highest point of the brain about z = 128.
Scanner coordinates are millimetres from the middle of the field of view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array

Point = tuple[float, float, float]

_REACH, _LOW, _HIGH = 132.0, -32.0, 158.0
"""Random fields reach so far from the middle of the field of view, and from below the head to above it."""
CACHED = 1 << 15
"""Pixels to draw at once: a few arrays of them fit into a processor's cache."""


class Field:
    """Smooth Gaussian noise in space, mean 0 and variance about 1, the same at every resolution.

    Args:
        rng: Source of randomness.
        length_mm: Correlation length.
    """

    def __init__(self, rng: np.random.Generator, length_mm: float) -> None:
        self._places = tuple(
            np.arange(low - 2 * length_mm, high + 2 * length_mm, length_mm, dtype=np.float32)
            for low, high in ((_LOW, _HIGH), (-_REACH, _REACH), (-_REACH, _REACH))
        )
        self._length = np.float32(length_mm)
        self._nodes = rng.standard_normal([len(places) for places in self._places], dtype=np.float32)

    def at(self, z: Array, y: Array, x: Array) -> Array:
        """Return (Z, H, W) float32 values on a grid of scanner coordinates, each axis given as (n,)."""
        basis = [self._basis(places, axis) for places, axis in zip(self._places, (z, y, x), strict=True)]
        shape = self._nodes.shape
        planes = (basis[0] @ self._nodes.reshape(shape[0], -1)).reshape(-1, *shape[1:])
        return np.asarray(basis[1] @ planes @ basis[2].T)

    def _basis(self, nodes: Array, places: Array) -> Array:
        weights = np.exp(-(((places[:, None] - nodes) / self._length) ** 2))
        return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


@dataclass(frozen=True)
class Pose:
    """How a head lies in the scanner.

    Attributes:
        shift: (x, y) of the head's middle in the field of view.
        turn: Rotation about the long axis, in radians.
        roll, pitch: Rise of the slice plane in head coordinates per millimetre to the left and to the back.
        scale: (x, y, z) size of this head against the standard one.
    """

    shift: tuple[float, float]
    turn: float
    roll: float
    pitch: float
    scale: Point


@dataclass
class Slab:
    """A few slices that are being drawn, or a box of them.

    Attributes:
        hu: (Z, H, W) float32 Hounsfield units; boxes share it.
        x, y, z: (Z, H, W) float32 head coordinates.
        u, v, w: (W,), (H,), (Z,) scanner coordinates.
        pose: How the head lies.
    """

    hu: Array
    x: Array
    y: Array
    z: Array
    u: Array
    v: Array
    w: Array
    pose: Pose

    @classmethod
    def blank(cls, pose: Pose, side: int, field_mm: float, levels: Array) -> Slab:
        """Return slices full of air.

        Args:
            pose: How the head lies.
            side: Pixels along a side.
            field_mm: Millimetres along a side.
            levels: (Z,) scanner height of each slice in millimetres.
        """
        u = ((np.arange(side) - (side - 1) / 2) * (field_mm / side)).astype(np.float32)
        w = np.asarray(levels, np.float32)
        du, dv = u[None, None, :] - np.float32(pose.shift[0]), u[None, :, None] - np.float32(pose.shift[1])
        cos, sin = np.float32(np.cos(pose.turn)), np.float32(np.sin(pose.turn))
        x, y, z = cos * du + sin * dv, cos * dv - sin * du, w[:, None, None] + pose.roll * du + pose.pitch * dv
        shape = (len(w), side, side)
        hx, hy, hz = (
            np.array(np.broadcast_to((axis / scale).astype(np.float32), shape))
            for axis, scale in zip((x, y, z), pose.scale, strict=True)
        )
        return cls(np.full(shape, -1000, np.float32), hx, hy, hz, u, u, w, pose)

    @property
    def softness(self) -> float:
        """Return the width of an edge in millimetres: that of a pixel, but at least what the scanner resolves."""
        return max(float(self.u[1] - self.u[0]), 0.8)

    def field(self, field: Field) -> Array:
        """Return (Z, H, W) float32 values of a random field."""
        return field.at(self.w, self.v, self.u)

    def box(self, low: Point, high: Point) -> Slab | None:
        """Return the part that surrounds a box in head coordinates, or None when no slice meets it."""
        pose = self.pose
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]) * pose.scale[:2]
        cos, sin = np.cos(pose.turn), np.sin(pose.turn)
        u = corners @ (cos, -sin) + pose.shift[0]
        v = corners @ (sin, cos) + pose.shift[1]
        tilt = np.abs(corners) @ (abs(pose.roll), abs(pose.pitch))
        depth = (low[2] * pose.scale[2] - tilt.max(), high[2] * pose.scale[2] + tilt.max())
        parts = [
            slice(*np.searchsorted(axis, (least - 2, most + 2)).tolist())
            for axis, (least, most) in zip(
                (self.w, self.v, self.u), (depth, (v.min(), v.max()), (u.min(), u.max())), strict=True
            )
        ]
        if any(part.start >= part.stop for part in parts) or min(parts[k].stop - parts[k].start for k in (1, 2)) < 2:
            return None
        return self.part(parts[0], parts[1], parts[2])

    def part(self, slices: slice, rows: slice, columns: slice) -> Slab:
        """Return a part of the slab; `hu` is shared."""
        where = (slices, rows, columns)
        hu, x, y, z = (array[where] for array in (self.hu, self.x, self.y, self.z))
        return Slab(hu, x, y, z, self.u[columns], self.v[rows], self.w[slices], self.pose)

    def place_in(self, whole: Slab) -> tuple[slice, slice, slice]:
        """Return where this box lies in the slab it was taken from."""
        found = []
        for axis, own in ((whole.w, self.w), (whole.v, self.v), (whole.u, self.u)):
            first = int(np.searchsorted(axis, own[0]))
            found.append(slice(first, first + len(own)))
        return found[0], found[1], found[2]

    def paint(self, cover: Array, value: Array | float) -> None:
        """Lay tissue over the slices where `cover` (0 to 1) says so."""
        self.hu += cover * (value - self.hu)

    def inside(self, distance: Array) -> Array:
        """Return how far (0 to 1) a pixel is inside a shape of which it is `distance` millimetres outside."""
        return np.asarray(np.clip(np.float32(0.5) - distance * np.float32(1 / self.softness), 0, 1))

    def ellipsoid(self, centre: Point, radii: Point) -> Array:
        """Return about how many millimetres each pixel is outside an ellipsoid."""
        total = ((self.x - centre[0]) * (1 / radii[0])) ** 2
        total += ((self.y - centre[1]) * (1 / radii[1])) ** 2
        total += ((self.z - centre[2]) * (1 / radii[2])) ** 2
        return np.asarray((np.sqrt(total) - 1) * np.float32(min(radii)))


def tube(
    x: Array, y: Array, z: Array, ends: tuple[Point, Point], radii: tuple[float, float], *, tall: float = 1.0
) -> Array:
    """Return about how many millimetres each point is outside a tube.

    Args:
        x: Head coordinate.
        y: Head coordinate.
        z: Head coordinate.
        ends: Where its axis starts and ends.
        radii: Radius at either end.
        tall: How much taller than wide its section is.
    """
    (ax, ay, az), (bx, by, bz) = ends
    dx, dy, dz = bx - ax, by - ay, (bz - az) / tall
    px, py, pz = x - ax, y - ay, (z - az) * (1 / tall)
    share = np.clip((px * dx + py * dy + pz * dz) * (1 / (dx * dx + dy * dy + dz * dz)), 0, 1)
    across = np.sqrt((px - share * dx) ** 2 + (py - share * dy) ** 2 + (pz - share * dz) ** 2)
    return np.asarray(across - (radii[0] + share * (radii[1] - radii[0])), dtype=np.float32)
