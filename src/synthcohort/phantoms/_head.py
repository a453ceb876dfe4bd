"""One person's head: what varies between people, and the room inside the skull that everything else is built around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._head_space import Field, Pose, Slab

EQUATOR = 45.0
"""Height of the widest section; above it the skull is a dome."""


@dataclass(frozen=True)
class Head:
    """What varies between people. Lengths in millimetres, Hounsfield units where nothing else is said.

    Attributes:
        age: In years.
        half: (x, y, z) half axes of the room for the brain, z above the equator.
        square: How much its outline bulges at the diagonals.
        narrow: How much narrower it is at the front than at the back, per millimetre.
        skew: Flatness of one side of the back of the head.
        thick: Mean thickness of the vault.
        scalp: Mean thickness of the scalp.
        fat: Share of fat in it, 0 to 1.
        shrunk: Loss of brain with age: widens sulci, cisterns and ventricles; 0 in the young, about 1 at 80.
        horns: Size of the lateral ventricles.
        uneven: How much larger the left one is, as a share.
        third: Half width of the third ventricle.
        grey, white: Levels of the grey and the white matter.
        pale: Darkening of the white matter around the ventricles.
        falx: Level of the falx.
        calcified: Sizes of the calcifications of the pineal gland, the left and the right choroid plexus, the falx.
        sinuses: (width, height) of the frontal, sphenoid and maxillary sinuses.
        cells: How far the mastoids hold air, about -1 to 1.
        gaze: Turn of the eyes in radians.
        septum: Sideways shift of the nasal septum.
        swelling: (x, y, z, size) of a swelling of the scalp; size 0 for none.
        infarct: (x, y, z, size) of an old loss of brain; size 0 for none.
        bends: Two fields that bend all coordinates.
        broad, middle, fine, folds, leaves: Fields of correlation lengths from 26 down to 3 mm.
    """

    age: float
    half: tuple[float, float, float]
    square: float
    narrow: float
    skew: float
    thick: float
    scalp: float
    fat: float
    shrunk: float
    horns: float
    uneven: float
    third: float
    grey: float
    white: float
    pale: float
    falx: float
    calcified: tuple[float, float, float, float]
    sinuses: tuple[float, float, float]
    cells: float
    gaze: float
    septum: float
    swelling: tuple[float, float, float, float]
    infarct: tuple[float, float, float, float]
    bends: tuple[Field, Field]
    broad: Field
    middle: Field
    fine: Field
    folds: Field
    leaves: Field

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Head:
        """Return a random adult's head."""
        age = float(np.clip(rng.normal(60, 19), 18, 95))
        shrunk = float(np.clip((age - 38) / 42 + rng.normal(0, 0.22), 0, 1.6))
        old = float(np.clip((age - 50) / 30, 0, 1))
        chance = rng.random(6)
        side = 1.0 if rng.random() < 0.5 else -1.0
        angle = rng.uniform(-0.4, 2.6)
        return cls(
            age=age,
            half=(rng.normal(66.5, 2.0), rng.normal(83, 2.5), rng.normal(83, 2.0)),
            square=rng.uniform(0.1, 0.45),
            narrow=float(np.clip(rng.normal(0.0016, 0.0005), 0.0006, 0.003)),
            skew=rng.normal(0, 0.00025),
            thick=float(np.clip(rng.normal(6.3, 1.0), 4.2, 9.0)),
            scalp=float(np.clip(rng.normal(5.2, 1.2), 3.2, 8.5)),
            fat=rng.uniform(0.35, 0.8),
            shrunk=shrunk,
            horns=float(np.clip(0.72 + 0.42 * shrunk + rng.normal(0, 0.12), 0.5, 1.7)),
            uneven=rng.normal(0, 0.07),
            third=float(np.clip(1.1 + 1.6 * shrunk + rng.normal(0, 0.4), 0.8, 4.6)),
            grey=rng.normal(37.5, 1.2),
            white=rng.normal(28.0, 1.2),
            pale=float(max(0, old * rng.normal(5, 3))),
            falx=rng.normal(52, 4),
            calcified=(
                float(rng.uniform(1.4, 3.0) * (chance[0] < 0.65)),
                float(rng.uniform(1.5, 4.0) * (chance[1] < 0.3 + 0.5 * old)),
                float(rng.uniform(1.5, 4.0) * (chance[2] < 0.3 + 0.5 * old)),
                float(rng.uniform(1.0, 2.2) * (chance[3] < 0.08 + 0.14 * old)),
            ),
            sinuses=(rng.uniform(0, 1.5), rng.uniform(0.6, 1.2), rng.uniform(0.8, 1.15)),
            cells=rng.normal(0.2, 0.45),
            gaze=rng.normal(0, 0.25),
            septum=rng.normal(0, 1.6),
            swelling=(
                float(side * 78 * np.cos(angle)),
                float(92 * np.sin(angle)),
                rng.uniform(40, 105),
                float(rng.uniform(5, 12) * (chance[4] < 0.2)),
            ),
            infarct=(
                float(-side * rng.uniform(25, 50)),
                rng.uniform(-45, 60),
                rng.uniform(45, 95),
                float(rng.uniform(8, 18) * (chance[5] < 0.05 + 0.12 * old)),
            ),
            bends=(Field(rng, 34), Field(rng, 34)),
            broad=Field(rng, 26),
            middle=Field(rng, 13),
            fine=Field(rng, 6.5),
            folds=Field(rng, 10.5),
            leaves=Field(rng, 3.2),
        )

    def slab(self, pose: Pose, side: int, field_mm: float, levels: Array) -> Slab:
        """Return slices full of air whose coordinates are those of this head."""
        slab = Slab.blank(pose, side, field_mm, levels)
        slab.x += np.float32(1.7) * slab.field(self.bends[0])
        slab.y += np.float32(1.7) * slab.field(self.bends[1])
        return slab


