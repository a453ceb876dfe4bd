"""The five kinds of haemorrhage inside the skull: where the blood is, how bright, and what it pushes aside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..types import Array
from ._head import Head, Room
from ._head_brain import Brain
from ._head_space import Point, Slab


@dataclass(frozen=True)
class Bleed:
    """One haemorrhage.

    Attributes:
        subtype: One of `RSNA_SUBTYPES` but "any".
        level: Hounsfield units of the blood: 55 to 75 when fresh, about 45 after two weeks.
        centre: Its middle, in head coordinates.
        reach: (x, y, z) half extents; of an epidural one its half diameter along the skull, twice, and its thickness;
            of a subdural one (thickness, along the skull, upwards); of an intraventricular one (lowest y that the
            blood reaches up to, 0 or 1 for the third and fourth ventricle, growth of the ventricles).
        shift: Millimetres by which it moves the midline.
        turn: Rotation in the slice plane, in radians.
        rim: Millimetres of swollen brain around it; of a subdural one 1 when it lies along the falx, else 0.
    """

    subtype: str
    level: float
    centre: Point
    reach: Point
    shift: float = 0.0
    turn: float = 0.0
    rim: float = 0.0


def thickness(head: Head, slab: Slab, room: Room, bleeds: tuple[Bleed, ...]) -> dict[Bleed, Array]:
    """Return for each bleed between skull and brain how many millimetres thick it is at every pixel."""
    found = {}
    for bleed in bleeds:
        if bleed.subtype == "epidural":
            found[bleed] = _lens(bleed, slab, room)
        elif bleed.subtype == "subdural" and not bleed.rim:
            found[bleed] = _crescent(head, bleed, slab)
    return found


def _lens(bleed: Bleed, slab: Slab, room: Room) -> Array:
    x, y, z = bleed.centre
    away = (slab.x - x) ** 2 + (slab.y - y) ** 2 + (slab.z - z) ** 2 - np.minimum(room.dome, 0) ** 2
    return np.asarray(bleed.reach[2] * np.clip(1 - away * (1 / bleed.reach[0] ** 2), 0, 1))


def _crescent(head: Head, bleed: Bleed, slab: Slab) -> Array:
    side = np.sign(bleed.centre[0])
    along = ((slab.y - bleed.centre[1]) * (1 / bleed.reach[1])) ** 2
    along += ((slab.z - bleed.centre[2]) * (1 / bleed.reach[2])) ** 2
    profile = np.clip(1 - along, 0, 1) ** np.float32(0.7) * (1 + np.float32(0.12) * slab.field(head.broad))
    return np.asarray(bleed.reach[0] * profile * np.clip(slab.x * side * np.float32(0.12) - 0.5, 0, 1))


def pushed(slab: Slab, bleeds: tuple[Bleed, ...]) -> Slab:
    """Return the slab with the coordinates of the brain as the bleeds displace it; the pixels are shared."""
    x, y, z = slab.x, slab.y, slab.z
    for bleed in bleeds:
        if bleed.subtype == "intraparenchymal":
            radius = float(np.prod(bleed.reach) ** (1 / 3))
            dx, dy, dz = slab.x - bleed.centre[0], slab.y - bleed.centre[1], slab.z - bleed.centre[2]
            square = dx * dx + dy * dy + dz * dz + 1
            # What lay within the radius moves outwards, further away by the same volume, and never past the centre.
            share = np.minimum(np.float32(0.2 * radius**3) / (square * np.sqrt(square)), np.float32(0.6))
            x, y, z = x - share * dx, y - share * dy, z - share * dz
        if bleed.shift:
            side = np.sign(bleed.centre[0])
            bend = np.clip(1 - (slab.y * (1 / 84)) ** 2, 0, 1) * np.exp(-(((slab.z - 62) * (1 / 38)) ** 2))
            x = x + np.float32(side * bleed.shift) * bend
    return replace(slab, x=x, y=y, z=z)


def covers(
    head: Head, plain: Slab, brain: Brain, layers: dict[Bleed, Array], bleeds: tuple[Bleed, ...]
) -> dict[Bleed, Array]:
    """Return for each bleed how far (0 to 1) its blood covers a pixel.

    Args:
        head: Whose head.
        plain: The slab with the coordinates of the head.
        brain: What lies where, on coordinates that the bleeds have pushed.
        layers: What `thickness` returns.
        bleeds: All of them.
    """
    found = {}
    for bleed in bleeds:
        if bleed in layers:
            layer = layers[bleed]
            cover = plain.inside(-brain.dome - layer) * np.clip(layer * np.float32(0.7) - 0.7, 0, 1)
        elif bleed.subtype == "subdural":
            cover = _beside_falx(bleed, brain)
        elif bleed.subtype == "intraparenchymal":
            cover = plain.inside(_clot(head, bleed, plain)) * plain.inside(1 - brain.depth)
        elif bleed.subtype == "intraventricular":
            cover = _in_ventricles(head, bleed, brain)
        else:
            cover = _in_sulci(head, bleed, plain, brain)
        found[bleed] = cover * brain.room
    return found


def _beside_falx(bleed: Bleed, brain: Brain) -> Array:
    slab = brain.slab
    out = slab.x * np.sign(bleed.centre[0])
    along = ((slab.y - bleed.centre[1]) * (1 / bleed.reach[1])) ** 2
    along += ((slab.z - bleed.centre[2]) * (1 / bleed.reach[2])) ** 2
    layer = bleed.reach[0] * np.sqrt(np.clip(1 - along, 0, 1))
    deep = np.maximum(brain.depth - 38, brain.below)
    return slab.inside(np.maximum(np.maximum(out - layer, -0.6 - out), deep)) * np.clip(layer - 0.8, 0, 1)


def _clot(head: Head, bleed: Bleed, slab: Slab) -> Array:
    """Return (Z, H, W) millimetres outside a clot with a lobed border."""
    cos, sin = np.float32(np.cos(bleed.turn)), np.float32(np.sin(bleed.turn))
    dx, dy, dz = slab.x - bleed.centre[0], slab.y - bleed.centre[1], slab.z - bleed.centre[2]
    a, b, c = bleed.reach
    total = ((cos * dx + sin * dy) * (1 / a)) ** 2 + ((cos * dy - sin * dx) * (1 / b)) ** 2 + (dz * (1 / c)) ** 2
    rough = np.float32(0.15) * slab.field(head.middle) + np.float32(0.07) * slab.field(head.fine)
    return np.asarray((np.sqrt(total) - 1 + rough) * np.float32(min(bleed.reach)))


def _in_ventricles(head: Head, bleed: Bleed, brain: Brain) -> Array:
    slab = brain.slab
    top, all_four, _ = bleed.reach
    # Blood settles at the back, where the surface of the layer is level.
    level = top - slab.y + np.float32(0.8) * slab.field(head.fine)
    if not all_four:
        level = np.maximum(level, 6 - np.abs(slab.x))
    return slab.inside(brain.horns) * slab.inside(level)


def _in_sulci(head: Head, bleed: Bleed, plain: Slab, brain: Brain) -> Array:
    x, y, z = bleed.centre
    a, b, c = bleed.reach
    away = ((np.abs(plain.x - x) if x else plain.x) * (1 / a)) ** 2
    away = away + ((plain.y - y) * (1 / b)) ** 2 + ((plain.z - z) * (1 / c)) ** 2
    share = np.clip((1 - away) * 3 + np.float32(0.4) * plain.field(head.broad), 0, 1)
    return brain.slab.inside(brain.gap - share * 1.2 + 0.4) * share * plain.inside(brain.horns * -1 + 1)


def paint(head: Head, plain: Slab, brain: Brain, bleed: Bleed, cover: Array) -> None:
    """Draw one bleed where `cover` says."""
    texture = np.float32(1.6) * plain.field(head.fine) + np.float32(1.2) * plain.field(head.middle)
    level: Array | float = bleed.level
    if bleed.subtype in ("subdural", "intraparenchymal"):
        # Red cells settle towards the back of a large collection.
        level = bleed.level + np.clip((plain.y - bleed.centre[1]) * np.float32(0.06), -3, 3)
    plain.paint(cover, level + texture * (0.5 if bleed.subtype == "subarachnoid" else 1.0))


def paint_rim(head: Head, plain: Slab, brain: Brain, bleed: Bleed) -> None:
    """Draw the swollen, darker brain around a clot."""
    if bleed.subtype == "intraparenchymal" and bleed.rim:
        away = _clot(head, bleed, plain)
        swollen = np.clip(1 - away * np.float32(1 / bleed.rim), 0, 1) * brain.room * plain.inside(-brain.gap)
        plain.hu -= np.minimum(np.float32(1.4) * swollen, 1) * 11
