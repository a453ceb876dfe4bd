"""Stop a training when its samples no longer come nearer to real images; the best weights are kept.

Study 003 (supplement S.2): from `start` on, a Frechet distance every `every` images; the training ends when the best is
`patience` images old, and that snapshot is the result. Recommended is the distance to validation patients; the study
took the training images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from .. import plugins, runs
from ..cohort import Cohort
from ..errors import BadOption, Diverged
from ..metrics.frechet import InvalidCovariance, distance, moments
from ..nets.generator import Generator
from ..types import from_unit_range
from ._data import training_labels
from ._samples import averaged_model, draw
from ._update import averaged_state

CONVERGENCE, BEST = "convergence.jsonl", "best.safetensors"
MIN_REAL = 16


@dataclass(frozen=True)
class Rule:
    """When to look and when to stop, in images seen.

    Attributes:
        every: From one look to the next.
        patience: How old the best may grow; 0 for twice `every`.
        start: The first look, at the earliest.
        against: "val": distance to the validation patients; "train": to the training images, as in study 003.
        n: Images compared at most; as many are sampled. Fewer training images are repeated to n, as in study 003, whose
            distances thus have the same bias whatever the size of the cohort.
        extractor: The feature space.
    """

    every: int
    patience: int = 0
    start: int = 0
    against: Literal["val", "train"] = "val"
    n: int = 10_000
    extractor: str = "texture"


def make_rule(
    *,
    every: int = 0,
    patience: int = 0,
    start: int = 0,
    against: Literal["val", "train"] = "val",
    n: int = 10_000,
    extractor: str = "texture",
) -> Rule:
    """Return the rule that options describe; see `Rule`.

    Raises:
        BadOption: A number is out of its range.
    """
    if every < 1 or min(patience, start) < 0 or n < MIN_REAL:
        rule = f"A convergence stop looks every so many images: every is at least 1, n at least {MIN_REAL}"
        raise BadOption(rule, f"every={every}, patience={patience}, start={start}, n={n}", "Give --stop every=20k")
    return Rule(every, patience or 2 * every, start, against, n, extractor)


class Convergence:
    """The distances so far, and the best weights.

    Args:
        rule: When to look and stop.
        out: The run folder.
        cohort: The training cohort.
        seed: Run seed.
        precision: Of the run.
        weights: Of the extractor, or None.
        watch: Told the images seen and the distance after each look.

    Raises:
        InputError: There are too few images to compare, or no such extractor or weights.
    """

    def __init__(
        self,
        rule: Rule,
        out: Path,
        cohort: Cohort,
        *,
        seed: int,
        precision: str,
        weights: Path | None,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.rule, self._out, self._seed, self._precision, self._watch = rule, out, seed, precision, watch
        self._log = runs.RowLog(out / CONVERGENCE)
        self._extractor = plugins.find("extractors", rule.extractor)(weights=weights)
        positions = cohort.split(rule.against)
        if len(positions) < MIN_REAL:
            found = f"{len(positions)} images in {rule.against}"
            raise BadOption(f"A convergence stop compares {MIN_REAL} images or more", found, "Give against=train")
        rng = np.random.default_rng(runs.derive_seed(seed, "convergence"))
        chosen = np.sort(rng.permutation(positions)[: rule.n])
        self._repeated = rule.against == "train" and len(chosen) < rule.n
        self._labels = training_labels(cohort, chosen, quiet=True)  # taken from the top again by `draw`
        self._facts, self._count = cohort.facts, rule.n if self._repeated else len(chosen)
        features = self._extractor.extract(cohort.images[chosen], cohort.facts.value_range)
        self._real = moments(features[np.arange(self._count) % len(chosen)])

    def manifest(self) -> dict[str, Any]:
        """Return what the stop depends on; part of the run's config."""
        repeated = {"repeated": True} if self._repeated else {}
        return {**asdict(self.rule), "extractor": self._extractor.manifest(), **repeated}

    def rewind(self, seen: int) -> None:
        """Forget what was found after `seen` images; training goes on from there."""
        self._log.rewind("images_seen", seen)

    def due(self, seen: int, before: int) -> bool:
        """Return whether a look is due at `seen` images, the last chance having been at `before`."""
        return seen >= self.rule.start and seen // self.rule.every > before // self.rule.every

    def look(self, seen: int, model: Generator, averages: Mapping[str, nn.Module]) -> bool:
        """Measure, keep the weights if they are the best so far, and return whether training has converged."""
        found = self._distance(averaged_model(model, averages))
        best = self.best()
        if best is None or found < best["frechet"]:
            runs.save_tensors(self._out / BEST, averaged_state(model, averages), self.manifest(), images_seen=seen)
        self._log.append([{"images_seen": seen, "frechet": found, "space": self.rule.extractor, "n": self._count}])
        if self._watch:
            self._watch(seen, found)
        return self.converged()

    def converged(self) -> bool:
        """Return whether the best distance was `patience` images old at the last look."""
        rows, best = self._log.rows(), self.best()
        return bool(best and rows[-1]["images_seen"] - best["images_seen"] >= self.rule.patience)

    def best(self) -> dict[str, Any] | None:
        """Return the row of the smallest distance, the first of equals; None before the first look."""
        return min(self._log.rows(), key=lambda row: row["frechet"], default=None)

    def best_state(self) -> dict[str, Any]:
        """Return the weights of the best look.

        Raises:
            Mismatch: The file is damaged.
        """
        return runs.load_tensors(self._out / BEST)[0]

    def _distance(self, shown: Generator) -> float:
        count, seed, precision = self._count, self._seed, self._precision
        made, _ = draw(shown, count, self._labels, seed=seed, purpose="convergence", precision=precision)
        stored = from_unit_range(made, self._facts.value_range, self._facts.dtype)
        try:
            if not np.isfinite(made).all():
                raise Diverged("Training diverged: a sample is not finite. Lower the learning rate")
            return distance(self._real, moments(self._extractor.extract(stored, self._facts.value_range)))
        except InvalidCovariance as error:
            raise Diverged("Training diverged: the samples have no covariance. Lower the learning rate") from error
