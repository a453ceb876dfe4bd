"""What `prepare` does to pixels: channels, square, intensity scaling, antialiased resize, quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from ._choices import Choices
from .cohort import VALUE_RANGES, Facts
from .errors import BadSource, Mismatch
from .progress import say
from .types import Array, Record

RESIZE = {
    "bilinear": "bilinear, antialiased when reducing (Pillow, mode F)",
    "pyramid": "bilinear, antialiased, to 256 or 1024 px, truncated to 8 bits, then means of 2x2 pixels, rounded",
}
SQUARE = {
    "pad": "padded to the longer side",
    "field": "centred field",
    "crop": "centred crop, padded with the lowest value, not resampled",
    "stretch": "stretched, the aspect ratio is not kept",
}
MASK_RESIZE = "argmax of the class indicators resized like the image"
PERCENTILES = (0.5, 99.5)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's mode L


@dataclass(frozen=True)
class Rules:
    """How pixels are made.

    Attributes:
        size: Side of the square result in pixels.
        geometry: A key of `SQUARE`.
        field_mm: Side of the centred square that is kept in millimetres, or None for all of the image.
        resize: A key of `RESIZE`.
        colour: "source", "grey" or "rgb".
        dtype: Of the result.
        value_rule: Which intensities become the lowest and the highest pixel value.
        facts: What the cohort says of it, and what must agree before two cohorts are compared.
    """

    size: int
    geometry: str
    field_mm: float | None
    resize: str
    colour: str
    dtype: str
    value_rule: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, value_rule: Mapping[str, Any], choices: Choices, like: Facts | None) -> Rules:
        """Return the rules of a source under the user's choices, or those of the cohort `like`.

        Raises:
            Mismatch: `like` is not square.
        """
        values = choices.value_rule(value_rule)
        if like is not None:
            return cls._like(values, like)
        field = choices.field
        geometry = choices.geometry if field is None else "field"
        facts: dict[str, Any] = {
            "values": values,
            "square": SQUARE[geometry],
            "field_mm": field,
            "spacing": "not harmonised" if field is None else "field_mm / size",
            "resize": RESIZE[choices.resize],
            "mask_resize": MASK_RESIZE,
        }
        if choices.colour != "source":
            facts["colour"] = choices.colour
        return cls(choices.size, geometry, field, choices.resize, choices.colour, choices.dtype, values, facts)

    @classmethod
    def _like(cls, values: Mapping[str, Any], like: Facts) -> Rules:
        if like.shape[1] != like.shape[2]:
            raise Mismatch("Prepared images are square", f"{like.name} is {like.shape[1:]}", "Name another --like")
        theirs = like.pixel_rules
        if theirs.get("values", {}) != values:
            say(
                f"Note: intensities follow this source's rule {dict(values)}; those of {like.name} had "
                f"{theirs.get('values', {})}."
            )
        return cls(
            like.shape[1],
            _key(SQUARE, theirs.get("square"), "pad" if theirs.get("field_mm") is None else "field"),
            theirs.get("field_mm"),
            _key(RESIZE, theirs.get("resize"), "bilinear"),
            theirs.get("colour", "source"),
            like.dtype,
            values,
            theirs,
        )

    def used(self, choices: Choices) -> Choices:
        """Return choices as these rules have them, which `like` may have made."""
        mine: dict[str, Any] = {
            "size": self.size,
            "geometry": "pad" if self.geometry == "field" else self.geometry,
            "field_mm": self.field_mm,
            "spacing_mm": None,
            "resize": self.resize,
            "bits": 8 * np.dtype(self.dtype).itemsize,
            "colour": self.colour,
        }
        return replace(choices, **mine)

    @property
    def value_range(self) -> tuple[float, float]:
        """Return the lowest and the highest legal pixel."""
        return VALUE_RANGES[self.dtype]


def _key(names: Mapping[str, str], text: Any, default: str) -> str:
    """Return the key whose words are `text`; a cohort that someone wrote by hand may use other words."""
    return next((key for key, words in names.items() if words == text), default)


def conform(record: Record, rules: Rules) -> tuple[Array, Array | None, tuple[float, float]]:
    """Return one record as (image, mask, spacing).

    Args:
        record: As a source yields it.
        rules: How pixels are made.

    Returns:
        (C, size, size) of the rules' dtype; (size, size) uint8 or None; (y, x) millimetres a pixel, NaN if unknown.

    Raises:
        BadSource: A field is asked for and the spacing is unknown, or the intensity rule does not fit the record.
    """
    native = _coloured(record.image, rules.colour)
    sides = _sides(record, rules)
    if rules.resize == "pyramid":
        unit = _pyramid(record, native, sides, rules)
    else:
        unit = _square(_to_unit(native, *_limits(record, native, rules)), sides)
        unit = np.stack([_bilinear(channel, rules.size) for channel in unit])
    image = _quantise(unit, rules)
    mask = None if record.mask is None else _resize_mask(_square(record.mask, sides), rules.size)
    spacing = record.spacing_mm or (float("nan"), float("nan"))
    return image, mask, (spacing[0] * sides[0] / rules.size, spacing[1] * sides[1] / rules.size)


def _coloured(image: Array, colour: str) -> Array:
    if colour == "grey" and len(image) == 3:
        grey = np.tensordot(_LUMA, image.astype(np.float32), axes=1)[None]
        return grey if image.dtype.kind == "f" else np.rint(grey).astype(image.dtype)
    return np.repeat(image, 3, axis=0) if colour == "rgb" and len(image) == 1 else image


def _sides(record: Record, rules: Rules) -> tuple[int, int]:
    """Return how many source pixels, in y and x, the result covers."""
    height, width = record.image.shape[1:]
    if rules.geometry == "crop":
        return rules.size, rules.size
    if rules.geometry == "stretch":
        return height, width
    if rules.field_mm is None:
        return max(height, width), max(height, width)
    if record.spacing_mm is None:
        raise BadSource("A field of view needs the pixel spacing", "an image has none", "Leave field_mm out")
    return max(1, round(rules.field_mm / record.spacing_mm[0])), max(1, round(rules.field_mm / record.spacing_mm[1]))


def _limits(record: Record, image: Array, rules: Rules) -> tuple[float, float]:
    """Return the intensities that become the lowest and the highest pixel value."""
    rule = rules.value_rule
    name = rule["rule"]
    if name == "volume_percentiles" and record.volume_range is not None:
        return record.volume_range
    if name == "dicom_window" and record.window is not None:
        return record.window[0] - record.window[1] / 2, record.window[0] + record.window[1] / 2
    if name in ("fixed", "dicom_window") and "low" in rule:
        return float(rule["low"]), float(rule["high"])
    if name == "type_range" and record.image.dtype.kind == "u":
        return 0.0, float(np.iinfo(record.image.dtype).max)
    if name == "slice_maximum":
        return 0.0, float(image.max())
    if name in ("slice_percentiles", "dicom_window"):  # neither a window nor Hounsfield units: the slice must tell
        low, high = np.percentile(image, PERCENTILES)
        return float(low), float(high)
    rule_text = "An intensity rule fits the images"
    raise BadSource(rule_text, f"{name} needs what these images do not have", "Choose another --intensity")


def _square(image: Array, sides: tuple[int, int]) -> Array:
    """Return the centred window of (y, x) `sides` over the last two axes, 0 where it leaves the image.

    Intensities are in [0, 1] by then: in native units of a whole-number type the lowest one may not exist.
    """
    shape = image.shape[-2:]
    if shape == sides:
        return image
    result = np.zeros((*image.shape[:-2], *sides), image.dtype)
    inner, outer = zip(*(_overlap(have, want) for have, want in zip(shape, sides, strict=True)), strict=True)
    result[..., outer[0], outer[1]] = image[..., inner[0], inner[1]]
    return result


def _overlap(have: int, want: int) -> tuple[slice, slice]:
    length = min(have, want)
    inner, outer = (have - length) // 2, (want - length) // 2
    return slice(inner, inner + length), slice(outer, outer + length)


def _to_unit(image: Array, low: float, high: float) -> Array:
    if high <= low:
        return np.zeros(image.shape, np.float32)
    unit = np.subtract(image, np.float32(low), dtype=np.float32)
    unit /= np.float32(high - low)
    return np.clip(unit, 0, 1, out=unit)


def _bilinear(channel: Array, size: int) -> Array:
    if channel.shape == (size, size):
        return channel
    resized = Image.fromarray(np.ascontiguousarray(channel)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _pyramid(record: Record, native: Array, sides: tuple[int, int], rules: Rules) -> Array:
    """Return what the code of study 003 makes of an image, in [0, 1].

    Reduced to the base of the pyramid, scaled there, truncated to 8 bits, then means of 2x2 pixels, rounded at the end.
    """
    base = 256 if rules.size <= 256 else 1024
    low = np.float32(_limits(record, native, rules)[0])
    square = _square(native.astype(np.float32) - low, sides) + low
    reduced = np.stack([_bilinear(channel, base) for channel in square])
    grey = np.floor(_to_unit(reduced, *_limits(record, reduced, rules)) * 255)
    while grey.shape[-1] > rules.size:
        half = grey.shape[-1] // 2
        grey = grey.reshape(-1, half, 2, half, 2).mean(axis=(2, 4))
    return np.asarray(np.rint(grey) / 255, dtype=np.float32)


def _resize_mask(mask: Array, size: int) -> Array:
    present = np.unique(mask)
    if len(present) == 1:
        return np.full((size, size), present[0], np.uint8)
    shares = np.stack([_bilinear((mask == value).astype(np.float32), size) for value in present])
    return np.ascontiguousarray(present[shares.argmax(0)].astype(np.uint8))


def _quantise(unit: Array, rules: Rules) -> Array:
    low, high = rules.value_range
    return np.ascontiguousarray(np.clip(np.rint(unit * (high - low) + low), low, high).astype(rules.dtype))
