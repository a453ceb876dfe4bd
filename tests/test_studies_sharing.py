"""The data-sharing study: what is said of made-up pipelines, refusals, and a whole one in miniature."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from synthcohort.errors import BadOption, InputError, UnknownName
from synthcohort.runs import derive_seed
from synthcohort.studies import _sharing_jobs, _sharing_page, data_sharing
from synthcohort.studies._plan import Plan
from synthcohort.studies._sharing_findings import findings
from synthcohort.studies._sharing_jobs import PRESETS
from synthcohort.studies._sharing_rows import ends_table, settings_table
from synthcohort.studies._verdicts import SMOKE, by_interval, silenced, together, within


def pipelines(seeds: int, *, worse: float = 0.1, overfit: float = 0.2, copies: float = 0.0) -> list[dict[str, Any]]:
    """Rows of the three axes: more classes lose `worse` more, few samples have `overfit` more delta-syn."""
    rng, rows = np.random.default_rng(0), []
    ends = {"classes": (20, 2), "samples": (5950, 200), "resolution": (128, 32)}
    for axis, (most, least) in ends.items():
        for generator, extra in (("cpdgan", 0.0), ("proggan", 0.05)):
            for number in (most, least):
                for seed in range(seeds):
                    noise = rng.normal(0, 0.004, 4)
                    gap = 0.05 + extra + worse * (number == most) + noise[0]
                    delta = 0.02 + overfit * (axis == "samples" and number == least) + noise[1]
                    delta += 0.05 * (axis == "classes" and number == most)
                    far = 0.5 * (number == (least if axis == "samples" else most))
                    rows.append({
                        "point": f"c-{axis}-{number}", "axis": axis, "number": number, "extreme": True, "seed": seed,
                        "generator": generator, "auc_real": 0.9, "auc_syn": 0.9 - gap, "gap": gap, "delta": delta,
                        "distance": 1.0 + far + noise[2], "n": 10_000, "copies": copies, "collapsed": False,
                        "fold": 1,
                        **dict.fromkeys(("auc_real_half", "auc_syn_half", "gap_half", "delta_half"), 0.002),
                        "copies_bound": 0.005 + copies, "copies_gate": 1e-6 if copies else 0.4,
                    })  # fmt: skip
    return rows


def said(rows: list[dict[str, Any]], failures: Any = ()) -> dict[str, str]:
    return {found.key: found.verdict for found in findings(rows, ends_table(rows), failures)}


def test_data_that_show_what_was_published_support_it() -> None:
    verdicts = said(pipelines(6))
    assert {verdicts[key] for key in ("fewer-classes", "few-samples-gap", "label-overfitting", "classes-distance",
            "few-samples-distance", "resolution-gap", "better-model", "always-a-gap", "no-copies",
            "no-collapse")} == {"supports"}  # fmt: skip
    assert verdicts["resolution-auc"] == "contradicts"  # here AUC falls where the gap grows
    assert {verdicts[key] for key in ("readers", "importance")} == {"cannot tell"}


def test_data_that_show_the_opposite_contradict_it() -> None:
    verdicts = said(pipelines(6, worse=-0.03, overfit=-0.2, copies=0.1))
    assert {verdicts[key] for key in ("fewer-classes", "few-samples-gap", "label-overfitting",
                                      "no-copies")} == {"contradicts"}  # fmt: skip
    assert said(pipelines(6), [{"reason": "train: Training diverged: a loss"}])["no-collapse"] == "contradicts"
    assert said(pipelines(6), [{"reason": "train: its worker was killed"}])["no-collapse"] == "supports"


def test_false_alarms_of_the_search_for_copies_say_nothing_against_a_model() -> None:
    rows = [{**row, "copies": 0.008} for row in pipelines(6)]  # as many as held-out patients have
    assert said(rows)["no-copies"] == "supports"
    assert said([{**row, "copies_bound": 0.02} for row in rows])["no-copies"] == "cannot tell"
    # 72 tests at 0.001 each: one of them is no proof that a model copies.
    assert said([{**rows[0], "copies_gate": 0.001}, *rows[1:]])["no-copies"] == "supports"
    assert said([{**rows[0], "copies_gate": 0.0005}, *rows[1:]])["no-copies"] == "contradicts"
    assert said([{**row, "copies_gate": None, "copies_bound": None} for row in rows])["no-copies"] == "cannot tell"


def test_distances_of_unequal_numbers_of_images_are_not_compared() -> None:
    # Val and test of a setting with fewer combinations hold fewer images, and of fewer a distance is larger.
    rows = [{**row, "n": 600 if (row["axis"], row["number"]) == ("classes", 2) else 6000} for row in pipelines(6)]
    line = next(each for each in ends_table(rows) if (each["axis"], each["value"]) == ("classes", "distance"))
    assert line["p_mann_whitney"] is None
    assert line["reason"] == "distances of 600 and 6,000 images have different bias"
    found = {each.key: each for each in findings(rows, ends_table(rows), [])}
    assert found["classes-distance"].verdict == "cannot tell"
    assert "different bias" in found["classes-distance"].evidence
    assert found["few-samples-distance"].verdict == "supports"


def test_what_the_paper_says_of_its_own_model_is_not_judged_by_another() -> None:
    # "... for the cpD-GAN, when moving towards low numbers of samples" (3.3); Figure 3 shows cpdgan alone.
    rows = [{**row, "gap": -row["gap"]} if row["generator"] == "proggan" else row for row in pipelines(6)]
    assert said(rows)["few-samples-gap"] == "supports"
    assert said(rows)["fewer-classes"] == "contradicts"  # said of both models
    assert said([{**row, "generator": "r3gan"} for row in rows if row["generator"] == "proggan"])[
        "few-samples-gap"] == "contradicts"  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_with_fewer_than_five_seeds_nothing_can_be_told(seeds: int) -> None:
    verdicts = said(pipelines(seeds, worse=0.3))
    del verdicts["no-copies"], verdicts["no-collapse"]  # they count pipelines
    assert set(verdicts.values()) == {"cannot tell"}


def test_no_data_tell_nothing_and_the_smoke_preset_never_does() -> None:
    assert set(said([]).values()) == {"cannot tell"}
    rows = pipelines(6)
    quiet = silenced(findings(rows, ends_table(rows), []), "smoke")
    assert {(found.verdict, found.evidence) for found in quiet} == {("cannot tell", SMOKE)}


def test_verdicts_follow_the_interval() -> None:
    assert [by_interval(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))] == [
        "supports", "contradicts", "cannot tell", "cannot tell",
    ]  # fmt: skip
    assert [within(*ends, margin=0.02) for ends in ((-0.01, 0.01), (0.03, 0.05), (0.01, 0.03))] == [
        "supports", "contradicts", "cannot tell",
    ]  # fmt: skip
    assert together(["supports", "cannot tell"]) == "cannot tell"
    assert together(["supports", "contradicts"]) == "contradicts"
    assert together([]) == "cannot tell"


def test_the_alarm_is_raised_where_labels_are_overfitted_and_only_there() -> None:
    table = settings_table(pipelines(6))
    raised = {line["point"] for line in table if line["alarm"] == "yes"}
    assert "c-samples-200" in raised
    assert "c-samples-5950" not in raised
    assert {line["alarm"] for line in settings_table(pipelines(2))} == {"cannot tell"}


def test_parity_holds_for_other_test_patients_too() -> None:
    # Seeds agree to a thousandth, but so few patients were tested that others could lose 0.03.
    rows = [{**row, "gap": 0.001 * row["seed"], "gap_half": 0.03} for row in pipelines(6)]
    assert {line["parity"]["verdict"] for line in settings_table(rows)} == {"not shown"}
    sure = [{**row, "gap_half": 0.005} for row in rows]
    assert {line["parity"]["verdict"] for line in settings_table(sure)} == {"not inferior"}
    line = settings_table(sure)[0]["gap"]
    own = stats.ttest_1samp(np.arange(6) * 0.001, 0).confidence_interval()
    assert line["high"] - line["mean"] == pytest.approx(np.hypot((own.high - own.low) / 2, 0.005))
    folded = [{**row, "fold": 1 + row["seed"] % 3} for row in rows]  # then the spread of seeds holds patients
    line = settings_table(folded)[0]["gap"]
    assert line["high"] - line["mean"] == pytest.approx((own.high - own.low) / 2)
    unknown = [{**row, "gap_half": None} for row in rows]
    assert {line["parity"]["verdict"] for line in settings_table(unknown)} == {"not estimable"}


def test_holm_is_over_the_gaps_of_all_axes_and_generators() -> None:
    lines = [line for line in ends_table(pipelines(6)) if line["value"] == "gap"]
    assert len(lines) == 6
    assert all(line["p_holm"] == pytest.approx(min(6 * 2 / 64, 1)) for line in lines)  # six equal smallest p values


# Refusals.


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"generators": ["cpdgn"]}, UnknownName, "Did you mean 'cpdgan'"),
        ({"generators": ["copycat"]}, InputError, "copycat is told none"),
        ({"preset": "smokey"}, BadOption, "'smokey'"),
        ({"preset": "published"}, InputError, "chexpert or rsna_ich"),
        ({"protocol": "text"}, BadOption, "'text'"),
        ({"axes": ["size"]}, BadOption, "'size'"),
        ({"findings": ["pneumonia"]}, UnknownName, "no 'pneumonia' there"),
        ({"seeds": 0}, BadOption, "at least 1"),
        ({"folds": 3}, BadOption, "3 folds of a cohort that is split"),
        ({"folds": 0}, BadOption, "0 folds"),
        ({"options": ["learning=1"]}, BadOption, "'learning'"),
        ({"extractor": "text"}, UnknownName, "no 'text' there"),
        ({"how": {"device": "cuda:9"}}, BadOption, "'cuda:9'"),
    ],
)
def test_what_cannot_be_starts_nothing(
    labelled: Path, tmp_path: Path, changes: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        data_sharing.study(labelled, out=tmp_path / "study", **changes)
    assert not (tmp_path / "study").exists()


def test_a_plan_starts_nothing_and_counts_every_pipeline(labelled: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"axes": ["samples"], "seeds": 3, "generators": ["cpdgan"]}
    plan = data_sharing.study(labelled, out=tmp_path / "study", plan=True, **given)
    assert isinstance(plan, Plan)
    assert len(plan.jobs) == 3 * len(plan.points)
    assert not (tmp_path / "study").exists()
    assert plan.as_text().splitlines()[0].startswith("name\taxis")


def test_repeats_stop_where_the_first_did_only_under_the_paper_s_protocol() -> None:
    from synthcohort.execute import Job
    from synthcohort.studies._points import published

    points = [point for point in published("brain", "paper") if point.name == "brain-samples-300"]
    cohorts = {point.name: [Job("cohort", "x:y", {"name": point.name})] for point in points}
    # In the released code each training stops by its own distance.
    for protocol, follows in (
        ("paper", [False, True, True, True]),
        ("recommended", [False] * 4),
        ("code", [False] * 4),
    ):
        preset = dataclasses.replace(PRESETS["published"], generators=("cpdgan",))
        wanted = _sharing_jobs.Wanted(preset, protocol, {}, {}, "texture", {}, "exact", "fp32", 0)
        found = _sharing_jobs.pipelines(points, cohorts, wanted)
        assert ["first" in pipeline.train.needs for pipeline in found] == follows
        assert [bool(pipeline.train.arguments["stop"]) for pipeline in found] == [not each for each in follows]
        against = {pipeline.score.arguments["against"] for pipeline in found}
        assert against == {"held-out" if protocol == "recommended" else "train"}


def test_each_generator_has_its_own_ends_and_is_shown_at_128_px_as_well() -> None:
    from synthcohort.execute import Job
    from synthcohort.studies._points import published

    points = published("chest", "paper")
    cohorts = {point.name: [Job("cohort", "x:y", {"name": point.name})] for point in points}
    wanted = _sharing_jobs.Wanted(PRESETS["published"], "paper", {}, {}, "texture", {}, "exact", "fp32", 0)
    found = [each for each in _sharing_jobs.pipelines(points, cohorts, wanted) if each.seed == 0]
    ends = {(each.generator, each.point.number) for each in found
            if each.point.axis == "resolution" and each.point.extreme}  # fmt: skip
    # Only cpdgan was trained above 128 px (3.3): proggan's axis ends there.
    assert ends == {("cpdgan", 32), ("cpdgan", 512), ("proggan", 32), ("proggan", 128)}
    drawn = {(each.generator, each.point.size) for each in found if each.score.arguments["explain"]}
    # Figures 4 to 6 and S2 are of the largest side, Figures 7 and S3 to S5 of 128 px, of both generators.
    assert {("cpdgan", 512), ("cpdgan", 128), ("proggan", 128)} <= drawn
    assert ("cpdgan", 256) not in drawn
    rows = [{"point": each.point.name, "generator": each.generator, "seed": 0, "gap": 0.1} for each in found]
    shown = [(each.generator, each.point.size) for each in _sharing_page._best(found, rows)]
    assert shown == [("cpdgan", 512), ("cpdgan", 128), ("proggan", 128)]


def test_seeds_take_the_folds_in_turn() -> None:
    from synthcohort.execute import Job
    from synthcohort.studies._points import published

    points = published("brain", "paper", axes=["samples"])[:1]
    cohorts = {point.name: [Job("cohort", "x:y", {"fold": fold}) for fold in (1, 2, 3)] for point in points}
    preset = dataclasses.replace(PRESETS["scaled"], generators=("cpdgan", "r3gan"))
    wanted = _sharing_jobs.Wanted(preset, "recommended", {}, {}, "texture", {}, "exact", "fp32", 0)
    found = _sharing_jobs.pipelines(points, cohorts, wanted)
    assert [(pipeline.seed, pipeline.fold) for pipeline in found] == [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2)] * 2
    assert all(pipeline.score.needs["cohort"].arguments == {"fold": pipeline.fold} for pipeline in found)
    assert all(pipeline.train.needs["cohort"].arguments == {"fold": pipeline.fold} for pipeline in found)


# The distance as the study took it, and a whole study in miniature.


def test_the_study_s_distance_repeats_training_images_and_draws_new_noise_for_each_round(
    labelled: Path, tmp_path: Path
) -> None:
    from synthcohort.cohort import Cohort
    from synthcohort.metrics.frechet import frechet_distance
    from synthcohort.sample import sample
    from synthcohort.studies._distance import distance_to_held_out, distance_to_training, opened
    from synthcohort.train import train

    run = train(labelled, generator="gaussian", out=tmp_path / "run", device="cpu")
    made = sample(run, out=tmp_path / "made", like=labelled, labels="exact", seed=0, device="cpu")
    cohort, space = Cohort(labelled), opened("texture", None)
    assert len(cohort.split("train")) == 88
    given: dict[str, Any] = {"extractor": space, "labels": "exact", "device": "cpu"}
    few = distance_to_training(cohort, run, made, tmp_path, n=80, seed=0, **given)
    many = distance_to_training(cohort, run, made, tmp_path, n=300, seed=0, **given)
    assert (few["n"], many["n"], many["against"]) == (80, 300, "train")
    # 80 of 88 are drawn, not the first patients; each beside the sample that carries its labels.
    drawn = np.sort(np.random.default_rng(derive_seed(0, "compared")).permutation(88)[:80])
    seen = [space.extract(each.images[each.split("train")[drawn]], (0.0, 255.0)) for each in (cohort, made)]
    assert few["value"] == pytest.approx(frechet_distance(*seen), rel=1e-9)  # sums in another order of memory
    assert np.isfinite(many["value"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "run"]  # rounds are removed
    held = distance_to_held_out(cohort, made, extractor=space)
    assert (held["n"], held["against"]) == (48, "val and test")


def test_rounds_have_noise_that_no_pipeline_s_own_samples_have(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthcohort.cohort import Cohort
    from synthcohort.sample import sample
    from synthcohort.studies import _distance
    from synthcohort.train import train

    run = train(labelled, generator="gaussian", out=tmp_path / "run", device="cpu")
    made = sample(run, out=tmp_path / "made", like=labelled, labels="exact", seed=1, device="cpu")
    seen: list[bytes] = []
    own = _distance._features

    def features(made: Cohort, *rest: Any) -> Any:
        if made.path != labelled:
            seen.append(made.images[:].tobytes())
        return own(made, *rest)

    monkeypatch.setattr(_distance, "_features", features)
    given: dict[str, Any] = {"extractor": _distance.opened("texture", None), "labels": "exact", "device": "cpu"}
    _distance.distance_to_training(Cohort(labelled), run, made, tmp_path, n=250, seed=1, **given)
    assert len(seen) == len(set(seen)) == 3  # seed 1's second round once was its first one again


@pytest.mark.slow
def test_a_whole_study(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(
        PRESETS["smoke"], generators=("gaussian",), explain=(),
        options={"images_seen": 96, "patience_images": 96, "batch": 16},
    )  # fmt: skip
    monkeypatch.setitem(data_sharing.PRESETS, "smoke", tiny)
    given: dict[str, Any] = {"axes": ["samples"], "preset": "smoke", "out": tmp_path / "study", "how": {"workers": 1}}
    page = data_sharing.study(labelled, **given)
    assert isinstance(page, Path)
    rows = [json.loads(line) for line in (tmp_path / "study" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    real = {(row["point"], row["seed"]): row["auc_real"] for row in rows}
    assert len(set(real.values())) > 1  # never shared across seeds
    assert {row["against"] for row in rows} == {"val and test"}
    verdicts = {found["verdict"] for found in json.loads((tmp_path / "study" / "findings.json").read_text())}
    assert verdicts == {"cannot tell"}
    before = page.read_bytes()
    (tmp_path / "study" / "rows.jsonl").unlink()
    assert data_sharing.study(labelled, **given) == page
    assert page.read_bytes() == before
