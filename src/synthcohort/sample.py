"""Draw a synthetic cohort from a finished run.

Sampling runs in fixed, index-aligned, padded chunks with one random stream per sample: neither `--batch` nor the number
of samples asked for changes sample i.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from . import plugins, runs
from ._labels import drawn_labels, mirrored_labels
from .cohort import Cohort, CohortWriter, Facts, existing, writing_cohort
from .devices import choose_device
from .errors import BadOption, Diverged, Mismatch
from .nets.generator import RESERVED, Generator, Streams, build
from .progress import Progress, say
from .runs import LOG, OUTCOME, WEIGHTS
from .types import SPLITS, Array, Condition, from_unit_range

CHUNK_PIXELS = 1 << 18
MAX_CHUNK = 64
TRAINING_LOG = "training.jsonl"
VAL_EVERY = 5  # with --n, every fifth sample is for validation

LabelRule = Literal["merged", "exact"]


def sample(
    run: Path | str,
    *,
    out: Path | str,
    n: int | None = None,
    like: Path | str | None = None,
    labels: LabelRule = "merged",
    seed: int = 0,
    batch: int = 256,
    device: str = "auto",
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Cohort:
    """Write a synthetic cohort and return it; the same call again returns the finished one.

    Args:
        run: Folder of a finished training run.
        out: The new cohort.
        n: How many samples; every fifth goes to the validation split.
        like: A cohort whose train, val and test splits are mirrored, image for image. Its reference patients are not.
        labels: Of a generator that is conditioned on labels: with `like`, "merged" asks for that cohort's label vectors
            with combinations of fewer than ten patients replaced by the nearest that ten or more hold; "exact" asks for
            them as they are, which is flagged. With `n` they are drawn from the merged ones of the training images.
        seed: Sample i depends on this seed and i, on nothing else.
        batch: Samples held in memory between two writes, rounded up to whole chunks.
        device: "cpu", "cuda" or "auto".
        options: The generator's sampling options.

    Raises:
        Mismatch: The run is not finished or damaged, or `like` was prepared differently.
        Diverged: A sample is not finite, so the run's weights are no use.
        BadOption: Neither or both of `n` and `like` are given, or an option is wrong.
        InputError: Every combination of labels is too rare to be asked for.
    """
    run, out, target = Path(run), Path(out), choose_device(device)
    model, trained = load_generator(run, target)
    splits = _splits(n, like, trained["facts"])
    if batch < 1:
        raise BadOption("--batch is at least 1", str(batch), "Give a positive number")
    resolved, content = plugins.resolve(model.sample, options), runs.read_run(run)
    asked = _asked(model, like, labels, trained["facts"], len(splits), seed)
    config = _config(content["fingerprint"], splits, asked, "drawn" if like is None else labels, seed, resolved)
    if finished := existing(out, config):
        say(f"{out.name} is finished already")
        return finished
    known = {**trained["facts"], "outcome": trained.get("outcome")}
    facts = _facts(known, content["config"], model, {**config, "fingerprint": runs.fingerprint(config)})
    draw = _Draw(model, asked, seed, resolved, target, bf16=content["config"]["precision"] == "bf16")
    with (
        writing_cohort(out, facts, config, key=None) as writer,
        Progress(f"Sampling {content['config']['generator']}", len(splits)) as progress,
    ):
        held = draw.chunk * -(-batch // draw.chunk)
        for start in range(0, len(splits), held):
            for chunk in list(draw.chunks(start, min(start + held, len(splits)))):
                _write(writer, facts, splits, chunk, trained["facts"]["spacing_mm"])
                progress.advance(len(chunk.images))
        if (run / LOG).exists():
            runs.write_atomic(writer.folder / TRAINING_LOG, (run / LOG).read_bytes())
        writer.finish()
    return _done(out, facts.notice)


def _done(out: Path, notice: str) -> Cohort:
    if notice:
        say(f"Notice: {notice}")
    return Cohort(out)


def load_generator(run: Path, device: torch.device) -> tuple[Generator, dict[str, Any]]:
    """Return a finished run's generator, ready to sample, and the facts stored with its weights.

    Raises:
        Mismatch: The folder is no run, or the run is not finished or damaged.
    """
    content = runs.read_run(run)
    if not (run / WEIGHTS).exists():
        _check_no_failure(run)
        raise Mismatch(
            "Only a finished run can be sampled", run.name, "Run the same `train` command again to finish it"
        )
    tensors, config, stored = runs.load_tensors(run / WEIGHTS)
    if runs.canonical_json(config) != runs.canonical_json(content["config"]):
        raise Mismatch("Weights belong to their run", run.name, "Train it again")
    plugin = plugins.find("generators", config["generator"])
    if config["revision"] != plugin.REVISION:
        raise Mismatch(
            "A run is sampled by the revision that trained it",
            f"{run.name} has revision {config['revision']} of {config['generator']}, this version {plugin.REVISION}",
            "Train it again",
        )
    options = plugins.resolve(plugin, config["options"], reserved=RESERVED)
    try:
        facts = Facts(**{**_tuples(stored["facts"]), "provenance": "synthetic"})
        model = build(config["generator"], facts, options)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:  # the file may come from anywhere
        raise Mismatch("Weights and facts fit the network of their run", run.name, "Train it again") from error
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), stored


def _check_no_failure(run: Path) -> None:
    """Raise Mismatch when the run is known to have diverged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        ended = json.loads((run / OUTCOME).read_text(encoding="utf-8"))
        if ended["ended"] == "diverged":
            found = f"{run.name} diverged after {int(ended['images_trained'])} images"
            raise Mismatch("Only a finished run can be sampled", found, "Train again, with a lower learning rate")


