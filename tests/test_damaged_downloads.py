"""Damaged files and trees: each is one clear line or left out and counted; never a traceback or a wrong pixel.

Every case goes through the command line, with --damaged stop and with --damaged skip. What comes out holds the samples
of the undamaged download, pixel by pixel, less those that the history counts. No identifier is ever told, and nothing
waits for a pipe.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import resource
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from PIL import Image

from contracts import damage
from contracts.damage import DOWNLOADS, PERSON, PLANTED, SHAPE, SLICES
from contracts.dicom_files import encoded, header
from synthcohort import plugins
from synthcohort.cli import app, main
from synthcohort.cohort import Cohort, verify
from synthcohort.layouts import RSNA_FOLDERS, RSNA_ROOT
from synthcohort.source import Source

VICTIM = 3
"""The patient whose files are damaged."""
_TOO_LONG_S = 10
_MEMORY = 1 << 30
"""Bytes that a command may ask for beyond what this process has: a header or a device must not fill the machine."""
_COMMAND, _FAMILY = typer.main.get_command(app), functools.cache(plugins._family)
_RLE, _J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"


class Hang(BaseException):
    """A command waits for something that will never come; nothing catches this."""


@dataclass(frozen=True)
class Case:
    """A damage and what becomes of it.

    Attributes:
        do: Damages a download.
        stop: Exit status with --damaged stop.
        skip: Exit status with --damaged skip.
        lost: Samples that are not in the cohort then.
        counted: Whether the tool can know that they are lost.
        labels: Whether the labels stay as they were.
    """

    source: str
    do: Callable[[Path], object]
    stop: int = 2
    skip: int = 0
    lost: int = 0
    counted: bool = True
    labels: bool = True


# Damages of one file.


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _another_kind(path: Path) -> None:
    path.write_bytes(f"{PERSON} is no image\n".encode() * 40)


def _folder(path: Path) -> None:
    damage.gone(path)
    path.mkdir()


def _pipe(path: Path) -> None:
    damage.gone(path)
    os.mkfifo(path)


def _link_to_itself(path: Path) -> None:
    damage.gone(path)
    path.symlink_to(path.name)


def _link_to_nothing(path: Path) -> None:
    damage.gone(path)
    path.symlink_to(f"{PERSON}-is-gone")


def _device(path: Path) -> None:
    damage.gone(path)
    path.symlink_to("/dev/zero")


def _bomb(path: Path) -> None:
    path.write_bytes(damage.bomb(path.suffix))


def _locked(path: Path) -> None:
    path.chmod(0)


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut in half": _cut,
    "empty": _empty,
    "of another kind": _another_kind,
    "a folder": _folder,
    "a pipe": _pipe,
    "a link to itself": _link_to_itself,
    "a link to nothing": _link_to_nothing,
    "a device": _device,
    "huge by its header": _bomb,
    "gone": damage.gone,
    "unreadable": _locked,
}
_FEW = ("empty", "of another kind", "a folder", "a device", "huge by its header", "unreadable")
"""Damages that one source of those which share a reader is asked about."""
_READERS = ("acdc", "sliver07", "chexpert", "dicom", "folder")
_NO_FILE = ("a folder", "a pipe", "a link to itself", "a link to nothing", "a device", "gone")


def _image_cases() -> Iterator[tuple[str, Case]]:
    for source, download in DOWNLOADS.items():
        for name, do in _DAMAGES.items():
            if name == "a link to nothing" and source != "dicom":  # elsewhere it is like a file that is gone
                continue
            if name in _FEW and source not in _READERS:
                continue
            stop, skip, counted = 2, 0, True
            if source == "acdc" and name in _NO_FILE:  # a frame that Info.cfg names is a part of the layout
                skip = 2
            if source in ("nifti", "folder") and name in ("a link to itself", "a device"):  # it leads out of the folder
                skip = 2
            if name == "gone":
                skip = 2 if source in ("acdc", "sliver07", "idrid") else 0
                stop = 0 if source in ("nih_cxr14", "rsna_ich", "dicom") else 2
                counted = source != "dicom"
            if source == "dicom" and name == "a folder":
                stop, counted = 0, False
            if source == "dicom" and name in ("a pipe", "a link to itself", "a link to nothing", "a device"):
                stop = 0
            lost = 0 if skip else download.lost
            damaged = _on(download.image(VICTIM), do)
            yield f"{source}: an image {name}", Case(source, damaged, stop, skip, lost, counted)


def _on(name: str, do: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda root: do(root / name)


def _mask_cases() -> Iterator[tuple[str, Case]]:
    for source, download in DOWNLOADS.items():
        if download.mask is None:
            continue
        for name in ("cut in half", "a pipe", "gone"):
            skip = 0
            if name == "gone":
                skip = 2 if source in ("acdc", "sliver07", "idrid") else 0
            if source == "acdc" and name in _NO_FILE:
                skip = 2
            lost = 0 if skip else download.lost
            yield f"{source}: a mask {name}", Case(source, _on(download.mask(VICTIM), _DAMAGES[name]), 2, skip, lost)


# Damages of what is in a file.


def _nifti(source: str, mask: bool, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        download = DOWNLOADS[source]
        assert download.mask
        path = root / (download.mask if mask else download.image)(VICTIM)
        image = nib.load(path)
        damage.volume(change(np.asarray(image.dataobj)), path, image.affine)

    return do


def _moved(source: str, affine: np.ndarray) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        download = DOWNLOADS[source]
        assert download.mask
        path = root / download.mask(VICTIM)
        damage.volume(np.asarray(nib.load(path).dataobj), path, affine)

    return do


def _metaimage(kind: str, **changed: str) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        pixels = np.zeros((SLICES, *SHAPE), np.uint8 if kind == "seg" else np.int16)
        (root / f"training/liver-{kind}004.mhd").write_text(damage.metaimage(f"liver-{kind}004", pixels, **changed))

    return do


def _raw(kind: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        path = root / f"training/liver-{kind}004.raw"
        path.write_bytes(change(path.read_bytes()))

    return do


def _painted(name: str, pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda root: damage.picture(pixels, root / name)


def _with_nan(pixels: np.ndarray) -> np.ndarray:
    changed = pixels.astype(np.float32)
    changed[2, 3, 1] = np.nan
    return changed


def _flipped_bit(root: Path) -> None:
    """Flip a bit of the compressed pixels, one that changes them without a word of Pillow if there is such a one."""
    path = root / DOWNLOADS["folder"].image(VICTIM)
    damage.picture(
        (np.add.outer(np.arange(64), np.arange(64)) + damage.values(1, 64, 64, high=30)).astype(np.uint8), path
    )
    damage.picture(np.pad(damage.outline(), ((0, 52), (0, 54))), root / damage._png(VICTIM, "mask"))
    right, sound = path.read_bytes(), np.asarray(Image.open(path))
    end = right.index(b"IEND") - 8  # of the data: before its checksum and the length of the last chunk
    for place in range(8 * (end - 24), 8 * end):
        data = bytearray(right)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(data))
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            if not np.array_equal(np.asarray(Image.open(path)), sound):
                return


def _flipped_mask(root: Path) -> None:
    """Change a checksum only: that of the pixels, which Pillow does not look at."""
    path = root / damage._png(VICTIM, "mask")
    data = bytearray(path.read_bytes())
    data[data.index(b"IEND") - 5] ^= 1
    path.write_bytes(bytes(data))
    assert np.array_equal(np.asarray(Image.open(path)), damage.outline())


def _to_be_turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    path = root / damage._png(VICTIM)
    Image.open(path).save(path, exif=exif)


def _flipped_tiff(name: str) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        damage.picture(damage.values(VICTIM, *SHAPE, high=255).astype(np.uint8), root / "x.tif")
        data = bytearray((root / "x.tif").read_bytes())
        data[60] ^= 16
        (root / "x.tif").unlink()
        (root / name).write_bytes(bytes(data))

    return do


def _flipped_gzip(root: Path) -> None:
    path = root / DOWNLOADS["nifti"].image(VICTIM)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(bytes(data))


def _endless_gzip(root: Path) -> None:
    path = root / DOWNLOADS["nifti"].image(VICTIM)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(1 << 27), 1))


def _ct(source: str, do: Callable[[bytes], bytes] = lambda data: data, **tags: object) -> Callable[[Path], None]:
    def damaged(root: Path) -> None:
        path = root / DOWNLOADS[source].image(VICTIM)
        own = {"SOPInstanceUID": path.stem, **tags} if source == "rsna_ich" else tags
        path.write_bytes(do(damage.ct(VICTIM, **own)))

    return damaged


def _says(wrong: str) -> Callable[[bytes], bytes]:
    """Return what makes a file state another transfer syntax than it has."""
    right = b"1.2.840.10008.1.2.1\0"
    return lambda data: data.replace(right, wrong.encode().ljust(len(right), b"\0"), 1)


def _nan_slope(root: Path) -> None:
    path = root / DOWNLOADS["dicom"].image(VICTIM)
    data = header(damage.values(VICTIM).astype(np.int16), PatientID=damage.patient(VICTIM))
    path.write_bytes(encoded(data, texts={"RescaleSlope": "NaN"}))


def _unfetched(root: Path) -> None:
    for number in range(damage.PATIENTS):
        _link_to_nothing(root / DOWNLOADS["dicom"].image(number))


# Damages of a table.


def _table(source: str, change: Callable[[str], str | bytes]) -> Callable[[Path], None]:
    def do(root: Path) -> None:
        path = root / DOWNLOADS[source].table
        changed = change(path.read_text())
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return do


def _lines(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(text.splitlines())) + "\n"


_TEXTS: dict[str, tuple[Callable[[str], str | bytes], int]] = {
    "with a BOM": (lambda text: "\ufeff" + text, 0),
    "with CRLF": (lambda text: text.replace("\n", "\r\n"), 0),
    "in UTF-16": (lambda text: text.encode("utf-16"), 2),
    "with a null byte": (lambda text: text.replace("0", "\0", 1), 2),
    "with a byte that is no UTF-8": (lambda text: text.encode() + b"\xff\xfe,\xfd\n", 2),
    "empty": (lambda text: "", 2),
    "with a huge cell": (lambda text: text + "x" * 300_000 + "\n", 2),
    "cut in a row": (lambda text: text[: text.rindex("\n", 0, -1) + 8], 2),
}


def _table_cases() -> Iterator[tuple[str, Case]]:
    for source in ("nih_cxr14", "rsna_ich", "dicom", "folder"):  # chexpert and nifti read theirs as folder does
        for name, (change, status) in _TEXTS.items():
            if source in ("nih_cxr14", "dicom") and name not in ("empty", "cut in a row", "with a null byte"):
                continue  # as folder
            yield f"{source}: a table {name}", Case(source, _table(source, change), status, status)
        for name in ("a folder", "a pipe", "gone"):
            yield f"{source}: a table {name}", Case(source, _on(DOWNLOADS[source].table, _DAMAGES[name]), 2, 2)
        twice = _table(source, _lines(lambda lines: [*lines, lines[-1]]))
        agree = source in ("dicom", "rsna_ich")
        yield f"{source}: a row twice", Case(source, twice, 0 if agree else 2, 0 if agree else 2)
    for name in ("of another kind", "empty", "a pipe", "a folder", "a device", "gone"):
        yield f"acdc: an Info.cfg {name}", Case("acdc", _on(DOWNLOADS["acdc"].table, _DAMAGES[name]), 2, 2)


# What is wrong with a tree.


def _no_files(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def _loop(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / f"{PERSON}-again").symlink_to(folder)
        (folder / f"{PERSON}-self").symlink_to(f"{PERSON}-self")


def _oddities(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe\n.txt")).write_bytes(b"no image")
        os.mkfifo(folder / f"{PERSON}.txt")


def _tree_cases() -> Iterator[tuple[str, Case]]:
    for source in DOWNLOADS:
        yield f"{source}: an empty tree", Case(source, _no_files, 2, 2)
        yield f"{source}: links that lead in circles", Case(source, _loop, 0, 0)
        yield f"{source}: pipes, and names that are no UTF-8", Case(source, _oddities, 0, 0)


_GREY = np.full(SHAPE, 7, np.uint8)
_MARKED = damage.outline()
CASES = {
    **dict(_image_cases()),
    **dict(_mask_cases()),
    **dict(_table_cases()),
    **dict(_tree_cases()),
    # Volumes.
    "nifti: NaN": Case("nifti", _nifti("nifti", False, _with_nan), lost=SLICES),
    "nifti: NaN in a mask": Case("nifti", _nifti("nifti", True, _with_nan), lost=SLICES),
    "nifti: four axes": Case("nifti", _nifti("nifti", False, lambda v: np.stack([v, v], 3)), lost=SLICES),
    "nifti: complex numbers": Case("nifti", _nifti("nifti", False, lambda v: v.astype(np.complex64)), lost=SLICES),
    "nifti: a mask of another size": Case("nifti", _nifti("nifti", True, lambda v: v[:-1]), lost=SLICES),
    "nifti: a mask with a class too many": Case("nifti", _nifti("nifti", True, lambda v: v * 9), lost=SLICES),
    "nifti: a mask that is shifted": Case(
        "nifti", _moved("nifti", np.array([[2, 0, 0, 6], [0, 2, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])), lost=SLICES
    ),
    "nifti: a mask that is turned over": Case("nifti", _moved("nifti", np.diag([-2, 2, 5, 1.0])), lost=SLICES),
    "nifti: another spacing in a mask": Case("nifti", _moved("nifti", np.diag([3, 3, 5, 1.0])), lost=SLICES),
    "nifti: a flipped bit": Case("nifti", _flipped_gzip, lost=SLICES),
    "nifti: 128 MiB behind the values": Case("nifti", _endless_gzip, lost=SLICES),
    "acdc: NaN": Case("acdc", _nifti("acdc", False, _with_nan), lost=SLICES),
    "acdc: a mask of another size": Case("acdc", _nifti("acdc", True, lambda v: v[:, :-1]), lost=SLICES),
    "acdc: a mask with a class too many": Case("acdc", _nifti("acdc", True, lambda v: v * 4), lost=SLICES),
    "acdc: a mask with fractions": Case("acdc", _nifti("acdc", True, lambda v: v * np.float32(0.5)), lost=SLICES),
    "acdc: a mask that is turned over": Case("acdc", _moved("acdc", np.diag([-2, 2, 5, 1.0])), lost=SLICES),
    "acdc: ED and ES are one": Case("acdc", _table("acdc", lambda text: text.replace("7", "1")), 2, 2),
    "acdc: a frame of an absurd number": Case("acdc", _table("acdc", lambda text: text.replace("7", "9" * 50)), 2, 2),
    "sliver07: a header without sizes": Case("sliver07", _metaimage("orig", DimSize="0 10 12"), lost=SLICES),
    "sliver07: an unknown type": Case("sliver07", _metaimage("orig", ElementType="MET_OTHER"), lost=SLICES),
    "sliver07: NaN in the spacing": Case("sliver07", _metaimage("orig", ElementSpacing="nan 1 1"), lost=SLICES),
    "sliver07: a spacing of zero": Case("sliver07", _metaimage("orig", ElementSpacing="0 1 1"), lost=SLICES),
    "sliver07: another byte order": Case("sliver07", _metaimage("orig", BinaryDataByteOrderMSB="True"), lost=SLICES),
    "sliver07: another type": Case("sliver07", _metaimage("orig", ElementType="MET_UINT"), lost=SLICES),
    "sliver07: a mask of another size": Case("sliver07", _metaimage("seg", DimSize="12 10 2"), lost=SLICES),
    "sliver07: a mask of another spacing": Case("sliver07", _metaimage("seg", ElementSpacing="2 2 2"), lost=SLICES),
    "sliver07: a mask that is shifted": Case("sliver07", _metaimage("seg", Offset="25 0 0"), lost=SLICES),
    "sliver07: a mask that is turned over": Case(
        "sliver07", _metaimage("seg", TransformMatrix="-1 0 0 0 1 0 0 0 1"), lost=SLICES
    ),
    "sliver07: values cut short": Case("sliver07", _raw("orig", lambda data: data[:-1]), lost=SLICES),
    "sliver07: no values": Case("sliver07", _raw("orig", lambda data: b""), lost=SLICES),
    "sliver07: a file of values is a pipe": Case("sliver07", _on("training/liver-orig004.raw", _pipe), lost=SLICES),
    "sliver07: compressed by its header": Case("sliver07", _metaimage("orig", CompressedData="True"), lost=SLICES),
    # Pictures.
    "folder: a mask of another size": Case("folder", _painted(damage._png(3, "mask"), _MARKED[1:]), lost=1),
    "folder: a mask with a class too many": Case("folder", _painted(damage._png(3, "mask"), _MARKED * 7), lost=1),
    "folder: a mask in colour": Case("folder", _painted(damage._png(3, "mask"), np.stack([_MARKED] * 3, 2)), lost=1),
    "folder: a flipped bit": Case("folder", _flipped_bit, lost=1),
    "folder: a mask with a flipped bit": Case("folder", _flipped_mask, lost=1),
    "folder: an image that is to be turned": Case("folder", _to_be_turned, lost=1),
    "folder: a TIFF with a flipped bit": Case("folder", _flipped_tiff(damage._png(3)), lost=1),
    "idrid: a mask with a flipped bit": Case("idrid", _flipped_tiff(damage._disc(3)), lost=1),
    "folder: a TIFF that is huge by its header": Case(
        "folder", lambda root: (root / damage._png(3)).write_bytes(damage.tiff_bomb()), lost=1
    ),
    "folder: a picture that unpacks to too little": Case(
        "folder", lambda root: (root / damage._png(3)).write_bytes(damage._png_of(10, 12, zlib.compress(b"1"))), lost=1
    ),
    "folder: colour among grey": Case("folder", _painted(damage._png(3), np.stack([_GREY] * 3, 2)), 2, 2),
    "idrid: a grey photograph": Case("idrid", _painted(damage._photograph(3), _GREY), lost=1),
    "idrid: a mask of another size": Case("idrid", _painted(damage._disc(3), _MARKED[1:] * 255), lost=1),
    "idrid: an empty disc": Case("idrid", _painted(damage._disc(3), _MARKED * 0), lost=1),
    "idrid: a disc inside out": Case("idrid", _painted(damage._disc(3), 255 - _MARKED * 255), lost=1),
    "idrid: a disc of nobody": Case("idrid", lambda root: damage.gone(root / damage._photograph(3)), 2, 2),
    # DICOM.
    "dicom: another syntax (RLE)": Case("dicom", _ct("dicom", _says(_RLE)), lost=1),
    "dicom: another syntax (JPEG 2000)": Case("dicom", _ct("dicom", _says(_J2K)), lost=1),
    # Whether types are written out is seen in the file, too, so that the pixels are the right ones.
    "dicom: another syntax (implicit)": Case("dicom", _ct("dicom", _says("1.2.840.10008.1.2")), 0, 0),
    "dicom: another syntax (big endian)": Case("dicom", _ct("dicom", _says("1.2.840.10008.1.2.2")), lost=1),
    "dicom: another syntax (deflated)": Case("dicom", _ct("dicom", _says("1.2.840.10008.1.2.1.99")), lost=1),
    "dicom: another syntax (unknown)": Case("dicom", _ct("dicom", _says("1.2.3.4")), lost=1),
    "dicom: RLE cut short": Case("dicom", _ct("dicom", lambda data: data[:-30], syntax=_RLE), lost=1),
    "dicom: more rows than pixels": Case("dicom", _ct("dicom", Rows=13), lost=1),
    "dicom: fewer rows than pixels": Case("dicom", _ct("dicom", Rows=11), lost=1),
    "dicom: no rows": Case("dicom", _ct("dicom", Rows=0), lost=1),
    "dicom: a million frames": Case("dicom", _ct("dicom", NumberOfFrames=1_000_000), lost=1),
    "dicom: an odd type": Case("dicom", _ct("dicom", BitsAllocated=12), lost=1),
    "dicom: no scale": Case("dicom", _ct("dicom", RescaleSlope=None, RescaleIntercept=None), lost=1),
    "dicom: NaN as scale": Case("dicom", _nan_slope, lost=1),
    "dicom: nothing but links to nothing": Case("dicom", _unfetched, 2, 2),
    "dicom: no patient": Case("dicom", _ct("dicom", PatientID=""), stop=0, lost=1),
    "dicom: no pixels": Case("dicom", _ct("dicom", PixelData=None), lost=1),
    "dicom: a table that is missing a patient": Case(
        "dicom", _table("dicom", _lines(lambda lines: lines[:-1])), 0, 0, labels=False
    ),
    "dicom: a table that contradicts itself": Case(
        "dicom", _table("dicom", _lines(lambda lines: [*lines, lines[-1].replace(",1,", ",0,")])), 2, 2
    ),
    "dicom: a table with a patient too many": Case("dicom", _table("dicom", lambda text: text + "KH-9,1,\n"), 0, 0),
    "rsna_ich: another image than its name says": Case("rsna_ich", _ct("rsna_ich", SOPInstanceUID="ID_77"), lost=1),
    "rsna_ich: more rows than pixels": Case("rsna_ich", _ct("rsna_ich", Rows=13), lost=1),
    "rsna_ich: incomplete labels": Case("rsna_ich", _table("rsna_ich", _lines(lambda lines: lines[:-1])), 0, 0, lost=1),
    "rsna_ich: contradictory labels": Case(
        "rsna_ich", _table("rsna_ich", _lines(lambda lines: [*lines[:-1], lines[-1][:-1] + "0"])), 0, 0, lost=1
    ),
    "rsna_ich: an image of nobody": Case(
        "rsna_ich",
        lambda root: (root / RSNA_ROOT / RSNA_FOLDERS[0] / "ID_00000ffff.dcm").write_bytes(damage.ct(1)),
        0,
        0,
    ),
    # Tables.
    "folder: a row of nobody": Case("folder", _table("folder", lambda text: text + f"{PERSON}.png,a,b,1,0,c\n"), 2, 0),
    "folder: a path that leads out": Case(
        "folder", _table("folder", lambda text: text.replace(f"\n{PERSON}", f"\n../{PERSON}")), 2, 2
    ),
    "folder: an absolute path": Case("folder", _table("folder", lambda text: text.replace("\n", "\n/etc/", 1)), 2, 2),
    "folder: a label that is none": Case("folder", _table("folder", lambda text: text.replace(",1,", ",yes,")), 2, 2),
    "folder: a spacing of NaN": Case("folder", _table("folder", lambda text: text.replace("0.5", "nan", 1)), 2, 2),
    "folder: a column twice": Case("folder", _table("folder", lambda text: text.replace("name", "image", 1)), 2, 2),
    "nifti: a row without a patient": Case(
        "nifti", _table("nifti", lambda text: text.replace(f",{damage.patient(3)},", ",,")), 2, 2
    ),
    "chexpert: a row of nobody": Case(
        "chexpert",
        _table("chexpert", _lines(lambda lines: [*lines, lines[-1].replace("patient00008", "patient00009")])),
        2,
        0,
    ),
    "chexpert: a finding that is none": Case(
        "chexpert", _table("chexpert", lambda text: text.replace(",1.0", ",2.0", 1)), 2, 2
    ),
    "chexpert: a missing column": Case(
        "chexpert", _table("chexpert", lambda text: text.replace("AP/PA", "x", 1)), 2, 2
    ),
    # Its picture is no image of the download; how many there are is said.
    "nih_cxr14: a row too few": Case(
        "nih_cxr14", _table("nih_cxr14", _lines(lambda lines: lines[:-1])), 0, 0, lost=1, counted=False
    ),
    "nih_cxr14: an unknown finding": Case(
        "nih_cxr14", _table("nih_cxr14", lambda text: text.replace("Mass", PERSON, 1)), 2, 2
    ),
    "nih_cxr14: another patient's picture": Case(
        "nih_cxr14", _table("nih_cxr14", lambda text: text.replace(",0,4,", ",0,5,")), 2, 2
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


@pytest.fixture(autouse=True)
def _world(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(base / "home"))  # one key, so that pseudonyms can be compared
    # Hundreds of commands: what is the same for all of them is made once, and the disk is not waited for.
    monkeypatch.setattr(typer.main, "get_command", lambda _: _COMMAND)
    monkeypatch.setattr(plugins, "_family", _FAMILY)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def _sound(base: Path, source: str) -> Path:
    """Return the folder of a source's undamaged download and its cohort, made when first asked for."""
    place = base / source
    if not place.exists():
        (place / "download").mkdir(parents=True)
        DOWNLOADS[source].write(place / "download")
        assert main(_words(source, place / "download", place / "cohort")) == 0
    return place


