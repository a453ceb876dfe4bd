"""ACDC: short-axis cine cardiac MRI at end-diastole and end-systole, with masks of both ventricles and myocardium.

Layout (Bernard et al., IEEE TMI 2018): database/training/patientNNN/{Info.cfg, patientNNN_frameFF.nii.gz,
patientNNN_frameFF_gt.nii.gz, patientNNN_4d.nii.gz}. The 4-D series is not read. Which frame is which phase stands in
Info.cfg; the order of the files says nothing. NIfTI axes are (x, y, slice); an image has rows = y and columns = x.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from ..errors import BadSource
from ..layouts import ACDC_CLASSES, ACDC_INFO, ACDC_PATIENT, ACDC_PHASES, ACDC_TRAINING, acdc_frame, acdc_mask
from ..source import Source as _Contract
from ..types import Array, Record

_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError)
_AGAIN = "Download it again"


@dataclass(frozen=True)
class _Frame:
    patient: str
    stratum: str
    phase: str
    image: Path
    mask: Path


class Source(_Contract):
    """Every slice of both phases of every patient.

    Args:
        root: The download's root, or its `database` or `training` folder.

    Raises:
        BadSource: There is no such folder, it has another layout, or a file is missing.
    """

    MODALITY = "cardiac cine MRI, short axis"
    LICENCE = "CC BY-NC-SA 4.0 (ACDC; research use, cite Bernard et al., IEEE TMI 2018)"
    MASK_CLASSES: tuple[str, ...] = ACDC_CLASSES
    LABELS: tuple[str, ...] = ()
    REVISION: ClassVar[int] = 1
    PERCENTILES: ClassVar[tuple[float, float]] = (0.5, 99.5)
    VALUE_RULE: Mapping[str, Any] = {"rule": "volume_percentiles", "low": PERCENTILES[0], "high": PERCENTILES[1]}

    def __init__(self, root: Path) -> None:
        self._root = root
        self._frames = [frame for folder in _patients(root) for frame in _frames(folder, root)]

    def __len__(self) -> int:
        """Return the number of slices, read from the headers."""
        return sum(_open(frame.image, self._root).shape[2] for frame in self._frames)

    def parts(self) -> Sequence[_Frame]:
        """Return the volumes."""
        return self._frames

    def read(self, part: _Frame) -> Iterator[Record]:
        """Yield the slices of a volume.

        `image` is (1, y, x) float32 in scanner units, `mask` (y, x) uint8, `volume_range` the percentiles of the
        volume, `group` patient and phase, `attributes` the phase, `stratum` the disease group.

        Raises:
            BadSource: A file cannot be read, or a mask does not fit its image.
        """
        header = _open(part.image, self._root)
        volume = _read(header, part.image, self._root)
        mask = _read_mask(part, volume.shape, self._root)
        low, high = np.percentile(volume, self.PERCENTILES)
        x_mm, y_mm = (float(zoom) for zoom in header.header.get_zooms()[:2])
        if not min(x_mm, y_mm) > 0:
            raise BadSource("A header gives the pixel spacing", _name(part.image, self._root), _AGAIN)
        for index in range(volume.shape[2]):
            yield Record(
                patient=part.patient,
                group=f"{part.patient} {part.phase}",
                image=np.ascontiguousarray(volume[:, :, index].T[None]),
                mask=np.ascontiguousarray(mask[:, :, index].T),
                attributes={"phase": part.phase},
                slice_index=index,
                spacing_mm=(y_mm, x_mm),
                stratum=part.stratum,
                volume_range=(float(low), float(high)),
            )


def _patients(root: Path) -> list[Path]:
    if not root.is_dir():
        raise BadSource(
            "The source's folder must exist", f"{root} is no folder", "Name the folder of the ACDC download"
        )
    # The root itself, root/training, root/database/training: whichever part of the download the user names.
    candidates = [root, *(root.joinpath(*ACDC_TRAINING[-depth:]) for depth in (1, 2))]
    for folder in candidates:
        found = sorted(p for p in folder.glob("patient*") if p.is_dir() and re.fullmatch(ACDC_PATIENT, p.name))
        if found:
            return found
    layout = f"{root} has no {'/'.join(ACDC_TRAINING)}/patientNNN"
    raise BadSource("The ACDC download has one folder a patient", layout, "Name the folder that holds 'database'")


def _frames(folder: Path, root: Path) -> Iterator[_Frame]:
    info = _info(folder / ACDC_INFO, root)
    for phase in ACDC_PHASES:
        number = int(info[phase])
        image, mask = folder / acdc_frame(folder.name, number), folder / acdc_mask(folder.name, number)
        for path in (image, mask):
            if not path.is_file():
                raise BadSource(f"The {phase} frame and its mask must be there", f"no {_name(path, root)}", _AGAIN)
        yield _Frame(folder.name, info["Group"], phase, image, mask)


def _info(path: Path, root: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except _UNREADABLE as error:
        raise BadSource(f"Every patient has a readable {ACDC_INFO}", _name(path, root), _AGAIN) from error
    info = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    for key in (*ACDC_PHASES, "Group"):
        if not info.get(key) or (key in ACDC_PHASES and not info[key].isdecimal()):
            raise BadSource(f"{ACDC_INFO} names ED, ES and Group", f"{_name(path, root)} lacks a valid {key}", _AGAIN)
    return info


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


def _open(path: Path, root: Path) -> Any:
    try:
        image = nibabel.load(path)
        shape = image.shape  # type: ignore[attr-defined]
    except _UNREADABLE as error:
        raise BadSource("A frame must be a readable NIfTI file", _name(path, root), _AGAIN) from error
    if len(shape) != 3 or min(shape) < 1:
        raise BadSource("A frame is 3-D (x, y, slice)", f"{_name(path, root)} has shape {shape}", _AGAIN)
    return image


def _read(image: Any, path: Path, root: Path) -> Array:
    try:
        volume = np.asarray(image.dataobj, dtype=np.float32)
    except _UNREADABLE as error:
        raise BadSource("A frame must be a readable NIfTI file", _name(path, root), _AGAIN) from error
    if not np.isfinite(volume).all():
        raise BadSource("Intensities are finite", f"{_name(path, root)} has NaN or infinity", _AGAIN)
    return volume


def _read_mask(frame: _Frame, shape: tuple[int, ...], root: Path) -> Array:
    values = _read(_open(frame.mask, root), frame.mask, root)
    name = _name(frame.mask, root)
    if values.shape != shape:
        raise BadSource("A mask has the size of its image", f"{name} is {values.shape}, its image {shape}", _AGAIN)
    if not np.isin(values, range(len(ACDC_CLASSES))).all():
        raise BadSource(f"Mask values are 0 to {len(ACDC_CLASSES) - 1}", f"{name} has others", _AGAIN)
    return values.astype(np.uint8)
