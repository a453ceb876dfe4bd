"""A small download for every source, with identifiers of its patients in it, and ways to damage the files of one.

Each has eight patients, numbered from 0. Identifiers are planted where users have them: in headers, metadata, cells
that nobody reads, and, where a download has no public names of its own, in the names of files and folders.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, PngImagePlugin

from synthcohort.layouts import (
    CHEXPERT_COLUMNS,
    IDRID_IMAGES,
    IDRID_MASKS,
    IDRID_PARTS,
    IDRID_ROOT,
    NIH_SIZE,
    NIH_SPACING,
    RSNA_FOLDERS,
    RSNA_ROOT,
    RSNA_SUBTYPES,
    RSNA_TABLES,
)

from .dicom_files import SECRETS, encoded, header

PATIENTS, SLICES, SHAPE = 8, 2, (12, 10)
PERSON = "Quietschmann"
PLANTED = (PERSON, *SECRETS.values(), "KH-7742")
"""What must never be told."""


def patient(number: int) -> str:
    """Return the id of a patient where the download leaves it to its maker."""
    return f"KH-7742{number:02d}"


@dataclass(frozen=True)
class Download:
    """How a source's download is made.

    Attributes:
        write: Writes it into an empty folder.
        options: Further words of `prepare`.
        table: The table of the images, or of the facts of a patient.
        image: Number of a patient -> the file of its image.
        mask: Number of a patient -> the file of its mask, or None.
        lost: Samples that are gone with one image file.
    """

    write: Callable[[Path], None]
    options: tuple[str, ...]
    table: str
    image: Callable[[int], str]
    mask: Callable[[int], str] | None = None
    lost: int = 1


def values(number: int, *shape: int, high: int = 200) -> np.ndarray:
    """Return pixels, every patient's their own."""
    return np.random.default_rng(number).integers(0, high, shape or SHAPE)


def outline(*shape: int) -> np.ndarray:
    """Return a mask: a square off the middle."""
    marked = np.zeros(shape or SHAPE, np.uint8)
    marked[3:7, 2:6] = 1
    return marked


def volume(pixels: np.ndarray, path: Path, affine: np.ndarray | None = None) -> None:
    """Write a NIfTI volume."""
    image = nib.Nifti1Image(pixels, np.diag([2.0, 2.0, 5.0, 1.0]) if affine is None else affine)
    image.header["descrip"], image.header["db_name"] = PERSON, PERSON
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def picture(pixels: np.ndarray, path: Path) -> None:
    """Write a picture with a name in its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", PERSON)
    exif = Image.Exif()
    exif[0x010E] = PERSON
    packed = {"compression": "tiff_deflate"}
    further = {".png": {"pnginfo": info}, ".jpg": {"exif": exif, "quality": 95}, ".tif": packed}[path.suffix]
    Image.fromarray(pixels).save(path, **further)


def table(root: Path, name: str, rows: list[str]) -> None:
    """Write a table."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(rows) + "\n")


def _acdc(root: Path) -> None:
    for number in range(PATIENTS):
        for frame in (1, 7):
            volume(values(number * 10 + frame, *SHAPE, SLICES).astype(np.int16), root / _frame(number, frame))
            volume(outline(*SHAPE, SLICES), root / _frame(number, frame, "_gt"))
        group = ("DCM", "NOR")[number % 2]
        table(root, _info(number), ["ED: 1", "ES: 7", f"Group: {group}", f"Name: {PERSON}"])


def _frame(number: int, frame: int = 1, kind: str = "") -> str:
    name = f"patient{number + 1:03d}"
    return f"database/training/{name}/{name}_frame{frame:02d}{kind}.nii.gz"


def _info(number: int) -> str:
    return f"database/training/patient{number + 1:03d}/Info.cfg"


def _sliver07(root: Path) -> None:
    (root / "training").mkdir()
    for number in range(PATIENTS):
        for kind, pixels in (
            ("orig", (values(number, SLICES, *SHAPE) - 100).astype(np.int16)),
            ("seg", np.stack([outline()] * SLICES)),
        ):
            stem = root / f"training/liver-{kind}{number + 1:03d}"
            stem.with_suffix(".raw").write_bytes(pixels.tobytes())
            lines = metaimage(stem.name, pixels, Comment=PERSON)
            stem.with_suffix(".mhd").write_text(lines)


