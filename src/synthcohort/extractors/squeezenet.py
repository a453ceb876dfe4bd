"""SqueezeNet 1.0 trained on ImageNet: a small feature space (512) that works offline from a weights file.

Source: Iandola et al. 2016 (arXiv:1602.07360, table 1), in the Caffe arrangement: BGR minus (104, 117, 123), 227x227,
pooling that rounds up. Features are the spatial mean after fire9. Not the FID space: distances here are "frechet".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..types import Array
from ..weights import check_shapes, read

if TYPE_CHECKING:
    import torch

REVISION = 1
SIDE = 227
DIMENSIONS = 512
_MEAN_BGR = (104.0, 117.0, 123.0)
# Fire modules: input channels, squeeze, expand (each of 1x1 and 3x3); pooling comes after conv1, fire4 and fire8.
_FIRE = {
    "fire2": (96, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
_POOLED = ("conv1", "fire4", "fire8")


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that the weights file must hold."""
    wanted: dict[str, tuple[int, ...]] = {"conv1.w": (96, 3, 7, 7), "conv1.b": (96,)}
    for name, (inputs, squeeze, expand) in _FIRE.items():
        parts = (
            ("conv1x1_1", squeeze, inputs, 1),
            ("conv1x1_2", expand, squeeze, 1),
            ("conv3x3_2", expand, squeeze, 3),
        )
        for part, outputs, channels, kernel in parts:
            wanted[f"{name}.{part}.w"] = (outputs, channels, kernel, kernel)
            wanted[f"{name}.{part}.b"] = (outputs,)
    return wanted


class Extractor:
    """SqueezeNet 1.0 features, (n, 512) float32."""

    REVISION = REVISION
    dimensions = DIMENSIONS

    def __init__(self, *, weights: Path | None = None) -> None:
        """Read the weights, a .npz of LAYER.w (out, in, kh, kw) and LAYER.b.

        Raises:
            InputError: No weights were given, or they are not those of SqueezeNet 1.0.
        """
        from ..devices import choose_device

        if weights is None:
            raise InputError(
                "squeezenet needs its ImageNet weights", "none were given", "Name them: --weights squeezenet=FILE.npz"
            )
        tensors, self._digest = read(Path(weights))
        check_shapes(tensors, shapes(), "SqueezeNet 1.0")
        self._device = choose_device("auto")
        self._tensors = {name: tensors[name].float().to(self._device) for name in shapes()}
        self.name = f"squeezenet-{self._digest[:8]}"

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": f"bilinear {SIDE}x{SIDE}, antialiased",
            "channels": "grey repeated, BGR minus (104, 117, 123)",
            "layer": "spatial mean after fire9",
            "weights_sha256": self._digest,
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, 512) float32 features of images (n, C, H, W), C 1 or 3.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel.
        """
        from . import _network

        return _network.in_chunks(self._forward, images, value_range, DIMENSIONS, self._device)

    def _forward(self, rgb: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        size = (SIDE, SIDE)
        x = functional.interpolate(rgb, size, mode="bilinear", align_corners=False, antialias=True).flip(1)
        x = x - torch.tensor(_MEAN_BGR, device=x.device).view(1, 3, 1, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self._conv(x, "conv1", stride=2)
        for name in ("conv1", *_FIRE):
            if name != "conv1":
                squeezed = self._conv(x, f"{name}.conv1x1_1")
                expanded = (self._conv(squeezed, f"{name}.conv{kernel}_2") for kernel in ("1x1", "3x3"))
                x = torch.cat(tuple(expanded), dim=1)
            if name in _POOLED:
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return x.mean(dim=(2, 3))

    def _conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        from torch.nn import functional

        weight, bias = self._tensors[f"{name}.w"], self._tensors[f"{name}.b"]
        padding = 0 if stride > 1 else weight.shape[-1] // 2
        return functional.relu(functional.conv2d(x, weight, bias, stride, padding))
