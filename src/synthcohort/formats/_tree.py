"""images/, masks/, samples.csv and README.md: what exports with one file a sample have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..cohort import Cohort, Facts
from ..format import Sample, each
from ._card import README, readme
from ._card import columns as columns_of
from ._tables import TABLE, write_table

IMAGES, MASKS = "images", "masks"

Encode = Callable[[Sample], tuple[bytes, bytes | None]]
"""A sample -> the files of its image and, if there is one, its mask."""


def write_tree(
    cohort: Cohort,
    folder: Path,
    *,
    ending: str,
    encode: Encode,
    said: str,
    reading: Sequence[str],
    columns: Callable[[Sample], Mapping[str, str]] = lambda sample: {},
) -> None:
    """Write all files of an export.

    Args:
        cohort: The cohort.
        folder: Where to.
        ending: Of the files, e.g. ".png".
        encode: Makes the files of a sample.
        said: Where a file says what it is, e.g. "the text chunk `Description`".
        reading: Lines of the README on how to read the files.
        columns: Further columns of the table, or other values for the common ones.
    """
    for name in (IMAGES, *([MASKS] if cohort.masks is not None else [])):
        (folder / name).mkdir()

    def write(sample: Sample) -> None:
        for name, data in zip(tree_names(sample, ending).values(), encode(sample), strict=False):
            assert data is not None, "a sample with a mask has the file of one"
            (folder / name).write_bytes(data)

    for _ in each(cohort, write, f"Writing {ending} files"):
        pass
    write_table(cohort, folder / TABLE, lambda sample: tree_names(sample, ending), columns)
    files = _files(cohort.facts, ending, said)
    card = readme(cohort, files=files, reading=[*reading, "", *columns_of(cohort)])
    (folder / README).write_text(card, encoding="utf-8")


def tree_names(sample: Sample, ending: str) -> dict[str, str]:
    """Return the columns of the table that name a sample's files."""
    names = {"image": f"{IMAGES}/{sample.name}{ending}"}
    return names if sample.mask is None else {**names, "mask": f"{MASKS}/{sample.name}{ending}"}


def _files(facts: Facts, ending: str, said: str) -> dict[str, str]:
    held = {f"{IMAGES}/*{ending}": f"one image each; {said} says what it is"}
    if facts.mask_classes:
        held[f"{MASKS}/*{ending}"] = "the mask of the image of the same name"
    return held | {TABLE: "one row an image, with the columns below"}
