"""Fitted tasks, stored by fingerprint: an interrupted evaluation goes on, and evaluations share their real fits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import runs
from ..claims import Claims
from ..cohort import Facts
from ..devices import choose_device
from ._sets import ImageSet


@dataclass(frozen=True)
class Fitted:
    """A task that was fitted once.

    Attributes:
        task: The fitted network, ready to predict.
        fingerprint: Names its training data, options and seed.
        log: images_seen, train_loss and val_loss.
        seconds: How long the fit took when it was made.
    """

    task: Any
    fingerprint: str
    log: Sequence[Mapping[str, float]]
    seconds: float


class Jobs:
    """Fits of one kind of task.

    Args:
        folder: Where fits are kept; may be shared by evaluations.
        name: The task's public name.
        plugin: Its class.
        options: All its options.
        facts: Shape and classes of the cohorts.
        findings: Names of the labels of the sets.
        weights: File that the network starts from, or None.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        plugin: Any,
        options: Mapping[str, Any],
        facts: Facts,
        *,
        findings: Sequence[str] = (),
        weights: Path | None = None,
    ) -> None:
        self._folder, self._name, self._plugin, self._options, self._facts = folder, name, plugin, options, facts
        self._findings, self._weights = tuple(findings), weights

    def fitted(self, train: ImageSet, val: ImageSet, *, seed: int) -> Fitted:
        """Return the task fitted on a training set, from its file when there is one.

        Args:
            train: Images and targets to fit on.
            val: Images and targets to stop by.
            seed: The learner's seed.
        """
        config = {
            "kind": "fit",
            "task": self._name,
            "revision": self._plugin.REVISION,
            "options": self._options,
            "train": train.key,
            "val": val.key,
            "seed": seed,
        }
        if self._plugin.NEEDS == "labels":
            config["labels"] = self._findings
        if self._weights:
            config["weights"] = self._plugin.manifest(self._weights)
        print_ = runs.fingerprint(config)
        path = self._folder / f"{self._name}-{print_[:32]}.safetensors"
        if path.exists():
            return self._stored(path, print_)
        # Evaluations that share a folder share each fit: one makes it, the others wait.
        with Claims(self._folder / "claims").waiting(path.stem):
            return self._stored(path, print_) if path.exists() else self._made(path, config, train, val, seed)

    def _stored(self, path: Path, print_: str) -> Fitted:
        task = self._new(None)
        tensors, _, facts = runs.load_tensors(path)
        task.load_state_dict(tensors)
        return Fitted(task.eval(), print_, facts["log"], facts["seconds"])

    def _made(self, path: Path, config: Mapping[str, Any], train: ImageSet, val: ImageSet, seed: int) -> Fitted:
        start, task, needs = time.perf_counter(), self._new(self._weights), self._plugin.NEEDS
        log = task.fit(
            train.images,
            train.targets(needs),
            val.images,
            val.targets(needs),
            value_range=self._facts.value_range,
            seed=seed,
        )
        seconds = time.perf_counter() - start
        runs.save_tensors(path, task.state_dict(), config, log=log, seconds=seconds)
        return Fitted(task.eval(), runs.fingerprint(config), log, seconds)

    def _new(self, weights: Path | None) -> Any:
        facts, further = self._facts, {} if weights is None else {"weights": weights}
        task = self._plugin(
            shape=facts.shape, mask_classes=facts.mask_classes, labels=self._findings, **self._options, **further
        )
        device: torch.device = choose_device("auto")
        return task.to(device)
