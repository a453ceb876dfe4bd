"""The back of one eye: its anatomy, how it was photographed, and where the pixels of the photograph lie in it.

Lengths are in radii of the camera's round field, about 25 degrees. x runs to the nose, y down; the origin is the middle
of the field. The photograph of a left eye is mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._fundus_vessels import Vessels, grow
from ._render import Canvas, inside

SHAPE = (2848, 4288)
"""Rows and columns of the real photographs."""


@dataclass(frozen=True)
class Eye:
    """One eye and how its photograph was taken.

    Attributes:
        right: Whether it is a right eye: its optic disc lies on the right of the photograph.
        disc, fovea: Their middles.
        disc_radii: Half width and half height of the disc; `disc_waves` are departures of its outline from an ellipse,
            (order, height, phase) each.
        cup: (shift to the temple, ratio) of the pale middle of the disc, in half widths of it.
        atrophy: Strength of a pale crescent at the disc's temporal side, 0 for none.
        pigment: 0 to 1, how dark the retina is; `tessellation` how well the choroid's vessels show.
        macula: (radius, strength) of the dark spot; `reflex` brightness of the point in its middle.
        field: Radius of the field in widths of the photograph; `shift` (x, y) of its middle in radii; `turn` of the eye
            in radians.
        light: (brightness, fall to the rim, x and y of the brightest place, unevenness).
        tint: Gain of red, green and blue.
        blur: Standard deviation of the point spread; `noise` that of the sensor, in grey levels.
        vessels: All vessels, largest first.
    """

    right: bool
    disc: tuple[float, float]
    fovea: tuple[float, float]
    disc_radii: tuple[float, float]
    disc_waves: tuple[tuple[int, float, float], ...]
    cup: tuple[float, float]
    atrophy: float
    pigment: float
    tessellation: float
    macula: tuple[float, float]
    reflex: float
    field: float
    shift: tuple[float, float]
    turn: float
    light: tuple[float, float, float, float, float]
    tint: tuple[float, float, float]
    blur: float
    noise: float
    vessels: Vessels

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Eye:
        """Return a random eye."""
        fovea = rng.normal((-0.03, 0.03), (0.05, 0.05))
        disc = fovea + rng.normal((0.74, -0.07), 0.035)
        height = float(rng.normal(0.15, 0.01))
        return cls(
            right=bool(rng.random() < 0.5),
            disc=(float(disc[0]), float(disc[1])),
            fovea=(float(fovea[0]), float(fovea[1])),
            disc_radii=(height * float(rng.uniform(0.84, 0.98)), height),
            disc_waves=tuple((k, float(rng.normal(0, 0.03 / k)), float(rng.uniform(0, 2 * np.pi))) for k in (2, 3, 4)),
            cup=(float(rng.uniform(0.05, 0.18)), float(rng.uniform(0.3, 0.58))),
            atrophy=float(max(rng.normal(0.1, 0.25), 0)),
            pigment=float(np.clip(rng.normal(0.45, 0.24), 0, 1)),
            tessellation=float(np.clip(rng.gamma(1.3, 0.045), 0.01, 0.2)),
            macula=(float(rng.uniform(0.14, 0.21)), float(rng.uniform(0.25, 0.55))),
            reflex=float(max(rng.normal(0.02, 0.07), 0)),
            field=float(np.clip(rng.normal(0.402, 0.006), 0.38, 0.42)),
            shift=(float(rng.normal(-0.05, 0.03)), float(rng.normal(0, 0.012))),
            turn=float(rng.normal(0, 0.05)),
            light=tuple(rng.normal((0.9, 0.26, 0, 0, 0.05), (0.08, 0.08, 0.2, 0.15, 0.015)).tolist()),
            tint=tuple(np.exp(rng.normal(0, (0.03, 0.06, 0.09))).tolist()),
            blur=float(rng.uniform(0.0008, 0.0026)),
            noise=float(rng.uniform(1.0, 3.0)),
            vessels=grow(rng, disc, fovea),
        )


class View:
    """The pixels of a photograph of an eye.

    Args:
        eye: The eye.
        width: Columns; rows follow from the shape of the real photographs.

    Attributes:
        x, y: (H, W) float32 places in the eye.
        distance: (H, W) float32 distance from the middle of the field.
        pixel: Side of a pixel.
    """

    def __init__(self, eye: Eye, width: int) -> None:
        self.shape = (max(round(width * SHAPE[0] / SHAPE[1]), 1), width)
        self.pixel = 1 / (eye.field * width)
        self.middle = np.array([(width - 1) / 2, (self.shape[0] - 1) / 2]) + np.array(eye.shift) / self.pixel
        cos, sin = np.cos(eye.turn), np.sin(eye.turn)
        turn = np.array([[cos, sin], [-sin, cos]])
        if not eye.right:
            turn[:, 0] *= -1
        columns = ((np.arange(width) - self.middle[0]) * self.pixel).astype(np.float32)
        rows = ((np.arange(self.shape[0]) - self.middle[1]) * self.pixel).astype(np.float32)
        self.to_pixels = turn / self.pixel
        forth = np.linalg.inv(turn).astype(np.float32)
        self.x = np.add.outer(rows * forth[1, 0], columns * forth[0, 0])
        self.y = np.add.outer(rows * forth[1, 1], columns * forth[0, 1])
        self.distance = np.sqrt(np.add.outer(rows**2, columns**2))
        self._canvas = Canvas.blank(1, *self.shape, self.pixel)

    def pixels(self, points: Array) -> Array:
        """Return (column, row) of places in the eye, any shape (..., 2)."""
        return np.asarray(points @ self.to_pixels + self.middle)

    def window(self, place: tuple[float, float], reach: float) -> tuple[slice, slice]:
        """Return rows and columns of the square of half side `reach` around a place."""
        column, row = self.pixels(np.array(place))
        half = reach / self.pixel
        rows, columns = (
            slice(*np.clip((round(at - half), round(at + half) + 1), 0, end).tolist())
            for at, end in ((row, self.shape[0]), (column, self.shape[1]))
        )
        return rows, columns

    def noise(self, rng: np.random.Generator, length: float) -> Array:
        """Return (H, W) float32 smooth noise of mean 0 and variance about 1."""
        return np.asarray(self._canvas.noise(rng, length)[0])

    def field(self) -> Array:
        """Return (H, W) float32, 1 inside the camera's round field, 0 outside, a soft rim between."""
        return inside(self.distance - 1, max(2 * self.pixel, 0.006))
