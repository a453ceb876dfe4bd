"""Measure the memory and time that `prepare` needs for its own books, with as many images as the RSNA set has.

    python benchmark/prepare_memory.py [--images 752803] [--patients 18938] [--folder DIR]

The images are 8 x 8 pixels of noise that are made, not read: what is measured is what grows with the number of images
(ids, labels, digests, the table), not the reading. Prints one JSON line with the peak memory of the process that writes
and of a worker, and appends it to benchmark/results/prepare_memory.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from machine import circumstances

from synthcohort.layouts import RSNA_SUBTYPES
from synthcohort.prepare import prepare
from synthcohort.source import Source as _Contract
from synthcohort.types import Record

SIDE = 8
_RESULTS = Path(__file__).parent / "results" / "prepare_memory.jsonl"


class Source(_Contract):
    """Noise images in series of 40, with ids and labels as those of head CT."""

    MODALITY = "noise"
    LICENCE = "none: noise"
    LABELS: tuple[str, ...] = ("no_finding", *RSNA_SUBTYPES[:-1])
    REVISION: ClassVar[int] = 1
    VALUE_RULE: Mapping[str, Any] = {"rule": "type_range"}

    def __init__(self, root: Path, *, images: int = 752_803, patients: int = 18_938) -> None:
        self._images, self._patients = images, patients

    def __len__(self) -> int:
        """Return the number of images."""
        return self._images

    def parts(self) -> Sequence[int]:
        """Return the numbers of the images."""
        return range(self._images)

    def read(self, part: int) -> Iterator[Record]:
        """Yield an image of noise."""
        series, index = divmod(part, 40)
        findings = [name for place, name in enumerate(self.LABELS[1:]) if series % 7 == place and index % 3 == 0]
        values = {name: int(name in findings) for name in self.LABELS} | {"no_finding": int(not findings)}
        pixels = np.random.default_rng(part).integers(0, 256, (1, SIDE, SIDE), dtype=np.uint8)
        yield Record(
            patient=f"ID_{series % self._patients:08x}",
            group=f"ID_{series:010x}",
            image=pixels,
            labels=values,
            attributes={"position_mm": index * 5.0},
            slice_index=index,
            spacing_mm=(0.488281, 0.488281),
        )


def main() -> int:
    """Run the measurement; exit status 1 when 2 GiB are passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=752_803)
    parser.add_argument("--patients", type=int, default=18_938)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-memory"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    (arguments.folder / "download").mkdir(parents=True)
    os.environ["SYNTHCOHORT_HOME"] = str(arguments.folder / "home")
    options = {"images": arguments.images, "patients": arguments.patients}
    start = time.perf_counter()
    prepare(
        "prepare_memory:Source",
        arguments.folder / "download",
        out=arguments.folder / "cohort",
        size=SIDE,
        options=options,
    )
    peaks = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    row = {
        "benchmark": "prepare_memory",
        **options,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_gib": {"writer": round(peaks[0], 2), "worker": round(peaks[1], 2)},
        "load_average": list(os.getloadavg()),
        **circumstances(),
    }
    shutil.rmtree(arguments.folder)
    print(json.dumps(row))
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return 0 if peaks[0] < 2 else 1


if __name__ == "__main__":
    sys.exit(main())
