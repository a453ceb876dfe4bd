"""How often text in pixels is found, how often it is seen where there is none, and what a look costs.

    python benchmark/burned_in.py [--nih FOLDER] [--acdc FOLDER]

Backgrounds are phantoms and, where their folders are given, real images as they are and doubled or tripled to about 512
pixels. Names, dates and numbers are planted on them in four fonts at random places and at the edges. NIH radiographs
hold text of their own ("PORTABLE"): their rate without planted text is no rate of false alarms, and images in which
text is found beforehand are no background. Prints one JSON line a background and appends it to
benchmark/results/burned_in.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from machine import circumstances
from PIL import Image, ImageDraw, ImageFont

from synthcohort import plugins
from synthcohort._burned_in import has_text

FONTS = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf")
LINES = ("MUELLER^ANNA", "1957-03-14", "Doe, John 57Y", "PORTABLE", "ID 4711-22", "12.03.1961", "SMITH J M", "A-1043")
HEIGHTS = (8, 10, 12, 16, 20, 30)
CONTRASTS = (60, 80, 120, 255)
PLANTED, MOST = 120, 400
_ROOM = 160  # pixels that a line needs
_RESULTS = Path(__file__).parent / "results" / "burned_in.jsonl"


def phantom(kind: str, **options: int) -> Iterator[np.ndarray]:
    """Yield the images of a phantom, read back by the source of the same name."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / kind
        root.mkdir()
        plugins.find("phantoms", kind)(**options).write(root, seed=7)
        yield from (record.image for record in plugins.find("sources", kind)(root).records())


def eight_bits(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) as (H, W) uint8, the lowest value 0 and the highest 255; of colours the green."""
    grey = image[len(image) // 2].astype(np.float32)
    low, high = float(grey.min()), float(grey.max())
    return np.rint((grey - low) * (255 / max(high - low, 1))).astype(np.uint8)


def real(source: str, root: Path, factor: int) -> Iterator[np.ndarray]:
    """Yield real images, enlarged `factor` times, evenly chosen from the whole download."""
    opened = plugins.find("sources", source)(root)
    parts = opened.parts()
    chosen = [parts[i] for i in np.unique(np.linspace(0, len(parts) - 1, MOST).astype(int))]
    for image in (record.image for part in chosen for record in opened.read(part)):
        size = (image.shape[2] * factor, image.shape[1] * factor)
        larger = Image.fromarray(eight_bits(image)).resize(size, Image.Resampling.BILINEAR)
        yield image if factor == 1 else np.asarray(larger)[None]


def planted(image: np.ndarray, text: str, height: int, contrast: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image with a line of text that differs by `contrast` from what is there; 255 is white or black."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / rng.choice(FONTS)), height)
    width, tall = (int(length) for length in draw.textbbox((0, 0), text, font=font)[2:])
    room = [max(have - need - 4, 1) for have, need in zip(picture.size, (width, tall), strict=True)]
    x, y = (int(rng.integers(0, each)) if rng.random() < 0.5 else int(rng.choice([0, each - 1])) for each in room)
    there = float(np.median(image[y : y + tall + 4, x : x + width + 4]))
    draw.text(
        (x + 2, y + 2), text, fill=int(np.clip(there + (contrast if there < 128 else -contrast), 0, 255)), font=font
    )
    return np.asarray(picture)


def found(images: list[np.ndarray], lines: tuple[str, ...], height: int, contrast: int) -> float:
    """Return the share of planted lines that are found."""
    rng = np.random.default_rng([height, contrast])
    hits = 0
    for i in range(PLANTED):
        background, text = images[rng.integers(len(images))], lines[i % len(lines)]
        hits += has_text(planted(background, text, height, contrast, rng)[None])
    return round(hits / PLANTED, 3)


def row(name: str, images: list[np.ndarray]) -> dict[str, object]:
    """Return the result of one background."""
    seconds, alarms = [], []
    for image in images:
        started = time.perf_counter()
        alarms.append(has_text(image))
        seconds.append(time.perf_counter() - started)
    clean = [eight_bits(image) for image, alarm in zip(images, alarms, strict=True) if not alarm]
    clean = [image for image in clean if min(image.shape) >= _ROOM]
    return {
        "benchmark": "burned_in",
        "background": name,
        "images": len(images),
        "largest": list(max(image.shape for image in images)),
        "found_without_planting": sum(alarms),
        "milliseconds": {
            "median": round(1e3 * float(np.median(seconds)), 2),
            "mean": round(1e3 * float(np.mean(seconds)), 2),
        },
        "found": {f"{h} px": {str(c): found(clean, LINES, h, c) for c in CONTRASTS} for h in HEIGHTS},
        "found_one_letter": {f"{h} px": found(clean, ("L", "R"), h, 255) for h in HEIGHTS[2:]},
        **circumstances(),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nih", type=Path, help="the NIH ChestX-ray14 download")
    parser.add_argument("--acdc", type=Path, help="the ACDC download")
    given = parser.parse_args()
    backgrounds = {
        "phantom acdc": lambda: phantom("acdc", patients=12),
        "phantom chexpert": lambda: phantom("chexpert", patients=60, side=512),
        "phantom rsna_ich": lambda: phantom("rsna_ich", patients=8),
        "phantom sliver07": lambda: phantom("sliver07", patients=4),
        "phantom idrid": lambda: phantom("idrid"),
    }
    for source, root, factor in (("acdc", given.acdc, 3), ("nih_cxr14", given.nih, 2)):
        if root:
            backgrounds[source] = lambda s=source, r=root: real(s, r, 1)
            backgrounds[f"{source} x{factor}"] = lambda s=source, r=root, f=factor: real(s, r, f)
    for name, images in backgrounds.items():
        line = json.dumps(row(name, list(images())))
        print(line)
        with _RESULTS.open("a") as file:
            file.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
