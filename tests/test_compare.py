"""`study compare`: every generator with every seed, taken up again, and the arithmetic of its table."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from synthcohort.errors import BadOption, Mismatch
from synthcohort.nets.generator import Draws, Generator, Streams
from synthcohort.studies import _pipeline
from synthcohort.studies._pipeline import as_markdown, table
from synthcohort.studies.compare import study
from synthcohort.types import Batch, Clock, Condition, Generated, Score, Update

TASK = {"width": 2, "images_seen": 32, "batch": 8}
GENERATORS = ("gaussian", "copycat")


class Grey(Generator):
    """Grey images; its training diverges while `sick` says so."""

    sick: ClassVar[bool] = True

    def __init__(self, *, shape: Any, labels: Any, mask_classes: Any) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        self.level = nn.Parameter(torch.zeros(()))

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"level": torch.optim.SGD(self.parameters(), lr=0.1)}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        loss = (self.level - batch.images.mean()).square() * (float("inf") if self.sick else 1.0)
        update("level", loss)
        return {"level": loss.detach()}

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        images = (self.level + 0.1 * rng.normal(*self.shape)).clamp(-1, 1)
        return Generated(images, torch.zeros(images[:, 0].shape, dtype=torch.int64))


@pytest.fixture(autouse=True)
def _small_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "evaluate", functools.partial(_pipeline.evaluate, options=TASK))


def run(cohort: Path, out: Path, **changes: Any) -> Path:
    given = {"generators": GENERATORS, "seeds": 2, "images_seen": 16, "batch": 8, "precision": "fp32", **changes}
    return study(cohort, out=out, **given)


@pytest.fixture(scope="module")
def finished(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pipeline, "evaluate", functools.partial(_pipeline.evaluate, options=TASK))
        return run(discs, tmp_path_factory.mktemp("study") / "study")


def rows_of(out: Path, name: str = "rows.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def test_every_generator_runs_with_every_seed(finished: Path) -> None:
    rows = rows_of(finished)
    assert {(row["generator"], row["pipeline_seed"]) for row in rows} == {(g, s) for g in GENERATORS for s in (0, 1)}
    kept = [{key: row[key] for key in Score.__dataclass_fields__} for row in rows]
    assert [Score(**row).to_json() for row in kept] == kept
    assert {row["metric"] for row in rows if row["role"] == "subject"} >= {"frechet", "copies", "dice_volume"}
    subjects = {row["subject"] for row in rows if row["role"] == "subject"}
    assert subjects == {*GENERATORS, "planted copies"}  # how much the search for copies finds
    assert rows_of(finished, "failures.jsonl") == []
    assert (finished / "report.html").exists()
    # The seed reaches every part: two pipelines of one generator are not the same one twice.
    images = [(finished / "synthetic" / f"gaussian-{seed}" / "images.npy").read_bytes() for seed in (0, 1)]
    assert images[0] != images[1]
    copies = [r["value"] for r in rows if (r["generator"], r["metric"], r["role"]) == ("copycat", "copies", "subject")]
    assert max(copies) > 0.5  # a copycat is caught


def test_the_table_holds_the_mean_of_the_rows(finished: Path) -> None:
    lines = json.loads((finished / "table.json").read_text())
    assert lines == table(rows_of(finished))
    line = next(
        line for line in lines
        if (line["generator"], line["role"], line["metric"], line["arm"], line["label"])
        == ("gaussian", "subject", "dice_volume", "synthetic->real", "mean")
    )  # fmt: skip
    values = [
        row["value"] for row in rows_of(finished)
        if (row["generator"], row["role"], row["metric"], row["arm"], row["label"])
        == ("gaussian", "subject", "dice_volume", "synthetic->real", "mean")
    ]  # fmt: skip
    assert (len(values), line["seeds"]) == (2, 2)
    assert line["mean"] == pytest.approx(sum(values) / 2, rel=1e-12)
    assert (finished / "table.md").read_text() == as_markdown(lines)


def test_a_second_call_runs_no_finished_part(
    finished: Path, discs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (finished / name).read_bytes() for name in ("rows.jsonl", "table.json", "table.md", "report.html")}
    (finished / "rows.jsonl").unlink()  # as if it had been killed before the last step
    monkeypatch.setattr("synthcohort.generators.gaussian.Generator.fit", None)
    monkeypatch.setattr("synthcohort.generators.gaussian.Generator.sample", lambda self, condition, rng: 1 / 0)
    monkeypatch.setattr("synthcohort.tasks.segmentation.Task.fit", None)
    run(discs, finished)
    assert {name: (finished / name).read_bytes() for name in before} == before


def test_another_study_in_the_same_folder_is_refused(finished: Path, discs: Path) -> None:
    with pytest.raises(Mismatch, match="seeds=2, now 3"):
        run(discs, finished, seeds=3)


def test_a_run_that_diverges_is_a_result_and_is_tried_again(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("test_compare:Grey", "gaussian")
    out = run(discs, tmp_path / "study", generators=names, seeds=1)
    failures = rows_of(out, "failures.jsonl")
    assert [(row["generator"], row["pipeline_seed"]) for row in failures] == [("test_compare:Grey", 0)]
    assert "diverged: the level loss is inf" in failures[0]["reason"]
    assert {row["generator"] for row in rows_of(out)} == {"gaussian"}  # the others go on
    assert {line["generator"] for line in json.loads((out / "table.json").read_text())} == {"gaussian"}

    monkeypatch.setattr(Grey, "sick", False)
    run(discs, out, generators=names, seeds=1)
    assert rows_of(out, "failures.jsonl") == []
    assert {row["generator"] for row in rows_of(out)} == set(names)


def test_a_study_of_nothing_but_failures_has_no_report(discs: Path, tmp_path: Path) -> None:
    out = run(discs, tmp_path / "study", generators=["test_compare:Grey"], seeds=1)
    assert len(rows_of(out, "failures.jsonl")) == 1
    assert json.loads((out / "table.json").read_text()) == []
    assert not (out / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": ()}, "at least one generator"),
        ({"seeds": 0}, "at least one generator and one seed"),
        ({"options": ["codee=3"]}, "'codee'"),
        ({"options": ["components=many"]}, "takes int"),
    ],
)
def test_what_cannot_be_trains_nothing(discs: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        run(discs, tmp_path / "study", **changes)
    assert not (tmp_path / "study").exists()


# The arithmetic of the table.


def row(value: float | None, **changes: Any) -> dict[str, Any]:
    given = {
        "generator": "g", "role": "subject", "metric": "kid", "arm": "image", "label": "", "extractor": "task",
        "subject": "g", "value": value, "status": "ok",
    }  # fmt: skip
    return {**given, **changes}


def test_mean_spread_and_t_interval_by_hand() -> None:
    (line,) = table([row(1.0), row(2.0), row(6.0)])
    # Mean 3, sd sqrt((4 + 1 + 9) / 2) = 2.645751; t(0.975, 2) = 4.302653; half = 4.302653 * 2.645751 / sqrt(3).
    assert (line["mean"], line["seeds"]) == (3.0, 3)
    assert line["sd"] == pytest.approx(2.6457513, abs=1e-7)
    assert line["low"] == pytest.approx(3 - 6.572418, abs=1e-5)
    assert line["high"] == pytest.approx(3 + 6.572418, abs=1e-5)


def test_one_seed_has_no_interval_and_what_is_not_estimable_does_not_count() -> None:
    (line,) = table([row(2.0), row(None, status="not_estimable"), row(9.0, status="not_estimable")])
    assert (line["mean"], line["sd"], line["low"], line["high"], line["seeds"]) == (2.0, None, None, None, 1)
    assert table([row(None, status="not_estimable")]) == []


def test_two_pipelines_have_a_spread_and_no_interval() -> None:
    (line,) = table([row(1.0), row(2.0)])
    assert (line["low"], line["high"]) == (None, None)
    assert line["sd"] == pytest.approx(0.5**0.5)


def test_folds_that_share_training_images_have_a_wider_interval() -> None:
    rows = [row(1.0), row(2.0), row(6.0)]
    (alone,), (folds,) = table(rows), table(rows, "folds", overlap=0.5)
    # Nadeau and Bengio: 1/3 becomes 1/3 + 1/2.
    assert folds["high"] - folds["mean"] == pytest.approx((alone["high"] - alone["mean"]) * (2.5) ** 0.5)


@pytest.mark.parametrize("field", ["generator", "role", "metric", "arm", "label", "extractor", "subject"])
def test_different_things_are_not_averaged(field: str) -> None:
    lines = table([row(1.0), row(3.0, **{field: "other"})])
    assert sorted(line["mean"] for line in lines) == [1.0, 3.0]


def test_the_table_as_markdown() -> None:
    text = as_markdown(table([row(1.0), row(2.0), row(6.0), row(0.12345, metric="copies")]))
    lines = text.splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == 10
    assert lines[2] == "| g | subject | copies | image |  | task | 0.123 |  | 1 |"
    assert lines[3] == "| g | subject | kid | image |  | task | 3.000 | -3.572 to 9.572 | 3 |"
