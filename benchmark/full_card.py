"""What a whole card takes: n synthetic images against n real training images at 64 px, stage by stage, and from cache.

    python benchmark/full_card.py --work /tmp/full_card [--images 10000] [--threads 2] [--weights squeezenet=FILE]

A heart phantom gives as many training images as asked for, and a Gaussian fitted to their pixels as many synthetic
ones: what an evaluation takes hardly depends on how good they are. Three runs are timed, each in its own process: the
evaluation with its report; the same again, which is read back; and one into a new folder that shares features and fits
(`--jobs`) only. Finished parts are reused, so an interrupted benchmark goes on where it stopped, but the time of an
interrupted evaluation is not that of a whole one: remove WORK/eval* and seconds.json and start again. Run it alone on
the machine. Appends one JSON line to benchmark/results/full_card.jsonl and prints the stages beside their budget.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from machine import circumstances
from steps import Steps

from synthcohort.cohort import Cohort

RESULTS = Path(__file__).parent / "results" / "full_card.jsonl"
SHARES, TRAIN_SHARE, SLICES = "0.6,0.08,0.16,0.16", 0.6, 17.8
"""Of patients; images of a patient of the phantom, end-diastole and end-systole."""
BUDGET = {"utility": 25, "features": 4, "distances": 5, "rules": 1, "copies": 15, "attacks": 8, "report": 1}
"""Minutes of a stage for 10,000 against 10,000 images on 2 CPU cores: 59 of the 60 that a card may take."""


def main() -> None:
    """Make what is missing, time the three runs and print the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Where cohorts, runs and evaluations go.")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", action="append", default=[], help="EXTRACTOR=FILE, repeatable.")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    given.work.mkdir(parents=True, exist_ok=True)
    steps = Steps(given.work)
    real, made = _cohorts(steps, given.work, given.images)
    weights = [word for text in given.weights for word in ("--weights", text)]
    first, other, page = (given.work / name for name in ("eval", "eval_cached", "report.html"))
    evaluation = ["evaluate", real, made, "--jobs", given.work / "jobs", *weights, "--out"]
    seconds = {
        "card": steps.run(*evaluation, first),
        "report": steps.run("report", first, "--out", page),
        "read back": steps.run(*evaluation, first, again=True),
        "report again": steps.run("report", first, "--out", page, again=True),
        "from cache": steps.run(*evaluation, other),
    }
    row = _row(given, Cohort(real), seconds, _stages(first), _stages(other))
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(table(row))


def _cohorts(steps: Steps, work: Path, images: int) -> tuple[Path, Path]:
    """Return the real and the synthetic cohort, made on first use."""
    download, real, run, made = (work / name for name in ("download", "real", "run", "synthetic"))
    patients = round(images / SLICES / TRAIN_SHARE * 1.02)  # a little more than enough: patients have unequal slices
    if not real.exists():
        if not download.exists():
            steps.run("phantom", "acdc", download, "--patients", patients)
        steps.run("prepare", "acdc", download, "--size", 64, "--shares", SHARES, "--out", real)
    if not made.exists():
        steps.run("train", real, "--generator", "gaussian", "--out", run)
        steps.run("sample", run, "--n", images, "--out", made)
    return real, made


def _stages(folder: Path) -> dict[str, Any]:
    stages: dict[str, Any] = json.loads((folder / "eval.json").read_text(encoding="utf-8"))["stages"]
    return stages


def _row(
    given: argparse.Namespace, real: Cohort, seconds: dict[str, float], stages: dict[str, Any], cached: dict[str, Any]
) -> dict[str, Any]:
    return {
        "benchmark": "full_card",
        "images": given.images,
        "real": real.counts(),
        "threads": given.threads,
        "extractors": ["task", "texture", "radiomics", *(text.partition("=")[0] for text in given.weights)],
        "seconds": seconds,
        "stages": stages,
        "stages_from_cache": cached,
        "budget_minutes": BUDGET,
        **circumstances(),
    }


def table(row: dict[str, Any]) -> str:
    """Return the stages of a row beside their budget, as text."""
    head = ("stage", "seconds", "cpu", "budget", "cached")
    lines = [f"{head[0]:<12}{head[1]:>9}{head[2]:>9}{head[3]:>9}{head[4]:>9}"]
    for name, each in row["stages"].items():
        cached = row["stages_from_cache"].get(name, {"seconds": 0.0})["seconds"]
        budget = f"{60 * BUDGET[name]:>9}" if name in BUDGET else f"{'':>9}"
        lines.append(f"{name:<12}{each['seconds']:>9.1f}{each['cpu_seconds']:>9.1f}{budget}{cached:>9.1f}")
    whole = [f"{name}: {seconds:.1f} s" for name, seconds in row["seconds"].items()]
    return "\n".join([*lines, *whole])


if __name__ == "__main__":
    main()
