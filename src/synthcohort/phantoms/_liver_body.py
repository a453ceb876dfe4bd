"""The trunk around the organs: skin, fat, muscles, ribs, spine, lungs above the diaphragm, heart, and the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Array
from ._liver_scan import Blob, Scan, Tube

FAT, MUSCLE, LUNG, AIR = -103.0, 57.0, -865.0, -1000.0
_RIB_MM, _VERTEBRA_MM = 27.0, 31.0
_MARGIN = ((0.0, 0.35, 0.6, 0.74, 0.88, 1.0), (150.0, 185.0, 120.0, 60.0, 8.0, -20.0))
"""How far down ribs reach, by position from the spine (0) to the breastbone (1)."""


@dataclass(frozen=True)
class Build:
    """What differs between patients. Lengths in millimetres of the standard patient unless said otherwise.

    Attributes:
        scale: Real millimetres to one of the standard patient, along x, y and t.
        offset_mm: (x, y) of the body's middle in the image, in real millimetres.
        fat: Mean thickness of the fat under the skin.
        waves: (order, height, phase, t phase) of the outline's departures from its formula, as shares.
        muscle: Thickness of the wall at the sides.
        left_dome: How much lower the left diaphragm stands.
        recess: How far down lungs reach behind.
        ribs: (phase, slope) of the ribs.
        spine: (phase of the vertebrae, bend, density of the bone).
        calcium: Whether the aorta's wall is calcified.
        table: (distance below the back, curvature).
    """

    scale: tuple[float, float, float]
    offset_mm: tuple[float, float]
    fat: float
    waves: tuple[tuple[int, float, float, float], ...]
    muscle: float
    left_dome: float
    recess: float
    ribs: tuple[float, float]
    spine: tuple[float, float, float]
    calcium: bool
    table: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Return a random build."""
        size = rng.normal(1.0, 0.05)
        scale = np.clip(size * rng.normal(1.0, (0.035, 0.05, 0.05)), 0.85, 1.18)
        waves = tuple(
            (k, float(rng.normal(0, 0.045 / k)), float(rng.uniform(0, 6.3)), float(rng.uniform(0, 6.3)))
            for k in (2, 3, 4, 5)
        )
        return cls(
            scale=(float(scale[0]), float(scale[1]), float(scale[2])),
            offset_mm=(float(rng.normal(0, 4)), float(rng.normal(6, 7))),
            fat=float(np.clip(rng.gamma(3.2, 5.0), 4, 38)),
            waves=waves,
            muscle=float(rng.uniform(10, 15)),
            left_dome=float(rng.normal(16, 6)),
            recess=float(rng.normal(105, 14)),
            ribs=(float(rng.uniform(0, 1)), float(rng.normal(112, 9))),
            spine=(float(rng.uniform(0, 1)), float(rng.normal(0, 4)), float(rng.normal(190, 45))),
            calcium=bool(rng.random() < 0.35),
            table=(float(rng.uniform(1, 6)), float(rng.uniform(0.0004, 0.0012))),
        )

    @property
    def rows(self) -> tuple[float, float]:
        """Return y of the first and last row that shows more than air."""
        return -122 - 1.6 * self.fat, 165 + 1.6 * self.fat


