"""How fast a generator trains and draws on this machine, on images of noise: for `doctor --calibrate`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..cohort import Facts
from ..nets.generator import Draws, Generator, Streams, build
from ..types import Batch, Clock, Condition
from ._update import Updater, average

IMAGES, STEPS, WARM_UP = 128, 10_000, 1


def prepared(name: str, facts: Facts, device: torch.device) -> tuple[Generator, Any, Any]:
    """Return a generator with default options, fitted to noise, and the noise: images and masks, or None.

    Raises:
        SynthcohortError: It needs options, or does not do with such images.
    """
    model = build(name, facts, {})
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (IMAGES, *facts.shape)).astype(np.float32)
    classes = len(facts.mask_classes)
    masks = rng.integers(classes, size=(IMAGES, *facts.shape[1:])).astype(np.uint8) if classes else None
    model.fit(images, masks, None, seed=0)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, images, masks


def trained_per_second(name: str, facts: Facts, *, batch: int, precision: str, device: str, seconds: float) -> float:
    """Return the training images per second of a generator with default options.

    Args:
        name: Of the generator.
        facts: Shape and classes of the images.
        batch: Images per step.
        precision: "fp32" or "bf16".
        device: "cpu" or "cuda".
        seconds: How long to measure, at least; one step at least.
    """
    target = torch.device(device)
    model, images, masks = prepared(name, facts, target)
    update = Updater(dict(model.optimisers()), target, precision)
    averages = {key: copy.deepcopy(module).eval() for key, module in model.averaged().items()}
    index = np.arange(batch) % IMAGES
    shown = torch.from_numpy(images[index]).to(target).contiguous(memory_format=torch.channels_last)
    painted = None if masks is None else torch.from_numpy(masks[index].astype(np.int64)).to(target)
    data, noise, done = Batch(shown, painted, None, torch.arange(batch, device=target)), Draws(0, target), 0

    def step() -> None:
        nonlocal done
        clock = Clock(done, done * batch, STEPS * batch)
        with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
            update.collect(model.step(data, clock=clock, rng=noise, update=update))
        average(model.averaged(), averages, weight=model.ema_weight(clock, batch))
        done += 1

    return batch * _rate(step, target, seconds)


def drawn_per_second(name: str, facts: Facts, *, chunk: int, precision: str, device: str, seconds: float) -> float:
    """Return the samples per second of a generator with default options; see `trained_per_second`.

    Args:
        name: Of the generator.
        facts: Shape and classes of the images.
        chunk: Samples drawn at once.
        precision: "fp32" or "bf16".
        device: "cpu" or "cuda".
        seconds: How long to measure, at least.
    """
    target = torch.device(device)
    model, _, _ = prepared(name, facts, target)
    model.eval()

    def draw() -> None:
        with torch.inference_mode(), torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
            model.sample(Condition(chunk), Streams(range(chunk), target))

    return chunk * _rate(draw, target, seconds)


def _rate(call: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Return calls per second, after one that warms up."""
    for _ in range(WARM_UP):
        call()
    _wait(device)
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < seconds:
        call()
        _wait(device)
        count += 1
    return count / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
