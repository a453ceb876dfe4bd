from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from synthcohort.cli import main
from synthcohort.errors import NotAnEvaluation
from synthcohort.gates import digest
from synthcohort.report import SCHEMA_FILE, report, unmet
from synthcohort.report._card import Line, card
from synthcohort.report._card_judge import not_above, over, together, under
from synthcohort.report._compare import compare
from synthcohort.report._read import read_evaluation
from synthcohort.types import Score
from test_gates import DECLARED
from test_report import FORBIDDEN, copies, good_scores, score, text_of, trio, utility, write_eval

FULL = DECLARED + '[task]\nsetting = "full"\n'


def eval_folder(folder: Path, rows: list[Score], text: str | None = FULL, *, seeds: int = 5, **more: Any) -> Path:
    """Write an EVAL with a card file."""
    write_eval(folder, rows, lean=True, **more)
    path = folder / "eval.json"
    facts = json.loads(path.read_text())
    facts["config"] = {"seeds": seeds}
    if text is not None:
        facts["config"]["card"] = digest(text)
        facts["card"] = {"sha256": digest(text), "text": text}
    path.write_text(json.dumps(facts))
    return folder


def lines(tmp_path: Path, rows: list[Score], text: str | None = FULL, **more: Any) -> dict[int, Line]:
    """Return the lines of a card by number."""
    evaluation = read_evaluation(eval_folder(tmp_path / "eval", rows, text, **more))
    found = card(evaluation, compare(evaluation.scores), [evaluation])
    return {line.number: line for line in found.lines}


def gap(value: float | None, **more: Any) -> list[Score]:
    return trio("dice_gap", (value, 0.0, 0.3), **{"label": "mean", "arm": "synthetic->real", "half": 0.01} | more)


def attacked(metric: str, value: float | None, **more: Any) -> list[Score]:
    return trio(metric, (value, 0.0, 0.9), **{"arm": "audit", "half": 0.01} | more)


def copy_audit(
    *, excess: float = 0.0, bound: float = 0.004, found: float = 0.98, least: float = 0.9, half: float = 0.01
) -> list[Score]:
    rows = copies((0.003, 0.005, 0.97), "pixels")
    rows += [score("copies_excess", "subject", excess, arm="copies", unit="share", half=half)]
    rows += [score("copies_bound", "subject", bound, arm="copies", unit="share", half=0.0)]
    for label, value in (("all", found), ("least", least)):
        rows += [score("copy_sensitivity", "subject", value, arm="copies", label=label, unit="share", better="higher")]
    return rows


def test_the_end_of_the_interval_is_judged_and_not_the_value() -> None:
    near = score("x", "subject", 0.045, half=0.01)
    assert under(near, 0.05) == "not_met"
    assert under(near, 0.06) == "met"
    assert under(score("x", "subject", 0.03, half=0.02), 0.05, strict=True) == "not_met"
    assert over(near, 0.04) == "not_met"
    assert over(near, 0.03) == "met"
    assert not_above(near, 0.04) == "met"
    assert not_above(near, 0.03) == "not_met"
    assert under(near, None) == "shown"


def test_what_has_no_value_or_no_interval_is_not_estimable() -> None:
    assert under(None, 0.05) == "not_estimable"
    assert under(score("x", "subject", None), 0.05) == "not_estimable"
    assert under(score("x", "subject", 0.01, low=None, high=None), 0.05) == "not_estimable"


def test_one_figure_that_is_not_met_is_enough_and_not_estimable_is_not_met() -> None:
    assert together(["met", "not_estimable", "not_met"]) == "not_met"
    assert together(["met", "not_estimable", "shown"]) == "not_estimable"
    assert together(["shown", "met"]) == "met"
    assert together([]) == "not_estimable"


