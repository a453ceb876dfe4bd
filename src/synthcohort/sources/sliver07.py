"""SLiver07: contrast-enhanced CT of the abdomen with outlined livers, 20 training volumes as MetaImage pairs.

Layout (Heimann et al., IEEE TMI 2009): liver-origNNN.mhd and liver-segNNN.mhd, each beside the .raw that it names, in
`training`, in `training-part1` and `training-part2`, in `training-scans` and `training-labels`, or in the root. The
test volumes have no outlines and are not read. Every slice is yielded, with and without liver. Values are Hounsfield
units; any mask value above 0 is liver.

An image shows the patient as viewers do, left on the right and back down: where a header says that x or y runs the
other way, the image and its mask are turned over. The voxel size is ElementSpacing's; only signs are taken from
TransformMatrix, so that a header which repeats the voxel size there does no harm. Slices are numbered in the order of
the file.

A mask is outlined on the voxels of its image, so it is refused where its header states other axes or voxels, or another
place by more than a voxel. An offset of 0 0 0 states no place: where one of the two has it, they are taken voxel by
voxel, and a note says how many.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import BadSource
from ..layouts import SLIVER07_FOLDERS, SLIVER07_IMAGE, SLIVER07_MASK
from ..progress import say
from ..source import Source as _Contract
from ..types import Array, Record
from ._metaimage import MetaImage, read_header
from ._table import AGAIN

_NAME = re.compile("liver-(orig|seg)([0-9]{3})\\.mhd")
_KINDS = {"orig": SLIVER07_IMAGE, "seg": SLIVER07_MASK}
_SPACING_AGREES = 0.01
"""Share by which the spacing of a mask may differ from that of its image: headers are rounded."""
_TURNED = 1e-3
"""How far unit vectors along the axes of a mask may lie from its image's: half a voxel over 512 of them."""
_HU = 4096
_PLAUSIBLE = 0.9
"""Share of a volume that lies within +-_HU; swapped bytes and a wrong type leave less."""
_LARGEST_MASK = 255


@dataclass(frozen=True)
class _Volume:
    number: int
    image: Path
    mask: Path

    @property
    def patient(self) -> str:
        return Path(SLIVER07_IMAGE.format(self.number)).stem


class Source(_Contract):
    """Every slice of every training volume.

    Args:
        root: The download's root, or the folder that holds the volumes.

    Raises:
        BadSource: There is no such folder, it has another layout, or an image or mask is missing.
    """

    MODALITY = "abdominal CT, portal venous phase"
    LICENCE = (
        "SLiver07 rules: only for developing liver segmentation algorithms; other uses need the organisers' "
        "permission; no commercial use; originals and derived data stay within the registered team; cite Heimann et "
        "al., IEEE TMI 2009"
    )
    NOTICE = (
        "Made from SLiver07, whose rules forbid passing on data derived from it outside the registered team. Synthetic "
        "images, and weights trained on it, may count as derived data: ask the organisers before sharing them."
    )
    MASK_CLASSES: tuple[str, ...] = ("background", "liver")
    LABELS: tuple[str, ...] = ()
    REVISION: ClassVar[int] = 1
    # The abdominal window: 400 HU around 60. Fat (-100) stays above the lowest value, so that the liver's rim is seen;
    # steatotic to well enhanced liver (40 to 130) has the middle; vessels (to 220) do not saturate.
    VALUE_RULE: Mapping[str, Any] = {"rule": "fixed", "low": -140.0, "high": 260.0}
    # Study 000 uses the 20 training volumes and all their slices, as is the default; it states neither size nor split
    # nor intensities, and no set held out for reference.
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "size": 256,
            "fold": (1, 5),
            "shares": (0.9, 0.1, 0.0, 0.0),
            "empty_slices": 1,
            "assumed": ("fold", "geometry", "intensity", "shares", "size"),
        }
    }

    def __init__(self, root: Path) -> None:
        self._volumes = _volumes(root)
        if unplaced := sum(map(_unplaced, self._volumes)):
            count = f"{unplaced} of {len(self._volumes)} volumes"
            say(f"Note: {count} state a place for the image or the mask only, and are taken voxel by voxel.")

    def __len__(self) -> int:
        """Return the number of slices as the headers give it; a header that cannot be read counts as none."""
        return sum(map(_slices, self._volumes))

    def parts(self) -> Sequence[_Volume]:
        """Return the volumes by number."""
        return self._volumes

    def read(self, part: _Volume) -> Iterator[Record]:
        """Yield the slices of a volume.

        `image` is (1, y, x) float32 in Hounsfield units, `mask` (y, x) uint8 0 or 1, `patient` and `group` the volume.
        The values stay on the disk until their slice is yielded.

        Raises:
            BadSource: A file cannot be read, holds no Hounsfield units, or a mask does not fit its image.
        """
        image, mask = (read_header(path, path.name) for path in (part.image, part.mask))
        turn = _turn(image)
        _check_fit(image, mask)
        values, outline = image.values(), mask.values()
        _check_units(values, image.name)
        _check_mask(outline, mask.name)
        x_mm, y_mm, _ = image.spacing_mm
        for index in range(len(values)):
            yield Record(
                patient=part.patient,
                group=part.patient,
                image=np.ascontiguousarray(values[index][turn], dtype=np.float32)[None],
                mask=np.ascontiguousarray(outline[index][turn] > 0).astype(np.uint8),
                slice_index=index,
                spacing_mm=(y_mm, x_mm),
                stack=True,
            )


