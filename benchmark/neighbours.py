"""The five nearest of a gallery: ours against faiss-cpu's exact index, from the same arrays, in turns.

    python benchmark/neighbours.py [--gallery 100000] [--queries 1000] [--width 1024] [--rounds 5]

Either side is given the features and answers with positions and distances: what it has to prepare is counted, and
faiss's part of that is also given on its own, since an index may be kept. Every round times both sides at one thread
and at two, in an order that alternates; medians and their quotient are printed, and one JSON line is appended to
benchmark/results/neighbours.jsonl. Distances have to agree within 1e-3 of themselves (faiss computes squares in
float32 only, ours decides between candidates in float64) and positions wherever two are further apart than that.
Needs `pip install synthcohort[neighbours]`. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from machine import circumstances
from threadpoolctl import threadpool_limits

from synthcohort.metrics._neighbours import nearest

RESULTS = Path(__file__).parent / "results" / "neighbours.jsonl"
COUNT, TOLERANCE = 5, 1e-3


def ours(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions, distances and 0: nothing is kept."""
    return *nearest(queries, gallery, COUNT), 0.0


def theirs(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions, distances and the seconds of making the index."""
    start = time.perf_counter()
    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    made = time.perf_counter() - start
    squares, positions = index.search(queries, COUNT)
    return positions, np.sqrt(np.maximum(squares, 0)), made


def main() -> None:
    """Time both sides in turns and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2", help="With commas between.")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    gallery = rng.normal(1.0, 1.0, (given.gallery, given.width)).astype(np.float32)
    queries = rng.normal(1.0, 1.0, (given.queries, given.width)).astype(np.float32)
    _check(ours(queries, gallery), theirs(queries, gallery))
    row: dict[str, Any] = {"benchmark": "neighbours", **vars(given), "k": COUNT, "faiss": faiss.__version__}
    for threads in map(int, given.threads.split(",")):
        row[f"{threads} threads"] = _timed(queries, gallery, threads, given.rounds)
        print(threads, json.dumps(row[f"{threads} threads"]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **circumstances()}) + "\n")


def _timed(queries: np.ndarray, gallery: np.ndarray, threads: int, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    seconds: dict[str, list[float]] = {"ours": [], "faiss": [], "faiss, search only": []}
    sides = [("ours", ours), ("faiss", theirs)]
    for number in range(rounds):
        for name, side in sides[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            with threadpool_limits(threads):
                made = side(queries, gallery)[2]
            seconds[name].append(time.perf_counter() - start)
            if name == "faiss":
                seconds["faiss, search only"].append(seconds[name][-1] - made)
    quotients = [mine / their for mine, their in zip(seconds["ours"], seconds["faiss"], strict=True)]
    medians = {name: round(statistics.median(each), 3) for name, each in seconds.items()}
    least = {name: round(min(each), 3) for name, each in seconds.items()}
    return {"median": medians, "least": least, "ours / faiss": round(statistics.median(quotients), 3)}


def _check(mine: tuple[np.ndarray, np.ndarray, float], their: tuple[np.ndarray, np.ndarray, float]) -> None:
    np.testing.assert_allclose(mine[1], their[1], rtol=TOLERANCE)
    gaps = np.diff(mine[1], axis=1) > TOLERANCE * mine[1][:, 1:]
    clear = np.concatenate([np.ones((len(gaps), 1), bool), gaps], axis=1)
    clear[:, :-1] &= gaps
    if not (mine[0] == their[0])[clear].all():
        raise SystemExit("The two sides found different neighbours")


if __name__ == "__main__":
    main()
