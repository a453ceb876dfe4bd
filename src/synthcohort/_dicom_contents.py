"""What a DICOM file holds: every attribute that an export has no need of, the values of the others, and its frames.

A list of what may be there does not age: an attribute that nobody thought of is reported, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from .types import Array

_NAMES = """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID SyntheticData Modality ConversionType Manufacturer
    ManufacturerModelName SoftwareVersions DeviceSerialNumber DerivationDescription SeriesDescription PatientName
    PatientID DeidentificationMethod StudyInstanceUID SeriesInstanceUID StudyID SeriesNumber
    InstanceNumber ImageComments SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows
    Columns PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation WindowCenter WindowWidth
    RescaleIntercept RescaleSlope RescaleType LossyImageCompression PixelData
    ContentDate ContentTime ContentLabel ContentDescription SegmentationType SegmentSequence SegmentNumber SegmentLabel
    SegmentAlgorithmType SegmentAlgorithmName SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence
    CodeValue CodingSchemeDesignator CodeMeaning ReferencedSeriesSequence ReferencedInstanceSequence
    ReferencedSOPClassUID ReferencedSOPInstanceUID PurposeOfReferenceCodeSequence SourceImageSequence
    DerivationImageSequence DerivationCodeSequence PixelMeasuresSequence SharedFunctionalGroupsSequence
    PerFrameFunctionalGroupsSequence FrameContentSequence DimensionIndexValues SegmentIdentificationSequence
    ReferencedSegmentNumber DimensionOrganizationUID DimensionOrganizationSequence DimensionIndexSequence
    DimensionIndexPointer FunctionalGroupPointer DimensionDescriptionLabel
    FileMetaInformationGroupLength FileMetaInformationVersion MediaStorageSOPClassUID MediaStorageSOPInstanceUID
    TransferSyntaxUID ImplementationClassUID ImplementationVersionName
"""
_NEEDED = frozenset(_NAMES.split())
_NOBODYS = {
    "PatientName": re.compile(r"(?:Synthetic|Pseudonym)\^\d{8}"),
    "PatientID": re.compile(r"(?:SYN|PSN)-[0-9A-F]{8}-\d{8}"),
    "DeviceSerialNumber": re.compile(r"[0-9a-f]{12}"),
}
_UID = re.compile(r"(?:1\.2\.840\.10008\.|2\.25\.)[0-9.]+")
_NO_MOMENT = ("19700101", "000000")  # where the standard wants one


def dicom_pieces(stream: BinaryIO) -> Iterator[tuple[str, str | Array, str, str]]:
    """Yield (place, text or (C, H, W) frame, what is wrong there, the value that is) of a DICOM file.

    Raises:
        Exception: Whatever pydicom and its decoders raise on a damaged file.
    """
    import pydicom
    from pydicom.pixels.utils import iter_pixels

    dataset = pydicom.dcmread(stream, force=True)
    if (dataset.preamble or b"").strip(b"\0"):
        yield "preamble", "", "bytes that are no part of it", ""
    for elements in (dataset.file_meta, dataset):
        for element in elements.iterall():
            yield from _element(element)
    if "PixelData" in dataset and int(dataset.get("BitsAllocated", 8)) > 1:
        for frame in iter_pixels(dataset):
            yield "pixels", frame[None] if frame.ndim == 2 else frame.transpose(2, 0, 1), "", ""


def _element(element: Any) -> Iterator[tuple[str, str, str, str]]:
    place, value = f"tag {element.tag}", _text(element)
    if not value or element.VR == "SQ":
        return
    wrong = "a private tag" if element.tag.is_private else _wrong(element.keyword, element.VR, value)
    yield place, "" if wrong or element.keyword == "PixelData" else value, wrong, value if wrong else ""


def _text(element: Any) -> str:
    value = element.value
    if value is None or isinstance(value, bytes):
        return "bytes" if value else ""
    return "\\".join(map(str, value)) if element.VM > 1 and not isinstance(value, str) else str(value)


def _wrong(keyword: str, vr: str, value: str) -> str:
    if keyword not in _NEEDED:
        return "an attribute that an export has no need of"
    if keyword in _NOBODYS and not _NOBODYS[keyword].fullmatch(value):
        return "an identifier that is not one of ours"
    if vr == "UI" and not all(_UID.fullmatch(uid) for uid in value.split("\\")):
        return "a UID of another institution"
    if vr in ("DA", "DT", "TM") and value not in _NO_MOMENT:
        return "a date or time"
    return ""
