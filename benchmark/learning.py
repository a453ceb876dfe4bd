"""The learning table: every generator on 32 px phantoms, scored on 5,000 and more images of held-out patients.

    python benchmark/learning.py --work /tmp/learning [--phantom heart] [--generators flow,edm] [--seeds 3]
        [--seconds 240 | --images 200000] [--share 1/2] [--device auto]

One line a run goes to results/learning.jsonl as soon as it is finished, failures included; what is there already is not
run again, so the table may be built over as many starts as it needs. `--share 1/2` takes every second run, for two
processes side by side. With `--seconds` each generator sees as many images as it is measured to see in that much
processor time (wall time on a GPU), without what a run costs before and after its steps; with `--images` all see the
same. `--untrained` scores generators after a single step, what each has to beat. `--attack` adds how well an attacker
tells training patients from others to rows whose samples are still there. `--show` prints the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import circumstances
from steps import Steps

from synthcohort import plugins
from synthcohort.cohort import Cohort
from synthcohort.errors import InputError, SynthcohortError
from synthcohort.evaluate import evaluate
from synthcohort.runs import OUTCOME
from synthcohort.sample import sample
from synthcohort.train import train

RESULTS = Path(__file__).parent / "results" / "learning.jsonl"
FIRST = ("gaussian", "flow", "edm", "stylegan2", "cpdgan", "r3gan", "wgan_gp")
PHANTOMS: dict[str, dict[str, list[str]]] = {
    "heart": {
        "phantom": ["acdc", "--patients", "640"],
        "prepare": ["acdc", "--size", "32", "--shares", "0.3,0.04,0.48,0.18"],
    },
    "chest": {
        "phantom": ["chexpert", "--patients", "5000", "--set", "side=64"],
        "prepare": [
            "chexpert", "--size", "32", "--shares", "0.4,0.06,0.42,0.12",
            "--findings", "No Finding,Cardiomegaly,Edema,Pleural Effusion,Support Devices",
        ],
    },
}  # fmt: skip
BATCH, SAMPLES, SPEED_IMAGES = 16, 4000, (1600, 4800)
"""Small batches: at equal seconds they leave more steps, of which trainings of minutes have few."""
LEFT_OUT = ("precision", "recall", "density", "dice_slice", "nearest_similarity_median")
ATTACK = "membership_auc"
COLUMNS = {
    "Dice, share of real": "dice_ratio mean synthetic->real subject",
    "AUC": "auc mean synthetic->real subject",
    "AUC, less than real": "auc_gap mean synthetic->real subject",
    "coverage": "coverage image texture subject",
    "Frechet, texture": "frechet image texture subject",
    "copies": "copies copies pixels subject",
    "attack": f"{ATTACK} distance subject",
}
OPTIONS: dict[str, list[str]] = {"wgan": ["critic_warmup=0"]}
"""Of trainings of minutes; everything else is the generator's default."""


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="Where downloads, cohorts and runs go.")
    parser.add_argument("--phantom", choices=PHANTOMS, default="heart")
    parser.add_argument("--generators", default=",".join(FIRST), help="Names, or all.")
    parser.add_argument("--seeds", type=int, default=3)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=int, help="Training time of each run.")
    budget.add_argument("--images", type=int, help="Images that each run sees.")
    budget.add_argument("--untrained", action="store_true", help="One step only.")
    parser.add_argument("--share", default="1/1", help="Which of how many shares of the runs.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--attack", action="store_true", help="Attack samples of rows that were not attacked yet.")
    parser.add_argument("--show", action="store_true", help="Print the table.")
    given = parser.parse_args()
    if given.show:
        print(table(rows()))
        return
    cohort = prepared(given.work / given.phantom, given.phantom)
    if given.attack:
        _attack_all(given, cohort)
        return
    for generator, seed in _missing(given):
        row = _measured(given, cohort, generator, seed)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(
            json.dumps({key: row.get(key) for key in ("generator", "seed", "budget", "scores", "failure")}), flush=True
        )