@pytest.mark.parametrize(
    ("number", "rows", "status"),
    [
        (1, gap(0.03), "met"),
        (1, gap(0.045), "not_met"),
        (1, gap(None), "not_estimable"),
        (1, [], "not_estimable"),
        (3, [score("mix_gain", "subject", 0.02, half=0.01, better="higher")], "met"),
        (3, [score("mix_gain", "subject", 0.02, half=0.03, better="higher")], "not_met"),
        (4, [*gap(0.03), score("subgroup_gap", "subject", 0.08, half=0.01, label="sex=F")], "met"),
        (4, [*gap(0.03), score("subgroup_gap", "subject", 0.12, half=0.01, label="sex=F")], "not_met"),
        (4, [*gap(0.2), score("subgroup_gap", "subject", 0.3, half=0.01, label="sex=F")], "met"),
        (7, trio("coverage", (0.8, 0.9, 0.1), half=0.02, better="higher", unit="share"), "met"),
        (7, trio("coverage", (0.73, 0.9, 0.1), half=0.02, better="higher", unit="share"), "not_met"),
        (7, trio("coverage", (0.8, 0.9, 0.89), half=0.02, better="higher", unit="share"), "not_estimable"),
        (8, trio("violations", (0.012, 0.01, 0.5), half=0.005, unit="share"), "met"),
        (8, trio("violations", (0.03, 0.01, 0.5), half=0.005, unit="share"), "not_met"),
        (9, copy_audit(), "met"),
        (9, copy_audit(excess=0.05), "not_met"),
        (9, copy_audit(bound=0.02), "not_met"),
        (9, copy_audit(found=0.9), "not_met"),
        (9, copy_audit(least=0.7), "not_met"),
        (9, copies((0.003, 0.005, 0.97), "pixels"), "not_estimable"),
        (10, attacked("membership_tpr", 0.012, unit="share"), "met"),
        (10, attacked("membership_tpr", 0.025, unit="share"), "not_met"),
        (10, attacked("membership_tpr", None, unit="share"), "not_estimable"),
        (12, attacked("reidentification_auc", 0.5), "met"),
        (12, attacked("reidentification_auc", 0.515), "not_met"),
    ],
)
def test_each_line_is_met_not_met_or_not_estimable(tmp_path: Path, number: int, rows: list[Score], status: str) -> None:
    line = lines(tmp_path, rows or [score("kid", "subject", 0.1)])[number]
    assert line.status == status
    assert line.judged
    assert line.said


def test_attacks_that_do_not_apply_are_told_and_one_never_tried_leaves_the_line_open(tmp_path: Path) -> None:
    tried = attacked("singling_out", 0.01, unit="share") + attacked("linkability", 0.02, unit="share")
    none = [score("inference", "subject", None, arm="audit", reason="the cohort has no findings")]
    line = lines(tmp_path / "a", tried + none)[11]
    assert line.status == "met"
    assert "the cohort has no findings" in line.said
    assert lines(tmp_path / "b", tried)[11].status == "not_estimable"
    assert lines(tmp_path / "c", tried + none + attacked("inference", 0.2, label="edema"))[11].status == "not_met"


def labelled(overfit: float, shown: float) -> list[Score]:
    more: dict[str, Any] = {"label": "mean", "half": 0.01}
    rows = trio("delta_syn", (overfit, 0.0, 0.4), arm="synthetic->synthetic-real", family="overfit", **more)
    return rows + trio("auc", (shown, 0.8, 0.5), arm="real->synthetic", better="higher", **more)


def test_labels_must_neither_flatter_nor_mean_nothing(tmp_path: Path) -> None:
    assert lines(tmp_path / "a", labelled(0.02, 0.79))[5].status == "met"
    assert lines(tmp_path / "b", labelled(0.1, 0.79))[5].status == "not_met"
    shuffled = lines(tmp_path / "c", labelled(0.0, 0.5))[5]
    assert shuffled.status == "not_met"
    assert "the labels may mean nothing" in shuffled.said


def test_quick_or_few_learner_seeds_leave_usefulness_open_but_say_what_was_found(tmp_path: Path) -> None:
    for number, (text, seeds) in enumerate(((DECLARED, 5), (FULL, 4))):
        line = lines(tmp_path / str(number), gap(0.2), text, seeds=seeds)[1]
        assert (line.status, line.indication) == ("not_estimable", "not_met")
        assert line.reason.startswith("exploratory")
    assert lines(tmp_path / "full", gap(0.2))[1].status == "not_met"


