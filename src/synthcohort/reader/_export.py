"""How an image leaves for readers: one function for real and synthetic images, and the road of each to the proof.

What leaves is the plain array: no container, so no header, no compression and no metadata that could differ. 16-bit
images keep their 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ..types import Array, from_unit_range, to_unit_range

Export = Callable[[Array, tuple[float, float]], Array]


def exported(image: Array, _value_range: tuple[float, float]) -> Array:
    """Return a stored image (C, H, W) uint8 or uint16 as readers get it: (H, W, C), little endian, of the same values.

    Args:
        image: As the cohort stores it.
        _value_range: Lowest and highest legal pixel; the same for both kinds, so nothing depends on it.
    """
    return np.ascontiguousarray(image.transpose(1, 2, 0), dtype=image.dtype.newbyteorder("<"))


def sampled_and_exported(image: Array, value_range: tuple[float, float]) -> Array:
    """Return an image as readers would get it, had a generator made these very values: through `sample`, then out."""
    made = to_unit_range(image, value_range)
    return exported(from_unit_range(made, value_range, image.dtype.name), value_range)


PATHS: Mapping[str, Export] = {"real": exported, "synthetic": sampled_and_exported}
"""Kind -> the whole road of an image from values to readers, which the proof sends reference images along."""


def write_images(path: Path, images: Iterable[Array], count: int, shape: tuple[int, int, int], dtype: str) -> None:
    """Write images.npy from exported images (H, W, C), `count` of them, one after the other.

    Args:
        path: The file.
        images: In the order of the rows.
        count: How many.
        shape: (C, H, W).
        dtype: uint8 or uint16.
    """
    channels, height, width = shape
    stored = np.dtype(dtype).newbyteorder("<")
    with path.open("wb") as file:
        header = {"descr": stored.str, "fortran_order": False, "shape": (count, height, width, channels)}
        np.lib.format.write_array_header_1_0(file, header)
        for image in images:
            assert (image.shape, image.dtype) == ((height, width, channels), stored), "one export for all"
            file.write(image.tobytes())