def _words(source: str, root: Path, out: Path, damaged: str = "stop") -> list[str]:
    further = ("--size", "8", "--workers", "1", "--damaged", damaged, *DOWNLOADS[source].options)
    return ["prepare", source, str(root), "--out", str(out), *further]


def _run(words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def stuck(*_: object) -> None:
        raise Hang

    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(_TOO_LONG_S)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _MEMORY, limits[1]))
    capfd.readouterr()
    try:
        status = main(words)
    except Hang:
        status = -1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = capfd.readouterr()
    assert status >= 0, "it waits for ever"
    for text in PLANTED:
        assert text not in said.out + said.err
    return status, said.err


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@functools.cache
def _wanted(path: Path, labels: bool) -> dict[tuple[object, ...], tuple[object, ...]]:
    return _held(Cohort(path), labels)


def _held(cohort: Cohort, labels: bool) -> dict[tuple[object, ...], tuple[object, ...]]:
    """Return (patient, group, place) -> pixels, mask, spacing and labels of every sample of a cohort."""
    columns = ["spacing_y_mm", "spacing_x_mm"] + [f"label.{name}" for name in cohort.facts.labels if labels]
    return {
        (row["patient_id"], row["group_id"], row["slice_index"]): (
            cohort.images[at].tobytes(),
            None if cohort.masks is None else cohort.masks[at].tobytes(),
            tuple(str(row[column]) for column in columns),
        )
        for at, (_, row) in enumerate(cohort.samples.iterrows())
    }


