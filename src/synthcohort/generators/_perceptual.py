"""The perceptual loss: how far two images are apart in the features of VGG19 trained on ImageNet.

Simonyan & Zisserman 2015 (arXiv 1409.1556, table 1, column E); Johnson et al. 2016 (arXiv 1603.08155). Layers and
weights as Wang et al. 2018 (arXiv 1711.11585) and SPADE use them. The weights file is the one that torchvision
publishes; nobody ships it here, and it is looked for in the user's cache, since options name nothing on a machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadOption, InputError, Mismatch
from ..weights import cache_folder, check_shapes, read

FILE = "vgg19-dcbb9e9d.pth"
"""Name under which torchvision publishes the weights; it ends in the first digits of the SHA-256, which are checked."""
URL = f"https://download.pytorch.org/models/{FILE}"
WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 4, 4, 1)
"""Of each stage; of the last one only what the loss looks at."""
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weight of the first ReLU of each stage: relu1_1, relu2_1, ... relu5_1."""


def layer_names() -> list[list[str]]:
    """Return the names of the convolutions, stage by stage, as torchvision counts its layers."""
    names, position = [], 0
    for count in CONVOLUTIONS:
        names.append([f"features.{position + 2 * number}" for number in range(count)])
        position += 2 * count + 1  # each convolution with its ReLU, and a pooling
    return names


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor that the weights file must hold."""
    wanted: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for stage, width in zip(layer_names(), WIDTHS, strict=True):
        for name in stage:
            wanted |= {f"{name}.weight": (width, inputs, 3, 3), f"{name}.bias": (width,)}
            inputs = width
    return wanted


class Perceptual:
    """The loss with its network. No module: its weights are in no state, no optimiser and no copy of a generator.

    Args:
        tensors: As `shapes` names them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = {name: _laid_out(tensors[name].float()) for name in shapes()}

    def __deepcopy__(self, _: Any) -> Perceptual:
        """Return itself: nothing in it ever changes."""
        return self

    def __call__(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the weighted sum of mean absolute differences of features, float32; gradients flow to `fake` alone.

        Args:
            fake: (B, 1 or 3, H, W) in [-1, 1], which is what the network sees: it is not normalised as ImageNet is.
            real: Of the same shape.
        """
        self._tensors = {name: tensor.to(fake.device) for name, tensor in self._tensors.items()}
        with torch.no_grad():
            wanted = list(self.features(real))
        pairs = zip(SHARES, self.features(fake), wanted, strict=True)
        return torch.stack([share * (made.float() - real.float()).abs().mean() for share, made, real in pairs]).sum()

    def features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of images (B, 1 or 3, H, W); grey is tiled."""
        x = images.expand(-1, 3, -1, -1)
        for stage, names in enumerate(layer_names()):
            x = functional.max_pool2d(x, 2) if stage else x
            for number, name in enumerate(names):
                x = functional.conv2d(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], padding=1)
                x = functional.relu(x)
                if not number:
                    yield x


def load(recorded: Tensor) -> Perceptual:
    """Return the loss with the cached weights.

    Args:
        recorded: (32,) uint8, the SHA-256 of the file that a run began with; all 0 at its beginning, then it is set.

    Raises:
        InputError: There is no file, or it is not VGG19.
        Mismatch: The run began with another file.
    """
    path = cache_folder() / FILE
    advice = f"Put torchvision's {FILE} ({URL}) there, or set perceptual=0"
    if not path.is_file():
        raise InputError("perceptual above 0 needs the ImageNet weights of VGG19", f"there is no {path}", advice)
    try:
        tensors, digest = read(path)
        check_shapes(tensors, shapes(), "VGG19")
    except InputError as error:  # whose advice is for weights named on the command line
        raise InputError(error.rule, error.offender, advice) from error
    found = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=recorded.device)
    if recorded.any() and not torch.equal(recorded, found):
        raise Mismatch("A run goes on with the VGG19 weights it began with", f"{path} is another file", "Put it back")
    recorded.copy_(found)
    return Perceptual(tensors)


def check_weight(perceptual: float, channels: int) -> None:
    """Raise unless the loss can be given this weight for images of so many channels.

    Raises:
        BadOption: The weight is negative, or VGG19 cannot see the images.
    """
    if perceptual < 0:
        raise BadOption("Option 'perceptual' is not negative", str(perceptual), "Give 0 for none, or 10")
    if perceptual and channels not in (1, 3):
        rule = "The perceptual loss sees grey and RGB images"
        raise BadOption(rule, f"these have {channels} channels", "Set perceptual=0")


def _laid_out(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
