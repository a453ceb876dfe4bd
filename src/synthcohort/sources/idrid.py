"""IDRiD, the segmentation set: colour fundus photographs with outlines of the optic disc and of four lesion types.

Layout (Porwal et al., Data 2018): A. Segmentation/1. Original Images/{a. Training Set,b. Testing Set}/IDRiD_NN.jpg, and
beside it 2. All Segmentation Groundtruths/{the same two}/{1. Microaneurysms,...}/IDRiD_NN_MA.tif and so on. Masks are
stored in several ways; inside is what is not black. Every photograph has an optic disc; one without a file for a lesion
type has no such lesion.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import BadSource
from ..layouts import IDRID_IMAGE, IDRID_IMAGES, IDRID_MASK, IDRID_MASKS, IDRID_PARTS, IDRID_ROOT, IDRID_TARGETS
from ..progress import say
from ..source import Source as _Contract
from ..types import Array, Record
from ._pictures import read_mask, read_picture
from ._table import AGAIN

_DISC = "optic_disc"
_LESIONS = tuple(name for name in IDRID_TARGETS if name != _DISC)
_PAINTED = tuple(reversed(IDRID_TARGETS))
"""The order in which structures are painted: the smallest come last, so that little of them is lost."""
_IMAGE, _MASK = re.compile(r"IDRiD_([0-9]{2,4})\.jpg"), re.compile(r"IDRiD_([0-9]{2,4})_[A-Z]{2}\.tif")
_LARGEST = 0.5
"""No structure covers more of a photograph: a mask that does is a picture of something else, or inside out."""

_Target = Literal["optic_disc", "lesions", "all", "microaneurysm", "haemorrhage", "hard_exudate", "soft_exudate"]


@dataclass(frozen=True, slots=True)
class _Photograph:
    number: int
    split: str
    masks: frozenset[str]


class Source(_Contract):
    """The 81 photographs, one record each.

    Args:
        root: The folder that holds "A. Segmentation", or that folder itself.
        target: What the mask shows: the optic disc, as in study 000, the four lesion types, all five, or one lesion
            type. Where several overlap, the one that stands later in MASK_CLASSES is kept; `overlap_pixels` counts.
        lesion_labels: Whether the presence of each lesion type is a finding. Nearly all of these photographs have
            microaneurysms, haemorrhages and hard exudates, so that little can be learnt from three of the four.

    Raises:
        BadSource: There is no such folder, it has another layout, or a file is missing.
    """

    MODALITY = "colour fundus photograph"
    LICENCE = "CC BY 4.0 (IDRiD; cite Porwal et al., Data 2018)"
    LABELS: tuple[str, ...] = ()
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "type_range"}
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Study 000 names the 54 photographs with optic discs, and neither a test set, a size nor intensities. Of the
        # 54, a tenth is kept for stopping: without it no network could be fitted.
        "paper": {
            "split": "official",
            "shares": (0.9, 0.1, 0.0, 0.0),
            "size": 256,
            "options": {"target": _DISC},
            "assumed": ("geometry", "intensity", "shares", "size", "split"),
        },
    }

    def __init__(self, root: Path, *, target: _Target = "optic_disc", lesion_labels: bool = False) -> None:
        self._root = _folder(root)
        self._names = _structures(target)
        self.MASK_CLASSES: tuple[str, ...] = ("background", *self._names)
        self.LABELS = _LESIONS if lesion_labels else ()
        self._photographs = list(_photographs(self._root, {*self._names, *self.LABELS}))
        say("Note: IDRiD states no patients, so each photograph counts as a patient of its own.")

    def __len__(self) -> int:
        """Return the number of photographs."""
        return len(self._photographs)

    def parts(self) -> Sequence[_Photograph]:
        """Return the photographs in the order of their numbers."""
        return self._photographs

    def read(self, part: _Photograph) -> Iterator[Record]:
        """Yield a photograph.

        `image` is (3, H, W) uint8, `mask` (H, W) uint8, `patient` and `group` the photograph, `split` "train" or
        "test". With several structures, `attributes` has overlap_pixels, the pixels that are inside more than one.

        Raises:
            BadSource: A file cannot be read, a mask does not fit its photograph, or an optic disc is empty.
        """
        place = Path(IDRID_IMAGES, IDRID_PARTS[part.split], IDRID_IMAGE.format(part.number))
        image = read_picture(self._root / place, place.as_posix(), turned=False)
        if image.shape[0] != 3 or image.dtype != np.uint8:
            raise BadSource("A photograph has three colours of 8 bits", place.as_posix(), AGAIN)
        inside = {name: self._read_mask(part, name, image.shape[1:]) for name in part.masks}
        mask, seen = np.zeros(image.shape[1:], np.uint8), np.zeros(image.shape[1:], np.uint8)
        for value, name in enumerate(self._names, 1):
            if name in inside:
                mask[inside[name]] = value
                seen += inside[name]
        several = len(self._names) > 1
        yield Record(
            patient=place.stem,
            group=place.stem,
            image=image,
            mask=mask,
            labels={name: int(name in inside and bool(inside[name].any())) for name in self.LABELS},
            attributes={"overlap_pixels": int((seen > 1).sum())} if several else {},
            split=part.split,
        )

    def _read_mask(self, part: _Photograph, name: str, shape: tuple[int, ...]) -> Array:
        folder, ending = IDRID_TARGETS[name]
        place = Path(IDRID_MASKS, IDRID_PARTS[part.split], folder, IDRID_MASK.format(part.number, ending)).as_posix()
        inside = read_mask(self._root / place, place)
        if inside.shape != shape:
            offender = f"{place} is {inside.shape}, its photograph {shape}"
            raise BadSource("A mask has the size of its photograph", offender, AGAIN)
        if inside.mean() > _LARGEST:
            raise BadSource("A mask marks a part of its photograph", f"{place} marks most of it", AGAIN)
        if name == _DISC and not inside.any():
            raise BadSource("Every photograph shows an optic disc", f"{place} marks nothing", AGAIN)
        return inside


def _structures(target: str) -> tuple[str, ...]:
    groups = {"lesions": tuple(name for name in _PAINTED if name != _DISC), "all": _PAINTED}
    return groups.get(target, (target,))


def _folder(root: Path) -> Path:
    """Return the folder that holds images and masks: `root` itself or the one in it."""
    if not os.path.isdir(root):  # unlike that of pathlib it does not raise where one may not look
        rule = "The source's folder must exist"
        raise BadSource(rule, "the path given is no folder", "Name the folder of the IDRiD download")
    for folder in (root, root / IDRID_ROOT):
        if os.path.isdir(folder / IDRID_IMAGES):
            return folder
    layout = f"the path given has no '{IDRID_ROOT}/{IDRID_IMAGES}'"
    raise BadSource("The segmentation part of IDRiD has this layout", layout, f"Name the folder of '{IDRID_ROOT}'")


def _photographs(root: Path, wanted: set[str]) -> Iterator[_Photograph]:
    seen: set[int] = set()
    others = 0
    for split, part in IDRID_PARTS.items():
        numbers, strange = _numbers(root, f"{IDRID_IMAGES}/{part}", _IMAGE, IDRID_IMAGE.format)
        masks: dict[int, set[str]] = {number: set() for number in numbers}
        others += strange
        for name in sorted(wanted):
            folder, ending = IDRID_TARGETS[name]
            called = partial(_mask_name, ending=ending)
            found, strange = _numbers(root, f"{IDRID_MASKS}/{part}/{folder}", _MASK, called)
            others += strange
            for number in found:
                if number not in masks:
                    raise BadSource("Every mask has its photograph", f"{called(number)} of {part} has none", AGAIN)
                masks[number].add(name)
        for number, names in masks.items():
            image = IDRID_IMAGE.format(number)
            if number in seen:
                raise BadSource("A photograph is there once", f"{image} is in both sets", "Remove one of them")
            if _DISC in wanted and _DISC not in names:
                raise BadSource("Every photograph has a mask of its optic disc", f"{image} has none", AGAIN)
            yield _Photograph(number, split, frozenset(names))
        seen |= set(numbers)
    if others:
        say(f"Note: {others} files have no place in the layout of IDRiD and are not read.")


def _mask_name(number: int, *, ending: str) -> str:
    return IDRID_MASK.format(number, ending)


def _numbers(root: Path, folder: str, pattern: re.Pattern[str], called: Callable[[int], str]) -> tuple[list[int], int]:
    """Return the numbers of the files in a folder that are called as they should be, and how many others there are."""
    try:
        with os.scandir(root / folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BadSource("The folders of IDRiD are there and readable", f"not so '{folder}'", AGAIN) from error
    matches = [(name, pattern.fullmatch(name)) for name in names]
    numbers = sorted(int(match[1]) for name, match in matches if match and called(int(match[1])) == name)
    return numbers, len(names) - len(numbers)