@dataclass
class Room:
    """The room for the brain, on a slab.

    Attributes:
        dome: (Z, H, W) float32 millimetres outside the inner face of the vault, continued downwards.
        depth: (Z, H, W) float32 millimetres inside the room, negative outside.
        ridge: (Z, H, W) float32 millimetres behind the crest of the petrous bone.
    """

    dome: Array
    depth: Array
    ridge: Array


def room(head: Head, slab: Slab) -> Room:
    """Return where the room for the brain is."""
    x, y, z = slab.x, slab.y, slab.z
    dome = _dome(head, x, y, z)
    ridge = (np.abs(x) - np.float32(12)) * np.float32(-0.53) + y * np.float32(0.848)
    low = int(np.searchsorted(slab.w, 62 * slab.pose.scale[2]))
    # Crests inside the bone, at the forehead and at the back.
    front = 3.0 * (y < -55) * np.exp(-(((z - 48) * (1 / 16)) ** 2))
    back = 4.0 * (y > 55) * np.exp(-(((z - 36) * (1 / 14)) ** 2))
    depth = -dome - np.exp(-((x * (1 / 4.5)) ** 2)) * (front + back)
    if low:
        part = slab.part(slice(0, low), slice(None), slice(None))
        depth[:low] = np.minimum(depth[:low], -_above_floor(part, ridge[:low]))
    return Room(dome, depth, ridge)


def _dome(head: Head, x: Array, y: Array, z: Array) -> Array:
    a, b, c = head.half
    egg = x * (1 - np.float32(head.narrow) * y)
    flat = y + np.float32(head.skew) * x * (y + 60)
    up = np.maximum(z - EQUATOR, 0)
    down = np.minimum(z - EQUATOR, 0)
    across, along, high = (egg * (1 / a)) ** 2, (flat * (1 / b)) ** 2, (up * (1 / c)) ** 2
    plane = across + along
    total = plane + high
    total -= np.float32(head.square) * (across * along + plane * high) / (total + np.float32(0.05))
    total += (down * (1 / 92)) ** 2
    radius = np.sqrt(x * x + y * y + up * up)
    dome = radius * (1 - 1 / np.sqrt(total + np.float32(1e-4)))
    return np.asarray(dome)


def _above_floor(slab: Slab, ridge: Array) -> Array:
    """Return (Z, H, W) millimetres below the floor of the room: three pairs of pits with ridges between them."""
    x, y = np.abs(slab.x), slab.y
    roof = np.exp(-(((x - 30) * (1 / 15)) ** 2) - ((y + 58) * (1 / 20)) ** 2)
    front = 36 + 9 * roof - 4 * np.exp(-((x * (1 / 7)) ** 2))
    front += np.maximum(y + 34, 0) * np.float32(0.8)
    pit = ((x - 41) * (1 / 26)) ** 2 + ((y + 8) * (1 / 32)) ** 2
    temple = 13 + 24 * pit * pit
    saddle = 30 + 7 * ((x * (1 / 17)) ** 2 + ((y + 8) * (1 / 14)) ** 2)
    hole = (x * (1 / 15)) ** 2 + ((y - 37) * (1 / 18)) ** 2
    bowl = (x * (1 / 57)) ** 2 + ((y - 40) * (1 / 47)) ** 2
    back = -5 + 30 * bowl * np.sqrt(bowl) - 60 * np.clip(4 * (1 - hole), 0, 1)
    back = np.maximum(back, 31 - np.float32(1.3) * (y + 3))
    crest = 33 - np.float32(1.25) * np.abs(ridge) - 30 * np.clip((18 - x) * np.float32(1 / 12), 0, 1) ** 2
    floor = np.maximum(np.minimum(np.minimum(front, temple), np.minimum(saddle, back)), crest)
    step = slab.u[1] - slab.u[0]
    steep_y, steep_x = np.gradient(floor, step, axis=(1, 2))
    # Well above the floor the slope of the nearest wall is elsewhere: the height itself is the distance.
    high = slab.z - floor
    slope = (steep_x * steep_x + steep_y * steep_y) * np.clip(np.float32(1.5) - high * (1 / 16), 0, 1)
    return np.asarray(-high / np.sqrt(1 + slope))
