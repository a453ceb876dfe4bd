"""Any network as a feature space: a TorchScript file (`torch.jit.save`), named by the digest of its bytes.

TorchScript holds a program that torch's own interpreter runs, without Python. A pickled module is refused: loading one
runs whatever code its author put in it. The file decides what it wants: it is called with a float32 batch (b, 3, H, W)
in [0, 1], grey repeated, H and W as stored. It answers (b, d), or (b, d, h, w), of which the spatial mean is taken. Put
resizing and normalisation into the module.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..runs import file_sha256
from ..types import Array

if TYPE_CHECKING:
    import torch

REVISION = 1


class Extractor:
    """The answers of a TorchScript module, (n, d) float32."""

    REVISION = REVISION

    def __init__(self, *, weights: Path | None = None) -> None:
        """Read the module.

        Raises:
            InputError: No file was given, or it is no TorchScript.
        """
        from ..devices import choose_device

        if weights is None:
            raise InputError("torchscript needs a file", "none was given", "Name it: --weights torchscript=FILE.pt")
        path = Path(weights)
        if not path.is_file():
            raise InputError("Weights are a file", f"there is none at {path}", "Check the path given with --weights")
        self._digest = file_sha256(path)
        self._device = choose_device("auto")
        self._module = _loaded(path, self._device)
        self.name = f"torchscript-{self._digest[:8]}"

    def manifest(self) -> dict[str, Any]:
        """Return what the features depend on."""
        return {
            "extractor": self.name,
            "revision": REVISION,
            "resize": "none here; the module's own",
            "channels": "grey repeated, 0 to 1",
            "layer": "the module's answer, spatial mean where it is a map",
            "weights_sha256": self._digest,
        }

    def extract(self, images: Array, value_range: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return (n, d) float32 features of images (n, C, H, W), C 1 or 3.

        Args:
            images: As stored; may be memory-mapped.
            value_range: Lowest and highest legal pixel.

        Raises:
            InputError: The module does not take such images, or answers with something else.
        """
        import torch

        from . import _network

        try:
            with torch.inference_mode():
                first = self._forward(_network.as_rgb(np.asarray(images[:1]), value_range, self._device))
        except RuntimeError as error:  # whatever the module's program raises
            shape = "x".join(str(side) for side in (3, *images.shape[2:]))
            raise InputError("The module takes (b, 3, H, W)", f"it fails on {shape}", "Resize inside it") from error
        return _network.in_chunks(self._forward, images, value_range, first.shape[1], self._device)

    def _forward(self, rgb: torch.Tensor) -> torch.Tensor:
        import torch

        answer = self._module(rgb / 255)
        if not isinstance(answer, torch.Tensor) or answer.ndim not in (2, 4) or len(answer) != len(rgb):
            raise InputError(
                "The module answers (b, d) or (b, d, h, w)", "it does not", "Return one tensor of features"
            )
        return answer.mean(dim=(2, 3)) if answer.ndim == 4 else answer


def _loaded(path: Path, device: torch.device) -> Any:
    import torch

    try:
        with warnings.catch_warnings():  # torch advises against writing new TorchScript; reading it is supported
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            "A network is a TorchScript file: a pickled module would run code while it is read",
            f"{path} is none",
            "Save it with torch.jit.trace(model, example).save(FILE)",
        ) from error
