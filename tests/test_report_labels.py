"""The labelled pages of the report card."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthcohort.errors import NotAnEvaluation
from synthcohort.report import report
from synthcohort.report._compare import Comparison, compare, gap_reading
from synthcohort.report._controls import controls
from synthcohort.report._counts import finding_split, openly, sizes, tens
from synthcohort.report._findings import Finding, findings, showing, worst
from synthcohort.report._headline import excess_reading, headline
from synthcohort.report._label_sentences import say_auc, say_overfit, say_shows, say_worst
from synthcohort.report._label_text import caption
from synthcohort.report._read import read_evaluation
from synthcohort.types import Score
from test_report import FORBIDDEN, copies, good_scores, score, text_of, trio, write_eval, write_report

# Finding -> AUC trained on real, on synthetic, on gaussian; AUC on synthetic images of a real classifier; delta_syn.
MEASURED = {
    "Cardiomegaly": (0.88, 0.81, 0.62, 0.93, 0.11),
    "Effusion": (0.86, 0.70, 0.55, 0.84, 0.13),
    "Pleural_Thickening": (0.71, 0.66, 0.51, 0.60, 0.04),
    "Enlarged Cardiomediastinum": (0.74, 0.69, 0.53, 0.52, 0.03),
}
UNSEEN = "Hernia"  # nobody in the test split has it
FINDINGS = [*MEASURED, UNSEEN]
MEAN = (0.80, 0.72, 0.55, 0.72, 0.08)


def arms(
    metric: str, family: str, label: str, rows: Mapping[str, tuple[str, str, float | None]], **more: Any
) -> list[Score]:
    """Return one comparison: role -> (subject, arm, value)."""
    kept = {"family": family, "label": label, "better": "higher", "half": 0.03} | more
    return [score(metric, role, value, subject=who, arm=arm, **kept) for role, (who, arm, value) in rows.items()]


def of_finding(
    label: str, values: tuple[float, float, float, float, float], *, metric: str = "auc", half: float = 0.03
) -> list[Score]:
    """Return the rows of the labels road of one finding, or of their mean."""
    real, synthetic, gaussian, shown, delta = values
    train = {
        "subject": ("flow", "synthetic->real", synthetic),
        "ceiling": ("real", "real->real", real),
        "bad": ("gaussian", "gaussian->real", gaussian),
    }
    gaps = {role: (who, arm, round(real - value, 4)) for role, (who, arm, value) in train.items()}
    test = {
        "subject": ("flow", "real->synthetic", shown),
        "ceiling": ("real", "real->real", real),
        "bad": ("gaussian without labels", "real->gaussian", 0.5),
    }
    own = {
        "subject": ("flow", "synthetic->synthetic", synthetic + delta),
        "ceiling": ("real", "real->reference", real + 0.01),
        "bad": ("gaussian", "gaussian->gaussian", 0.9),
    }
    overfit = {
        "subject": ("flow", "synthetic->synthetic-real", delta),
        "ceiling": ("real", "real->reference-real", 0.01),
        "bad": ("gaussian", "gaussian->gaussian-real", 0.3),
    }
    rows = arms(metric, "train", label, train, half=half)
    gap_rows = arms("auc_gap", "train", label, gaps, better="lower", half=half)
    gap_rows = [dataclasses.replace(row, low=0.0, high=0.0) if row.role == "ceiling" else row for row in gap_rows]
    rows += gap_rows + arms(metric, "test", label, test, half=half) + arms(metric, "own", label, own, half=half)
    return rows + arms("delta_syn", "overfit", label, overfit, better="lower", half=half)


def missing(label: str, reason: str) -> list[Score]:
    """Return the rows of a finding that could not be scored."""
    gone = {"value": None, "low": None, "high": None, "status": "not_estimable", "reason": reason}
    return [dataclasses.replace(row, **gone) for row in of_finding(label, MEAN)]


def label_scores(*, metric: str = "auc", half: float = 0.03) -> list[Score]:
    """Return made-up scores of a cohort with findings: one is not estimable, one does not show."""
    rows = trio("kid", (0.0061, 0.0002, 0.052), extractor="squeezenet-b31c99aa", half=0.0012)
    for number, (label, values) in enumerate(MEASURED.items()):
        rows += of_finding(label, values, metric=metric, half=half)
        more: dict[str, Any] = {"extractor": "squeezenet-b31c99aa", "label": label, "half": 0.002}
        rows += trio("kid", (0.011 + number / 1000, 0.001, 0.07), n_real=37, n_synthetic=43, **more)
    rows += missing(UNSEEN, "of the real test images none has it")
    rows += of_finding("mean", MEAN, metric=metric, half=half)
    return rows + copies((0.003, 0.005, 0.97), "pixels")


COUNTS = {
    "real": {
        "Cardiomegaly": {"train": (412, 41), "val": (40, 5), "test": (88, 13), "reference": (90, 14)},
        "Effusion": {"train": (700, 55), "val": (60, 6), "test": (130, 15), "reference": (120, 15)},
        "Pleural_Thickening": {"train": (90, 22), "val": (9, 3), "test": (44, 11), "reference": (31, 12)},
        "Enlarged Cardiomediastinum": {"train": (37, 12), "val": (0, 0), "test": (23, 6), "reference": (27, 8)},
        UNSEEN: {"train": (3, 2), "val": (0, 0), "test": (0, 0), "reference": (1, 1)},
    },
    "synthetic": {
        "Cardiomegaly": {"train": 300, "val": 75},
        "Effusion": {"train": 261, "val": 63},
        "Pleural_Thickening": {"train": 47, "val": 12},
        "Enlarged Cardiomediastinum": {"train": 38, "val": 6},
        UNSEEN: {"train": 3, "val": 0},
    },
}


def label_counts() -> dict[str, Any]:
    """Return the label_counts of eval.json."""
    real = {
        name: {split: {"images": images, "patients": patients} for split, (images, patients) in splits.items()}
        for name, splits in COUNTS["real"].items()
    }
    made = {
        name: {split: {"images": images} for split, images in splits.items()}
        for name, splits in COUNTS["synthetic"].items()
    }
    return {"real": real, "synthetic": made}


def write_labels(
    folder: Path,
    rows: list[Score] | None = None,
    *,
    lean: bool = False,
    masks: bool = False,
    rule: str = "merged",
    facts: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write an EVAL of a cohort with findings, with masks too where asked for."""
    history = [{"kind": "prepare"}, {"kind": "sample", "labels": {"rule": rule}}] if rule else []
    name = {"name": "flow of chest phantom", "modality": "chest radiograph", "history": history} | more
    evaluation = write_eval(folder, label_scores() if rows is None else rows, lean=lean, **name)
    content = json.loads((evaluation / "eval.json").read_text())
    content["labels"], content["label_counts"] = FINDINGS, label_counts()
    content["utility_by_seed"] = {"classification": {"synthetic->real": [0.71, 0.72, 0.73]}}
    content["mask_classes"] = content["mask_classes"] if masks else []
    content |= facts or {}
    (evaluation / "eval.json").write_text(json.dumps(content))
    if not lean:
        add_labels(evaluation, masks=masks)
    return evaluation