def rows() -> list[dict[str, Any]]:
    """Return the lines there are."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.exists() else []


def prepared(work: Path, phantom: str) -> Cohort:
    """Return the cohort, made on first use."""
    work.mkdir(parents=True, exist_ok=True)
    steps, download, cohort = Steps(work), work / "download", work / "cohort"
    kind, *written = PHANTOMS[phantom]["phantom"]
    source, *chosen = PHANTOMS[phantom]["prepare"]
    if not cohort.exists():
        if not download.exists():
            steps.run("phantom", kind, download, *written)
        steps.run("prepare", source, download, "--out", cohort, *chosen)
    return Cohort(cohort)


def _missing(given: argparse.Namespace) -> Iterator[tuple[str, int]]:
    names = plugins.names("generators") if given.generators == "all" else given.generators.split(",")
    which, of = (int(part) for part in given.share.split("/"))
    done = {_key(row) for row in rows()}
    for place, (seed, name) in enumerate((seed, name) for seed in range(given.seeds) for name in names):
        revision = plugins.find("generators", name).REVISION
        key = (given.phantom, name, revision, seed, _budget(given))
        if place % of == which - 1 and key not in done:
            yield name, seed


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["phantom"], row["generator"], row["revision"], row["seed"], row["budget"]


def _budget(given: argparse.Namespace) -> str:
    if given.untrained:
        return "one step"
    return f"{given.seconds} s" if given.seconds else f"{given.images or 100_000} images"


def _measured(given: argparse.Namespace, cohort: Cohort, generator: str, seed: int) -> dict[str, Any]:
    plugin = plugins.find("generators", generator)
    name = f"{generator}-{plugin.REVISION}-{seed}-{_budget(given).replace(' ', '')}"
    out = given.work / given.phantom / name
    row = {
        "benchmark": "learning",
        "phantom": given.phantom,
        "generator": generator,
        "revision": plugin.REVISION,
        "seed": seed,
        "budget": _budget(given),
        "options": OPTIONS.get(generator, []),
        "n_train": len(cohort.split("train")),
        "n_test": len(cohort.split("test")),
    }
    common = {"batch": BATCH, "seed": seed, "device": given.device, "options": OPTIONS.get(generator, [])}
    images = _images(given, cohort, generator, common)
    try:
        start, worked = time.perf_counter(), time.process_time()
        resumed = (out / "run").exists()
        run = train(cohort.path, generator=generator, out=out / "run", images_seen=images, **common)
        if not resumed:  # else the seconds would be those of the rest
            row["train_processor_seconds"] = round(time.process_time() - worked, 1)
            row["train_seconds"] = round(time.perf_counter() - start, 1)
        start = time.perf_counter()
        made = sample(run, out=out / "samples", n=SAMPLES, seed=seed, device=given.device)
        row["sample_seconds"] = round(time.perf_counter() - start, 1)
        row["images_seen"] = images if plugin.ITERATIVE else len(cohort.split("train"))
        if (run / OUTCOME).exists():
            row["outcome"] = json.loads((run / OUTCOME).read_text(encoding="utf-8"))
        row["scores"] = _scores(given, cohort, made, out / "eval", seed)
        if not given.untrained:
            row["scores"] |= _attacked(cohort, made.path, out / "attack", seed)
    except SynthcohortError as error:
        if isinstance(error, InputError):
            raise
        row["failure"] = str(error)  # a failure is a result
    return {**row, **circumstances()}


def _images(given: argparse.Namespace, cohort: Cohort, generator: str, common: dict[str, Any]) -> int:
    """Return how many images a run sees: as told, or as many as fit into its seconds at the speed measured here."""
    if given.untrained or not plugins.find("generators", generator).ITERATIVE:
        return BATCH
    if not given.seconds:
        return int(given.images or 100_000)
    file = given.work / given.phantom / "speeds.json"
    speeds = json.loads(file.read_text()) if file.exists() else {}
    if generator not in speeds:
        speeds[generator] = _speed(file.parent, cohort, generator, common)
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, **speeds}))
    return max(BATCH, int(speeds[generator] * given.seconds) // BATCH * BATCH)


def _speed(work: Path, cohort: Cohort, generator: str, common: dict[str, Any]) -> float:
    """Return training images a second, from two short runs: what both do once cancels out."""
    clock, taken = (time.perf_counter if torch.cuda.is_available() else time.process_time), []
    for images in SPEED_IMAGES:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            start = clock()
            train(cohort.path, generator=generator, out=Path(folder) / "run", images_seen=images, **common)
            taken.append(clock() - start)
    return (SPEED_IMAGES[1] - SPEED_IMAGES[0]) / (taken[1] - taken[0])


def _scores(given: argparse.Namespace, cohort: Cohort, made: Cohort, out: Path, seed: int) -> dict[str, Any]:
    task = "dice" if cohort.facts.mask_classes else "auc"
    metrics = ["frechet", "prdc"] if given.untrained else ["frechet", "prdc", "nearest", task]
    found = evaluate(
        cohort.path, made.path, out=out, metrics=metrics, extractors=["texture", "pixels"], seeds=1, seed=seed,
        jobs=given.work / given.phantom / f"jobs-{seed}",
    )  # fmt: skip
    return {
        f"{score.metric} {score.label} {score.arm} {score.extractor.split(' ')[0]} {score.role}".replace("  ", " "): [
            score.value, score.low, score.high
        ]
        for score in found
        if score.status == "ok" and score.role != "bad" and score.label in ("", "mean", "copies")
        and score.metric not in LEFT_OUT
    }  # fmt: skip


def _attacked(cohort: Cohort, samples: Path, out: Path, seed: int) -> dict[str, Any]:
    """Return the area of the attack by distance, in pixels: 0.5 where it tells nothing, and its ceiling."""
    found = evaluate(cohort.path, samples, out=out, metrics=["membership"], extractors=["pixels"], seed=seed)
    return {
        f"{score.metric} {score.label} {score.role}": [score.value, score.low, score.high]
        for score in found
        if (score.metric, score.label) == (ATTACK, "distance") and score.role != "bad" and score.status == "ok"
    }


def _attack_all(given: argparse.Namespace, cohort: Cohort) -> None:
    found = rows()
    for row in found:
        name = f"{row['generator']}-{row['revision']}-{row['seed']}-{row['budget'].replace(' ', '')}"
        folder = given.work / row["phantom"] / name
        waiting = "scores" in row and not any(key.startswith(ATTACK) for key in row["scores"])
        if row["phantom"] == given.phantom and waiting and (folder / "samples").exists():
            row["scores"] |= _attacked(cohort, folder / "samples", folder / "attack", row["seed"])
            print(row["generator"], row["seed"], flush=True)
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


def table(found: list[dict[str, Any]]) -> str:
    """Return the lines as Markdown tables, one a phantom and budget: means over seeds, least and most behind."""
    lines = []
    for phantom, budget in sorted({(row["phantom"], row["budget"]) for row in found}):
        chosen = [row for row in found if (row["phantom"], row["budget"]) == (phantom, budget)]
        lines += ["", f"{phantom}, {budget}", "", "| | runs | images seen | " + " | ".join(COLUMNS) + " |"]
        lines.append("|---" * (3 + len(COLUMNS)) + "|")
        for generator, revision in sorted({(row["generator"], row["revision"]) for row in chosen}):
            each = [row for row in chosen if (row["generator"], row["revision"]) == (generator, revision)]
            good = [row for row in each if "scores" in row]
            runs = f"{len(each)}" if len(good) == len(each) else f"{len(each)}, {len(each) - len(good)} failed"
            cells = [_cell([row["scores"][key][0] for row in good if key in row["scores"]]) for key in COLUMNS.values()]
            images = f"{each[0].get('images_seen', 0):,}"
            lines.append(f"| `{generator}` {revision} | {runs} | {images} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    mean, spread = statistics.fmean(values), f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{mean:.3f}{spread}"


if __name__ == "__main__":
    main()
