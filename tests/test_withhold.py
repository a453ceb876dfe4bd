"""Withholding end to end: what is held back, what is left and how it is judged, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthcohort.cli import main
from synthcohort.cohort import Cohort, check_comparable, verify, writing_cohort
from synthcohort.errors import InputError, Mismatch, NotAnEvaluation, UnknownName
from synthcohort.evaluate import evaluate
from synthcohort.statistics import clopper_pearson
from synthcohort.withhold import withhold

COPIED, MADE = 8, 24


def made_of(discs: Path, out: Path, copied: int, made: int) -> Path:
    """Write a synthetic cohort: the first samples are training images, the others new images of the same kind."""
    real = Cohort(discs)
    facts = {**vars(real.facts), "name": out.name, "provenance": "synthetic", "generator": {"generator": "handmade"}}
    train, rng = real.split("train"), np.random.default_rng(9)
    y, x = np.mgrid[:16, :16]
    with writing_cohort(out, type(real.facts)(**facts), {"made": out.name}, key=None) as writer:
        for number in range(copied + made):
            if number < copied:
                image, mask = real.images[train[3 * number]], real.masks[train[3 * number]]
            else:
                row, column, radius = *rng.uniform(5, 11, 2), rng.uniform(2.5, 5)
                mask = (np.hypot(y - row, x - column) < radius).astype(np.uint8)
                noisy = 60 + rng.normal(0, 10, (16, 16)) + 100 * mask
                image = np.clip(noisy, 0, 255).astype(np.uint8)[None]
            ids = dict.fromkeys(("sample_id", "patient_id", "group_id"), f"s{number:08d}")
            writer.append(image, mask, {**ids, "slice_index": 0, "split": "val" if number % 5 == 4 else "train"})
        writer.finish()
    (out / "training.jsonl").write_text('{"images_seen": 10, "loss": 1.0}\n')
    return out


@pytest.fixture(scope="module")
def scored(discs, tmp_path_factory):
    """Return a synthetic cohort with copies and its evaluation in two spaces and of masks."""
    folder = tmp_path_factory.mktemp("withhold")
    cohort = made_of(discs, folder / "flow", COPIED, MADE)
    evaluate(
        discs,
        cohort,
        out=folder / "eval",
        metrics=["nearest", "mask_copies"],
        extractors=["texture"],
        tasks=[],
        seeds=1,
    )
    return folder / "eval", cohort


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_copies_are_held_back_and_the_rest_is_the_same_cohort(scored, tmp_path):
    before = contents(scored[1])
    made = withhold(*scored, out=tmp_path / "left", spaces=["pixels"])
    listed = pd.read_csv(made.list)
    assert list(listed.columns) == ["sample_id", "spaces", "similarity_pixels"]
    assert {f"s{number:08d}" for number in range(COPIED)} <= set(listed["sample_id"])
    assert len(listed) < COPIED + 4  # hardly any false alarm
    original, left = Cohort(scored[1]), made.cohort
    kept = np.flatnonzero(~original.samples["sample_id"].isin(listed["sample_id"]))
    assert (left.images == original.images[kept]).all()
    assert (left.masks == original.masks[kept]).all()
    columns = [c for c in original.samples if c != "digest"]
    assert left.samples[columns].equals(original.samples[columns].iloc[kept].reset_index(drop=True))
    assert (left.samples["digest"].to_numpy() == original.samples["digest"].to_numpy()[kept]).all()
    assert verify(left.path) == []
    check_comparable(original, left)
    assert sum(split["images"] for split in left.counts().values()) == len(kept)
    assert left.facts.history[-1]["kind"] == "withhold"
    assert left.facts.history[-1]["withheld"] == len(listed)
    assert (left.path / "training.jsonl").read_bytes() == before["training.jsonl"]
    assert contents(scored[1]) == before


def test_the_second_audit_is_in_other_spaces(scored, tmp_path):
    audits = withhold(*scored, out=tmp_path / "left", spaces=["pixels", "masks"]).audits
    assert set(audits["first"]) == {"pixels", "masks"}
    assert "texture" not in audits["second"]  # texture does not tell copies
    assert audits["second_reason"].startswith("not estimable: every space was used")
    audits = withhold(*scored, out=tmp_path / "by masks", spaces=["masks"]).audits
    assert set(audits["second"]) == {"pixels"}
    first = {row["metric"]: row for row in audits["first"]["masks"]}
    rows = {
        score["metric"]: score
        for score in map(json.loads, (scored[0] / "scores.jsonl").read_text().splitlines())
        if score["role"] == "subject" and score["extractor"] == "masks"
    }
    for name in ("mask_copies_excess", "mask_copies_bound"):  # the first audit is that of the evaluation
        assert (first[name]["value"], first[name]["high"]) == (rows[name]["value"], rows[name]["high"])


def test_what_is_left_is_judged_by_what_the_withholding_let_through(scored, tmp_path):
    audits = withhold(*scored, out=tmp_path / "left", spaces=["masks"]).audits
    second = {row["metric"]: row for row in audits["second"]["pixels"]}
    known = pd.read_parquet(scored[0] / "audited.parquet")
    through = known[~known["copy_masks"].fillna(False).astype(bool)]
    planted = through[through["set"] != "holdout"]
    least = clopper_pearson(int(planted["copy_pixels"].sum()), len(planted)).low
    assert second["copies_bound"]["value"] == pytest.approx(min(1.0, second["copies_excess"]["high"] / least))
    left = next(row for row in audits["first"]["masks"] if row["metric"] == "mask_copies_left")
    bound = next(row for row in audits["first"]["masks"] if row["metric"] == "mask_copies_bound")
    assert 0 < left["value"] <= bound["value"] * len(Cohort(scored[1])) / audits["kept"]


def test_nothing_real_is_named(scored, tmp_path, capsys):
    assert main(["withhold", str(scored[0]), str(scored[1]), "--out", str(tmp_path / "left")]) == 0
    said = capsys.readouterr().out
    assert "First audit, before withholding" in said
    assert "Second audit, of what is left, by other spaces:\n  not estimable: every space was used" in said
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" in (scored[0] / "samples.parquet").read_bytes()
    assert b"secret" not in written
    assert b"secret" not in (scored[0] / "audited.parquet").read_bytes()
    assert "secret" not in said


def test_the_same_call_again_returns_what_is_there(scored, tmp_path):
    first = withhold(*scored, out=tmp_path / "left")
    before = contents(tmp_path / "left")
    first.list.unlink()
    again = withhold(*scored, out=tmp_path / "left")
    assert contents(tmp_path / "left") == before
    assert again.audits == first.audits
    assert again.list.exists()
    with pytest.raises(Mismatch, match="same command"):
        withhold(*scored, out=tmp_path / "left", spaces=["masks"])


def test_a_killed_process_leaves_no_cohort_and_the_next_one_a_whole_one(scored, tmp_path, monkeypatch):
    whole = withhold(*scored, out=tmp_path / "whole")
    pid = os.fork()
    if pid == 0:
        from synthcohort import cohort

        monkeypatch.setattr(cohort.CohortWriter, "finish", lambda self: os.kill(os.getpid(), signal.SIGKILL))
        withhold(*scored, out=tmp_path / "killed")
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert not (tmp_path / "killed").exists()
    assert withhold(*scored, out=tmp_path / "killed").cohort.identity == whole.cohort.identity
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob("*.partial*"))


def test_another_cohort_or_evaluation_is_refused(scored, discs, tmp_path, capsys):
    other = made_of(discs, tmp_path / "other", 0, 12)
    with pytest.raises(Mismatch, match="did not score other"):
        withhold(scored[0], other, out=tmp_path / "left")
    with pytest.raises(Mismatch, match="is real"):
        withhold(scored[0], discs, out=tmp_path / "left")
    with pytest.raises(NotAnEvaluation):
        withhold(tmp_path / "nothing", scored[1], out=tmp_path / "left")
    with pytest.raises(UnknownName, match="pixels, masks"):
        withhold(*scored, out=tmp_path / "left", spaces=["texture"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "eval.json").write_text('{"fingerprint": "x", "config": {}}')
    with pytest.raises(NotAnEvaluation, match="Evaluate again"):
        withhold(tmp_path / "old", scored[1], out=tmp_path / "left")
    assert main(["withhold", str(scored[0]), str(other), "--out", str(tmp_path / "left")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.glob("left*"))


def test_a_cohort_of_copies_only_is_refused(discs, tmp_path):
    copies = made_of(discs, tmp_path / "copies", 10, 0)
    evaluate(discs, copies, out=tmp_path / "eval", metrics=["nearest"], extractors=[], tasks=[], seeds=1)
    with pytest.raises(InputError, match="every sample is one"):
        withhold(tmp_path / "eval", copies, out=tmp_path / "left")
    assert not list(tmp_path.glob("left*"))


def test_every_role_has_its_rows(scored):
    rows = [json.loads(line) for line in (scored[0] / "scores.jsonl").read_text().splitlines()]
    for name in ("copies", "mask_copies"):
        found = {row["role"]: row for row in rows if row["metric"] == f"{name}_excess"}
        assert set(found) == {"subject", "ceiling", "bad"}
        assert found["bad"]["value"] > 0.5
    gates = {row["role"]: row for row in rows if row["metric"] == "copies_gate"}
    assert gates["bad"]["value"] <= 0.001
    assert gates["bad"]["reason"].startswith("not met")
