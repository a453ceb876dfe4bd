"""Time a map of importance at 224 px: ours against Captum's Occlusion, as it comes and best tuned.

    OMP_NUM_THREADS=1 python benchmark/occlusion.py [--rounds 3] [--tile 10] [--device cpu]

DenseNet-121 of seeded random weights, whose statistics are those of 16 random images; a tile of 10 px makes 529 tiles,
and a pass costs the same whatever the tile. Captum is tuned over passes at a time and memory format on 64 tiles before
the clock starts, with the very same network. One process, contenders interleaved. The maps must agree before a time
counts; with one thread it is of the processor, whatever else the machine does. The floor is what the multiplications of
the dense passes take at the highest rate that a 3x3 convolution reaches here.
Prints one JSON line and appends it to benchmark/results/occlusion.jsonl.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import Occlusion
from machine import circumstances
from torch import Tensor
from torch.nn import functional

from synthcohort.tasks import _densenet, _folded, _occlusion

SIDE, FINDINGS, TUNED_ON = 224, 14, 28
TARGET = {"cpu": (2.0, 1.0), "cuda": (4.0, 60.0)}  # times the best tuned, times the default
TOLERANCE = 1e-5  # of a loss: float32 networks whose sums are taken in another order
MULTIPLICATIONS = 2.833e9  # of a pass of DenseNet-121 at 224 px
PASSES = (4, 8, 16, 32, 64)
_RESULTS = Path(__file__).parent / "results" / "occlusion.jsonl"
Map = Callable[[Tensor, Tensor, int], Any]


def network(device: torch.device) -> torch.nn.Module:
    """Return a DenseNet-121 of random weights in evaluation mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = _densenet.densenet121(FINDINGS)
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # plain averages
        made.train()(torch.randn(16, 3, SIDE, SIDE))
    return made.eval().to(device)


def by_us(made: torch.nn.Module) -> Map:
    """Return how the product takes a map; folding the network is part of it."""
    return lambda image, targets, tile: _occlusion.loss_increases(_folded.Folded(made), image, targets, tile=tile)


def by_captum(made: torch.nn.Module, passes: int, *, last: bool) -> Map:
    """Return how Captum takes the same map."""
    layout = torch.channels_last if last else torch.contiguous_format

    def losses(images: Tensor, targets: Tensor) -> Tensor:
        scores = made(images.contiguous(memory_format=layout)).double()
        each = functional.binary_cross_entropy_with_logits(scores, targets.expand_as(scores), reduction="none")
        return each.mean(dim=1)

    def taken(image: Tensor, targets: Tensor, tile: int) -> Any:
        window = (image.shape[0], tile, tile)
        found = Occlusion(losses).attribute(
            image[None],
            sliding_window_shapes=window,
            strides=window,
            baselines=0,
            additional_forward_args=(targets.double()[None],),
            perturbations_per_eval=passes,
        )
        return -found[0, 0, ::tile, ::tile].cpu().numpy()

    return taken


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return processor time for one thread of the processor, which other work disturbs less; wall time else."""
    return time.process_time if torch.get_num_threads() == 1 and device.type == "cpu" else time.perf_counter


def seconds(take: Map, image: Tensor, targets: Tensor, tile: int) -> tuple[float, Any]:
    """Return how long a map takes, in processor seconds with one thread and else by the clock, and the map."""
    clock = clock_of(image.device)
    started = clock()
    found = take(image, targets, tile)
    return clock() - started, found


def tuned(made: torch.nn.Module, image: Tensor, targets: Tensor, passes: tuple[int, ...]) -> tuple[str, Map, Any]:
    """Return the name, and the fastest way to call Captum of those tried twice, and what each took on 64 tiles."""
    tries = {
        f"{number} at a time, channels {'last' if last else 'first'}": by_captum(made, number, last=last)
        for number in (1, *passes)
        for last in (False, True)
    }
    took = {name: min(seconds(take, image, targets, TUNED_ON)[0] for _ in range(2)) for name, take in tries.items()}
    best = min(took, key=lambda name: took[name])
    return best, tries[best], took


def fastest_rate(device: torch.device) -> float:
    """Return the multiplications a second of a 3x3 convolution of 256 to 128 channels, the best of five."""
    images = torch.randn(16, 256, 28, 28, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(128, 256, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    took = []
    with torch.inference_mode():
        for _ in range(6):
            clock = clock_of(device)
            started = clock()
            functional.conv2d(images, weight, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize()
            took.append(clock() - started)
    return 16 * 28 * 28 * 256 * 128 * 9 / min(took[1:])


def main() -> int:
    """Run the benchmark; exit status 1 when the maps disagree or the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tile", type=int, default=10)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    device, load = torch.device(given.device), os.getloadavg()[0]
    made, draw = network(device), torch.Generator().manual_seed(1)
    image = torch.randn(3, SIDE, SIDE, generator=draw).to(device)
    targets = (torch.rand(FINDINGS, generator=draw) < 0.5).float().to(device)
    passes = PASSES if device.type == "cpu" else (64, 128, 256, 512)
    name, best, tries = tuned(made, image, targets, passes)
    contenders = {"ours": by_us(made), "captum tuned": best, "captum default": by_captum(made, 1, last=False)}
    times: dict[str, list[float]] = {each: [] for each in contenders}
    maps = {}
    for _ in range(given.rounds):
        for each, take in contenders.items():
            took, maps[each] = seconds(take, image, targets, given.tile)
            times[each].append(took)
    tiles = maps["ours"].size
    medians = {each: statistics.median(taken) / tiles * 1e3 for each, taken in times.items()}
    error = max(float(abs(found - maps["ours"]).max()) for found in maps.values())
    rate = fastest_rate(device)
    floor = MULTIPLICATIONS / rate * 1e3
    ratios = [medians[each] / medians["ours"] for each in ("captum tuned", "captum default")]
    row = {
        "benchmark": "occlusion",
        "side": SIDE,
        "tiles": tiles,
        "rounds": given.rounds,
        "clock": "processor" if clock_of(device) is time.process_time else "wall",
        "milliseconds_a_tile_median": medians,
        "milliseconds_a_tile": {each: [round(t / tiles * 1e3, 3) for t in taken] for each, taken in times.items()},
        "captum_tuned": name,
        "captum_seconds_64_tiles": tries,
        "times_faster_than_tuned": ratios[0],
        "times_faster_than_default": ratios[1],
        "floor_milliseconds": floor,
        "most_times_faster_by_the_floor": medians["captum tuned"] / floor,
        "largest_difference_of_loss": error,
        "largest_increase_of_loss": float(abs(maps["ours"]).max()),
        "passed": error < TOLERANCE and all(r >= t for r, t in zip(ratios, TARGET[device.type], strict=True)),
        "load_average": [load, os.getloadavg()[0]],
        **circumstances(),
        "captum": importlib.metadata.version("captum"),
    }
    if device.type == "cuda":
        row["device"] = f"cuda {torch.cuda.get_device_name()}"
    print(json.dumps(row))
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return 0 if row["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
