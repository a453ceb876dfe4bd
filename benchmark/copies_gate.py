"""The gate on copies over seeds: `holdout` has to pass it, `memoriser` and `copycat` have to fail it.

    python copies_gate.py --work FOLDER [--seeds 20] [--patients 24] [--out results/copies_gate.jsonl]

For each seed: another ACDC phantom, prepared at 32 px with every second patient in training; each control trained on
it, as many samples as training images, and the search for copies in small pixels and of masks. One JSON line a gate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthcohort import evaluate, prepare, runs, sample, train
from synthcohort.cli import main as command_line

RIGHT = {"holdout": "met", "memoriser": "not met", "copycat": "not met"}
IMAGES_SEEN = {"memoriser": 30_000}
SHARES = (0.5, 0.1, 0.1, 0.3)


def gates(work: Path, seed: int, patients: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every gate of every control of one seed."""
    folder = work / f"seed-{seed}"
    cohort = folder / "cohort"
    if not cohort.exists():
        if not (folder / "download").exists():
            made = ["phantom", "acdc", str(folder / "download"), "--patients", str(patients), "--seed", str(seed)]
            assert command_line([*made, "--set", "size=96"]) == 0
        prepare("acdc", folder / "download", out=cohort, size=32, seed=seed, shares=SHARES)
    for control in RIGHT:
        run, synthetic, out = (folder / f"{control}-{what}" for what in ("run", "samples", "eval"))
        seen = IMAGES_SEEN.get(control, 1000)
        train(cohort, generator=control, out=run, images_seen=seen, seed=seed)
        sample(run, out=synthetic, like=cohort, seed=seed)
        scores = evaluate(
            cohort, synthetic, out=out, metrics=["nearest", "mask_copies"], extractors=[], tasks=[], seed=seed
        )
        for row in scores:
            halves = row.role == "ceiling" and control == "holdout"  # the same for all three
            if row.metric.endswith("_gate") and (row.role == "subject" or halves):
                excess = next(
                    s for s in scores if s.metric == row.metric.replace("_gate", "_excess") and s.role == row.role
                )
                yield {
                    "seed": seed,
                    "control": control if row.role == "subject" else "half of holdout",
                    "gate": row.metric,
                    "p": row.value,
                    "verdict": row.reason.split(":")[0] if row.status == "ok" else "not estimable",
                    "excess": excess.value,
                    "low": excess.low,
                    "high": excess.high,
                    "reason": row.reason,
                }


def main() -> None:
    """Run every seed that is not in the results yet, and print how often each control got its right answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "copies_gate.jsonl")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for seed in sorted(set(range(given.seeds)) - {row["seed"] for row in rows}):
        with contextlib.redirect_stdout(sys.stderr):
            rows += list(gates(given.work, seed, given.patients))
        runs.write_atomic(given.out, "".join(json.dumps(row) + "\n" for row in rows))
    for control, right in [*RIGHT.items(), ("half of holdout", "met")]:
        for gate in ("copies_gate", "mask_copies_gate"):
            verdicts = [row["verdict"] for row in rows if row["control"] == control and row["gate"] == gate]
            print(f"{control}, {gate}: {verdicts.count(right)} of {len(verdicts)} {right}")


if __name__ == "__main__":
    main()
