"""What the DICOM objects of an export have in common: new identifiers, nobody's patient, and what the object is."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from .. import __version__
from ..cohort import Facts
from ..format import SOFTWARE, Origin, Sample, origin
from ._card import made_by

_LONGEST_TEXT = 64  # of value representation LO
_METHOD = "All attributes are new; pixels may still tell who it is"


@dataclass(frozen=True)
class Header:
    """Writes the attributes that every object has.

    None of them speaks of pixels: that no text is burned in, that a patient's identity is removed, that nothing was
    ever compressed with loss. A generator may have learnt to write text or to repeat a patient, what it learnt from may
    have been JPEG, and no export looks. The standard lets all three be left out.

    Attributes:
        facts: Of the cohort.
        made: What its images are.
        root: Digest of the cohort, from which all identifiers derive; none comes from a header or a patient.
    """

    facts: Facts
    made: Origin
    root: str

    def uid(self, kind: str, number: int = 0) -> str:
        """Return a UID that depends on the cohort, the kind of thing and its number, in the UUID form (2.25)."""
        digest = hashlib.sha256(f"{self.root} {kind} {number}".encode()).digest()
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

    def patient_id(self, sample: Sample) -> str:
        """Return the identifier of a made-up or pseudonymous patient."""
        return f"{'SYN' if self.made.synthetic else 'PSN'}-{self.root[:8].upper()}-{sample.patient:08d}"

    def dataset(self, sample: Sample, kind: str, sop_class: str) -> Dataset:
        """Return the patient, study, series and general attributes of an object of a sample.

        Args:
            sample: The sample.
            kind: "image" or "mask"; a series holds one kind.
            sop_class: UID of the object's class.
        """
        made, name = self.made, "Synthetic" if self.made.synthetic else "Pseudonym"
        return item(
            SpecificCharacterSet="ISO_IR 192",
            SOPClassUID=sop_class,
            SOPInstanceUID=self.uid(kind, sample.number),
            SyntheticData="YES" if made.synthetic else "NO",
            DerivationDescription=f"{made.image if kind == 'image' else made.mask}. {made_by(self.facts)}",
            PatientName=f"{name}^{sample.patient:08d}",
            PatientID=self.patient_id(sample),
            PatientBirthDate="",
            PatientSex="",
            **({} if made.synthetic else {"DeidentificationMethod": _METHOD}),
            StudyInstanceUID=self.uid("study", sample.patient),
            StudyID=str(sample.patient),
            StudyDate="",
            StudyTime="",
            AccessionNumber="",
            ReferringPhysicianName="",
            SeriesInstanceUID=self.uid(f"{kind} series", sample.group),
            SeriesNumber="1" if kind == "image" else "2",
            SeriesDescription=text(f"{name} {kind}s: {self.facts.modality}"),
            InstanceNumber=str(sample.slice_index + 1),
            PatientOrientation="",
            Manufacturer=SOFTWARE,
            ManufacturerModelName=text(made.maker),
            SoftwareVersions=__version__,
            DeviceSerialNumber=self.root[:12],
        )


def header(facts: Facts, root: str) -> Header:
    """Return the header of the objects of a cohort with the digest `root`."""
    return Header(facts, origin(facts), root)


def item(**values: Any) -> Dataset:
    """Return a dataset with these attributes."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    """Return a code sequence of one code."""
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=text(meaning))]


def text(value: str) -> str:
    """Return a text that fits value representation LO: 64 characters, no backslash, nothing unprintable."""
    plain = "".join(c if c.isprintable() else " " for c in value.replace("\\", "/"))
    return " ".join(plain.split())[:_LONGEST_TEXT].rstrip()


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Return numbers as decimal strings, which have at most 16 characters."""
    return [DSfloat(value, auto_format=True) for value in values]


def file(dataset: Dataset, pixels: bytes, *, bits: int, implementation: str) -> bytes:
    """Return a dataset with pixel data as a file in explicit little-endian, the same bytes each time.

    Args:
        dataset: All other attributes.
        pixels: The pixel data.
        bits: Bits allocated.
        implementation: UID of what writes the file.
    """
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", pixels + b"\0" * (len(pixels) % 2))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(implementation)
    dataset.file_meta.ImplementationVersionName = SOFTWARE.upper()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
