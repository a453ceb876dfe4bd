"""Run the whole road on a real ACDC download and record commands, seconds and scores; no pixel is recorded.

    python benchmark/real_acdc.py ../shared/data/acdc --work /tmp/acdc64 [--weights squeezenet=FILE]

Finished parts are reused, so an interrupted benchmark goes on where it stopped. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import circumstances
from steps import Steps

from synthcohort.cohort import Cohort

RESULTS = Path(__file__).parent / "results" / "acdc_64.jsonl"
TRAINING = {
    "flow": ["--images-seen", "80k", "--batch", "32", "--set", "patch=4"],
    "hinge": ["--images-seen", "100k", "--batch", "64", "--set", "filters=32"],
}
TASK = ["--set", "images_seen=8000"]


def main() -> None:
    """Run everything and replace the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="The ACDC download.")
    parser.add_argument("--work", type=Path, required=True, help="Where cohorts, runs and evaluations go.")
    parser.add_argument("--weights", action="append", default=[], help="EXTRACTOR=FILE, repeatable.")
    parser.add_argument("--seeds", type=int, default=3, help="Learner seeds.")
    parser.add_argument("--samples", type=int, default=2000)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    steps = Steps(given.work)
    real = given.work / "real"
    steps.run("prepare", "acdc", given.root, "--size", "64", "--out", real)
    rows: list[dict[str, Any]] = []
    for name, training in TRAINING.items():
        run, made, scored = (given.work / f"{kind}_{name}" for kind in ("run", "synthetic", "eval"))
        steps.run("train", real, "--generator", name, "--out", run, *training)
        steps.run("sample", run, "--n", given.samples, "--out", made)
        weights = [word for text in given.weights for word in ("--weights", text)]
        steps.run(
            "evaluate",
            real,
            made,
            "--out",
            scored,
            "--seeds",
            given.seeds,
            "--jobs",
            given.work / "jobs",
            *TASK,
            *weights,
        )
        lines = (scored / "scores.jsonl").read_text(encoding="utf-8").splitlines()
        rows += [{"kind": "score", "generator": name, **json.loads(line)} for line in lines]
    evaluations = [given.work / f"eval_{name}" for name in TRAINING]
    steps.run("report", *evaluations, "--out", given.work / "report.html")
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in [_header(real, steps), *rows]), encoding="utf-8")


def _header(real: Path, steps: Steps) -> dict[str, Any]:
    return {
        "kind": "run",
        "benchmark": "real_acdc",
        "source": "ACDC (Bernard et al. 2018), centre-cropped copy, 100 patients, CC BY-NC-SA 4.0",
        "cohort": Cohort(real).counts(),
        "commands": steps.seconds,
        "seed": 0,
        **circumstances(),
    }


if __name__ == "__main__":
    main()
