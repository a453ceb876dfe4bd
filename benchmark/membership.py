"""What membership attacks say where the answer is known: a memoriser's samples, and patients whom nothing met.

    python benchmark/membership.py --cohort "heart phantom" COHORT [--samples COHORT_OF_THE_MEMORISER]

`train COHORT --generator memoriser --images-seen 100k`, then `sample --n 1500`, make the samples. Everything is in
small pixels, as `evaluate` has it: members are training images, non-members test patients and half of the reference
patients; `holdout`, the other half, stands in the place of the synthetic images and belongs to neither side. Appends
one JSON line to benchmark/results/membership.jsonl: subject -> attack -> area, low, high (95 %).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from machine import circumstances

from synthcohort import plugins
from synthcohort.cohort import Cohort, check_comparable
from synthcohort.evaluate import _sets
from synthcohort.metrics import membership
from synthcohort.types import Features

RESULTS = Path(__file__).parent / "results" / "membership.jsonl"


def main() -> None:
    """Attack both and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", nargs=2, required=True, metavar=("KIND", "FOLDER"))
    parser.add_argument("--samples", type=Path, help="What the memoriser made of the same cohort.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    kind, folder = given.cohort
    cohort = Cohort(Path(folder))
    real = _sets.real_sets(cohort, ())
    subjects = {"holdout": real.holdout}
    if given.samples:
        made = Cohort(given.samples)
        check_comparable(cohort, made)
        subjects["memoriser"] = _sets.whole(made, "memoriser", ())

    def seen(images: _sets.ImageSet) -> Features:
        small = plugins.find("extractors", "pixels")().extract(images.images, cohort.facts.value_range)
        return Features(small, images.patients, "pixels")

    members, others = seen(real.train), seen(real.held_out)
    areas = {}
    for name, images in subjects.items():
        values = membership.score(members, seen(images), others, seed=given.seed)
        areas[name] = {
            value.label: [None if end is None else round(end, 4) for end in (value.value, value.low, value.high)]
            for value in values
            if value.metric == "membership_auc"
        }
    sides = {"members": real.train, "non-members": real.held_out, **subjects}
    counts = {name: {"images": len(images), "patients": images.patient_count} for name, images in sides.items()}
    row = {"benchmark": "membership", "cohort": kind, "shape": list(cohort.facts.shape), "seed": given.seed}
    row |= {"revision": membership.REVISION, "counts": counts, "areas": areas, **circumstances()}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
