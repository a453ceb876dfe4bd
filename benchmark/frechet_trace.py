"""Time the trace of the square root in the Frechet distance: ours against scipy.linalg.sqrtm and torchmetrics' formula.

    OMP_NUM_THREADS=2 python benchmark/frechet_trace.py [--dimensions 2048] [--rounds 3]

One process, contenders interleaved round by round, medians. The traces must agree before a time counts. Prints one JSON
line and appends it to benchmark/results/frechet_trace.jsonl.
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

import numpy as np
import scipy.linalg
import torch
from machine import processor

from synthcohort import runs
from synthcohort.metrics.frechet import trace_of_root

TARGET_RATIO = 10.0
RELATIVE_TOLERANCE = 1e-9
_RESULTS = Path(__file__).parent / "results" / "frechet_trace.jsonl"


def covariances(dimensions: int, images: int, seed: int = 0) -> list[np.ndarray]:
    """Return two covariances with the decaying spectrum of network features."""
    rng = np.random.default_rng(seed)
    scales = np.arange(1, dimensions + 1) ** -0.5
    return [
        np.cov((rng.normal(size=(images, dimensions)) * scales) @ _rotation(rng, dimensions), rowvar=False)
        for _ in range(2)
    ]


def _rotation(rng: np.random.Generator, dimensions: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]


def by_sqrtm(left: np.ndarray, right: np.ndarray) -> float:
    """Return the trace as pytorch-fid and clean-fid take it."""
    return float(np.trace(np.real(scipy.linalg.sqrtm(left @ right))))


def by_eigvals(left: np.ndarray, right: np.ndarray) -> float:
    """Return the trace as torchmetrics 1.9 takes it (and torch-fidelity with numpy): eigenvalues of the product."""
    return float(torch.linalg.eigvals(torch.from_numpy(left) @ torch.from_numpy(right)).sqrt().real.sum())


def main() -> int:
    """Run the benchmark; exit status 1 when the traces disagree or the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    contenders: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "ours": trace_of_root,
        "scipy.linalg.sqrtm": by_sqrtm,
        "torchmetrics (eigvals)": by_eigvals,
    }
    matrices = covariances(given.dimensions, 2 * given.dimensions)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    traces: dict[str, float] = {}
    load_before = os.getloadavg()[0]
    for _ in range(given.rounds):
        for name, contender in contenders.items():
            started = time.perf_counter()
            traces[name] = contender(*matrices)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    error = max(abs(trace / traces["ours"] - 1) for trace in traces.values())
    row = {
        "benchmark": "frechet_trace",
        "dimensions": given.dimensions,
        "rounds": given.rounds,
        "seconds_median": medians,
        "seconds_min": {name: min(times) for name, times in seconds.items()},
        "times_faster": {name: medians[name] / medians["ours"] for name in contenders if name != "ours"},
        "largest_relative_difference": error,
        "passed": error < RELATIVE_TOLERANCE and medians["scipy.linalg.sqrtm"] / medians["ours"] >= TARGET_RATIO,
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
