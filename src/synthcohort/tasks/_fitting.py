"""What every task's fit shares: the checks, the start, the order, the schedule, augmentation, and keeping the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..runs import derive_seed
from ..types import Array, to_unit_range

Row = dict[str, float]

LARGEST_SHIFT, LARGEST_ZOOM = 1 / 16, 0.1


def check_positive(counts: Mapping[str, int]) -> None:
    """Raise unless every option is at least 1."""
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"Option '{name}' is at least 1", str(value), "Give a positive number")


def check_sets(train_images: Array, val_images: Array) -> None:
    """Raise unless there are training and validation images."""
    for name, images in (("training", train_images), ("validation", val_images)):
        if len(images) == 0:
            rule = "A task is fitted on training images and stopped on validation images"
            raise InputError(rule, f"there are no {name} images", "Prepare or sample both splits")


def restart(network: nn.Module, seed: int) -> None:
    """Draw all weights again; the global random stream is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        device = next(network.parameters()).device
        network.to("cpu")  # so that every device starts from the same weights
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        network.to(device)


def schedule(fraction: float) -> float:
    """Return the share of the peak rate at a fraction of the fit: up over the first tenth, down along a cosine."""
    return min(1.0, 0.1 + 9 * fraction) * 0.5 * (1 + math.cos(math.pi * fraction))


def batches(count: int, batch: int, seed: int) -> Iterator[Array]:
    """Yield positions without end, `batch` at a time, one derived permutation after the other."""
    epoch, waiting = 0, np.empty(0, np.int64)
    while True:
        while len(waiting) < batch:
            shuffled = np.random.default_rng(derive_seed(seed, "task order", epoch)).permutation(count)
            waiting, epoch = np.concatenate([waiting, shuffled]), epoch + 1
        yield waiting[:batch]
        waiting = waiting[batch:]


def best_of(
    module: nn.Module,
    positions: Iterable[Array],
    step: Callable[[Array, int], Tensor],
    look: Callable[[int, list[Tensor]], Row],
    better: Callable[[Row, Row], bool],
    *,
    images_seen: int,
    check_every: int,
    patience: int,
) -> list[Row]:
    """Train until `images_seen`, or until the best look is `patience` images old; keep the best look's weights.

    Args:
        module: Whose weights are kept.
        positions: Training positions of each step.
        step: Makes one step, given its positions and the images seen so far; returns the loss.
        look: Given the images seen and the losses since the last look, one row of the log.
        better: Whether a row takes the place of the best one so far.
        images_seen: Of a whole fit.
        check_every: Images between two looks.
        patience: Images.

    Returns:
        The log.
    """
    log: list[Row] = []
    losses: list[Tensor] = []
    best, best_row, best_at, seen, next_check = _kept(module), 0, 0, 0, check_every
    for chosen in positions:
        losses.append(step(chosen, seen))
        seen += len(chosen)
        last = seen >= images_seen
        if seen < next_check and not last:
            continue

        # Look at the validation images, keep the best weights, and stop when they have been the best for long.
        next_check += check_every
        log.append(look(seen, losses))
        losses = []
        if len(log) == 1 or better(log[-1], log[best_row]):
            best, best_row, best_at = _kept(module), len(log) - 1, seen
        if last or seen - best_at >= patience:
            break
    module.load_state_dict(best)
    return log


def _kept(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def drawn_moves(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return a sampling grid (B, H, W, 2) and a gain (B, 1, 1, 1) for each image on its own.

    Shifts are up to 1/16, zooms up to 10 %, gains 0.9 to 1. Nothing is flipped: it would change the anatomy.
    """
    draw = torch.rand((4, len(images)), generator=torch.Generator().manual_seed(seed)).to(images.device) * 2 - 1
    zoom = 1 + LARGEST_ZOOM * draw[0]
    shift = 2 * LARGEST_SHIFT * draw[1:3]  # sampling grids span -1 to 1
    zero = torch.zeros_like(zoom)
    rows = [torch.stack([zoom, zero, shift[0]], dim=1), torch.stack([zero, zoom, shift[1]], dim=1)]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return grid, 1 - LARGEST_ZOOM * draw[3].abs()[:, None, None, None]


def moved(images: Tensor, grid: Tensor, gain: Tensor) -> Tensor:
    """Return images (B, C, H, W) in [-1, 1], moved along the grid and dimmed."""
    sampled = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return (sampled + 1) * gain - 1


def chunks(
    module: nn.Module,
    images: Array,
    value_range: tuple[float, float],
    network: Callable[[Tensor], Tensor],
    *,
    size: int = 256,
) -> Iterator[Tensor]:
    """Yield the network's answers to stored images, `size` at a time, with `module` in evaluation mode."""
    module.eval()
    for start in range(0, len(images), size):
        with torch.inference_mode():
            yield network(pixels(module, images[start : start + size], value_range))


def pixels(module: nn.Module, images: Array, value_range: tuple[float, float]) -> Tensor:
    """Return stored images as float32 in [-1, 1], where the module is."""
    return torch.from_numpy(to_unit_range(images, value_range)).to(next(module.parameters()).device)
