"""NIfTI-1 and NIfTI-2 volumes in one file, .nii or .nii.gz: headers by nibabel, values read here, slice by slice.

The values are held once, in the type they are stored in, and scaled when a slice is taken. Sizes are checked before
anything is read, so that a small file cannot ask for more memory than there is; the checksum of a .gz is verified.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from .._files import regular
from ..errors import BadSource
from ..types import Array

MAX_BYTES = 2**30
"""Of the values of one volume; 512x512x2000 of 16 bits."""
_MAX_START = 2**24
_MAX_TRAILING = 2**26
_CHUNK = 2**20
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, OverflowError, zlib.error, HeaderDataError)
_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_AXES = 3
_APART = 0.1
"""Share of a voxel by which the corners of a mask may lie apart from those of its image."""
_SIDES_AGREE = 0.01
"""Share by which their voxels may differ where neither states a place: headers are rounded."""
_HEADERS: tuple[Any, ...] = (nibabel.Nifti1Header, nibabel.Nifti2Header)


@dataclass(frozen=True)
class Header:
    """What a file says of its volume.

    Attributes:
        name: What messages call the file.
        path: The file.
        next_step: What messages tell the user to do about it.
        shape: Three numbers of voxels, along the stored axes; missing axes have one.
        dtype: Of the values as they are stored.
        start: Where they begin.
        scale: (slope, intercept) that make them what they stand for.
        sides_mm: Side of a voxel along each stored axis as pixdim states it; 0 where it does not.
        affine: (4, 4) voxel -> millimetres towards the patient's right, front and head; None where neither qform nor
            sform states it.
    """

    name: str
    path: Path
    next_step: str
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    start: int
    scale: tuple[float, float]
    sides_mm: tuple[float, float, float]
    affine: Array | None

    def volume(self) -> Volume:
        """Return the volume with its values.

        Raises:
            BadSource: They cannot be read, are fewer than the header says, or not all finite.
        """
        count = math.prod(self.shape)
        try:
            if self.path.suffix == ".gz":
                with gzip.open(self.path) as file:
                    values = np.frombuffer(_decompressed(file, self.start, count * self.dtype.itemsize), self.dtype)
            else:
                values = np.memmap(self.path, self.dtype, "r", self.start, (count,))
        except _UNREADABLE as error:
            raise self._bad("A volume must be a readable NIfTI file", self.name) from error
        volume = Volume(values.reshape(self.shape, order="F"), *self.scale)
        with np.errstate(invalid="ignore", over="ignore"):
            ends = volume.scaled(np.array([values.min(), values.max()]))  # NaN and infinity reach the ends
        if not np.isfinite(ends).all():
            raise self._bad("Intensities are finite", f"{self.name} has NaN or infinity")
        return volume

    def _bad(self, rule: str, offender: str) -> BadSource:
        return BadSource(rule, offender, self.next_step)


@dataclass(frozen=True)
class Volume:
    """Values along three axes, scaled when they are taken.

    Attributes:
        stored: (i, j, k) as in the file, or the same turned.
        slope: Of the scaling.
        intercept: Of the scaling.
    """

    stored: Array
    slope: float
    intercept: float

    def plane(self, index: int) -> Array:
        """Return the float32 values at an index of the last axis."""
        return self.scaled(self.stored[:, :, index])

    def scaled(self, values: Array) -> Array:
        """Return stored values as float32 in native units."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return values.astype(np.float32)
        return (values * np.float64(self.slope) + self.intercept).astype(np.float32)

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Return two percentiles of all values, in native units."""
        shares = (low, high) if self.slope >= 0 else (100 - low, 100 - high)
        ends = np.percentile(self.stored, shares).astype(np.float64) * self.slope + self.intercept
        return float(ends[0]), float(ends[1])


def read_header(path: Path, name: str, next_step: str) -> Header:
    """Return the header of a volume; the values are not looked at.

    Args:
        path: The file.
        name: What messages call it.
        next_step: What they tell the user to do about it.

    Raises:
        BadSource: It is absent or no NIfTI file, has four axes, colours or complex values, or is too large.
    """
    try:
        with gzip.open(regular(path)) if path.suffix == ".gz" else regular(path).open("rb") as file:
            raw = _parsed(file)
        shape, dtype = raw.get_data_shape(), raw.get_data_dtype()
        start, scale, unit = int(raw.get_data_offset()), _scale(raw), _MM[raw.get_xyzt_units()[0]]
        zooms, affine = _zooms(raw, unit), _affine(raw, unit)
    except _UNREADABLE as error:
        raise BadSource("A volume must be a readable NIfTI file", name, next_step) from error
    if len(shape) < 2 or min(shape) < 1 or max(shape[_AXES:], default=1) > 1:
        raise BadSource("A volume is 2-D or 3-D", f"{name} has shape {shape}", next_step)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise BadSource("A voxel is one real number", f"{name} has colours, complex or extended numbers", next_step)
    x, y, z = (*map(int, shape), 1)[:_AXES]
    if x * y * z * dtype.itemsize > MAX_BYTES or not 0 <= start <= _MAX_START:
        raise BadSource(f"A volume has at most {MAX_BYTES // 2**20} MiB", f"{name} says it has more", next_step)
    if not np.isfinite(scale).all() or (affine is not None and not _is_affine(affine)):
        raise BadSource("Scale and orientation are finite numbers", f"those of {name} are not", next_step)
    return Header(name, path, next_step, (x, y, z), dtype, start, scale, zooms, affine)


def check_fit(mask: Header, image: Header) -> None:
    """Check that a mask lies on the voxels of its image.

    Raises:
        BadSource: It has another size, or is mirrored, turned, shifted or of other voxels.
    """
    if mask.shape != image.shape:
        offender = f"{mask.name} is {mask.shape}, its image {image.shape}"
        raise BadSource("A mask has the size of its image", offender, mask.next_step)
    rule = "A mask lies where its image lies"
    if (mask.affine is None) != (image.affine is None):
        raise BadSource(rule, f"{mask.name} or its image states no place", mask.next_step)
    if mask.affine is None or image.affine is None:
        stated = min(*mask.sides_mm, *image.sides_mm) > 0
        if stated and not np.allclose(mask.sides_mm, image.sides_mm, rtol=_SIDES_AGREE, atol=0):
            raise BadSource(rule, f"{mask.name} has voxels of another size", mask.next_step)
        return
    corners = np.stack(np.meshgrid(*[(0, side - 1) for side in image.shape], (1,)), axis=-1).reshape(-1, 4)
    apart = np.abs(corners @ (mask.affine - image.affine).T)[:, :_AXES].max()
    if not apart <= _APART * np.linalg.norm(image.affine[:_AXES, :_AXES], axis=0).min():
        raise BadSource(rule, f"{mask.name} is turned or shifted, or has voxels of another size", mask.next_step)


def _parsed(file: IO[bytes] | gzip.GzipFile) -> Any:
    """Return nibabel's header without the extensions, whose size a damaged file may overstate."""
    for kind in _HEADERS:
        file.seek(0)
        block = file.read(kind.sizeof_hdr)
        if len(block) == kind.sizeof_hdr and kind.may_contain_header(block):
            header = kind(block, check=False)
            if bytes(header["magic"]).startswith((b"n+1", b"n+2")):
                return header
    raise ValueError


