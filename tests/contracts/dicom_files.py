"""Small DICOM files for tests, written with pydicom, and what pydicom itself reads from one."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SECRETS = {
    "PatientName": "Geheimnis^Wanda",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19510203",
    "InstitutionName": "Charite Nordflur",
    "AccessionNumber": "ACC99887766",
    "StudyInstanceUID": "1.2.826.0.1.77777.11",
    "SeriesInstanceUID": "1.2.826.0.1.77777.22",
    "SOPInstanceUID": "1.2.826.0.1.77777.33",
    "StudyDate": "20190405",
}
"""What must never be told."""


def image(shape: tuple[int, ...] = (7, 5), dtype: str = "int16", seed: int = 0) -> np.ndarray:
    """Return random pixels, every one of them likely another."""
    low, high = (0, 256) if np.dtype(dtype).itemsize == 1 else (0, 2500)
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep silent what pydicom thinks of the files that are made here."""
    logger = logging.getLogger("pydicom")
    logger.disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.disabled = False


def header(pixels: np.ndarray, **tags: Any) -> Dataset:
    """Return a CT slice with those pixels, (H, W), (H, W, 3) or with frames before; None removes a tag."""
    with quiet():
        return _header(pixels, tags)


def _header(pixels: np.ndarray, tags: Mapping[str, Any]) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.Modality = CTImageStorage, "CT"
    for name, value in SECRETS.items():
        setattr(data, name, value)
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    frames = pixels.ndim - (3 if colour else 2)
    data.Rows, data.Columns = pixels.shape[frames : frames + 2]
    if frames:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelSpacing, data.InstanceNumber = [0.75, 0.5], 4
    data.ImagePositionPatient, data.ImageOrientationPatient = [-100, -90, 12.5], [1, 0, 0, 0, 1, 0]
    data.RescaleIntercept, data.RescaleSlope = -1024, 1
    data.WindowCenter, data.WindowWidth = 40, 80
    raw = pixels.tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for name, value in tags.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        data.HighBit = data.BitsStored - 1
    return data


def encoded(data: Dataset, syntax: str = ExplicitVRLittleEndian, texts: Mapping[str, str] | None = None) -> bytes:
    """Return a data set as the bytes of a file, compressed where the transfer syntax asks for it.

    Args:
        data: The data set.
        syntax: Transfer syntax.
        texts: Tag -> text that it holds instead of what it should.
    """
    with quiet():
        for name, text in (texts or {}).items():
            data.add_new(name, "LO", text)
        if pydicom.uid.UID(syntax).is_encapsulated:
            data.compress(syntax, generate_instance_uid=False)
        data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(path: Path, pixels: np.ndarray | None = None, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
    """Write one file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(header(image() if pixels is None else pixels, **tags), syntax))
    return path


def pydicom_frames(path: Path) -> list[np.ndarray]:
    """Return what pydicom makes of a file, as (C, H, W) frames that are rescaled, of a palette or RGB."""
    with quiet():
        data = pydicom.dcmread(path, force=True)
        pixels = data.pixel_array
        grey = data.PhotometricInterpretation.startswith("MONOCHROME")
        if grey:
            pixels = apply_modality_lut(pixels, data)
        elif data.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, data)
        frames = pixels if pixels.ndim > (2 if grey else 3) else pixels[None]
        if grey:
            return [frame[None] for frame in frames]
        bits = 8 * pixels.dtype.itemsize if data.SamplesPerPixel == 1 else data.BitsStored
        return [(frame >> max(bits - 8, 0)).transpose(2, 0, 1) for frame in frames]
