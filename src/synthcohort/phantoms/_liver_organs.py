"""What lies beside the liver: stomach, gut, spleen, pancreas, kidneys, gallbladder and the great vessels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._liver_body import AIR, FAT
from ._liver_scan import Blob, Scan, Tube, chain

Shape = Blob | Tube


@dataclass(frozen=True)
class Gut:
    """A hollow organ.

    Attributes:
        parts: Shapes that together are its outside.
        wall: (thickness in millimetres, Hounsfield units).
        filling: Hounsfield units of what is in it.
        rough: How much that varies, as stool does.
        gas: y above which it holds gas instead, which rises to the front; very low for none.
    """

    parts: tuple[Shape, ...]
    wall: tuple[float, float]
    filling: float
    rough: float
    gas: float

    def paint(self, scan: Scan) -> None:
        """Draw it; where parts overlap they are one hollow."""
        drawn = []
        thick, hu = self.wall
        for shape in self.parts:
            if (part := shape.window(scan)) is not None:
                edge = shape.distance(part) + 1.7 * part.middle + 0.7 * part.fine
                part.paint(part.cover(edge), hu + 5 * part.fine)
                drawn.append((part, edge))
        for part, edge in drawn:
            lumen = part.cover(edge + thick)
            part.paint(lumen, self.filling - self.rough * np.clip(part.fine, -0.3, 2))
            if self.gas > part.y[0]:
                part.paint(lumen * part.cover(part.dy - self.gas), AIR + 20)


@dataclass(frozen=True)
class Organs:
    """Everything that is drawn before and after the liver.

    Attributes:
        gut: Hollow organs, drawn before the liver.
        solid: (shape, Hounsfield units, texture) drawn before the liver; fat around them is drawn with them.
        spleen: The spleen, and the hollow on its inner side.
        kidneys: Both, right first.
        gallbladder: In its bed under the liver, or None after it was taken out.
        bile: Hounsfield units in it.
        cava: The inferior vena cava.
        aorta: The aorta.
        portal: The portal trunk and the veins that form it.
        mesentery: Small vessels in the fat.
        enhancement: How well the contrast medium shows: 1 is usual.
        calcium: (angle, t) of calcified places on the aorta's wall.
    """

    gut: tuple[Gut, ...]
    solid: tuple[tuple[Shape, float, float], ...]
    spleen: tuple[Blob, Blob]
    kidneys: tuple[Blob, Blob]
    gallbladder: Blob | None
    bile: float
    cava: tuple[Tube, ...]
    aorta: tuple[Tube, ...]
    portal: tuple[Tube, ...]
    mesentery: tuple[Tube, ...]
    enhancement: float
    calcium: tuple[tuple[float, float], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, calcium: bool) -> Organs:
        """Return random organs."""
        big = float(np.exp(rng.normal(0, 0.13)))
        bladder = (float(rng.uniform(9, 19)), float(rng.uniform(14, 26)), float(rng.uniform(18, 32)))
        return cls(
            gut=(_stomach(rng), *_colon(rng), *_small_bowel(rng)),
            solid=tuple(_pancreas(rng)),
            spleen=(
                Blob((103, 36, 62 + rng.normal(0, 7)), (36 * big, 51 * big, 50 * big), -0.2),
                Blob((62, 14, 62), (37, 52, 62), -0.3),
            ),
            kidneys=(_kidney(rng, -67, 132), _kidney(rng, 69, 116)),
            gallbladder=Blob((-38 + rng.normal(0, 6), -44 + rng.normal(0, 5), 108), bladder, rng.normal(0.5, 0.3))
            if rng.random() < 0.8
            else None,
            bile=float(rng.uniform(2, 16)),
            cava=tuple(chain(_wobbly(rng, [(-17, 6, -12), (-20, 17, 40), (-21, 21, 110), (-19, 27, 330)], 2), _CAVA)),
            aorta=tuple(chain(_wobbly(rng, [(15, 27, -60), (9, 22, 60), (6, 20, 150), (4, 22, 330)], 2), _AORTA)),
            portal=tuple(_portal(rng)),
            mesentery=tuple(_mesentery(rng)),
            enhancement=float(rng.uniform(0.82, 1.2)),
            calcium=tuple((rng.uniform(0, 6.3), rng.uniform(0, 300)) for _ in range(14)) if calcium else (),
        )

    @property
    def carved(self) -> tuple[tuple[Shape, float], ...]:
        """Return what the liver gives way to, and how far it stays away, in millimetres."""
        bed = ((self.gallbladder, 0.6),) if self.gallbladder else ()
        return ((self.kidneys[0], 5.0), *((piece, 0.3) for piece in self.cava), *bed)

    def paint_before(self, scan: Scan, cavity: Array) -> None:
        """Draw what the liver may lie upon."""
        bright = self.enhancement
        for vessel in self.mesentery:
            _fill(scan, vessel, 140 * bright)
        for gut in self.gut:
            gut.paint(scan)
        for shape, hu, rough in self.solid:
            _fill(scan, shape, hu * (0.7 + 0.3 * bright), rough)
        for vessel in self.portal:
            _fill(scan, vessel, 162 * bright)
        self._paint_spleen(scan, cavity)

    def _paint_spleen(self, scan: Scan, cavity: Array) -> None:
        shape, hollow = self.spleen
        low, high = ((60.0, -40.0, shape.centre[2] - 70), (160.0, 110.0, shape.centre[2] + 70))
        if (part := scan.window(low, high)) is not None:
            depth = cavity[scan.box(low, high)]
            edge = np.maximum(np.maximum(shape.distance(part), 3.5 - depth), -hollow.distance(part))
            part.paint(part.cover(edge + 1.2 * part.middle), 116 * (0.6 + 0.4 * self.enhancement) + 2 * part.fine)

    def paint_after(self, scan: Scan) -> None:
        """Draw what lies in the liver's bays: kidneys, gallbladder and great vessels."""
        bright = self.enhancement
        for kidney in self.kidneys:
            _paint_kidney(scan, kidney, bright)
        if self.gallbladder is not None and (part := self.gallbladder.window(scan)) is not None:
            edge = self.gallbladder.distance(part)
            part.paint(part.cover(edge), 58.0)
            part.paint(part.cover(edge + 1.3), self.bile)
        for vessel in self.cava:
            _fill(scan, vessel, 138 * bright, 4)
        for vessel in self.aorta:
            _fill(scan, vessel, 152 * bright, 1)
        for angle, t in self.calcium:
            centre = (8 + 10.3 * float(np.cos(angle)), 22 + 10.3 * float(np.sin(angle)), t)
            _fill(scan, Blob(centre, (2.6, 2.2, 4.0), angle), 480.0)


