"""Where a generator that paints images over masks takes its masks from when it is given none.

"generated": a small network of its own learns the label maps beside the generator and draws new ones. It is a flow
from noise to one-hot maps whose network says how probable each class is at each place (Eijkelboom et al. 2024,
arXiv:2406.04843, sec. 4: the velocity is (E[x | x_t] - x_t) / (1 - t), learnt by cross-entropy). The study that this
project repeats does not say where its masks came from; an earlier one of the field trained a variational autoencoder
over label maps.

"jittered" and "training" serve training masks. These are patients' data: the weights hold them, and an audit of masks
finds them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..nets.generator import Draws, Fitted, Streams
from ..nets.unet import TimeUNet
from ..types import Array, Batch, Clock, Condition, Update

MaskSource = Literal["generated", "jittered", "training"]

GRID, MULTIPLE = 32, 4
"""Longest side of the maps that are learnt, and what their sides are multiples of."""
WIDTH, LEARNING_RATE, WARMUP = 32, 1e-3, 0.02
STEPS = 12
ROTATION, SCALE, SHIFT = math.radians(10), 0.1, 0.05  # at most: to either side, as a factor, of the side


class MaskBank(Fitted):
    """A source of masks.

    Args:
        shape: (C, H, W) of an image.
        mask_classes: Class names by index, background first.
        labels: Findings that the masks go with; empty for none.
        source: "generated": drawn from a network that learns the training masks on a grid of at most 32 positions a
            side, so structures of less than about a thirtieth of the side are lost. "jittered": stored training masks,
            each turned by up to 10 degrees, scaled by up to a tenth and shifted by up to a twentieth of the side.
            "training": stored training masks as they are. The last two put every training mask into the weights, and
            with labels the findings that go with it; the first stores neither.
    """

    fitted: ClassVar[tuple[str, ...]] = ("masks", "findings")
    masks: Tensor | None
    findings: Tensor | None

    def __init__(
        self, *, shape: tuple[int, int, int], mask_classes: Sequence[str], labels: Sequence[str], source: MaskSource
    ) -> None:
        super().__init__()
        self.sides, self.classes, self.source = tuple(shape[1:]), len(mask_classes), source
        self.labelled = bool(labels)
        self.grid = _grid(*shape[1:])
        stored = source != "generated"
        self.register_buffer("masks", torch.empty((0, *self.sides), dtype=torch.uint8) if stored else None)
        held = stored and self.labelled
        self.register_buffer("findings", torch.empty((0, len(labels)), dtype=torch.uint8) if held else None)
        if not stored:
            self.network = TimeUNet(
                self.classes,
                self.classes,
                width=WIDTH,
                multipliers=(1, 2),
                blocks=1,
                patch=2,
                attention_levels=1,
                labels=len(labels),
            )

    def fit(self, masks: Array, labels: Array | None, *, seed: int) -> None:
        """Keep the masks, and the labels of each where there are findings; nothing where masks are generated.

        Args:
            masks: (N, H, W) uint8.
            labels: (N, L) 0/1, or None.
            seed: Of the order in which they are kept.
        """
        if self.masks is None:
            return
        order = torch.randperm(len(masks), generator=torch.Generator().manual_seed(seed))
        self.masks = torch.from_numpy(masks)[order]
        if self.findings is not None:
            assert labels is not None, "a labelled cohort has labels"
            self.findings = torch.from_numpy(labels)[order].to(torch.uint8)

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return Adam as "masks" where masks are learnt."""
        if self.masks is not None:
            return {}
        return {"masks": torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True)}

    def averaged(self) -> Mapping[str, nn.Module]:
        """Return the network as "network" where masks are learnt."""
        return {} if self.masks is not None else {"network": self.network}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        """Make one step on the cross-entropy of the classes behind noisy maps, where masks are learnt."""
        if self.masks is not None:
            return {}
        assert batch.masks is not None, "a cohort with masks"
        shares = functional.interpolate(_onehot(batch.masks, self.classes), self.grid, mode="area")
        time = torch.sigmoid(rng.normal(len(shares)))
        x_t = torch.lerp(rng.normal(*shares.shape), 2 * shares - 1, time[:, None, None, None])
        logits = self._logits(x_t, time, batch.labels)
        loss = -(shares * logits.log_softmax(1)).sum(1).mean()
        rate = min(1.0, clock.fraction / WARMUP) * (1 + math.cos(math.pi * clock.fraction)) / 2
        update("masks", loss, lr=LEARNING_RATE * rate)
        return {"masks": loss.detach()}

    def draw(self, condition: Condition, rng: Streams) -> Tensor:
        """Return masks (B, H, W) int64: those of the condition where it has any, else new ones from `rng`.

        A stored mask is one of those whose findings differ least from the labels that are asked for.
        """
        if condition.masks is not None:
            return condition.masks
        if self.masks is None:
            return self._generated(condition.labels, rng)
        chosen = self.masks[self._positions(self.masks, condition.labels, rng)]
        return (_jittered(chosen, rng) if self.source == "jittered" else chosen).long()

    def _positions(self, masks: Tensor, labels: Tensor | None, rng: Streams) -> Tensor:
        if self.findings is None:
            return rng.integers(len(masks))
        assert labels is not None, "a conditional generator is asked for labels"
        stored = self.findings.to(labels.dtype)
        differences = labels @ (1 - stored.T) + (1 - labels) @ stored.T
        nearest = differences == differences.amin(1, keepdim=True)
        place = nearest.cumsum(1) - 1
        wanted = (rng.uniform() * nearest.sum(1)).long()
        return (nearest & (place == wanted[:, None])).int().argmax(1)

    def _generated(self, labels: Tensor | None, rng: Streams) -> Tensor:
        """Return maps along the flow: Heun's method over all intervals but the last, then what is probable there."""
        x = rng.normal(self.classes, *self.grid)
        times = torch.linspace(0, 1, STEPS + 1).tolist()[:-1]
        for now, then in itertools.pairwise(times):
            velocity = (self._expected(x, now, labels) - x) / (1 - now)
            guess = x + (then - now) * velocity
            x = x + (then - now) / 2 * (velocity + (self._expected(guess, then, labels) - guess) / (1 - then))
        expected = self._expected(x, times[-1], labels)
        return functional.interpolate(expected, self.sides, mode="bilinear", align_corners=False).argmax(1)

    def _expected(self, x_t: Tensor, time: float, labels: Tensor | None) -> Tensor:
        times = torch.full((len(x_t),), time, device=x_t.device)
        return 2 * self._logits(x_t, times, labels).softmax(1) - 1

    def _logits(self, x_t: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        told = None
        if self.labelled:
            assert labels is not None, "a labelled bank is told the labels"
            told = torch.cat([labels, torch.ones_like(labels[:, :1])], 1)
        return cast("Tensor", self.network(x_t, time, told)).float()


def _grid(height: int, width: int) -> tuple[int, int]:
    """Return the sides of the maps that are learnt: those of the image, or as many as fit into GRID, in MULTIPLEs."""
    scale = min(1.0, GRID / max(height, width))
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns


def _onehot(masks: Tensor, classes: int) -> Tensor:
    return functional.one_hot(masks, classes).movedim(-1, 1).float()


def _jittered(masks: Tensor, rng: Streams) -> Tensor:
    """Return masks (B, H, W), each turned, scaled and shifted; what comes in from outside continues the edge."""
    height, width = masks.shape[1:]
    turn, scale, down, right = (2 * rng.uniform(4) - 1).unbind(1)
    angle, size = turn * ROTATION, 1 / (1 + scale * SCALE)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = [
        torch.stack([cos, -sin * height / width, 2 * SHIFT * right], 1),
        torch.stack([sin * width / height, cos, 2 * SHIFT * down], 1),
    ]
    with torch.autocast(masks.device.type, enabled=False):
        places = functional.affine_grid(torch.stack(rows, 1), [len(masks), 1, height, width], align_corners=False)
        pixels = masks[:, None].float()
        moved = functional.grid_sample(pixels, places, mode="nearest", padding_mode="border", align_corners=False)
    return moved[:, 0]
