"""Several processes as one training: started by `torchrun`, one device each.

    torchrun --nproc-per-node 4 -m synthcohort train COHORT --generator NAME --out RUN

Each process takes its share of every batch; `update` averages the gradients. The first process owns the run folder:
the others write nothing. Weights, losses and decisions are the same everywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from .. import runs
from ..devices import choose_device
from ..errors import BadOption
from ..parallel import rank, world

T = TypeVar("T")


@contextlib.contextmanager
def joined(device: str, batch: int) -> Iterator[torch.device]:
    """Yield this process's device; under `torchrun` the processes find one another first.

    Raises:
        BadOption: The device is not there, or the batch cannot be shared out equally.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if batch % count:
        rule = "Several devices take equal shares of a batch"
        raise BadOption(rule, f"--batch {batch} for {count} processes", f"Give a multiple of {count}")
    target = choose_device(device)
    if count == 1 or world() > 1:
        yield target
        return
    if target.type == "cuda":
        target = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(target)
    distributed.init_process_group("nccl" if target.type == "cuda" else "gloo")
    try:
        yield target
    finally:
        distributed.destroy_process_group()


def leads() -> bool:
    """Return whether this process owns the run folder."""
    return rank() == 0


def agreed(value: T) -> T:
    """Return the first process's value, in every process."""
    if world() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def share_weights(module: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if world() == 1:
        return
    for tensor in module.state_dict().values():
        held = tensor.contiguous()  # a message is one block of memory; channels-last weights are not
        distributed.broadcast(held, src=0)
        tensor.copy_(held)


@contextlib.contextmanager
def run_folder(out: Path, config: runs.Config) -> Iterator[None]:
    """Hold a run folder while the block runs; the other processes wait until the first one has it.

    Raises:
        InputError: The folder cannot be had; in every process.
    """
    if not leads():
        if refusal := cast("Exception | None", agreed(None)):
            raise refusal
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(runs.holding(runs.open_run(out, config)))
        except Exception as error:
            agreed(error)
            raise
        agreed(None)
        yield
