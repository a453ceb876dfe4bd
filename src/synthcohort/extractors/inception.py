"""The 2015 Inception network: the space in which the Frechet distance is called FID.

The weights (TensorFlow's inception-2015-12-05, Apache-2.0, as converted for PyTorch) are not shipped: name a file, or
fetch them once with `download`. Only that very file makes a result "fid"; other weights of the same network are legal
and get a name of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import weights as stored
from ..errors import InputError
from ..types import Array

if TYPE_CHECKING:
    from ._inception import Network

REVISION = 1
DIMENSIONS = 2048
URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def download(folder: Path | None = None, *, url: str = URL, sha256: str = SHA256) -> Path:
    """Return the path of the weights in the user's cache, fetched (96 MB) unless they are there; digest checked.

    Args:
        folder: Where to keep them; None for the user's cache.
        url: Where to fetch them from (a mirror inside the hospital, a file:// address).
        sha256: What the file's SHA-256 must be.

    Raises:
        InputError: The download failed or is another file; nothing is kept.
    """
    return stored.download(url, sha256, folder or stored.cache_folder())


def _cached() -> Path:
    path = stored.cache_folder() / URL.rsplit("/", 1)[-1]
    if not path.exists():
        raise InputError(
            "inception needs the 2015 weights",
            f"none were given and {path} does not exist",
            'Name them with --weights inception=FILE, or fetch them once (96 MB): python -c "from '
            'synthcohort.extractors.inception import download; download()"',
        )
    return path


class Extractor:
    """2015 Inception features, (n, 2048) float32. Its name starts with "inception-2015" for the published file only."""

    REVISION = REVISION
    dimensions = DIMENSIONS

    def __init__(self, *, weights: Path | None = None) -> None:
        """Read the weights: a state dict (.pth read without unpickling code, .safetensors, .npz), or the cached file.

        Raises:
            InputError: There are none, or they are not those of the 2015 network.
        """
        tensors, self._digest = stored.read(Path(weights) if weights else _cached())
        self._network = _network_of(tensors)
        published = self._digest == SHA256
        self.name = f"inception-2015-{SHA256[:8]}" if published else f"inception-other-{self._digest[:8]}"

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": "bilinear 299x299 as TensorFlow 1 (no half-pixel shift, not antialiased)",
            "channels": "grey repeated, 0 to 255 minus 128 over 128",
            "layer": "spatial mean after Mixed_7c",
            "weights_sha256": self._digest,
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, 2048) float32 features of images (n, C, H, W), C 1 or 3.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel.
        """
        from . import _network

        return _network.in_chunks(self._network.features, images, value_range, DIMENSIONS, self._network.device)


def _network_of(tensors: dict[str, Any]) -> Network:
    from ..devices import choose_device
    from . import _inception

    if any(name.startswith("AuxLogits.") for name in tensors):
        raise InputError(
            "inception takes the weights of 2015",
            "these have an auxiliary head, as the later ImageNet weights of torchvision do",
            "Name pt_inception-2015-12-05-6726825d.pth",
        )
    stored.check_shapes(tensors, _inception.shapes(), "the 2015 Inception network")
    return _inception.Network(tensors, choose_device("auto"))
