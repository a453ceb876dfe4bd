"""DICOM files with a table: secondary captures, and segmentations for masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from ..cohort import Cohort
from ..errors import Mismatch
from ..format import Format as _Contract
from ..format import Sample
from ._dicom_header import Header, decimals, file, header, item
from ._dicom_mask import MaskWriter
from ._tree import Encode, write_tree

_OTHER = "Export to another format"
_LONGEST_COMMENT = 10240  # of value representation LT
_IMPLEMENTATION = "2.25.263411570461250930277411829837414903337"  # made once at random, as UID of this writer
_READING = (
    "Images are Secondary Captures, masks binary Segmentations that name the image they belong to: frame k is the k-th",
    "mask value above 0. Neither has a place in a patient. (0008,001C) Synthetic Data says whether they show nobody.",
    "Labels stand in the table and, as JSON, in (0020,4000) Image Comments. Identifiers are new; the date of a",
    "segmentation, which the standard wants, is always 1970-01-01. Nothing is said of burned-in text: look.",
    "",
    "- `SOPInstanceUID`, `PatientID`: those of the image's file.",
)


class Format(_Contract):
    """One .dcm a sample: Secondary Capture, grey 8 or 16 bit or RGB; masks as binary Segmentation.

    A patient of the cohort becomes a made-up one with a study of their own, a group a series. All UIDs derive from the
    cohort's digest; no attribute comes from a file of a patient. Synthetic Data (0008,001C) is YES for what shows
    nobody. Pixel Spacing is there where it is known. What nobody looked for in pixels, such as burned-in text, is not
    denied.

    Raises:
        Mismatch: There are more labels than Image Comments holds, or masks have no class besides the background.
    """

    REVISION: ClassVar[int] = 3

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write images/, masks/, samples.csv and README.md."""
        if len(cohort.facts.mask_classes) == 1:
            offender = f"'{cohort.facts.mask_classes[0]}' is the only one"
            raise Mismatch("A DICOM segmentation has a class besides the background", offender, _OTHER)
        head = header(cohort.facts, cohort.identity)

        def columns(sample: Sample) -> dict[str, str]:
            return {"SOPInstanceUID": head.uid("image", sample.number), "PatientID": head.patient_id(sample)}

        said = "(0008,001C) and (0008,2111)"
        write_tree(cohort, folder, ending=".dcm", encode=_encoder(head), said=said, reading=_READING, columns=columns)


def _encoder(head: Header) -> Encode:
    masks = MaskWriter(head)

    def encode(sample: Sample) -> tuple[bytes, bytes | None]:
        dataset, pixels = _image_dataset(head, sample)
        image = file(dataset, pixels, bits=dataset.BitsAllocated, implementation=_IMPLEMENTATION)
        if sample.mask is None:
            return image, None
        return image, file(*masks.dataset(sample), bits=1, implementation=_IMPLEMENTATION)

    return encode


def _image_dataset(head: Header, sample: Sample) -> tuple[Dataset, bytes]:
    pixels = np.ascontiguousarray(np.asarray(sample.image).transpose(1, 2, 0))
    rows, columns, channels = pixels.shape
    bits = 8 * pixels.itemsize
    dataset = head.dataset(sample, "image", SecondaryCaptureImageStorage)
    dataset.update(
        item(
            ImageType=["DERIVED", "SECONDARY"],
            Modality="OT",
            ConversionType="SYN" if head.made.synthetic else "WSD",
            Laterality="",
            SamplesPerPixel=channels,
            PhotometricInterpretation="RGB" if channels == 3 else "MONOCHROME2",
            Rows=rows,
            Columns=columns,
            BitsAllocated=bits,
            BitsStored=bits,
            HighBit=bits - 1,
            PixelRepresentation=0,
        )
    )
    dataset.update(item(PlanarConfiguration=0) if channels == 3 else _window(*head.facts.value_range))
    if sample.spacing_mm:
        dataset.PixelSpacing = decimals(sample.spacing_mm)
    if sample.labels:
        dataset.ImageComments = _comment(sample)
    return dataset, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def _window(low: float, high: float) -> Dataset:
    """Return the window that shows the whole value range, by the linear function of PS3.3 C.11.2.1.2.1."""
    return item(WindowCenter=(low + high + 1) / 2, WindowWidth=high - low + 1)


def _comment(sample: Sample) -> str:
    comment = json.dumps(sample.labels, ensure_ascii=False)
    if len(comment) > _LONGEST_COMMENT:
        offender = f"{len(sample.labels)} labels need {len(comment)}"
        raise Mismatch(f"A DICOM comment has at most {_LONGEST_COMMENT} characters", offender, _OTHER)
    return comment
