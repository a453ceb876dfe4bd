"""The losses of study 003: the critic's, and that of the labels which `proggan`'s critic names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

Auxiliary = Literal["shares", "labels", "each"]


def wasserstein(real: Tensor, fake: Tensor, drift: float) -> Tensor:
    """Return the critic's Wasserstein loss with a drift term, without the gradient penalty.

    Karras et al. 2018 (arXiv 1710.10196, appendix A.1): nothing else keeps the scores from wandering off together.

    Args:
        real: (B,) scores of real images.
        fake: (B,) scores of fake images.
        drift: Weight of the squared scores of real images.
    """
    return (fake - real + drift * real.square()).mean()


def label_loss(logits: Tensor, labels: Tensor, auxiliary: Auxiliary) -> Tensor:
    """Return how badly logits (B, L) tell labels (B, L), a mean over images (Odena et al. 2017, arXiv 1610.09585).

    "shares" is the softmax cross-entropy with labels that are divided by their sum, "labels" with labels as they are;
    to both an image without findings adds nothing. "each" is the sum over findings of the cross-entropy of each alone.
    """
    if auxiliary == "each":
        return binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(1).mean()
    wanted = labels / labels.sum(1, keepdim=True).clamp(min=1) if auxiliary == "shares" else labels
    return -(wanted * log_softmax(logits, 1)).sum(1).mean()


def mean_losses(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, float | Tensor]:
    """Return each loss as its mean over the updates of a step."""
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
