"""The chest of one patient: what stays the same over all films, and what findings change of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array


@dataclass(frozen=True)
class Chest:
    """Anatomy that stays the same over all studies of a patient.

    Attributes:
        female: Draws breasts.
        width: Half width of the rib cage.
        top, waist: y of the lungs' tips and of the widest level.
        domes: y of the right and left diaphragm at a usual breath.
        rib: (gap, thickness, slope, phase, strength) of the ribs.
        spine: (bend, phase) of its curve.
        heart: (width, height, tilt) against the usual, tilt in radians.
        shoulders: (slope, thickness) of the collarbones and their height above usual.
        knob: Radius of the aortic knob.
        mediastinum: Half width of the upper mediastinum.
        fat: Thickness of the chest wall.
        breast: (radius, height, droop) of a breast.
        bubble: (x, below the diaphragm, radius) of the air in the stomach.
        waves: (height, length, phase) of departures of every outline from its formula.
        vessels: (n, 5, 2) points and (n,) widths of the vessels of both lungs at a usual breath.
    """

    female: bool
    width: float
    top: float
    waist: float
    domes: tuple[float, float]
    rib: tuple[float, float, float, float, float]
    spine: tuple[float, float]
    heart: tuple[float, float, float]
    shoulders: tuple[float, float]
    knob: float
    mediastinum: float
    fat: float
    breast: tuple[float, float, float]
    bubble: tuple[float, float, float]
    waves: tuple[tuple[float, float, float], ...]
    vessels: tuple[Array, Array]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, female: bool) -> Chest:
        """Return a random chest."""
        right = rng.normal(78, 9)
        width = rng.normal(127 if female else 136, 7.5)
        return cls(
            female=female,
            width=float(width),
            top=float(rng.normal(-126, 8)),
            waist=float(rng.normal(52, 9)),
            domes=(float(right), float(right + rng.normal(9, 5))),
            rib=(*rng.normal((23.5, 10.5, 1.0), (1.7, 1.2, 0.17)).tolist(), rng.uniform(0, 1), rng.uniform(0.07, 0.14)),
            spine=(float(rng.normal(0, 4)), float(rng.uniform(0, 2 * np.pi))),
            heart=(float(rng.normal(1, 0.075)), float(rng.normal(1, 0.07)), float(rng.normal(0.62, 0.13))),
            shoulders=(float(rng.normal(0.27, 0.11)), float(rng.normal(0, 7))),
            knob=float(rng.normal(15, 2.5)),
            mediastinum=float(rng.normal(25, 3)),
            fat=float(np.clip(rng.gamma(4, 6.5), 8, 55)),
            breast=(float(rng.uniform(48, 72)), float(rng.normal(52, 14)), float(rng.uniform(0.04, 0.22))),
            bubble=(float(rng.normal(66, 9)), float(rng.uniform(14, 34)), float(rng.uniform(6, 24))),
            waves=tuple((float(rng.normal(0, 1.6)), float(rng.uniform(22, 70)), rng.uniform(0, 6.3)) for _ in range(4)),
            vessels=_tree(rng, float(width)),
        )


@dataclass(frozen=True)
class Change:
    """What findings do to the shape of the anatomy, all 0 in health.

    Attributes:
        heart: Share by which the heart is wider.
        mediastinum: Millimetres by which the upper mediastinum is wider on each side.
        lift: Millimetres by which the right and left diaphragm are raised.
        breaks: (side, rib, u, offset) of broken ribs.
    """

    heart: float = 0.0
    mediastinum: float = 0.0
    lift: tuple[float, float] = (0.0, 0.0)
    breaks: tuple[tuple[int, int, float, float], ...] = ()


def _tree(rng: np.random.Generator, width: float) -> tuple[Array, Array]:
    """Return points and widths of vessels that branch outwards from both hila."""
    angle = np.tile(np.radians((-78, -48, -18, 14, 42, 62, 80)), 2)
    side = np.repeat((-1.0, 1.0), 7)
    start = np.stack([30 * side, np.full(14, -14.0)], axis=1)
    thick = np.full(14, 4.6)
    paths, widths = [], []
    for order in range(5):
        bend = (angle + rng.normal(0, 0.16, len(angle)))[:, None] + np.outer(
            rng.normal(0, 0.25, len(angle)), np.linspace(-0.5, 1, 4)
        )
        length = rng.uniform(22, 40, len(angle)) * 0.8**order / 4
        steps = np.stack([side[:, None] * np.cos(bend), np.sin(bend)], axis=2) * length[:, None, None]
        path = np.concatenate([start[:, None], start[:, None] + np.cumsum(steps, axis=1)], axis=1)
        paths.append(path)
        widths.append(thick)
        out = np.abs(path[:, -1, 0])
        grows = (out > 12) & (out < width - 8) & (thick > 0.9)
        spread = rng.uniform(0.25, 0.6, grows.sum())
        angle = np.concatenate([bend[grows, -1] - spread, bend[grows, -1] + 0.8 * spread])
        thick = np.tile(thick[grows] * rng.uniform(0.62, 0.8, grows.sum()), 2)
        start, side = np.tile(path[grows, -1], (2, 1)), np.tile(side[grows], 2)
    return np.concatenate(paths), np.concatenate(widths)
