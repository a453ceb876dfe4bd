"""How a training ended, written down whether it went well or not: failures are results, too."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from .. import runs
from ..cohort import Cohort
from ..errors import Diverged
from ..nets.generator import Generator
from ..progress import say
from ..runs import CHECKPOINT, OUTCOME, WEIGHTS
from ..types import Array, to_unit_range
from ._convergence import BEST, Convergence
from ._data import facts_for_samples
from ._samples import averaged_model, draw
from ._together import leads
from ._update import check_finite

SAMPLES, REALS = 128, 1024
COLLAPSED = 0.3
"""Samples that differ among themselves by less than this share of what real images do: the same image, nearly."""


def spread(model: Generator, cohort: Cohort, positions: Array, labels: Array | None, config: runs.Config) -> float:
    """Return how much samples differ among themselves, as a share of how much training images do.

    A root mean square over pixels of the standard deviation over images; 1 is ideal, 0 is one image over and over.
    """
    rng = np.random.default_rng(runs.derive_seed(config["seed"], "spread"))
    chosen = np.sort(rng.permutation(positions)[:REALS])
    real = to_unit_range(cohort.images[chosen], cohort.facts.value_range)
    asked = None if labels is None else labels[rng.integers(len(labels), size=SAMPLES)]
    made, _ = draw(model, SAMPLES, asked, seed=config["seed"], purpose="spread", precision=config["precision"])
    within = float(real.var(0, dtype=np.float64).sum())
    return float(np.sqrt(made.var(0, dtype=np.float64).sum() / within)) if within else 1.0


def write_outcome(out: Path, ended: str, images_trained: int, **facts: Any) -> dict[str, Any]:
    """Write and return how the training ended.

    Args:
        out: The run folder.
        ended: "finished", "converged" or "diverged".
        images_trained: Images seen until then.
        facts: What else is known; none of a patient.
    """
    content = {"ended": ended, "images_trained": images_trained, **facts}
    runs.write_atomic(out / OUTCOME, json.dumps(content, indent=2) + "\n")
    return content


@contextlib.contextmanager
def recording_failure(out: Path, seen: int) -> Iterator[None]:
    """Write down that training diverged when the block says so."""
    try:
        yield
    except Diverged as error:
        if leads():
            write_outcome(out, "diverged", seen, reason=str(error))
        raise


def publish(
    out: Path,
    model: Generator,
    averages: Mapping[str, nn.Module],
    config: runs.Config,
    cohort: Cohort,
    positions: Array,
    labels: Array | None,
    *,
    seen: int,
    convergence: Convergence | None,
) -> None:
    """Write how training ended and the weights that samples are drawn from: averaged, and of the best look if any.

    Raises:
        Diverged: A weight or a sample is not finite; that is written, too.
    """
    final = averaged_model(model, averages) if seen else model
    facts: dict[str, Any] = {"facts": facts_for_samples(cohort, positions), "memory_format": "channels_last"}
    if seen:
        best = convergence.best() if convergence else None
        if convergence and best:
            final.load_state_dict(convergence.best_state())
        elif convergence:
            say("Note: training ended before the first look of the convergence stop; its last weights are the result.")
        ended = "converged" if convergence and convergence.converged() else "finished"
        with recording_failure(out, seen):
            check_finite(final.state_dict())
            share = round(spread(final, cohort, positions, labels, config), 3)
            if not math.isfinite(share):  # weights so large that the network overflows
                raise Diverged("Training diverged: a sample is not finite. Lower the learning rate")
        if share < COLLAPSED:
            say(f"Note: samples differ by {share:.0%} of what training images do: the generator collapsed.")
        kept = {"images_kept": best["images_seen"], "frechet": best["frechet"]} if best else {"images_kept": seen}
        facts["outcome"] = write_outcome(out, ended, seen, **kept, spread=share, collapsed=share < COLLAPSED)
    runs.save_tensors(out / WEIGHTS, final.state_dict(), config, **facts)
    for name in (CHECKPOINT, BEST):
        (out / name).unlink(missing_ok=True)
