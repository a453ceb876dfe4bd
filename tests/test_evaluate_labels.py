"""The labels road of `evaluate`: the train/test matrix by AUC, its gaps, and what cannot be estimated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from synthcohort.cohort import Cohort, writing_cohort
from synthcohort.errors import InputError, Mismatch
from synthcohort.evaluate import _auc, _calibrated, _rows, _sets, _subgroups, _utility, evaluate
from synthcohort.evaluate._subgroups import subgroups
from synthcohort.report import report
from synthcohort.sample import sample
from synthcohort.statistics import auc
from synthcohort.studies.crossvalidate import crossvalidated
from synthcohort.train import train
from synthcohort.types import Score

TASK = {"images_seen": 640, "batch": 16}
FINDINGS = ("large", "bright")


@pytest.fixture(scope="module")
def synthetic(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gaussian")
    run = train(labelled, generator="gaussian", out=folder / "run", options={"components": 8})
    return sample(run, out=folder / "made", like=labelled).path


@pytest.fixture(scope="module")
def scored(labelled: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Score]]:
    out = tmp_path_factory.mktemp("eval") / "eval"
    return out, evaluate(labelled, synthetic, out=out, seeds=2, options=TASK)


def row(scores: list[Score], metric: str, arm: str, label: str = "mean") -> Score:
    found = [s for s in scores if (s.metric, s.arm, s.label) == (metric, arm, label)]
    assert found, (metric, arm, label)
    return found[0]


def altered(source: Path, out: Path, change: Any, **facts: Any) -> Path:
    """Return a copy of a cohort whose table rows went through `change`; rows that become None are left out."""
    cohort = Cohort(source)
    named = {name: getattr(cohort.facts, name) for name in cohort.facts.__dataclass_fields__} | facts
    with writing_cohort(out, type(cohort.facts)(**named), {"kind": "test", "out": out.name}, None) as writer:
        for position in range(len(cohort)):
            table = change(cohort.samples.iloc[position].drop("digest").to_dict())
            if table is not None:
                writer.append(cohort.images[position], None, table)
        writer.finish()
    return out


def test_every_cell_of_the_matrix_has_its_rows(scored: tuple[Path, list[Score]]) -> None:
    _, scores = scored
    families = {
        "train": ("auc", ["synthetic->real", "real->real", "gaussian->real"]),
        "test": ("auc", ["real->synthetic", "real->real", "real->gaussian"]),
        "own": ("auc", ["synthetic->synthetic", "real->reference", "gaussian->gaussian"]),
        "overfit": ("delta_syn", [f"{arm}-real" for arm in
                                  ("synthetic->synthetic", "real->reference", "gaussian->gaussian")]),
    }  # fmt: skip
    for family, (metric, arms) in families.items():
        for label in (*FINDINGS, "mean"):
            rows = [s for s in scores if s.comparison_id == f"{metric}|classification|{family}|{label}"]
            assert [(s.role, s.arm) for s in rows] == list(zip(("subject", "ceiling", "bad"), arms, strict=True))
            assert all(s.status == "ok" and s.low <= s.value <= s.high for s in rows)
    assert {s.subject for s in scores if s.arm == "real->gaussian"} == {_sets.UNCONDITIONAL}
    assert not [s for s in scores if s.metric.startswith("dice")]


def test_differences_are_those_of_the_cells(scored: tuple[Path, list[Score]]) -> None:
    _, scores = scored
    for label in (*FINDINGS, "mean"):
        real, own = (row(scores, "auc", arm, label).value for arm in ("real->real", "synthetic->real"))
        assert row(scores, "auc_gap", "synthetic->real", label).value == pytest.approx(real - own, abs=1e-12)
        ceiling = row(scores, "auc_gap", "real->real", label)
        assert (ceiling.value, ceiling.low, ceiling.high) == (0, 0, 0)
        itself = row(scores, "auc", "synthetic->synthetic", label).value
        assert row(scores, "delta_syn", "synthetic->synthetic-real", label).value == pytest.approx(itself - own)
    means = [row(scores, "auc", "synthetic->real", label).value for label in FINDINGS]
    assert row(scores, "auc", "synthetic->real").value == pytest.approx(np.mean(means))


def test_the_auc_is_that_of_the_stored_predictions(scored: tuple[Path, list[Score]]) -> None:
    out, scores = scored
    table = pd.read_parquet(out / "predictions-classification.parquet")
    assert set(table["arm"]) == {"synthetic->real", "real->real", "gaussian->real"}
    for arm, label in (("real->real", "large"), ("synthetic->real", "bright")):
        values = []
        for _, own in table[table["arm"] == arm].groupby("seed"):
            known = own[own[f"truth.{label}"].notna()]
            values.append(roc_auc_score(known[f"truth.{label}"], known[f"score.{label}"]))
        assert row(scores, "auc", arm, label).value == pytest.approx(np.mean(values), rel=1e-12)
        facts = json.loads((out / "eval.json").read_text())
    assert facts["labels"] == list(FINDINGS)
    assert len(facts["utility_by_seed"]["classification"]["real->real"]) == 2


def test_a_conditional_gaussian_shows_its_labels_and_an_unconditional_one_does_not(
    scored: tuple[Path, list[Score]],
) -> None:
    _, scores = scored
    assert row(scores, "auc", "real->synthetic").low > 0.5
    unconditional = row(scores, "auc", "real->gaussian")
    assert unconditional.low < 0.5 < unconditional.high
    assert row(scores, "auc", "real->real").value > 0.6


def test_counts_of_findings_are_those_of_the_tables(scored: tuple[Path, list[Score]], labelled: Path) -> None:
    counts = json.loads((scored[0] / "eval.json").read_text())["label_counts"]
    samples = Cohort(labelled).samples
    held = samples[(samples["split"] == "test") & samples["label.large"].fillna(False)]
    assert counts["real"]["large"]["test"] == {"images": len(held), "patients": held["patient_id"].nunique()}
    assert "patients" not in counts["synthetic"]["large"]["train"]


def test_the_same_again_from_nothing_gives_the_same_scores(
    scored: tuple[Path, list[Score]], labelled: Path, synthetic: Path, tmp_path: Path
) -> None:
    def plain(scores: list[Score]) -> list[dict[str, Any]]:
        return [{**score.to_json(), "seconds": 0} for score in scores]

    again = evaluate(labelled, synthetic, out=tmp_path / "eval", seeds=2, options=TASK)
    assert plain(again) == plain(scored[1])
    # And from half of the fits, as after a kill.
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for fit in sorted(path for path in (scored[0] / "jobs").iterdir() if path.is_file())[::2]:
        shutil.copy(fit, jobs)
    resumed = evaluate(labelled, synthetic, out=tmp_path / "other", seeds=2, options=TASK, jobs=jobs)
    assert plain(resumed) == plain(scored[1])


def test_a_finding_with_one_class_is_not_estimable_and_out_of_the_mean(
    labelled: Path, synthetic: Path, tmp_path: Path
) -> None:
    never = altered(synthetic, tmp_path / "never", lambda table: {**table, "label.bright": False})
    scores = evaluate(labelled, never, out=tmp_path / "eval", seeds=1, options=TASK, metrics=["auc"], extractors=[])
    missing = row(scores, "auc", "synthetic->real", "bright")
    assert (missing.status, missing.value) == ("not_estimable", None)
    assert missing.reason == "of the training images of the scored cohort none has it"
    large, mean = row(scores, "auc", "synthetic->real", "large"), row(scores, "auc", "synthetic->real")
    assert (mean.value, mean.low, mean.high) == (large.value, large.low, large.high)
    assert row(scores, "auc_gap", "synthetic->real", "bright").status == "not_estimable"
    notes = json.loads((tmp_path / "eval" / "eval.json").read_text())["notes"]
    assert any("over 1 of 2 findings, without bright" in note for note in notes)
    # A cross-validation that reads these leaves it out too.
    table = pd.read_parquet(tmp_path / "eval" / "predictions-classification.parquet")
    assert table["score.bright"].isna().all()
    assert table["score.large"].notna().all()
    lines = crossvalidated([table, table], seed=0)
    assert {line["label"] for line in lines if line["value"] is None} == {"bright"}


def test_without_a_test_split_label_overfitting_is_not_estimable(
    labelled: Path, synthetic: Path, tmp_path: Path
) -> None:
    less = altered(synthetic, tmp_path / "less", lambda table: None if table["split"] == "test" else table)
    scores = evaluate(labelled, less, out=tmp_path / "eval", seeds=1, options=TASK, metrics=["auc"], extractors=[])
    for metric in ("auc", "delta_syn"):
        assert "sample it with --like" in row(scores, metric, "synthetic->synthetic").reason
    assert row(scores, "auc", "synthetic->real").status == "ok"


def test_findings_that_only_one_cohort_has_are_left_out_and_said(
    labelled: Path, synthetic: Path, tmp_path: Path
) -> None:
    def drop(table: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key != "label.bright"}

    fewer = altered(synthetic, tmp_path / "fewer", drop, labels=("large",))
    evaluate(labelled, fewer, out=tmp_path / "eval", seeds=1, options=TASK, metrics=["auc"], extractors=[])
    facts = json.loads((tmp_path / "eval" / "eval.json").read_text())
    assert facts["labels"] == ["large"]
    assert "Findings that the scored cohort does not have: bright." in facts["not_measured"]


def test_a_cohort_that_states_no_finding_is_not_scored_and_the_rest_is(
    labelled: Path, synthetic: Path, tmp_path: Path
) -> None:
    silent = altered(synthetic, tmp_path / "silent", lambda t: {**t, "label.large": None, "label.bright": None})
    scores = evaluate(
        labelled, silent, out=tmp_path / "eval", seeds=1, options=TASK, metrics=["auc", "nearest"], extractors=[]
    )
    assert "states a finding" in row(scores, "auc", "synthetic->real").reason
    assert any(score.metric == "copies" and score.status == "ok" for score in scores)


def test_a_generator_that_was_trained_on_another_split_is_called_out(
    labelled: Path, synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Cohort(synthetic).facts.generator
    assert own is not None
    assert own["cohort"] == Cohort(labelled).identity
    other = altered(synthetic, tmp_path / "other", lambda table: table, generator={**own, "cohort": "f" * 64})
    for made, foreign in ((synthetic, False), (other, True)):
        out = tmp_path / f"eval-{foreign}"
        evaluate(labelled, made, out=out, seeds=1, metrics=["nearest"], extractors=[])
        assert ("trained on another real cohort" in capsys.readouterr().err) is foreign
        page = report([out], out=tmp_path / f"{foreign}.html").read_text()
        assert ("Trained on another cohort" in page) is foreign


def test_draws_are_those_of_redrawn_patients_and_seeds(labelled: Path) -> None:
    rng = np.random.default_rng(0)
    test = _sets.real_sets(Cohort(labelled), FINDINGS).test
    scores = np.where(np.nan_to_num(test.labels) == 1, 0.5, 0.0) + rng.normal(0, 0.5, (3, *test.labels.shape))
    found = _auc.outcome(test, scores, np.array([True, True]), seed=1)
    brute = []
    names = np.unique(test.patients)
    for _ in range(800):
        rows = np.concatenate([np.flatnonzero(test.patients == p) for p in rng.choice(names, len(names))])
        each = []
        for number in rng.integers(3, size=3):
            truth = test.labels[rows, 0]
            each.append(auc(truth, scores[number, rows, 0]))
        brute.append(np.mean(each))
    # The spread of 800 draws has a standard error of 2.5 %, that of 2,000 draws 1.6 %: four of both together.
    assert found.draws[:, 0].std() == pytest.approx(np.std(brute), rel=0.12)
    assert found.values[2] == pytest.approx(found.values[:2].mean())
    mirrored = _auc.outcome(test, -scores, np.array([True, True]), seed=1, mirror=True)
    assert mirrored.values[0] >= 0.5 > _auc.outcome(test, -scores, np.array([True, True]), seed=1).values[0]


def test_cross_validation_averages_the_folds(scored: tuple[Path, list[Score]]) -> None:
    out, scores = scored
    table = pd.read_parquet(out / "predictions-classification.parquet")
    lines = crossvalidated([table, table], seed=0)
    for arm in ("real->real", "synthetic->real"):
        line = next(x for x in lines if (x["arm"], x["metric"], x["label"]) == (arm, "auc", "mean"))
        assert line["value"] == pytest.approx(row(scores, "auc", arm).value)
        assert line["folds"] == 2
        # Twice the patients: the interval is narrower than that of one fold.
        assert line["high"] - line["low"] < row(scores, "auc", arm).high - row(scores, "auc", arm).low
    one_class = table.assign(**{"truth.large": 1.0})
    lines = crossvalidated([table, one_class], seed=0)
    line = next(x for x in lines if (x["arm"], x["metric"], x["label"]) == ("real->real", "auc", "large"))
    assert line["folds"] == 1
    assert line["patients"] == table["patient_id"].nunique()
    assert line["images"] == len(table[(table["arm"] == "real->real") & (table["seed"] == 0)])
    assert line["value"] == pytest.approx(row(scores, "auc", "real->real", "large").value)


def test_a_second_learner_and_what_the_cohort_is_worth(scored: tuple[Path, list[Score]]) -> None:
    out, scores = scored
    real, own = (row(scores, "probe_auc", arm).value for arm in ("real->real", "synthetic->real"))
    assert row(scores, "probe_auc_gap", "synthetic->real").value == pytest.approx(real - own)
    assert real > 0.6  # quantiles of intensity tell the size of a disc and a bright half
    mixed = {s.label: s for s in scores if s.metric == "mix_gain" and s.role == "subject"}
    assert [each.status for each in mixed.values()] == ["ok", "ok", "not_estimable"]  # twice the images are not there
    worth = {s.arm: s for s in scores if s.metric == "real_equivalent_patients"}
    # All real patients are worth themselves: the end of the curve.
    assert (worth["real->real"].value, worth["real->real"].unit) == (44, "patients or more")
    assert 4 <= worth["synthetic->real"].value <= 44
    curve = json.loads((out / "learning_curves.json").read_text())[0]["curve"]
    assert [each["patients"] for each in curve] == [4, 6, 11, 22, 44]
    facts = json.loads((out / "eval.json").read_text())["utility"]
    gap = row(scores, "auc_gap", "synthetic->real")
    assert facts["verdicts"][0]["high"] == gap.high
    assert facts["verdicts"][0]["verdict"] == ("not inferior" if gap.high < 0.02 else "not shown")


def test_an_external_cohort_is_tested_on_only(labelled: Path, synthetic: Path, tmp_path: Path) -> None:
    # As another site: its patients are those of this one; with the same images the numbers have to be near.
    other = altered(labelled, tmp_path / "other", lambda table: table if table["split"] == "test" else None)
    options = {"seeds": 1, "options": TASK, "metrics": ["auc"], "extractors": []}
    scores = evaluate(labelled, synthetic, out=tmp_path / "eval", external=other, **options)
    for metric in ("auc", "auc_gap", "probe_auc", "real_equivalent_patients"):
        label = "" if metric.startswith("real_") else "mean"
        here, there = (row(scores, metric, f"synthetic->{where}", label) for where in ("real", "external"))
        assert there.value == pytest.approx(here.value, abs=1e-9)
        assert there.comparison_id != here.comparison_id
    with pytest.raises(Mismatch, match="the real cohort itself"):
        evaluate(labelled, synthetic, out=tmp_path / "no", external=labelled, **options)
    with pytest.raises(Mismatch, match="external cohort is a real one"):
        evaluate(labelled, synthetic, out=tmp_path / "no", external=synthetic, **options)
    with pytest.raises(InputError, match="quick or full"):
        evaluate(labelled, synthetic, out=tmp_path / "no", utility="deep", **options)


def test_subgroups_by_value_with_small_ones_unsaid() -> None:
    rng = np.random.default_rng(0)
    sex = np.array(["F"] * 200 + ["M"] * 95 + ["X"] * 5)
    table = pd.DataFrame({"attr.sex": sex, "attr.age": np.arange(300) % 90, "attr.burned_in_text": sex == "F"})
    groups = subgroups(table)
    assert list(groups) == ["sex=F", "sex=M", "sex=X", "age=0 to 39", "age=40 to 59", "age=60 to 79", "age=80 and over"]
    assert len(groups["age=80 and over"]) == sum(a >= 80 for a in table["attr.age"])
    names = np.array([f"p{i}" for i in range(300)])
    labels = (rng.random((300, 1)) < 0.5).astype(np.float32)
    on = _sets.ImageSet("t", np.zeros((300, 1, 2, 2), np.uint8), None, labels, names, names, "k")
    assert list(_subgroups.scorable(on, groups))[:2] == ["sex=F", "sex=M"]
    assert "sex=X" not in _subgroups.scorable(on, groups)
    rows = _rows.Rows("s", "", 0, {})
    done = _auc.outcome(on, np.stack([labels * 0.5 + rng.random((300, 1))]), np.array([True]), seed=0)
    arms = {
        arm: _utility.Tested(f"{arm}->real", "subject", arm, 10, 300, {}, 0.0, {"sex=F": done, "sex=M": done})
        for arm in ("synthetic", "real", "gaussian")
    }
    _subgroups.add_gaps(rows, "classification", "train", on, {k: groups[k] for k in list(groups)[:3]}, arms)
    found = {s.label: s for s in rows.scores if s.metric == "subgroup_gap" and s.arm == "synthetic->real"}
    assert (found["sex=X"].status, found["sex=X"].n_real) == ("not_estimable", 0)
    assert found["sex=M"].n_real == 90  # 95, rounded down: 300 - 200 - 95 would give 5 away


def test_thresholds_are_youdens() -> None:
    truth = np.array([[0, 0, 1, 0, 1, 1, np.nan]]).T
    scores = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.05]]).T
    # At .5: sensitivity 2/3, specificity 1; at .3: 1 and 2/3. The first best one is taken.
    assert _calibrated.best_thresholds(truth, scores) == pytest.approx([0.3])
    assert np.isnan(_calibrated.best_thresholds(np.ones((3, 1)), np.ones((3, 1)))).all()
