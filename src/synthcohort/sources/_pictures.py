"""PNG, JPEG and TIFF files as arrays; whatever is wrong with one becomes one line."""

from __future__ import annotations

import contextlib
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from .._files import muted, regular
from ..errors import BadSource
from ..types import Array

_FORMATS = ("PNG", "JPEG", "TIFF")
_UNREADABLE = (  # whatever a decoder or a reader of metadata says of bytes that someone made
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
_AGAIN = "Download it again"


def read_picture(path: Path, name: str, *, turned: bool = True) -> Array:
    """Return an 8- or 16-bit picture as (1 or 3, H, W) uint8 or uint16.

    Args:
        path: The file.
        name: What messages call it.
        turned: Whether a picture is turned where its metadata say so; otherwise one that would have to be is refused,
            because nothing says whether its mask is to be turned as well.

    Raises:
        BadSource: It is absent or damaged, has several frames, real transparency or another form.
    """
    picture, frames = _open(path, name, turned=turned)
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
        raise BadSource(rule, f"{name} has mode {picture.mode}, {frames} frames", _AGAIN)
    return np.asarray(picture.convert("L"))[None]


def read_mask(path: Path, name: str) -> Array:
    """Return what a picture marks, (H, W) bool: every pixel that is not black, whatever the file's way to say so.

    Args:
        path: The file: one bit a pixel, grey of any depth, a palette, or RGB.
        name: What messages call it.

    Raises:
        BadSource: It is absent or damaged, has several frames, is to be turned, or shows colour that is transparent.
    """
    picture, frames = _open(path, name, turned=False)
    marked = None if frames > 1 else _marked(picture)
    if marked is None:
        rule = "A mask is one picture, grey, in RGB or with a palette, without transparency"
        raise BadSource(rule, f"{name} has mode {picture.mode}, {frames} frames", _AGAIN)
    return marked


def read_classes(path: Path, name: str) -> Array:
    """Return the values of a picture as they are stored: (H, W), or with a last axis where it has several channels.

    Args:
        path: The file. Of one with a palette the numbers of the colours are returned.
        name: What messages call it.

    Raises:
        BadSource: It is absent or damaged, has several frames or is to be turned.
    """
    picture, frames = _open(path, name, turned=False)
    if frames > 1:
        raise BadSource("A mask is one picture", f"{name} has {frames} frames", _AGAIN)
    return np.asarray(picture)


def _marked(picture: Image.Image) -> Array | None:
    if picture.mode == "P":
        colours = np.zeros((256, 3), np.uint8)
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(palette)] = palette
        return np.asarray(colours.max(axis=1)[np.asarray(picture)] > 0)
    values = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        marked = values[..., :-1].any(axis=2)
        return None if (marked & (values[..., -1] == 0)).any() else np.asarray(marked)
    if picture.mode == "RGB":
        return np.asarray(values.any(axis=2))
    if picture.mode in ("1", "L") or (picture.mode.startswith("I") and values.min() >= 0):
        return np.asarray(values > 0)
    return None


def _open(path: Path, name: str, *, turned: bool = True) -> tuple[Image.Image, int]:
    """Return a picture, loaded and upright, and the number of frames in its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # odd metadata, of pixels that are read or refused below
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            _check_sums(path)
            with Image.open(path, formats=_FORMATS) as opened, _silent(opened):
                if not turned and opened.getexif().get(ExifTags.Base.Orientation) in range(2, 9):
                    raise BadSource("A picture with a mask is stored upright", f"{name} is not", _AGAIN)
                return ImageOps.exif_transpose(opened), getattr(opened, "n_frames", 1)
        except FileNotFoundError as error:
            raise BadSource("Every image is there", f"{name} is not", "Add it or correct the table") from error
        except _UNREADABLE as error:
            raise BadSource("An image must be a readable PNG, JPEG or TIFF", name, "Replace it") from error


def _check_sums(path: Path) -> None:
    """Raise what Pillow raises unless the parts of a PNG have their checksums, which it does not ask of pixels."""
    with Image.open(regular(path), formats=_FORMATS) as opened:
        if opened.format == "PNG":
            opened.verify()


def _silent(opened: Image.Image) -> contextlib.AbstractContextManager[None]:
    return muted() if opened.format == "TIFF" else contextlib.nullcontext()


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
