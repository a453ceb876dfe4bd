"""Time one training step of each generator, and of ours beside a public DCGAN at equal architecture.

    OMP_NUM_THREADS=2 python benchmark/train_step.py [--sides 32 64] [--batch 64] [--rounds 9] [--peer PATH]

One process; all contenders of a side take turns round by round, medians count. A step is what `train` does: forward,
backward, optimisers, moving average, `channels_last`; no data loading; an adversarial step is one critic and one
generator step. The share of the FLOP floor is the time that the step's multiplications would take at the best rate
measured here (a matrix product or a convolution), over the time it took. PATH is dcgan/main.py of
github.com/pytorch/examples, kept outside this project: its own network, optimiser and step statements are run, without
its logging, on the same 3-channel 64-px batch. Appends JSON lines to benchmark/results/train_step.jsonl.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import io
import json
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import processor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from synthcohort import plugins, runs
from synthcohort.cohort import Facts
from synthcohort.nets.generator import RESERVED, Draws, build
from synthcohort.train._update import Updater, average
from synthcohort.types import Batch, Clock

GENERATORS: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "lsgan": {},
    "wgan": {"critic_steps": 1, "critic_warmup": 0},
    "wgan_gp": {"critic_steps": 1},
    "hinge": {},
    "flow": {},
    "memoriser": {},
}
PRECISIONS = ("fp32", "bf16")
CLASSES = ("background", "right ventricle", "myocardium", "left ventricle")
PEER_SIDE, PEER_CHANNELS, PEER_LATENT = 64, 3, 100
IMAGES, STEPS = 512, 10_000
_RESULTS = Path(__file__).parent / "results" / "train_step.jsonl"

Step = Callable[[], Any]


def our_step(
    name: str, shape: tuple[int, int, int], precision: str, batch: int, *, masks: bool = True, **options: Any
) -> Step:
    """Return a function that makes the next training step of a generator on fixed random images, with masks or not."""
    facts = Facts("noise", "none", "real", shape, "uint8", (0.0, 255.0), CLASSES if masks else ())
    model = build(name, facts, options)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (IMAGES, *shape)).astype(np.float32)
    drawn = rng.integers(len(CLASSES), size=(IMAGES, *shape[1:])).astype(np.uint8) if masks else None
    model.fit(images, drawn, None, seed=0)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    update = Updater(dict(model.optimisers()), torch.device("cpu"), precision)
    averages = {key: copy.deepcopy(module).eval() for key, module in model.averaged().items()}
    shown = torch.from_numpy(images[:batch]).contiguous(memory_format=torch.channels_last)
    index = None if drawn is None else torch.from_numpy(drawn[:batch].astype(np.int64))
    data, noise, done = Batch(shown, index, None, torch.arange(batch)), Draws(0), [0]

    def step() -> None:
        clock = Clock(done[0], done[0] * batch, STEPS * batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            update.collect(model.step(data, clock=clock, rng=noise, update=update))
        done[0] += 1
        average(model.averaged(), averages, weight=model.ema_weight(clock, batch))

    return step


def peer_step(path: Path, batch: int) -> Step:
    """Return a function that runs the training statements of the public script, up to its last optimiser step."""
    script = ast.parse(path.read_text(encoding="utf-8")).body
    first = next(i for i, node in enumerate(script) if _assigns(node, "ngpu"))
    last = next(i for i, node in enumerate(script) if isinstance(node, ast.For))
    body = script[last].body[0].body  # type: ignore[attr-defined]
    end = next(i for i, node in enumerate(body) if ast.unparse(node) == "optimizerG.step()")
    given = types.SimpleNamespace(
        ngpu=1, nz=PEER_LATENT, ngf=64, ndf=64, netG="", netD="", batchSize=batch, lr=2e-4, beta1=0.5, dry_run=False
    )
    images = torch.rand((batch, PEER_CHANNELS, PEER_SIDE, PEER_SIDE), generator=torch.Generator().manual_seed(0))
    names = {
        "torch": torch,
        "nn": torch.nn,
        "optim": torch.optim,
        "opt": given,
        "nc": PEER_CHANNELS,
        "device": torch.device("cpu"),
        "data": [images * 2 - 1],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # It prints its networks.
        exec(compile(ast.Module(script[first:last], []), path.name, "exec"), names)
    program = compile(ast.Module(body[: end + 1], []), path.name, "exec")
    return lambda: exec(program, names)


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name


def flops(step: Step) -> int:
    """Return the floating-point operations of one step's matrix products and convolutions, a multiply-add as two."""
    with _Counter() as counter:
        step()
    return counter.total


