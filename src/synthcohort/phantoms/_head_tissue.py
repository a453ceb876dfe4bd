"""What the brain is made of: cortex, white matter, deep nuclei, cerebellum, ventricles, falx, tentorium, vessels."""

from __future__ import annotations

import numpy as np

from ..types import Array
from ._head import Head
from ._head_brain import Brain
from ._head_space import Slab, tube

_WATER, _DURA = 7.0, 50.0
_RIBBON_MM = 3.2
"""Thickness of the cortex."""


def paint_brain(head: Head, brain: Brain) -> None:
    """Draw the brain without its ventricles, which bleeding may fill."""
    slab = brain.slab
    middle, fine = slab.field(head.middle), slab.field(head.fine)
    cover = slab.inside(-brain.gap)
    cortex = np.clip((np.float32(_RIBBON_MM) + np.float32(0.5) * middle - brain.gap) * 0.55, 0, 1)
    tissue = np.float32(head.white) + cortex * np.float32(head.grey - head.white + 0.8)
    tissue += np.float32(0.9) * middle
    if head.pale:
        near = np.clip(1 - (brain.horns - 1) * (1 / 9), 0, 1) * (1 + np.float32(0.5) * middle)
        tissue -= np.float32(head.pale) * near * (1 - cortex)
    slab.paint(brain.room, _WATER + cover * (tissue - _WATER))
    _nuclei(head, slab, cover)
    _cerebellum(head, brain, cover, fine)
    _infarct(head, brain, middle)


def paint_ventricles(head: Head, brain: Brain) -> None:
    """Draw the ventricles and the calcified choroid plexus and pineal gland."""
    slab = brain.slab
    slab.paint(slab.inside(brain.horns) * brain.room, _WATER)
    pineal, left, right, _ = head.calcified
    for x, radius in ((20.5, left), (-20.5, right)):
        part = slab.box((x - 6, 30, 54), (x + 6, 46, 74))
        if part is None:
            continue
        plexus = part.ellipsoid((x, 39, 64), (3.6, 6.5, 7))
        part.paint(part.inside(plexus + part.field(head.fine)) * 0.8, 38.0)
        if radius:
            part.paint(part.inside(part.ellipsoid((x, 40, 65), (radius, radius * 1.3, radius * 1.4))), 190.0)
    part = slab.box((-5, 20, 44), (5, 34, 62))
    if part is not None:
        part.paint(part.inside(part.ellipsoid((0, 27, 53), (3.4, 4, 4.5))) * 0.9, 38.0)
        if pineal:
            part.paint(part.inside(part.ellipsoid((0, 27, 53), (pineal, pineal, 1.5 * pineal))), 220.0)


def paint_dura(head: Head, brain: Brain) -> None:
    """Draw the falx, the tentorium, the venous sinuses and the large arteries."""
    slab = brain.slab
    x, y, z = np.abs(slab.x), slab.y, slab.z
    high = slab.inside(brain.below)
    reach = np.clip(np.float32(26) + np.float32(0.18) * y, 14, 46) + np.clip((z - 82) * 3, 0, 60)
    free = np.clip((36 - z) * 0.2, 0, 1) * (y < 0)
    falx = np.clip(1.4 - x * (1 / 0.75), 0, 1) if slab.softness < 1.0 else np.clip(1.2 - x / slab.softness, 0, 1) * 0.75
    falx = falx * np.clip((reach - brain.depth) * 0.4, 0, 1) * high * brain.room * (1 - free)
    slab.paint(falx, head.falx)
    size = head.calcified[3]
    if size:
        part = slab.box((-4, -74, 70), (4, -40, 104))
        if part is not None:
            part.paint(part.inside(part.ellipsoid((0.6, -58, 88), (size, 9, 10))), 260.0)
    leaf = np.clip(1.3 - np.abs(brain.below) * (1 / 1.1), 0, 1) * np.clip((y - 10) * 0.2, 0, 1) * (z < 57)
    slab.paint(leaf * brain.room * 0.65, _DURA)
    sagittal = np.maximum(x - 4.5 + 0.55 * brain.depth, brain.depth - 8) + np.clip((10 - y) * 0.1, 0, 3) - 0.4
    sagittal += np.clip((40 - z) * 0.5, 0, 20)
    across = np.maximum(brain.depth - 5.0, np.abs(z - 34) - 6) + np.clip((38 - y) * 0.3, 0, 20)
    slab.paint(slab.inside(np.minimum(sagittal, across)) * brain.room, _DURA + 3)
    _arteries(brain)