def _tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in facts.items() if key in Facts.__dataclass_fields__}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}


def _splits(n: int | None, like: Path | str | None, trained: Mapping[str, Any]) -> list[str]:
    if (n is None) == (like is None):
        raise BadOption("Sampling takes either --n or --like", "both or neither were given", "Give exactly one")
    if n is not None:
        if n < 1:
            raise BadOption("--n is at least 1", str(n), "Give a positive number")
        return ["val" if i % VAL_EVERY == VAL_EVERY - 1 else "train" for i in range(n)]
    mirrored = Cohort(like)  # type: ignore[arg-type]
    rules = Facts(**{**_tuples(trained), "provenance": "synthetic"}).pixels_sha256
    if mirrored.pixels_sha256 != rules:
        raise Mismatch(
            "--like takes a cohort prepared like the training cohort", mirrored.path.name, "Prepare it with --like"
        )
    return [split for split in SPLITS if split != "reference" for _ in mirrored.split(split)]


def check_label_rule(rule: str) -> None:
    """Raise BadOption when there is no such rule."""
    if rule not in get_args(LabelRule):
        raise BadOption("--labels is merged or exact", f"'{rule}'", "Choose one")


def _asked(
    model: Generator, like: Path | str | None, rule: LabelRule, trained: Mapping[str, Any], count: int, seed: int
) -> Array | None:
    """Return the labels (count, L) that the samples are asked for, or None for an unconditional generator."""
    check_label_rule(rule)
    if rule == "exact" and like is None:
        raise BadOption("--labels exact takes the label vectors of --like", "there is no --like", "Leave --labels out")
    if not model.conditional:
        if rule == "exact":
            say("Note: this generator is told no labels, so --labels exact changes nothing.")
        return None
    if like is None:
        return drawn_labels(trained.get("label_combinations") or (), count, seed=seed)
    return mirrored_labels(Cohort(like), model.labels, exact=rule == "exact", seed=seed)


