"""Who bleeds where: haemorrhages as injuries, high blood pressure and aneurysms cause them together."""

from __future__ import annotations

import numpy as np

from ._head import Head
from ._head_bleeds import Bleed

BLEEDING = 0.4
"""Probability that a patient has a haemorrhage."""


def draw_bleeds(rng: np.random.Generator, head: Head) -> tuple[Bleed, ...]:
    """Return a patient's haemorrhages, none for most."""
    if rng.random() >= BLEEDING:
        return ()
    cause = rng.choice(4, p=(0.34, 0.35, 0.23, 0.08))
    return tuple((_injury, _pressure, _aneurysm, _slow)[cause](rng, head))


def _side(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _injury(rng: np.random.Generator, head: Head) -> list[Bleed]:
    side = _side(rng)
    found = []
    if rng.random() < 0.25:
        found.append(_epidural(rng, head, side))
    if rng.random() < 0.5:
        found.append(_subdural(rng, -side if found else side, fresh=True))
    if rng.random() < 0.15:
        found.append(_beside_falx(rng))
    if rng.random() < 0.3:
        found.append(_contusion(rng, -side))
    if rng.random() < 0.4 or not found:
        found.append(_on_the_surface(rng, head, side))
    return found


def _pressure(rng: np.random.Generator, head: Head) -> list[Bleed]:
    clot = _clot(rng)
    ruptures = abs(clot.centre[0]) < 30 and rng.random() < 0.6
    return [clot, _intraventricular(rng)] if ruptures else [clot]


def _aneurysm(rng: np.random.Generator, head: Head) -> list[Bleed]:
    far = rng.uniform(0.75, 1.2)
    centre = (rng.normal(0, 6), rng.normal(-14, 8), rng.normal(42, 4))
    found = [Bleed("subarachnoid", rng.uniform(52, 66), centre, (62 * far, 52 * far, 26 * far))]
    if rng.random() < 0.45:
        found.append(_intraventricular(rng))
    if rng.random() < 0.15:
        found.append(_contusion(rng, _side(rng)))
    return found


def _slow(rng: np.random.Generator, head: Head) -> list[Bleed]:
    side = _side(rng)
    found = [_subdural(rng, side, fresh=False)]
    return [*found, _subdural(rng, -side, fresh=False)] if rng.random() < 0.25 else found


def _epidural(rng: np.random.Generator, head: Head, side: float) -> Bleed:
    angle, height = (
        (rng.normal(0.15, 0.25), 50) if rng.random() < 0.6 else (rng.uniform(-0.95, 1.0), rng.uniform(60, 85))
    )
    a, b, c = head.half
    shrink = np.sqrt(max(0.1, 1 - ((height - 45) / c) ** 2))
    # On the inner face of the skull; negative angles lie towards the back.
    y = -b * np.sin(angle) * shrink
    x = side * a * np.cos(angle) * shrink / (1 - head.narrow * y)
    thick = rng.uniform(9, 24)
    reach = float(np.clip(thick * rng.uniform(1.5, 2.2), 20, 40))
    return Bleed("epidural", rng.uniform(60, 74), (x, y, height), (reach, reach, thick), shift=0.28 * (thick - 6))


def _subdural(rng: np.random.Generator, side: float, *, fresh: bool) -> Bleed:
    thick = rng.uniform(4, 15) if fresh else rng.uniform(7, 20)
    level = rng.uniform(56, 70) if fresh else rng.uniform(42, 50)
    reach = (thick, rng.uniform(62, 95), rng.uniform(26, 48))
    centre = (side * 50, rng.normal(0, 12), rng.uniform(62, 88))
    return Bleed("subdural", level, centre, reach, shift=float(min(12, 0.5 * thick)))


def _beside_falx(rng: np.random.Generator) -> Bleed:
    centre = (_side(rng) * 2, rng.choice([-48.0, 48.0]), rng.uniform(70, 95))
    return Bleed("subdural", rng.uniform(58, 70), centre, (rng.uniform(3, 5.5), 40, 28), rim=1.0)


def _contusion(rng: np.random.Generator, side: float) -> Bleed:
    place = [(26, -62, 52), (44, -24, 34), (48, 10, 40), (30, -50, 80)][rng.integers(4)]
    centre = (side * (place[0] + rng.normal(0, 3)), place[1] + rng.normal(0, 5), place[2] + rng.normal(0, 4))
    a = rng.uniform(5, 13)
    reach = (a, a * rng.uniform(0.9, 1.5), a * rng.uniform(0.9, 1.3))
    return Bleed("intraparenchymal", rng.uniform(52, 66), centre, reach, turn=rng.uniform(0, 3), rim=rng.uniform(3, 9))


def _clot(rng: np.random.Generator) -> Bleed:
    side = _side(rng)
    kind = rng.choice(5, p=(0.42, 0.16, 0.28, 0.1, 0.04))
    place = [(27, -3, 57), (14, 12, 58), (36, rng.choice([-42, 30, 52]), 80), (22, 50, 20), (2, 13, 24)][kind]
    centre = (side * (place[0] + rng.normal(0, 2)), place[1] + rng.normal(0, 3), place[2] + rng.normal(0, 3))
    a = rng.uniform(*((7, 18), (6, 11), (9, 22), (7, 15), (5, 8))[kind])
    reach = (a, a * rng.uniform(1.0, 1.6), a * rng.uniform(0.9, 1.3))
    shift = 0.35 * max(0.0, a - 8) if kind < 3 else 0.0
    level, rim = rng.uniform(57, 73), rng.uniform(3, 9)
    return Bleed("intraparenchymal", level, centre, reach, shift=shift, turn=-side * rng.normal(0.25, 0.3), rim=rim)


def _intraventricular(rng: np.random.Generator) -> Bleed:
    cast = rng.random() < 0.5
    top = rng.uniform(-50, -10) if cast else rng.uniform(22, 46)
    return Bleed("intraventricular", rng.uniform(55, 70), (0, 30, 60), (top, float(cast), rng.uniform(0, 0.35)))


def _on_the_surface(rng: np.random.Generator, head: Head, side: float) -> Bleed:
    angle, height = rng.uniform(-1.0, 1.3), rng.uniform(50, 100)
    shrink = np.sqrt(max(0.15, 1 - ((height - 45) / head.half[2]) ** 2))
    centre = (side * 58 * np.cos(angle) * shrink, -74 * np.sin(angle) * shrink, height)
    far = rng.uniform(24, 44)
    return Bleed("subarachnoid", rng.uniform(50, 64), centre, (far, far, far * 0.8))
