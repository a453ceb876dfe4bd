"""Measure what `synthcohort list generators` shows: memory and speed of every generator with its default options.

    OMP_NUM_THREADS=2 python benchmark/generators.py [--generators flow,edm] [--seconds 12]

Each generator has a process of its own: 1x32x32 images of noise with four mask classes, batch 64, the precision that
`train` chooses. Memory is the peak of the whole process, libraries included. A step is what `train` does, without data
loading; the mean over whole cycles of lazy terms. Writes src/synthcohort/generators/measured.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from machine import circumstances
from train_step import CLASSES, our_step

from synthcohort import plugins
from synthcohort.catalogue import MEASURED, SHAPE
from synthcohort.cohort import Facts
from synthcohort.devices import choose_precision
from synthcohort.errors import SynthcohortError
from synthcohort.nets.generator import Streams, build
from synthcohort.types import Condition

BATCH, WARM_UP, CYCLE = 64, 2, 16
"""Steps before the clock starts, and the longest cycle of what is done only now and then."""


def main() -> int:
    """Measure the generators named, one after the other, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", default=",".join(plugins.names("generators")))
    parser.add_argument("--seconds", type=float, default=12, help="How long a generator is trained, at least.")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    precision = choose_precision("auto", torch.device("cpu"))
    if given.one:
        print(json.dumps(measured(given.one, precision, given.seconds)))
        return 0
    content = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {"generators": {}}
    for name in given.generators.split(","):
        command = [sys.executable, __file__, "--one", name, "--seconds", str(given.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        content["generators"][name] = json.loads(done.stdout.splitlines()[-1])
        print(name, content["generators"][name], flush=True)
    facts = {"shape": SHAPE, "batch": BATCH, "precision": precision, "command": "python benchmark/generators.py"}
    content["on"] = {**facts, **circumstances()}
    content["generators"] = {name: content["generators"][name] for name in sorted(content["generators"])}
    MEASURED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(name: str, precision: str, seconds: float) -> dict[str, Any]:
    """Return memory and speeds of one generator; {} where options have to be given first."""
    try:
        trained = _trained(name, precision, seconds) if plugins.find("generators", name).ITERATIVE else None
    except SynthcohortError:
        return {}
    drawn = _drawn(name, precision)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "memory_mib": round(memory),
        "images_trained_per_second": None if trained is None else round(trained, 1),
        "images_drawn_per_second": round(drawn, 1),
    }


def _trained(name: str, precision: str, seconds: float) -> float:
    step = our_step(name, SHAPE, precision, BATCH)
    for _ in range(WARM_UP):
        step()
    steps, started = 0, time.perf_counter()
    while steps % CYCLE or not steps or time.perf_counter() - started < seconds:
        step()
        steps += 1
    return steps * BATCH / (time.perf_counter() - started)


def _drawn(name: str, precision: str) -> float:
    facts = Facts("noise", "none", "real", SHAPE, "uint8", (0.0, 255.0), CLASSES)
    model = build(name, facts, {})
    images = torch.rand(128, *SHAPE).numpy() * 2 - 1
    model.fit(images, torch.randint(len(CLASSES), (128, *SHAPE[1:])).byte().numpy(), None, seed=0)
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    times = []
    for turn in range(3):
        streams, started = Streams(range(turn * BATCH, (turn + 1) * BATCH)), time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model.sample(Condition(BATCH), streams)
        times.append(time.perf_counter() - started)
    return BATCH / min(times)


if __name__ == "__main__":
    sys.exit(main())
