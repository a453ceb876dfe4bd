"""ACDC: short-axis cine cardiac MRI at end-diastole and end-systole, with masks of both ventricles and myocardium.

Layout (Bernard et al., IEEE TMI 2018): database/training and database/testing hold patientNNN/{Info.cfg,
patientNNN_frameFF.nii.gz, patientNNN_frameFF_gt.nii.gz, patientNNN_4d.nii.gz}; in older downloads both folders lie at
the top, and the test patients with masks are in testing_with_gt. The 4-D series is not read. Which frame is which
phase stands in Info.cfg; the order of the files says nothing. NIfTI axes are (x, y, slice); an image has rows = y and
columns = x.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from .._files import regular
from ..errors import BadSource
from ..layouts import (
    ACDC_CLASSES,
    ACDC_INFO,
    ACDC_PATIENT,
    ACDC_PHASES,
    ACDC_TESTING,
    ACDC_TRAINING,
    acdc_frame,
    acdc_mask,
)
from ..source import Source as _Contract
from ..types import Array, Record
from ._nifti import Header, check_fit, read_header
from ._table import AGAIN

_ROOTS = (".", ACDC_TRAINING[0], "ACDC", f"ACDC/{ACDC_TRAINING[0]}")
"""Where below the root the folders of the parts may lie."""
_PARTS = {ACDC_TRAINING[1]: "train", "testing_with_gt": "test", ACDC_TESTING[1]: "test"}
"""Folder -> split. The first of a split that is found is read: another has the same patients without masks."""
_INFO_BYTES = 1 << 16
_FRAME_NUMBER = re.compile("[0-9]{1,4}")


@dataclass(frozen=True)
class _Frame:
    patient: str
    stratum: str
    phase: str
    split: str
    image: Path
    mask: Path


class Source(_Contract):
    """Every slice of both phases of every patient.

    Args:
        root: The download's root, the folder above it, or any of its folders that holds patients. A folder that holds
            patients itself is read whatever `parts` says.
        parts: "training", or "all" for the test patients too.

    Attributes:
        LEFT_OUT: Slices of test patients without masks.

    Raises:
        BadSource: There is no such folder, it has another layout, or a file is missing.
    """

    MODALITY = "cardiac cine MRI, short axis"
    LICENCE = "CC BY-NC-SA 4.0 (ACDC; research use, cite Bernard et al., IEEE TMI 2018)"
    NOTICE = (
        "Made from ACDC, under CC BY-NC-SA 4.0: material adapted from it may be shared for non-commercial purposes "
        "only, under the same terms and with credit. Synthetic images, and weights trained on it, may count as adapted."
    )
    MASK_CLASSES: tuple[str, ...] = ACDC_CLASSES
    LABELS: tuple[str, ...] = ()
    REVISION: ClassVar[int] = 2
    PERCENTILES: ClassVar[tuple[float, float]] = (0.5, 99.5)
    VALUE_RULE: Mapping[str, Any] = {"rule": "volume_percentiles", "low": PERCENTILES[0], "high": PERCENTILES[1]}

    # Study 000 uses the official split. It states neither size nor intensities; its laboratory crops or pads to 256 px
    # without resampling, keeps 75 of the 100 training patients for training, and subtracts the mean of a slice and
    # divides by its spread, which leaves no fixed range for stored pixels: the percentiles of the volume stay.
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "size": 256,
            "geometry": "crop",
            "split": "official",
            "shares": (0.75, 0.25, 0.0, 0.0),
            "options": {"parts": "all"},
            "assumed": ("geometry", "intensity", "shares", "size"),
        }
    }

    def __init__(self, root: Path, *, parts: Literal["training", "all"] = "training") -> None:
        self._root = root
        frames = [frame for folder, split in _patients(root, parts) for frame in _frames(folder, split, root)]
        self._frames = [frame for frame in frames if frame.mask.is_file()]
        unmarked = sum(self._slices(frame) for frame in frames if not frame.mask.is_file())
        self.LEFT_OUT: Mapping[str, int] = {"no mask": unmarked} if unmarked else {}

    def __len__(self) -> int:
        """Return the number of slices as the headers give it; a header that cannot be read counts as none."""
        return sum(map(self._slices, self._frames))

    def parts(self) -> Sequence[_Frame]:
        """Return the volumes."""
        return self._frames

    def read(self, part: _Frame) -> Iterator[Record]:
        """Yield the slices of a volume.

        `image` is (1, y, x) float32 in scanner units, `mask` (y, x) uint8, `volume_range` the percentiles of the
        volume, `group` patient and phase, `attributes` the phase, `stratum` the disease group.

        Raises:
            BadSource: A file cannot be read, or a mask does not lie on its image.
        """
        header = _open(part.image, self._root)
        volume = header.volume()
        mask = _read_mask(part, header, self._root)
        x_mm, y_mm, _ = header.sides_mm
        if not min(x_mm, y_mm) > 0:
            raise BadSource("A header gives the pixel spacing", header.name, AGAIN)
        limits = volume.percentiles(*self.PERCENTILES)
        for index in range(header.shape[2]):
            yield Record(
                patient=part.patient,
                group=f"{part.patient} {part.phase}",
                image=np.ascontiguousarray(volume.plane(index).T)[None],
                mask=np.ascontiguousarray(mask[:, :, index].T),
                attributes={"phase": part.phase},
                slice_index=index,
                spacing_mm=(y_mm, x_mm),
                stratum=part.stratum,
                volume_range=limits,
                split=part.split,
                stack=True,
            )

    def _slices(self, frame: _Frame) -> int:
        try:
            return _open(frame.image, self._root).shape[2]
        except BadSource:  # told when its values are read
            return 0


def _patients(root: Path, parts: str) -> list[tuple[Path, str]]:
    """Return (folder, split) of the patients that are read."""
    if not os.path.isdir(root):  # False, too, where it may not be looked at
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the ACDC download")
    if found := _below(root):
        return [(folder, _PARTS.get(root.resolve().name, "")) for folder in found]
    patients: list[tuple[Path, str]] = []
    for split in ("train", "test") if parts == "all" else ("train",):
        places = [root / base / name for base in _ROOTS for name, kind in _PARTS.items() if kind == split]
        patients += [(folder, split) for folder in next(filter(None, map(_below, places)), [])]
    if patients:
        return patients
    layout = f"there is no {'/'.join(ACDC_TRAINING)}/patientNNN"
    raise BadSource("The ACDC download has one folder a patient", layout, "Name the folder that holds 'database'")


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if re.fullmatch(ACDC_PATIENT, path.name) and path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # not permitted, or a circle of links
        rule = "The folders of the download can be listed"
        raise BadSource(rule, f"'{folder.name}' cannot", "Check its permissions") from error


def _frames(folder: Path, split: str, root: Path) -> Iterator[_Frame]:
    info = _info(folder / ACDC_INFO, root, test=split == "test")
    frames = {phase: int(info[phase]) for phase in ACDC_PHASES}
    masks = [folder / acdc_mask(folder.name, number) for number in frames.values()]
    unmarked = split == "test" and not any(map(os.path.isfile, masks))
    for (phase, number), mask in zip(frames.items(), masks, strict=True):
        image = folder / acdc_frame(folder.name, number)
        for path in (image,) if unmarked else (image, mask):
            if not os.path.isfile(path):
                raise BadSource(f"The {phase} frame and its mask must be there", f"no {_name(path, root)}", AGAIN)
        yield _Frame(folder.name, info.get("Group", ""), phase, split, image, mask)


def _info(path: Path, root: Path, *, test: bool) -> dict[str, str]:
    """Return what Info.cfg says; the test patients of older downloads have no group."""
    name = _name(path, root)
    try:
        with regular(path).open("rb") as file:
            lines = file.read(_INFO_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        raise BadSource(f"Every patient has a readable {ACDC_INFO}", name, AGAIN) from error
    info = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    for key in ACDC_PHASES:
        if not _FRAME_NUMBER.fullmatch(info.get(key, "")):
            raise BadSource(f"{ACDC_INFO} names ED, ES and Group", f"{name} lacks a valid {key}", AGAIN)
    if not test and not info.get("Group"):
        raise BadSource(f"{ACDC_INFO} names ED, ES and Group", f"{name} lacks a valid Group", AGAIN)
    if len({int(info[key]) for key in ACDC_PHASES}) < len(ACDC_PHASES):
        raise BadSource("ED and ES are two frames", f"{name} names one for both", AGAIN)
    return info


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


def _open(path: Path, root: Path) -> Header:
    return read_header(path, _name(path, root), AGAIN)


def _read_mask(frame: _Frame, image: Header, root: Path) -> Array:
    """Return (x, y, slice) uint8."""
    header = _open(frame.mask, root)
    check_fit(header, image)
    volume = header.volume()
    values = np.stack([volume.plane(index) for index in range(header.shape[2])], axis=2)
    if not np.isin(values, range(len(ACDC_CLASSES))).all():
        raise BadSource(f"Mask values are 0 to {len(ACDC_CLASSES) - 1}", f"{header.name} has others", AGAIN)
    return values.astype(np.uint8)
