"""A small reader study on disk without cohorts behind it, and a client that reads it, for the tests of the server."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.reader._study import Design, Order, Presentation, code_digest, write_study

CODE = "ADMINISTRATOR0123456789"


@dataclass(frozen=True)
class Study:
    """A study in `folder`, with what its makers know."""

    folder: Path
    design: Design
    orders: dict[str, Order]
    codes: dict[str, str]
    images: np.ndarray[Any, Any]


def secret(*what: object) -> str:
    return hashlib.sha256("/".join(map(str, what)).encode()).hexdigest()[:22]


def make_study(
    folder: Path,
    *,
    images: int = 6,
    readers: int = 2,
    side: int = 16,
    channels: int = 1,
    dtype: str = "uint16",
    **options: Any,
) -> Study:
    rng, top = np.random.default_rng(3), 255 if dtype == "uint8" else 4095
    pixels = rng.integers(0, top + 1, (images, side, side, channels)).astype(dtype)
    names = tuple(f"reader-{number:02d}" for number in range(1, readers + 1))
    training, blocks = options.get("training", 0), options.get("blocks", 1)
    fields: dict[str, Any] = {
        "name": "A <b>study</b>",
        "shape": (channels, side, side),
        "dtype": dtype,
        "window": (0.0, float(top)),
        "images": images - training,
        "synthetic": (images - training) // 2,
        "repeats": 0,
        "training": 0,
        "blocks": 1,
        "findings": (),
        "marks": False,
        "time_limit_s": None,
        "go_back": False,
        "margin": 0.1,
        "alpha": 0.05,
        "seed": 0,
        "cohorts": {"real": "a", "synthetic": "b"},
        "readers": names,
    }
    orders, codes = {}, {name: secret("code", name) for name in names}
    for name in names:
        shown = [Presentation(secret(name, i), i, -1, "real" if i % 2 else "synthetic") for i in range(training)]
        rest = rng.permutation(np.arange(training, images))
        shown += [Presentation(secret(name, i), int(i), k * blocks // len(rest)) for k, i in enumerate(rest)]
        orders[name] = Order(name, code_digest(codes[name]), tuple(shown))
    design = Design(**{**fields, **options})
    write_study(folder, design, tuple(orders.values()))
    np.save(folder / "served/images.npy", pixels)
    with (folder / "invitations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("reader", "code"), *codes.items()])
    return Study(folder, design, orders, codes, pixels)
