"""DenseNet in MONAI's form: a small one for small images, DenseNet-121, and the published ImageNet weights of it.

Source: Huang et al. 2017 (arXiv:1608.06993). The ImageNet weights are torchvision's (BSD-3-Clause); they are not
shipped: name a file, or have it fetched once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights import cache_folder, check_shapes, read
from ..weights import download as fetched

URL = "https://download.pytorch.org/models/densenet121-a639ec97.pth"
# The name promises the first eight digits; several public projects list the whole digest of the 32,342,954 bytes.
SHA256 = "a639ec97d7c33b07ae66f0b5fb7d0192f95a3b11b7576c66c0126c2a727c4395"
DOWNLOAD = Path("download")
"""Given in the place of a weights file: fetch the published one."""

SIDE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALL: dict[str, Any] = {"init_features": 32, "growth_rate": 16, "block_config": (3, 4, 4), "bn_size": 4}
# In the published file a dense layer's parts are "norm.1"; torchvision says "norm1" now, MONAI "layers.norm1".
_LAYER = re.compile(r"(.*denselayer\d+)\.(norm|conv)\.?([12]\..*)")


def small(channels: int, findings: int) -> nn.Module:
    """Return a DenseNet of 160,000 weights and 116 features; its dense blocks work at a quarter of the side and less.

    It takes 8.3 MFLOP forward for a grey image of 32 px, 33 for one of 64 px: on two CPU cores about 0.5 and 1.0 ms
    an image with the way back. A first block at half the side took twice the time and found no more.
    """
    return _built(channels, findings, **_SMALL)


def densenet121(findings: int) -> nn.Module:
    """Return DenseNet-121 for three channels: 1024 features, 5.7 GFLOP forward for an image of 224 px."""
    return _built(3, findings)


def _built(channels: int, findings: int, **widths: Any) -> nn.Module:
    from monai.networks.nets.densenet import DenseNet

    with torch.random.fork_rng(devices=[]):  # MONAI draws weights from the global stream; `fit` draws them again
        network: nn.Module = DenseNet(2, channels, findings, **widths)
    # Channels last takes two thirds of the time on a CPU; bfloat16 saves little more and not everywhere.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def pooled(network: Any, images: Tensor) -> Tensor:
    """Return what the head is given, (B, d): the last features averaged over all positions."""
    answer: Tensor = network.class_layers[:-1](network.features(images))
    return answer


def imagenet_pixels(images: Tensor, side: int | None = None, *, shifted: bool = False) -> Tensor:
    """Return images (B, 1 or 3, H, W) in [-1, 1] as ImageNet networks take them: (B, 3, side, side), grey repeated.

    Args:
        images: To change.
        side: To resize to, bilinear; None for the size they have.
        shifted: Resize as TensorFlow 1 does: pixel i is read at i * H / side, without the half-pixel shift.
    """
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    if side is not None:
        images = _tensorflow_resize(images, side) if shifted else _resize(images, side)
    return ((images + 1) / 2 - mean) / std


def _resize(images: Tensor, side: int) -> Tensor:
    return nn.functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)


def _tensorflow_resize(images: Tensor, side: int) -> Tensor:
    y, x = (torch.arange(side, device=images.device) * (2 * n / side / max(n - 1, 1)) - 1 for n in images.shape[2:])
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).expand(len(images), -1, -1, -1)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=True)


def download(folder: Path | None = None, *, url: str = URL, sha256: str = SHA256) -> Path:
    """Return the path of the published weights in the user's cache, fetched (32 MB) unless they are there.

    Args:
        folder: Where to keep them; None for the user's cache.
        url: Where to fetch them from (a mirror inside the hospital, a file:// address).
        sha256: What the file's SHA-256 must be.

    Raises:
        InputError: The download failed or is another file; nothing is kept.
    """
    return fetched(url, sha256, folder or cache_folder())


def load_imagenet(network: nn.Module, weights: Path) -> str:
    """Put ImageNet weights into everything but the head, and return the file's SHA-256.

    Args:
        network: A `densenet121`.
        weights: A state dict with torchvision's names, old or new, or `DOWNLOAD`.

    Raises:
        InputError: The file is not there, damaged, or not of DenseNet-121.
    """
    tensors, digest = read(download() if weights == DOWNLOAD else weights)
    renamed = {_LAYER.sub(r"\1.layers.\2\3", name): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in network.state_dict().items() if _is_published(name)}
    check_shapes(renamed, {name: tuple(tensor.shape) for name, tensor in own.items()}, "DenseNet-121")
    for name, tensor in own.items():
        tensor.copy_(renamed[name])
    return digest


def _is_published(name: str) -> bool:
    # The 1000 classes of ImageNet are dropped; the old file counts no batches.
    return name.startswith("features.") and not name.endswith("num_batches_tracked")


def check_channels(channels: int) -> None:
    """Raise unless images are grey or RGB, as DenseNet-121 takes them."""
    if channels not in (1, 3):
        raise InputError("densenet121 takes grey or RGB images", f"these have {channels} channels", "Use network=small")
