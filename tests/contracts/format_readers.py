"""Readers of exports that share no code with the formats: what is written, others must read.

READERS: format -> a function of the export's folder that returns its samples in order, as `Read`.
MARKS: format -> a function of the folder that returns, for every file in it, what the file says that it is.
"""

from __future__ import annotations

import atexit
import csv
import gzip
import io
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image

CACHE = tempfile.mkdtemp(prefix="format-readers-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ |= {"CROISSANT_CACHE": f"{CACHE}/croissant", "HF_HOME": f"{CACHE}/hf", "HF_HUB_OFFLINE": "1"}
_PNG = b"\x89PNG"


@dataclass
class Read:
    """One sample of an export; `bits` is how many bits of a pixel the reader gives."""

    image: Any
    mask: Any
    labels: dict[str, int | None]
    split: str
    spacing: tuple[float, float] | None
    sample_id: str
    bits: int = 16


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def picture(data: bytes) -> Any:
    """Return a PNG as (C, H, W), by Pillow, and by SimpleITK where Pillow gives 8 of 16 bits."""
    opened = Image.open(io.BytesIO(data))
    if opened.mode == "RGB" and data[24] == 16:
        return _simpleitk(data)
    values = np.asarray(opened)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _simpleitk(data: bytes) -> Any:
    itk = pytest.importorskip("SimpleITK")
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(data)
        file.flush()
        return itk.GetArrayFromImage(itk.ReadImage(file.name)).transpose(2, 0, 1)


def _row(row: dict[str, str], image: Any, mask: Any, spacing: tuple[float, float] | None) -> Read:
    labels = {key[6:]: int(cell) if cell else None for key, cell in row.items() if key.startswith("label.")}
    return Read(image, mask, labels, row["split"], spacing, row["sample_id"])


def _spacing(row: dict[str, str]) -> tuple[float, float] | None:
    cells = row.get("spacing_y_mm"), row.get("spacing_x_mm")
    return (float(cells[0]), float(cells[1])) if cells[0] and cells[1] else None


def read_png(folder: Path) -> list[Read]:
    def values(name: str | None) -> Any:
        return None if name is None else picture((folder / name).read_bytes())

    found = []
    for row in table(folder):
        mask = values(row.get("mask"))
        found.append(_row(row, values(row["image"]), None if mask is None else mask[0], _spacing(row)))
    return found


def read_nifti(folder: Path) -> list[Read]:
    itk = pytest.importorskip("SimpleITK")
    found = []
    for row in table(folder):
        opened = nibabel.load(folder / row["image"])
        assert nibabel.aff2axcodes(opened.affine) == ("L", "P", "S")  # what a radiological viewer shows upright
        assert (opened.header["qform_code"], opened.header["sform_code"]) == (1, 0)  # no space that others share
        assert opened.shape[2] == 1
        values = np.asanyarray(opened.dataobj)
        if values.dtype.names:
            values = np.stack([values[name] for name in values.dtype.names], axis=-1)
        image = values.reshape(*values.shape[:2], -1).transpose(2, 1, 0)
        again = itk.ReadImage(str(folder / row["image"]))
        array = itk.GetArrayFromImage(again)
        np.testing.assert_array_equal(array.reshape(*image.shape[1:], -1).transpose(2, 0, 1), image)
        sides = again.GetDimension()  # 2 for vectors
        assert again.GetDirection() == tuple(np.eye(sides).ravel())  # upright: rows of the array are rows of the image
        x, y = (float(zoom) for zoom in opened.header.get_zooms()[:2])
        np.testing.assert_allclose(again.GetSpacing()[:2], (x, y), rtol=1e-6)  # the header holds float32
        spacing = (y, x) if opened.header.get_xyzt_units()[0] == "mm" else None
        mask = None if "mask" not in row else np.asanyarray(nibabel.load(folder / row["mask"]).dataobj)[..., 0].T
        found.append(_row(row, image, mask, spacing))
    return found


def read_dicom(folder: Path) -> list[Read]:
    itk = pytest.importorskip("SimpleITK")
    found = []
    for row in table(folder):
        opened = pydicom.dcmread(folder / row["image"])
        values = opened.pixel_array
        array = itk.GetArrayFromImage(itk.ReadImage(str(folder / row["image"])))[0]
        np.testing.assert_array_equal(array, values)
        spacing = tuple(map(float, opened.PixelSpacing)) if "PixelSpacing" in opened else None
        read = _row(row, values[None] if values.ndim == 2 else values.transpose(2, 0, 1), None, spacing)
        assert json.loads(opened.get("ImageComments", "{}")) == read.labels
        assert (opened.SOPInstanceUID, opened.PatientID) == (row["SOPInstanceUID"], row["PatientID"])
        if "mask" in row:
            read.mask = _segmentation(pydicom.dcmread(folder / row["mask"]), opened)
        found.append(read)
    return found


def _segmentation(opened: Any, image: Any) -> Any:
    (series,) = opened.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    frames = opened.pixel_array.reshape(-1, opened.Rows, opened.Columns)
    assert frames.sum(axis=0).max() <= 1
    numbers = [
        f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in opened.PerFrameFunctionalGroupsSequence
    ]
    return np.tensordot(np.array(numbers, np.uint8), frames, axes=1)


def read_croissant(folder: Path) -> list[Read]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlcroissant = pytest.importorskip("mlcroissant")
        opened = mlcroissant.Dataset(str(folder / "croissant.json"))
        records = list(opened.records("samples"))
        masked = any(each.id == "masks" for each in opened.metadata.record_sets)
        masks = {each["masks/mask_file"]: each["masks/mask"] for each in opened.records("masks")} if masked else {}
    found = []
    for record, row in zip(records, table(folder), strict=True):
        cells = {key.split("/", 1)[1]: value for key, value in record.items()}
        found_labels = [value for key, value in cells.items() if key.startswith("label.")]  # in the table's order
        names = [key[6:] for key in row if key.startswith("label.")]  # an identifier cannot hold every name
        labels = {key: None if value is None else int(value) for key, value in zip(names, found_labels, strict=True)}
        values = np.asarray(cells["image"])
        mask = np.asarray(masks[row["mask"].encode()]) if masked else None
        name, split = row["sample_id"], cells["split"].decode()  # the reader takes "0012" for a number
        image = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        found.append(Read(image, mask, labels, split, _spacing(row), name, bits=8 * values.itemsize))
    return found


def read_huggingface(folder: Path) -> list[Read]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        splits = datasets.load_dataset(str(folder), cache_dir=f"{CACHE}/{folder.name}")
    rows = []
    for split, samples in splits.items():
        raw = [row for path in sorted(folder.glob(f"data/{split}-*")) for row in pq.read_table(path).to_pylist()]
        rows += [(split, *pair) for pair in zip(samples, raw, strict=True)]
    return [_hub_row(split, row, raw) for split, row, raw in sorted(rows, key=lambda each: each[2]["image"]["path"])]


def _hub_row(split: str, row: dict[str, Any], raw: dict[str, Any]) -> Read:
    values = np.asarray(row["image"])
    image = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    stored = picture(raw["image"]["bytes"])
    np.testing.assert_array_equal(image, stored if image.dtype == stored.dtype else stored >> 8)
    labels = {key[6:]: value for key, value in row.items() if key.startswith("label.")}
    y, x = row["spacing_y_mm"], row["spacing_x_mm"]
    mask = np.asarray(row["mask"]) if "mask" in row else None
    name = {"validation": "val"}.get(split, split)
    return Read(stored, mask, labels, name, None if y is None else (y, x), row["sample_id"])


READERS: dict[str, Callable[[Path], list[Read]]] = {
    "png": read_png,
    "nifti": read_nifti,
    "dicom": read_dicom,
    "croissant": read_croissant,
    "huggingface": read_huggingface,
}


def marks(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield, for every file of an export, its name, whether it says that it is synthetic, and in which words."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield from _marks(path.relative_to(folder).as_posix(), path.read_bytes())


def _marks(name: str, data: bytes) -> Iterator[tuple[str, bool, str]]:
    if data.startswith(_PNG):
        text = Image.open(io.BytesIO(data)).text["Description"]
        yield name, "not of a patient" in text, text
    elif name.endswith(".nii.gz"):
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
        text, (comment,) = image.header["descrip"].item().decode(), image.header.extensions
        yield name, "not of a patient" in text and json.loads(comment.get_content())["synthetic"] is True, text
    elif name.endswith(".dcm"):
        opened = pydicom.dcmread(io.BytesIO(data))
        yield name, opened[0x0008, 0x001C].value == "YES", opened.DerivationDescription
    elif name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        yield name, {row["synthetic"] for row in rows} == {"true"}, str({row["synthetic"] for row in rows})
    elif name.endswith(".json"):
        text = json.dumps(json.loads(data))
        yield name, '"synthetic"' in text and "not of patients" in text, text
    elif name.endswith(".parquet"):
        metadata = pq.ParquetFile(io.BytesIO(data)).schema_arrow.metadata
        yield name, metadata[b"synthetic"] == b"true", metadata[b"description"].decode()
    elif name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            yield name, b"not of patients" in file.comment, file.comment.decode()
            for each in file.namelist():
                yield from _marks(f"{name}/{each}", file.read(each))
    else:
        assert name == "README.md", f"{name} is of a kind that nobody looked at"
        yield name, "not of patients" in data.decode(), data.decode()
