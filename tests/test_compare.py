"""`study compare`: every generator with every seed, taken up again, its leaderboard and the arithmetic of its table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from synthcohort import runs
from synthcohort.errors import InputError, Mismatch
from synthcohort.execute.status import status
from synthcohort.nets.generator import Draws, Generator, Streams
from synthcohort.studies import compare
from synthcohort.studies._leaderboard import FILES, leaderboard, write
from synthcohort.studies._pipeline import as_markdown, table
from synthcohort.studies.compare import study
from synthcohort.types import Batch, Clock, Condition, Generated, Score, Update

TASK = {"width": 2, "images_seen": 32, "batch": 8}
GENERATORS = ("gaussian", "copycat")


class Grey(Generator):
    """Grey images; its training diverges."""

    def __init__(self, *, shape: Any, labels: Any, mask_classes: Any) -> None:
        super().__init__(shape=shape, labels=labels, mask_classes=mask_classes)
        self.level = nn.Parameter(torch.zeros(()))

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"level": torch.optim.SGD(self.parameters(), lr=0.1)}

    def step(self, batch: Batch, *, clock: Clock, rng: Draws, update: Update) -> dict[str, float | Tensor]:
        loss = (self.level - batch.images.mean()).square() * float("inf")
        update("level", loss)
        return {"level": loss.detach()}

    def sample(self, condition: Condition, rng: Streams) -> Generated:
        images = (self.level + 0.1 * rng.normal(*self.shape)).clamp(-1, 1)
        return Generated(images, torch.zeros(images[:, 0].shape, dtype=torch.int64))


def run(cohort: Path, out: Path, **changes: Any) -> Path:
    given = {"generators": GENERATORS, "seeds": 2, "images_seen": 16, "batch": 8, "precision": "fp32", **changes}
    return study(cohort, out=out, device="cpu", task_options=TASK, **given)


@pytest.fixture(scope="module")
def finished(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    images = [path.read_bytes() for path in sorted((finished / "results").glob("sample-*/cohort/images.npy"))]
    assert len({*images}) == 4
    copies = [r["value"] for r in rows if (r["generator"], r["metric"], r["role"]) == ("copycat", "copies", "subject")]
    assert max(copies) > 0.5  # a copycat is caught


def test_the_table_holds_the_mean_of_the_rows(finished: Path) -> None:
    lines = json.loads((finished / "table.json").read_text())
    assert lines == [{"cohort": "discs", **line} for line in table(rows_of(finished))]
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


def test_a_second_call_runs_no_finished_job(finished: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("rows.jsonl", "costs.jsonl", "table.json", "table.md", "report.html", *FILES)
    before = {name: (finished / name).read_bytes() for name in names}
    (finished / "rows.jsonl").unlink()  # as if it had been killed before the last step
    monkeypatch.setattr("synthcohort.execute._backend", None)
    run(discs, finished)
    assert {name: (finished / name).read_bytes() for name in before} == before


def test_two_pipelines_of_one_seed_share_their_real_fits(finished: Path) -> None:
    # Per seed: real and Gaussian images once, each generator's own, and the probe's four likewise.
    fits = list((finished / "shared" / "fits").glob("*.safetensors"))
    claims = list((finished / "shared" / "fits" / "claims").iterdir())
    assert len(claims) == len(fits)  # none was made twice
    assert 0 < len(fits) < 2 * 2 * 2 * 3


@pytest.mark.slow
def test_a_killed_study_ends_in_the_same_tables(finished: Path, discs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import test_compare; "
        "test_compare.run(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)"
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    out = tmp_path / "study"

    def killed(jobs: int) -> bool:
        driver = subprocess.Popen([sys.executable, "-c", code, str(discs), str(out)], env=environment)
        while driver.poll() is None:
            if len(list(out.glob("results/*"))) >= jobs:
                driver.kill()
            time.sleep(0.01)
        return driver.returncode < 0

    assert killed(2)
    assert killed(9)
    run(discs, out)
    for name in ("table.json", "table.md", "leaderboard.json", "leaderboard.md"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    claims = [path.read_text().split("\n") for path in (out / "claims").iterdir()]
    assert sum('"done"' in text[2] for text in claims if len(text) > 3) == 12  # each job once


def test_status_counts_the_jobs(finished: Path) -> None:
    found = status(finished)
    assert found["jobs"] == {"done": 12, "diverged": 0, "running": 0, "failed": 0, "waiting": 0}
    assert (found["running"], found["seconds_left"]) == ([], 0.0)
    with pytest.raises(Mismatch, match=r"graph\.json"):
        status(finished.parent)


def test_another_study_in_the_same_folder_is_refused(finished: Path, discs: Path) -> None:
    with pytest.raises(Mismatch, match="seeds=2, now 3"):
        run(discs, finished, seeds=3)


def test_a_run_that_diverges_is_a_result(discs: Path, tmp_path: Path) -> None:
    out = run(discs, tmp_path / "study", generators=["test_compare:Grey"], seeds=1)
    (failure,) = rows_of(out, "failures.jsonl")
    assert (failure["generator"], failure["pipeline_seed"], failure["status"]) == ("test_compare:Grey", 0, "diverged")
    assert "diverged: the level loss is inf" in failure["reason"]
    assert json.loads((out / "table.json").read_text()) == []
    assert not (out / "report.html").exists()


def test_cohorts_from_elsewhere_stand_beside_generators(finished: Path, discs: Path, tmp_path: Path) -> None:
    made = next((finished / "results").glob("sample-*/cohort"))
    out = run(discs, tmp_path / "study", generators=(), cohorts_from={"mine": made}, seeds=1)
    assert {row["generator"] for row in rows_of(out)} == {"mine"}
    assert [path.name.split("-")[0] for path in (out / "results").iterdir()] == ["evaluate"]


def test_the_plan_runs_nothing(discs: Path) -> None:
    found = compare.jobs(discs, ["gaussian", "dcgan"], {}, seeds=3, images_seen=640, batch=64)
    kinds = [job.kind for job in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {"train": 6, "sample": 6, "evaluate": 6}
    assert str(discs) not in "".join(runs.canonical_json(job.arguments) for job in found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": ()}, "at least one generator"),
        ({"seeds": 0}, "at least one generator and one seed"),
        ({"options": ["codee=3"]}, "'codee'"),
        ({"options": ["components=many"]}, "takes int"),
        ({"generators": ["gausian"]}, "Did you mean 'gaussian'"),
        ({"primary": "auc"}, "'auc'"),
        ({"cohorts_from": {"gaussian": Path()}}, "'gaussian' is a generator, too"),
        ({"cohorts_from": {"mine": Path("nowhere")}}, "'nowhere' is none"),
    ],
)
def test_what_cannot_be_trains_nothing(discs: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
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


# The leaderboard.


def scored(generator: str, seed: int, value: float, **changes: Any) -> dict[str, Any]:
    given = {
        "cohort": "c", "generator": generator, "pipeline_seed": seed, "protocol_sha256": "p", "splits_sha256": "s" * 64,
        "pixels_sha256": "x", "primary": "dice_volume", "margin": 0.02, "comparison_id": "d", "role": "subject",
        "subject": generator, "metric": "dice_volume", "arm": "synthetic->real", "label": "mean", "extractor": "",
        "value": value, "status": "ok",
    }  # fmt: skip
    return {**given, **changes}


def grid(values: Mapping[str, list[float]], **changes: Any) -> list[dict[str, Any]]:
    ceiling = {"role": "ceiling", "arm": "real->real", "subject": "real"}
    return [
        row
        for name, each in values.items()
        for seed, value in enumerate(each)
        for row in (scored(name, seed, value, **changes), scored(name, seed, 0.9, **{**changes, **ceiling}))
    ]


VALUES = {"a": [0.89, 0.895, 0.90, 0.885, 0.89], "b": [0.7, 0.8, 0.75, 0.72, 0.74]}


def content(out: Path) -> Any:
    return json.loads((out / FILES[0]).read_text())


def test_the_leaderboard_by_hand(tmp_path: Path) -> None:
    rows = grid(VALUES)
    copies = {"metric": "copies", "arm": "copies", "label": "", "comparison_id": "k"}
    rows += [scored("a", 0, 0.1, **copies, extractor="pixels"), scored("a", 0, 0.3, **copies, extractor="task-1")]
    rows += [scored("a", 0, 1.0, **copies, subject="planted copies")]
    found = content(write(tmp_path, rows, [], primary="dice_volume", margin=0.02))
    first, second = found["lines"]
    assert (first["generator"], second["generator"]) == ("a", "b")  # the best first
    assert first["primary"]["mean"] == pytest.approx(0.892)
    # Losses .01 .005 0 .015 .01: mean .008, sd .0057009; t(0.975, 4) = 2.776445; half = .0070786.
    assert first["loss"]["mean"] == pytest.approx(0.008)
    assert first["loss"]["high"] == pytest.approx(0.0150786, abs=1e-6)
    assert (first["verdict"], second["verdict"]) == ("not inferior", "not shown")
    assert first["copies"]["mean"] == 0.3  # the space that finds most; planted copies are not the cohort's
    (pair,) = found["pairs"]
    assert (pair["left"], pair["right"], pair["seeds"]) == ("a", "b", 5)
    assert (pair["p"], pair["p_holm"]) == (2 / 2**5, 2 / 2**5)  # all five signs agree: the least there is
    assert "| c | a | 0.892 (" in (tmp_path / FILES[1]).read_text()
    assert (tmp_path / FILES[2]).read_text().startswith("<svg")


def test_four_pairs_show_nothing(tmp_path: Path) -> None:
    found = content(
        write(tmp_path, grid({k: v[:4] for k, v in VALUES.items()}), [], primary="dice_volume", margin=0.02)
    )
    assert found["pairs"][0]["p"] is None
    assert "needs five pairs" in (tmp_path / FILES[1]).read_text()


def test_holm_counts_all_pairs_of_a_cohort(tmp_path: Path) -> None:
    found = content(write(tmp_path, grid({**VALUES, "c": [0.5] * 5}), [], primary="dice_volume", margin=0.02))
    assert [pair["p"] for pair in found["pairs"]] == [0.0625] * 3
    assert [pair["p_holm"] for pair in found["pairs"]] == [0.1875] * 3


def saved(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_two_sites_are_merged_and_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    here, there = grid({"a": VALUES["a"]}), grid({"a": VALUES["b"]}, splits_sha256="t" * 64)
    files = [saved(tmp_path / "1" / "rows.jsonl", here), saved(tmp_path / "2" / "rows.jsonl", there)]
    found = content(leaderboard([*files, files[0]], out=tmp_path / "both"))
    assert [(line["cohort"], line["primary"]["seeds"]) for line in found["lines"]] == [
        ("c (ssssss)", 5),
        ("c (tttttt)", 5),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels_sha256": "y"}, "another pixels_sha256"),
        ({"protocol_sha256": "q"}, "another protocol_sha256"),
        ({"value": 0.1}, "has two"),
    ],
)
def test_what_may_not_be_merged_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    rows = [scored("a", 0, 0.5)]
    files = [saved(tmp_path / "1" / "rows.jsonl", rows), saved(tmp_path / "2" / "rows.jsonl", [{**rows[0], **changes}])]
    with pytest.raises(InputError, match=message):
        leaderboard(files, out=tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows of `study compare`"):
        leaderboard([tmp_path / "nothing"], out=tmp_path / "both")
