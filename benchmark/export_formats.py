"""Time every format of `export`, and the PNG encoder against Pillow's.

    python benchmark/export_formats.py [--images 2000] [--size 128] [--rounds 3] [--nih FOLDER]

The cohort that is exported is one of the heart phantom with masks, 8 bit. Formats take turns, each exports it whole
into a new folder, `verify` included, and a first round, which is not counted, warms the page cache and the imports.
Encoders take turns, too, on PICTURES images in memory, on one thread and without text chunks: of the heart and the
chest phantom and, where its folder is given, NIH radiographs as they are. What ours writes must come back through
Pillow, equal. Prints a table and appends one JSON line to benchmark/results/export_formats.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import circumstances
from PIL import Image

PICTURES = 300
_SLICES_A_PATIENT = 16  # fewer than the phantom of a heart has
_RESULTS = Path(__file__).parent / "results" / "export_formats.jsonl"


def prepared(kind: str, folder: Path, size: int, most: int, **options: int) -> Path:
    """Return a cohort of at most that many images of a phantom."""
    from synthcohort import plugins
    from synthcohort.cohort import Cohort, writing_cohort
    from synthcohort.prepare import prepare

    root, whole, out = (folder / f"{kind} {size} {step}" for step in ("download", "whole", "cohort"))
    root.mkdir()
    plugins.find("phantoms", kind)(**options).write(root, seed=7)
    prepare(kind, root, out=whole, size=size)
    opened = Cohort(whole)
    with writing_cohort(out, opened.facts, {"kind": "benchmark"}, None) as writer:
        for i, row in enumerate(opened.samples.drop(columns="digest").iloc[:most].to_dict("records")):
            writer.append(opened.images[i], None if opened.masks is None else opened.masks[i], row)
        writer.finish()
    return out


def formats(cohort: Path, images: int, rounds: int) -> dict[str, Any]:
    """Return what exporting a cohort takes, format by format."""
    from synthcohort import plugins
    from synthcohort.export import export

    names = plugins.names("formats")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    sizes: dict[str, int] = {}
    for number in range(rounds + 1):
        for name in names:
            out = cohort.parent / "out"
            started = time.perf_counter()
            export(cohort, out=out, format=name)
            spent = time.perf_counter() - started
            sizes[name] = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            shutil.rmtree(out)
            if number:
                seconds[name].append(round(spent, 2))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "seconds": seconds,
        "seconds_median": medians,
        "images_per_second": {name: round(images / value, 1) for name, value in medians.items()},
        "mebibytes": {name: round(size / 2**20, 2) for name, size in sizes.items()},
    }


def _ours(pixels: np.ndarray) -> bytes:
    from synthcohort.formats._png_file import png_file

    return png_file(pixels, {})


def _pillow(level: int) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=level)
        return buffer.getvalue()

    return encode


def encoders(pictures: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """Return milliseconds and bytes a picture of each encoder."""
    made: dict[str, Callable[[np.ndarray], bytes]] = {"ours": _ours, "Pillow 1": _pillow(1), "Pillow 6": _pillow(6)}
    if any((np.asarray(Image.open(io.BytesIO(_ours(each)))) != each).any() for each in pictures):
        raise SystemExit("A picture does not come back as it was")
    seconds: dict[str, list[float]] = {name: [] for name in made}
    sizes: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, encode in made.items():
            started = time.perf_counter()
            sizes[name] = sum(len(encode(each)) for each in pictures)
            if number:
                seconds[name].append(time.perf_counter() - started)
    spent = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "pictures": len(pictures),
        "pixels": list(pictures[0].shape),
        "milliseconds_median": {name: round(1e3 * value / len(pictures), 3) for name, value in spent.items()},
        "bytes": {name: round(size / len(pictures)) for name, size in sizes.items()},
        "times_faster_than": {name: round(spent[name] / spent["ours"], 2) for name in made if name != "ours"},
        "fewer_bytes_than": {name: round(1 - sizes["ours"] / sizes[name], 3) for name in made if name != "ours"},
    }


def held(cohort: Path) -> list[np.ndarray]:
    """Return the first images of a cohort, (H, W) each."""
    from synthcohort.cohort import Cohort

    return [np.array(image[0]) for image in Cohort(cohort).images[:PICTURES]]


def radiographs(root: Path) -> list[np.ndarray]:
    """Return NIH radiographs as they are, evenly chosen from the download."""
    from synthcohort import plugins

    opened = plugins.find("sources", "nih_cxr14")(root)
    parts = opened.parts()
    chosen = [parts[i] for i in np.unique(np.linspace(0, len(parts) - 1, PICTURES).astype(int))]
    return [record.image[0] for part in chosen for record in opened.read(part)]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nih", type=Path, help="the NIH ChestX-ray14 download")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SYNTHCOHORT_HOME"] = str(folder / "home")
        row = _measured(folder, given)
    print(f"{'format':<14}{'seconds':>10}{'images/s':>10}{'MiB':>10}")
    for key, spent in row["formats"]["seconds_median"].items():
        of = row["formats"]
        print(f"{key:<14}{spent:>10}{of['images_per_second'][key]:>10}{of['mebibytes'][key]:>10}")
    for key, found in row["png"].items():
        print(f"{key}: ms {found['milliseconds_median']}, bytes {found['bytes']}")
    with _RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return 0


def _measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    heart = prepared("acdc", folder, given.size, given.images, patients=-(-given.images // _SLICES_A_PATIENT))
    images = len(np.load(heart / "images.npy", mmap_mode="r"))
    if images < given.images:
        raise SystemExit(f"The phantom has {images} slices, {given.images} were asked for")
    pictures = {"heart phantom": held(heart)}
    for size in (128, 512):
        chest = prepared("chexpert", folder, size, PICTURES, patients=120, side=max(size, 320))
        pictures[f"chest phantom, {size}"] = held(chest)
    if given.nih:
        pictures["NIH"] = radiographs(given.nih)
    return {
        "benchmark": "export_formats",
        "cohort": "phantom of acdc with masks, seed 7, 8 bit",
        "images": images,
        "size": given.size,
        "rounds": given.rounds,
        "formats": formats(heart, images, given.rounds),
        "png": {name: encoders(found, given.rounds) for name, found in pictures.items()},
        "load_average": list(os.getloadavg()),
        **circumstances(),
    }


if __name__ == "__main__":
    sys.exit(main())
