"""`study crossvalidate`: every patient is tested once, failures are kept, and a second call does nothing twice."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.cohort import Cohort
from synthcohort.errors import BadOption, InputError
from synthcohort.phantoms.chexpert import Phantom
from synthcohort.studies import _pipeline
from synthcohort.studies.crossvalidate import study

FINDINGS = ("Pleural Effusion", "Support Devices")
FOLDS = 2


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chest") / "chexpert"
    Phantom(patients=120, side=32).write(root, seed=0)
    return root


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
    task = {"images_seen": 32, "batch": 8}
    monkeypatch.setattr(_pipeline, "evaluate", functools.partial(_pipeline.evaluate, options=task))


def run(download: Path, out: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "generators": ["gaussian"],
        "folds": FOLDS,
        "size": 16,
        "findings": FINDINGS,
        "learners": 1,
    }
    return study("chexpert", download, out=out, **{**given, **changes})


def test_every_patient_is_tested_once_and_nothing_is_done_twice(
    download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Interrupted in the middle first: the second call takes up what is finished.
    evaluate, calls = _pipeline.evaluate, list[Path]()

    def interrupted(real: Path, *args: Any, **kwargs: Any) -> Any:
        calls.append(real)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(real, *args, **kwargs)

    monkeypatch.setattr(_pipeline, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(download, tmp_path / "study")
    out = run(download, tmp_path / "study")

    # Each cohort has pseudonyms of its own, so that images say who was tested.
    folds = [Cohort(out / "cohorts" / f"fold-{fold}") for fold in (1, 2)]
    tables = [fold.samples for fold in folds]
    tested = [table["split"] == "test" for table in tables]
    everyone = sorted(image.tobytes() for image in folds[0].images)
    assert (
        sorted(image.tobytes() for fold, is_test in zip(folds, tested, strict=True) for image in fold.images[is_test])
        == everyone
    )
    patients = sum(table.loc[is_test, "patient_id"].nunique() for table, is_test in zip(tables, tested, strict=True))
    assert patients == tables[0]["patient_id"].nunique() == tables[1]["patient_id"].nunique()

    lines = json.loads((out / "auc.json").read_text())
    assert {line["label"] for line in lines} == {*FINDINGS, "mean"}
    assert {line["folds"] for line in lines} == {FOLDS}
    assert {line["patients"] for line in lines} == {patients}
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    own = [row for row in rows if row["metric"] == "auc" and row["arm"] == "synthetic->real" and row["label"] == "mean"]
    assert [row["fold"] for row in own] == [1, 2]
    mean = next(
        line for line in lines if (line["arm"], line["metric"], line["label"]) == ("synthetic->real", "auc", "mean")
    )
    assert mean["value"] == pytest.approx(
        np.mean([row["value"] for row in own]), abs=1e-12
    )  # both folds have both findings
    assert (out / "report.html").exists()
    shown = (out / "auc.md").read_text().splitlines()
    assert f"{mean['value']:.3f}" in next(line for line in shown if "synthetic->real | mean" in line)
    assert (out / "failures.jsonl").read_text() == ""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("done twice")

    for costly in ("synthcohort.sources.chexpert.Source.records", "synthcohort.tasks.classification.Task.fit"):
        monkeypatch.setattr(costly, refuse)
    before = (out / "auc.json").read_bytes()
    run(download, tmp_path / "study")
    assert (out / "auc.json").read_bytes() == before


def test_what_cannot_work_is_refused_before_anything_is_written(download: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    for changes in ({"folds": 1}, {"generators": []}, {"options": ["no_such_option=1"]}):
        with pytest.raises(BadOption):
            run(download, out, **changes)
    with pytest.raises(InputError, match="finding"):
        run(download, tmp_path / "other", findings=("Pneumonitis",))
    assert not out.exists()