def test_without_a_card_file_nothing_is_decided_but_the_default_lines_are_told(tmp_path: Path) -> None:
    found = lines(tmp_path, gap(0.2) + copy_audit(), None)
    assert (found[1].status, found[1].indication) == ("not_estimable", "not_met")
    assert (found[9].status, found[9].indication) == ("not_estimable", "met")
    out = report(tmp_path / "eval", out=tmp_path / "out" / "report.html")
    words = text_of(out)
    assert "No release decision can be read from this card" in words
    assert "Not declared: release object, adversary, intended use, who evaluated." in words
    assert main(["report", str(tmp_path / "eval"), "--out", str(out)]) == 0


def test_a_generator_of_another_cohort_is_not_judged_on_use_and_patients(tmp_path: Path) -> None:
    made_by = {"generator": "flow", "cohort": "0" * 64, "options": {}, "seed": 0}
    found = lines(tmp_path, gap(0.01) + copy_audit() + attacked("membership_tpr", 0.011), generator=made_by)
    assert {found[number].status for number in (1, 9, 10)} == {"not_estimable"}
    assert "another real cohort" in found[9].reason


def test_released_weights_must_have_been_attacked(tmp_path: Path) -> None:
    text = FULL.replace('release = "images"', 'release = "images and weights"')
    rows = attacked("membership_tpr", 0.011, unit="share")
    assert lines(tmp_path / "a", rows, text)[10].status == "not_estimable"
    weights = trio("membership_auc", (0.5, 0.5, 0.9), label="loss", extractor="weights", arm="audit")
    assert lines(tmp_path / "b", rows + weights, text)[10].status == "met"


def test_a_line_that_is_waived_is_shown(tmp_path: Path) -> None:
    line = lines(tmp_path, gap(0.2), FULL + "[lines]\nusefulness_loss = false\n")[1]
    assert (line.status, line.judged) == ("shown", False)


def test_stability_needs_several_training_runs_of_one_generator(tmp_path: Path) -> None:
    folders = []
    for seed, loss in enumerate((0.1, 0.2)):
        made_by = {"generator": "flow", "seed": seed, "options": {}}
        folders.append(eval_folder(tmp_path / str(seed), gap(loss), generator=made_by))
    evaluations = [read_evaluation(folder) for folder in folders]
    alone = card(evaluations[0], compare(evaluations[0].scores), evaluations[:1]).lines[14]
    assert alone.status == "not_estimable"
    both = card(evaluations[0], compare(evaluations[0].scores), evaluations).lines[14]
    assert "loss against real images 0.15 ± 0.071" in both.said


def full_rows() -> list[Score]:
    """Return rows that meet every line that is judged."""
    rows = gap(0.01) + trio("coverage", (0.85, 0.9, 0.1), better="higher", unit="share", extractor="texture")
    rows += copy_audit() + trio("violations", (0.01, 0.01, 0.5), half=0.004, unit="share")
    rows += [score("mix_gain", "subject", 0.02, half=0.01), score("subgroup_gap", "subject", 0.02, label="sex=F")]
    rows += attacked("membership_tpr", 0.012, unit="share") + labelled(0.01, 0.79)
    rows += [row for name in ("singling_out", "linkability", "inference") for row in attacked(name, 0.01)]
    return rows + attacked("reidentification_auc", 0.5)


def test_exit_status_says_whether_every_line_was_shown_to_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {"kept": full_rows(), "missed": full_rows() + gap(0.3), "open": full_rows()[3:]}
    expected = {"kept": (0, ""), "missed": (1, "line 1 not met"), "open": (1, "1, 4 not estimable")}
    for name, rows in cases.items():
        folder = eval_folder(tmp_path / name, rows)
        status = main(["report", str(folder), "--out", str(tmp_path / name / "r.html")])
        error = capsys.readouterr().err
        assert status == expected[name][0], name
        assert expected[name][1] in error
        assert len(error.splitlines()) == status
        assert bool(unmet(tmp_path / name / "r.html")) == bool(status)
    assert main(["report", str(tmp_path / "nowhere"), "--out", str(tmp_path / "r.html")]) == 2