class Trunk:
    """The body laid out on the pixels of a scan; what does not depend on the level is worked out once.

    Args:
        build: Of the patient.
        x, y: Coordinates of the columns and rows.

    Attributes:
        dome: (H, W) t of the diaphragm: above it is lung.
    """

    def __init__(self, build: Build, x: Array, y: Array) -> None:
        self.build = build
        self._x, self._y = x[None, :], y[:, None]
        self._radius = np.sqrt(self._x**2 + self._y**2) + np.float32(1e-3)
        cos, sin = self._x / self._radius, self._y / self._radius
        self._front = np.clip(-sin, 0, 1) ** 2
        back = np.clip(sin, 0, 1)
        power = np.where(sin > 0, np.float32(2.9), np.float32(2.25))
        flat = (np.abs(cos) / 148) ** power + (
            np.abs(sin) / np.where(sin > 0, np.float32(101), np.float32(104))
        ) ** power
        self._rim = flat ** (-1 / power) - 7 * np.exp(-((self._x / 13) ** 2)) * back
        angle = np.arctan2(self._y, self._x)
        self._waves = [np.cos(order * angle - phase) for order, _, phase, _ in build.waves]
        side = np.abs(cos) ** 1.5
        self._fat = build.fat * (0.62 + 0.5 * side * (0.6 + back) + 0.35 * back) + 0.25 * build.fat * self._front
        line = np.exp(-((self._x / 9) ** 2)) * self._front  # between the two straight muscles of the belly
        beside = 26 * np.exp(-((self._x / 64) ** 4)) * back  # the muscles along the spine
        uneven = 1 + 0.16 * self._waves[1] + 0.1 * self._waves[3]
        self._muscle = build.muscle * (1 - 0.25 * self._front - 0.6 * line) * uneven + 7 * back * back + beside
        self._around = np.arccos(np.clip(sin, -1, 1)) / np.float32(np.pi)
        self.dome = self._dome(back)

    def _dome(self, back: Array) -> Array:
        down = np.where(self._y < -4, np.float32(0.62), np.float32(1.1)) * (self._y + 4) ** 2  # flatter in front
        right = 0.0056 * ((self._x + 62) ** 2 + down)
        left = self.build.left_dome + 0.006 * ((self._x - 70) ** 2 + down)
        inner = np.maximum(self._rim - self._radius - self._muscle, 0)
        recess = self.build.recess * (0.62 + 0.38 * back - 0.35 * self._front) * np.exp(-inner / (9 + 4 * back))
        low = np.minimum(right, left)
        near = np.clip(1 - np.abs(right - left) / 24, 0, 1)
        return np.asarray(low - 6 * near * near + recess, dtype=np.float32)

    def wall(self, t: Array) -> Array:
        """Return (Z, H, W) depth below the outer surface of the muscles, positive inside."""
        rim = np.broadcast_to(self._rim, (len(t), *self._rim.shape)).copy()
        for (_, height, _, phase), wave in zip(self.build.waves, self._waves, strict=True):
            rim *= 1 + np.float32(height) * np.sin(t[:, None, None] / np.float32(85) + np.float32(phase)) * wave
        belly = np.interp(t, (-40, 60, 200, 320), (-0.03, 0.0, 0.05, 0.06)).astype(np.float32)[:, None, None]
        rim *= 1 + belly * self._front
        return np.asarray(rim - self._radius)

    def cavity(self, wall: Array) -> Array:
        """Return (Z, H, W) depth inside the wall of the cavity, positive inside."""
        return np.asarray(wall - self._muscle)

    def paint(self, scan: Scan, wall: Array) -> None:
        """Draw table, skin, fat, muscles and the cavity, which is fat below the diaphragm and lung above it."""
        self._paint_table(scan)
        low = np.interp(scan.t, (-40, 60, 220), (0.8, 0.9, 1.25)).astype(np.float32)[:, None, None]
        skin = wall + self._fat * low
        fat = FAT + 7 * scan.middle + 5 * scan.fine
        fat += np.clip(0.13 - np.abs(scan.fine - 0.4), 0, 0.1) * (np.float32(130) + 130 * scan.middle)  # septa
        scan.paint(scan.cover(-skin), fat)
        scan.paint(scan.cover(np.abs(skin - 1) - 0.8) * 0.9, 15.0)
        streaks = np.clip(scan.fine - 1.1, 0, 1) * 90
        scan.paint(scan.cover(-wall), MUSCLE - streaks)
        layers = np.abs(np.mod(wall / self._muscle * 3 + 0.5, 1) - 0.5) * (self._muscle / 3) - 0.6
        below = np.clip((scan.dt - 110) / 50, 0, 1) * (self._around > 0.35) * (self._around < 0.8)
        scan.paint(
            scan.cover(layers) * scan.cover(-wall + 3) * scan.cover(wall - self._muscle + 1) * below * 0.8, -60.0
        )
        inner = scan.cover(-self.cavity(wall))
        scan.paint(inner, fat + 4)
        lung = np.clip((self.dome - scan.dt) / 3, 0, 1) * inner
        vessels = np.clip(scan.fine - 1.8, 0, 0.38) * 2300
        scan.paint(lung, LUNG + 22 * scan.middle + vessels + 0.35 * scan.dy)
        muscle = np.abs(self.dome - scan.dt + 2) / np.float32(1.3) - 1.3
        scan.paint(np.clip(-muscle, 0, 1) * inner * np.float32(0.8), 48.0)

    def _paint_table(self, scan: Scan) -> None:
        gap, bend = self.build.table
        back = 95 + 0.97 * self.build.fat + gap
        depth = self._y - back + np.float32(bend) * self._x**2
        ends = np.abs(self._x) < 205
        pad = scan.cover(np.abs(depth - 6) - 6.0) * ends
        shell = np.maximum(scan.cover(np.abs(depth - 13) - 0.8), scan.cover(np.abs(depth - 42) - 0.9)) * ends
        scan.paint(pad[None], -925.0)
        scan.paint(shell[None], -40.0)

    def paint_bones(self, scan: Scan, wall: Array) -> None:
        """Draw ribs, spine and the muscles beside it; they lie over everything."""
        self._paint_ribs(scan, wall)
        if (part := scan.window((-85, 20, -99), (85, 112, 999))) is not None:
            _paint_back(part)
            _paint_spine(part, self.build)

    def _paint_ribs(self, scan: Scan, wall: Array) -> None:
        phase, slope = self.build.ribs
        margin = np.interp(self._around, *_MARGIN)
        level = scan.dt + 0.035 * scan.dx - np.float32(slope) * self._around
        place = level / np.float32(_RIB_MM) + np.float32(phase)
        height = np.abs(place - np.rint(place)) * np.float32(_RIB_MM) - 5.8
        rib = np.maximum(np.abs(wall - 6.2) - 3.4, height)
        there = np.clip((margin - scan.dt) / 4, 0, 1)
        hard = np.clip((0.78 - self._around) / 0.05, 0, 1)
        bone = 150 + 480 * np.clip(1.0 + rib / 2.6, 0, 1)
        scan.paint(scan.cover(rib) * there, bone * hard + 105 * (1 - hard))

    def paint_heart(self, scan: Scan, bright: float) -> None:
        """Draw the heart with its chambers and the gullet, above the diaphragm, and the diaphragm's pillars."""
        if (part := _HEART.window(scan, 12)) is not None:
            edge = np.minimum(_HEART.distance(part), _ATRIUM.distance(part)) + 2.5 * part.middle
            part.paint(part.cover(edge - 7, 4), FAT + 10)
            part.paint(part.cover(edge), 104.0)
            along = 0.86 * part.dx + 0.5 * part.dy  # from the right to the left ventricle
            thick = np.where(along > 8, np.float32(10), np.float32(4))
            hollow = np.maximum(edge + thick, 5.5 - np.abs(along - 8)) + 1.5 * part.fine
            part.paint(part.cover(hollow, 3), bright * 0.97 + 4 * part.middle)
        for tube in _GULLET:
            if (part := tube.window(scan)) is not None:
                part.paint(part.cover(tube.distance(part)), 45.0)
        if (part := scan.window((-30, 2, 25), (34, 44, 120))) is not None:
            pillar = np.abs(np.sqrt(((part.dx - 2) / 25) ** 2 + ((part.dy - 44) / 34) ** 2) - 1) * 25 - 2.4
            part.paint(part.cover(pillar + 0.8 * part.middle), 54.0)


