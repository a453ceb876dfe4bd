"""Critics that score patches: a map of scores from strided 4x4 convolutions (Isola et al. 2017, arXiv 1611.07004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from ._spectral import normalise_spectrally

KERNEL, SLOPE, SCALES = 4, 0.2, 2


class InstanceNorm2d(nn.GroupNorm):
    """Each channel of each image to mean 0 and variance 1, (B, C, H, W); nothing learnt, float32 inside.

    A group norm with a group a channel: torch's instance norm leaves the channels-last format.

    Args:
        channels: Their number.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) in the type of x."""
        return super().forward(x.float()).to(x.dtype)


class PatchCritic(nn.Module):
    """Layers from (B, inputs, R, R) to a map of scores.

    The first layer has no norm, the next ones that of `middle`, the last one scores; the last of `widths` and the
    scores go without stride.

    Args:
        inputs: Channels of the condition and the image.
        widths: Channels of every layer but the scores.
        padding: Of every convolution.
        middle: (channels in, channels out, stride) -> convolution and norm.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        *,
        padding: int,
        middle: Callable[[int, int, int], Sequence[nn.Module]],
    ) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, widths[0], KERNEL, stride=2, padding=padding)
        layers = [nn.Sequential(first, nn.LeakyReLU(SLOPE))]
        for number, (width, following) in enumerate(pairwise(widths), 2):
            stride = 1 if number == len(widths) else 2
            layers.append(nn.Sequential(*middle(width, following, stride), nn.LeakyReLU(SLOPE)))
        self.layers = nn.ModuleList(layers)
        self.score = nn.Conv2d(widths[-1], 1, KERNEL, padding=padding)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what every layer gives, and last the scores (B, 1, H', W')."""
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        return [*seen, self.score(x)]


class MultiscaleCritic(nn.Module):
    """Two patch critics, on the image and on its half (Park et al. 2019, arXiv 1903.07291; Wang et al. 2018).

    Args:
        inputs: Channels of the condition and the image.
        filters: Channels of the first layer; they double to 8 times as many.
        initialise: Draws the weights of a layer, before spectral norm is put on those that have an instance norm too.
    """

    def __init__(self, inputs: int, filters: int, *, initialise: Callable[[nn.Module], None]) -> None:
        super().__init__()
        widths = [filters * factor for factor in (1, 2, 4, 8)]
        critics = [PatchCritic(inputs, widths, padding=2, middle=_middle) for _ in range(SCALES)]
        for critic in critics:
            critic.apply(initialise)
            normalise_spectrally(critic.layers[1:])
        self.critics = nn.ModuleList(critics)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Return for each scale, the full one first, what `PatchCritic` returns; each image's are its own alone."""
        seen = []
        for scale, critic in enumerate(self.critics):
            x = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if scale else x
            seen.append(critic(x))
        return seen


def _middle(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    # A bias would not survive the norm.
    return nn.Conv2d(inputs, outputs, KERNEL, stride=stride, padding=2, bias=False), InstanceNorm2d(outputs)
