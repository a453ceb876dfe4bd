"""The heart in short-axis slices: both ventricles, the muscle between and around them, and its masks.

Lengths in millimetres, angles in radians with y down. Levels run from 0 at the base to 1 at the apex; below 0 the slice
shows the atria and the great vessels, above 1 it lies past the apex. Only 0 to 1 is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..types import Array
from ._render import Canvas, Polar, inside

# Group -> inner radius, wall, ejection fraction of the left ventricle; scale and ejection fraction of the right one.
# Means and spreads; the slice areas that result are near those of the ACDC groups at a 264 mm field of view.
_GROUPS = {
    "DCM": ((34.0, 3.0), (7.4, 0.9), (0.18, 0.05), (1.06, 0.12), (0.15, 0.08)),
    "HCM": ((24.5, 2.2), (10.5, 1.5), (0.66, 0.05), (0.98, 0.08), (0.52, 0.06)),
    "MINF": ((29.5, 2.6), (8.2, 0.9), (0.30, 0.06), (0.95, 0.08), (0.42, 0.08)),
    "NOR": ((25.0, 1.8), (6.6, 0.7), (0.58, 0.05), (1.0, 0.07), (0.46, 0.06)),
    "RV": ((24.0, 2.2), (5.8, 0.6), (0.54, 0.06), (1.1, 0.08), (0.28, 0.08)),
}


@dataclass(frozen=True)
class Heart:
    """One phase of one heart.

    Attributes:
        centre: (x, y) of the left ventricle at mid level.
        tilt: (x, y) shift of its axis from base to apex.
        septum: Direction from the left to the right ventricle.
        inner: Inner radius of the left ventricle at mid level.
        wall: Thickness of its wall.
        uneven: (height, direction) of the wall's thickening on one side, as a share.
        scar: (depth, direction) of the wall's local thinning, as a share; depth 0 for none.
        waves: (order, height, phase) of the cavity's departures from a circle.
        right: Size of the right ventricle against the left one's usual surroundings.
        right_shape: (reach, height, tip) of the right ventricle: shares of its size, and its shift along the septum.
        papillary: (direction, direction, radius) of the papillary muscles.
        fat: (mean thickness, height, direction) of the fat on the heart.
        blood, blood_right, muscle: Water signal of left and right blood and of the muscle.
        base: Levels by which the base has moved towards the apex.
        rough: How much blood signal varies within a cavity.
    """

    centre: tuple[float, float]
    tilt: tuple[float, float]
    septum: float
    inner: float
    wall: float
    uneven: tuple[float, float]
    scar: tuple[float, float]
    waves: tuple[tuple[int, float, float], ...]
    right: float
    right_shape: tuple[float, float, float]
    papillary: tuple[float, float, float]
    fat: tuple[float, float, float]
    blood: float
    blood_right: float
    muscle: float
    base: float
    rough: float

    @classmethod
    def draw(cls, rng: np.random.Generator, group: str) -> tuple[Heart, Heart]:
        """Return a random heart of a disease group at end-diastole and at end-systole."""
        inner, wall, ejection, right, ejection_right = (rng.normal(*pair) for pair in _GROUPS[group])
        septum = np.radians(164) + rng.normal(0, 0.9)
        body = float(np.clip(rng.normal(1, 0.08), 0.8, 1.25))
        blood = float(np.clip(rng.normal(208, 30), 140, 270))
        diastole = cls(
            centre=(rng.normal(-6, 26), rng.normal(-2, 28)),
            tilt=(rng.normal(6, 6), rng.normal(2, 6)),
            septum=float(septum),
            inner=float(inner * body),
            wall=float(max(wall, 5) * body),
            uneven=(rng.uniform(0.15, 0.55) if group == "HCM" else rng.uniform(0, 0.14), septum + rng.normal(0, 0.5)),
            scar=(rng.uniform(0.35, 0.6) if group == "MINF" else 0.0, rng.uniform(0, 2 * np.pi)),
            waves=tuple((k, rng.normal(0, 0.07 / (k - 1)), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)),
            right=float(right * body),
            right_shape=(rng.uniform(0.82, 1.12), rng.uniform(0.88, 1.12), rng.normal(0, 0.22)),
            papillary=(septum + rng.normal(2.2, 0.25), septum - rng.normal(2.1, 0.25), rng.uniform(3.2, 6.0)),
            fat=(rng.uniform(-1.5, 4.5), rng.uniform(0, 5), rng.uniform(0, 2 * np.pi)),
            blood=blood,
            blood_right=float(blood * np.clip(rng.normal(0.88, 0.09), 0.6, 1.05)),
            muscle=float(blood * np.clip(rng.normal(0.41, 0.07), 0.27, 0.6)),
            base=0.0,
            rough=rng.uniform(0.04, 0.13),
        )
        return diastole, diastole._systole(rng, float(ejection), float(ejection_right))

    @property
    def reach_mm(self) -> tuple[float, float]:
        """Return how far the heart reaches from the left ventricle's centre, to the right ventricle and elsewhere."""
        outer = self.inner + self.wall
        return 0.75 * outer + 36.0 * self.right, outer

    def _systole(self, rng: np.random.Generator, ejection: float, ejection_right: float) -> Heart:
        shortening = 0.14 * ejection
        inner = self.inner * np.sqrt(max(1 - ejection, 0.05) / (1 - shortening))
        # The muscle keeps its volume: what the wall loses in length it gains in area.
        area = ((self.inner + self.wall) ** 2 - self.inner**2) * (1 + 0.3 * ejection)
        return replace(
            self,
            centre=(self.centre[0] + rng.normal(0, 1.5), self.centre[1] + rng.normal(0, 1.5)),
            inner=float(inner),
            wall=float(np.sqrt(inner**2 + area) - inner),
            waves=tuple((order, height * 1.25, phase) for order, height, phase in self.waves),
            right=float(self.right * max(1 - ejection_right, 0.1) ** 0.35),
            papillary=(*self.papillary[:2], self.papillary[2] * 1.1),
            blood_right=self.blood_right * rng.uniform(0.85, 1.0),
            base=shortening + rng.uniform(-0.02, 0.04),
        )

    def paint(self, canvas: Canvas, rng: np.random.Generator, level: Array) -> Array:
        """Draw the heart and return its mask, (Z, H, W) uint8 in the classes of ACDC.

        Args:
            canvas: Is drawn on.
            rng: Source of randomness.
            level: (Z,) position of each slice along the end-diastolic heart.
        """
        mask = np.zeros(canvas.water.shape, np.uint8)
        window = canvas.window(*self.centre, radius=20 + self.inner + self.wall + 66 * self.right)
        # Breath-holds differ, so slices do not quite line up.
        jitter = rng.normal(0, 1.0, (2, len(level)))
        centre_x = self.centre[0] + self.tilt[0] * (level - 0.5) + jitter[0]
        centre_y = self.centre[1] + self.tilt[1] * (level - 0.5) + jitter[1]
        part = canvas.part(window)
        mask[:, window[0], window[1]] = self._paint(
            part, rng, (level - self.base) / (1 - self.base), centre_x, centre_y
        )
        return mask

    def _paint(self, canvas: Canvas, rng: np.random.Generator, level: Array, x: Array, y: Array) -> Array:
        left = Polar(canvas.x, canvas.y, x, y)
        inner, outer = self._left(left, level)
        labelled = ((level >= 0) & (level <= 1)).reshape(-1, 1, 1)
        right, along = self._right(canvas, level, x, y)
        soft = np.clip(1.2 + 5 * np.clip(level - 0.55, 0, 1), 1.2, 3.0).reshape(-1, 1, 1).astype(np.float32)
        to_inner, to_outer = left.radius - inner, left.radius - outer
        muscle = self.muscle * (1 + 0.05 * canvas.noise(rng, 7))
        flow = 1 + self.rough * canvas.noise(rng, 10) + 0.06 * canvas.noise(rng, 4)
        self._surroundings(canvas, rng, left, _smooth_minimum(to_outer, right - 3.2, 14.0))
        canvas.paint(inside(right - 3.2, soft), muscle)
        strands = np.clip(canvas.noise(rng, 4.5) * 1.4 - 1.5 + 0.055 * np.clip(right + 9, 0, 9), 0, 0.75)
        canvas.paint(inside(right, soft), self.blood_right * flow * (1 - strands) + self.muscle * strands)
        wall = np.where(labelled, muscle, self.blood * 0.55)
        canvas.paint(inside(to_outer, soft), wall)
        notches = np.clip(canvas.noise(rng, 4) * 1.3 - 1.5 + 0.16 * np.clip(to_inner + 8, 0, 8), 0, 0.85)
        canvas.paint(inside(to_inner, soft), self.blood * flow * (1 - notches) + muscle * notches)
        self._papillary(canvas, left, inner, muscle, level)
        if (level < 0).any():
            self._vessels(canvas, x, y, level, along)
        mask = np.zeros(canvas.water.shape, np.uint8)
        mask[right < 0] = 1
        mask[to_outer < 0] = 2
        mask[to_inner < 0] = 3
        return np.asarray(mask * labelled)

    def _left(self, polar: Polar, level: Array) -> tuple[Array, Array]:
        """Return inner and outer radius of the left ventricle at every pixel's angle, (Z, H, W)."""
        along = np.clip(level, 0, 1)
        taper = np.sqrt(np.clip(1 - (along / 0.95) ** 2.6, 0, 1)) * np.where(level <= 1, 1, 0)
        taper_outer = np.sqrt(np.clip(1 - (along / 1.04) ** 3.2, 0, 1)) * np.where(level <= 1, 1, 0)
        shape: Array = np.ones((1, 1, 1), np.float32)
        for order, height, phase in self.waves:
            shape = shape + np.float32(height) * polar.wave(order, phase)
        thick = self.wall * (1 + self.uneven[0] * polar.wave(1, self.uneven[1]))
        thick = thick * (1 - self.scar[0] * polar.sector(self.scar[1], 2.2)) if self.scar[0] else thick
        inner = (self.inner * taper).reshape(-1, 1, 1).astype(np.float32) * shape
        mean = (self.inner + self.wall) * taper_outer - self.inner * taper
        return inner, inner + (thick / self.wall) * np.maximum(mean, 0).reshape(-1, 1, 1).astype(np.float32)

    def _right(self, canvas: Canvas, level: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """Return the distance to the right ventricle's edge, negative inside, and the coordinate along the septum."""
        # The right ventricle is wrapped around the left one, so a larger left ventricle makes both reach further.
        outer = self.inner + self.wall
        size = (19.0 + 0.42 * outer) * self.right
        along = np.clip(level, 0, 1)
        taper = np.sqrt(np.clip(1.02 - (along / 0.88) ** 2.2, 0, 1)) * np.where(level < -0.12, 0.8, 1)
        reach, height, tip = self.right_shape
        cos, sin = np.cos(self.septum), np.sin(self.septum)
        away = (0.62 * outer + 0.26 * size * reach * self.right) * (0.45 + 0.55 * np.sqrt(1 - 0.8 * along**2))
        shift = tip * size * (0.5 + 0.5 * along)
        polar = Polar(canvas.x, canvas.y, x + cos * away - sin * shift, y + sin * away + cos * shift)
        # An ellipse with a blunt third harmonic: the rounded triangle of a right ventricle.
        form = 1 / np.sqrt(
            (0.5 + 0.5 * polar.wave(2, self.septum)) / reach**2
            + (0.5 - 0.5 * polar.wave(2, self.septum)) / (1.28 * height) ** 2
        )
        form = form * (1 + 0.09 * polar.wave(3, self.septum + np.pi / 3 + 0.4 * tip))
        edge = polar.radius - (size * taper).reshape(-1, 1, 1).astype(np.float32) * form
        edge = np.where((taper < 0.12).reshape(-1, 1, 1), 99, edge)
        return edge.astype(np.float32), polar.wave(1, self.septum)

    def _surroundings(self, canvas: Canvas, rng: np.random.Generator, polar: Polar, outside: Array) -> None:
        """Draw the fat on the heart, the pericardium and the groove between the ventricles."""
        mean, height, direction = self.fat
        thick = mean + height * polar.wave(1, direction) + 3.0 * canvas.noise(rng, 10, slices_alike=0.7)
        thick = np.clip(thick, 0, 12)
        # Below 0 the two ventricles' joint outline leaves room: the grooves, which are filled with fat.
        canvas.paint(inside(outside - thick - 1.5, 1.5), 45.0)
        canvas.paint(inside(outside - thick, 1.5), 6.0, 215 + 12 * canvas.noise(rng, 8))

    def _papillary(self, canvas: Canvas, polar: Polar, inner: Array, muscle: Array, level: Array) -> None:
        present = np.clip(1.6 - 5 * np.abs(level - 0.45), 0, 1).reshape(-1, 1, 1).astype(np.float32)
        radius = self.papillary[2]
        for direction in self.papillary[:2]:
            across = polar.radius * np.sqrt(np.clip(1 - polar.wave(1, direction) ** 2, 0, 1))
            out = polar.radius * polar.wave(1, direction) - (inner - 1.1 * radius)
            canvas.paint(inside(np.hypot(across, out) - radius, 2.0) * present * 0.9, muscle)

    def _vessels(self, canvas: Canvas, x: Array, y: Array, level: Array, along: Array) -> None:
        """Draw the root of the aorta above the base, between the ventricles."""
        reach = 0.8 * self.inner
        centre_x, centre_y = x + reach * np.cos(self.septum + 0.7), y + reach * np.sin(self.septum + 0.7)
        root = Polar(canvas.x, canvas.y, centre_x, centre_y)
        above = (level < 0).reshape(-1, 1, 1)
        canvas.paint(inside(root.radius - 15, 1.5) * above, self.muscle)
        canvas.paint(inside(root.radius - 13, 1.5) * above, self.blood * 0.95 + 8 * along)


def _smooth_minimum(left: Array, right: Array, width: float) -> Array:
    """Return a minimum that rounds the corner where both are equal, by at most a quarter of `width`."""
    near = np.clip(1 - np.abs(left - right) / np.float32(width), 0, 1)
    return np.asarray(np.minimum(left, right) - near * near * np.float32(width / 4))
