"""The training loop that every generator shares.

The clock counts images seen. All randomness is derived from (run seed, purpose, images seen), so a killed run goes on
by the same command and ends in bitwise the same weights (same CPU, thread count and memory format).
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import plugins, runs
from .cohort import Cohort, Facts
from .errors import BadOption, Diverged, InputError, Mismatch, writing
from .nets.generator import Generator, Streams
from .pictures import contact_sheet, loss_curves, png_bytes
from .progress import Progress, say
from .types import Array, Batch, Clock, Condition, from_unit_range, to_unit_range

CHECKPOINT, WEIGHTS, LOG = "checkpoint.safetensors", "weights.safetensors", "log.jsonl"
RESERVED = ("shape", "labels", "mask_classes")
EMA_EXPONENT = 6.94  # Karras et al. 2023 (EDM2), eq. 2 and appendix C: a profile 10 % as wide as the training is long.
SECONDS_BETWEEN_CHECKPOINTS = 20.0
REPORTS_PER_RUN, GRIDS_PER_RUN, GRID_SAMPLES = 100, 8, 16


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

    with writing(out):
        # Take up the run folder.
        runs.open_run(out, config)
        if (out / WEIGHTS).exists():
            say(f"{out.name} is finished already")
            return out
        model = build(generator, source.facts, resolved, seed=runs.derive_seed(seed, "weights"))
        model.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimisers = dict(model.optimisers())
        averages = {name: copy.deepcopy(module).eval() for name, module in model.averaged().items()}
        log, seen = runs.RowLog(out / LOG), 0
        if (out / CHECKPOINT).exists():
            seen = load_checkpoint(out / CHECKPOINT, config, model, averages, optimisers)
        else:
            model.fit(*_all_pixels(source, positions), seed=runs.derive_seed(seed, "fit"))
            model.to(target)
        log.rewind("images_seen", seen)

        # Train.
        update = Updater(optimisers, target, precision)
        report_every = batch * max(1, total // batch // REPORTS_PER_RUN)
        grid_every = report_every * (REPORTS_PER_RUN // GRIDS_PER_RUN)
        started, saved = time.monotonic(), time.monotonic()
        with Progress(f"Training {generator}", total, done=seen) as progress, event_writer(out, seen, total) as events:
            while seen < total:
                clock = Clock(seen // batch, seen, total)
                data = _batch(source, positions, seen, batch, seed, target)
                rng = torch.Generator().manual_seed(runs.derive_seed(seed, "step", seen))
                model.train()
                with torch.autocast(target.type, torch.bfloat16, enabled=precision == "bf16"):
                    update.collect(model.step(data, clock=clock, rng=rng, update=update))
                seen += batch
                average(model.averaged(), averages, step=clock.step + 1)
                progress.advance(batch, update.note)

                # Report; every mean is finite or the run stops before anything is saved.
                if seen % report_every and seen < total:
                    continue
                losses = update.means()
                rate = round(batch * (clock.step + 1) / max(time.monotonic() - started, 1e-9), 1)
                log.append([{"images_seen": seen, **losses}])
                events.add_scalars({**losses, "images_per_second": rate}, seen)
                if seen % grid_every == 0 or seen >= total:
                    sheet = sample_sheet(model, averages, source.facts, seed, precision)
                    runs.write_atomic(out / f"samples-{seen:09d}.png", png_bytes(sheet))
                    runs.write_atomic(out / "losses.svg", loss_curves(log.rows()))
                    events.add_image(np.asarray(sheet), seen)
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS and seen < total:
                    save_checkpoint(out / CHECKPOINT, config, seen, model, averages, optimisers)
                    saved = time.monotonic()

        # Publish: the averaged weights are what samples are drawn from.
        facts = {"facts": _facts_for_samples(source), "memory_format": "channels_last"}
        runs.save_tensors(out / WEIGHTS, averaged_state(model, averages), config, **facts)
        (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def choose_device(device: str) -> torch.device:
    """Return the device that "auto", "cpu" or "cuda" stands for.

    Raises:
        BadOption: The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.split(":")[0] not in ("cpu", "cuda") or (device.startswith("cuda") and not torch.cuda.is_available()):
        raise BadOption("A device is auto, cpu or a CUDA device that is there", f"'{device}'", "Use --device auto")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 where the hardware multiplies it natively.

    Raises:
        BadOption: The precision is none of the three.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise BadOption("A precision is auto, fp32 or bf16", f"'{precision}'", "Use --precision auto")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "fp32"


