"""Support devices on a frontal or lateral film: lines, tubes, wires and pacemakers."""

from __future__ import annotations

import numpy as np

from ..types import Array
from ._chest_frontal import Frontal
from ._chest_signs import Sign
from ._film import Stroke


def devices(film: Frontal, sign: Sign) -> Array:
    """Return (H, W) density of the devices of one study, as the frontal film shows them.

    The more severe the finding, the more there are: a line, a tube in windpipe or stomach, wires, a pacemaker.
    """
    rng = np.random.default_rng(sign.seed)
    kinds = (_central_line, _pacemaker, _airway, _stomach_tube, _electrodes, _chest_tube, _sternum)
    chance = np.array([0.34, 0.13, 0.12, 0.12, 0.14, 0.07, 0.08])
    count = 1 + int(rng.binomial(4, 0.65 * sign.severity))
    strength = 0.18 + 0.5 * sign.severity
    strokes: list[Stroke] = []
    for index in rng.choice(len(kinds), count, replace=False, p=chance):
        strokes += [(curve(points), width, much * strength) for points, width, much in kinds[index](film, sign, rng)]
    # What is densest is seen, whatever lies over it.
    return film.film.strokes(sorted(strokes, key=lambda stroke: stroke[2]), 0.5)


def curve(points: Array) -> Array:
    """Return (n, 2) a smooth line through a few points (Catmull and Rom's spline)."""
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, 7)[:-1, None]
    parts = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        parts.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.vstack([*parts, points[-1:]])


def _wobbly(rng: np.random.Generator, points: list[tuple[float, float]], by: float) -> Array:
    return np.asarray(np.array(points) + rng.normal(0, by, (len(points), 2)))


def _central_line(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    end = (-16.0, rng.uniform(-25, 35))
    if rng.random() < 0.4:  # from the neck
        points = [(-48.0, -190.0), (-38.0, -150.0), (-24.0, -105.0), (-18.0, -60.0), end]
    else:  # from an arm or below a collarbone
        side = 1 if rng.random() < 0.4 else -1
        points = [(side * 195.0, -70.0), (side * 140.0, -85.0), (side * 80.0, -102.0), (side * 28.0, -92.0)]
        points += [(-17.0, -62.0), end]
    return [(_wobbly(rng, points, 4), 2.2, 0.9)]


def _pacemaker(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    side = 1 if rng.random() < 0.85 else -1
    x, y = side * rng.uniform(88, 112), rng.uniform(-82, -60)
    box = np.array([(x - 13, y), (x + 13, y)])
    tip = (rng.uniform(38, 62), film.dome(1) - rng.uniform(8, 26))
    lead = [(x, y - 8), (side * 70.0, -108.0), (side * 24.0, -92.0), (-20.0, -55.0), (-28.0, 10.0), (0.0, 48.0), tip]
    strokes = [(box, 27.0, 1.7), (_wobbly(rng, lead, 3), 2.6, 1.5)]
    if rng.random() < 0.6:
        lead = [(x, y - 5), (side * 66.0, -104.0), (side * 20.0, -86.0), (-19.0, -45.0), (-32.0, 12.0), (-18.0, 2.0)]
        strokes.append((_wobbly(rng, lead, 3), 2.4, 1.4))
    return strokes


def _airway(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    points = [(rng.normal(0, 6), -200.0), (0.0, -150.0), (0.0, -105.0), (rng.normal(0, 3), rng.uniform(-80, -52))]
    return [(_wobbly(rng, points, 1.5), 5.0, 0.7)]


def _stomach_tube(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    dome = film.dome(1)
    points = [(4.0, -200.0), (3.0, -110.0), (8.0, -30.0), (10.0, dome - 20), (34.0, dome + 22), (70.0, dome + 42)]
    return [(_wobbly(rng, points, 3), 2.8, 0.9)]


def _electrodes(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    strokes: list[Stroke] = []
    for side in (-1, 1):
        for level in (-70, 75):
            x, y = side * rng.uniform(75, 115), level + rng.normal(0, 12)
            far = (side * rng.uniform(130, 190), rng.uniform(120, 200))
            middle = ((x + far[0]) / 2 + rng.normal(0, 22), (y + far[1]) / 2 + rng.normal(0, 12))
            strokes.append((np.array([(x, y), middle, far]), 1.6, 0.75))
            strokes.append((np.array([(x - 2.5, y), (x, y), (x + 2.5, y)]), 8.0, 1.1))
    return strokes


def _chest_tube(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    side = sign.side or 1
    wall = film.chest.width
    points = [(side * (wall + 40), 70.0), (side * (wall - 5), 45.0), (side * (wall - 30), -10.0), (side * 62.0, -85.0)]
    path = _wobbly(rng, points, 6)
    aside = np.array([2.2, 0.0])
    return [(path - aside, 1.4, 1.0), (path + aside, 1.4, 1.0)]


def _sternum(film: Frontal, sign: Sign, rng: np.random.Generator) -> list[Stroke]:
    loops: list[Stroke] = []
    turn = np.linspace(0, 2 * np.pi, 9)
    for y in np.arange(-75, 35, 20) + rng.normal(0, 3, 6):
        x = rng.normal(0, 1.5)
        loops.append((np.stack([x + 6.5 * np.cos(turn), y + 4 * np.sin(turn)], 1), 1.6, 1.4))
    return loops
