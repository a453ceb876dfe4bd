"""PNG, JPEG and TIFF files as arrays; whatever is wrong with one becomes one line."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import BadSource
from ..types import Array

FORMATS = ("PNG", "JPEG", "TIFF")
UNREADABLE = (  # whatever a decoder or a reader of metadata says of bytes that someone made
    ArithmeticError,
    AttributeError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    LookupError,
    NotImplementedError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_GREY = ("L", "LA", "RGB", "RGBA")


def read_picture(path: Path, name: str) -> Array:
    """Return an 8- or 16-bit picture as (1 or 3, H, W) uint8 or uint16.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        BadSource: It is absent or damaged, has several frames, real transparency or another form.
    """
    picture, frames = _open(path, name)
    values = None if frames > 1 else _values(picture)
    if values is None:
        rule = "An image is one 8- or 16-bit picture, grey or RGB, without transparency"
        raise BadSource(rule, f"{name} has mode {picture.mode}, {frames} frames", "Convert it")
    return values


def read_grey(path: Path, name: str) -> Array:
    """Return the grey values of an 8-bit picture as (1, H, W) uint8; colour becomes its luma, transparency is ignored.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        BadSource: It is absent or damaged, has several frames or other than 8 bits.
    """
    picture, frames = _open(path, name)
    if picture.mode not in _GREY or frames > 1:
        rule = "An image is one 8-bit grey picture"
        raise BadSource(rule, f"{name} has mode {picture.mode}, {frames} frames", "Download it again")
    return np.asarray(picture.convert("L"))[None]


def _open(path: Path, name: str) -> tuple[Image.Image, int]:
    """Return a picture, loaded and upright, and the number of frames in its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as opened:
                return ImageOps.exif_transpose(opened), getattr(opened, "n_frames", 1)
        except FileNotFoundError as error:
            raise BadSource("Every image of the table is there", f"no {name}", "Add it or correct the table") from error
        except UNREADABLE as error:
            raise BadSource("An image must be a readable PNG, JPEG or TIFF", name, "Replace it") from error


def _values(picture: Image.Image) -> Array | None:
    if picture.mode in ("RGBA", "LA") and picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert(picture.mode[:-1])
    if picture.mode in ("P", "CMYK", "YCbCr", "1"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    values = np.asarray(picture)
    if picture.mode == "L":
        return values[None]
    if picture.mode == "RGB":
        return np.ascontiguousarray(values.transpose(2, 0, 1))
    if picture.mode.startswith("I") and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)[None]
    return None
