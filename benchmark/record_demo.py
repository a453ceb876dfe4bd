"""Record the headline numbers of a finished demo, with the machine and versions they were made on.

python benchmark/record_demo.py demo --kind heart --seconds 700
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from machine import circumstances

from synthcohort.cohort import Cohort
from synthcohort.demo import KINDS
from synthcohort.runs import read_run

RESULTS = Path(__file__).parent / "results" / "demo.jsonl"


def main() -> None:
    """Append one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="The folder that `synthcohort demo --out` wrote.")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="Wall time, without set-up.")
    given = parser.parse_args()
    content = json.loads((given.demo / "report.json").read_text(encoding="utf-8"))
    subject = content["subjects"][0]
    row = {
        "benchmark": "demo",
        "command": f"synthcohort demo --kind {given.kind}",
        "seconds": given.seconds,
        "cohort": Cohort(given.demo / KINDS[given.kind].cohort).counts(),
        "training": read_run(given.demo / "runs" / subject["generator"])["config"],
        "headline": subject["headline"],
        "attacks": [
            row for row in subject["scores"] if row["metric"] == "membership_auc" and row["label"] == "distance"
        ],
        "utility_by_seed": subject["utility_by_seed"],
        "controls": content["controls"],
        **circumstances(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