def _volumes(root: Path) -> list[_Volume]:
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the SLiver07 download")
    found: dict[str, dict[int, Path]] = {kind: {} for kind in _KINDS}
    for folder in (root, *(root / name for name in SLIVER07_FOLDERS)):
        for name in _names(folder):
            if match := _NAME.fullmatch(name):
                kind, number = match[1], int(match[2])
                if number in found[kind]:
                    raise BadSource("A volume is there once", f"{name} lies in two folders", "Remove one of them")
                found[kind][number] = folder / name
    if not found["orig"]:
        layout = f"there is no {SLIVER07_FOLDERS[0]}/{SLIVER07_IMAGE.format(1)}"
        raise BadSource("The SLiver07 download has MetaImage volumes", layout, "Name the folder that holds 'training'")
    for number in sorted({*found["orig"], *found["seg"]}):
        for kind, pattern in _KINDS.items():
            if number not in found[kind]:
                raise BadSource("Every volume has an image and a mask", f"no {pattern.format(number)}", AGAIN)
    return [_Volume(number, found["orig"][number], found["seg"][number]) for number in sorted(found["orig"])]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadSource("The download's folders can be listed", "one cannot", "Check its permissions") from error


def _slices(volume: _Volume) -> int:
    try:
        return read_header(volume.image, volume.image.name).shape[0]
    except BadSource:
        return 0


def _check_fit(image: MetaImage, mask: MetaImage) -> None:
    if image.shape != mask.shape:
        offender = f"{mask.name} has {mask.shape}, its image {image.shape}"
        raise BadSource("A mask has the size of its image", offender, AGAIN)
    if not np.allclose(image.spacing_mm, mask.spacing_mm, rtol=_SPACING_AGREES):
        offender = f"{mask.name} has {mask.spacing_mm} mm, its image {image.spacing_mm}"
        raise BadSource("A mask has the spacing of its image", offender, AGAIN)
    rule = "A mask lies where its image lies"
    if not np.allclose(_directions(image), _directions(mask), rtol=0, atol=_TURNED):
        raise BadSource(rule, f"{mask.name} is mirrored or turned", AGAIN)
    if _apart(image, mask) and any(image.origin_mm) and any(mask.origin_mm):
        raise BadSource(rule, f"{mask.name} is shifted", AGAIN)


def _unplaced(volume: _Volume) -> bool:
    """Return whether one of image and mask states a place and the other 0 0 0; one that cannot be read states none."""
    try:
        image, mask = (read_header(path, path.name) for path in (volume.image, volume.mask))
    except BadSource:  # told when its values are read
        return False
    return _apart(image, mask) and not (any(image.origin_mm) and any(mask.origin_mm))


def _apart(image: MetaImage, mask: MetaImage) -> bool:
    """Return whether the first voxels lie more than one voxel apart along an axis."""
    shift = _directions(image) @ np.subtract(mask.origin_mm, image.origin_mm)
    return bool((np.abs(shift) > image.spacing_mm).any())


def _directions(image: MetaImage) -> Array:
    return np.asarray(image.axes / np.linalg.norm(image.axes, axis=1, keepdims=True))


def _turn(image: MetaImage) -> tuple[slice, slice]:
    """Return how rows and columns are taken so that left is on the right and back is down."""
    if not np.array_equal(np.abs(image.axes).argmax(axis=1), (0, 1, 2)):
        raise BadSource("The slices are axial", f"{image.name} says they are not", AGAIN)
    across, down = (slice(None, None, -1 if image.axes[axis, axis] < 0 else None) for axis in (0, 1))
    return down, across


def _check_units(values: Array, name: str) -> None:
    plausible = 0
    for plane in values:
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise BadSource("Intensities are finite", f"{name} has NaN or infinity", AGAIN)
        plausible += int(np.count_nonzero((plane >= -_HU) & (plane <= _HU)))
    if plausible < _PLAUSIBLE * values.size:
        rule = f"Hounsfield units lie between -{_HU} and {_HU}"
        raise BadSource(rule, f"{name} has others: its type or byte order may be wrong", AGAIN)


def _check_mask(values: Array, name: str) -> None:
    low, high = values.min(), values.max()  # a NaN fails the comparison, too
    if not (low >= 0 and high <= _LARGEST_MASK):
        raise BadSource(f"Mask values are 0 to {_LARGEST_MASK}", f"{name} has others", AGAIN)
