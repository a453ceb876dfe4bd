"""Network weights from a user's file or the cache: digests checked, nothing unpickled but plain tensors."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from .errors import InputError, writing
from .progress import Progress
from .runs import file_sha256

if TYPE_CHECKING:
    import torch

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def cache_folder() -> Path:
    """Return where downloaded weights are kept ($SYNTHCOHORT_HOME/weights, else the platform's cache)."""
    home = os.environ.get("SYNTHCOHORT_HOME")
    return Path(home) / "weights" if home else Path(platformdirs.user_cache_path("synthcohort")) / "weights"


def read(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the tensors of a .npz, .safetensors or torch file, and the file's SHA-256.

    A name that ends in eight hex digits, as published files do, must agree with the digest.

    Raises:
        InputError: The file is missing, damaged, of another kind, or not what its name says.
    """
    if not path.is_file():
        raise InputError("Weights are a file", f"there is none at {path}", "Check the path given with --weights")
    digest = file_sha256(path)
    promised = re.search(r"-([0-9a-f]{8})$", path.stem)
    if promised and not digest.startswith(promised[1]):
        raise InputError(
            "A weights file has the digest that its name ends in", f"{path} has {digest[:8]}", "Download it again"
        )
    try:
        return _tensors(path), digest
    except InputError:
        raise
    except Exception as error:  # every reader has its own errors for a damaged file
        raise InputError(
            "Weights are a .npz, .safetensors or torch file of tensors", f"{path} cannot be read", "Download it again"
        ) from error


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    import torch

    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError("A torch weights file holds a state dict", f"{path} does not", "Save model.state_dict()")
    return dict(content)


def check_shapes(found: Mapping[str, torch.Tensor], wanted: Mapping[str, tuple[int, ...]], network: str) -> None:
    """Raise unless every wanted tensor is there with its shape.

    Raises:
        InputError: One is missing or of another shape.
    """
    for name, shape in wanted.items():
        if name not in found or tuple(found[name].shape) != shape:
            offender = f"{name} is {tuple(found[name].shape)}, not {shape}" if name in found else f"{name} is missing"
            raise InputError(f"The weights must be those of {network}", offender, "Check the path given with --weights")


def download(url: str, sha256: str, folder: Path) -> Path:
    """Return the path of a downloaded file in `folder`, fetched unless it is there already; its digest is checked.

    Raises:
        InputError: The download failed or has another digest; nothing is kept.
        BadOutput: The folder cannot be written.
    """
    path = folder / url.rsplit("/", 1)[-1]
    if path.exists() and file_sha256(path) == sha256:
        return path
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            digest = _fetch(url, partial)
            if digest != sha256:
                raise InputError(
                    "A download must have its listed SHA-256",
                    f"{url} gave {digest[:16]}, listed is {sha256[:16]}",
                    "Fetch the file by another way and name it with --weights",
                )
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
    return path


def _fetch(url: str, path: Path) -> str:
    digest = hashlib.sha256()
    try:
        answer = urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)
    except (urllib.error.URLError, ValueError, TimeoutError) as error:
        raise _unreachable(url) from error
    size = answer.headers.get("Content-Length")
    with answer, path.open("wb") as file, Progress("weights", int(size) if size else None, unit="bytes") as progress:
        while block := _block(answer, url):
            file.write(block)
            digest.update(block)
            progress.advance(len(block))
    return digest.hexdigest()


def _block(answer: object, url: str) -> bytes:
    try:
        return bytes(answer.read(_BLOCK_BYTES))  # type: ignore[attr-defined]
    except (TimeoutError, ConnectionError) as error:
        raise _unreachable(url) from error


def _unreachable(url: str) -> InputError:
    return InputError(
        "A download needs the network", f"{url} cannot be read", "Fetch it elsewhere and name it with --weights"
    )
