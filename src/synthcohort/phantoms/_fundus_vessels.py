"""The blood vessels of the retina: four arcades of an artery and a vein each, their branches, and how they are drawn.

Lengths are in radii of the camera's round field; x runs to the nose, y down. Arteries are thinner and paler than veins
and have a bright middle. Vessels branch at sharp angles, taper, and leave the middle of the macula free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..types import Array

_LEVELS = 130
"""Grey levels per unit of density while drawing."""
_FREE, _FADE = 0.07, 0.13
"""Around the fovea: radius without vessels, and over how much more they fade in."""
_LEAST, _LEAST_PIXELS = 0.0018, 0.22
"""Vessels that begin narrower are not grown; those of so few pixels are not drawn: nobody would see them."""
_FULL = 0.011
"""Width from which on a vessel is as dark as any."""


@dataclass(frozen=True)
class Vessels:
    """Vessels as ribbons around a middle line.

    Attributes:
        lines: Groups of (V, n, 2) points of the middle lines.
        normals: (V, n, 2) unit vectors across, by group.
        widths: (V, n) full widths, by group.
        arteries: (V,) bool, by group.
    """

    lines: tuple[Array, ...]
    normals: tuple[Array, ...]
    widths: tuple[Array, ...]
    arteries: tuple[Array, ...]


@dataclass(frozen=True)
class _Group:
    """Vessels of one order while they grow: points, heading and width at every point; artery; half of the retina."""

    line: Array
    heading: Array
    width: Array
    artery: Array
    upper: Array


def grow(rng: np.random.Generator, disc: Array, fovea: Array) -> Vessels:
    """Return the vessels of an eye.

    Args:
        rng: Source of randomness.
        disc: (x, y) of the middle of the optic disc.
        fovea: (x, y) of the fovea.
    """
    tortuous = float(np.clip(rng.gamma(4, 0.25), 0.4, 2.2))
    groups = [_trunks(rng, disc, fovea, tortuous)]
    for count, points in ((9, 22), (4, 14), (2, 10)):
        groups.append(_branches(rng, groups[-1], fovea, disc, count, points, tortuous))
    normals = tuple(np.stack([np.sin(g.heading), -np.cos(g.heading)], axis=2) for g in groups)
    return Vessels(
        tuple(g.line for g in groups), normals, tuple(g.width for g in groups), tuple(g.artery for g in groups)
    )


def _trunks(rng: np.random.Generator, disc: Array, fovea: Array, tortuous: float) -> _Group:
    """Return arcades (above and below, to the temple and to the nose) and the twigs that leave the disc by themselves.

    Angles are measured from the direction to the temple, towards the vessel's own half of the retina.
    """
    # kind: arcade to the temple, arcade to the nose, twig to the macula, twig to the nose
    kind = np.repeat((0, 1, 2, 3), (4, 4, 5, 4))
    upper = np.array([1, -1, 1, -1] * 2 + [1, -1, 1, -1, 1] + [1, -1, 1, -1])
    artery = np.array([0, 0, 1, 1] * 2 + [1, 1, 0, 0, 1] + [1, 0, 0, 1], bool)
    start = np.radians(np.array((86, 128, 24, 168))[kind] + rng.normal(0, np.array((8, 10, 14, 12))[kind]))
    start[:8] += np.radians(9) * np.where(artery[:8], -1, 1) * rng.choice((-1, 1), 8, p=(0.2, 0.8))
    length = np.array((1.95, 0.9, 0.62, 0.75))[kind]
    straight = np.array((1.06, 2.5, 0.5, 3.0))[kind] * rng.normal(1, 0.08, len(kind))  # where the heading is to temple
    width = np.array((0.027, 0.019, 0.008, 0.0095))[kind] * np.where(artery, 0.74, 1.0) * rng.normal(1, 0.08, len(kind))
    along = np.linspace(0, 1, 56)
    angle = start[:, None] * np.maximum(1 - np.outer(length / straight, along), -0.34)
    angle += _wander(rng, len(kind), along, np.array((0.11, 0.13, 0.2, 0.2))[kind] * tortuous, 0.28 / length)
    heading = np.where(upper[:, None] > 0, np.pi + angle, np.pi - angle)
    first = disc + rng.normal((0.015, 0), 0.008, (len(kind), 2)) + np.stack([0 * upper, -0.008 * upper], axis=1)
    line = _walk(first, heading, length)
    emerging = np.clip(0.45 + np.outer(length, along) / 0.16, 0, 1)
    width = width[:, None] * (1 - 0.82 * along**1.25) * emerging
    return _Group(line, heading, _fade(line, width, fovea, disc, upper), artery, upper)


def _branches(
    rng: np.random.Generator, of: _Group, fovea: Array, disc: Array, count: int, points: int, tortuous: float
) -> _Group:
    """Return `count` branches of each vessel, on alternate sides."""
    vessels, length = of.width.shape
    at = (np.arange(count) + rng.uniform(0.15, 0.95, (vessels, count))) / count * 0.86 + 0.1
    index = np.minimum((at * length).astype(int), length - 1).ravel()
    parent = np.repeat(np.arange(vessels), count)
    side = np.tile(np.where(np.arange(count) % 2, 1, -1), vessels) * np.repeat(rng.choice((-1, 1), vessels), count)
    width = of.width[parent, index] * rng.uniform(0.4, 0.82, len(parent))
    seen = width > _LEAST
    index, parent, side, width = index[seen], parent[seen], side[seen], width[seen]
    spread = np.radians(rng.normal(46, 11, len(parent))) * side
    reach = np.minimum(rng.uniform(18, 40, len(parent)) * width + 0.07, 0.8)
    along = np.linspace(0, 1, points)
    turn = rng.normal(0.55, 0.3, len(parent))  # branches bend back to run beside their parent
    heading = of.heading[parent, index][:, None] + spread[:, None] * (1 - turn[:, None] * along)
    heading += _wander(rng, len(parent), along, 0.17 * tortuous, 0.13 / reach)
    line = _walk(of.line[parent, index], heading, reach)
    upper = of.upper[parent]
    width = _fade(line, width[:, None] * (1 - 0.9 * along**1.5), fovea, disc, upper)
    return _Group(line, heading, width, of.artery[parent], upper)


def _wander(rng: np.random.Generator, count: int, along: Array, height: Array | float, period: Array) -> Array:
    """Return (count, n) smooth departures of a heading; `period` is in parts of the vessel's length."""
    waves = rng.uniform(0.6, 1.7, (count, 2)) / period[:, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 2))
    angle = 2 * np.pi * waves[:, :, None] * along + phase[:, :, None]
    return np.asarray(np.broadcast_to(height, count)[:, None] * np.sin(angle).sum(axis=1))


