"""Everything outside the brain: scalp, vault, skull base with its air cells, orbits, nose, and the headrest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._head import EQUATOR, Head, Room
from ._head_space import Point, Slab, tube

BONE, MUSCLE, FAT, SKIN, AIR = 1150.0, 55.0, -95.0, 40.0, -1000.0


def paint_skull(head: Head, slab: Slab, room: Room) -> None:
    """Draw the head from the skin to the inner face of the skull."""
    middle, fine = slab.field(head.middle), slab.field(head.fine)
    thick = _thickness(head, slab, middle)
    _scalp(head, slab, room, thick, middle, fine)
    _ears(slab)
    low = int(np.searchsorted(slab.w, 58 * slab.pose.scale[2]))
    base = _Base(head, slab.part(slice(0, low), slice(None), slice(None)), fine[:low]) if low else None
    if base:
        base.face()
        base.orbits()
    _vault(slab, room, thick, fine)
    if base:
        base.bones()
        base.air()


def _thickness(head: Head, slab: Slab, middle: Array) -> Array:
    """Return (Z, H, W) millimetres of bone around the room: thin at the temples, thick at the back and the front."""
    temple = np.exp(-(((slab.z - 38) * (1 / 24)) ** 2) - ((slab.y + 12) * (1 / 38)) ** 2)
    thick = np.float32(head.thick) * (1 + np.float32(0.0025) * slab.y - np.float32(0.5) * temple)
    return np.asarray(thick + np.float32(0.5) * middle)


def _scalp(head: Head, slab: Slab, room: Room, thick: Array, middle: Array, fine: Array) -> None:
    x, y, z = slab.x, slab.y, slab.z
    ax = np.abs(x)
    below = np.clip((EQUATOR - z) * np.float32(1 / 40), 0, 1.3)
    temple = np.exp(-(((ax - 66) * (1 / 16)) ** 2) - ((y + 30) * (1 / 24)) ** 2 - ((z - 32) * (1 / 26)) ** 2)
    neck = below * np.clip((y - 30) * np.float32(1 / 40), 0, 1)
    scalp = head.scalp + 8 * temple + 9 * neck + np.float32(0.5) * middle
    if head.swelling[3]:
        px, py, pz, size = head.swelling
        near = ((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) * (1 / (28 * 28))
        scalp += size * np.exp(-near * 1.4)
    skin = room.dome - thick - scalp
    nose = slab.ellipsoid((0, -90, 8), (12, 15, 19))
    cheeks = slab.ellipsoid((0, -40, 6), (62, 50, 42))
    skin = np.minimum(skin, np.minimum(nose, cheeks))
    under = -skin
    # From inside to outside: muscle and fascia on the bone, fat, skin.
    deep = room.dome - thick
    lean = np.clip(1.0 - head.fat + 0.9 * temple + 0.5 * neck + np.float32(0.12) * middle, 0.1, 1)
    red = slab.inside(deep - lean * scalp)
    strands = np.clip(np.abs(middle + 0.5 * fine) * -5 + 1.0, 0, 1) * np.clip(below, 0, 1)
    tissue = FAT + red * (MUSCLE - FAT - 120 * strands)
    if head.swelling[3]:
        tissue += np.exp(-near * 2.0) * (62 - tissue)
    tissue += slab.inside(nose) * (30 - tissue)
    tissue += slab.inside(under - 1.7) * (SKIN - tissue)
    slab.paint(slab.inside(skin), tissue)


def _ears(slab: Slab) -> None:
    for side in (-1, 1):
        part = slab.box((side * 80 - 14, -8, -24), (side * 80 + 14, 44, 44))
        if part is None:
            continue
        # A bent plate that leaves the head at its front, with a thicker rim.
        out = part.x * side - 70 - np.float32(0.35) * (part.y - 4) + np.float32(0.006) * (part.y - 16) ** 2
        plate = np.abs(out - 2) - 1.6
        edge = np.hypot((part.y - 17) * (1 / 17), (part.z - 8) * (1 / 29)) - 1
        cover = part.inside(np.maximum(plate - np.clip(edge + 0.2, 0, 0.2) * 9, edge * 17)) * (part.hu < -700)
        part.paint(cover, 25.0)


def _vault(slab: Slab, room: Room, thick: Array, fine: Array) -> None:
    outside = -room.depth
    # Where the room ends at its floor, not at the vault, a thin plate lies below it.
    beyond = np.where(outside > room.dome + 5, outside - 4.2, room.dome - thick)
    spongy = np.clip(np.minimum(-beyond, outside) * np.float32(0.9) - np.float32(0.9), 0, 1)
    slab.paint(slab.inside(beyond) * slab.inside(room.depth), BONE - spongy * (520 - 110 * fine))


@dataclass
class _Base:
    """The skull below the room for the brain, the orbits and the nose."""

    head: Head
    slab: Slab
    fine: Array

    def _box(self, centre: Point, reach: Point) -> Slab | None:
        low, high = ((centre[0] + s * reach[0], centre[1] + s * reach[1], centre[2] + s * reach[2]) for s in (-1, 1))
        return self.slab.box(low, high)

    def _texture(self, part: Slab) -> Array:
        return part.field(self.head.fine)

    def face(self) -> None:
        """Fill the room between the bones with muscle and fat."""
        part = self._box((0, -32, 8), (62, 62, 32))
        if part is None:
            return
        texture = part.field(self.head.middle) + np.float32(0.5) * part.field(self.head.fine)
        inner = part.inside(part.ellipsoid((0, -32, 6), (58, 54, 33)))
        part.paint(inner * (part.hu > -500), np.clip(35 + 70 * texture, FAT, 60))

    def orbits(self) -> None:
        """Draw the bony funnels, their fat, the eyes and what moves them."""
        for side in (-1.0, 1.0):
            part = self._box((side * 31, -64, 25), (30, 36, 26))
            if part is None:
                continue
            x, y, z = part.x * side, part.y, part.z
            funnel = tube(x, y, z, ((9, -32, 27), (32, -76, 24)), (3.0, 21.0))
            rim = np.float32(-54) - np.float32(0.72) * (52 - x)
            part.paint(part.inside(np.abs(funnel - 1.0) - 1.3) * part.inside(rim - y), BONE)
            front = np.float32(-82) + np.float32(0.014) * (x - 28) ** 2
            part.paint(part.inside(funnel) * part.inside(front - y), FAT)
            self._eye(part, x, y, z)

    def _eye(self, part: Slab, x: Array, y: Array, z: Array) -> None:
        muscles = (
            ((21.0, -64.0, 24.0), (10.0, -36.0, 26.0), 1.9),
            ((43.5, -62.0, 24.0), (15.0, -36.0, 26.0), 1.9),
            ((32.0, -62.0, 34.5), (13.0, -36.0, 31.0), 2.0),
            ((32.0, -62.0, 13.5), (13.0, -36.0, 23.0), 2.0),
            ((31.0, -56.0, 24.0), (12.0, -34.0, 27.0), 1.9),
        )
        for start, end, radius in muscles:
            part.paint(part.inside(tube(x, y, z, (start, end), (radius, radius))), 42.0)
        eye = np.sqrt((x - 32) ** 2 + (y + 67) ** 2 + (z - 24) ** 2) - 12.2
        part.paint(part.inside(eye), 48.0)
        part.paint(part.inside(eye + 1.3), 9.0)
        px, py = 32 + 9.2 * np.sin(self.head.gaze), -67 - 9.2 * np.cos(self.head.gaze)
        lens = np.sqrt(((x - px) * (1 / 4.6)) ** 2 + ((y - py) * (1 / 2.1)) ** 2 + ((z - 24) * (1 / 4.6)) ** 2)
        part.paint(part.inside((lens - 1) * 2.5), 85.0)
        lid = np.maximum(np.abs(eye - 1.6) - 1.6, y + 70)
        part.paint(part.inside(lid), 38.0)

    def bones(self) -> None:
        """Draw the petrous pyramids, the sphenoid, the clivus, cheek and nasal bones."""
        for side in (-1.0, 1.0):
            part = self._box((side * 42, 10, 14), (36, 36, 30))
            if part is not None:
                x, y, z = part.x * side, part.y, part.z
                pyramid = tube(x, y, z, ((13, 3, 21), (50, 25, 17)), (5.0, 10.0))
                mastoid = part.ellipsoid((side * 55, 31, 6), (12, 17, 22))
                joint = part.ellipsoid((side * 47, 4, 3), (12, 7, 6))
                condyle = part.ellipsoid((side * 49, -3, -4), (9, 4.5, 7))
                body = np.minimum(np.minimum(pyramid, mastoid), np.minimum(np.abs(joint) - 2, condyle))
                part.paint(part.inside(body), 950 + 180 * self._texture(part))
            self._cheek(side)
        part = self._box((0, -20, 14), (28, 40, 28))
        if part is not None:
            x, y, z = np.abs(part.x), part.y, part.z
            body = part.ellipsoid((0, -25, 20), (19, 16, 13))
            clivus = tube(x, y, z, ((0, -3, 27), (0, 20, -4)), (6.0, 5.0))
            clinoid = tube(x, y, z, ((0, -1, 33), (7, -2, 35)), (2.2, 1.8))
            pterygoid = tube(x, y, z, ((15, -30, 14), (16, -26, -14)), (4.0, 3.0))
            hip = part.ellipsoid((0, 28, -8), (24, 9, 8))
            hip = np.maximum(hip, 17 - np.hypot(x, y - 37))
            body = np.minimum(np.minimum(body, clivus), np.minimum(np.minimum(clinoid, pterygoid), hip))
            part.paint(part.inside(body), 850 + 150 * self._texture(part))

    def _cheek(self, side: float) -> None:
        part = self._box((side * 40, -50, 20), (38, 52, 34))
        if part is None:
            return
        x, y, z = part.x * side, part.y, part.z
        wing = tube(x, y, z, ((20, -33, 31), (52, -40, 36)), (3.0, 3.4))
        wall = tube(x, y, z, ((22, -34, 24), (53, -51, 25)), (2.4, 3.2), tall=5.0)
        frame = tube(x, y, z, ((54, -54, 38), (52, -56, 8)), (4.2, 4.6))
        brow = tube(x, y, z, ((14, -82, 38), (52, -58, 37)), (4.2, 4.2))
        arch = tube(x, y, z, ((52, -56, 4), (66, -26, 3)), (3.2, 2.2), tall=1.8)
        rear = tube(x, y, z, ((66, -26, 3), (63, 2, 7)), (2.2, 2.6), tall=1.8)
        nasal = tube(x, y, z, ((3.5, -88, 32), (4.5, -95, 16)), (2.2, 1.4))
        body = np.minimum(np.minimum(np.minimum(wing, wall), np.minimum(frame, brow)), np.minimum(arch, rear))
        part.paint(part.inside(np.minimum(body, nasal)), BONE)

    def air(self) -> None:
        """Draw what holds air: mastoids, ear canals, sinuses, nose, throat."""
        frontal, sphenoid, maxillary = self.head.sinuses
        for side in (-1.0, 1.0):
            self._mastoid(side)
            centre = (side * 8, -self.head.half[1] - 1.5, 40)
            self._sinus(centre, (6 + 5 * frontal, 3 + 1.2 * frontal, 5 + 8 * frontal), min(frontal, 1.0), wall=True)
            self._sinus((side * 30, -60, -8), (15 * maxillary, 17 * maxillary, 18 * maxillary), 1.0, wall=True)
        self._sinus((0, -27, 20), (13 * sphenoid, 12 * sphenoid, 9 * sphenoid), 1.0, septum=True)
        self._nose()

    def _mastoid(self, side: float) -> None:
        part = self._box((side * 56, 22, 10), (24, 30, 26))
        if part is None:
            return
        x, y, z = part.x * side, part.y, part.z
        hull = np.minimum(
            part.ellipsoid((side * 55, 31, 7), (9.5, 14, 19)), tube(x, y, z, ((36, 19, 17), (54, 24, 16)), (3.0, 7.0))
        )
        texture = part.field(self.head.leaves)
        cells = np.clip((texture + np.float32(self.head.cells)) * 2.4, 0, 1) * part.inside(hull)
        part.paint(cells, AIR)
        canal = tube(x, y, z, ((47, 13, 9), (74, 11, 8)), (3.6, 3.6))
        part.paint(part.inside(canal), AIR)

    def _sinus(self, centre: Point, radii: Point, share: float, *, wall: bool = False, septum: bool = False) -> None:
        part = self._box(centre, (radii[0] + 5, radii[1] + 5, radii[2] + 5))
        if part is None or share < 0.15:
            return
        hollow = part.ellipsoid(centre, radii) + np.float32(1.2) * self._texture(part)
        if wall:
            part.paint(part.inside(hollow - 1.6) * (part.hu > -600), 700.0)
        if septum:
            hollow = np.maximum(hollow, 0.7 - np.abs(part.x + 2.5))
        part.paint(part.inside(hollow), AIR)

    def _nose(self) -> None:
        part = self._box((0, -62, 8), (18, 42, 32))
        if part is None:
            return
        x, y, z = part.x, part.y, part.z
        ax = np.abs(x - self.head.septum * np.exp(-(((y + 65) * (1 / 14)) ** 2)))
        ethmoid = np.maximum(np.maximum(ax - 12.5, np.abs(y + 62) - 21), np.abs(z - 23) - 12)
        part.paint(part.inside(ethmoid - 1.2), 420.0)
        texture = part.field(self.head.leaves)
        cells = np.clip(2.6 * texture + 1.9, 0, 1) * part.inside(ethmoid)
        part.paint(cells, AIR)
        nose = np.maximum(np.maximum(ax - 13 + 0.004 * (y + 60) ** 2, np.abs(y + 66) - 30), z - 12)
        part.paint(part.inside(nose), AIR)
        shelf = np.maximum(np.abs(ax - 6.5 - 1.5 * part.field(self.head.fine)) - 2.3, nose + 1.5)
        part.paint(part.inside(np.maximum(shelf, np.abs(y + 62) - 24)), 40.0)
        plate = np.maximum(ax - 0.8, np.maximum(np.abs(y + 62) - 24, z - 34))
        part.paint(part.inside(plate), 220.0)
        throat = part.ellipsoid((0, -24, -12), (13, 9, 16))
        part.paint(part.inside(throat), AIR)
