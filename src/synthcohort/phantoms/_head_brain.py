"""Where things lie in the brain: sulci, fissures and cisterns, ventricles, cerebellum and brain stem, tentorium."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._head import Head, Room
from ._head_space import Point, Slab, tube


@dataclass
class Brain:
    """Where things are in the brain, on a box of a slab that holds the whole room.

    Attributes:
        slab: The box.
        dome: (Z, H, W) float32 millimetres outside the vault.
        depth: (Z, H, W) float32 millimetres inside the room.
        room: (Z, H, W) float32 how far (0 to 1) a pixel is inside the room.
        gap: Millimetres from the nearest fluid around the brain, negative in it.
        horns: Millimetres outside the ventricles.
        below: Millimetres under the tentorium (negative above it).
        stem: Millimetres outside the midbrain.
    """

    slab: Slab
    dome: Array
    depth: Array
    room: Array
    gap: Array
    horns: Array
    below: Array
    stem: Array


def lay_out(head: Head, slab: Slab, room: Room, *, thickness: Array | float = 0.0) -> Brain:
    """Return where things are, on coordinates that a mass may have pushed.

    Args:
        head: Whose brain.
        slab: The box, its x, y, z as the brain has them.
        room: Where the room is, on the same box.
        thickness: (Z, H, W) millimetres of blood between skull and brain.
    """
    below = _below_tentorium(slab, room)
    stem = _midbrain(slab)
    gap = np.where(below > 0, _gap_low(head, slab, room, stem), _gap_high(head, slab, room, stem))
    leaf = np.clip((8 - slab.y) * 0.5, 0, 40) + np.clip((slab.z - 52) * 2, 0, 40)
    np.minimum(gap, np.abs(below) + leaf - 0.6, out=gap)
    # Blood under the skull presses the brain's surface inwards, and the fluid out of the way.
    pressed = np.clip(1 - thickness * np.float32(0.3), 0, 1)
    surface = np.float32(0.4 + 1.3 * head.shrunk) * (1 - np.float32(0.004) * slab.y) * pressed
    np.maximum(gap, -stem, out=gap)
    np.minimum(gap, np.minimum(room.depth, -room.dome - thickness) - surface, out=gap)
    return Brain(slab, room.dome, room.depth, slab.inside(-room.depth), gap, _ventricles(head, slab), below, stem)


def _below_tentorium(slab: Slab, room: Room) -> Array:
    x, y = np.abs(slab.x), slab.y
    peak = np.clip(1 - x * (1 / 40), 0, 1) * np.clip(1 - ((y - 36) * (1 / 48)) ** 2, 0, 1)
    under = 36 + 20 * peak - slab.z
    under = np.minimum(under * np.float32(0.87), room.ridge + 3)
    # The notch for the brain stem: nothing is under the tentorium in front of it.
    return np.asarray(np.minimum(under, slab.y + 14 + np.clip((30 - slab.z) * 0.8, 0, 40)), dtype=np.float32)


def _gap_high(head: Head, slab: Slab, room: Room, stem: Array) -> Array:
    """Return millimetres from the fluid above the tentorium: sulci, fissures and basal cisterns."""
    x, y, z = np.abs(slab.x), slab.y, slab.z
    wide = head.shrunk
    broad = slab.field(head.broad)
    gap = _sulci(head, slab, room.depth, broad)
    # Between the hemispheres, as deep as the corpus callosum.
    core = np.hypot((y + 2) * (1 / 40), (z - 56) * (1 / 23)) - 1
    middle = x - (0.4 + 0.7 * wide) * (1 - 0.006 * y) - np.float32(0.4) * broad + np.clip(-core * 30, 0, 40)
    np.minimum(gap, middle, out=gap)
    np.minimum(gap, _sylvian(x, y, z, head.shrunk, broad + np.float32(0.6) * slab.field(head.middle)), out=gap)
    low = int(np.searchsorted(slab.w, 62 * slab.pose.scale[2]))
    if low:
        part = slab.part(slice(0, low), slice(None), slice(None))
        np.minimum(gap[:low], _cisterns(part, wide, stem[:low]), out=gap[:low])
    return gap


def _sulci(head: Head, slab: Slab, depth: Array, broad: Array) -> Array:
    """Return millimetres from the sulci, which run inwards from the surface, branch and end."""
    x, y = np.abs(slab.x), slab.y
    middle, fine, folds = slab.field(head.middle), slab.field(head.fine), slab.field(head.folds)
    ray = np.arctan2(y, x + 22) * 16 + np.float32(1.8) * broad + np.float32(0.05) * slab.z
    folds = np.cos(ray + np.float32(1.3) * middle + 2 * np.sign(slab.x)) + np.float32(0.9) * folds
    folds += np.float32(0.3) * fine
    step = float(slab.u[1] - slab.u[0])
    steep_y, steep_x = np.gradient(folds, step, axis=(1, 2))
    away = np.abs(folds) / np.sqrt(steep_x * steep_x + steep_y * steep_y + np.float32(0.01))
    reach = np.float32(12 + 2 * head.shrunk) + 4 * middle + 2 * broad
    width = np.float32(0.3 + 0.9 * head.shrunk) * (1 + np.float32(0.25) * broad) - np.maximum(depth - 2, 0) * 0.03
    # The nuclei in the middle have none, near as they are to the base.
    inner = np.maximum(-slab.ellipsoid((0, 2, 55), (36, 36, 20)), 0)
    return np.asarray(np.hypot(away, np.maximum(depth - reach, 0) + inner) - np.maximum(width, 0.05))


def _sylvian(x: Array, y: Array, z: Array, wide: float, bent: Array) -> Array:
    """Return millimetres from the fissure over the insula, which opens to the side, further back the higher."""
    along = y + 5
    insula = 39.5 + np.float32(0.17) * along - np.float32(0.007) * along * along + 2 * bent
    beyond = np.hypot(np.maximum(np.abs(along) - 19, 0), np.maximum(np.abs(z - 54) - 11, 0))
    half = (0.35 + 1.2 * wide) * (1 + np.float32(0.4) * bent)
    sheet = np.hypot(x - insula, beyond) - half
    out = x - insula
    opening = y - (1.7 * (z - 55) - 4) - np.float32(0.004) * out * out - 3.5 * bent
    opening = np.hypot(opening, np.maximum(-out, 0) + np.maximum(np.abs(z - 54) - 10, 0))
    return np.asarray(np.minimum(sheet, opening - half * 0.8 + 0.01 * out), dtype=np.float32)


def _cisterns(slab: Slab, wide: float, stem: Array) -> Array:
    x, y, z = slab.x, slab.y, slab.z
    ax = np.abs(x)
    radius = np.hypot(x, y + 4)
    star = radius - (10.5 + 1.5 * wide) * (1 + np.float32(0.38) * np.cos(5 * np.arctan2(x, -(y + 4))))
    star = np.maximum(star, np.abs(z - 35) - 7)
    arm = tube(ax, y, z, ((10, -9, 37), (33, -24, 41)), (1.6, 2.2), tall=2.0) - 0.8 * wide
    ambient = stem - (2.2 + 1.2 * wide)
    ambient = np.maximum(ambient, np.abs(z - 41) - 8)
    plate = tube(ax, y, z, ((0, 27, 48), (13, 24, 47)), (3.2, 2.2), tall=2.0) - 0.8 * wide
    return np.asarray(np.minimum(np.minimum(star, arm), np.minimum(ambient, plate)))


def _midbrain(slab: Slab) -> Array:
    """Return (Z, H, W) float32 millimetres outside the midbrain, 20 far from it."""
    away = np.full(slab.x.shape, 20, np.float32)
    part = slab.box((-34, -20, 20), (34, 42, 64))
    if part is None:
        return away
    x, y, z = part.x, part.y, part.z
    ax = np.abs(x)
    stalks = np.hypot((ax - 8) * (1 / 8), (y - 5) * (1 / 9)) - 1
    roof = np.hypot(x * (1 / 13), (y - 15) * (1 / 9)) - 1
    away[part.place_in(slab)] = np.maximum(np.minimum(stalks, roof) * 8, np.abs(z - 42) - 9)
    return away


def _gap_low(head: Head, slab: Slab, room: Room, stem: Array) -> Array:
    """Return millimetres from the fluid below the tentorium: around cerebellum and brain stem."""
    low = int(np.searchsorted(slab.w, 62 * slab.pose.scale[2]))
    gap = np.full(slab.x.shape, -1, np.float32)
    part = slab.part(slice(0, low), slice(None), slice(None))
    if not low:
        return gap
    wide = head.shrunk
    x, y, z = part.x, part.y, part.z
    ax = np.abs(x)
    pons = part.ellipsoid((0, 14, 22), (17, 12, 15))
    cord = tube(x, y, z, ((0, 21, 12), (0, 34, -30)), (9.0, 6.0))
    arms = tube(ax, y, z, ((6, 20, 20), (22, 34, 20)), (8.0, 10.0))
    lobes = np.hypot(np.hypot((ax - 24) * (1 / 34), (y - 49) * (1 / 37)), (z - 22) * (1 / 30)) - 1
    lobes = np.maximum(lobes * 30, (1.2 + 1.5 * wide) - room.depth[:low])
    notch = tube(x, y, z, ((0, 86, 4), (0, 60, 6)), (6.0, 1.5), tall=2.5)
    lobes = np.maximum(lobes, -notch)
    vermis = part.ellipsoid((0, 48, 36), (14, 26, 20))
    tissue = np.minimum(np.minimum(pons, cord), np.minimum(arms, np.minimum(lobes, vermis)))
    gap[:low] = -np.minimum(tissue, stem[:low])
    return gap


def _ventricles(head: Head, slab: Slab) -> Array:
    """Return (Z, H, W) float32 millimetres outside the ventricles."""
    away = np.full(slab.x.shape, 50, np.float32)
    size = head.horns
    for side in (-1.0, 1.0):
        own = size * (1 + side * head.uneven)
        low: Point = (side * 21 - 23, -46, 28)
        high: Point = (side * 21 + 23, 78, 90)
        part = slab.box(low, high)
        if part is None:
            continue
        where = part.place_in(slab)
        x, y, z = part.x * side, part.y, part.z
        horn = _horn(x, y, z, own)
        horn = np.maximum(horn, 0.9 - x)
        away[where] = np.minimum(away[where], horn)
    part = slab.box((-8, -16, 36), (8, 30, 66))
    if part is not None:
        where = part.place_in(slab)
        third = part.ellipsoid((0, 7, 52), (head.third, 15, 10))
        away[where] = np.minimum(away[where], third)
    part = slab.box((-14, 18, 4), (14, 46, 34))
    if part is not None:
        where = part.place_in(slab)
        fourth = part.ellipsoid((0, 31, 20), (5 + 2.2 * size, 3 + 1.2 * size, 10))
        fourth = np.maximum(fourth, -part.ellipsoid((0, 40, 20), (4, 7, 9)))
        away[where] = np.minimum(away[where], fourth)
    return away


def _horn(x: Array, y: Array, z: Array, size: float) -> Array:
    wide = 3.0 * (size - 1)
    front, monro, body = (12.5 + wide, -37.0 - wide, 58.0), (4.6 + wide, -8.0, 62.0), (9.0 + wide, 16.0, 72.0)
    atrium, back = (22.0 + wide, 37.0, 65.0), (21.0 + wide, 60.0 + 2 * wide, 57.0)
    floor, tip = (31.0, 22.0, 46.0), (33.0, -1.0, 37.0)
    pieces = (
        (front, monro, 2.2, 3.6, 1.9),
        (monro, body, 3.4, 4.4, 1.2),
        (body, atrium, 4.4, 6.0, 1.2),
        (atrium, back, 5.6, 2.2, 1.5),
        (atrium, floor, 5.0, 2.0, 1.0),
        (floor, tip, 2.0, 1.3, 1.0),
    )
    shapes = [tube(x, y, z, (a, b), (ra * size, rb * size), tall=tall) for a, b, ra, rb, tall in pieces]
    result = shapes[0]
    for shape in shapes[1:]:
        result = np.minimum(result, shape)
    return result
