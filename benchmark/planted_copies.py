"""What share of planted copies the search for copies finds, per kind and space, and how often it is wrong.

    python benchmark/planted_copies.py --cohort "heart phantom" COHORT [--cohort NIH COHORT ...] [--per-kind 100]

The thresholds are read as `evaluate` reads them. False alarms are counted on the reference half that nothing touched
(`holdout`), and copies on purpose (`copycat`: training images, jittered) are judged beside. Appends one JSON line a
cohort to benchmark/results/planted_copies.jsonl; a line that is there already is not made again. A cohort is named by
its kind, and neither a path nor a pixel is written. The search's constants were chosen on planted copies of seed 0 of
the radiographs and the heart images: seed 1, the default here, plants others.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import circumstances

from synthcohort import plugins
from synthcohort.cohort import Cohort
from synthcohort.evaluate import _planted, _rows, _sets, _spaces
from synthcohort.metrics import nearest
from synthcohort.runs import fingerprint
from synthcohort.statistics import clopper_pearson
from synthcohort.types import Features

RESULTS = Path(__file__).parent / "results" / "planted_copies.jsonl"


def measured(cohort: Cohort, per_kind: int, seed: int) -> dict[str, Any]:
    """Return shares of copies among planted kinds and controls, in each deciding space and over both."""
    real, values = _sets.real_sets(cohort, ()), cohort.facts.value_range
    judged = _planted.planted(real.train, values, seed=seed, count=per_kind)
    judged["holdout"] = real.holdout
    judged["copycat"] = _sets.control(_rows.COPYCAT, cohort, real.train, (), count=per_kind, seed=seed)
    flags: dict[str, dict[str, np.ndarray]] = {}
    facts: dict[str, Any] = {}
    for space in _spaces.DECIDING:
        start = time.perf_counter(), time.process_time()
        train, held_out = (small(images, values, space) for images in (real.train, real.held_out))
        calibration = nearest.calibrate(train, held_out)
        flags[space] = {
            name: nearest.verdicts(train, small(images, values, space), held_out, calibration=calibration).copy
            for name, images in judged.items()
        }
        facts[space] = {
            "threshold": round(calibration.threshold, 4),
            "calibrated_on": calibration.images,
            "expected_false_alarms": round(calibration.false_alarms, 5),
            "seconds": round(time.perf_counter() - start[0], 1),
            "cpu_seconds": round(time.process_time() - start[1], 1),
        }
    flags[" or ".join(_spaces.DECIDING)] = {
        name: np.logical_or.reduce([f[name] for f in flags.values()]) for name in judged
    }
    counts = {"train": len(real.train), "train_patients": real.train.patient_count, "holdout": len(real.holdout)}
    return {"images": counts, "spaces": facts, "found": {space: shares(found) for space, found in flags.items()}}


def small(images: _sets.ImageSet, values: tuple[float, float], space: str) -> Features:
    """Return a set in small pixels, under the name of a space."""
    return Features(plugins.find("extractors", "pixels")().extract(images.images, values), images.patients, space)


def shares(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return name -> [found, of, low, high], exact 95 % intervals, and the same over all kinds."""
    kinds = [copy for name, copy in found.items() if name in _planted.KINDS]
    every = {**found, "all kinds": np.concatenate(kinds)}
    return {
        name: [int(copy.sum()), len(copy), *(round(end, 4) for end in clopper_pearson(int(copy.sum()), len(copy)))]
        for name, copy in every.items()
    }


def main() -> None:
    """Measure every cohort that has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cohort", nargs=2, action="append", required=True, metavar=("KIND", "FOLDER"))
    parser.add_argument("--per-kind", type=int, default=_planted.PER_KIND)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    done = {json.loads(line)["key"] for line in lines}
    for kind, folder in options.cohort:
        cohort = Cohort(Path(folder))
        config = {
            "cohort": cohort.identity,
            "revisions": [nearest.REVISION, _planted.REVISION],
            "per_kind": options.per_kind,
            "seed": options.seed,
        }
        key = fingerprint(config)[:16]
        if key in done:
            continue
        facts = {"benchmark": "planted_copies", "key": key, "cohort": kind, "shape": list(cohort.facts.shape)}
        found = measured(cohort, options.per_kind, options.seed)
        revisions = dict(zip(("nearest", "planted"), config["revisions"], strict=True))
        row = {**facts, "seed": options.seed, "revisions": revisions, **found, **circumstances()}
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