def metaimage(stem: str, pixels: np.ndarray, **changed: str) -> str:
    """Return the header of a MetaImage volume."""
    keys = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "ElementSpacing": "0.7 0.7 2",
        "Offset": "5 0 0",
        "DimSize": " ".join(map(str, pixels.shape[::-1])),
        "ElementType": {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[str(pixels.dtype)],
        **changed,
    }
    return "".join(f"{key} = {value}\n" for key, value in {**keys, "ElementDataFile": f"{stem}.raw"}.items())


def _idrid(root: Path) -> None:
    for number in range(PATIENTS):
        picture(values(number, *SHAPE, 3).astype(np.uint8), root / _photograph(number))
        picture(outline() * 255, root / _disc(number))
    for part in IDRID_PARTS.values():
        (root / IDRID_ROOT / IDRID_MASKS / part / "5. Optic Disc").mkdir(parents=True, exist_ok=True)


def _photograph(number: int) -> str:
    part = IDRID_PARTS["train" if number < 6 else "test"]
    return f"{IDRID_ROOT}/{IDRID_IMAGES}/{part}/IDRiD_{number + 1:02d}.jpg"


def _disc(number: int) -> str:
    part = IDRID_PARTS["train" if number < 6 else "test"]
    return f"{IDRID_ROOT}/{IDRID_MASKS}/{part}/5. Optic Disc/IDRiD_{number + 1:02d}_OD.tif"


def _chexpert(root: Path) -> None:
    rows = [",".join(CHEXPERT_COLUMNS)]
    for number in range(PATIENTS):
        picture(values(number).astype(np.uint8), root / _view(number))
        findings = [f"{number % 2}.0", *[""] * 5, "1.0", *[""] * 7]
        rows.append(",".join([_view(number), "Male", "50", "Frontal", "AP", *findings]))
    table(root, "CheXpert-v1.0-small/train.csv", rows)


def _view(number: int) -> str:
    return f"CheXpert-v1.0-small/train/patient{number + 1:05d}/study1/view1_frontal.jpg"


def _nih(root: Path) -> None:
    columns = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Sex")
    rows = [",".join((*columns, "View Position", *NIH_SIZE, *NIH_SPACING, "Name"))]
    for number in range(PATIENTS):
        picture(values(number).astype(np.uint8), root / _radiograph(number))
        finding = ("No Finding", "Mass")[number % 2]
        rows.append(f"{number + 1:08d}_000.png,{finding},0,{number + 1},58,M,PA,20,24,0.1,0.1,{PERSON}")
    table(root, "Data_Entry_2017_v2020.csv", rows)


def _radiograph(number: int) -> str:
    return f"images/{number + 1:08d}_000.png"


def ct(number: int, **tags: object) -> bytes:
    """Return a CT slice of a patient as a DICOM file."""
    syntax = str(tags.pop("syntax", "1.2.840.10008.1.2.1"))
    uids = {f"{kind}InstanceUID": f"1.2.826.0.1.77777.{place}{number}" for place, kind in ((1, "Study"), (2, "Series"))}
    own = {"PatientID": patient(number), "PatientName": f"{PERSON}^Wanda", "RescaleIntercept": 0, **uids, **tags}
    return encoded(header(values(number, *SHAPE).astype(np.int16), **own), syntax)


def _rsna(root: Path) -> None:
    rows = ["ID,Label"]
    (root / RSNA_ROOT / RSNA_FOLDERS[0]).mkdir(parents=True)
    for number in range(PATIENTS):
        (root / _slice(number)).write_bytes(ct(number, SOPInstanceUID=Path(_slice(number)).stem))
        present = ("epidural", "any") if number % 2 else ()
        rows += [f"{Path(_slice(number)).stem}_{kind},{int(kind in present)}" for kind in RSNA_SUBTYPES]
    table(root / RSNA_ROOT, RSNA_TABLES[0], rows)


def _slice(number: int) -> str:
    return f"{RSNA_ROOT}/{RSNA_FOLDERS[0]}/ID_00000{number:04x}.dcm"


def _dicom(root: Path) -> None:
    for number in range(PATIENTS):
        (root / _scan(number)).parent.mkdir(parents=True)
        (root / _scan(number)).write_bytes(ct(number))
    rows = [f"{patient(number)},{number % 2},{PERSON}" for number in range(PATIENTS)]
    table(root, "labels.csv", ["PatientID,label.nodule,Name", *rows])


