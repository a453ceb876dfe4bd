"""What files of pixels hold beside and in their pixels: arrays, NIfTI volumes and pictures."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ._pieces import MAX_UNPACKED, Allowance, Piece, behind, by_runs, octets, runs, whole


def npy(stream: BinaryIO) -> Iterator[Piece]:
    """Yield the header of a NumPy array, the texts of one of texts, and what stands behind it."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    start = stream.tell()
    stream.seek(0)
    yield Piece("header", stream.read(start).decode("latin-1"))
    if dtype.kind == "U":
        yield from (Piece("values", text) for text in np.unique(np.frombuffer(whole(stream), dtype)).tolist())
    elif dtype.kind not in "biufc":
        yield from by_runs(stream)
    stream.seek(start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    yield from behind(stream)


def nifti(stream: BinaryIO) -> Iterator[Piece]:
    """Yield the texts of a NIfTI header, its extensions, its planes, and what stands behind it."""
    import nibabel as nib

    kind = nib.Nifti2Image if stream.read(8)[4:7] == b"n+2" else nib.Nifti1Image
    stream.seek(0)
    image: Any = kind.from_stream(stream)  # type: ignore[arg-type]
    for field in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        if field in image.header:
            yield Piece(field, bytes(image.header[field].item()).rstrip(b"\0").decode("utf-8", errors="replace"))
    for extension in image.header.extensions:
        said = extension.get_content()
        yield Piece("an extension", said.decode("utf-8", errors="replace") if isinstance(said, bytes) else str(said))
    count = int(np.prod(image.shape[2:], dtype=np.int64))
    if not count or int(np.prod(image.shape, dtype=np.int64)) // count > MAX_UNPACKED:
        raise ValueError
    for k in np.ndindex(image.shape[:1:-1]):  # as they lie: a packed file is not unpacked anew for each plane
        plane = np.asarray(image.dataobj[(slice(None), slice(None), *k[::-1])])
        plane = np.stack([plane[name] for name in plane.dtype.names]) if plane.dtype.names else plane[None]
        yield Piece("voxels", image=plane.transpose(0, 2, 1), data=octets(plane))
    stream.seek(int(image.dataobj.offset) + int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize)
    yield from behind(stream)


def picture(stream: BinaryIO, left: Allowance) -> Iterator[Piece]:
    """Yield the metadata and pixels of a PNG, JPEG or TIFF file, and whatever else can be read in it."""
    from PIL import Image

    with Image.open(stream) as image:
        exif = image.getexif()
        tags = [*exif.items(), *_further(exif)]
        for key, said in [*image.info.items(), *getattr(image, "tag_v2", {}).items(), *tags]:
            if isinstance(said, bytes):
                yield from runs(said, "metadata")
                yield Piece("metadata", said.decode("utf-8", "replace"), runs=True)
            elif isinstance(said, str):
                yield Piece("metadata", f"{key} {said}")
        if image.width * image.height > MAX_UNPACKED:
            raise ValueError
        for frame in range(getattr(image, "n_frames", 1)):
            left.spend(image.width * image.height if frame else 0)
            image.seek(frame)
            pixels = np.asarray(image if image.mode in ("L", "RGB", "I;16", "I", "F") else image.convert("RGB"))
            planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            yield Piece("pixels", image=planes, data=octets(pixels))
    stream.seek(0)
    if stream.read(4) == b"\x89PNG":
        yield from _behind_png(stream)
    stream.seek(0)
    yield from by_runs(stream)


def _further(exif: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the tags of the directories that EXIF data refer to."""
    from PIL import ExifTags

    for directory in ExifTags.IFD:
        with contextlib.suppress(KeyError):  # what Pillow before 13 raises where there is none
            yield from exif.get_ifd(directory).items()


def _behind_png(stream: BinaryIO) -> Iterator[Piece]:
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        stream.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
        if head[4:] == b"IEND":
            break
    yield from behind(stream)
