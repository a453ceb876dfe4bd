"""A head with its haemorrhages in a few slices, before the scanner adds its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..layouts import RSNA_SUBTYPES
from ..types import Array
from . import _head_bleeds as blood
from ._head import Head, Room, room
from ._head_bleeds import Bleed
from ._head_brain import Brain, lay_out
from ._head_skull import paint_skull
from ._head_space import Point, Pose, Slab
from ._head_tissue import paint_brain, paint_dura, paint_ventricles

SUBTYPES = RSNA_SUBTYPES[:-1]
VISIBLE_MM2 = 60.0
"""A haemorrhage is drawn, and labelled, in the slices where it covers at least this area."""
_BRAIN: tuple[Point, Point] = ((-80, -96, -40), (80, 96, 136))
_BODY: tuple[Point, Point] = ((-98, -116, -60), (98, 108, 170))
_JUDGED_AT = 96
"""Pixels along a side at which that area is measured, whatever the size of the images."""


@dataclass(frozen=True)
class Patient:
    """A head, what bleeds in it.

    Attributes:
        head: Anatomy.
        bleeds: Haemorrhages.
    """

    head: Head
    bleeds: tuple[Bleed, ...]


@dataclass
class _Layout:
    """What lies where inside the skull, on a box of a slab."""

    plain: Slab
    brain: Brain
    covers: dict[Bleed, Array]


def _layout(patient: Patient, slab: Slab, own: Room) -> _Layout | None:
    plain = slab.box(*_BRAIN)
    if plain is None:
        return None
    where = plain.place_in(slab)
    boxed = Room(own.dome[where], own.depth[where], own.ridge[where])
    head, bleeds = patient.head, patient.bleeds
    layers = blood.thickness(head, plain, boxed, bleeds)
    total: Array | float = sum(layers.values()) if layers else 0.0
    grown = [bleed.reach[2] for bleed in bleeds if bleed.subtype == "intraventricular"]
    drawn = replace(head, horns=head.horns + sum(grown), third=head.third + 3 * sum(grown))
    brain = lay_out(drawn, blood.pushed(plain, bleeds), boxed, thickness=total)
    return _Layout(plain, brain, blood.covers(head, plain, brain, layers, bleeds))


def shown(patient: Patient, pose: Pose, field_mm: float, levels: Array) -> dict[Bleed, Array]:
    """Return for each bleed in which slices it is seen, (Z,) bool; the same whatever the size of the images."""
    if not patient.bleeds:
        return {}
    slab = patient.head.slab(pose, _JUDGED_AT, field_mm, levels)
    layout = _layout(patient, slab, room(patient.head, slab))
    found = {bleed: np.zeros(len(levels), bool) for bleed in patient.bleeds}
    if layout is not None:
        first = layout.plain.place_in(slab)[0]
        for bleed, cover in layout.covers.items():
            found[bleed][first] = cover.sum(axis=(1, 2)) * (field_mm / _JUDGED_AT) ** 2 >= VISIBLE_MM2
    return found


def draw(
    patient: Patient, pose: Pose, side: int, field_mm: float, levels: Array, seen: dict[Bleed, Array]
) -> tuple[Slab, Array]:
    """Return the slices without noise, and what was painted, (5, Z, H, W) bool in the order of the subtypes.

    Args:
        patient: Whose head.
        pose: How it lies.
        side: Pixels along a side.
        field_mm: Millimetres along a side.
        levels: (Z,) scanner height of each slice in millimetres.
        seen: What `shown` returns for these slices.
    """
    head = patient.head
    whole = head.slab(pose, side, field_mm, levels)
    slab = whole.box(*_BODY)
    painted = np.zeros((len(SUBTYPES), *whole.hu.shape), bool)
    if slab is None:
        return whole, painted
    own = room(head, slab)
    paint_skull(head, slab, own)
    layout = _layout(patient, slab, own)
    if layout is None:
        return whole, painted
    plain, brain = layout.plain, layout.brain
    where = plain.place_in(whole)
    covers = {bleed: cover * seen[bleed][where[0], None, None] for bleed, cover in layout.covers.items()}
    paint_brain(head, brain)
    for bleed in covers:
        blood.paint_rim(head, plain, brain, bleed)
    paint_ventricles(head, brain)
    paint_dura(head, brain)
    for bleed in sorted(covers, key=lambda one: _ORDER.index(one.subtype)):
        blood.paint(head, plain, brain, bleed, covers[bleed])
        painted[(SUBTYPES.index(bleed.subtype), *where)] |= covers[bleed] > 0.5
    return whole, painted


_ORDER = ("subarachnoid", "intraventricular", "intraparenchymal", "subdural", "epidural")
"""What is painted first may be covered by what comes later."""