def _scale(raw: Any) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 means that there is no scaling, as the standard says."""
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    return (1.0, 0.0) if slope == 0 or math.isnan(slope) else (slope, intercept)


def _zooms(raw: Any, unit: float) -> tuple[float, float, float]:
    x, y, z = (abs(float(side)) * unit for side in raw["pixdim"][1 : _AXES + 1])
    return x, y, z


def _affine(raw: Any, unit: float) -> Array | None:
    if raw["pixdim"][0] not in (-1, 1):
        raw["pixdim"][0] = 1  # the standard's value for 0
    if raw["sform_code"] > 0:
        affine = raw.get_sform()
    elif raw["qform_code"] > 0:
        raw["pixdim"][1 : _AXES + 1] = np.abs(raw["pixdim"][1 : _AXES + 1])
        affine = raw.get_qform()
    else:
        return None
    return np.asarray(np.diag([unit] * _AXES + [1.0]) @ affine)


def _is_affine(affine: Array) -> bool:
    """Return whether its three directions are finite and independent."""
    lengths = np.linalg.norm(affine[:_AXES, :_AXES], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        return False
    return bool(abs(np.linalg.det(affine[:_AXES, :_AXES] / lengths)) > 1e-3)


def _decompressed(file: gzip.GzipFile, start: int, length: int) -> bytes:
    """Return the values, having read to the end: only there is the checksum."""
    file.seek(start)
    values = file.read(length)
    trailing = 0
    while chunk := file.read(_CHUNK):
        trailing += len(chunk)
        if trailing > _MAX_TRAILING:
            raise ValueError
    return values
