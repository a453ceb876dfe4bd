"""From stored values to what they mean: stray bits, wrapped negatives, rescaling, inversion, padding, colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from ..types import Array
from . import _tags
from ._elements import Values, foreign
from ._header import Header
from ._pixels import Layout

_LARGEST = 1e30
"""Of native values: float32 holds them, and what is computed from them."""
_WRAP_BITS, _WRAP_FROM, _WRAP_INTERCEPT = 12, 4096 - 1024, -100


@dataclass(frozen=True)
class Scale:
    """How stored values become native ones.

    Attributes:
        slope: Native units a stored unit.
        intercept: Native value of stored 0.
        stated: Whether the header states them.
    """

    slope: float
    intercept: float
    stated: bool


def read_scale(header: Header, places: list[Values]) -> Scale:
    """Return the rescaling of a frame.

    Args:
        header: Of the file.
        places: Where it may stand, the most specific first.

    Raises:
        BadSource: It is no pair of finite numbers, or the slope is 0.
    """
    slope, intercept = find(places, _tags.SLOPE), find(places, _tags.INTERCEPT)
    if not slope and not intercept:
        return Scale(1.0, 0.0, stated=False)
    one_each = len(slope) == len(intercept) == 1
    if not one_each or not abs(slope[0]) * 2.0**32 + abs(intercept[0]) < _LARGEST or abs(slope[0]) < 1 / _LARGEST:
        raise header.bad("Rescaling is a slope, not 0, and an intercept", "states something else")
    return Scale(slope[0], intercept[0], stated=True)


def find(places: list[Values], tag: int) -> tuple[float, ...]:
    """Return the numbers of the first place that states them."""
    return next((numbers for numbers in (place.numbers(tag) for place in places) if numbers), ())


def cleaned(stored: Array, layout: Layout, scale: Scale, *, ct: bool, wrapped: bool) -> Array:
    """Return the values without stray bits, and with the negatives that unsigned CT files hide.

    Bits above `layout.stored` belong to overlays or are left over; they are cleared, or hold the sign of a signed
    value. In CT two rules come first:

    * An unsigned 16-bit value of 32768 or more, all of whose bits above `layout.stored` are set, is a negative 16-bit
      number (outside the scanned circle -2000 is often written so); no tissue or metal measures 30,000 HU.
    * With `wrapped`: 12 bits stored, unsigned, and an intercept above -100 leave no value for air, so 3072 or more is a
      negative 12-bit number: 3072 is -1024. Some files of the RSNA set are so (Howard, "Cleaning the data for rapid
      prototyping", Kaggle 2019, who begins at 3096, which leaves noise below -1000 as bright specks). Metal above
      3071 HU is then lost.
    """
    spare = layout.bits - layout.stored
    if layout.signed:
        return (stored << spare) >> spare if spare else stored
    if spare == 0 and layout.bits != 16:
        return stored
    mask = layout.limits[1]
    values = stored & stored.dtype.type(mask) if spare else stored
    if not ct or layout.bits != 16:
        return values
    negative = 0x8000 | (0xFFFF & ~mask)
    if stored.max() >= negative:
        values = np.where((stored & negative) == negative, stored.astype(np.int32) - (1 << 16), values)
    if wrapped and layout.stored == _WRAP_BITS and scale.intercept > _WRAP_INTERCEPT:
        values = np.where(values >= _WRAP_FROM, values.astype(np.int32) - (1 << _WRAP_BITS), values)
    return values


def rescaled(values: Array, header: Header, scale: Scale) -> Array:
    """Return native values: float32, or the uint8 that are stored where nothing is rescaled.

    Raises:
        BadSource: The header's modality table is damaged.
    """
    if _tags.MODALITY_LUT in header.elements:
        with foreign(header.name, "has a damaged modality table"):
            return np.asarray(apply_modality_lut(values, header.elements), dtype=np.float32)
    if values.dtype == np.uint8 and (scale.slope, scale.intercept) == (1, 0):
        return values
    native = values.astype(np.float32)
    if scale.slope != 1:
        native *= np.float32(scale.slope)
    if scale.intercept != 0:
        native += np.float32(scale.intercept)
    return native


def padding(stored: Array, header: Header) -> Array | None:
    """Return where a frame is padding, as far as the header says so; None where nothing is.

    Compared are the bits that are stored, before any of them is cleared.
    """
    value = header.raw(_tags.PADDING)
    if len(value) != 2 or stored.dtype.itemsize > 2:
        return None
    kind = f"{header.order}{stored.dtype.kind}2"
    first = int(np.frombuffer(value, kind)[0])
    limit = header.raw(_tags.PADDING_LIMIT)
    last = int(np.frombuffer(limit, kind)[0]) if len(limit) == 2 else first
    where = stored == first if first == last else (stored >= min(first, last)) & (stored <= max(first, last))
    return where if where.any() and not where.all() else None


def unpadded(native: Array, where: Array) -> Array:
    """Return the frame with its padding at the lowest value of the rest, unless padding lies amidst the rest.

    Some files declare a value as padding, 0 for instance, that their tissue has too.
    """
    top = native.max()
    low = np.where(where, top, native).min()  # of the rest, as `where` is not all of the frame
    pad = native[where]
    if pad.max() < low or pad.min() > np.where(where, low, native).max():
        return np.where(where, low, native)
    return native


def coloured(stored: Array, header: Header, layout: Layout) -> Array:
    """Return colours as (3, H, W) uint8; of more bits the upper 8.

    Raises:
        BadSource: The palette is damaged, or a channel has more than 16 bits.
    """
    bits = layout.stored
    if layout.samples == 1:
        with foreign(header.name, "has a damaged palette"):
            stored = apply_color_lut(stored, header.elements)
        bits = 8 * stored.dtype.itemsize
    if bits > 16 or stored.shape[2:] != (3,) or stored.dtype.kind != "u":
        raise header.bad("A colour channel has up to 16 bits, unsigned", "has others")
    if bits > 8:
        stored = (stored >> (bits - 8)) & 255
    return np.ascontiguousarray(stored.astype(np.uint8, copy=False).transpose(2, 0, 1))
