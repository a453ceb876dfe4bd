"""The liver: its shape between diaphragm, wall and neighbours, its vessels, and what grows in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Array
from ._liver_organs import Organs
from ._liver_scan import Blob, Scan, Tube, chain, smooth_maximum

# Where the liver ends towards the patient's left, by level t, at four depths y: a tip in front, the bay of the portal
# vein, the bay of the vena cava, and the side that faces the kidney.
_LEVELS = (0.0, 15.0, 35.0, 60.0, 85.0, 110.0, 135.0, 165.0, 200.0)
_DEPTHS = (-78.0, -16.0, 12.0, 46.0, 90.0)
_ENDS = (
    (8.0, 34.0, 66.0, 70.0, 50.0, 10.0, -28.0, -66.0, -100.0),
    (30.0, 26.0, 12.0, -6.0, -18.0, -38.0, -56.0, -80.0, -110.0),
    (6.0, 2.0, -2.0, -5.0, -24.0, -44.0, -60.0, -80.0, -110.0),
    (-26.0, -26.0, -27.0, -32.0, -46.0, -58.0, -70.0, -84.0, -110.0),
    (-34.0, -34.0, -38.0, -52.0, -80.0, -94.0, -102.0, -110.0, -120.0),
)
_ROUND_MM = 13.0


@dataclass(frozen=True)
class Lesion:
    """Something that grows in the liver.

    Attributes:
        place: Its outline, before it is lobed.
        core, rim: Hounsfield units in the middle and at the edge, against the liver's own; absolute for a cyst.
        width: Millimetres of the rim.
        soft: Millimetres over which it passes into the liver.
        lobed: Millimetres by which its outline departs from the ellipsoid.
        cyst: Whether it holds water.
    """

    place: Blob
    core: float
    rim: float
    width: float
    soft: float
    lobed: float
    cyst: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, centre: Array, kind: str) -> Lesion:
        """Return a random lesion of a kind: "metastasis", "ring", "cyst" or "mass"."""
        radius = float(np.clip(np.exp(rng.normal(*_SIZES[kind])), 3, 48))
        radii = radius * rng.uniform(0.8, 1.2, 3)
        place = Blob(_point(centre), _point(radii), float(rng.uniform(0, 3.1)))
        deep = float(rng.uniform(28, 62))
        if kind == "cyst":
            return cls(place, float(rng.uniform(0, 14)), 0.0, 1.0, 0.0, 0.04 * radius, True)
        if kind == "ring":
            return cls(place, -deep - 8, float(rng.uniform(14, 40)), 0.16 * radius + 1.2, 1.5, 0.14 * radius, False)
        if kind == "mass":
            return cls(place, -0.55 * deep, float(rng.uniform(-5, 14)), 2.0, 2.0, 0.22 * radius, False)
        return cls(place, -deep, -0.45 * deep, 0.3 * radius, 3.0, 0.16 * radius, False)

    def paint(self, scan: Scan, inner: Array, liver: float) -> None:
        """Draw it where `inner` (0 to 1) says that there is liver."""
        reach = 1.3 * max(self.place.radii) + 6
        low, high = ([value + sign * reach for value in self.place.centre] for sign in (-1, 1))
        if (part := scan.window(low, high)) is None:
            return
        edge = self.place.distance(part) + self.lobed * part.middle
        cover = part.cover(edge, self.soft) * inner[scan.box(low, high)]
        if self.cyst:
            part.paint(cover, self.core)
            return
        rim = np.clip(1 + edge / self.width, 0, 1)
        uneven = 9 * part.fine * np.clip(-edge / 8, 0, 1)
        part.paint(cover, liver + self.core * (1 - rim) + self.rim * rim + uneven)


_SIZES = {"metastasis": (2.2, 0.55), "ring": (2.5, 0.5), "cyst": (1.9, 0.6), "mass": (3.2, 0.4)}
_KINDS = ("metastasis", "ring", "cyst", "mass")


@dataclass(frozen=True)
class Liver:
    """One liver.

    Attributes:
        left: Reach of the left lobe against the usual.
        height: t of the lower tip of the right lobe.
        bulge: Millimetres by which the whole surface lies further out.
        drop: Millimetres of liver lost at the lower edge for each one away from the right wall.
        fissure: (x, half width, first and last t) of the fissure that the round ligament leaves.
        rough: Millimetres by which the surface departs from its formula.
        hu: Hounsfield units of its tissue.
        hepatic, portal: Its veins.
        lesions: What grows in it.
    """

    left: float
    height: float
    bulge: float
    drop: float
    fissure: tuple[float, float, float, float]
    rough: float
    hu: float
    hepatic: tuple[Tube, ...]
    portal: tuple[Tube, ...]
    lesions: tuple[Lesion, ...] = ()

    @classmethod
    def draw(cls, rng: np.random.Generator, enhancement: float) -> Liver:
        """Return a random liver without lesions; one in four is fatty."""
        fatty = rng.uniform(18, 62) if rng.random() < 0.25 else rng.uniform(0, 6)
        return cls(
            left=float(np.clip(rng.normal(1, 0.28), 0.35, 1.6)),
            height=float(np.clip(rng.normal(176, 17), 140, 225)),
            bulge=float(rng.normal(0.8, 2.2)),
            drop=float(rng.uniform(0.3, 0.6)),
            fissure=(float(rng.normal(8, 6)), float(rng.uniform(0.5, 5.5)), float(rng.normal(48, 6)), 125.0),
            rough=float(rng.uniform(1.2, 3.0)),
            hu=float(112 * (0.55 + 0.45 * enhancement) - fatty),
            hepatic=tuple(_tree(rng, _HEPATIC, 4.6)),
            portal=tuple(_tree(rng, _PORTAL, 5.2)),
        )

    def distance(self, scan: Scan, dome: Array, cavity: Array, organs: Organs) -> Array:
        """Return (Z, H, W) about how far pixels are from the liver's surface, negative inside.

        Args:
            scan: The slices.
            dome: (H, W) t of the diaphragm.
            cavity: (Z, H, W) depth inside the wall of the cavity.
            organs: What the liver gives way to.
        """
        right = np.float32(-136) - scan.dx
        tip = np.float32(self.height) + np.float32(self.drop) * np.minimum(right, 0) - 0.2 * np.abs(scan.dy - 12)
        upper = np.maximum(dome + 2.5 - scan.dt, scan.dt - tip)
        edge = smooth_maximum(scan.dx - self._end(scan), 3.2 - cavity, _ROUND_MM)
        edge = smooth_maximum(edge, upper, _ROUND_MM) + np.float32(self.rough) * scan.middle - np.float32(self.bulge)
        edge = np.maximum(edge, np.maximum(dome + 1.5 - scan.dt, 2.2 - cavity))  # these two do not give way
        for shape, margin in organs.carved:
            if (part := shape.window(scan, margin + 3)) is not None:
                box = scan.box(*_corners(part))
                edge[box] = np.maximum(edge[box], margin - shape.distance(part))
        return np.asarray(np.maximum(edge, self._cleft(scan)))

    def _end(self, scan: Scan) -> Array:
        """Return (Z, H, 1) x at which the liver ends."""
        ends = np.stack([np.interp(scan.t, _LEVELS, row) for row in _ENDS])
        ends[0] = -18 + self.left * (ends[0] + 18)
        knots = np.array(_DEPTHS)
        after = np.clip(np.searchsorted(knots, scan.y) - 1, 0, len(knots) - 2)
        share = np.clip((scan.y - knots[after]) / (knots[after + 1] - knots[after]), 0, 1)
        at = ends[after] * (1 - share)[:, None] + ends[after + 1] * share[:, None]
        return np.asarray(at.T[:, :, None], dtype=np.float32)

    def _cleft(self, scan: Scan) -> Array:
        x, half, first, last = self.fissure
        across = np.abs(scan.dx - x - 0.25 * (scan.dy + 40) + 2 * scan.middle)
        wide = half * np.clip((-14 - scan.dy) / 50, 0, 1) - 1.2  # wider towards the front
        levels = np.maximum(first - scan.dt, scan.dt - last)
        return np.asarray(-np.maximum(across - wide, levels))

    def paint(self, scan: Scan, edge: Array) -> None:
        """Draw the liver, its vessels and lesions."""
        inner = scan.cover(edge)
        scan.paint(inner, self.hu + 2.2 * scan.middle + 1.4 * scan.fine)
        for vessels, more in ((self.hepatic, 46.0), (self.portal, 52.0)):
            for vessel in vessels:
                if (part := vessel.window(scan)) is not None:
                    box = scan.box(*_corners(part))
                    part.paint(part.cover(vessel.distance(part)) * inner[box], max(self.hu + more, 140.0))
        for lesion in self.lesions:
            lesion.paint(scan, inner, self.hu)


# Roots of the veins: points (x, y, t) on the way from the trunk.
_HEPATIC = (
    [(-22, 12, 22), (-55, 16, 34), (-88, 14, 62)],
    [(-20, 8, 22), (-34, -18, 38), (-52, -46, 72)],
    [(-16, 6, 20), (4, -24, 32), (30, -52, 48)],
    [(-22, 16, 60), (-52, 28, 84), (-80, 34, 112)],
)
_PORTAL = (
    [(-30, -8, 76), (-56, -6, 74), (-76, -22, 62), (-92, -40, 44)],
    [(-56, -6, 74), (-80, 12, 86), (-98, 32, 100)],
    [(-56, -6, 74), (-84, -18, 96), (-104, -26, 126)],
    [(-30, -8, 76), (-10, -20, 66), (10, -34, 60), (36, -52, 56)],
    [(10, -34, 60), (-6, -52, 78), (-18, -62, 92)],
)


def _tree(rng: np.random.Generator, roots: tuple[list[tuple[int, int, int]], ...], thick: float) -> list[Tube]:
    """Return the pieces of veins that branch three times from each root."""
    found = []
    for root in roots:
        points = np.array(root, float) + rng.normal(0, 4, (len(root), 3))
        points[0] = root[0]
        radii = thick * np.linspace(1, 0.7, len(points)) * rng.uniform(0.8, 1.15)
        found += chain(points, radii)
        ends = [
            (points[-1], points[-1] - points[-2], radii[-1]),
            (points[-2], points[-1] - points[-2], 0.8 * radii[-2]),
        ]
        for _ in range(3):
            branches = [branch for end in ends for branch in _fork(rng, *end)]
            found += [tube for *_, tube in branches]
            ends = [(point, way, radius) for point, way, radius, _ in branches]
    return found


def _fork(rng: np.random.Generator, start: Array, way: Array, radius: float) -> list[tuple[Array, Array, float, Tube]]:
    made = []
    for _ in range(2):
        turned = way / np.linalg.norm(way) + rng.normal(0, 0.5, 3)
        turned *= rng.uniform(13, 25) / np.linalg.norm(turned)
        thinner = float(radius * rng.uniform(0.6, 0.8))
        tube = Tube(_point(start), _point(start + turned), float(radius * 0.9), thinner)
        made.append((start + turned, turned, thinner, tube))
    return made


def grow(rng: np.random.Generator, places: Array) -> tuple[Lesion, ...]:
    """Return the lesions of one liver; three in twenty have none.

    Args:
        rng: Source of randomness.
        places: (n, 3) points well inside the liver.
    """
    count = 0 if rng.random() < 0.15 else int(min(rng.geometric(0.3), 14))
    kind = str(rng.choice(_KINDS, p=(0.42, 0.22, 0.2, 0.16)))
    kinds = [kind if rng.random() < 0.75 else str(rng.choice(_KINDS)) for _ in range(count)]
    if "mass" in kinds:  # one at most
        kinds = ["mass", *["metastasis" if each == "mass" else each for each in kinds[1:]]]
    return tuple(Lesion.draw(rng, places[rng.integers(len(places))], each) for each in kinds)


def _corners(part: Scan) -> tuple[list[float], list[float]]:
    """Return corners whose box in the whole scan is that of a window of it."""
    axes = (part.x, part.y, part.t)
    return [float(axis.min()) for axis in axes], [float(np.nextafter(axis.max(), np.float32(np.inf))) for axis in axes]


def _point(values: Array) -> tuple[float, float, float]:
    x, y, t = (float(value) for value in values)
    return x, y, t
