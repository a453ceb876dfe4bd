"""Spectral normalisation: a layer's weights divided by their largest singular value.

Miyato et al. 2018 (arXiv 1802.05957, algorithm 1). The weight of a convolution counts as the matrix of its outputs by
everything else. One power iteration in each pass that trains, none in `eval`, so that sampling leaves no trace;
PyTorch's own layer iterates in the precision of autocast, this one in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15  # so that the first step starts from nearly the right value
EPS = 1e-12


class SpectralNorm(nn.Module):
    """The parametrisation of one weight.

    Args:
        weight: What is normalised, two or four dimensions.
        transposed: Whether outputs are its second dimension, as in a transposed convolution.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, *, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed
        matrix = self._matrix(weight.detach())
        self.register_buffer("left", normalize(torch.randn_like(matrix[:, 0]), dim=0, eps=EPS))
        self.register_buffer("right", normalize(torch.randn_like(matrix[0]), dim=0, eps=EPS))
        for _ in range(0 if weight.is_meta else FIRST_ITERATIONS):
            self._iterate(matrix)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight over its largest singular value, whose estimate is better with every call in training."""
        device = "cuda" if weight.is_cuda else "cpu"  # none for weights that are only counted
        with torch.autocast(device, enabled=False):
            matrix = self._matrix(weight)
            if self.training:
                self._iterate(matrix.detach())
            # Clones: the next pass moves the vectors before this one's gradient is taken.
            return weight / self.left.clone().dot(matrix.mv(self.right.clone()))

    def _matrix(self, weight: Tensor) -> Tensor:
        return (weight.transpose(0, 1) if self.transposed else weight).flatten(1)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.right.copy_(normalize(matrix.t().mv(self.left), dim=0, eps=EPS))
        self.left.copy_(normalize(matrix.mv(self.right), dim=0, eps=EPS))


def normalise_spectrally(network: nn.Module) -> None:
    """Put the norm on every convolution and dense layer of a network, whose weights are drawn already."""
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            norm = SpectralNorm(layer.weight, transposed=isinstance(layer, nn.ConvTranspose2d))
            parametrize.register_parametrization(layer, "weight", norm)
