"""From the frames of one DICOM file to records, whichever download the file comes from."""

from __future__ import annotations

from collections.abc import Mapping

from ..dicom import DicomFile, Frame
from ..types import Record

_PER_MM, _FARTHEST_MM = 100, 10_000
_PLACE_BITS, _NUMBER_BITS, _FILE_BITS = 21, 16, 24

_VOLUMES = ("CT", "MR", "NM", "PT")
"""Modalities whose images are slices, a series of them a volume."""


def record(
    file: DicomFile,
    frame: Frame,
    index: int,
    labels: Mapping[str, int | None],
    window: tuple[float, float] | None,
    attributes: Mapping[str, str | float | int],
) -> Record:
    """Return one frame as a record; `group` is the series, or the study where the file states none.

    Args:
        file: Of the frame.
        frame: The frame.
        index: Position of the file among those of the source.
        labels: Of the frame.
        window: Display window.
        attributes: Further facts.
    """
    return Record(
        patient=file.patient,
        group=file.series or file.study or f"file {index}",
        image=frame.pixels,
        labels=labels,
        attributes=attributes,
        slice_index=slice_index(file, frame, index),
        spacing_mm=frame.spacing_mm,
        window=window,
        burned_in=file.burned_in,
        stack=file.modality in _VOLUMES,
    )


def slice_index(file: DicomFile, frame: Frame, index: int) -> int:
    """Return a number that sorts the slices of a series and that no two of a source share, below 2**61.

    A file is read without knowing the others of its series, so this is no count from 0. The upper bits are the position
    along the normal in 0.01 mm, or InstanceNumber where there is none; then comes InstanceNumber, of which phases
    at one position differ, or the number of the frame; the lowest are `index`, so that equal ones stay apart.
    """
    number = max(file.number or 0, 0)
    place, within = number, number
    if frame.position is not None:
        nearest = max(-_FARTHEST_MM, min(frame.position, _FARTHEST_MM))
        place = round((nearest + _FARTHEST_MM) * _PER_MM)
    if frame.number is not None:
        within = frame.number
    place, within = min(place, (1 << _PLACE_BITS) - 1), min(within, (1 << _NUMBER_BITS) - 1)
    return (place << _NUMBER_BITS | within) << _FILE_BITS | index
