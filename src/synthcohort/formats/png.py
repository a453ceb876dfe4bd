"""PNG files with a table: what anything reads, this tool's own source `folder` included."""

from __future__ import annotations

import shlex
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

    REVISION: ClassVar[int] = 2

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write images/, masks/, samples.csv and README.md."""
        reading = _reading(cohort.facts)
        write_tree(cohort, folder, ending=".png", encode=png_encoder(cohort), said=PNG_SAYS, reading=reading)


def _reading(facts: Facts) -> list[str]:
    """Return how to take the export up again with this tool."""
    low, high = facts.value_range
    sets = {
        "provenance": "synthetic" if origin(facts).synthetic else "",
        "mask_classes": ",".join(facts.mask_classes),
        "value_range": "" if facts.value_range == VALUE_RANGES[facts.dtype] else f"{low:g},{high:g}",
        "modality": facts.modality,
        "licence": facts.licence,
    }
    bits = ["--bits", "16"] if facts.dtype == "uint16" else []
    words = ["synthcohort", "prepare", "folder", "THIS_FOLDER", "--size", str(max(facts.shape[1:])), *bits]
    for key, value in sets.items():
        words += ["--set", f"{key}={' '.join(value.split())}"] if value else []
    command = shlex.join([*words, "--out", "COHORT"])
    masks = ["A pixel of a mask is a class index.", ""] if facts.mask_classes else []
    return [*masks, "To take it up again with the tool that wrote it:", "", f"    {command}"]