_CAVA, _AORTA = np.array([11.5, 11.5, 10.5, 9.5]), np.array([11.8, 11.0, 9.8, 8.8])


def _fill(scan: Scan, shape: Shape, hu: float, rough: float = 0.0) -> None:
    if (part := shape.window(scan)) is not None:
        edge = shape.distance(part)
        part.paint(part.cover(edge + 0.25 * rough * part.fine), hu + rough * part.fine)


def _paint_kidney(scan: Scan, kidney: Blob, bright: float) -> None:
    x, y, t = kidney.centre
    side = np.sign(x)
    around = Blob((x, y, t), (kidney.radii[0] + 9, kidney.radii[1] + 9, kidney.radii[2] + 10), kidney.turn)
    if (part := around.window(scan)) is not None:
        part.paint(part.cover(around.distance(part), 2), FAT + 4 * part.middle)
    sinus = Blob((x - 15 * side, y - 5, t), (15, 9, 25), kidney.turn)
    if (part := kidney.window(scan)) is not None:
        edge = kidney.distance(part) + 0.8 * part.middle
        hollow = sinus.distance(part) + 2.2 * part.fine
        cortex = np.clip((edge + 8 + 2.5 * part.fine) / 3, 0, 1)
        part.paint(part.cover(np.maximum(edge, -hollow)), bright * (150 + 40 * cortex))
        part.paint(part.cover(hollow) * part.cover(edge + 2), FAT + 25 + 90 * np.clip(part.fine, 0, 1.3))
    vein = Tube((x - 20 * side, y - 8, t - 6), (-6.0 - 6 * (side < 0), 12.0, t - 16), 5.0, 5.0)
    _fill(scan, vein, 145 * bright)


def _kidney(rng: np.random.Generator, x: float, t: float) -> Blob:
    radii = rng.normal((26, 29, 54), (2.2, 2.2, 4))
    centre = (x + rng.normal(0, 3), 43 + rng.normal(0, 3), t + rng.normal(0, 7))
    return Blob(
        centre, (float(radii[0]), float(radii[1]), float(radii[2])), float(-np.sign(x) * rng.normal(0.55, 0.12))
    )


def _stomach(rng: np.random.Generator) -> Gut:
    full = float(rng.uniform(0.62, 1.12))
    kind = rng.random()
    filling = 15 + 8 * rng.normal() if kind < 0.5 else rng.uniform(150, 330) if kind < 0.75 else rng.uniform(35, 60)
    parts = (
        Blob((66, -2, 42), (44 * full, 40 * full, 34), 0.2),
        Blob((58, -30, 72), (38 * full, 32 * full, 34), 0.5),
        Blob((38, -46, 96), (40 * full, 22 * full, 22), 0.3),
        Blob((4, -48, 106), (34 * full, 17 * full, 17), -0.2),
    )
    gas = -40 + rng.normal(0, 9) if rng.random() < 0.85 else -400.0
    return Gut(parts, (float(rng.uniform(3, 5)), 78.0), float(filling), float(rng.uniform(2, 22)), float(gas))


