"""An open DICOM file: who and what it shows, and its frames in native units."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._files import regular
from ..errors import BadSource
from ..types import Array
from . import _tags
from ._elements import FIX, Values
from ._header import Header, read_header
from ._pixels import Layout, read_layout, read_stored
from ._values import Scale, cleaned, coloured, find, padding, read_scale, rescaled, unpadded

_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_MEASURED = ("CT", "PT")
"""MONOCHROME1 says how values are shown, not what they mean: Hounsfield units and activity are not turned over."""


@dataclass(frozen=True)
class Frame:
    """One image.

    Attributes:
        pixels: (1, H, W) float32 in units of the modality (CT: HU), or uint8 where 8-bit values are not rescaled;
            (3, H, W) uint8 for colour. Rows are y downwards as displayed. Higher is brighter: MONOCHROME1 is turned
            over, except in CT and PET, whose values are measurements.
        spacing_mm: (y, x) millimetres, or None when unknown.
        window: (centre, width) of the first display window, in units of `pixels`; None without.
        position: Millimetres along the normal of the slice, or None when unknown.
        number: Of the frame in a file of several, from 0; None in a file of one.
    """

    pixels: Array
    spacing_mm: tuple[float, float] | None
    window: tuple[float, float] | None
    position: float | None
    number: int | None


class DicomFile:
    """A file whose header has been read.

    Attributes:
        patient: PatientID, "" when it is empty; never to be shown.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        modality: E.g. "CT".
        number: InstanceNumber, or None.
        burned_in: Whether the header says that text is burned into the pixels.
        localizer: Whether the header's ImageType says that it is a localizer (scout, topogram).
        secondary: Whether it is a secondary capture: a screenshot, a report as a picture, a scanned film.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self.patient, self.study = header.text(_tags.PATIENT), header.text(_tags.STUDY)
        self.series, self.instance = header.text(_tags.SERIES), header.text(_tags.INSTANCE)
        self.modality = header.text(_tags.MODALITY).upper()
        number = header.numbers(_tags.NUMBER)
        self.number = int(number[0]) if number and math.isfinite(number[0]) else None
        self.burned_in = header.text(_tags.BURNED_IN).upper() == "YES"
        self.localizer = _is_localizer(header.text(_tags.IMAGE_TYPE))
        self.secondary = f"{header.text(_tags.IMAGE_CLASS)}.".startswith(f"{_SECONDARY}.")

    def frames(self, *, wrapped: bool = False) -> Iterator[Frame]:
        """Yield the frames, one in memory at a time.

        Args:
            wrapped: Whether unsigned 12-bit CT values of 3072 or more are negatives when no value is left for air.

        Raises:
            BadSource: The pixel data cannot be decoded, are damaged or do not fit the header; or a CT states no HU.
        """
        layout = read_layout(self._header)
        shared = self._header.items(_tags.SHARED_GROUPS)[:1]
        own = self._header.items(_tags.FRAME_GROUPS)
        if own and len(own) < layout.frames:
            raise self._header.bad("Every frame is described", "describes fewer than it has")
        for number, stored in enumerate(read_stored(self._header, layout)):
            groups = [*own[number : number + 1], *shared]
            places = self._places(groups, _tags.RESCALE_GROUP, _tags.WINDOW_GROUP)
            pixels, window = self._native(stored, layout, places, wrapped=wrapped)
            spacing = _spacing(self._places(groups, _tags.MEASURES_GROUP))
            position = _position(self._places(groups, _tags.PLACE_GROUP, _tags.PLANE_GROUP))
            yield Frame(pixels, spacing, window, position, number if layout.frames > 1 else None)

    def _places(self, groups: list[Values], *sequences: int) -> list[Values]:
        """Return where a value may stand: in sequences of the frame, in those that all frames share, in the header."""
        return [item for group in groups for tag in sequences for item in group.items(tag)[:1]] + [self._header]

    def _native(
        self, stored: Array, layout: Layout, places: list[Values], *, wrapped: bool
    ) -> tuple[Array, tuple[float, float] | None]:
        header = self._header
        if not layout.photometric.startswith("MONOCHROME"):
            return coloured(stored, header, layout), None
        scale = read_scale(header, places)
        ct = self.modality == "CT"
        if ct and not scale.stated and not self.secondary and _tags.MODALITY_LUT not in header.elements:
            raise header.bad("A CT states how its values become HU", "has no RescaleSlope and RescaleIntercept")
        where = padding(stored, header)
        native = rescaled(cleaned(stored, layout, scale, ct=ct, wrapped=wrapped), header, scale)
        window = _window(places)
        if layout.photometric == "MONOCHROME1" and (self.modality not in _MEASURED or self.secondary):
            native, window = _inverted(native, window, header, layout, scale)
        return (native if where is None else unpadded(native, where))[None], window


@contextlib.contextmanager
def open_dicom(path: Path, name: str) -> Iterator[DicomFile]:
    """Open a DICOM image file; its frames are read inside the block.

    Args:
        path: The file.
        name: What messages call it; they hold neither `path` nor anything that stands in the file.

    Raises:
        NotDicom: The file is something else.
        NoPixels: It is a report, a plan or the like.
        BadSource: It cannot be opened, is damaged, or is of a kind that is not read.
    """
    try:
        handle = regular(path).open("rb")
    except (OSError, ValueError):
        raise BadSource("A DICOM file must be readable", f"{name} cannot be opened", FIX) from None
    with handle:
        yield DicomFile(read_header(handle, name))


def _is_localizer(image_type: str) -> bool:
    parts = [part.strip().upper() for part in image_type.split("\\")]
    return parts[2:3] == ["LOCALIZER"]


def _inverted(
    native: Array, window: tuple[float, float] | None, header: Header, layout: Layout, scale: Scale
) -> tuple[Array, tuple[float, float] | None]:
    """Return values that were stored with the lowest brightest, mirrored within what can be stored."""
    kind = native.dtype if native.dtype == np.uint8 else np.int64
    low, high = (float(end) for end in rescaled(np.array(layout.limits, kind), header, scale))
    mirrored = (native.dtype.type(low + high) - native).astype(native.dtype, copy=False)
    return mirrored, window and (low + high - window[0], window[1])


def _window(places: list[Values]) -> tuple[float, float] | None:
    centre, width = find(places, _tags.CENTRE)[:1], find(places, _tags.WIDTH)[:1]
    if not centre or not width or not math.isfinite(centre[0]) or not 0 < width[0] < math.inf:
        return None
    return centre[0], width[0]


def _spacing(places: list[Values]) -> tuple[float, float] | None:
    for tag in (_tags.SPACING, _tags.IMAGER_SPACING):
        spacing = find(places, tag)
        if len(spacing) == 2 and all(0 < each < math.inf for each in spacing):
            return spacing[0], spacing[1]
    return None


def _position(places: list[Values]) -> float | None:
    position, orientation = find(places, _tags.POSITION), find(places, _tags.ORIENTATION)
    if len(position) != 3 or len(orientation) != 6:
        return None
    (ax, ay, az), (bx, by, bz), (x, y, z) = orientation[:3], orientation[3:], position
    along = (ay * bz - az * by) * x + (az * bx - ax * bz) * y + (ax * by - ay * bx) * z
    return along if math.isfinite(along) else None
