"""Time one epoch of training batches: the packed cohort against PNG files in a DataLoader, and against webdataset.

    python benchmark/loading.py [--images 20000] [--size 128] [--rounds 5] [--batch 64] [--folder DIR]

All give float32 batches in [-1, 1] of 8-bit grey images in a shuffled order. The folder of PNG files is read as
torchvision's ImageFolder does (Pillow, one file an image); torchvision itself is not needed. webdataset reads the same
PNG files from tar shards and shuffles in a buffer. DataLoaders get as many workers as there are cores. One process,
contenders interleaved, medians; the batches of all must hold the same images. Prints one JSON line and appends it to
benchmark/results/loading.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import circumstances
from PIL import Image

from synthcohort.cohort import Cohort, Facts, writing_cohort
from synthcohort.train._data import Batches, training_positions

_RESULTS = Path(__file__).parent / "results" / "loading.jsonl"
_PER_SHARD = 2500


def write(folder: Path, count: int, size: int) -> None:
    """Write the same images as a cohort, as PNG files and as tar shards."""
    rng = np.random.default_rng(0)
    facts = Facts("loading", "noise over a gradient", "real", (1, size, size), "uint8", (0.0, 255.0))
    gradient = np.linspace(0, 160, size)[None] + np.linspace(0, 40, size)[:, None]
    (folder / "png" / "one").mkdir(parents=True)
    shard: tarfile.TarFile | None = None
    with writing_cohort(folder / "cohort", facts, {"kind": "benchmark"}, b"k" * 32) as writer:
        for i in range(count):
            image = (gradient * rng.uniform(0.5, 1) + rng.normal(0, 12, (size, size))).clip(0, 255).astype(np.uint8)
            row = {"sample_id": f"{i:016x}", "patient_id": f"{i:016x}", "group_id": f"{i:016x}", "slice_index": 0}
            writer.append(image[None], None, {**row, "split": "train", "spacing_y_mm": 1.0, "spacing_x_mm": 1.0})
            Image.fromarray(image).save(folder / "png" / "one" / f"{i:06d}.png")
            if i % _PER_SHARD == 0:
                if shard:
                    shard.close()
                shard = tarfile.open(folder / f"shard-{i // _PER_SHARD:04d}.tar", "w")  # noqa: SIM115 (closed below)
            assert shard is not None
            _add(shard, f"{i:06d}.png", (folder / "png" / "one" / f"{i:06d}.png").read_bytes())
        writer.finish()
    if shard:
        shard.close()


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    shard.addfile(info, io.BytesIO(data))


def _as_tensor(picture: Image.Image) -> torch.Tensor:
    """Return what ToTensor and Normalize(0.5, 0.5) give."""
    return torch.from_numpy(np.array(picture)).unsqueeze(0).float().div(255).sub(0.5).div(0.5)


class Pictures(torch.utils.data.Dataset[torch.Tensor]):
    """A folder of PNG files, one image a file."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.png"))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return (1, H, W) float32 in [-1, 1]."""
        with Image.open(self.files[index]) as picture:
            return _as_tensor(picture.convert("L"))


def packed(folder: Path, batch: int) -> Iterator[torch.Tensor]:
    """Yield the batches that `train` shows a generator."""
    cohort = Cohort(folder / "cohort")
    positions = training_positions(cohort, "train")
    batches = Batches(cohort, positions, None, batch=batch, seed=0, device=torch.device("cpu"))
    for seen in range(0, len(positions) - batch + 1, batch):
        yield batches.after(seen).images


def png_folder(folder: Path, batch: int) -> Iterator[torch.Tensor]:
    """Yield the batches of a shuffling DataLoader over PNG files."""
    workers = os.cpu_count() or 1
    yield from torch.utils.data.DataLoader(
        Pictures(folder / "png"), batch_size=batch, shuffle=True, num_workers=workers, drop_last=True
    )


def shards(folder: Path, batch: int) -> Iterator[torch.Tensor]:
    """Yield the batches of webdataset over tar shards."""
    import webdataset

    names = [str(path) for path in sorted(folder.glob("shard-*.tar"))]
    data = webdataset.WebDataset(names, shardshuffle=len(names), empty_check=False).shuffle(1000).decode("pil")
    data = (
        data.to_tuple("png").map_tuple(lambda picture: _as_tensor(picture.convert("L"))).batched(batch, partial=False)
    )
    loader = webdataset.WebLoader(data, batch_size=None, num_workers=min(os.cpu_count() or 1, len(names)))
    for (images,) in loader:
        yield images


CONTENDERS: dict[str, Callable[[Path, int], Iterator[torch.Tensor]]] = {
    "packed cohort": packed,
    "PNG folder, DataLoader": png_folder,
    "webdataset": shards,
}


def epoch(name: str, folder: Path, batch: int) -> tuple[float, int, float]:
    """Return seconds, images and the mean pixel of one epoch."""
    start, images, total = time.perf_counter(), 0, 0.0
    for shown in CONTENDERS[name](folder, batch):
        images += len(shown)
        total += float(shown[:, 0, 0, 0].sum())  # touched, so that nothing can be lazy
    return time.perf_counter() - start, images, total / images


def main() -> int:
    """Run the benchmark; exit status 1 when the contenders do not show the same images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-loading"))
    arguments = parser.parse_args()
    data = arguments.folder / f"{arguments.images}-{arguments.size}"
    if not data.exists():
        write(data.with_suffix(".partial"), arguments.images, arguments.size)
        data.with_suffix(".partial").rename(data)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    means: dict[str, float] = {}
    for number in range(arguments.rounds + 1):  # the first warms the page cache and is not counted
        for name in CONTENDERS:
            spent, images, means[name] = epoch(name, data, arguments.batch)
            if number:
                seconds[name].append(round(spent, 3))
                rates[name].append(images / spent)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    alike = max(means.values()) - min(means.values()) < 0.01
    row: dict[str, Any] = {
        "benchmark": "loading",
        "images": arguments.images,
        "size": arguments.size,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "seconds": seconds,
        "images_per_second_median": {name: round(value) for name, value in medians.items()},
        "times_faster": {
            name: round(medians["packed cohort"] / value, 2)
            for name, value in medians.items()
            if name != "packed cohort"
        },
        "mean_pixel": {name: round(value, 4) for name, value in means.items()},
        "alike": alike,
        "load_average": list(os.getloadavg()),
        **circumstances(),
    }
    print(json.dumps(row, indent=2))
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