def _arteries(brain: Brain) -> None:
    slab = brain.slab
    for side in (-1.0, 1.0):
        part = slab.box((side * 20 - 16, -24, 24), (side * 20 + 16, 4, 44))
        if part is not None:
            x, y, z = part.x * side, part.y, part.z
            carotid = tube(x, y, z, ((7, -9, 26), (8, -9, 37)), (2.2, 1.9))
            middle = tube(x, y, z, ((8, -9, 37), (31, -17, 39)), (1.5, 1.2))
            cover = part.inside(np.minimum(carotid, middle)) * 0.8
            part.paint(cover * brain.room[part.place_in(slab)], 46.0)
    part = slab.box((-3, -4, 14), (3, 6, 36))
    if part is not None:
        basilar = tube(part.x, part.y, part.z, ((0.8, 5, 12), (0, -1, 34)), (1.9, 1.7))
        part.paint(part.inside(basilar) * 0.8 * brain.room[part.place_in(slab)], 46.0)


def _nuclei(head: Head, slab: Slab, cover: Array) -> None:
    """Draw caudate and lentiform nuclei, thalami and the white matter that they border."""
    wide = 3.0 * (head.horns - 1)
    for side in (-1.0, 1.0):
        part = slab.box((side * 21 - 22, -46, 36), (side * 21 + 22, 40, 82))
        if part is None:
            continue
        where = part.place_in(slab)
        x, y, z = part.x * side, part.y, part.z
        soft = np.float32(1 / 3.5)
        caudate = tube(x, y, z, ((14.0 + wide, -28, 60), (13.0 + wide, -6, 70)), (5.2, 3.0), tall=1.6)
        lentil = tube(x, y, z, ((21.5, -20, 55), (28, 10, 56)), (6.6, 4.6), tall=1.5)
        thalamus = tube(x, y, z, ((8.5, 3, 58), (13, 21, 58)), (6.4, 8.0), tall=1.3)
        claustrum = np.abs(x - 35.5 - 0.1 * (y + 5)) + np.maximum(np.abs(y + 5) - 16, 0) - 0.8
        claustrum = np.maximum(claustrum, np.abs(z - 54) - 9) + 0.6
        grey = np.minimum(np.minimum(caudate, lentil), np.minimum(thalamus, claustrum))
        part.paint(np.clip(0.5 - grey * soft, 0, 1) * cover[where], head.grey + 0.6)


def _cerebellum(head: Head, brain: Brain, cover: Array, fine: Array) -> None:
    slab = brain.slab
    low = int(np.searchsorted(slab.w, 62 * slab.pose.scale[2]))
    if not low:
        return
    part = slab.part(slice(0, low), slice(None), slice(None))
    x, y, z = np.abs(part.x), part.y, part.z
    leaves = np.abs(part.field(head.leaves))
    fold = np.cos((np.hypot(x * 0.8, y - 24) + 2 * fine[:low]) * np.float32(1.15))
    tissue = head.grey - 1.0 - np.clip(0.9 - leaves, 0, 1) * 3.0 - (2.5 + 3 * head.shrunk) * np.clip(fold - 0.55, 0, 1)
    core = np.hypot(np.hypot((x - 18) * (1 / 15), (y - 44) * (1 / 10)), (z - 18) * (1 / 13)) - 1
    tissue = tissue - np.clip(0.4 - core * 1.4, 0, 1) * (head.grey - head.white)
    middle = brain.stem[:low]
    stem = np.minimum(part.ellipsoid((0, 14, 22), (18, 13, 16)), middle)
    stem = np.minimum(stem, tube(part.x, y, z, ((0, 21, 12), (0, 34, -30)), (9.0, 6.0)))
    tissue = tissue + np.clip(0.5 - stem * 0.5, 0, 1) * (head.white + 3.5 - tissue)
    tissue += 0.8 * fine[:low]
    under = np.maximum(part.inside(-brain.below[:low]), part.inside(middle))
    part.paint(under * cover[:low] * brain.room[:low], tissue)


def _infarct(head: Head, brain: Brain, middle: Array) -> None:
    x, y, z, size = head.infarct
    if not size:
        return
    hole = (
        brain.slab.ellipsoid((x, y, z), (size, size * 1.5, size * 1.1)) + 4 * middle + 2 * brain.slab.field(head.fine)
    )
    cover = np.clip(0.5 - hole * 0.3, 0, 1) * brain.room * (brain.below < 0)
    brain.slab.paint(cover * 0.8, 13.0)