def _assert_one_line(err: str) -> None:
    *before, last = err.splitlines()
    assert last.startswith("synthcohort: ")
    assert "Traceback" not in err
    assert "this is a bug" not in err
    for line in before:
        assert line.startswith(("Note: ", "Warning: ", "Licence: ", "Notice: ")), line


def _assert_less(sound: Path, out: Path, case: Case) -> None:
    """Assert that a cohort holds what the sound one holds, less what is counted."""
    assert verify(out) == []
    cohort = Cohort(out)
    want, have = _wanted(sound / "cohort", case.labels), _held(cohort, case.labels)
    assert have.keys() <= want.keys()
    assert all(have[key] == want[key] for key in have)
    assert len(want) - len(have) == case.lost
    step = cohort.facts.history[0]
    assert step["images"]["written"] == len(have)
    if case.counted and case.lost:
        assert step["images"]["dropped"] == sum(step["dropped"].values()) >= 1


@pytest.mark.parametrize("name", CASES)
def test_damage(name: str, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    if name.endswith("unreadable") and os.geteuid() == 0:
        pytest.skip("root may read every file")
    sound = _sound(base, case.source)
    root = tmp_path / PERSON / "download"
    shutil.copytree(sound / "download", root)
    case.do(root)
    runs = (("stop", case.stop), ("skip", case.skip))
    for damaged, wanted in runs[: 2 if case.stop else 1]:  # where nothing stops, there is nothing to skip
        out = tmp_path / damaged / "cohort"
        out.parent.mkdir()
        status, err = _run(_words(case.source, root, out, damaged), capfd)
        assert status == wanted, err
        if status:
            _assert_one_line(err)
            assert list(out.parent.iterdir()) == []
        else:
            _assert_less(sound, out, case)


@pytest.mark.parametrize("source", DOWNLOADS)
def test_a_file_that_goes_while_it_is_read(
    source: str, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = plugins.find("sources", source)
    sound = _sound(base, source)
    parts = plugin.parts
    for damaged in ("stop", "skip"):
        root, out = tmp_path / PERSON / damaged, tmp_path / damaged / "cohort"
        shutil.copytree(sound / "download", root)
        out.parent.mkdir()

        def gone(self: Source, root: Path = root) -> object:
            (root / DOWNLOADS[source].image(VICTIM)).unlink(missing_ok=True)
            return parts(self)

        monkeypatch.setattr(plugin, "parts", gone)
        status, err = _run(_words(source, root, out, damaged), capfd)
        monkeypatch.setattr(plugin, "parts", parts)
        assert status == (2 if damaged == "stop" else 0), err
        if status:
            _assert_one_line(err)
            assert list(out.parent.iterdir()) == []
        else:
            _assert_less(sound, out, Case(source, parts, lost=DOWNLOADS[source].lost))


def test_the_corpus_is_large_and_sound(base: Path) -> None:
    assert len(CASES) >= 60
    assert {case.source for case in CASES.values()} == set(DOWNLOADS)
    for source in DOWNLOADS:
        cohort = Cohort(_sound(base, source) / "cohort")
        assert len(cohort) == damage.PATIENTS * DOWNLOADS[source].lost * (2 if source == "acdc" else 1)
        assert cohort.images[:].std() > 0
