"""DINOv2 ViT-S/14: a feature space (384) learnt without labels, from the published checkpoint.

Source: Oquab et al. 2023 (arXiv:2304.07193); Dosovitskiy et al. 2020 (arXiv:2010.11929) for the transformer; LayerScale
of Touvron et al. 2021 (arXiv:2103.17239). Twelve blocks of width 384 with six heads, patches of 14, layer scale, GELU,
layer norm with epsilon 1e-6. Tensor names are those of the published dinov2_vits14_pretrain.pth (Apache-2.0). Features
are the normalised class token. Images are resized to 224 px, antialiased; the position embedding is interpolated from
the 37 x 37 patches of the checkpoint (bicubic, as published: scaled by 16.1 / 37).
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
SIDE, PATCH, DIMENSIONS = 224, 14, 384
_BLOCKS, _HEADS, _GRID = 12, 6, 37
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OFFSET = 0.1  # added to the number of patches when the published code scales the embedding
_EPSILON = 1e-6


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that the weights file must hold."""
    d = DIMENSIONS
    wanted: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + _GRID**2, d),
        "patch_embed.proj.weight": (d, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (d,),
        "norm.weight": (d,),
        "norm.bias": (d,),
    }
    linear = {"attn.qkv": (3 * d, d), "attn.proj": (d, d), "mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
    for block in range(_BLOCKS):
        for name, shape in linear.items():
            wanted[f"blocks.{block}.{name}.weight"], wanted[f"blocks.{block}.{name}.bias"] = shape, shape[:1]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            wanted[f"blocks.{block}.{name}"] = (d,)
    return wanted


class Extractor:
    """DINOv2 ViT-S/14 class tokens, (n, 384) float32."""

    REVISION = REVISION
    dimensions = DIMENSIONS

    def __init__(self, *, weights: Path | None = None) -> None:
        """Read the weights: a state dict with the published names (.pth read without unpickling code, .safetensors).

        Raises:
            InputError: No weights were given, or they are not those of ViT-S/14.
        """
        from ..devices import choose_device

        if weights is None:
            raise InputError(
                "dinov2 needs its weights", "none were given", "Name them: --weights dinov2=dinov2_vits14_pretrain.pth"
            )
        tensors, self._digest = read(Path(weights))
        check_shapes(tensors, shapes(), "DINOv2 ViT-S/14 without registers")
        self._device = choose_device("auto")
        self._tensors = {name: tensors[name].float().to(self._device) for name in shapes()}
        self._positions = _interpolated(self._tensors["pos_embed"], SIDE // PATCH)
        self.name = f"dinov2-{self._digest[:8]}"

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": f"bicubic {SIDE}x{SIDE}, antialiased",
            "channels": "grey repeated, ImageNet mean and standard deviation",
            "layer": "class token after the last layer norm",
            "weights_sha256": self._digest,
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, 384) float32 features of images (n, C, H, W), C 1 or 3.

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
        x = functional.interpolate(rgb, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 255) / 255
        mean, std = (torch.tensor(each, device=x.device).view(1, 3, 1, 1) for each in (_MEAN, _STD))
        return self.tokens((x - mean) / std)[:, 0]

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (b, 1 + patches, 384) of normalised pixels (b, 3, 224, 224): the class token first."""
        import torch
        from torch.nn import functional

        x = functional.conv2d(pixels, self._of("patch_embed.proj.weight"), self._of("patch_embed.proj.bias"), PATCH)
        x = torch.cat([self._of("cls_token").expand(len(x), -1, -1), x.flatten(2).mT], dim=1) + self._positions
        for block in range(_BLOCKS):
            name = f"blocks.{block}"
            x = x + self._attention(self._norm(x, f"{name}.norm1"), f"{name}.attn") * self._of(f"{name}.ls1.gamma")
            hidden = functional.gelu(self._linear(self._norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
            x = x + self._linear(hidden, f"{name}.mlp.fc2") * self._of(f"{name}.ls2.gamma")
        return self._norm(x, "norm")

    def _attention(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        batch, count, width = x.shape
        joint = self._linear(x, f"{name}.qkv").view(batch, count, 3, _HEADS, width // _HEADS)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(query, key, value)
        return self._linear(heads.transpose(1, 2).reshape(batch, count, width), f"{name}.proj")

    def _of(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        return functional.linear(x, self._of(f"{name}.weight"), self._of(f"{name}.bias"))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        shape = (DIMENSIONS,)
        return functional.layer_norm(x, shape, self._of(f"{name}.weight"), self._of(f"{name}.bias"), _EPSILON)


def _interpolated(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Return the position embedding (1, 1 + side^2, 384) of a grid of another side."""
    import torch
    from torch.nn import functional

    grid = positions[:, 1:].reshape(1, _GRID, _GRID, DIMENSIONS).permute(0, 3, 1, 2)
    scale = (side + _OFFSET) / _GRID
    grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    assert grid.shape[-1] == side, "the offset only guards against rounding"
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side**2, DIMENSIONS)], dim=1)
