"""A stand-in for the IDRiD segmentation set: the same JPEG and TIFF tree, colour fundus photographs with their lesions.

Masks are stored in the several ways in which those of the real set are met: grey with 255 or another level inside,
one bit a pixel, and palettes, one of which lists the inside first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from .._listing import mark_phantom
from ..errors import BadOption, BadOutput, writing
from ..layouts import (
    IDRID_IMAGE,
    IDRID_IMAGES,
    IDRID_MASK,
    IDRID_MASKS,
    IDRID_PARTS,
    IDRID_ROOT,
    IDRID_TARGETS,
)
from ..progress import track
from ..runs import derive_seed
from ..types import Array
from ._fundus import Eye, View
from ._fundus_lesions import Lesions
from ._fundus_light import develop, disc, photograph

_RED, _BLACK = (255, 0, 0), (0, 0, 0)


class Phantom:
    """Photographs of `patients` eyes with diabetic retinopathy: two thirds are the training set, the others the test.

    Args:
        patients: How many, 3 to 999, each with one photograph; 81 as in the real set give 54 and 27.
        size: Columns of a photograph; 4288 in the real set. Anatomy and lesions do not depend on it.
    """

    REVISION: ClassVar[int] = 1

    def __init__(self, *, patients: int = 81, size: int = 1072) -> None:
        if not 3 <= patients <= 999 or not 64 <= size <= 4288:
            rule = "The phantom has 3 to 999 patients and photographs of 64 to 4288 columns"
            raise BadOption(rule, f"patients={patients}, size={size}", "Choose others")
        self._patients, self._size = patients, size

    def write(self, root: Path, *, seed: int) -> None:
        """Write the download below `root`. Photograph k shows the same eye however many there are.

        Raises:
            BadOutput: `root` holds a download already, or cannot be written.
        """
        folder = root / IDRID_ROOT
        if folder.exists():
            raise BadOutput("A phantom is written into an empty folder", f"{root} has a download", "Choose another")
        training = self._patients - self._patients // 3
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            _make_folders(folder)
            for number in track(range(1, self._patients + 1), "phantom idrid", self._patients, "photographs"):
                part = IDRID_PARTS["train" if number <= training else "test"]
                pixels, masks = _eye(number, self._size, seed)
                Image.fromarray(pixels).save(folder / IDRID_IMAGES / part / IDRID_IMAGE.format(number), quality=90)
                for order, (name, (place, ending)) in enumerate(IDRID_TARGETS.items()):
                    if name in masks:
                        path = folder / IDRID_MASKS / part / place / IDRID_MASK.format(number, ending)
                        _write_mask(path, masks[name], number + order)
            mark_phantom(root)


def _make_folders(folder: Path) -> None:
    for part in IDRID_PARTS.values():
        (folder / IDRID_IMAGES / part).mkdir(parents=True)
        for place, _ in IDRID_TARGETS.values():
            (folder / IDRID_MASKS / part / place).mkdir(parents=True)


def _eye(number: int, size: int, seed: int) -> tuple[Array, Mapping[str, Array]]:
    """Return (H, W, 3) uint8 pixels and name -> (H, W) bool mask of what can be seen."""
    draws = [
        np.random.default_rng(derive_seed(seed, "phantom idrid", number, purpose))
        for purpose in ("eye", "lesions", "texture", "sensor")
    ]
    eye = Eye.draw(draws[0])
    view = View(eye, size)
    covers = Lesions.draw(draws[1], eye).covers(view)
    pixels = develop(photograph(eye, view, covers, draws[2]), eye, draws[3])
    masks = {name: cover > 0 for name, cover in covers.items()}
    window, outline, _ = disc(eye, view)
    masks["optic_disc"] = np.zeros(view.shape, bool)
    masks["optic_disc"][window] = outline < 0
    return pixels, masks


def _write_mask(path: Path, mask: Array, way: int) -> None:
    """Write a mask in one of five ways."""
    way %= 5
    values = mask.astype(np.uint8)
    if way == 0:
        picture = Image.fromarray(values * 255)
    elif way == 1:
        picture = Image.fromarray(values * 76)
    elif way == 2:
        Image.fromarray(mask).save(path, compression="group4")
        return
    else:
        picture = Image.fromarray(values if way == 3 else 1 - values)
        picture.putpalette([*_BLACK, *_RED] if way == 3 else [*_RED, *_BLACK])
    picture.save(path, compression="tiff_lzw")
