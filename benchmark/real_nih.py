"""Cross-validate label-conditional generators on real chest radiographs and record scores and cost, but no pixel.

    python benchmark/real_nih.py ../shared/data/nih_cxr14 --work /tmp/nih64

Finished parts are reused, so an interrupted benchmark goes on where it stopped;
its seconds are then too few.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import circumstances
from steps import Steps

from synthcohort.cohort import Cohort

RESULTS = Path(__file__).parent / "results" / "nih_64.jsonl"
SIZE, FOLDS, LEARNERS = 64, 3, 1
GENERATORS = "flow,wgan_gp"
TRAINING = ["--images-seen", "30k", "--batch", "32"]
# Those that 50 images or more have. Not "No Finding": among these 1,000 images it is the complement of Pneumonia, and
# would count one task twice.
FINDINGS = "Atelectasis,Effusion,Infiltration,Pneumonia,Edema"
OPTIONS = ["patch=4", "components=64", "filters=32", "critic_warmup=0"]


def main() -> None:
    """Run everything and replace the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="The ChestX-ray14 download, or a part of it.")
    parser.add_argument("--work", type=Path, required=True, help="Where cohorts, runs and evaluations go.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    steps, study = Steps(given.work), given.work / "study"
    cohorts = ["--size", SIZE, "--findings", FINDINGS, "--folds", FOLDS, "--learners", LEARNERS]
    options = [word for option in OPTIONS for word in ("--set", option)]
    command = ["study", "crossvalidate", "nih_cxr14", given.root, "--generators", GENERATORS, "--out", study]
    steps.run(*command, *cohorts, *TRAINING, *options)
    rows = [{"kind": "auc", **row} for row in json.loads((study / "auc.json").read_text(encoding="utf-8"))]
    rows += [{"kind": "fold mean", **row} for row in json.loads((study / "table.json").read_text(encoding="utf-8"))]
    failures = [json.loads(line) for line in (study / "failures.jsonl").read_text(encoding="utf-8").splitlines()]
    rows += [{"kind": "failure", **row} for row in failures]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in [_header(study, steps), *rows]), encoding="utf-8")


def _header(study: Path, steps: Steps) -> dict[str, Any]:
    folds = [Cohort(path) for path in sorted((study / "cohorts").iterdir())]
    evaluations = sorted((study / "evaluations").iterdir())
    return {
        "kind": "run",
        "benchmark": "real_nih",
        "source": "NIH ChestX-ray14 (Wang et al. 2017), 1,000 images of 682 patients as they were at hand",
        "labels": folds[0].facts.labels,
        "cohorts": [fold.counts() for fold in folds],
        "commands": steps.seconds,
        "seconds_of_evaluations": {
            path.name: json.loads((path / "eval.json").read_text(encoding="utf-8"))["seconds"] for path in evaluations
        },
        "seed": 0,
        **circumstances(),
    }


if __name__ == "__main__":
    main()