def test_lines_changed_after_the_evaluation_are_refused(tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "eval", gap(0.2))
    path = folder / "eval.json"
    facts = json.loads(path.read_text())
    eased = FULL + "[lines]\nusefulness_loss = 0.5\n"
    for stored in ({"sha256": digest(FULL), "text": eased}, {"sha256": digest(eased), "text": eased}, None, "x"):
        path.write_text(json.dumps({**facts, "card": stored}))
        with pytest.raises(NotAnEvaluation, match="were changed afterwards"):
            read_evaluation(folder)
    path.write_text(json.dumps({**facts, "config": {"seeds": 5}}))
    with pytest.raises(NotAnEvaluation, match="were changed afterwards"):
        read_evaluation(folder)


def test_reports_follow_the_published_schema(tmp_path: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    few = [score("kid", "subject", 0.1, n_real=4)]
    for name, (rows, text) in {"full": (full_rows(), FULL), "none": (good_scores(), None), "few": (few, FULL)}.items():
        out = report(eval_folder(tmp_path / name, rows, text), out=tmp_path / f"{name}.html")
        content = json.loads(out.with_suffix(".json").read_text())
        judge.validate(content)
        del content["subjects"][0]["card"]
        assert not judge.is_valid(content)


def test_small_counts_and_hostile_names_do_not_leave(tmp_path: Path) -> None:
    hostile = FULL.replace("teaching", "<script>alert(1)</script> ![x](http://x) | *b*")
    rows = [*full_rows(), score("subgroup_gap", "subject", None, label="age<9", reason="4 patients have it", n_real=4)]
    out = report(eval_folder(tmp_path / "eval", rows, hostile, name="<img src=x>|"), out=tmp_path / "r.html")
    html = out.read_text()
    assert "<script>alert" not in html
    assert "<img src=x>" not in html
    documents = list((tmp_path / "cards").glob("*.md"))
    assert len(documents) == 2
    for text in (path.read_text() for path in documents):
        assert "<script>" not in text
        assert "![x]" not in text
        assert "<img" not in text
        assert "of 7 patients" not in text
        assert "| real | val | of <10 patients | <10 |" in text or "Model card" in text
    assert '"n_real": 4' not in out.with_suffix(".json").read_text()


def test_the_card_comes_first_and_never_gives_a_verdict(tmp_path: Path) -> None:
    bad = full_rows() + gap(0.3) + utility("mean", (0.4, 0.8, 0.3))
    out = report(eval_folder(tmp_path / "eval", bad), out=tmp_path / "r.html")
    words = text_of(out)
    assert words.index("1. Is it useful alone?") < words.index("2-D images only.")
    assert "Not met: 1" in words.replace("\N{NARROW NO-BREAK SPACE}", " ")
    for number in range(1, 17):
        assert f" {number}. " in words
    documents = " ".join(path.read_text() for path in (tmp_path / "cards").glob("*.md"))
    for text in (words, documents, out.with_suffix(".json").read_text()):
        assert not any(word in text.lower() for word in FORBIDDEN)


def test_the_cost_names_the_stages_that_took_longest_first(tmp_path: Path) -> None:
    folder = eval_folder(tmp_path / "eval", good_scores())
    facts = json.loads((folder / "eval.json").read_text())
    spent = {"utility": 1500.0, "rules": 0.4, "copies": 90.0}
    facts["stages"] = {name: {"seconds": seconds, "cpu_seconds": seconds} for name, seconds in spent.items()}
    (folder / "eval.json").write_text(json.dumps(facts))
    evaluation = read_evaluation(folder)
    cost = next(line for line in card(evaluation, compare(evaluation.scores), [evaluation]).lines if line.number == 16)
    assert "(utility 25\N{NARROW NO-BREAK SPACE}min, copies 90\N{NARROW NO-BREAK SPACE}s)." in cost.parts[0].said
