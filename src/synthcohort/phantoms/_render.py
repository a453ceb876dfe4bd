"""Drawing on a stack of slices: coordinates, soft shapes, smooth random fields, spots, and the MR signal.

Everything is drawn as two maps, water and fat. In the balanced steady-state images of cine MRI the two have opposite
phase, so the signal is |water - fat|: the dark line around every organ that touches fat comes from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..types import Array


@dataclass
class Canvas:
    """Water and fat of a stack of slices.

    Attributes:
        water: (Z, H, W) float32 signal of water.
        fat: (Z, H, W) float32 signal of fat.
        x: (W,) millimetres from the image's centre, to the right.
        y: (H,) millimetres from the image's centre, down.
    """

    water: Array
    fat: Array
    x: Array
    y: Array

    @classmethod
    def blank(cls, slices: int, height: int, width: int, spacing_mm: float) -> Canvas:
        """Return an empty canvas."""
        x = ((np.arange(width) - (width - 1) / 2) * spacing_mm).astype(np.float32)
        y = ((np.arange(height) - (height - 1) / 2) * spacing_mm).astype(np.float32)
        water = np.zeros((slices, height, width), np.float32)
        return cls(water, np.zeros_like(water), x, y)

    @property
    def spacing_mm(self) -> float:
        """Return the side of a pixel in millimetres."""
        return float(self.x[1] - self.x[0])

    def copy(self) -> Canvas:
        """Return a canvas that can be drawn on without changing this one."""
        return Canvas(self.water.copy(), self.fat.copy(), self.x, self.y)

    def window(self, x: float, y: float, radius: float) -> tuple[slice, slice]:
        """Return the (rows, columns) that hold the square of half side `radius` around a point."""
        rows = np.searchsorted(self.y, [y - radius, y + radius])
        columns = np.searchsorted(self.x, [x - radius, x + radius])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def part(self, window: tuple[slice, slice]) -> Canvas:
        """Return a canvas that shares the pixels of a window."""
        rows, columns = window
        return Canvas(self.water[:, rows, columns], self.fat[:, rows, columns], self.x[columns], self.y[rows])

    def paint(self, cover: Array, water: Array | float, fat: Array | float = 0.0) -> None:
        """Lay tissue over the canvas where `cover` (0 to 1, broadcast to the stack) says so."""
        self.water += cover * (water - self.water)
        self.fat += cover * (fat - self.fat)

    def spots(self, rng: np.random.Generator, where: Array, per_slice: int, radius_mm: tuple[float, float]) -> Array:
        """Return (Z, H, W) float32 random round spots, highest 1, at pixels where `where` is true."""
        reach = int(np.ceil(2.2 * radius_mm[1] / self.spacing_mm))
        depth, height, width = self.water.shape
        result = np.zeros((depth, height + 2 * reach, width + 2 * reach), np.float32)
        flat = np.flatnonzero(np.broadcast_to(where, self.water.shape))
        if not len(flat):
            return self.water * 0
        z, y, x = np.unravel_index(rng.choice(flat, per_slice * depth), self.water.shape)
        radius = rng.uniform(*radius_mm, len(z))
        stretch, turn = rng.uniform(1, 2.2, len(z)), rng.uniform(0, np.pi, len(z))
        offset = np.arange(-reach, reach + 1) * self.spacing_mm
        dy, dx = offset[None, :, None], offset[None, None, :]
        cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
        along, across = (dx * cos + dy * sin) / stretch[:, None, None], dy * cos - dx * sin
        blob = np.exp(-(along**2 + across**2) / radius[:, None, None] ** 2) * rng.uniform(0.4, 1, len(z))[:, None, None]
        step = np.arange(2 * reach + 1)
        rows, columns = y[:, None, None] + step[None, :, None], x[:, None, None] + step[None, None, :]
        np.maximum.at(result, (z[:, None, None], rows, columns), blob.astype(np.float32))
        return result[:, reach : reach + height, reach : reach + width]

    def noise(self, rng: np.random.Generator, length_mm: float, *, slices_alike: float = 0.0) -> Array:
        """Return (Z, H, W) float32 smooth Gaussian noise of mean 0 and variance about 1.

        Args:
            rng: Source of randomness.
            length_mm: Correlation length.
            slices_alike: Correlation between neighbouring slices, 0 to 1.
        """
        rows, columns = _basis(self.y, length_mm), _basis(self.x, length_mm)
        nodes = rng.standard_normal((len(self.water), rows.shape[1], columns.shape[1])).astype(np.float32)
        for z in range(1, len(nodes)):
            nodes[z] = slices_alike * nodes[z - 1] + np.sqrt(1 - slices_alike**2) * nodes[z]
        return np.asarray(rows @ nodes @ columns.T)


def _basis(places: Array, length_mm: float) -> Array:
    """Return (places, nodes) float32 Gaussian weights on a grid of nodes, rows of unit Euclidean norm."""
    nodes = np.arange(places[0] - 2 * length_mm, places[-1] + 2 * length_mm, length_mm)
    weights = np.exp(-(((places[:, None] - nodes) / length_mm) ** 2)).astype(np.float32)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def inside(distance: Array, softness_mm: Array | float) -> Array:
    """Return how far (0 to 1) a pixel is inside a shape: 1 at negative distances, 0 at positive, a ramp between."""
    return np.clip(0.5 - distance / softness_mm, 0, 1)


class Polar:
    """Polar coordinates around points that may differ by slice, with the harmonics of the angle ready to use.

    Attributes:
        radius: (Z, H, W) float32 millimetres.
    """

    def __init__(self, x: Array, y: Array, centre_x: Array, centre_y: Array) -> None:
        dx = x[None, None, :] - centre_x.reshape(-1, 1, 1).astype(np.float32)
        dy = y[None, :, None] - centre_y.reshape(-1, 1, 1).astype(np.float32)
        self.radius = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
        self._cos, self._sin = dx / self.radius, dy / self.radius
        self._powers = {1: (self._cos, self._sin)}

    def wave(self, order: int, phase: float) -> Array:
        """Return cos(order * (angle - phase)) at every pixel."""
        cos, sin = self._power(order)
        return np.asarray(cos * np.float32(np.cos(order * phase)) + sin * np.float32(np.sin(order * phase)))

    def _power(self, order: int) -> tuple[Array, Array]:
        if order not in self._powers:
            cos, sin = self._power(order - 1)
            self._powers[order] = (cos * self._cos - sin * self._sin, sin * self._cos + cos * self._sin)
        return self._powers[order]

    def sector(self, phase: float, width: float) -> Array:
        """Return a bump of height 1 around the direction `phase`; a larger `width` exponent makes it narrower."""
        return np.asarray(np.exp(np.float32(width) * (self.wave(1, phase) - 1)))


def signal(canvas: Canvas, coil: Array, rng: np.random.Generator, *, noise: float, blur_px: Array) -> Array:
    """Return the magnitude image of a canvas, (Z, H, W) float32.

    Args:
        canvas: Water and fat.
        coil: (H, W) or (Z, H, W) sensitivity of the receiver.
        rng: Source of randomness.
        noise: Standard deviation of the complex noise, in units of signal.
        blur_px: (Z,) standard deviation of the point spread of each slice, in pixels.
    """
    complex_sum = (canvas.water - canvas.fat) * coil
    for z, sigma in enumerate(blur_px):
        complex_sum[z] = ndimage.gaussian_filter(complex_sum[z], float(sigma), truncate=2.5)
    real, imaginary = rng.standard_normal((2, *complex_sum.shape), dtype=np.float32) * np.float32(noise)
    # Scanners interpolate: neighbouring pixels share part of their noise.
    real = 0.75 * real + 0.45 * (np.roll(real, 1, -1) + np.roll(real, 1, -2)) * np.float32(0.9)
    return np.asarray(np.sqrt((complex_sum + real) ** 2 + imaginary**2))