def _walk(first: Array, heading: Array, length: Array) -> Array:
    """Return (V, n, 2) points of a way from `first`, (V, 2), that follows `heading`, (V, n)."""
    step = (length / (heading.shape[1] - 1))[:, None, None]
    moves = np.stack([np.cos(heading[:, :-1]), np.sin(heading[:, :-1])], axis=2) * step
    return np.concatenate([first[:, None], first[:, None] + np.cumsum(moves, axis=1)], axis=1)


def _fade(line: Array, width: Array, fovea: Array, disc: Array, upper: Array) -> Array:
    """Return widths that end, for good, near the fovea and where a vessel leaves its half of the temporal retina."""
    away = np.hypot(line[..., 0] - fovea[0], line[..., 1] - fovea[1])
    free = np.clip((away - _FREE) / _FADE, 0, 1)
    own = (fovea[1] - line[..., 1]) * upper[:, None]
    temporal = np.clip((disc[0] - 0.2 - line[..., 0]) / 0.15, 0, 1)
    own = np.clip(0.55 + own / 0.12, 0, 1) * temporal + 1 - temporal
    share: Array = np.minimum.accumulate(np.minimum(free, own), axis=1)
    return width * share


def draw(vessels: Vessels, shape: tuple[int, int], to_pixels: Array, middle: Array, blur: float) -> Array:
    """Return (H, W) float32 density of the blood in the vessels, about 1 in a large vein.

    Args:
        vessels: What to draw.
        shape: (H, W).
        to_pixels: (2, 2) matrix from places, as rows, to pixels.
        middle: (column, row) of the origin.
        blur: Standard deviation of the point spread in pixels.
    """
    scale = float(np.sqrt(np.abs(np.linalg.det(to_pixels))))
    finer = 4 if scale < 80 else 3 if scale < 160 else 2 if scale < 900 else 1
    image = Image.new("L", (shape[1] * finer, shape[0] * finer))
    pen = ImageDraw.Draw(image)
    # The middle of a vein is darker than its border, that of an artery paler: seen only where it is wide enough.
    layers = ((1.0, 0.8, 0.56), (0.62, 1.0, 0.64), (0.28, 0.96, 0.38)) if scale > 200 else ((1.0, 0.9, 0.56),)
    for share, vein, artery in layers:
        for line, normal, width, is_artery in zip(
            vessels.lines, vessels.normals, vessels.widths, vessels.arteries, strict=True
        ):
            shown = width[:, 0] * scale * share > _LEAST_PIXELS
            if not shown.any():
                continue
            ends = np.maximum((np.minimum.accumulate(width[shown] * scale > _LEAST_PIXELS, axis=1)).sum(axis=1) - 1, 1)
            kept = np.minimum(np.arange(width.shape[1]), ends[:, None])[..., None]  # all points past the end lie on it
            # A polygon of Pillow is one pixel wider than asked for.
            thick = np.maximum(width[shown] * share - 1 / (finer * scale), 0)[..., None] / 2
            middle_line, half = (
                np.take_along_axis(values, kept, axis=1) for values in (line[shown], normal[shown] * thick)
            )
            ribbon = np.concatenate([middle_line + half, (middle_line - half)[:, ::-1]], axis=1)
            places = ((ribbon @ to_pixels + middle + 0.5) * finer - 0.5).reshape(len(ribbon), -1)
            dark = np.where(is_artery[shown], artery, vein) * np.minimum(0.4 + 0.6 * width[shown].max(1) / _FULL, 1)
            for outline, grey in zip(places.tolist(), np.rint(dark * _LEVELS).astype(int).tolist(), strict=True):
                pen.polygon(outline, fill=grey)
    reduced = image.reduce(finer) if finer > 1 else image
    if blur > 0.3:
        reduced = reduced.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(reduced, dtype=np.float32) / _LEVELS
