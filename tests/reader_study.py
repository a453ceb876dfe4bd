"""A small reader study on disk without cohorts behind it, and its server as a process, for tests."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import synthcohort
from synthcohort.reader._study import IMAGES, Design, Order, Presentation, code_digest, write_study

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
    (folder / IMAGES).parent.mkdir(parents=True)
    np.save(folder / IMAGES, pixels)
    design = write_study(folder, Design(**{**fields, **options}), tuple(orders.values()))
    with (folder / "invitations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("reader", "code"), *codes.items()])
    return Study(folder, design, orders, codes, pixels)


class Server:
    """`reader serve` in a process of its own, which may be killed and started again at the same port."""

    def __init__(self, study: Study, database_url: str | None = None) -> None:
        self._study, self._database_url, self.port = study, database_url, 0
        self.start()

    def start(self) -> None:
        """Start, and return when the server listens."""
        code = (
            "import sys; from pathlib import Path; from synthcohort.reader.serve import serve\n"
            "tell = lambda links: print(links.administrator, flush=True)\n"
            "serve(Path(sys.argv[1]), port=int(sys.argv[2]), database_url=sys.argv[3] or None, tell=tell)"
        )
        source = str(Path(synthcohort.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(self._study.folder), str(self.port), self._database_url or ""],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": source},
        )
        assert self._process.stdout is not None
        self.administrator = self._process.stdout.readline().strip()
        assert self.administrator, "the server did not start"
        self.port = int(self.administrator.split("/administrator")[0].rpartition(":")[2])

    @property
    def address(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def link(self, reader: str) -> str:
        """Return the invitation of `reader`."""
        return f"{self.address}/#code={self._study.codes[reader]}"

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