def build(name: str, facts: Facts, options: Mapping[str, Any], *, seed: int = 0) -> Generator:
    """Return a generator for images of a cohort, its weights drawn from `seed`.

    Raises:
        BadOption: The options do not fit together or do not fit the images.
    """
    plugin = plugins.find("generators", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: Generator = plugin(
                shape=facts.shape, labels=facts.labels, mask_classes=facts.mask_classes, **options
            )
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            if isinstance(error, InputError):
                raise
            raise BadOption(f"The options of {name} must fit {facts.shape} images", str(error), "See `list`") from error
    return model


def training_positions(cohort: Cohort, split: str) -> Array:
    """Return the positions of the samples a generator may learn from.

    The controls that serve reference patients get the second half of them; the first half is what distances are
    measured against.

    Raises:
        Mismatch: The split is empty.
    """
    positions = cohort.reference_half("B") if split == "reference" else cohort.split(split)
    if not len(positions):
        raise Mismatch("Training needs samples", f"the {split} split of {cohort.path.name} is empty", "Prepare it anew")
    return positions


def _all_pixels(cohort: Cohort, positions: Array) -> tuple[Array, Array | None]:
    images = to_unit_range(cohort.images[positions], cohort.facts.value_range)
    return images, None if cohort.masks is None else np.asarray(cohort.masks[positions])


def batch_positions(count: int, images_seen: int, batch: int, seed: int) -> Array:
    """Return which of `count` samples the next batch holds: every epoch is a permutation derived from its number."""
    stream = np.arange(images_seen, images_seen + batch)
    epochs = {
        int(e): np.random.default_rng(runs.derive_seed(seed, "order", int(e))).permutation(count)
        for e in np.unique(stream // count)
    }
    return np.array([epochs[int(k // count)][k % count] for k in stream], dtype=np.int64)


def _batch(cohort: Cohort, positions: Array, seen: int, batch: int, seed: int, device: torch.device) -> Batch:
    chosen = batch_positions(len(positions), seen, batch, seed)
    rows = positions[chosen]
    images = torch.from_numpy(to_unit_range(cohort.images[rows], cohort.facts.value_range))
    masks = None if cohort.masks is None else torch.from_numpy(cohort.masks[rows].astype(np.int64)).to(device)
    images = images.to(device, memory_format=torch.channels_last)
    return Batch(images, masks, None, torch.from_numpy(chosen).to(device))


class Updater:
    """The only place that backpropagates and steps; collects losses without waiting for the device."""

    def __init__(self, optimisers: Mapping[str, torch.optim.Optimizer], device: torch.device, precision: str) -> None:
        self._optimisers, self._device, self._bf16 = optimisers, device, precision == "bf16"
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.note = ""

    def __call__(self, name: str, loss: Tensor, *, lr: float | None = None) -> None:
        """Make one step of the optimiser `name`; see `types.Update`."""
        optimiser = self._optimisers[name]
        if lr is not None:
            for group in optimiser.param_groups:
                group["lr"] = lr
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, enabled=False):
            loss.backward()
            optimiser.step()

    def collect(self, losses: Mapping[str, float | Tensor]) -> None:
        """Add one step's losses to the running means."""
        for name, loss in losses.items():
            value = torch.as_tensor(loss, device=self._device).detach().double()
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean losses since the last call.

        Raises:
            Diverged: One is not finite. A weight that is not finite makes the next loss so.
        """
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        bad = [name for name, value in means.items() if not np.isfinite(value)]
        if bad:
            raise Diverged(f"Training diverged: the {bad[0]} loss is {means[bad[0]]}. Lower the learning rate")
        self._sums, self._counts = {}, {}
        self.note = " ".join(f"{name} {value:.3g}" for name, value in means.items())
        return means


@torch.no_grad()
def average(modules: Mapping[str, nn.Module], averages: Mapping[str, nn.Module], *, step: int) -> None:
    """Move each average towards its module: power-function profile, so its width grows with the training."""
    weight = 1 - (1 - 1 / step) ** (EMA_EXPONENT + 1)
    for name, module in modules.items():
        torch._foreach_lerp_(list(averages[name].parameters()), list(module.parameters()), weight)
        for mean, buffer in zip(averages[name].buffers(), module.buffers(), strict=True):
            mean.copy_(buffer)


def averaged_state(model: Generator, averages: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the generator's state with its averaged modules in place of the raw ones."""
    state = dict(model.state_dict())
    for name, module in averages.items():
        state.update({f"{name}.{key}": value for key, value in module.state_dict().items()})
    return state


def sample_sheet(
    model: Generator, averages: Mapping[str, nn.Module], facts: Facts, seed: int, precision: str
) -> Any:
    """Return a picture of samples of the averaged generator; the same latents every time."""
    shown = copy.deepcopy(model).eval()
    shown.load_state_dict(averaged_state(model, averages))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    streams = Streams([runs.derive_seed(seed, "grid", i) for i in range(GRID_SAMPLES)], device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        made = shown.sample(Condition(GRID_SAMPLES), streams)
    images = from_unit_range(made.images.float().cpu().numpy(), (0.0, 255.0), "uint8")
    masks = None if made.masks is None else made.masks.cpu().numpy().astype(np.uint8)
    return contact_sheet(images, masks, columns=8)


def save_checkpoint(
    path: Path,
    config: runs.Config,
    seen: int,
    model: Generator,
    averages: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Write everything a resumed run needs: weights, buffers, averages and optimiser states."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for name, module in averages.items():
        tensors.update({f"average.{name}.{key}": value for key, value in module.state_dict().items()})
    for name, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{name}.{index}.{key}": torch.as_tensor(v) for key, v in state.items()})
    runs.save_tensors(path, tensors, config, images_seen=seen)


def load_checkpoint(
    path: Path,
    config: runs.Config,
    model: Generator,
    averages: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> int:
    """Restore what `save_checkpoint` wrote and return the images seen.

    Raises:
        Mismatch: The file is damaged or of another run.
    """
    tensors, stored, facts = runs.load_tensors(path)
    if runs.canonical_json(stored) != runs.canonical_json(config):
        raise Mismatch("A checkpoint belongs to its run", str(path), "Remove it to start over")
    model.load_state_dict(_below(tensors, "model."))
    for name, module in averages.items():
        module.load_state_dict(_below(tensors, f"average.{name}."))
    for name, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, f"optimiser.{name}.").items():
            index, field = key.split(".", 1)
            state.setdefault(int(index), {})[field] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        _match_memory(optimiser)
    return int(facts["images_seen"])


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _match_memory(optimiser: torch.optim.Optimizer) -> None:
    """Give each moment the memory format of its parameter; files hold contiguous tensors."""
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[key] = torch.empty_like(parameter).copy_(value)


class event_writer:  # noqa: N801 (used as a function)
    """TensorBoard event files under RUN/events; nothing for a generator without steps."""

    def __init__(self, out: Path, seen: int, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "events"), purge_step=seen or None) if total else None  # type: ignore[no-untyped-call]

    def __enter__(self) -> event_writer:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close."""
        if self._writer:
            self._writer.close()  # type: ignore[no-untyped-call]

    def add_scalars(self, values: Mapping[str, float], images_seen: int) -> None:
        """Write each value under its name."""
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(name, value, images_seen)  # type: ignore[no-untyped-call]

    def add_image(self, image: Array, images_seen: int) -> None:
        """Write an (H, W, 3) uint8 picture."""
        if self._writer:
            self._writer.add_image("samples", image, images_seen, dataformats="HWC")  # type: ignore[no-untyped-call]


def _facts_for_samples(cohort: Cohort) -> dict[str, Any]:
    spacings = cohort.samples[["spacing_y_mm", "spacing_x_mm"]].drop_duplicates() if _has_spacing(cohort) else []
    one = [float(v) for v in spacings.iloc[0]] if len(spacings) == 1 else None  # type: ignore[union-attr]
    content = json.loads((cohort.path / "cohort.json").read_text(encoding="utf-8"))
    kept = ("name", "modality", "shape", "dtype", "value_range", "mask_classes", "labels", "pixel_rules", "licence")
    counts = {split: count["images"] for split, count in cohort.counts().items()}
    return {**{key: content.get(key) for key in kept}, "spacing_mm": one, "training_counts": counts}


def _has_spacing(cohort: Cohort) -> bool:
    columns = ["spacing_y_mm", "spacing_x_mm"]
    return set(columns) <= set(cohort.samples) and bool(cohort.samples[columns].notna().all(axis=None))