def _scan(number: int) -> str:
    return f"{PERSON}_{patient(number)}/scan.dcm"


def _nifti(root: Path) -> None:
    rows = ["image,mask,patient,label.nodule,name"]
    for number in range(PATIENTS):
        volume(values(number, *SHAPE, SLICES).astype(np.int16), root / _volume(number))
        volume(outline(*SHAPE, SLICES), root / _volume(number, "mask"))
        rows.append(f"{_volume(number)},{_volume(number, 'mask')},{patient(number)},{number % 2},{PERSON}")
    table(root, "samples.csv", rows)


def _volume(number: int, kind: str = "image") -> str:
    return f"{PERSON}_{patient(number)}/{kind}.nii.gz"


def _folder(root: Path) -> None:
    rows = ["image,mask,patient,spacing_mm,label.nodule,name"]
    for number in range(PATIENTS):
        picture(values(number).astype(np.uint8), root / _png(number))
        picture(outline(), root / _png(number, "mask"))
        rows.append(f"{_png(number)},{_png(number, 'mask')},{patient(number)},0.5,{number % 2},{PERSON}")
    table(root, "samples.csv", rows)


def _png(number: int, kind: str = "image") -> str:
    return f"{PERSON}_{patient(number)}/{kind}.png"


_CLASSES = ("--set", "mask_classes=background,lesion")
DOWNLOADS = {
    "acdc": Download(_acdc, (), _info(3), _frame, lambda number: _frame(number, 1, "_gt"), SLICES),
    "sliver07": Download(
        _sliver07,
        (),
        "training/liver-orig004.mhd",
        lambda number: f"training/liver-orig{number + 1:03d}.mhd",
        lambda number: f"training/liver-seg{number + 1:03d}.mhd",
        SLICES,
    ),
    "idrid": Download(_idrid, (), _photograph(3), _photograph, _disc),
    "chexpert": Download(_chexpert, (), "CheXpert-v1.0-small/train.csv", _view),
    "nih_cxr14": Download(_nih, (), "Data_Entry_2017_v2020.csv", _radiograph),
    "rsna_ich": Download(_rsna, (), f"{RSNA_ROOT}/{RSNA_TABLES[0]}", _slice),
    "dicom": Download(_dicom, ("--set", "csv=labels.csv"), "labels.csv", _scan),
    "nifti": Download(_nifti, _CLASSES, "samples.csv", _volume, lambda number: _volume(number, "mask"), SLICES),
    "folder": Download(_folder, _CLASSES, "samples.csv", _png, lambda number: _png(number, "mask")),
}


# Headers that promise more than any memory holds.


def bomb(suffix: str) -> bytes:
    """Return a small file of a kind whose header states a huge image."""
    return {".gz": _nifti_bomb, ".mhd": _metaimage_bomb, ".jpg": _jpeg_bomb, ".png": _png_bomb, ".dcm": _dicom_bomb}[
        suffix
    ]()


def _nifti_bomb() -> bytes:
    head = nib.Nifti1Header()
    head.set_data_dtype(np.int16)
    head.set_data_shape((32767, 32767, 32767))
    head["magic"], head["vox_offset"] = b"n+1", 352
    return gzip.compress(head.binaryblock + bytes(1 << 16))


def _metaimage_bomb() -> bytes:
    return metaimage("liver-orig004", np.zeros((1, 1, 1), np.int16), DimSize="99999 99999 9999").encode()


def _jpeg_bomb() -> bytes:
    size = struct.pack(">BHHB", 8, 65000, 65000, 1)
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x0b" + size + b"\1\x11\0" + bytes(500)


def _png_bomb() -> bytes:
    return _png_of(100_000, 100_000, zlib.compress(bytes(1 << 20)))


def _png_of(width: int, height: int, data: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff_bomb() -> bytes:
    """Return a TIFF file that states 100,000 rows and columns."""
    tags = [(256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 200), (277, 3, 1, 1), (278, 4, 1, 100_000), (279, 4, 1, 100)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)).ljust(400, b"\0")


def _dicom_bomb() -> bytes:
    return ct(3, Rows=65535, Columns=65535)


def gone(path: Path) -> None:
    """Remove a file, and what lies in it if it is a folder."""
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            gone(each)
        path.rmdir()
    else:
        os.unlink(path)
