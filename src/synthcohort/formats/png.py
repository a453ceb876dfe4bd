"""PNG files with a table: what anything reads, this tool's own source `folder` included."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..cohort import VALUE_RANGES, Cohort, Facts
from ..format import Format as _Contract
from ..format import origin
from ._png_samples import PNG_SAYS, png_encoder
from ._tree import write_tree


class Format(_Contract):
    """PNG images at full bit depth (8 or 16 bit, grey or RGB) and PNG masks of class indices, listed in samples.csv.

    Every file says what it is in the text chunk "Description", the table in the column `synthetic`.
    """

    REVISION: ClassVar[int] = 1

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write images/, masks/, samples.csv and README.md."""
        reading = _reading(cohort.facts)
        write_tree(cohort, folder, ending=".png", encode=png_encoder(cohort), said=PNG_SAYS, reading=reading)


def _reading(facts: Facts) -> list[str]:
    """Return how to take the export up again with this tool."""
    sets = [f"mask_classes={','.join(facts.mask_classes)}"] if facts.mask_classes else []
    sets += ["provenance=synthetic"] if origin(facts).synthetic else []
    sets += (
        [] if facts.value_range == VALUE_RANGES[facts.dtype] else ["value_range={:g},{:g}".format(*facts.value_range)]
    )
    command = f"synthcohort prepare folder THIS_FOLDER --size {max(facts.shape[1:])} --out COHORT"
    lines = ["Pixels of masks are class indices. With the tool that wrote it:", ""]
    return [*lines, "    " + " ".join([command, *(f"--set '{each}'" for each in sets)])]
