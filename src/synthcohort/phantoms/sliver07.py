"""A stand-in for the SLiver07 download: MetaImage pairs of contrast-enhanced abdominal CT with outlined livers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from .._listing import mark_phantom
from ..errors import BadOption, BadOutput, writing
from ..layouts import SLIVER07_FOLDERS, SLIVER07_IMAGE, SLIVER07_MASK
from ..progress import track
from ..runs import derive_seed
from ..types import Array
from ._liver import Liver, grow
from ._liver_body import AIR, Build, Trunk
from ._liver_organs import Organs
from ._liver_scan import Field, Noise, Scan

_PATIENTS = 20
_VOXELS = 2**19
"""Drawn at a time: what fits into a cache is drawn faster."""
_LOWEST, _HIGHEST = -1024, 3071
_COVERED = 20.0
"""Hounsfield units by which what lies over the liver changes its pixels where they no longer count as liver."""


class Phantom:
    """CT of `patients` abdomens in the portal venous phase, from above the liver's dome to below its tip.

    Most livers hold metastases, cysts or larger masses, which their masks include; some are fatty.

    Args:
        patients: How many volumes, 1 to 20.
        size: Side of a slice in pixels. The field of view does not depend on it.
        slices: Of each volume; the volume's extent does not depend on them. Real ones have 64 to 394.
    """

    REVISION: ClassVar[int] = 1

    def __init__(self, *, patients: int = _PATIENTS, size: int = 512, slices: int = 60) -> None:
        if not 1 <= patients <= _PATIENTS or not 32 <= size <= 512 or not 4 <= slices <= 400:
            rule = f"The phantom has 1 to {_PATIENTS} patients, slices of 32 to 512 pixels, and 4 to 400 of them"
            raise BadOption(rule, f"patients={patients}, size={size}, slices={slices}", "Choose others")
        self._patients, self._size, self._slices = patients, size, slices

    def write(self, root: Path, *, seed: int) -> None:
        """Write the download below `root`. Patient k is the same however many patients there are.

        Raises:
            BadOutput: `root` holds a download already, or cannot be written.
        """
        folder = root / SLIVER07_FOLDERS[0]
        if folder.exists():
            raise BadOutput("A phantom is written into an empty folder", f"{root} has a download", "Choose another")
        with writing(root):
            folder.mkdir(parents=True)
            for number in track(range(1, self._patients + 1), "phantom sliver07", self._patients, "patients"):
                patient = _Patient.draw(np.random.default_rng(derive_seed(seed, "phantom sliver07", number)))
                noise = np.random.default_rng(derive_seed(seed, "phantom sliver07", number, "noise"))
                self._write_patient(folder, number, patient, noise)
            mark_phantom(root)

    def _write_patient(self, folder: Path, number: int, patient: _Patient, rng: np.random.Generator) -> None:
        spacing = patient.spacing_mm(self._size, self._slices)
        headers = (SLIVER07_IMAGE.format(number), "MET_SHORT"), (SLIVER07_MASK.format(number), "MET_UCHAR")
        for name, kind in headers:
            data = Path(name).with_suffix(".raw").name
            text = _header(self._size, self._slices, spacing, kind, data)
            (folder / name).write_text(text, encoding="ascii")
        image, mask = (folder / Path(name).with_suffix(".raw") for name, _ in headers)
        with image.open("wb") as images, mask.open("wb") as masks:
            for hu, liver in patient.slices(self._size, self._slices, rng):
                images.write(hu.tobytes())
                masks.write(liver.tobytes())


@dataclass(frozen=True)
class _Patient:
    """One patient and how they were scanned.

    Attributes:
        reach: t of the first (lowest) and the last slice.
        field_mm: Side of the image in real millimetres.
    """

    build: Build
    organs: Organs
    liver: Liver
    fine: Field
    middle: Field
    noise: Noise
    reach: tuple[float, float]
    field_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Patient:
        build = Build.draw(rng)
        organs = Organs.draw(rng, calcium=build.calcium)
        liver = Liver.draw(rng, organs.enhancement)
        wide = 2 * build.scale[0] * (150 + 1.05 * build.fat)
        self = cls(
            build=build,
            organs=organs,
            liver=liver,
            fine=Field(rng, 5.5),
            middle=Field(rng, 17.0),
            noise=Noise.draw(rng),
            reach=(0.0, 0.0),
            field_mm=float(np.clip(wide * rng.uniform(1.03, 1.14), 297, 415)),
        )
        places, lowest = self._coarse()
        reach = (min(lowest + rng.uniform(6, 45), 320.0), float(rng.uniform(-32, -8)))
        return replace(self, liver=replace(liver, lesions=grow(rng, places)), reach=reach)

    def _coarse(self) -> tuple[Array, float]:
        """Return (n, 3) points inside the liver, and the t of its lowest one, from a coarse grid."""
        x, y = (np.arange(low, high, 6, dtype=np.float32) for low, high in ((-150, 130), (-110, 110)))
        t = np.arange(0, 300, 6, dtype=np.float32)
        scan, trunk = self._scan(x, y, t, 6.0), Trunk(self.build, x, y)
        edge = self.liver.distance(scan, trunk.dome, trunk.cavity(trunk.wall(t)), self.organs)
        z, rows, columns = np.nonzero(edge < -6)
        return np.stack([x[columns], y[rows], t[z]], axis=1), float(t[np.nonzero((edge < 0).any(axis=(1, 2)))[0][-1]])

    def _scan(self, x: Array, y: Array, t: Array, soft: float) -> Scan:
        hu = np.full((len(t), len(y), len(x)), AIR, np.float32)
        return Scan(hu, x, y, t, soft, self.fine.at(x, y, t), self.middle.at(x, y, t))

    def spacing_mm(self, size: int, slices: int) -> tuple[float, float]:
        """Return the side of a pixel and the distance of slices in real millimetres, as the header states them."""
        depth = (self.reach[0] - self.reach[1]) * self.build.scale[2]
        return round(self.field_mm / size, 6), round(depth / (slices - 1), 4)

    def slices(self, size: int, slices: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Yield neighbouring slices as (Z, H, W) int16 Hounsfield units and uint8 mask, from the feet upwards."""
        pixel = self.field_mm / size
        places = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
        x = (places - self.build.offset_mm[0]) / np.float32(self.build.scale[0])
        y = (places - self.build.offset_mm[1]) / np.float32(self.build.scale[1])
        levels = np.linspace(*self.reach, slices).astype(np.float32)
        low, high = np.searchsorted(y, self.build.rows)  # above and below is air
        trunk = Trunk(self.build, x, y[low:high])
        step = max(2, _VOXELS // size**2)
        for start in range(0, slices, step):
            t = levels[start : start + step]
            hu, mask = np.full((len(t), size, size), AIR, np.float32), np.zeros((len(t), size, size), np.uint8)
            scan = self._scan(x, y[low:high], t, max(1.3, pixel))
            mask[:, low:high] = self._paint(scan, trunk)
            hu[:, low:high] = scan.hu
            self.noise.add(hu, x, y, pixel, rng)
            yield np.clip(np.rint(hu), _LOWEST, _HIGHEST).astype("<i2"), mask

    def _paint(self, scan: Scan, trunk: Trunk) -> Array:
        """Draw everything and return the (Z, H, W) uint8 mask of the liver."""
        wall = trunk.wall(scan.t)
        cavity = trunk.cavity(wall)
        trunk.paint(scan, wall)
        empty = scan.hu.copy()
        trunk.paint_heart(scan, 150 * self.organs.enhancement)
        self.organs.paint_before(scan, cavity)
        np.copyto(scan.hu, empty, where=cavity < 1.5)  # a loop of the gut may have strayed into the wall
        edge = self.liver.distance(scan, trunk.dome, cavity, self.organs)
        self.liver.paint(scan, edge)
        drawn = scan.hu.copy()
        self.organs.paint_after(scan)
        trunk.paint_bones(scan, wall)
        return np.asarray((edge < 0) & (np.abs(scan.hu - drawn) < _COVERED), np.uint8)


def _header(size: int, slices: int, spacing_mm: tuple[float, float], kind: str, data: str) -> str:
    pixel, gap = spacing_mm
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1",
        "Offset = 0 0 0",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        f"ElementSpacing = {pixel} {pixel} {gap}",
        f"DimSize = {size} {size} {slices}",
        f"ElementType = {kind}",
        f"ElementDataFile = {data}",
    )
    return "\n".join(lines) + "\n"