def _colon(rng: np.random.Generator) -> list[Gut]:
    wide = float(rng.uniform(0.75, 1.15))
    ways: tuple[list[tuple[float, float, float]], ...] = (
        [(-96, 10, 330), (-100, 2, 210), (-92, -22, 168), (-74, -50, 150)],
        [(-74, -50, 150), (-30, -66, 150 + rng.normal(0, 12)), (30, -68, 138), (78, -50, 108), (104, -8, 84)],
        [(104, -8, 84), (110, 16, 130), (108, 22, 210), (104, 20, 330)],
    )
    found = []
    for way, radius in zip(ways, (22, 16, 14), strict=True):
        points = _spread(_wobbly(rng, way, 5), 22)
        radii = radius * wide * rng.uniform(0.72, 1.1, len(points))
        pieces = chain(points, radii)
        middle = float(np.mean(points[:, 1]))
        gas = middle + float(rng.normal(-4, 9)) if rng.random() < 0.8 else -400.0
        rough = float(rng.uniform(10, 150))
        found.append(Gut(tuple(pieces), (2.2, 70.0), float(rng.uniform(-40, 60)), rough, gas))
    return found


def _small_bowel(rng: np.random.Generator) -> list[Gut]:
    contrast = rng.random() < 0.35
    found = []
    for _ in range(62):
        start = rng.uniform((-74, -68, 122), (92, 14, 325))
        points = np.cumsum([start, *rng.normal(0, 16, (3, 3))], axis=0)
        points[:, :2] = np.clip(points[:, :2], (-88, -72), (98, 14))
        points[:, 2] = np.maximum(points[:, 2], 112)
        filling = rng.uniform(140, 300) if contrast and rng.random() < 0.7 else rng.uniform(10, 45)
        gas = float(points[:, 1].mean() - 5) if rng.random() < 0.18 else -400.0
        pieces = chain(points, rng.uniform(8, 13, len(points)))
        found.append(Gut(tuple(pieces), (2.4, float(rng.uniform(80, 112))), float(filling), 8.0, gas))
    duodenum = chain(np.array([(-36, -26, 108), (-42, -2, 118), (-42, 8, 150), (-14, 12, 162)]), np.full(4, 12.0))
    return [*found, Gut(tuple(duodenum), (2.8, 88.0), float(rng.uniform(10, 60)), 10.0, -400.0)]


def _pancreas(rng: np.random.Generator) -> list[tuple[Shape, float, float]]:
    way = [(-26, -2, 128), (-22, -8, 116), (0, -14, 106), (24, -8, 97), (50, 2, 88), (76, 16, 80)]
    points = _wobbly(rng, way, 3)
    points[:, 2] += rng.normal(0, 7)
    radii = np.array([12, 14, 8.5, 9.5, 10, 8]) * rng.uniform(0.75, 1.1)
    hu = float(rng.uniform(78, 108))
    shapes: list[tuple[Shape, float, float]] = [(piece, hu, 7.0) for piece in chain(points, radii)]
    for x, y, t in ((40, 26, 84), (-33, 32, 78)):  # both adrenal glands
        for spread in (-7, 7):
            shapes.append((Tube((x, y, t), (x + spread, y + 14, t + 8), 2.4, 1.8), 80.0, 0.0))
    return shapes


def _portal(rng: np.random.Generator) -> list[Tube]:
    trunk = [(-5, -4, 112), (-14, -5, 96), (-30, -8, 76)]
    splenic = [(-5, -4, 112), (18, 0, 99), (48, 10, 88), (80, 24, 78)]
    mesenteric = [(-5, -4, 112), (-6, -10, 150), (-4, -14, 220), (0, -18, 330)]
    sizes = rng.uniform(0.85, 1.2, 3)
    return [
        *chain(_wobbly(rng, mesenteric, 2), np.full(4, 5.8 * sizes[0])),
        *chain(_wobbly(rng, splenic, 2), np.full(4, 4.6 * sizes[1])),
        *chain(np.array(trunk, float), np.full(3, 7.0 * sizes[2])),
        *chain(np.array([(7, 12, 96), (6, -2, 104), (7, -10, 150), (9, -14, 330)], float), np.full(4, 3.8)),
    ]


def _mesentery(rng: np.random.Generator) -> list[Tube]:
    found = []
    for _ in range(110):
        start = rng.uniform((-85, -70, 90), (100, 26, 325))
        end = start + rng.normal(0, (9, 9, 15))
        found += chain(np.array([start, end]), np.array([rng.uniform(0.9, 2.3), 0.8]))
    return found


def _wobbly(rng: np.random.Generator, points: Sequence[tuple[float, float, float]], by: float) -> Array:
    return np.asarray(np.array(points, float) + rng.normal(0, by, (len(points), 3)))


def _spread(points: Array, step: float) -> Array:
    """Return points along a line, about `step` apart."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], max(2, round(lengths[-1] / step)))
    return np.stack([np.interp(at, lengths, points[:, axis]) for axis in range(3)], axis=1)
