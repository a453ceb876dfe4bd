"""What `prepare` does to pixels: centred square, intensity scaling, antialiased resize, quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .cohort import Facts
from .errors import BadSource, Mismatch
from .progress import say
from .types import Array, Record

RESIZE = "bilinear, antialiased when reducing (Pillow, mode F)"
MASK_RESIZE = "argmax of the class indicators resized like the image"


@dataclass(frozen=True)
class Rules:
    """How pixels are made.

    Attributes:
        size: Side of the square result in pixels.
        field_mm: Side of the centred square that is kept in millimetres, or None for all of the image.
        value_rule: Which intensities become the lowest and the highest pixel value.
        facts: What the cohort says of it, and what must agree before two cohorts are compared.
    """

    size: int
    field_mm: float | None
    value_rule: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, value_rule: Mapping[str, Any], *, size: int, field_mm: float | None, like: Facts | None) -> Rules:
        """Return the rules of a source, or those of the cohort `like`.

        Raises:
            Mismatch: `like` is not square.
        """
        if like is None:
            facts = {
                "values": dict(value_rule),
                "square": "padded to the longer side" if field_mm is None else "centred field",
                "field_mm": field_mm,
                "spacing": "not harmonised" if field_mm is None else "field_mm / size",
                "resize": RESIZE,
                "mask_resize": MASK_RESIZE,
            }
            return cls(size, field_mm, value_rule, facts)
        if like.shape[1] != like.shape[2]:
            raise Mismatch("Prepared images are square", f"{like.name} is {like.shape[1:]}", "Name another --like")
        theirs = like.pixel_rules.get("values", {})
        if theirs != value_rule:
            say(f"Note: intensities follow this source's rule {dict(value_rule)}; those of {like.name} had {theirs}.")
        return cls(like.shape[1], like.pixel_rules.get("field_mm"), value_rule, like.pixel_rules)


def conform(record: Record, rules: Rules, facts: Facts) -> tuple[Array, Array | None, tuple[float, float]]:
    """Return one record as (image, mask, spacing).

    Args:
        record: As a source yields it.
        rules: How pixels are made.
        facts: Of the cohort: dtype and value range.

    Returns:
        (C, size, size) of the cohort's dtype; (size, size) uint8 or None; (y, x) millimetres a pixel, NaN if unknown.

    Raises:
        BadSource: `field_mm` is asked for and the spacing is unknown.
    """
    sides = _sides(record, rules)
    unit = _to_unit(_square(record.image, sides, fill=_limits(record, rules)[0]), *_limits(record, rules))
    image = _quantise(np.stack([_resize(channel, rules.size) for channel in unit]), facts)
    mask = None if record.mask is None else _resize_mask(_square(record.mask, sides, fill=0), rules.size)
    spacing = record.spacing_mm or (float("nan"), float("nan"))
    return image, mask, (spacing[0] * sides[0] / rules.size, spacing[1] * sides[1] / rules.size)


def _sides(record: Record, rules: Rules) -> tuple[int, int]:
    """Return how many source pixels, in y and x, the square field covers."""
    if rules.field_mm is None:
        longest = max(record.image.shape[1:])
        return longest, longest
    if record.spacing_mm is None:
        raise BadSource("A field of view needs the pixel spacing", "an image has none", "Leave field_mm out")
    return max(1, round(rules.field_mm / record.spacing_mm[0])), max(1, round(rules.field_mm / record.spacing_mm[1]))


def _limits(record: Record, rules: Rules) -> tuple[float, float]:
    """Return the intensities that become the lowest and the highest pixel value."""
    rule = rules.value_rule["rule"]
    if rule == "volume_percentiles" and record.volume_range is not None:
        return record.volume_range
    if rule == "fixed":
        return float(rules.value_rule["low"]), float(rules.value_rule["high"])
    if rule == "type_range" and record.image.dtype.kind == "u":
        return 0.0, float(np.iinfo(record.image.dtype).max)
    raise BadSource("A source states how its intensities are scaled", f"{rule} does not fit its images", "Correct it")


def _square(image: Array, sides: tuple[int, int], *, fill: float) -> Array:
    """Return the centred window of (y, x) `sides` over the last two axes, filled where it leaves the image."""
    shape = image.shape[-2:]
    if shape == sides:
        return image
    result = np.full((*image.shape[:-2], *sides), fill, image.dtype)
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
    return np.asarray(np.clip((image.astype(np.float32) - low) / (high - low), 0, 1), dtype=np.float32)


def _resize(channel: Array, size: int) -> Array:
    if channel.shape == (size, size):
        return channel
    resized = Image.fromarray(np.ascontiguousarray(channel)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _resize_mask(mask: Array, size: int) -> Array:
    present = np.unique(mask)
    shares = np.stack([_resize((mask == value).astype(np.float32), size) for value in present])
    return np.ascontiguousarray(present[shares.argmax(0)].astype(np.uint8))


def _quantise(unit: Array, facts: Facts) -> Array:
    low, high = facts.value_range
    return np.ascontiguousarray(np.clip(np.rint(unit * (high - low) + low), low, high).astype(facts.dtype))
