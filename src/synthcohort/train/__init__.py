"""The training loop that every generator shares.

The clock counts images seen. All randomness is derived from (run seed, purpose, images seen), so a killed run goes on
by the same command and ends in bitwise the same weights (same CPU, thread count and memory format).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import plugins, runs
from ..cohort import Cohort
from ..devices import choose_device, choose_precision
from ..errors import BadOption, writing
from ..nets.generator import RESERVED, Draws, build
from ..pictures import loss_curves, png_bytes
from ..progress import Progress, say
from ..runs import CHECKPOINT, LOG, WEIGHTS
from ..types import Clock
from ._checkpoint import load_checkpoint, save_checkpoint
from ._data import all_pixels, facts_for_samples, load_batch, training_labels, training_positions
from ._update import Updater, average, averaged_state, check_finite
from ._watch import EventWriter, sample_sheet

SECONDS_BETWEEN_CHECKPOINTS = 20.0
REPORTS_PER_RUN, GRIDS_PER_RUN = 100, 8


def train(
    cohort: Path | str,
    *,
    generator: str,
    out: Path | str,
    images_seen: int = 200_000,
    batch: int = 64,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Train a generator on a cohort's training split and return the run folder.

    The same call again resumes an interrupted run and returns at once from a finished one.

    Args:
        cohort: Folder of the cohort.
        generator: Name of the generator, or "package.module:Class".
        out: The run folder.
        images_seen: Training images to see, repeats counted; rounded up to whole batches.
        batch: Images per step.
        seed: Run seed; everything random derives from it.
        precision: "fp32", "bf16" (autocast over fp32 weights) or "auto": bf16 where the hardware has it.
        device: "cpu", "cuda" or "auto".
        options: The generator's options, as a mapping or "key=value" texts.

    Raises:
        InputError: The cohort, an option or the output is wrong.
        Diverged: A loss was not finite; the last good checkpoint is kept.
    """
    # Resolve the config; it names the work and nothing about this machine.
    source, out = Cohort(cohort), Path(out)
    if images_seen < 1 or batch < 1:
        raise BadOption("images_seen and batch are at least 1", f"{images_seen} and {batch}", "Give positive numbers")
    plugin = plugins.find("generators", generator)
    resolved = plugins.resolve(plugin, options, reserved=RESERVED)
    target, precision = choose_device(device), choose_precision(precision, choose_device(device))
    total = -(-images_seen // batch) * batch if plugin.ITERATIVE else 0
    config = {
        "kind": "train",
        "generator": generator,
        "revision": plugin.REVISION,
        "options": resolved,
        "cohort": source.identity,
        "images_seen": total,
        "batch": batch,
        "seed": seed,
        "precision": precision,
    }
    positions = training_positions(source, plugin.SPLIT)
    model = build(generator, source.facts, resolved, seed=runs.derive_seed(seed, "weights"))

    with writing(out), runs.holding(runs.open_run(out, config)):
        # Take up the run folder.
        if (out / WEIGHTS).exists():
            if (out / CHECKPOINT).exists():  # of a run that was killed between the last two lines
                (out / CHECKPOINT).unlink()
            say(f"{out.name} is finished already")
            return out
        labels = training_labels(source, positions)
        model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimisers = dict(model.optimisers())
        averages = {name: copy.deepcopy(module).eval() for name, module in model.averaged().items()}
        log, seen = runs.RowLog(out / LOG), 0
        if (out / CHECKPOINT).exists():
            seen = load_checkpoint(out / CHECKPOINT, config, model, averages, optimisers)
        else:
            model.fit(*all_pixels(source, positions), labels, seed=runs.derive_seed(seed, "fit"))
            model.to(target)
        log.rewind("images_seen", seen)
        resumed = seen

        # Train.
        update = Updater(optimisers, target, precision)
        report_every = batch * max(1, total // batch // REPORTS_PER_RUN)
        grid_every = report_every * (REPORTS_PER_RUN // GRIDS_PER_RUN)
        started, saved = time.monotonic(), time.monotonic()
        with Progress(f"Training {generator}", total, done=seen) as progress, EventWriter(out, seen, total) as events:
            while seen < total:
                clock = Clock(seen // batch, seen, total)
                data = load_batch(source, positions, labels, seen, batch, seed, target)
                rng = Draws(runs.derive_seed(seed, "step", seen), target)
                model.train()
                with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
                    update.collect(model.step(data, clock=clock, rng=rng, update=update))
                seen += batch
                average(model.averaged(), averages, weight=model.ema_weight(clock, batch))
                progress.advance(batch, update.note)

                # Report; every mean is finite or the run stops before anything is saved.
                if seen % report_every and seen < total:
                    continue
                losses = update.means()
                rate = round((seen - resumed) / (time.monotonic() - started), 1)
                log.append([{"images_seen": seen, **losses}])
                events.add_scalars({**losses, "images_per_second": rate}, seen)
                if seen % grid_every == 0 or seen >= total:
                    runs.write_atomic(out / "losses.svg", loss_curves(log.rows()))
                    if not plugin.CONTROL:  # what a control makes is real images, or nearly
                        sheet = sample_sheet(model, averages, labels, seed, precision)
                        runs.write_atomic(out / f"samples-{seen:09d}.png", png_bytes(sheet))
                        events.add_image(np.asarray(sheet), seen)
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS and seen < total:
                    save_checkpoint(out / CHECKPOINT, config, seen, model, averages, optimisers)
                    saved = time.monotonic()

        # Publish: the averaged weights are what samples are drawn from.
        facts = {"facts": facts_for_samples(source, positions), "memory_format": "channels_last"}
        state = averaged_state(model, averages)
        check_finite(state)
        runs.save_tensors(out / WEIGHTS, state, config, **facts)
        (out / CHECKPOINT).unlink(missing_ok=True)
    return out
