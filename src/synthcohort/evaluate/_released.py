"""The membership attack of someone who holds the weights: how well they fit training images beyond held-out ones.

Denoisers (flow, edm) are attacked by their loss at fixed noise levels, GANs by their critic, which scores each image by
itself: layers that compare the images of a batch are given one. Controls say nothing of a single image, and the attack
is not estimable for them.

Sources: Carlini et al. 2023 (arXiv:2301.13188, section 5; loss of diffusion models); Hayes et al. 2019 (LOGAN,
arXiv:1705.07663; critic).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..devices import choose_device
from ..errors import Mismatch
from ..metrics import membership
from ..nets.generator import Draws, Generator
from ..runs import derive_seed, read_run
from ..sample import load_generator
from ..statistics import Floats
from ..types import Batch, Role, to_unit_range
from . import _rows
from ._sets import ImageSet, RealSets

SPACE = "weights"
ATTACK = "loss"
_CHUNK = 64
_DRAWS = 4


def manifest(run: Path, real: str) -> str:
    """Return the fingerprint of a run whose weights are to be attacked.

    Args:
        run: The RUN folder.
        real: Identity of the real cohort.

    Raises:
        Mismatch: It is no run, or its generator learnt from another cohort.
    """
    content = read_run(run)
    if content["config"].get("cohort") != real:
        rule = "Weights are attacked on the cohort that they were trained on"
        raise Mismatch(rule, f"{run.name} was trained on another", "Name the run of the synthetic cohort")
    return str(content["fingerprint"])


def add_attack(rows: _rows.Rows, run: Path, real: RealSets, value_range: tuple[float, float]) -> None:
    """Add what the weights of a run tell of its training images; the ceiling are patients that no run has seen.

    There is no bad case: a generator that stores images has no loss.

    Args:
        rows: Where the scores go.
        run: The RUN folder.
        real: Training, held-out and holdout images.
        value_range: Lowest and highest legal pixel.
    """
    device = choose_device("auto")
    model, _ = load_generator(run, device)
    if model.SPLIT != "train":
        raise Mismatch("Members are training images", f"{run.name} learnt from other ones", "Name another run")
    others = _scores(model, real.held_out, value_range, device, seed=rows.seed)
    sides: tuple[tuple[Role, ImageSet], ...] = (("subject", real.train), ("ceiling", real.holdout))
    for role, members in sides:
        start = time.perf_counter()
        found = _scores(model, members, value_range, device, seed=rows.seed)
        if found is None or others is None or not len(members) or not len(real.held_out):
            reason = "the weights of this generator say nothing of one image"
            values = membership.not_estimable((ATTACK,), reason if found is None else "there are no images to attack")
        else:
            values = membership.rows(
                {ATTACK: membership.Scored(found, others)}, (members.patients, real.held_out.patients)
            )
        for value in values:
            rows.add(
                value,
                family="audit",
                space=SPACE,
                role=role,
                subject="" if role == "subject" else _rows.HOLDOUT,
                arm="audit",
                n_real=len(members),
                n_synthetic=0,
                extractor=SPACE,
                seconds=time.perf_counter() - start,
            )


def _scores(
    model: Generator, images: ImageSet, value_range: tuple[float, float], device: torch.device, *, seed: int
) -> Floats | None:
    """Return (n,) float64, higher where the weights fit an image better, over several draws of noise."""
    found = []
    for first in range(0, len(images), _CHUNK):
        batch = _batch(images, slice(first, first + _CHUNK), value_range, device, model)
        drawn = []
        for draw in range(_DRAWS):
            rng = Draws(derive_seed(seed, "surprise", images.name, first, draw), device)
            surprise = model.surprise(batch, rng)
            if surprise is None:
                return None
            drawn.append(surprise.double().cpu().numpy())
        found.append(-np.mean(drawn, axis=0))
    return np.concatenate(found) if found else np.empty(0)


def _batch(images: ImageSet, rows: slice, value_range: tuple[float, float], device: torch.device, model: Any) -> Batch:
    pixels = torch.from_numpy(to_unit_range(images.images[rows], value_range))
    masks = None if images.masks is None else torch.from_numpy(images.masks[rows].astype(np.int64)).to(device)
    labels = torch.from_numpy(np.nan_to_num(images.labels[rows]).astype(np.float32)).to(device)
    return Batch(pixels.to(device), masks, labels if model.labels else None, torch.arange(len(pixels), device=device))
