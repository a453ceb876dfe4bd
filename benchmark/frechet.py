"""Time the Frechet distance from features: ours against torchmetrics, the eigenvalue form and scipy.linalg.sqrtm.

    OMP_NUM_THREADS=1 python benchmark/frechet.py [--dimensions 2048] [--images 10000] [--rounds 1]

From float32 features on: moments are part of the time. One process, contenders interleaved; wall and processor seconds.
The distances must agree before a time counts. Prints one JSON line and appends it to benchmark/results/frechet.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import frechet_trace
import numpy as np
import torch
from machine import processor

from synthcohort import runs
from synthcohort.metrics.frechet import frechet_distance

TARGET_RATIO = 10.0
RELATIVE_TOLERANCE = 1e-6
_RESULTS = Path(__file__).parent / "results" / "frechet.jsonl"


def features(images: int, dimensions: int) -> list[np.ndarray]:
    """Return two sets of float32 features with a decaying spectrum."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, dimensions + 1) ** -0.5
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    return [((rng.normal(shift, 1, (images, dimensions)) * scales) @ turn).astype(np.float32) for shift in (0, 0.1)]


def by_torchmetrics(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return what torchmetrics computes from the same features."""
    from torchmetrics.image.fid import _compute_fid

    sides = [torch.from_numpy(side).double() for side in (real, synthetic)]
    moments = [(side.mean(dim=0), torch.cov(side.T)) for side in sides]
    return float(_compute_fid(*moments[0], *moments[1]))


def _distance(real: np.ndarray, synthetic: np.ndarray, trace_of_root: Callable[..., float]) -> float:
    first, second = (side.astype(np.float64) for side in (real, synthetic))
    left, right = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(shift @ shift + np.trace(left) + np.trace(right) - 2 * trace_of_root(left, right))


def by_eigvals(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the distance with the eigenvalue form of torch-fidelity."""
    return _distance(real, synthetic, frechet_trace.by_eigvals)


def by_sqrtm(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Return the distance with the general matrix square root, as pytorch-fid takes it."""
    return _distance(real, synthetic, frechet_trace.by_sqrtm)


def main() -> int:
    """Run the benchmark; exit status 1 when the distances disagree or the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    contenders = {
        "ours": frechet_distance,
        "torchmetrics": by_torchmetrics,
        "eigenvalue form": by_eigvals,
        "scipy.linalg.sqrtm": by_sqrtm,
    }
    sides = features(given.images, given.dimensions)
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    values, load_before = {}, os.getloadavg()[0]
    for _ in range(given.rounds):
        for name, contender in contenders.items():
            started, before = time.perf_counter(), time.process_time()
            values[name] = contender(*sides)
            wall[name].append(time.perf_counter() - started)
            spent[name].append(time.process_time() - before)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    error = max(abs(value / values["ours"] - 1) for value in values.values())
    best = min(seconds for name, seconds in medians.items() if name != "ours")
    row = {
        "benchmark": "frechet",
        "dimensions": given.dimensions,
        "images": given.images,
        "rounds": given.rounds,
        "processor_seconds_median": medians,
        "wall_seconds_median": {name: statistics.median(times) for name, times in wall.items()},
        "times_faster_than_best": best / medians["ours"],
        "largest_relative_difference": error,
        "passed": error < RELATIVE_TOLERANCE and best / medians["ours"] >= TARGET_RATIO,
        "threads": threads,
        "load_average": [load_before, os.getloadavg()[0]],
        "device": f"cpu {processor()}",
        "versions": runs.versions(),
    }
    print(json.dumps(row))
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return 0 if row["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
