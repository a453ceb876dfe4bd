"""How long the analysis of a large reader study takes, from the answers on disk to the page.

    python benchmark/reader_analysis.py [--images 10000] [--readers 50]

Simulated readers answer a study of blank orders, half of its images synthetic; their answers are stored as the server
stores them, and analysed from there. Prints one JSON line and appends it to benchmark/results/reader_analysis.jsonl.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from machine import circumstances

from synthcohort.reader._analysis import analysis
from synthcohort.reader._answers import ANSWERS, EVENTS, open_answers, read_answers, trail_problems
from synthcohort.reader._readings import join
from synthcohort.reader._simulate import Observers, simulate
from synthcohort.reader._study import (
    TRUTH,
    Design,
    Order,
    Presentation,
    read_design,
    read_orders,
    read_truth,
    write_study,
)
from synthcohort.reader._trail import START, canonical, digest
from synthcohort.reader.analyse import write

_RESULTS = Path(__file__).parent / "results" / "reader_analysis.jsonl"


def make(folder: Path, images: int, readers: int) -> None:
    """Write a study with the answers of every reader, a tenth of the images twice; without its images."""
    rng, repeats = np.random.default_rng(0), images // 10
    kinds = rng.permutation(np.arange(images) < images // 2)
    (folder / TRUTH).parent.mkdir(parents=True)
    pd.DataFrame({"kind": np.where(kinds, "synthetic", "real")}).to_parquet(folder / TRUTH)
    names = tuple(f"reader-{number:02d}" for number in range(1, readers + 1))
    orders = []
    for name in names:
        rows = [*rng.permutation(images), *rng.choice(images, repeats, replace=False)]
        shown = tuple(Presentation(f"{name}-{place}", int(row), 0) for place, row in enumerate(rows))
        orders.append(Order(name, "", shown))
    fields: dict[str, Any] = {
        "images": images,
        "synthetic": images // 2,
        "repeats": repeats,
        "training": 0,
        "blocks": 1,
        "seed": 0,
    }
    design = Design(
        name="large",
        shape=(1, 64, 64),
        dtype="uint8",
        window=(0.0, 255.0),
        findings=("mass",),
        marks=True,
        time_limit_s=None,
        go_back=False,
        margin=0.1,
        alpha=0.05,
        cohorts={"real": "a", "synthetic": "b"},
        readers=names,
        **fields,
    )
    write_study(folder, design, tuple(orders))
    store = open_answers(folder, create=True)
    answers = simulate(Observers(0.3), orders, kinds, seed=0)
    rows = [{**vars(each), "findings": "[]", "marks": "[]", "revision": 0} for each in answers]
    with store.engine.begin() as connection:  # at once: the server, which adds one by one, is measured elsewhere
        connection.execute(sa.insert(ANSWERS), rows)
        connection.execute(sa.insert(EVENTS), list(trail(rows)))
    store.engine.dispose()


def trail(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the trail's event of each answer."""
    before = START
    for number, row in enumerate(rows, start=1):
        fields = {"at": "", "reader": row["reader"], "kind": "answer", "presentation": row["presentation"]}
        event: dict[str, Any] = {"number": number, **fields, "detail": canonical({"answer": row, "server": {}})}
        before = digest(before, **event)
        yield {**event, "digest": before}


def measure(folder: Path, out: Path) -> dict[str, float]:
    """Return seconds of reading, joining, analysing, checking the trail and writing."""
    times = [time.perf_counter()]
    design, orders, truth, answers = read_design(folder), read_orders(folder), read_truth(folder), read_answers(folder)
    times.append(time.perf_counter())
    readings = join(design, orders, truth, answers)
    times.append(time.perf_counter())
    content = analysis(design, readings, protocol="paper", observers=Observers(0.3))
    times.append(time.perf_counter())
    content["trail"] = trail_problems(folder)
    if content["trail"]:
        raise SystemExit(f"the trail is not whole: {content['trail'][0]}")
    times.append(time.perf_counter())
    write(content, readings, design, out)
    times.append(time.perf_counter())
    parts = ("read", "join", "analyse", "trail", "write")
    return {name: round(after - before, 2) for name, before, after in zip(parts, times, times[1:], strict=False)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name) / "study", given.images, given.readers)
        seconds = measure(Path(name) / "study", Path(name) / "out")
    row = {
        "benchmark": "reader_analysis",
        "images": given.images,
        "readers": given.readers,
        "seconds": {**seconds, "all": round(sum(seconds.values()), 2)},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **circumstances(),
    }
    print(json.dumps(row))
    with _RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