class _Counter(TorchDispatchMode):
    """Counts as torch's own counter does, whose hooks on modules do not bear the gradient of a gradient."""

    total = 0

    def __torch_dispatch__(self, function: Any, _: Any, given: Any = (), named: Any = None) -> Any:
        out = function(*given, **(named or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*given, **(named or {}), out_val=out)
        return out


def peak(precision: str) -> dict[str, float]:
    """Return the best rates measured here, in FLOP/s, of a matrix product and of a convolution."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    square = torch.ones((2048, 2048), dtype=kind)
    image = torch.ones((64, 128, 16, 16), dtype=kind).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones((256, 128, 4, 4), dtype=kind).contiguous(memory_format=torch.channels_last)
    work: dict[str, Step] = {
        "matrix_product": lambda: square @ square,
        "convolution": lambda: torch.conv2d(image, kernel, stride=2, padding=1),
    }
    return {name: flops(task) / min(_seconds(task) for _ in range(7)) for name, task in work.items()}


def _seconds(step: Step) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def interleaved(steps: dict[Any, Step], rounds: int) -> dict[Any, list[float]]:
    """Return the seconds of every contender in every round; each round runs them all once, after two warm-up rounds."""
    times: dict[Any, list[float]] = {key: [] for key in steps}
    for turn in range(rounds + 2):
        for key, step in steps.items():
            seconds = _seconds(step)
            if turn >= 2:
                times[key].append(seconds)
    return times


def generator_rows(side: int, batch: int, rounds: int, peaks: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each generator and precision at one side."""
    keys = [(name, precision) for name in GENERATORS for precision in PRECISIONS]
    steps = {
        (name, precision): our_step(name, (1, side, side), precision, batch, **GENERATORS[name])
        for name, precision in keys
    }
    work = {key: flops(step) for key, step in steps.items()}
    rows = []
    for (name, precision), seconds in interleaved(steps, rounds).items():
        median, best = statistics.median(seconds), max(peaks[precision].values())
        rows.append(
            {
                "benchmark": "train_step",
                "generator": name,
                "options": plugins.resolve(plugins.find("generators", name), GENERATORS[name], reserved=RESERVED),
                "shape": [1, side, side],
                "mask_classes": len(CLASSES),
                "precision": precision,
                "images_per_second": batch / median,
                "seconds_median": median,
                "seconds_min": min(seconds),
                "gflop_per_image": work[name, precision] / batch / 1e9,
                "share_of_flop_floor": work[name, precision] / best / median,
                "peak_gflops": {key: value / 1e9 for key, value in peaks[precision].items()},
            }
        )
    return rows


def peer_row(path: Path, batch: int, rounds: int) -> dict[str, Any]:
    """Return the row of ours beside the public DCGAN: same networks, batch and images."""
    shape = (PEER_CHANNELS, PEER_SIDE, PEER_SIDE)
    steps = {
        "peer fp32": peer_step(path, batch),
        **{
            f"ours {kind}": our_step("dcgan", shape, kind, batch, masks=False, latent=PEER_LATENT)
            for kind in PRECISIONS
        },
    }
    work = {name: flops(step) for name, step in steps.items()}
    times = interleaved(steps, rounds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "benchmark": "train_step_peer",
        "peer": "github.com/pytorch/examples dcgan/main.py",
        "peer_sha256": runs.file_sha256(path),
        "architecture": "DCGAN, 64 filters, latent 100; ours adds biases where no norm follows and a moving average",
        "shape": list(shape),
        "images_per_second": {name: batch / median for name, median in medians.items()},
        "seconds_median": medians,
        "seconds_min": {name: min(seconds) for name, seconds in times.items()},
        "gflop_per_step": {name: value / 1e9 for name, value in work.items()},
        "times_faster": {name: medians["peer fp32"] / medians[name] for name in medians if name != "peer fp32"},
    }


def main() -> int:
    """Run the benchmark and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=[32, 64])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peer", type=Path, help="dcgan/main.py of github.com/pytorch/examples")
    parser.add_argument("--out", type=Path, default=_RESULTS)
    given = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    torch.set_num_threads(threads)
    load_before = os.getloadavg()[0]
    peaks = {precision: peak(precision) for precision in PRECISIONS}
    rows = [row for side in given.sides for row in generator_rows(side, given.batch, given.rounds, peaks)]
    if given.peer:
        rows.append(peer_row(given.peer, given.batch, given.rounds))
    facts = {
        "batch": given.batch,
        "rounds": given.rounds,
        "threads": threads,
        "load_average": [load_before, os.getloadavg()[0]],
        "device": f"cpu {processor()}",
        "command": f"python benchmark/train_step.py --sides {' '.join(map(str, given.sides))} --batch {given.batch} "
        f"--rounds {given.rounds}" + (" --peer PATH" if given.peer else ""),
        "versions": runs.versions(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("a", encoding="utf-8") as file:
        for row in rows:
            print(json.dumps({**row, **facts}))
            file.write(json.dumps({**row, **facts}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
