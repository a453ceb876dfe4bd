"""Let simulated readers read at once while the server is killed and started again; count lost and doubled answers.

    python benchmark/reader_load.py [--readers 30] [--images 100] [--think 1.0] [--kills 3] [--side 256]
                                    [--database postgresql+psycopg://...]

Every reader opens the page, fetches the pixels, waits `--think` seconds on average (half to one and a half of it) and
answers; a request that fails is sent again, as the page does. The server is killed with SIGKILL when a quarter, a half
and three quarters of the answers are in (for three kills). Afterwards the database is compared with what the readers
were told was stored. A page's time is that of a request that was answered; requests into a dead server are counted
apart. Client and server share the machine's cores. Prints one JSON line and appends it to
benchmark/results/reader_load.jsonl.
"""

from __future__ import annotations

import argparse
import html
import http.client
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import sqlalchemy as sa
from machine import circumstances

from synthcohort.reader._answers import ANSWERS, open_answers, trail_problems

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from reader_study import Server, Study, make_study

_RESULTS = Path(__file__).parent / "results" / "reader_load.jsonl"
_AGAIN = (408, 429, 500, 503)


class Reader:
    """One simulated reader with one connection."""

    def __init__(self, study: Study, name: str, server: Server, think: float) -> None:
        self._study, self._name, self._server, self._think = study, name, server, think
        self._random = random.Random(name)
        self._cookie, self._csrf = "", ""
        self._connection: http.client.HTTPConnection | None = None
        self.stored: dict[str, tuple[str, int]] = {}
        self.seconds: dict[str, list[float]] = {"page": [], "pixels": [], "answer": []}
        self.failures: Counter[str] = Counter()

    def read(self) -> None:
        """Read the whole study."""
        self._form("/sign-in", code=self._study.codes[self._name])
        page = self._ask("GET", "/", "page").decode()
        self._csrf = re.findall(r'name="csrf" value="(\w+)"', page)[0]
        self._form("/begin", csrf=self._csrf)
        while "data-state" in (page := self._ask("GET", "/", "page").decode()):
            state = json.loads(html.unescape(re.findall(r'data-state="([^"]*)"', page)[0]))
            self._look_and_answer(state["id"])

    def _look_and_answer(self, presentation: str) -> None:
        pixels = self._ask("GET", f"/pixels/{presentation}", "pixels")
        assert len(pixels) == self._study.images[0].nbytes
        time.sleep(self._think * self._random.uniform(0.5, 1.5))
        choice, confidence = self._random.choice(("real", "synthetic")), self._random.randint(1, 5)
        answer = {"presentation": presentation, "revision": 0, "choice": choice, "confidence": confidence}
        answer |= {"seconds": self._think, "timed_out": False, "findings": [], "marks": []}
        headers = {"x-csrf-token": self._csrf}
        self._ask("POST", "/answer", "answer", json.dumps(answer), headers)
        self.stored[presentation] = (choice, confidence)

    def _form(self, path: str, **fields: str) -> None:
        self._ask("POST", path, "", urlencode(fields))

    def _ask(
        self, method: str, path: str, kind: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        while True:
            try:
                status, content, seconds = self._once(method, path, body, dict(headers or {}))
            except (OSError, http.client.HTTPException):
                self._connection = None
                self.failures["no connection"] += 1
                time.sleep(0.3)
                continue
            if status in _AGAIN:
                self.failures[str(status)] += 1
                time.sleep(0.5)
                continue
            assert status in (200, 303), (method, path[:8], status)
            if kind:
                self.seconds[kind].append(seconds)
            return content

    def _once(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, bytes, float]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        start = time.perf_counter()
        self._connection.request(method, path, body, {"cookie": self._cookie, **headers})
        response = self._connection.getresponse()
        content = response.read()
        self._cookie = (response.headers.get("set-cookie") or self._cookie).split(";")[0]
        return response.status, content, time.perf_counter() - start


def run(study: Study, database: str | None, think: float, kills: int) -> dict[str, Any]:
    """Let all readers read; return what happened."""
    total = sum(len(order.presentations) for order in study.orders.values())
    start = time.perf_counter()
    with Server(study, database) as server:
        readers = [Reader(study, name, server, think) for name in study.orders]
        killer = threading.Thread(target=_kill, args=(server, readers, total, kills))
        killer.start()
        with ThreadPoolExecutor(len(readers)) as pool:
            list(pool.map(Reader.read, readers))
        killer.join()
    told = {key: value for reader in readers for key, value in reader.stored.items()}
    failures: Counter[str] = sum((reader.failures for reader in readers), Counter())
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "milliseconds": {kind: _summary(readers, kind) for kind in ("page", "pixels", "answer")},
        "requests_into_a_dead_server": dict(failures),
        **_compare(study, database, told, total),
    }


def _kill(server: Server, readers: list[Reader], total: int, kills: int) -> None:
    for number in range(1, kills + 1):
        while sum(len(reader.stored) for reader in readers) < total * number / (kills + 1):
            time.sleep(0.05)
        server.kill()
        server.start()


def _summary(readers: list[Reader], kind: str) -> dict[str, float]:
    values = 1000 * np.concatenate([reader.seconds[kind] for reader in readers])
    names = {"median": 50, "p95": 95, "p99": 99, "most": 100}
    return {name: round(float(np.percentile(values, share)), 1) for name, share in names.items()}


def _compare(study: Study, database: str | None, told: Mapping[str, tuple[str, int]], total: int) -> dict[str, Any]:
    answers = open_answers(study.folder, database, create=False)
    with answers.engine.connect() as connection:
        rows = connection.execute(sa.select(ANSWERS.c.presentation, ANSWERS.c.choice, ANSWERS.c.confidence)).all()
    answers.engine.dispose()
    count = Counter(row[0] for row in rows)
    kept = {row[0]: (row[1], row[2]) for row in rows}
    return {
        "answers": len(rows),
        "asked": total,
        "lost": sum(key not in kept for key in told),
        "doubled": sum(times - 1 for times in count.values()),
        "changed": sum(kept.get(key, value) != value for key, value in told.items()),
        "trail_problems": len(trail_problems(study.folder, database)),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"readers": 30, "images": 100, "kills": 3, "side": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--think", type=float, default=1.0)
    parser.add_argument("--database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", images=given.images, readers=given.readers, side=given.side)
        result = run(study, given.database, given.think, given.kills)
    row: dict[str, Any] = {"benchmark": "reader_load", **{k: v for k, v in vars(given).items() if k != "database"}}
    row |= {"database": "PostgreSQL" if given.database else "SQLite", **result, "load_average": os.getloadavg()}
    line = json.dumps(row | circumstances())
    print(line)
    with _RESULTS.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
