"""The chest of a patient from the side, facing left; simpler than the frontal film, the same findings in it."""

from __future__ import annotations

import numpy as np

from ..types import Array
from ._chest import Chest
from ._chest_devices import curve
from ._chest_signs import Sign, Signs, change
from ._film import Film, Pose
from ._render import inside

_PATCHES = {"Lung Opacity": (36, 45, 0.5), "Consolidation": (26, 22, 0.85), "Pneumonia": (24, 26, 0.7)}
"""Finding -> radius, softness in millimetres and share of air it fills at full severity."""


def lateral(film: Film, chest: Chest, pose: Pose, signs: Signs, rng: np.random.Generator) -> Array:
    """Return (H, W) density of a lateral film."""
    a, length, phase = chest.waves[0]
    x, y = film.x + 1.5 * a * np.sin(film.y / length + phase), film.y
    base = _base(x, y, chest, pose, signs)
    ahead = np.hypot((x - 2) / 92, np.where(y < 40, (y - 40) / (40 - chest.top), (y - 40) / 170))
    wet = np.sqrt(np.clip(1 - ahead * ahead, 0, 1)) * inside(base, 5.0)
    wet *= (1 - _haze(film, x, y, base, signs)) * (1 + 0.05 * film.noise(rng, 9))
    body = _body(x, y, chest) * (1 + 0.03 * film.noise(rng, 26))
    inner = _heart(x, y, chest, signs) + _spine(x, y, chest, base) + 0.28 * inside(-base, 6.0) + _shadows(x, y, chest)
    shade = body - 0.78 * wet + inner * np.minimum(body, 1)
    if "Support Devices" in signs:
        shade += _devices(film, signs["Support Devices"])
    return np.asarray(np.maximum(shade, 0.0))


def _body(x: Array, y: Array, chest: Chest) -> Array:
    half = 112 + 0.7 * chest.fat
    levels = [-260, -170, -140, -105, -40, 60, 260]
    edge = np.interp(y, levels, [62, 74, 104, half + 2, half, half + 2, half + 8]).astype(np.float32)
    share = np.clip(np.abs(x - 6) / edge, 0, 1)
    body = 1.25 * np.sqrt(1 - share**3)
    if chest.female:
        radius, height, droop = chest.breast
        away = np.hypot(x + half - 18, (y - height) / 1.3) - 0.6 * radius
        body = np.maximum(body, (0.3 + droop) * inside(away, 40.0)) + 0.12 * inside(away, 30.0)
    # Raised arms and shoulders.
    return np.asarray(body + 0.42 * inside(y + 108 - 0.25 * np.abs(x), 50.0) * (share < 1))


def _base(x: Array, y: Array, chest: Chest, pose: Pose, signs: Signs) -> Array:
    """Return millimetres below the upper of the two diaphragms."""
    bent = change(signs)
    domes = [dome + 13 * pose.breath - lift for dome, lift in zip(chest.domes, bent.lift, strict=True)]
    back = np.clip((x + 5) / 90, -1.1, 1.15)
    return np.asarray(y - min(domes) - np.where(back > 0, np.float32(46), np.float32(22)) * back * back)


def _heart(x: Array, y: Array, chest: Chest, signs: Signs) -> Array:
    wide, high, _ = chest.heart
    scale = wide * (1 + change(signs).heart)
    outline = np.hypot((x + 36) * 0.86 + (y - 38) * 0.5, ((y - 38) * 0.86 - (x + 36) * 0.5) * 1.2 / high)
    heart = inside(outline - 50 * scale, 22.0) * 0.4
    arch = np.hypot(x - 14, (y + 58) * 1.1) - 22 - 0.6 * change(signs).mediastinum
    root = np.hypot(x + 14, (y + 30) / 1.5) - 24 - 0.6 * change(signs).mediastinum
    hila = 0.2 * np.exp(-(((x - 12) / 17) ** 2) - ((y + 14) / 18) ** 2)
    return np.asarray(np.maximum(heart, 0.2 * inside(np.minimum(arch, root), 20.0)) + hila)


