"""What each finding draws on a frontal film, from its severity.

Opacities replace air by fluid (`haze`), so they hide vessels as real ones do; the shape of heart, mediastinum,
diaphragm and ribs is changed before the film is laid out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._chest import Change
from ._chest_frontal import Frontal
from ._film import Stroke
from ._render import inside


@dataclass(frozen=True)
class Sign:
    """A finding of one study.

    Attributes:
        severity: 0 cannot be seen, 1 cannot be missed.
        side: -1 right, 1 left, 0 both, where the finding has a side.
        place: (outwards, down) in shares of a lung, where it has a place.
        seed: Of everything else, so that all films of the study agree.
    """

    severity: float
    side: int
    place: tuple[float, float]
    seed: int


Signs = Mapping[str, Sign]


def change(signs: Signs) -> Change:
    """Return what the findings do to the shape of the anatomy."""
    heart, wide = signs.get("Cardiomegaly"), signs.get("Enlarged Cardiomediastinum")
    collapse, broken = signs.get("Atelectasis"), signs.get("Fracture")
    lift = [0.0, 0.0]
    if collapse:
        for index in (0, 1) if collapse.side == 0 else ((collapse.side + 1) // 2,):
            lift[index] = 8 + 26 * collapse.severity
    return Change(
        heart=0.1 + 0.42 * heart.severity if heart else 0.0,
        mediastinum=5 + 20 * wide.severity if wide else 0.0,
        lift=(lift[0], lift[1]),
        breaks=_breaks(broken) if broken else (),
    )


def _breaks(sign: Sign) -> tuple[tuple[int, int, float, float], ...]:
    rng = np.random.default_rng(sign.seed)
    first, count = int(rng.integers(-3, 2)), 1 + int(rng.random() < sign.severity) + int(rng.random() < 0.4)
    out, offset = rng.uniform(72, 105), (4 + 7 * sign.severity) * rng.choice([-1, 1])
    side = sign.side or 1
    return tuple((side, first + k, float(out + rng.normal(0, 4)), float(offset)) for k in range(count))


def apply(film: Frontal, signs: Signs) -> None:
    """Draw every finding that is not a change of shape."""
    for name, draw in _DRAWERS.items():
        if name in signs:
            draw(film, signs[name], np.random.default_rng(signs[name].seed))


def _sides(sign: Sign) -> tuple[int, ...]:
    return (sign.side,) if sign.side else (-1, 1)


def _point(film: Frontal, side: int, place: tuple[float, float]) -> tuple[float, float]:
    """Return (x, y) of a place in a lung as it is on this film."""
    top, floor = film.chest.top, film.dome(side)
    return side * (34 + place[0] * (film.chest.width - 52)), top + 22 + place[1] * (floor - top - 34)


def _lay(film: Frontal, haze: Array) -> None:
    """Add haze; where two lie over each other the air that is left shrinks twice."""
    film.haze = 1 - (1 - film.haze) * (1 - np.clip(haze, 0, 0.97))


def _patch(film: Frontal, rng: np.random.Generator, at: tuple[float, float], radius: float, soft: float) -> Array:
    """Return (H, W) 0 to 1: a blotch with an uneven edge."""
    x, y = at
    stretch = rng.uniform(0.8, 1.3)
    reach = np.hypot((film.x - x) / stretch, (film.y - y) * stretch)
    return np.asarray(inside(reach - radius + 0.28 * radius * film.film.noise(rng, 13), soft))


def _opacity(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    for side in _sides(sign):
        patch = _patch(film, rng, _point(film, side, sign.place), rng.uniform(34, 56), 55.0)
        _lay(film, patch * (0.18 + 0.5 * sign.severity) * (1 + 0.25 * film.film.noise(rng, 7)))


def _lesion(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    x, y = _point(film, sign.side or 1, sign.place)
    for _ in range(1 + int(rng.random() < 0.25) * int(rng.integers(1, 4))):
        radius = 4 + 17 * sign.severity * rng.uniform(0.7, 1.1)
        distance = np.hypot(film.x - x, film.y - y) - radius * (
            1 + 0.08 * np.sin(3 * np.arctan2(film.y - y, film.x - x))
        )
        _lay(film, inside(distance, 3.5) * np.clip(0.45 - 0.02 * distance, 0, 0.8))
        x, y = _point(film, int(rng.choice([-1, 1])), (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)))


def _edema(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    away = np.hypot((film.u - 42) / 1.15, (film.film.y - 8) / 1.35)
    wings = np.exp(-((away / (34 + 26 * sign.severity)) ** 2))
    uneven = np.clip(0.85 + 0.22 * film.film.noise(rng, 10) + 0.12 * film.film.noise(rng, 4.5), 0, 2)
    _lay(film, (0.16 + 0.62 * sign.severity) * (0.22 + 0.78 * wings) * uneven)
    film.vessels = film.vessels * (1 + 0.7 * sign.severity)
    lines: list[Stroke] = []
    for side in (-1, 1):
        low, out = film.dome(side), film.chest.width
        for _ in range(round(4 + 10 * sign.severity)):
            y, start = low - rng.uniform(0, 55), out - rng.uniform(4, 12)
            lines.append((np.array([[side * start, y], [side * (start - rng.uniform(9, 18)), y + 1]]), 1.2, 0.16))
    film.extra += film.film.strokes(lines, 0.6) * film.air


def _consolidation(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    side = sign.side or 1
    patch = _patch(film, rng, _point(film, side, sign.place), rng.uniform(24, 44), 20.0) * (film.side == side)
    # A fissure bounds the lobe: one edge is straight.
    level = _point(film, side, (0, sign.place[1]))[1] - rng.uniform(12, 26)
    patch = patch * inside(level - film.y - 0.12 * film.u, 5.0)
    _lay(film, patch * (0.38 + 0.55 * sign.severity) * (1 + 0.08 * film.film.noise(rng, 6)))


def _pneumonia(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    for side in _sides(sign):
        at = _point(film, side, (sign.place[0], 0.62 + 0.3 * sign.place[1]))
        zone = np.exp(-(((film.x - at[0]) / 34) ** 2) - ((film.y - at[1]) / 32) ** 2)
        patches = np.clip(0.5 + 0.75 * film.film.noise(rng, 8) + 0.35 * film.film.noise(rng, 4.5), 0, 1.5)
        _lay(film, zone * patches * (0.35 + 0.65 * sign.severity))


def _atelectasis(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    for side in _sides(sign):
        _lay(film, 0.4 * sign.severity * np.exp(np.minimum(film.base, 0) / 22) * (film.side == side))
        for _ in range(1 + int(rng.random() < 0.3 + 0.5 * sign.severity)):
            level = -rng.uniform(8, 34)
            slope, middle, half = rng.normal(0.1, 0.2), rng.uniform(55, 95), rng.uniform(20, 38)
            band = np.abs(film.base - level - slope * (film.u - middle)) - 1.5 - 3.2 * sign.severity
            reach = inside(np.abs(film.u - middle) - half, 14.0) * (film.side == side)
            _lay(film, inside(band, 3.0) * reach * (0.4 + 0.5 * sign.severity))


def _pneumothorax(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    side = sign.side or 1
    here = film.side == side
    # The lung falls away from the tip and the side wall, more so above.
    tip = np.clip((film.chest.waist - film.film.y) / (film.chest.waist - film.chest.top), 0, 1)
    keep = 1 - (0.08 + 0.5 * sign.severity) * (0.35 + 0.65 * tip) - 0.02 * film.film.noise(rng, 30)
    gone = np.where(film.u > 34, film.rim - keep, keep * 0 - 1) * 42
    free = inside(-gone, 3.0) * here
    lung = (1 - free) * here
    film.vessels = film.vessels * (1 - free)
    film.haze = film.haze * (1 - free)
    _lay(film, lung * 0.3 * sign.severity)
    cavity = free * inside(film.base, 5.0) * inside((film.rim - 0.96) * 42, 5.0)
    film.air = np.maximum(film.air, 0.62 * cavity) * (1 + (0.12 + 0.25 * sign.severity) * free)
    film.extra += (
        0.13 * inside(np.abs(gone) - 1.0, 1.5) * here * inside((film.rim - 0.98) * 40, 3.0) * inside(film.base, 5.0)
    )


def _effusion(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    for side in _sides(sign):
        amount = sign.severity * rng.uniform(0.7, 1.15)
        # Measured from the deepest place, the angle at the side wall 40 mm below the dome.
        level = film.dome(side) + 30 - 24 - 95 * amount
        out = np.clip(film.u / film.chest.width, 0, 1)
        meniscus = level + 34 * (1 - out**2.5) - 16 * np.exp(-film.u / 26) + 2 * film.film.noise(rng, 18)
        if film.pose.bedside:
            # Lying, the fluid spreads behind the lung: a veil over the whole side.
            veil = inside(film.film.y * 0 + meniscus - film.film.y - 30, 90.0)
            _lay(film, 0.4 * amount * veil * (film.side == side))
        fluid = inside(meniscus - film.film.y, 14.0) * (film.side == side)
        film.extra += 0.16 * fluid * film.air
        _lay(film, 0.96 * fluid)


def _pleura(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    side = sign.side or 1
    thick = (0.06 + 0.16 * sign.severity) * (1 + 0.35 * film.film.noise(rng, 16))
    height = inside(np.abs(film.y - rng.uniform(-40, 40)) - rng.uniform(35, 70), 20.0)
    rind = inside((1 - thick - film.rim) * 42, 4.0) * inside((film.rim - 1) * 42, 3.0) * (film.u > 50)
    film.extra += (0.18 + 0.3 * sign.severity) * rind * height * (film.side == side) * inside(film.base, 6.0)
    if rng.random() < 0.4:
        x, y = _point(film, side, (rng.uniform(0.3, 0.9), rng.uniform(0.5, 0.95)))
        plaque = np.hypot((film.x - x) / 1.8, film.y - y) - 9 + 4 * film.film.noise(rng, 6)
        film.extra += 0.2 * sign.severity * inside(plaque, 3.0)


def _fracture(film: Frontal, sign: Sign, rng: np.random.Generator) -> None:
    """Draw the gap, and where the break is old the callus; the offset is a change of shape."""
    gap, _, slope, phase, _ = film.chest.rib
    healed = rng.random() < 0.5
    for side, rib, out, offset in film.change.breaks:
        share = out / film.chest.width
        y = (rib + 0.5 + phase) * gap + slope * (10 * share + 46 * share**3) + 0.5 * offset
        near = np.hypot(film.x - side * out, film.y - y)
        if healed:
            film.extra += (0.08 + 0.14 * sign.severity) * inside(near - 8 - 4 * sign.severity, 4.0)
        else:
            film.extra -= 0.06 * inside(np.abs(film.x - side * out) - 1.5, 1.5) * inside(near - 8, 3.0)


_DRAWERS = {
    "Lung Opacity": _opacity,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Pneumonia": _pneumonia,
    "Atelectasis": _atelectasis,
    "Lung Lesion": _lesion,
    "Pleural Effusion": _effusion,
    "Pleural Other": _pleura,
    "Pneumothorax": _pneumothorax,
    "Fracture": _fracture,
}