_HEART, _ATRIUM = Blob((22, -38, -34), (66, 44, 62), 0.35), Blob((-18, -14, -36), (32, 34, 52))
_GULLET = (Tube((10, 8, -70), (16, 2, 8), 8.0, 8.0), Tube((16, 2, 8), (36, -6, 30), 8.0, 9.0))


def _paint_back(scan: Scan) -> None:
    """Draw the long muscles of the back, parted by fat, and below the ribs the ones beside the spine."""
    lower = 1 / (1 + np.exp((95 - float(scan.t.mean())) / 15))
    pairs = (Blob((33, 80, 120), (26, 17, 999), 0.2), Blob((61, 78, 120), (15, 9, 999), -0.35))
    psoas = Blob((32, 46, 210), (13 + 4 * lower, 15, 105), 0.2)
    for blob in (psoas, *pairs):
        for sign in (1, -1):
            (x, y, t), turn = blob.centre, blob.turn
            one = Blob((sign * x, y, t), blob.radii, sign * turn)
            if (part := one.window(scan)) is not None:
                edge = one.distance(part) + 1.6 * part.middle + 0.5 * part.fine
                part.paint(part.cover(edge - 1.2) * np.clip(0.5 + 0.5 * part.middle, 0.1, 0.9), FAT + 22)
                part.paint(part.cover(edge), MUSCLE + 2 - np.clip(part.fine - 1.0, 0, 1) * 80)


