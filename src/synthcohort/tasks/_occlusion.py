"""Feature importance by occlusion: by how much the loss grows when a tile of the input is hidden.

Source: DuMont Schütte et al. 2021 (npj Digital Medicine), supplement S.7, after Schwab and Karlen 2019 (CXPlain,
arXiv:1910.12336). Every tile is one pass through the whole network, many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ._folded import FEWEST

Form = Literal["signed", "floored", "normalised"]
_FLOOR = 1e-7  # of the released code
_PLACES = FEWEST * 224 * 224  # pixels of one batch: larger ones leave the processor's caches
_GPU_FACTOR = 16


@torch.inference_mode()
def loss_increases(
    network: Callable[[Tensor], Tensor], image: Tensor, targets: Tensor, *, tile: int, batch: int | None = None
) -> npt.NDArray[np.float64]:
    """Return the loss with each tile set to 0, minus the loss of the whole image, (ceil(H / tile), ceil(W / tile)).

    The loss is the binary cross-entropy averaged over the known targets. Non-overlapping tiles from the upper left; a
    tile that does not fit is cut off.

    Args:
        network: Scores (B, L) before the sigmoid of images (B, C, H, W).
        image: (C, H, W) as the network takes it: 0 is what a hidden place shows.
        targets: (L,) 0 or 1, NaN where unknown; one at least is known.
        tile: Side of a tile in pixels.
        batch: Passes at a time; chosen by the size of the image when left out. Changes the result by rounding only.
    """
    channels, height, width = image.shape
    places = tile_places(height, width, tile).to(image.device)
    rows = batch or batch_size(height, width, image.device)
    flat = image.reshape(channels, -1)
    buffer = image.expand(rows, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    pixels = buffer.permute(0, 2, 3, 1).view(rows, -1, channels)  # the same memory
    whole = flat.t().contiguous()
    row = torch.arange(rows, device=image.device)[:, None]
    losses = [_losses(network(buffer), targets)[:1]]
    for start in range(0, len(places), rows):
        hidden = places[start : start + rows]
        pixels[row[: len(hidden)], hidden] = 0
        losses.append(_losses(network(buffer), targets)[: len(hidden)])
        pixels[row[: len(hidden)], hidden] = whole[hidden]
    found = torch.cat(losses).cpu().numpy()
    increases: npt.NDArray[np.float64] = (found[1:] - found[0]).reshape(-(-height // tile), -(-width // tile))
    return increases


def attribution(increases: npt.NDArray[np.float64], form: Form) -> npt.NDArray[np.float64]:
    """Return a map of importance.

    Args:
        increases: Of the loss.
        form: "signed" as they are; "floored" at 1e-7 as in the released code; "normalised": floored, then divided by
            their sum as in Schwab and Karlen 2019, eq. 4 (the text of study 003 says normalised, and not how).
    """
    if form == "signed":
        return increases
    floored = np.maximum(increases, _FLOOR)
    return floored if form == "floored" else floored / floored.sum()


def tile_places(height: int, width: int, tile: int) -> Tensor:
    """Return which pixels each tile covers, (tiles, tile * tile) int64; a cut-off one names some pixels twice."""
    y, x = (torch.arange(-(-side // tile) * tile).clamp(max=side - 1).view(-1, tile) for side in (height, width))
    places = y[:, None, :, None] * width + x[None, :, None, :]
    return places.reshape(len(y) * len(x), tile * tile)


def batch_size(height: int, width: int, device: torch.device) -> int:
    """Return how many passes to make at a time: 16 at 224 px on a processor, more of smaller images."""
    fitting = _PLACES // (height * width)
    return max(FEWEST, torch.get_num_threads(), min(fitting, 512)) * (_GPU_FACTOR if device.type == "cuda" else 1)


def _losses(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of every row of scores, (B,) float64."""
    known = torch.isfinite(targets)
    truth = targets[known].double().expand(len(scores), -1)
    each = nn.functional.binary_cross_entropy_with_logits(scores[:, known].double(), truth, reduction="none")
    return each.mean(dim=1)
