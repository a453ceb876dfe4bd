"""A mask as a DICOM Segmentation: one binary frame a class, background left out (PS3.3 A.51)."""

from __future__ import annotations

import re

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from ..format import SOFTWARE, Sample
from ._dicom_header import Header, code, decimals, item, text

_SEGMENT_SEQUENCE_ITEM, _SEGMENT_NUMBER = 0x0062000A, 0x0062000B
_NO_DATE, _NO_TIME = "19700101", "000000"  # the standard wants a date; this one is nobody's
_SCHEME = "99SYNTHCOHORT"  # 99: a coding scheme of our own, since a class may be anything
_LESION = re.compile(
    r"lesion|tumou?r|cancer|carcinoma|metasta|neoplas|nodule|polyp|aneurysm|ha?emorrh|ha?ematoma|exudat|drusen|effusion"
    r"|infarct|ischa?em|o?edema|necro|abscess|ulcer|plaque|thromb|fracture|patholog|abnormal|\bcysts?\b|\bscars?\b"
    r"|\bmass(es)?\b",
    re.IGNORECASE,
)


class MaskWriter:
    """Makes the attributes and the pixel data of masks.

    Frame k is the k-th class that is not background, whether or not it occurs in a mask. There is no frame of
    reference: the image has none either; the segmentation names the image that it belongs to.

    Args:
        head: What all objects of the export have.
    """

    def __init__(self, head: Header) -> None:
        self._head, self._classes = head, range(1, len(head.facts.mask_classes))
        self._same = _same_for_all(head, self._classes)

    def dataset(self, sample: Sample) -> tuple[Dataset, bytes]:
        """Return the attributes and the pixel data of a sample's mask."""
        dataset = self._head.dataset(sample, "mask", SegmentationStorage)
        dataset.update(self._same)
        dataset.ReferencedSeriesSequence = [_series(self._head, sample)]
        dataset.SharedFunctionalGroupsSequence = [_shared(self._head, sample)]
        mask = np.asarray(sample.mask)
        bits = np.stack([mask == index for index in self._classes])
        return dataset, np.packbits(bits, bitorder="little").tobytes()


def _same_for_all(head: Header, classes: range) -> Dataset:
    """Return the attributes that the masks of a cohort share; they are made once, since making them takes time."""
    same = item(
        ImageType=["DERIVED", "PRIMARY"],
        Modality="SEG",
        ContentDate=_NO_DATE,
        ContentTime=_NO_TIME,
        ContentLabel="MASK",
        ContentDescription=text(head.made.mask),
        ContentCreatorName="",
        LossyImageCompression="00",
        SegmentationType="BINARY",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=head.facts.shape[1],
        Columns=head.facts.shape[2],
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        NumberOfFrames=len(classes),
        SegmentSequence=[_segment(head, index) for index in classes],
        PerFrameFunctionalGroupsSequence=[_frame(index) for index in classes],
    )
    same.update(_dimensions(head))
    return same


def _segment(head: Header, index: int) -> Dataset:
    name, synthetic = text(head.facts.mask_classes[index]) or f"class {index}", head.made.synthetic
    return item(
        SegmentNumber=index,
        SegmentLabel=name,
        # One of three terms is wanted, and of real masks it is not known whether a person or a program drew them.
        # AUTOMATIC would say that no person did. MANUAL would say that no program had a part, but this one cut and
        # resampled them. SEMIAUTOMATIC denies neither, and the name, which goes with it, says what is not known.
        SegmentAlgorithmType="AUTOMATIC" if synthetic else "SEMIAUTOMATIC",
        SegmentAlgorithmName=text(head.made.maker if synthetic else f"origin not stated; prepared by {SOFTWARE}"),
        SegmentedPropertyCategoryCodeSequence=_category(name),
        SegmentedPropertyTypeCodeSequence=code(str(index), _SCHEME, name),
    )


def _category(name: str) -> list[Dataset]:
    """Return what kind of thing a class is (CID 7150): an abnormal structure by its name, else an anatomical one."""
    if _LESION.search(name.replace("_", " ")):
        return code("49755003", "SCT", "Morphologically Abnormal Structure")
    return code("123037004", "SCT", "Anatomical Structure")


def _series(head: Header, sample: Sample) -> Dataset:
    return item(
        SeriesInstanceUID=head.uid("image series", sample.group), ReferencedInstanceSequence=[_image(head, sample)]
    )


def _image(head: Header, sample: Sample) -> Dataset:
    return item(
        ReferencedSOPClassUID=SecondaryCaptureImageStorage, ReferencedSOPInstanceUID=head.uid("image", sample.number)
    )


def _shared(head: Header, sample: Sample) -> Dataset:
    source = _image(head, sample)
    source.PurposeOfReferenceCodeSequence = code("121322", "DCM", "Source image for image processing operation")
    derivation = item(SourceImageSequence=[source], DerivationCodeSequence=code("113076", "DCM", "Segmentation"))
    shared = item(DerivationImageSequence=[derivation])
    if sample.spacing_mm:
        shared.PixelMeasuresSequence = [item(PixelSpacing=decimals(sample.spacing_mm))]
    return shared


def _frame(index: int) -> Dataset:
    return item(
        FrameContentSequence=[item(DimensionIndexValues=[index])],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=index)],
    )


def _dimensions(head: Header) -> Dataset:
    """Return the statement that frames are told apart by their segment."""
    uid = head.uid("dimensions")
    pointer = item(
        DimensionOrganizationUID=uid,
        DimensionIndexPointer=_SEGMENT_NUMBER,
        FunctionalGroupPointer=_SEGMENT_SEQUENCE_ITEM,
        DimensionDescriptionLabel="Segment",
    )
    return item(DimensionOrganizationSequence=[item(DimensionOrganizationUID=uid)], DimensionIndexSequence=[pointer])