def add_labels(evaluation: Path, *, masks: bool) -> None:
    """Replace the masks of the examples by labels, or add them: none, one, two, four findings and an unknown."""
    with np.load(evaluation / "examples.npz") as file:
        arrays = dict(file)
    if not masks:
        del arrays["masks"]
    patterns = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, np.nan], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], np.float32)
    arrays["labels"], arrays["label_names"] = np.tile(patterns, (8, 1)), np.array(FINDINGS)
    np.savez(evaluation / "examples.npz", **arrays)


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return page and report.json of the made-up labels; only to be read."""
    folder = tmp_path_factory.mktemp("labels")
    return write_report(folder, write_labels(folder / "a"))


def test_the_first_page_answers_by_auc(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    words = text_of(page)
    assert "A classifier trained on these images alone reached a mean AUC of 0.72 on real test patients" in words
    assert "trained on real images it reached 0.80, so it lost 0.08 (0.05 to 0.11)" in words
    assert "That is measurably below real images and measurably above the bad case." in words
    assert "Do the labels hold?" in words
    assert (
        "a mean AUC of 0.72 (on real test patients 0.80; on images drawn without regard to any finding 0.50)" in words
    )
    assert "scores 0.08 AUC more on other synthetic images than on real test patients" in words
    assert "carry their labels in a way that real images do not" in words
    subject = content["subjects"][0]
    head = subject["headline"]
    assert head["synthetic_on_real"] is None
    assert [head[f"auc_{arm}_on_real"]["value"] for arm in ("synthetic", "real", "bad")] == [0.72, 0.80, 0.55]
    assert (head["auc_gap"]["value"], head["auc_reading"]) == (0.08, "between")
    assert (head["auc_real_on_synthetic"]["value"], head["auc_real_on_synthetic_bad"]["value"]) == (0.72, 0.5)
    assert (head["delta_syn"]["value"], head["delta_syn_reading"]) == (0.08, "between")
    assert subject["utility_by_seed"] == {"classification": {"synthetic->real": [0.71, 0.72, 0.73]}}
    assert "Whether the labels hold" not in [m["title"] for m in content["not_measured"]]
    assert "Usefulness for a task" not in [m["title"] for m in content["not_measured"]]
    assert len(content["caveats"]) == 13
    assert [word for word in FORBIDDEN if word in (words + json.dumps(content)).lower()] == []


def test_a_cohort_with_masks_only_hears_nothing_of_labels(tmp_path: Path) -> None:
    page, content = write_report(
        tmp_path, write_eval(tmp_path / "a", lean=True), write_eval(tmp_path / "b", name="x", lean=True)
    )
    words = text_of(page)
    assert [said for said in ("Do the labels hold?", "Findings", "AUC", "Label vectors") if said in words] == []
    assert content["subjects"][0]["findings"] == []
    assert len(content["caveats"]) == 10


def test_masks_and_findings_are_both_served(tmp_path: Path) -> None:
    rows = label_scores() + [row for row in good_scores() if row.metric.startswith("dice")]
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", rows, masks=True))
    words = text_of(page)
    assert re.search(r"Is it useful on its own\? Structures A segmentation network .* reached a Dice of 0\.68", words)
    assert "Findings A classifier trained on these images alone reached a mean AUC of 0.72" in words
    assert "Those of Dice and AUC redraw learner seeds" in words
    head = content["subjects"][0]["headline"]
    assert (head["synthetic_on_real"]["value"], head["auc_synthetic_on_real"]["value"]) == (0.683, 0.72)
    names = {name.rsplit("-", 1)[1] for name in content["figures"]}
    assert {"utility.svg", "findings.svg"} <= names
    audits = [(c["audit"], c["metric"]) for c in content["controls"]]
    assert audits.count(("utility", "dice_volume")) == audits.count(("utility", "auc_gap")) == 1


def pair(values: tuple[float, float, float], half: float, gaps: tuple[float, float], gap_half: float) -> Any:
    """Return the comparison of AUC and that of its gap: subject, ceiling and bad case."""
    (found,) = compare(trio("auc", values, better="higher", half=half, arm="synthetic->real", label="mean"))
    rows = trio("auc_gap", (gaps[0], 0.0, gaps[1]), half=gap_half, arm="synthetic->real", label="mean")
    rows[1] = dataclasses.replace(rows[1], low=0.0, high=0.0)
    (gap,) = compare(rows)
    return found, gap


GAP_CASES = [
    # AUC overlaps, the paired gap does not hold 0.
    (((0.74, 0.80, 0.5), 0.05, (0.06, 0.3), 0.02), "within", "between"),
    # AUC of real images and the bad case overlap, their paired gap does not hold 0.
    (((0.62, 0.68, 0.6), 0.06, (0.06, 0.12), 0.02), "blind", "between"),
    (((0.67, 0.68, 0.6), 0.06, (0.01, 0.08), 0.02), "blind", "within"),
    (((0.67, 0.68, 0.6), 0.06, (0.01, 0.08), 0.1), "blind", "blind"),
    (((0.50, 0.80, 0.5), 0.03, (0.3, 0.3), 0.02), "bad", "bad"),
    (((0.84, 0.80, 0.5), 0.05, (-0.04, 0.3), 0.02), "within", "beyond"),
]


@pytest.mark.parametrize(("made", "own", "decided"), GAP_CASES)
def test_the_paired_gap_decides(made: Any, own: str, decided: str) -> None:
    found, gap = pair(*made)
    assert found.reading == own
    assert gap_reading(found, gap) == decided
    assert gap_reading(found, None) == own
    bare = dataclasses.replace(gap, subject=dataclasses.replace(gap.subject, low=None, high=None))
    assert gap_reading(found, bare) == own


def test_a_gain_is_said_as_a_gain_and_a_loss_that_was_not_shown_as_open() -> None:
    gain, gap = pair((0.84, 0.80, 0.5), 0.05, (-0.04, 0.3), 0.02)
    assert "so it gained 0.04 (0.02 to 0.06). That is above the classifier" in say_auc(gain, gap, [])
    even, gap = pair((0.79, 0.80, 0.5), 0.02, (0.01, 0.3), 0.02)
    assert "no loss was shown, which is not the same as no loss" in say_auc(even, gap, [])
    assert say_auc(None, None, []).startswith("Not measured")


def finding_of(auc: Comparison) -> Finding:
    return Finding("Edema", real={}, synthetic={}, images=0, auc=auc, gap=None, shows=None, overfit=None, kid=None)


def test_findings_that_the_mean_does_not_hold_are_named() -> None:
    found, gap = pair((0.79, 0.80, 0.5), 0.02, (0.01, 0.3), 0.02)
    scored = finding_of(found)
    lost = [dataclasses.replace(scored, name=name, auc=None) for name in ("Mass", "Nodule")]
    assert "The mean is over 1 of 3 findings, without Mass and Nodule." in say_auc(found, gap, [scored, *lost])
    assert "The mean is over" not in say_auc(found, gap, [scored])


SHOWING_CASES = [
    ("auc", (0.82, 0.84, 0.5), "yes", "shows about as well as in real images"),
    ("auc", (0.97, 0.84, 0.5), "yes", "more plainly than in real images"),
    ("auc", (0.70, 0.84, 0.5), "weakly", "measurably less than in real images"),
    ("auc", (0.52, 0.84, 0.5), "no", "cannot be told from chance"),
    ("auc", (0.40, 0.84, 0.5), "reversed", "the wrong way round"),
    ("auc", (0.82, 0.52, 0.5), "unseen", "nothing can be concluded"),
    ("auc", (None, 0.84, 0.5), "not_estimable", "Not estimable: too few"),
    # 0.58 is above 0.5, but mirrored noise reaches 0.60.
    ("auc_mirrored", (0.58, 0.84, 0.57), "no", "flatters"),
    ("auc_mirrored", (0.82, 0.84, 0.57), "yes", "flatters"),
    ("auc_mirrored", (0.82, 0.84, None), "open", "cannot be read"),
]


@pytest.mark.parametrize(("metric", "values", "expected", "said"), SHOWING_CASES)
def test_whether_a_finding_shows(
    metric: str, values: tuple[float | None, float, float | None], expected: str, said: str
) -> None:
    rows = trio(metric, values, better="higher", half=0.03, label="mean", arm="real->synthetic")
    rows[0] = dataclasses.replace(rows[0], reason="too few" if values[0] is None else "")
    (found,) = compare(rows)
    assert showing(found) == expected
    assert said in say_shows(found)


def test_without_an_interval_a_finding_is_not_said_to_show() -> None:
    (found,) = compare(trio("auc", (0.9, 0.9, 0.5), better="higher", arm="real->synthetic", label="Effusion"))
    assert showing(found) == "yes"
    bare = dataclasses.replace(found, subject=dataclasses.replace(found.subject, low=None, high=None))
    assert showing(bare) == "open"


def test_label_overfitting_stands_also_where_the_bad_case_shows_none() -> None:
    (found,) = compare(trio("delta_syn", (0.12, 0.01, 0.02), half=0.03, label="mean"))
    assert found.reading == "blind"
    assert excess_reading(found) == "between"
    assert "in a way that real images do not" in say_overfit(found)
    (found,) = compare(trio("delta_syn", (0.02, 0.01, 0.02), half=0.03, label="mean"))
    assert excess_reading(found) == "blind"
    assert "it is not known whether this test would notice anything" in say_overfit(found)
    (found,) = compare(trio("delta_syn", (0.02, 0.01, 0.3), half=0.03, label="mean"))
    assert "No label overfitting was shown. Images that carry no label at all also score about 0" in say_overfit(found)
    (found,) = compare(trio("delta_syn", (-0.02, 0.01, 0.3), half=0.03, label="mean"))
    assert "scores 0.02 AUC less on other synthetic images" in say_overfit(found)


def rows_of_findings(page: Path) -> dict[str, list[str]]:
    """Return finding -> the words of its cells."""
    body = page.read_text(encoding="utf-8")
    table = re.search(r'<table class="stack findings">.*?</table>', body, re.DOTALL)
    assert table is not None
    rows = re.findall(r'<tr class="[^"]*">\s*(<th scope="row">.*?)</tr>', table.group(), re.DOTALL)
    cells = [re.split(r"</t[hd]>", row)[:-1] for row in rows]
    words = [[re.sub(r"<[^>]*>|\s", " ", cell).split() for cell in row] for row in cells]
    return {" ".join(row[0]): [" ".join(cell).replace("&lt;", "<") for cell in row[1:]] for row in words}


def test_there_is_one_row_for_each_finding(standard: tuple[Path, dict[str, Any]]) -> None:
    rows = rows_of_findings(standard[0])
    assert list(rows) == ["Cardiomegaly", "Effusion", "Pleural Thickening", "Enlarged Cardiomediastinum rare",
                          "Hernia rare", "Mean"]  # fmt: skip
    assert rows["Effusion"][3:6] == ["0.86 0.83 to 0.89", "0.70 0.67 to 0.73", "0.16 0.13 to 0.19"]
    assert rows["Effusion"][6:] == [
        "yes AUC 0.84 0.81 to 0.87",
        "0.13 0.10 to 0.16 ceiling 0.01",
        "0.012 ceiling 0.001",
    ]
    assert rows["Pleural Thickening"][6].startswith("weakly")
    assert rows["Enlarged Cardiomediastinum rare"][6].startswith("not shown")
    assert set(rows["Hernia rare"][3:]) <= {"\N{EM DASH}", "\N{EN DASH}"}
    assert rows["Mean"][:3] == ["", "", ""]
    words = text_of(standard[0])
    assert "Not estimable: of the real test images none has it" in words
    assert "Served worst is Effusion: the AUC on real patients is 0.16 lower (0.13 to 0.19)" in words
    assert "A loss was shown for 3 others." in words
    assert "Asked for, but not shown to appear above chance: Enlarged Cardiomediastinum." in words
    assert "Enlarged Cardiomediastinum and Hernia are rare" in words


def test_the_worst_finding_is_the_largest_loss_that_was_shown(tmp_path: Path) -> None:
    rows = label_scores()
    for place, row in enumerate(rows):
        if row.metric == "auc_gap" and row.role == "subject" and row.label == "Effusion":
            rows[place] = dataclasses.replace(row, value=0.3, low=-0.01, high=0.6)
    evaluation = read_evaluation(write_labels(tmp_path / "a", rows, lean=True))
    found = findings(evaluation, compare(evaluation.scores))
    assert worst(found).name == "Cardiomegaly"  # type: ignore[union-attr]
    assert say_worst([each for each in found if each.name == "Effusion"]).startswith("For none of the 1 findings")
    assert "could not be estimated" in say_worst([each for each in found if each.name == UNSEEN])


# (images, patients) with it, (images, patients) of the split -> what is shown.
SPLIT_CASES = [
    ((412, 41), (1200, 60), (412, 41)),
    ((9, 3), (304, 15), ("<10", "<10")),
    ((40, 9), (304, 15), ("<10", "<10")),
    ((0, 0), (304, 15), (0, 0)),
    ((88, 13), (304, 15), ("all but <10", "all but <10")),
    ((20, 15), (24, 15), ("all but <10", 15)),
    ((304, 15), (304, 15), (304, 15)),
    ((60, 10), (304, 20), (60, 10)),
    ((60, 11), (304, 20), ("all but <10", "all but <10")),
    ((0, 0), (148, 7), ("<10", "<10")),
]


@pytest.mark.parametrize(("having", "split", "shown"), SPLIT_CASES)
def test_counts_of_a_finding_by_hand(having: Any, split: Any, shown: Any) -> None:
    keys = ("images", "patients")
    found = finding_split(dict(zip(keys, having, strict=True)), dict(zip(keys, split, strict=True)))
    assert (found["images"], found["patients"]) == shown


def test_small_counts_of_findings_do_not_leave(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    shown = {f["finding"]: f for f in content["subjects"][0]["findings"]}
    few, most = {"images": "<10", "patients": "<10"}, {"images": "all but <10", "patients": "all but <10"}
    assert shown["Cardiomegaly"]["real"] == {
        "train": {"images": 412, "patients": 41}, "val": few, "test": most, "reference": most
    }  # fmt: skip
    assert shown["Effusion"]["real"]["train"] == most
    assert shown["Effusion"]["real"]["test"] == {"images": 130, "patients": 15}
    assert shown[UNSEEN]["real"] == {
        "train": few, "val": few, "test": {"images": 0, "patients": 0}, "reference": few
    }  # fmt: skip
    # A cohort that mirrors a real one repeats its counts: with them it gives the hidden ones away.
    assert shown["Pleural_Thickening"]["synthetic"] == {"train": "40+", "val": "10+"}
    assert shown[UNSEEN]["synthetic"] == {"train": "<10", "val": 0}
    assert rows_of_findings(page)["Hernia rare"][:3] == ["<10 patients", "none", "<10"]
    assert rows_of_findings(page)["Cardiomegaly"][:3] == ["412 41 patients", "all but <10 patients", "370+"]
    everything = text_of(page) + json.dumps(content["subjects"][0]["findings"])
    assert not re.search(r"\b(88|700|375|324|13|55) (images|patients)|\b375\b|\b324\b|\b700\b", everything)


def test_synthetic_counts_are_exact_where_no_real_count_is_hidden(tmp_path: Path) -> None:
    counts = label_counts()
    counts["real"]["Effusion"] = {"train": {"images": 400, "patients": 30}, "test": {"images": 304, "patients": 15}}
    facts = {"label_counts": counts}
    _, content = write_report(tmp_path, write_labels(tmp_path / "a", lean=True, facts=facts))
    (effusion,) = [f for f in content["subjects"][0]["findings"] if f["finding"] == "Effusion"]
    assert effusion["synthetic"] == {"train": 261, "val": 63}


def test_numbers_of_images_with_a_finding_are_rounded(standard: tuple[Path, dict[str, Any]]) -> None:
    _, content = standard
    scores = content["subjects"][0]["scores"]
    kid = {s["label"]: (s["n_synthetic"], s["n_real"]) for s in scores if s["metric"] == "kid"}
    assert kid[""] == (640, 212)
    assert kid["Effusion"] == ("40+", "30+")
    assert kid["Enlarged Cardiomediastinum"] == ("40+", "<10")  # 6 test patients have it
    auc = {s["label"]: (s["n_synthetic"], s["n_real"]) for s in scores if s["metric"] == "auc"}
    assert (auc["mean"], auc["Effusion"]) == ((640, 212), (640, "210+"))
    row = score("kid", "subject", 0.1, label="Effusion", n_real=7, n_synthetic=9)
    assert sizes(row, {"Effusion": False}) == ("<10", "<10")
    assert [tens(n) for n in (0, 1, 9, 10, 19, 20)] == [0, "<10", "<10", "10+", "10+", "20+"]


def test_reasons_of_a_finding_hide_small_counts(tmp_path: Path) -> None:
    rows = label_scores()
    rows += missing("Effusion", "only 4 positive images of 3 patients")
    notes = {"notes": ["Hernia has 2 images in training."]}
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", rows, lean=True, facts=notes))
    everything = text_of(page) + json.dumps(content)
    assert "only <10 positive images of <10 patients" in everything
    assert "Hernia has <10 images in training." in everything
    assert not re.search(r"\b4 positive|\b2 images", everything)
    assert openly("2 images of 12 patients") == "2 images of 12 patients"
    assert openly("fewer than 20 images of one side have it", images=True).startswith("fewer than 20 images")


def test_distances_by_finding_do_not_speak_for_the_cohort(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    head = content["subjects"][0]["headline"]
    assert (head["realism"]["value"], head["realism"]["label"]) == (0.0061, "")
    assert "distances give this reading" not in text_of(page)  # there is one, not five
    blind = [row for row in label_scores() if row.metric == "kid" and row.label]
    assert headline(compare(blind)).realism is None


def test_distances_by_finding_are_all_in_the_space_of_the_first_page(tmp_path: Path) -> None:
    rows = label_scores()
    for label in MEASURED:  # in the other space every finding tells, in this one none does
        rows += trio("kid", (0.3, 0.01, 0.9), extractor="task-1f3a2b4c", label=label, half=0.02)
    blind = {"low": -0.1, "high": 0.2}
    rows = [dataclasses.replace(r, **blind) if r.label == "Effusion" and "squeeze" in r.extractor else r for r in rows]
    rows += trio("kid", (0.2, 0.01, 0.9), extractor="task-1f3a2b4c", half=0.02)
    page, _ = write_report(tmp_path, write_labels(tmp_path / "a", rows, lean=True))
    assert rows_of_findings(page)["Effusion"][-1] == "0.012 ceiling 0.001"
    assert "KID, squeezenet" in text_of(page)


def captions_of(page: Path) -> list[tuple[str, str]]:
    """Return title and text of every caption of an example."""
    body = page.read_text(encoding="utf-8")
    return re.findall(r'<img src="data:image/png[^>]*><figcaption(?: title="([^"]*)")?>([^<]*)</figcaption>', body)


def test_examples_name_the_findings_that_were_asked_for(standard: tuple[Path, dict[str, Any]]) -> None:
    found = captions_of(standard[0])
    assert len(found) == 30  # two of 32 are copies
    assert found[0] == ("", "none")
    # Samples 1 and 5 are held back; 2 has two findings, 3 has four, 9 one and one unknown.
    assert found[1] == ("Cardiomegaly, Effusion", "Cardiomegaly, Effusion")
    assert found[2][1] == "Cardiomegaly, Effusion +2"
    assert found[2][0] == "Cardiomegaly, Effusion, Pleural_Thickening, Enlarged Cardiomediastinum"
    assert ("Effusion", "Effusion") in found
    assert caption(["a_b"]) == "a b"


def test_exact_labels_are_flagged_and_not_repeated(tmp_path: Path) -> None:
    exact = write_labels(tmp_path / "a", rule="exact", name="exact flow")
    page, content = write_report(tmp_path, exact)
    words = text_of(page)
    assert "The labels are those of real patients The label vectors of this cohort were copied one for one" in words
    assert words.index("The labels are those of real patients") < words.index("Does it look like")
    assert content["subjects"][0]["label_rule"] == "exact"
    assert captions_of(page) == []
    assert "they are the label vectors of real patients" in words
    inside = report([exact], out=tmp_path / "inside.html", show_real=True)
    assert len(captions_of(inside)) == 32
    both = text_of(report([write_labels(tmp_path / "b", lean=True), exact], out=tmp_path / "both.html"))
    assert "This holds for: exact flow." in both


@pytest.mark.parametrize("rule", ["merged", "drawn", ""])
def test_other_rules_are_not_flagged(tmp_path: Path, rule: str) -> None:
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", lean=True, rule=rule))
    words = text_of(page)
    assert content["subjects"][0]["label_rule"] == rule
    assert "copied one for one" not in words
    assert ("rare combinations merged" in words) == bool(rule)
    sampled = {"merged": "--like COHORT --labels merged", "drawn": "--n 640", "": "--n 640"}[rule]
    assert f"synthcohort sample RUN --out SYNTHETIC {sampled}" in words


def test_a_mirrored_auc_is_said_to_flatter(tmp_path: Path) -> None:
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", label_scores(metric="auc_mirrored"), lean=True))
    words = text_of(page)
    assert "reached a mean mirrored AUC of 0.72" in words
    assert words.count("That flatters every arm, and most those that know nothing.") == 2
    assert "never beside a plain AUC" in words
    assert content["subjects"][0]["headline"]["auc_synthetic_on_real"]["metric"] == "auc_mirrored"
    plain = write_labels(tmp_path / "b", lean=True, name="plain")
    both = text_of(report([tmp_path / "a", plain], out=tmp_path / "both.html"))
    assert re.search(r"Mirrored AUC 0\.72 .* AUC 0\.72", both)


def test_several_cohorts_are_compared_in_one_table(tmp_path: Path) -> None:
    masks = write_eval(tmp_path / "m", lean=True, name="hearts")
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", lean=True), masks)
    words = text_of(page)
    assert "Are there copies of training images? Do the labels hold? Label overfitting Dice ratio / AUC gap" in words
    assert re.search(r"Dice, per volume 0\.68 .* between ceiling and bad case", words)
    assert len(re.findall(r"Usefulness of every cohort: (?:Dice|AUC) on real test patients", page.read_text())) == 2
    assert [s["name"] for s in content["subjects"]] == ["flow of chest phantom", "hearts"]


def test_the_built_in_controls_of_labels(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    found = {(c["name"], c["audit"]): (c["metric"], c["as_expected"]) for c in content["controls"]}
    assert found == {
        ("copycat", "copies"): ("copies", True),
        ("gaussian", "realism"): ("kid", True),
        ("gaussian", "utility"): ("auc_gap", True),
        ("gaussian without labels", "labels"): ("auc", True),
    }
    assert "called out by the search for the asked findings, as it should be." in text_of(page)


# generator, options, AUC of a real classifier on it -> verdicts by audit: called out, as expected.
CONTROL_CASES = [
    (
        "gaussian",
        {"conditional": False},
        0.5,
        {"realism": (True, True), "utility": (True, True), "labels": (True, True)},
    ),
    (
        "gaussian",
        {"conditional": False},
        0.8,
        {"realism": (True, True), "utility": (True, True), "labels": (False, False)},
    ),
    ("gaussian", {}, 0.8, {"realism": (True, True), "utility": (True, True)}),
    ("holdout", {}, 0.8, {"copies": (False, True), "labels": (False, True)}),
    ("holdout", {}, 0.5, {"copies": (False, True), "labels": (True, False)}),
]


@pytest.mark.parametrize(("name", "options", "shown", "expected"), CONTROL_CASES)
def test_controls_with_labels(
    tmp_path: Path, name: str, options: dict[str, Any], shown: float, expected: dict[str, tuple[bool, bool]]
) -> None:
    rows = trio("kid", (0.05, 0.0002, 0.052), extractor="squeezenet-b31c99aa", half=0.0012)
    rows += of_finding("mean", (0.80, 0.55, 0.55, shown, 0.3)) + copies((0.004, 0.005, 0.97), "pixels")
    made_by = {"generator": name, "options": options}
    folder = write_labels(tmp_path / "a", rows, lean=True, provenance="control", generator=made_by)
    evaluation = read_evaluation(folder)
    found = controls(evaluation, compare(evaluation.scores), name="x")
    assert {c.audit: (c.called_out, c.as_expected) for c in found} == expected
    words = text_of(report([folder], out=tmp_path / "report.html"))
    failed = not all(as_expected for _, as_expected in expected.values())
    assert ("An audit failed on a case whose answer is known" in words) == failed
    assert ("although its labels are true" in words) == (name == "holdout" and failed)


def test_a_cohort_without_a_test_split_is_told_why_its_labels_are_not_judged(tmp_path: Path) -> None:
    reason = "the scored cohort has no test split"
    gone = {"value": None, "low": None, "high": None, "status": "not_estimable", "reason": reason}
    rows = [row for row in label_scores() if row.metric != "delta_syn"]
    own = score("delta_syn", "subject", 0.1, family="overfit", label="mean", arm="synthetic->synthetic")
    rows.append(dataclasses.replace(own, **gone))
    page, content = write_report(tmp_path, write_labels(tmp_path / "a", rows, lean=True))
    assert f"Label overfitting Not estimable: {reason}." in text_of(page)
    assert content["subjects"][0]["headline"]["delta_syn_reading"] == "not_estimable"
    assert "Whether the labels hold" in [m["title"] for m in content["not_measured"]]


def test_nothing_scored_is_no_error(tmp_path: Path) -> None:
    rows = [row for row in label_scores() if row.metric in ("kid", "copies") and not row.label]
    page, _ = write_report(tmp_path, write_labels(tmp_path / "a", rows, lean=True, facts={"label_counts": None}))
    words = text_of(page)
    assert "Not measured: no network was trained on the synthetic images." in words
    assert "Do the labels hold?" not in words
    assert "The gap could not be estimated for any single finding." in words


def test_hostile_findings_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=y> $\\frac{$ {{7*7}}"
    rows = [dataclasses.replace(row, label=hostile) if row.label == "Effusion" else row for row in label_scores()]
    folder = write_labels(tmp_path / "a", rows)
    facts = (folder / "eval.json").read_text().replace("Effusion", json.dumps(hostile)[1:-1])
    (folder / "eval.json").write_text(facts)
    with np.load(folder / "examples.npz") as file:
        arrays = dict(file)
    arrays["label_names"] = np.array([name.replace("Effusion", hostile) for name in FINDINGS])
    np.savez(folder / "examples.npz", **arrays)
    page, content = write_report(tmp_path, folder)
    body = page.read_text(encoding="utf-8")
    assert "<script" not in body
    assert "<img src=x" not in body
    assert "{{7*7}}" in body
    assert hostile in [f["finding"] for f in content["subjects"][0]["findings"]]
    for name in content["figures"]:
        assert "<script" not in (page.parent / "figures" / name).read_text(encoding="utf-8")


DAMAGE = [
    {"labels": "Effusion"},
    {"label_counts": [1]},
    {"label_counts": {"real": {"Effusion": {"train": {"images": 3}}}}},
    {"label_counts": {"real": {"Effusion": {"train": {"images": "3", "patients": 1}}}}},
    {"label_counts": {"other": {}}},
    {"label_counts": {"synthetic": {"Effusion": 3}}},
    {"utility_by_seed": "x"},
]


@pytest.mark.parametrize("facts", DAMAGE, ids=str)
def test_damaged_label_facts_are_one_line(tmp_path: Path, facts: dict[str, Any]) -> None:
    folder = write_labels(tmp_path / "a", lean=True, facts=facts)
    with pytest.raises(NotAnEvaluation) as caught:
        report([folder], out=tmp_path / "out" / "report.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(31, 5), (32, 4), (32,)])
def test_damaged_labels_of_examples_are_one_line(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = write_labels(tmp_path / "a")
    with np.load(folder / "examples.npz") as file:
        arrays = dict(file)
    np.savez(folder / "examples.npz", **{**arrays, "labels": np.zeros(shape, np.float32)})
    with pytest.raises(NotAnEvaluation, match=r"examples\.npz"):
        report([folder], out=tmp_path / "report.html")