def _spine(x: Array, y: Array, chest: Chest, base: Array) -> Array:
    bend, phase = chest.spine
    offset = x - 66 - 14 * np.sin((y + 60) / 110) - 0.4 * bend * np.sin(y / 85 + phase)
    between = 0.5 + 0.5 * np.cos(y * (2 * np.pi / 24) + chest.rib[3] * 6)
    bodies = inside(np.abs(offset) - 15 - 2 * between, 4.0) * (0.16 + 0.14 * between)
    tails = inside(np.abs(offset - 28) - 11, 7.0) * 0.12
    # Deeper in the chest the spine is crossed by less and less shoulder.
    return np.asarray((bodies + tails) * np.clip(1 - 0.0022 * (y + 100), 0.5, 1) * (1 + 0.2 * inside(-base, 9.0)))


def _shadows(x: Array, y: Array, chest: Chest) -> Array:
    """Return ribs, breastbone and the dark windpipe."""
    gap, thick, slope, phase, strength = chest.rib
    place = (y - 0.75 * slope * (70 - x) - phase * gap) / gap
    ribs = np.clip(np.cos(place * (2 * np.pi)) * 2 - 1.5 + thick / 12, 0, 1) * strength * 0.5
    bone = inside(np.abs(x + 92 + 0.12 * (y + 70)) - 5, 4.0) * inside(np.abs(y + 15) - 75, 12.0) * 0.16
    windpipe = inside(np.abs(x - 6 - 0.14 * (y + 90)) - 8, 6.0) * inside(y + 38, 24.0) * 0.18
    return np.asarray(ribs * inside(np.abs(x) - 85, 20.0) * inside(np.abs(y) - 110, 25.0) + bone - windpipe)


def _haze(film: Film, x: Array, y: Array, base: Array, signs: Signs) -> Array:
    clear = np.ones_like(x)
    for name, sign in signs.items():
        rng = np.random.default_rng(sign.seed)
        centre = (rng.uniform(-10, 55), -90 + sign.place[1] * 150)
        away = np.hypot(x - centre[0], y - centre[1])
        if name in _PATCHES:
            radius, soft, full = _PATCHES[name]
            clear *= 1 - full * (0.3 + 0.7 * sign.severity) * inside(away - radius + 8 * film.noise(rng, 12), soft)
        elif name == "Lung Lesion":
            clear *= 1 - 0.6 * inside(away - 4 - 17 * sign.severity, 4.0)
        elif name == "Edema":
            clear *= 1 - 0.7 * sign.severity * np.exp(-((np.hypot(x - 12, y + 5) / 70) ** 2))
        elif name == "Atelectasis":
            clear *= 1 - 0.6 * inside(np.abs(base + 22) - 2 - 3 * sign.severity, 4.0) * inside(
                np.abs(x - 20) - 30, 15.0
            )
        elif name == "Pleural Effusion":
            level = 112 - 85 * sign.severity
            clear *= 1 - 0.95 * inside(level - y - 0.004 * np.clip(x - 20, 0, 90) ** 2, 12.0) * inside(-15 - x, 50.0)
    return np.asarray(1 - clear)


def _devices(film: Film, sign: Sign) -> Array:
    """Return wires, and in some studies the box of a pacemaker, which lies in front."""
    rng = np.random.default_rng(sign.seed)
    strength = 0.18 + 0.5 * sign.severity
    ends = rng.uniform((-40, 20), (0, 60), (1 + int(rng.integers(3)), 2))
    start = np.array([(-80.0, -85.0), (-60.0, -125.0), (-15.0, -90.0)])
    strokes = [(curve(np.vstack([start + rng.normal(0, 8, (3, 2)), end])), 2.4, strength) for end in ends]
    if rng.random() < 0.35:
        strokes.append((np.array([(-104.0, -85.0), (-100.0, -58.0)]), 9.0, 1.6 * strength))
    return film.strokes(strokes, 0.5)
