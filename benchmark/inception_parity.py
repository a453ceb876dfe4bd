"""Compare our 2015 Inception features with those of public implementations, on the same seeded random weights.

The peers (torch-fidelity, pytorch-fid) need torchvision, which the project does not install: give the Python of an
environment that has them.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install torch==2.13.0 torch-fidelity==0.4.0 pytorch-fid==0.3.0
    python benchmark/inception_parity.py --peer-python /tmp/peer/bin/python [--golden tests/golden/inception.json]

Prints one JSON line and appends it to benchmark/results/inception_parity.jsonl. torch-fidelity is compared from the
uint8 image on (resize included), pytorch-fid from the resized image on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from machine import processor

TOLERANCE = 1e-4
SEED = 20151205
IMAGE_SHAPES = ((3, 64, 64), (1, 48, 96), (3, 320, 256))
FEATURE_STEP = 8  # the golden file keeps every 8th feature
_RESULTS = Path(__file__).parent / "results" / "inception_parity.jsonl"


def seeded_state_dict(shapes: dict[str, tuple[int, ...]], seed: int = SEED) -> dict[str, np.ndarray]:
    """Return random weights with He-scaled convolutions and batch statistics off their defaults."""
    tensors = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if name.endswith(("bn.weight", "running_var")):
            tensor = rng.uniform(0.5, 1.5, shape)
        else:
            scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.1
            tensor = rng.standard_normal(shape, dtype=np.float32) * scale
        tensors[name] = tensor.astype(np.float32)
    return tensors


def images(seed: int = SEED) -> list[np.ndarray]:
    """Return uint8 test images (1, C, H, W): smooth waves with noise; small, grey and oblong, larger than 299."""
    made = []
    for number, (channels, height, width) in enumerate(IMAGE_SHAPES):
        rng = np.random.default_rng([seed, number])
        y, x = np.mgrid[:height, :width] / 16
        waves = [np.sin(y + c) * np.cos(x * (1 + c / 4)) * 60 + 120 for c in range(channels)]
        noisy = np.stack(waves) + rng.normal(0, 20, (channels, height, width))
        made.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[None])
    return made


def ours(weights: Path) -> np.ndarray:
    """Return our features, (3, 2048)."""
    from synthcohort.extractors.inception import Extractor

    extractor = Extractor(weights=weights)
    return np.concatenate([extractor.extract(image, (0, 255)) for image in images()])


def peers(folder: Path) -> None:
    """Write the peers' features to folder/peers.npz. Runs in the peers' environment."""
    import torch

    # torchvision's compiled operators do not load beside a CPU torch; its Inception module does not need them.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import pytorch_fid.inception as pytorch_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

    torch.set_num_threads(1)
    path = folder / "weights.pth"
    pytorch_fid.load_state_dict_from_url = lambda *_, **__: torch.load(path, weights_only=True)
    fid_network = pytorch_fid.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    fidelity_network = FeatureExtractorInceptionV3("peer", ["2048"], feature_extractor_weights_path=str(path))
    found: dict[str, list[np.ndarray]] = {"torch-fidelity": [], "pytorch-fid": []}
    with torch.no_grad():
        for image in images():
            rgb = torch.from_numpy(image).expand(-1, 3, -1, -1).contiguous()
            found["torch-fidelity"].append(fidelity_network(rgb)[0].numpy())
            small = (resize(rgb.float(), size=(299, 299), align_corners=False) - 128) / 128
            found["pytorch-fid"].append(fid_network(small)[0].flatten(1).numpy())
    np.savez(folder / "peers.npz", **{name: np.concatenate(rows) for name, rows in found.items()})
    versions = {name: _version(name) for name in ("torch", "torch-fidelity", "pytorch-fid", "torchvision")}
    (folder / "versions.json").write_text(json.dumps(versions))


def _version(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def compare(peer_python: str) -> tuple[dict[str, object], np.ndarray]:
    """Return (result row, torch-fidelity's features)."""
    import torch

    from synthcohort import runs
    from synthcohort.extractors import _inception

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors = {key: torch.from_numpy(array) for key, array in seeded_state_dict(_inception.shapes()).items()}
        tensors.update({"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)})
        counters = {
            key.replace("running_var", "num_batches_tracked"): torch.tensor(0)
            for key in tensors
            if "running_var" in key
        }
        torch.save({**tensors, **counters}, folder / "weights.pth")
        subprocess.run([peer_python, __file__, "--as-peer", str(folder)], check=True)
        mine, other = ours(folder / "weights.pth"), dict(np.load(folder / "peers.npz"))
        peer_versions = json.loads((folder / "versions.json").read_text())
    differences = {peer: float(np.abs(mine - features).max()) for peer, features in other.items()}
    row: dict[str, object] = {
        "benchmark": "inception_parity",
        "largest_difference": differences,
        "tolerance": TOLERANCE,
        "passed": max(differences.values()) < TOLERANCE,
        "feature_mean": float(np.abs(mine).mean()),
        "feature_max": float(np.abs(mine).max()),
        "images": [list(shape) for shape in IMAGE_SHAPES],
        "weights_seed": SEED,
        "versions": runs.versions(),
        "peer_versions": peer_versions,
        "device": "cuda" if torch.cuda.is_available() else f"cpu {processor()}",
    }
    return row, other["torch-fidelity"]


def main() -> int:
    """Run the comparison; exit status 1 when a peer differs by more than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with torch-fidelity and pytorch-fid")
    parser.add_argument("--golden", type=Path, help="also write the peer's features there")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_peer:
        peers(given.as_peer)
        return 0
    if not given.peer_python:
        parser.error("--peer-python is needed")
    row, features = compare(given.peer_python)
    print(json.dumps(row))
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    if given.golden:
        origin = f"torch-fidelity {row['peer_versions']['torch-fidelity']}, torch {row['peer_versions']['torch']}, CPU"  # type: ignore[index]
        kept = [[float(f"{value:.7g}") for value in image[::FEATURE_STEP]] for image in features]
        given.golden.write_text(
            json.dumps({"origin": origin, "made_by": "benchmark/inception_parity.py", "features": kept}) + "\n"
        )
    return 0 if row["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