def _config(
    run: str, splits: list[str], asked: Array | None, rule: str, seed: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    config = {
        "kind": "sample",
        "run": run,
        "splits": runs.sha256(",".join(splits)),
        "count": len(splits),
        "seed": seed,
        "options": options,
    }
    if asked is not None:
        config["labels"] = {"rule": rule, "sha256": runs.sha256(asked.astype(np.uint8).tobytes())}
    return config


def _facts(trained: Mapping[str, Any], config: Mapping[str, Any], model: Generator, step: Mapping[str, Any]) -> Facts:
    name = f"{config['generator']} of {trained['name']}"
    labels = model.labels if model.labelled else ()
    kept = {**_tuples(trained), "name": name, "source": f"generator {config['generator']}", "labels": labels}
    made_by = {**config, "fingerprint": runs.fingerprint(config), "trained_on": trained["training_counts"]}
    if ended := trained.get("outcome"):
        made_by["outcome"] = ended
    return Facts(
        **kept,
        provenance="control" if model.CONTROL else "synthetic",
        history=[step],
        generator=made_by,
    )


def chunk_length(shape: tuple[int, ...]) -> int:
    """Return how many samples go through the network at once; it depends on the image size only."""
    return max(1, min(MAX_CHUNK, CHUNK_PIXELS // (shape[1] * shape[2])))


@dataclass(frozen=True)
class _Chunk:
    """Samples `first`, `first` + 1, ...: images (n, C, H, W) in [-1, 1]; masks (n, H, W) and labels (n, L), or None."""

    first: int
    images: Array
    masks: Array | None
    labels: Array | None


class _Draw:
    """Draws samples by index, in whole aligned chunks."""

    def __init__(
        self,
        model: Generator,
        asked: Array | None,
        seed: int,
        options: Mapping[str, Any],
        device: torch.device,
        *,
        bf16: bool,
    ) -> None:
        self.chunk = chunk_length(model.shape)
        self._model, self._asked, self._seed, self._options = model, asked, seed, options
        self._device, self._bf16 = device, bf16

    def chunks(self, start: int, stop: int) -> Iterator[_Chunk]:
        """Yield samples start to stop; start is a chunk's first."""
        for first in range(start, stop, self.chunk):
            seeds = [runs.derive_seed(self._seed, "sample", first + i) for i in range(self.chunk)]
            condition = Condition(self.chunk, first=first, labels=self._labels(first))
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                made = self._model.sample(condition, Streams(seeds, self._device), **self._options)
            wanted = min(stop - first, self.chunk)
            masks = None if made.masks is None else made.masks[:wanted].cpu().numpy().astype(np.uint8)
            images = made.images[:wanted].float().cpu().numpy()
            if not np.isfinite(images).all():  # as a stored integer it would be a legal pixel
                raise Diverged("A sample has pixels that are not finite. Train again, with a lower learning rate")
            labels = condition.labels if made.labels is None else made.labels
            yield _Chunk(first, images, masks, None if labels is None else labels[:wanted].cpu().numpy())

    def _labels(self, first: int) -> torch.Tensor | None:
        """Return the labels of a whole chunk; those beyond the last sample are those of the first ones."""
        if self._asked is None:
            return None
        rows = np.arange(first, first + self.chunk) % len(self._asked)
        return torch.from_numpy(self._asked[rows]).to(self._device)


def _write(
    writer: CohortWriter, facts: Facts, splits: list[str], chunk: _Chunk, spacing_mm: list[float] | None
) -> None:
    stored = from_unit_range(chunk.images, facts.value_range, facts.dtype)
    spacing = spacing_mm or (None, None)
    for offset, image in enumerate(stored):
        name = f"s{chunk.first + offset:08d}"
        row = {
            "sample_id": name,
            "patient_id": name,
            "group_id": name,
            "slice_index": 0,
            "split": splits[chunk.first + offset],
            "spacing_y_mm": spacing[0],
            "spacing_x_mm": spacing[1],
        }
        if facts.labels:
            assert chunk.labels is not None, "a generator that is labelled gives labels"
            known = chunk.labels[offset].astype(bool).tolist()
            row |= {f"label.{finding}": value for finding, value in zip(facts.labels, known, strict=True)}
        writer.append(image, None if chunk.masks is None else chunk.masks[offset], row)