def _paint_spine(scan: Scan, build: Build) -> None:
    phase, bend, density = build.spine
    x, y = scan.dx - np.float32(bend) * np.sin(scan.dt / 90), scan.dy - 3 * np.sin((scan.dt + 30) / 80)
    level = np.mod(scan.dt / np.float32(_VERTEBRA_MM) + np.float32(phase), 1)
    waist = 1 - 0.09 * np.sin(np.pi * np.clip((level - 0.2) / 0.8, 0, 1))
    body = (np.sqrt((x / 22.5) ** 2 + ((y - 49) / 16.5) ** 2) - waist) * 16.5
    body = np.maximum(body + 0.7 * scan.fine, 8 - np.sqrt(x * x + (y - 70) ** 2))  # hollow towards the canal
    disc = np.clip((0.2 - level) / 0.03, 0, 1)
    bone = _bone(scan, body, density)
    scan.paint(scan.cover(body), bone * (1 - disc) + (88 + 4 * scan.fine) * disc)
    canal = np.sqrt(x * x + ((y - 72) * 1.1) ** 2)
    ring = np.where(y > 70, np.abs(canal - 12.5) - 3.2, np.maximum(np.abs(np.abs(x) - 14) - 4.0, np.abs(y - 66) - 7))
    tail = np.maximum(np.abs(x) - 3.4, np.abs(y - 92) - 10)
    wings = np.maximum(np.abs(np.abs(x) - 31) - 13, np.abs(y - 70 - 0.08 * np.abs(x)) - 4.4)
    parts: tuple[tuple[Any, float, float], ...] = ((ring, 0.62, 0.32), (tail, 0.72, 0.22), (wings, 0.5, 0.15))
    for edge, middle, half in parts:
        there = np.clip((half - np.abs(level - middle)) / 0.05, 0, 1)
        scan.paint(scan.cover(edge) * there, _bone(scan, edge, density))
    scan.paint(scan.cover(canal - 8.5), 28.0)
    scan.paint(scan.cover(np.sqrt((x / 1.2) ** 2 + (y - 71) ** 2) - 4.0), 42.0)


def _bone(scan: Scan, edge: Array, density: float) -> Array:
    return np.asarray(density + 30 * scan.fine + (610 - density) * np.clip(1 + edge / 2.4, 0, 1))
