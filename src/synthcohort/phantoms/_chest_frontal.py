"""A chest as a frontal film shows it: lungs, ribs, heart, vessels and what surrounds them.

Coordinates as in `_film`; u is the distance from the midline, side -1 the patient's right (left on the film).
"""

from __future__ import annotations

import math

import numpy as np

from ..types import Array
from ._chest import Change, Chest
from ._film import Film, Pose, Stroke
from ._render import inside

_APEX = 58.0
"""Distance of a lung's tip from the midline."""


class Frontal:
    """A frontal film on which the anatomy is laid out, in layers that findings may change before `density`.

    Attributes:
        x, y, u: (H, W) places after the patient's own departures from the formulas.
        side: (H, W) -1 right, 1 left.
        rim: (H, W) 0 in the middle of a lung's outline, 1 on it, more outside; the diaphragm does not count.
        base: (H, W) millimetres below the diaphragm, negative above.
        air: (H, W) 0 to 1 depth of air.
        haze: (H, W) 0 to 1 share of that air replaced by fluid or tissue.
        vessels: (H, W) density of the vessels.
        extra: (H, W) density on top of everything.
    """

    def __init__(self, film: Film, chest: Chest, pose: Pose, change: Change) -> None:
        self.film, self.chest, self.pose, self.change = film, chest, pose, change
        (a, la, pa), (b, lb, pb), (c, lc, pc), (d, ld, pd) = chest.waves
        self.x = film.x + a * np.sin(film.y / la + pa) + b * np.sin(film.x / lb + pb)
        self.y = film.y + c * np.sin(film.x / lc + pc) + d * np.sin((film.x + film.y) / ld + pd)
        self.u, self.side = np.abs(self.x), np.where(self.x < 0, np.float32(-1), np.float32(1))
        self.rim, self.base = self._rim(), self._base()
        self.air = np.sqrt(np.clip(1 - self.rim, 0, 1)) * inside(self.base, 5.0)
        self.haze = np.zeros_like(self.x)
        self.vessels = film.strokes(_squeezed(chest.vessels, pose.breath), 0.7)
        self.extra = np.zeros_like(self.x)

    def dome(self, side: int) -> float:
        """Return y of the top of a diaphragm on this film."""
        index = (side + 1) // 2
        return self.chest.domes[index] + 13 * self.pose.breath - self.change.lift[index]

    def _rim(self) -> Array:
        chest = self.chest
        out = self.u - _APEX
        across = np.abs(out) / np.where(out > 0, np.float32(chest.width - _APEX), np.float32(_APEX - 4))
        down = self.y - chest.waist
        along = np.abs(down) / np.where(down < 0, np.float32(chest.waist - chest.top), np.float32(210))
        # A superellipse of exponent 2.25, each lung with its own tip.
        return np.asarray(across * across * np.sqrt(np.sqrt(across)) + along * along * np.sqrt(np.sqrt(along)))

    def _base(self) -> Array:
        right, left = self.dome(-1), self.dome(1)
        top = 0.5 * (right + left) + 0.5 * (left - right) * np.clip(self.x / 18, -1, 1)
        out = np.minimum((self.u - 0.48 * self.chest.width) / (0.52 * self.chest.width), 1.04)
        return np.asarray(self.y - top - np.where(out > 0, np.float32(40), np.float32(13)) * out * out)

    def density(self, rng: np.random.Generator) -> Array:
        """Return (H, W) density of everything."""
        body = self._body() * (1 + 0.025 * self.film.noise(rng, 26))
        wet = self.air * (1 - self.haze) * (1 + 0.04 * self.film.noise(rng, 9))
        lines = self.vessels * (1 - 0.85 * self.haze) * np.minimum(self.air * 1.6, 1)
        shade = (
            body
            + lines
            - 0.65 * wet
            + self._abdomen() * np.minimum(body * 2, 1)
            + self._middle()
            + self._bones(body)
            + self.extra
        )
        return np.asarray(shade)

    def _body(self) -> Array:
        """Return chest wall, neck, shoulders, arms and breasts."""
        chest, u, y = self.chest, self.u, self.film.y
        half = chest.width + chest.fat + 12
        rise = chest.shoulders[1]
        levels = np.array([-260, -178, -158, -138, -118, -80, -30, 40, 120, 260]) - rise
        halves = np.array([60, 64, 100, 175, 205, 208, half + 16, half, half - 3, half + 4])
        edge = np.interp(y, levels, halves).astype(np.float32)
        share = np.minimum(u / edge, 1)
        wall = np.sqrt(1 - share * share * share) * (0.98 + 0.003 * chest.fat)
        wall *= 1 - 0.28 * inside(y + 118 + rise, 70.0)
        if self.pose.bedside:
            arm = np.abs(u - half - 38 - 0.06 * (y + 60))
            wall = np.maximum(wall, 0.62 * np.sqrt(np.clip(1 - (arm / 34) ** 2, 0, 1)) * inside(-90 - y, 40.0))
        if chest.female:
            radius, height, droop = chest.breast
            low = (y - height) / (radius * (0.85 + droop))
            spread = ((u - 0.66 * chest.width) / radius) ** 2 + low * low
            wall += 3.2 * droop * np.sqrt(np.clip(1 - spread, 0, 1)) * np.clip(0.6 + 0.5 * low, 0.1, 1)
        return np.asarray(wall)

    def _abdomen(self) -> Array:
        x, below, radius = self.chest.bubble
        cover = inside(-self.base, 5.0)
        top = self.dome(1) + below
        round_ = _far((self.x - x) / 1.5, self.film.y - top) - radius
        gas = inside(round_, 6.0) * np.where(self.film.y > top + 0.35 * radius, np.float32(0.35), np.float32(1))
        return np.asarray(cover * (0.30 - 0.45 * gas * (self.side > 0)))

    def _middle(self) -> Array:
        """Return mediastinum, heart, great vessels, hila and windpipe."""
        chest, change, pose = self.chest, self.change, self.pose
        x, y = self.x - pose.twist, self.film.y
        wide = chest.mediastinum + change.mediastinum + (3 if pose.bedside else 0)
        depth = np.interp(y, (-190, -130, -95, 60, 120), (0.08, 0.16, 0.40, 0.44, 0.1)).astype(np.float32)
        wave = 3 * np.sin(y / 21 + chest.spine[1]) + np.clip(y + 40, 0, 90) * 0.12 - np.clip(-100 - y, 0, 40) * 0.2
        upper = inside(np.abs(x - 3) - wide - wave, 8.0) * depth
        knob = _far(x - 0.6 * wide - 0.6 * change.mediastinum - 9, (y + 62) / 1.15) - chest.knob * (
            1 + 0.02 * change.mediastinum
        )
        shadow = np.maximum(upper, inside(knob, 5.0) * 0.42)
        shadow = np.maximum(shadow, inside(_far(x - 30, (y + 28) / 1.5) - 14, 6.0) * 0.34)
        shadow = np.maximum(shadow, self._heart(x))
        hila = np.exp(-(((np.abs(x) - 40) / 12) ** 2) - ((y + 14 + 4 * self.side) / 20) ** 2) * 0.17
        spine = x - self._spine()
        windpipe = inside(np.abs(spine) - 7.5, 5.0) * inside(y + 42, 24.0) * 0.2
        for side in (-1, 1):
            branch = np.abs(y + 40 - 0.75 * side * (spine - 6 * side)) - 5
            windpipe = windpipe + inside(branch, 5.0) * inside(np.abs(spine - side * 18) - 14, 8.0) * 0.13
        return np.asarray(shadow + hila * self.air - windpipe)

    def _heart(self, x: Array) -> Array:
        wide, high, tilt = self.chest.heart
        scale = wide * (1 + self.change.heart) * (1.1 if self.pose.bedside else 1.0) * (1 - 0.035 * self.pose.breath)
        floor = 0.5 * (self.dome(-1) + self.dome(1)) + 6
        # From the diaphragm to the level of the hila, however far apart these are.
        y = (self.film.y - floor) * (133 / max(floor + 45, 80))
        grow = 0.5 + 0.5 * scale
        turn = tilt - 0.35 * self.change.heart
        cos, sin = math.cos(turn), math.sin(turn)
        dx, dy = x - 31 * scale, y + 36 * high * grow
        ventricle = _far((dx * cos + dy * sin) / (58 * scale), (dy * cos - dx * sin) / (39 * high * grow))
        atrium = _far((x + 6) / (37 * scale), (y + 40 * high) / (44 * high))
        outline = (np.minimum(ventricle, atrium) - 1) * 40
        root = _far((x - 8) / (34 * (0.6 + 0.4 * scale)), (y + 78 * high) / 46) - 1
        outline = np.minimum(outline, root * 36)
        return np.asarray(inside(outline, 4.5) * np.clip(0.44 - 0.003 * outline, 0, 0.56))

    def _spine(self) -> Array:
        bend, phase = self.chest.spine
        return np.asarray(bend * np.sin(self.film.y / 85 + phase))

    def _bones(self, body: Array) -> Array:
        return np.asarray((self._ribs() + self._girdle()) * np.minimum(body * 1.4, 1) + self._column())

    def _ribs(self) -> Array:
        gap, thick, slope, phase, strength = self.chest.rib
        share = self.u / self.chest.width
        back = self.y - slope * (10 * share + 46 * share * share * share) - phase * gap
        for side, rib, u, offset in self.change.breaks:
            near = (self.side == side) & (np.abs(back / gap - rib - 0.25) < 0.6)
            back = np.where(near, back - offset * inside(u - self.u, 2.0), back)
        away = np.clip(1.02 - share, 0, 1)
        front = self.y - slope * (66 * away - 22 * away * away) - phase * gap
        ribs = _bands(back, gap, thick) * np.clip(share * 5 - 0.4, 0, 1)
        ribs = ribs + 0.5 * _bands(front, 1.27 * gap, thick * 1.2) * np.clip((share - 0.4) * 3, 0, 1)
        return np.asarray(strength * ribs * inside((self.rim - 1.08) * 40, 6.0) * (1 - 0.3 * inside(-self.base, 20.0)))

    def _girdle(self) -> Array:
        """Return collarbones, shoulder blades and the heads of the upper arms."""
        slope, rise = self.chest.shoulders
        out = self.u - 14 + self.pose.twist * 0.6 * self.side
        middle = -88 - rise - slope * out - 7 * np.sin(out / 30)
        collar = np.abs(self.film.y - middle) - 5
        bone = (
            inside(collar, 3.0) * (1 + 0.6 * inside(np.abs(collar + 1.2) - 1, 2.0)) * inside(np.abs(out - 72) - 72, 6)
        )
        blade = self.u - 98 - 0.16 * (self.film.y + 100) - (16 if not self.pose.bedside else 0)
        span = inside(np.abs(self.film.y + 45 + rise) - 66, 22.0)
        plate = inside(-blade, 4.0) * inside(blade - 48, 30.0) * span * (0.35 + 0.5 * inside(np.abs(blade - 2) - 2, 3))
        head = _far(self.u - 172, self.film.y + 112 + rise) - 23
        shaft = np.maximum(np.abs(self.u - 186 - 0.12 * (self.film.y + 110)) - 11, -112 - self.film.y)
        return np.asarray(0.17 * bone + 0.11 * plate + 0.3 * inside(np.minimum(head, shaft), 5.0))

    def _column(self) -> Array:
        offset = np.abs(self.film.x - self._spine())
        bodies = 0.5 + 0.5 * np.cos(self.film.y * (2 * np.pi / 23) + self.chest.rib[3] * 6)
        column = inside(offset - 18 - 2 * bodies, 4.0)
        return np.asarray(column * (0.035 + 0.055 * bodies) + 0.05 * inside(_far(offset - 11, 8 * bodies) - 4, 3.0))


def _far(x: Array, y: Array) -> Array:
    """Return the distance from the origin; several times as fast as numpy's, which guards against overflow."""
    return np.asarray(np.sqrt(x * x + y * y))


def _bands(place: Array, gap: float, thick: float) -> Array:
    """Return bones of a thickness at every multiple of the gap, with brighter edges."""
    at = (np.arange(256) + 0.5) / 256 * gap
    depth = thick / 2 - np.abs(at - gap / 2)
    profile = np.clip(depth / 2.5 + 0.5, 0, 1) * (0.75 + 0.45 * np.exp(-(((depth - 1.2) / 1.3) ** 2)))
    index = np.floor(place * np.float32(256 / gap)).astype(np.int32) & 255
    return np.asarray(profile.astype(np.float32)[index])


def _squeezed(vessels: tuple[Array, Array], breath: float) -> list[Stroke]:
    """Return the vessels at a depth of breath: what lies below the hila moves with the diaphragm."""
    points, widths = vessels
    moved = points.copy()
    low = np.maximum(points[..., 1] + 14, 0)
    moved[..., 1] += 0.13 * breath * low
    return [(path, width, 0.035 + 0.028 * width) for path, width in zip(moved, widths.tolist(), strict=True)]
