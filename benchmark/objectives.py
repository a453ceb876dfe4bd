"""Compare the five GAN objectives over three seeds on both phantoms and record scores, failures and cost.

    python benchmark/objectives.py --work /tmp/objectives [--phantom acdc]

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

RESULTS = Path(__file__).parent / "results" / "objectives.jsonl"
GENERATORS = "dcgan,lsgan,wgan,wgan_gp,hinge"
SIZE, SEEDS = 32, 3
PHANTOMS = {  # options of `phantom`, options of `prepare`, images seen
    "acdc": (["--patients", "100"], [], "40k"),
    "chexpert": (
        ["--patients", "300", "--set", "side=64"],
        ["--findings", "No Finding,Cardiomegaly,Edema,Pleural Effusion,Support Devices"],
        "20k",
    ),
}
# The warm-up of the Wasserstein critics, 25 generator steps of 100 critic steps, is more than all this training.
TRAINING = ["--batch", "32", "--set", "filters=32", "--set", "critic_warmup=0"]


def main() -> None:
    """Run everything and replace the lines of the phantoms that were run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Where downloads, cohorts and studies go.")
    parser.add_argument("--phantom", choices=PHANTOMS, action="append", help="Both when left out.")
    given = parser.parse_args()
    chosen = given.phantom or list(PHANTOMS)
    rows = [row for phantom in chosen for row in _study(given.work / phantom, phantom)]
    before = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    kept = [row for row in map(json.loads, before) if row["phantom"] not in chosen]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in [*kept, *rows]), encoding="utf-8")


def _study(work: Path, phantom: str) -> list[dict[str, Any]]:
    work.mkdir(parents=True, exist_ok=True)
    download, cohort, study, steps = work / "download", work / "cohort", work / "study", Steps(work)
    written, prepared, seen = PHANTOMS[phantom]
    if not download.exists():
        steps.run("phantom", phantom, download, *written)
    steps.run("prepare", phantom, download, "--size", SIZE, "--out", cohort, *prepared)
    command = ["study", "compare", cohort, "--generators", GENERATORS, "--seeds", SEEDS, "--out", study]
    steps.run(*command, "--images-seen", seen, *TRAINING)
    header = {
        "kind": "run",
        "benchmark": "objectives",
        "cohort": Cohort(cohort).counts(),
        "labels": Cohort(cohort).facts.labels,
        "commands": steps.seconds,
        **circumstances(),
    }
    scores = [{"kind": "score", **row} for row in json.loads((study / "table.json").read_text(encoding="utf-8"))]
    failed = (study / "failures.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {"phantom": phantom, **row}
        for row in [header, *scores, *({"kind": "failure", **json.loads(f)} for f in failed)]
    ]


if __name__ == "__main__":
    main()
