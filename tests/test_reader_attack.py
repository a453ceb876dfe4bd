"""An attacker who may use all that a reader's browser receives, but for the image itself, learns nothing from it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict

from reader_study import CODE, Study, make_study
from synthcohort.reader import serve as serving
from synthcohort.reader._study import write_study
from test_reader_serve import Reader

READERS, IMAGES = 20, 100


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, np.ndarray[Any, Any]]:
    """A study whose synthetic images are as unlike the real ones as can be, and which of them are synthetic."""
    for name in ("_pages.SESSION_RATE", "_pages.SESSION_BURST", "_limits.ADDRESS_RATE", "_limits.ADDRESS_BURST"):
        monkeypatch.setattr(f"synthcohort.reader.{name}", 1e9)
    study = make_study(tmp_path / "s", images=IMAGES, readers=READERS, side=128)
    synthetic = np.random.default_rng(8).permutation(np.arange(IMAGES) % 2).astype(bool)
    study.images[synthetic] = 7
    np.save(study.folder / "served/images.npy", study.images)
    write_study(study.folder, study.design, tuple(study.orders.values()))
    return study, synthetic


def received(reader: Reader) -> list[list[float]]:
    """Return, for every image, what the browser received with it: times, lengths, headers, ids, texts."""
    rows = []
    for shown in reader.order:
        row: list[float] = []
        answer = {"presentation": shown.id, "revision": 0, "choice": "real", "confidence": 3, "seconds": 0.0}
        answer |= {"timed_out": False, "findings": [], "marks": []}
        for ask in (
            lambda: reader.client.get("/"),
            lambda shown=shown: reader.pixels(shown.id),
            lambda answer=answer: reader.post("/answer", answer),
        ):
            start = time.perf_counter()
            response = ask()
            seconds = time.perf_counter() - start
            assert response.status_code == 200
            headers = str(sorted(response.headers.items()))
            row += [seconds, len(response.content), len(headers), float(sum(headers.encode()))]
            text = b"" if "octet" in headers else response.content
            row += [float(sum(text)), float(np.bitwise_xor.reduce(np.frombuffer(text + b"\0", np.uint8)))]
        rows.append([*row, *map(float, shown.id.encode()), float(len(rows))])
    return rows


@pytest.mark.slow
def test_nothing_but_the_image_predicts_the_truth(planted: tuple[Study, np.ndarray[Any, Any]]) -> None:
    study, synthetic = planted
    app = serving.application(study.folder, administrator_code=CODE)
    rows, truth = [], []
    for name in study.orders:
        reader = Reader(study, name, app=app)
        rows += received(reader)
        truth += [bool(synthetic[shown.image]) for shown in reader.order]
    right = _right(np.array(rows), np.array(truth))
    # One run in a thousand fails by chance; the 95 % interval is for the message.
    found = binomtest(right, len(truth), 0.5, alternative="greater")
    interval = binomtest(right, len(truth)).proportion_ci(0.95, "exact")
    assert found.pvalue > 0.001, f"{right} of {len(truth)} guessed, 95 % interval {interval}"
    print(f"guessed {right} of {len(truth)}: {right / len(truth):.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    leaking = np.column_stack([rows, np.array(truth) + np.random.default_rng(0).normal(0, 2, len(truth))])
    assert binomtest(_right(leaking, np.array(truth)), len(truth), 0.5, alternative="greater").pvalue < 0.001


def _right(rows: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> int:
    forest = RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    return int((cross_val_predict(forest, rows, truth, cv=5) == truth).sum())
