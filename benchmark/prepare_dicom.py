"""Time the preparation of DICOM slices: `prepare rsna_ich` against a MONAI LoadImage pipeline with as many workers.

    python benchmark/prepare_dicom.py [--slices 5000] [--size 128] [--rounds 3] [--workers 2] [--encodings raw,rle]

Both read the same files from scratch, rescale to Hounsfield units, window 40/80, reduce to SIZE x SIZE with
antialiasing and write 8-bit arrays to disk; `prepare` also reads patients from the headers, looks for text in the
pixels, splits, pseudonymises and hashes. Slices are those of the phantom, 512 x 512, stored raw, as RLE and as JPEG
2000. Contenders are interleaved round by round, each in a process of its own, and a first round, which is not counted,
warms the page cache. Before a time counts, the same images must be alike: their filters differ, so within LARGEST_MEAN
grey levels on average. Prints a table and appends one JSON line an encoding to benchmark/results/prepare_dicom.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import circumstances

FULL_SET = 752_803
"""Slices of the RSNA training set."""
CENTRE, WIDTH = 40, 80
LARGEST_MEAN = 6.0
ENCODINGS = {"raw": "", "rle": "1.2.840.10008.1.2.5", "jpeg2000": "1.2.840.10008.1.2.4.90"}
_RESULTS = Path(__file__).parent / "results" / "prepare_dicom.jsonl"


def downloads(folder: Path, slices: int) -> dict[str, Path]:
    """Return encoding -> root of a download of that many 512 x 512 slices, made when it is not there."""
    from synthcohort.phantoms.rsna_ich import Phantom

    roots = {name: folder / name for name in ENCODINGS}
    if not roots["raw"].exists():
        patients = max(8, slices // 24)
        Phantom(patients=patients, size=512).write(folder / "raw.partial", seed=0)
        _thin(folder / "raw.partial", slices)
        (folder / "raw.partial").rename(roots["raw"])
    for name, syntax in ENCODINGS.items():
        if not roots[name].exists():
            _compressed(roots["raw"], folder / f"{name}.partial", syntax)
            (folder / f"{name}.partial").rename(roots[name])
    return roots


def _thin(root: Path, slices: int) -> None:
    """Keep the first slices of a download, and their rows of its table."""
    (table,) = root.rglob("stage_2_train.csv")
    images = sorted(table.parent.rglob("stage_2_train/*.dcm"))
    kept = {path.stem for path in images[:slices]}
    if len(kept) < slices:
        raise SystemExit(f"The phantom wrote {len(kept)} slices, {slices} were asked for")
    for path in images[slices:]:
        path.unlink()
    rows = list(csv.reader(table.open(newline="")))
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [rows[0], *(r for r in rows[1:] if r[0].rsplit("_", 1)[0] in kept)]
        )


def _compressed(source: Path, target: Path, syntax: str) -> None:
    import pydicom

    for path in sorted(source.rglob("*")):
        other = target / path.relative_to(source)
        if path.is_dir():
            other.mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".dcm":
            image = pydicom.dcmread(path)
            image.compress(syntax, generate_instance_uid=False)
            other.parent.mkdir(parents=True, exist_ok=True)
            image.save_as(other)
        else:
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(path.read_bytes())


def ours(root: Path, out: Path, size: int, workers: int) -> None:
    """Prepare with this tool."""
    from synthcohort.prepare import prepare

    prepare("rsna_ich", root, out=out / "cohort", size=size, intensity=f"{CENTRE},{WIDTH}", workers=workers)


def monai(root: Path, out: Path, size: int, workers: int) -> None:
    """Prepare with MONAI's readers and transforms in torch's DataLoader."""
    import torch
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, LoadImage, Resize, ScaleIntensityRange

    torch.set_num_threads(1)
    files = sorted(root.rglob("stage_2_train/*.dcm"))
    steps = Compose(
        [
            LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True),
            ScaleIntensityRange(CENTRE - WIDTH / 2, CENTRE + WIDTH / 2, 0, 1, clip=True),
            Resize((size, size), mode="bilinear", anti_aliasing=True),
        ]
    )
    loader = DataLoader(Dataset([str(path) for path in files], steps), batch_size=32, num_workers=workers)
    result = np.empty((len(files), size, size), np.uint8)
    for start, batch in zip(range(0, len(files), 32), loader, strict=True):
        values = np.rint(np.asarray(batch)[:, 0] * 255)
        result[start : start + 32] = values.transpose(0, 2, 1)  # the reader has x before y
    np.save(out / "images.npy", result)


CONTENDERS = {"synthcohort": ours, "MONAI": monai}


def timed(name: str, root: Path, out: Path, arguments: argparse.Namespace) -> float:
    """Return the seconds that a contender takes in a process of its own, its imports left out."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import prepare_dicom as p; from pathlib import Path\n"
        "import monai.transforms, monai.data, synthcohort.prepare\n"
        "start = time.perf_counter()\n"
        "p.CONTENDERS[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6]))\n"
        "print(time.perf_counter() - start)"
    )
    out.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-c", code, str(Path(__file__).parent), name, str(root), str(out)]
    command += [str(arguments.size), str(arguments.workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def agreement(one: Path, other: Path) -> dict[str, float]:
    """Return how far the two results are apart, in grey levels: images are matched by what they show."""
    first = np.load(one / "cohort" / "images.npy")[:, 0]
    second = np.load(other / "images.npy")
    nearest = [_closest(image, second) for image in first[:: max(1, len(first) // 25)]]
    return {"mean_grey_levels": round(float(np.mean(nearest)), 3), "largest_mean": round(float(np.max(nearest)), 3)}


def _closest(image: np.ndarray, others: np.ndarray) -> float:
    coarse = np.abs(others[:, ::8, ::8].astype(int) - image[::8, ::8]).mean(axis=(1, 2))
    best = np.argsort(coarse)[:8]
    return float(np.abs(others[best].astype(int) - image).mean(axis=(1, 2)).min())


def main() -> int:
    """Run the benchmark; exit status 1 when the results disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=5000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--encodings", default=",".join(ENCODINGS))
    parser.add_argument("--folder", type=Path, default=Path("benchmark-dicom"))
    arguments = parser.parse_args()
    os.environ["SYNTHCOHORT_HOME"] = str(arguments.folder / "home")
    roots = downloads(arguments.folder, arguments.slices)
    rows = [_measure(name, roots[name], arguments) for name in arguments.encodings.split(",")]
    for row in rows:
        print(f"{row['encoding']:<10}{row['seconds_median']}  {row['times_faster']} times as fast")
        print(f"{'':<10}the full set of {FULL_SET:,} slices: {row['full_set_hours']} h at this rate")
    with _RESULTS.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return 0 if all(row["agreement"]["largest_mean"] <= LARGEST_MEAN for row in rows) else 1


def _measure(encoding: str, root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    last: dict[str, Path] = {}
    for number in range(arguments.rounds + 1):  # the first round warms the page cache and is not counted
        for name in CONTENDERS:
            out = arguments.folder / "out" / f"{encoding}-{name}-{number}-{time.time_ns()}"
            spent = timed(name, root, out, arguments)
            if number:
                seconds[name].append(round(spent, 2))
            last[name] = out
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "benchmark": "prepare_dicom",
        "encoding": encoding,
        "slices": arguments.slices,
        "source": "phantom of rsna_ich, 512 x 512, seed 0",
        "size": arguments.size,
        "workers": arguments.workers,
        "rounds": arguments.rounds,
        "seconds": seconds,
        "seconds_median": medians,
        "slices_per_second": {name: round(arguments.slices / value, 1) for name, value in medians.items()},
        "times_faster": round(medians["MONAI"] / medians["synthcohort"], 2),
        "full_set_hours": round(FULL_SET / arguments.slices * medians["synthcohort"] / 3600, 2),
        "agreement": agreement(last["synthcohort"], last["MONAI"]),
        "load_average": list(os.getloadavg()),
        **circumstances(),
    }


if __name__ == "__main__":
    sys.exit(main())
