"""The chest around the heart: outline, fat, ribs, lungs with vessels, diaphragm, liver, spleen, bowel, spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._render import Canvas, Polar, inside


@dataclass(frozen=True)
class Thorax:
    """What varies between patients. Lengths in millimetres, angles in radians, signals as of blood near 200.

    Attributes:
        turn: Rotation of the whole body in the image.
        room_mm: Between heart and chest wall, to the front and upwards.
        half: (x, y) half axes of the outline.
        waves: (order, height, phase) of the outline's departures from an ellipse.
        fat_mm: Mean thickness of the fat under the skin.
        muscle_mm: Thickness of the chest wall inside it.
        ribs: Ribs around the outline.
        diaphragm: (height under the heart's centre, slope, dome height, dome position, rise to the apex).
        liver: (water signal, x where it ends).
        spleen: (x, y, half axis, half axis).
        spine: (x, y, radius) or None when it lies outside the slice.
        lung: Signal of the lung.
        vessels: Lung vessels in a slice.
        fatness: Share of fat between the organs, about -1 to 1.
        gas: Whether the stomach holds gas (dark) or fluid (bright).
    """

    turn: float
    room_mm: tuple[float, float]
    half: tuple[float, float]
    waves: tuple[tuple[int, float, float], ...]
    fat_mm: float
    muscle_mm: float
    ribs: int
    diaphragm: tuple[float, float, float, float, float]
    liver: tuple[float, float]
    spleen: tuple[float, float, float, float]
    spine: tuple[float, float, float] | None
    lung: float
    vessels: int
    fatness: float
    gas: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Thorax:
        """Return a random chest."""
        turn = rng.normal(0, 0.3) + (rng.random() < 0.12) * rng.normal(0, 0.45)
        lean = rng.random()
        half = (float(np.clip(rng.normal(136, 12), 118, 165)), float(np.clip(rng.normal(160, 14), 140, 190)))
        return cls(
            turn=float(turn),
            room_mm=(rng.uniform(3, 18), rng.uniform(12, 62)),
            half=half,
            waves=tuple((k, rng.normal(0, 0.06 / k), rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)),
            fat_mm=6 + 30 * lean**2,
            muscle_mm=rng.uniform(7, 15),
            ribs=int(rng.integers(9, 16)),
            diaphragm=(
                rng.normal(38, 9),
                rng.normal(0.05, 0.22),
                rng.normal(14, 10),
                rng.normal(-15, 25),
                rng.normal(14, 8),
            ),
            liver=(rng.uniform(55, 100), rng.normal(15, 32)),
            spleen=(rng.normal(72, 14), rng.normal(72, 12), rng.uniform(15, 30), rng.uniform(12, 26)),
            spine=(rng.normal(62, 18), rng.normal(104, 14), rng.uniform(19, 25)) if rng.random() < 0.6 else None,
            lung=rng.uniform(14, 28),
            vessels=int(rng.integers(25, 90)),
            fatness=rng.normal(0.0, 0.5),
            gas=bool(rng.random() < 0.4),
        )

    def paint(
        self,
        canvas: Canvas,
        rng: np.random.Generator,
        level: Array,
        *,
        heart: tuple[float, float],
        reach_mm: tuple[float, float],
    ) -> None:
        """Draw the chest.

        Args:
            canvas: Is drawn on.
            rng: Source of randomness.
            level: (Z,) position of each slice, 0 at the base of the heart and 1 at its apex.
            heart: (x, y) of the heart's centre; the diaphragm lies under it.
            reach_mm: How far the heart reaches from there to the front and upwards.
        """
        zero = np.zeros(1, np.float32)
        x, y = canvas.x, canvas.y
        rim = self.fat_mm + self.muscle_mm
        across = self.half[0] - rim - self.room_mm[0] - reach_mm[0]
        down = self.half[1] - rim - self.room_mm[1] - reach_mm[1]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        polar = Polar(x, y, zero + heart[0] + cos * across - sin * down, zero + heart[1] + sin * across + cos * down)
        flat = polar.wave(2, self.turn) / 2
        # A superellipse of exponent 3: a chest is boxier than an ellipse.
        scale = ((0.5 + flat) ** 1.5 / self.half[0] ** 3 + (0.5 - flat) ** 1.5 / self.half[1] ** 3) ** (-1 / 3)
        for order, height, phase in self.waves:
            scale = scale * (1 + height * polar.wave(order, phase + self.turn))
        depth = scale * (1 - 0.05 * (level.reshape(-1, 1, 1) - 0.5).astype(np.float32)) - polar.radius
        depth = depth + 1.2 * canvas.noise(rng, 14, slices_alike=0.9)
        fat = self.fat_mm * (1 + 0.45 * polar.wave(1, self.turn + 2.6) + 0.25 * polar.wave(3, self.turn))
        self._wall(canvas, rng, polar, depth, np.maximum(fat, 3))
        cavity = depth - np.maximum(fat, 3) - self.muscle_mm
        self._lung(canvas, rng, cavity)
        self._abdomen(canvas, rng, cavity, level, heart)

    def _wall(self, canvas: Canvas, rng: np.random.Generator, polar: Polar, depth: Array, fat: Array) -> None:
        septa = np.clip(canvas.noise(rng, 5, slices_alike=0.5) * 0.3 - 0.4, 0, 0.3)
        bright = canvas.noise(rng, 11, slices_alike=0.8) * 16 + 232
        canvas.paint(inside(-depth, 1.5), 4 + septa * 90, bright * (1 - septa))
        # Skin is water: a thin grey line.
        canvas.paint(inside(np.abs(depth - 1.0) - 0.8, 1.2), 70.0)
        muscle = inside(fat - depth + 1.5 * canvas.noise(rng, 7, slices_alike=0.7), 2.0)
        strands = np.clip(canvas.noise(rng, 5, slices_alike=0.6) - 0.5, 0, 1)
        canvas.paint(muscle, 62.0, strands * 190)
        middle = np.abs(depth - fat - 0.55 * self.muscle_mm)
        rib = inside(middle - 0.3 * self.muscle_mm, 2.0) * np.clip(polar.wave(self.ribs, self.turn) * 3 - 0.6, 0, 1)
        canvas.paint(rib * 0.85, 30.0, 85.0)

    def _lung(self, canvas: Canvas, rng: np.random.Generator, cavity: Array) -> None:
        canvas.paint(inside(-cavity, 2.0), self.lung + 4 * canvas.noise(rng, 10))
        for share, size_mm in ((0.75, (0.8, 1.8)), (0.25, (1.5, 3.0))):
            spots = canvas.spots(rng, cavity > 8, round(self.vessels * share), size_mm)
            canvas.water += spots * rng.uniform(60, 150)

    def _abdomen(
        self, canvas: Canvas, rng: np.random.Generator, cavity: Array, level: Array, heart: tuple[float, float]
    ) -> None:
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        dx, dy = canvas.x[None, :] - heart[0], canvas.y[:, None] - heart[1]
        across, down = dx * cos + dy * sin, dy * cos - dx * sin
        below, slope, dome, top, rise = self.diaphragm
        edge = below + slope * across - dome * np.exp(-(((across - top) / 45) ** 2))
        edge = edge[None] - (rise * (level - 0.5)).reshape(-1, 1, 1).astype(np.float32)
        edge = edge + 2.5 * canvas.noise(rng, 26, slices_alike=0.8)
        deep = np.minimum(down - edge, cavity)
        inner = inside(-deep, 2.0)
        organs = self._organs(canvas, rng, across, down, deep)
        canvas.paint(inner, *organs)
        # The diaphragm's own muscle, and the fat on it.
        canvas.paint(inside(np.abs(deep - 2) - 1.2, 1.5) * inner, 45.0)
        if self.spine:
            self._spine(canvas, rng, across, down, inside(6 - cavity, 4.0))

    def _organs(
        self, canvas: Canvas, rng: np.random.Generator, across: Array, down: Array, deep: Array
    ) -> tuple[Array, Array]:
        coarse = canvas.noise(rng, 13, slices_alike=0.7)
        fine = canvas.noise(rng, 4.5, slices_alike=0.4)
        # Bowel and its mesentery: winding walls of water in fat.
        winding = coarse + 0.7 * fine
        gut_fat = np.clip((winding + self.fatness) * 2.2 + 0.2, 0, 1)
        water, fat = (1 - gut_fat) * (72 + 24 * coarse), gut_fat * (190 + 14 * fine)
        stomach = inside(np.hypot((across - self.liver[1] - 28) / 1.3, down - 62) - 21 - 3 * coarse, 2.5)
        content = 10.0 if self.gas else 110.0
        water, fat = water + stomach * (content + 20 * fine - water), fat * (1 - stomach)
        sx, sy, a, b = self.spleen
        spleen = inside((np.hypot((across - sx) / a, (down - sy) / b) - 1 + 0.08 * coarse) * b, 2.5)
        water, fat = water + spleen * (95 - water), fat * (1 - spleen)
        liver = inside(across - self.liver[1] + 7 * coarse + 0.35 * (down - 50), 2.5)
        vessels = canvas.spots(rng, (liver > 0.5) & (deep > 5), 14, (1.2, 4.0))
        tissue = self.liver[0] + 3 * fine + vessels * self.liver[0] * 1.1
        return water + liver * (tissue - water), fat * (1 - liver)

    def _spine(self, canvas: Canvas, rng: np.random.Generator, across: Array, down: Array, within: Array) -> None:
        assert self.spine is not None
        x, y, radius = self.spine
        texture = canvas.noise(rng, 5, slices_alike=0.5)
        body = inside(np.hypot((across - x) / 1.15, down - y) - radius, 2.5)
        canvas.paint(body * within, 60 + 8 * texture, 22.0)
        canal = inside(np.hypot(across - x - 0.6 * radius, down - y - 1.25 * radius) - 8, 2.0)
        canvas.paint(canal * within, 170.0)
        aorta = np.hypot(across - x + 1.25 * radius, down - y + 0.8 * radius)
        canvas.paint(inside(aorta - 13, 2.0) * within, 45.0)
        canvas.paint(inside(aorta - 10.5, 2.0) * within, 175 + 12 * texture)
