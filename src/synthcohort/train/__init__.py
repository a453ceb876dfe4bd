"""The training loop that every generator shares.

The clock counts images seen. All randomness is derived from (run seed, purpose, images seen), so a killed run goes on
by the same command and ends in bitwise the same weights (same CPU, thread count and memory format).
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import plugins, runs
from ..cohort import Cohort
from ..devices import choose_precision
from ..errors import BadOption, writing
from ..nets.generator import RESERVED, Draws, build
from ..progress import Progress, say
from ..runs import CHECKPOINT, LOG, OUTCOME, WEIGHTS
from ..types import Clock
from ._checkpoint import load_checkpoint, save_checkpoint
from ._convergence import BEST, Convergence, make_rule
from ._data import Batches, all_pixels, training_labels, training_positions
from ._outcome import publish, recording_failure
from ._together import agreed, joined, leads, run_folder, share_weights
from ._update import Updater, average
from ._watch import Reports

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
    stop: Mapping[str, Any] | Iterable[str] = (),
    weights: Mapping[str, Path] | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a generator on a cohort's training split and return the run folder.

    The same call again resumes an interrupted run and returns at once from a finished one. Under `torchrun` the batch
    is shared out over its processes, with the same result but for rounding.

    Args:
        cohort: Folder of the cohort.
        generator: Name of the generator, or "package.module:Class".
        out: The run folder.
        images_seen: Training images to see, repeats counted; rounded up to whole batches.
        batch: Images per step, over all processes.
        seed: Run seed; everything random derives from it.
        precision: "fp32", "bf16" (autocast over fp32 weights) or "auto": bf16 where the hardware has it.
        device: "cpu", "cuda" or "auto".
        options: The generator's options, as a mapping or "key=value" texts.
        stop: Options of a convergence stop: see `train._convergence.Rule`; none for no such stop.
        weights: Extractor -> file of its weights, for the convergence stop.
        watch: Called after each look of the convergence stop with the images seen and the distance. What it raises
            ends the training, which another call takes up again.

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
    rule = make_rule(**plugins.resolve(make_rule, stop)) if stop else None
    total = -(-images_seen // batch) * batch if plugin.ITERATIVE else 0
    positions = training_positions(source, plugin.SPLIT)
    model = build(generator, source.facts, resolved, seed=runs.derive_seed(seed, "weights"))

    with contextlib.ExitStack() as stack:
        target = stack.enter_context(joined(device, batch))
        precision = choose_precision(precision, target)
        config: dict[str, Any] = {
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
        convergence = None
        if rule and total:
            file = (weights or {}).get(rule.extractor)
            convergence = Convergence(rule, out, source, seed=seed, precision=precision, weights=file, watch=watch)
            config["stop"] = convergence.manifest()
        stack.enter_context(writing(out))
        stack.enter_context(run_folder(out, config))

        # Take up the run folder.
        if agreed((out / WEIGHTS).exists()):
            if leads():
                for name in (CHECKPOINT, BEST):  # of a run that was killed between the last lines
                    (out / name).unlink(missing_ok=True)
                say(f"{out.name} is finished already")
            return out
        labels = training_labels(source, positions, quiet=not leads())
        model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimisers = dict(model.optimisers())
        averages = {name: copy.deepcopy(module).eval() for name, module in model.averaged().items()}
        log, seen = runs.RowLog(out / LOG), 0
        if agreed((out / CHECKPOINT).exists()):
            seen = load_checkpoint(out / CHECKPOINT, config, model, averages, optimisers)
        else:
            model.fit(*all_pixels(source, positions), labels, seed=runs.derive_seed(seed, "fit"))
            model.to(target)
            share_weights(model)
        converged = False
        if leads():
            (out / OUTCOME).unlink(missing_ok=True)
            log.rewind("images_seen", seen)
            if convergence:
                convergence.rewind(seen)
                converged = convergence.converged()
        converged = agreed(converged)

        # Train.
        update = Updater(optimisers, target, precision)
        batches = Batches(source, positions, labels, batch=batch, seed=seed, device=target)
        report_every = batch * max(1, total // batch // REPORTS_PER_RUN)
        grid_every = report_every * (REPORTS_PER_RUN // GRIDS_PER_RUN)
        saved = time.monotonic()
        reports = progress = None
        if leads():
            reports = stack.enter_context(Reports(out, log, config, labels, pictures=not plugin.CONTROL, seen=seen))
            progress = stack.enter_context(Progress(f"Training {generator}", total, done=seen))
        while seen < total and not converged:
            clock = Clock(seen // batch, seen, total)
            rng = Draws(runs.derive_seed(seed, "step", seen), target)
            model.train()
            with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
                update.collect(model.step(batches.after(seen), clock=clock, rng=rng, update=update))
            seen += batch
            average(model.averaged(), averages, weight=model.ema_weight(clock, batch))
            if progress:
                progress.advance(batch, update.note)

            # Report; every mean is finite or the run stops before anything is saved.
            if seen % report_every and seen < total:
                continue
            looked = bool(convergence and convergence.due(seen, seen - report_every))
            with recording_failure(out, seen):
                losses = update.means()
                if reports:
                    reports.write(seen, losses)
                    if seen % grid_every == 0 or seen >= total:
                        reports.show(seen, model, averages)
                if convergence and looked:
                    converged = agreed(leads() and convergence.look(seen, model, averages))
            if leads() and seen < total and (looked or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS):
                save_checkpoint(out / CHECKPOINT, config, seen, model, averages, optimisers)
                saved = time.monotonic()

        if leads():
            publish(out, model, averages, config, source, positions, labels, seen=seen, convergence=convergence)
    return out
