from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthcohort.errors import BadOption, BadOutput, InputError, NotAnEvaluation
from synthcohort.report import report
from synthcohort.report._compare import Comparison, compare, paired_reading
from synthcohort.report._controls import controls
from synthcohort.report._counts import count, openly, total
from synthcohort.report._headline import headline
from synthcohort.report._numbers import number
from synthcohort.report._read import read_evaluation
from synthcohort.report._sentences import say_copies, say_utility
from synthcohort.types import Score

CLASSES = ["background", "right ventricle", "myocardium", "left ventricle"]
FORBIDDEN = ("anonym", "gdpr", " safe", "unsafe")


def score(metric: str, role: str, value: float | None, *, half: float = 0.02, **more: Any) -> Score:
    """Return a score with a symmetric interval and defaults for the rest."""
    status = "not_estimable" if value is None else "ok"
    facts: dict[str, Any] = {
        "subject": {"subject": "flow", "ceiling": "real", "bad": "gaussian"}[role],
        "arm": "image",
        "label": "",
        "unit": "",
        "better": "lower",
        "n_real": 212,
        "n_synthetic": 640,
        "extractor": "",
        "reason": "",
        "low": None if value is None else value - half,
        "high": None if value is None else value + half,
    } | more
    return Score(
        comparison_id=f"{metric}|{facts['extractor']}|{facts.pop('family', facts['arm'])}|{facts['label']}",
        role=role,  # type: ignore[arg-type]
        metric=metric,
        value=value,
        pixels_sha256="c" * 64,
        seed=0,
        status=status,  # type: ignore[arg-type]
        seconds=1.5,
        versions={"synthcohort": "0.1.0", "torch": "2.13.0"},
        **facts,
    )


def trio(metric: str, values: tuple[float | None, float | None, float | None], **more: Any) -> list[Score]:
    """Return subject, ceiling and bad rows of one comparison."""
    roles = ("subject", "ceiling", "bad")
    return [score(metric, role, value, **more) for role, value in zip(roles, values, strict=True)]


def utility(label: str, values: tuple[float, float, float], **more: Any) -> list[Score]:
    """Return the arms of training on synthetic, real and Gaussian images, tested on real ones."""
    arms = ("synthetic->real", "real->real", "gaussian->real")
    kept = {"label": label, "better": "higher", "family": "train", "half": 0.04} | more
    roles = ("subject", "ceiling", "bad")
    rows = zip(roles, arms, values, strict=True)
    return [score("dice_volume", role, value, arm=arm, **kept) for role, arm, value in rows]


def copies(values: tuple[float, float, float], extractor: str, *, patients: int = 42) -> list[Score]:
    """Return shares of copies of a subject, of held-out patients and of copied images."""
    names = {"subject": "flow", "ceiling": "holdout", "bad": "copycat"}
    return [
        dataclasses.replace(
            score("copies", role, value, arm="copies", unit="share", extractor=extractor, subject=name),
            low=max(0.0, value - 0.01),
            high=min(1.0, value + 0.01),
            reason=f"{round(640 * value)} of 640 above 0.9712, calibrated on 910 images of {patients} patients",
        )
        for (role, name), value in zip(names.items(), values, strict=True)
    ]


def good_scores() -> list[Score]:
    """Return made-up scores of a generator that is decent in every respect."""
    rows = trio("kid", (0.021, 0.0004, 0.094), extractor="task-1f3a2b4c", half=0.003)
    rows += trio("frechet", (14.2, 9.8, 61.0), extractor="task-1f3a2b4c", half=1.4)
    rows += trio("kid", (0.0061, 0.0002, 0.052), extractor="squeezenet-b31c99aa", half=0.0012)
    rows += trio("frechet", (88.0, 41.0, 302.0), extractor="squeezenet-b31c99aa", half=9.0)
    for name, values in {"precision": (0.71, 0.78, 0.12), "recall": (0.55, 0.74, 0.03)}.items():
        rows += trio(name, values, extractor="squeezenet-b31c99aa", unit="share", better="higher", half=0.05)
    rows += trio("density", (0.83, 0.97, 0.06), extractor="squeezenet-b31c99aa", better="higher", half=0.08)
    rows += trio("coverage", (0.74, 0.9, None), extractor="squeezenet-b31c99aa", unit="share", better="higher")
    rows[-1] = dataclasses.replace(rows[-1], reason="a side has fewer than 6 images")
    rows += copies((0.003, 0.005, 0.97), "pixels") + copies((0.002, 0.001, 0.91), "squeezenet-b31c99aa")
    rows += utility("right ventricle", (0.61, 0.79, 0.21))
    rows += utility("myocardium", (0.66, 0.8, 0.31))
    rows += utility("left ventricle", (0.78, 0.88, 0.4))
    rows += utility("mean", (0.683, 0.823, 0.307))
    ratio: dict[str, Any] = {"label": "mean", "better": "higher", "family": "ratio"}
    rows += [
        score("dice_ratio", "subject", 0.83, half=0.05, arm="synthetic->real", **ratio),
        score("dice_ratio", "bad", 0.373, half=0.06, arm="gaussian->real", **ratio),
        score("dice_gap", "subject", None, arm="synthetic->real", label="mean", reason="one learner seed only"),
    ]
    return rows


def write_eval(folder: Path, rows: list[Score] | None = None, *, lean: bool = False, **more: Any) -> Path:
    """Write an EVAL folder, without optional files when lean; `more` replaces facts of the scored cohort."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    synthetic = {
        "name": "flow of ACDC phantom",
        "provenance": "synthetic",
        "modality": "cine MRI, short axis",
        "shape": [1, 32, 32],
        "identity": "b" * 64,
        "counts": {"train": {"images": 512, "patients": 512}, "val": {"images": 128, "patients": 128}},
        "generator": {
            "kind": "train",
            "generator": "flow",
            "images_seen": 200_000,
            "batch": 64,
            "seed": 0,
            "fingerprint": "d" * 64,
            "options": {"channels": 48, "ema": True},
        },
    } | more
    facts = {
        "schema": 1,
        "fingerprint": "e" * 64,
        "config": {"seeds": 3},
        "real": {
            "name": "ACDC phantom",
            "provenance": "real",
            "modality": "cine MRI, short axis",
            "shape": [1, 32, 32],
            "identity": "a" * 64,
            "counts": {
                "train": {"images": 1200, "patients": 60},
                "val": {"images": 148, "patients": 7},
                "test": {"images": 304, "patients": 15},
                "reference": {"images": 298, "patients": 15},
            },
        },
        "synthetic": synthetic,
        "mask_classes": CLASSES,
        "notes": ["The reference half held 7 patients."],
        "not_measured": ["The inception feature space was not used: no weights were given."],
        "utility_by_seed": {"segmentation": {"synthetic->real": [0.67, 0.68, 0.7]}},
        "copy_thresholds": {"pixels": 0.9712, "squeezenet": 0.93},
        "date": "2026-11-23",
        "seconds": 71.3,
    }
    (folder / "eval.json").write_text(json.dumps(facts))
    lines = [json.dumps(row.to_json()) for row in (good_scores() if rows is None else rows)]
    (folder / "scores.jsonl").write_text("\n".join(lines) + "\n")
    if lean:
        return folder
    ids = [f"s{i:08d}" for i in range(640)]
    pd.DataFrame(
        {
            "sample_id": ids,
            "nearest_pixels": "p",
            "similarity_pixels": np.clip(rng.normal(0.82, 0.05, 640), -1, 1),
            "similarity_squeezenet": np.clip(rng.normal(0.7, 0.08, 640), -1, 1),
            "copy": [i in (1, 5) for i in range(640)],
        }
    ).to_parquet(folder / "samples.parquet")
    images, masks = hearts(32, rng)
    np.savez(
        folder / "examples.npz", images=images, masks=masks, value_range=(0.0, 255.0), sample_id=np.array(ids[:32])
    )
    write_logs(folder)
    (folder / "pairs").mkdir()
    real = 255 - hearts(8, np.random.default_rng(9))[0]
    pairs = {"synthetic": images[:8], "nearest": real, "similarity": np.linspace(0.99, 0.9, 8)}
    np.savez(folder / "pairs" / "pairs.npz", **pairs, value_range=(0.0, 255.0))
    return folder


def hearts(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 1, 32, 32) uint8 pictures of a bright pool in a dark ring, with masks."""
    y, x = np.mgrid[:32, :32]
    images, masks = [], []
    for _ in range(number):
        cy, cx, radius = rng.normal(16, 1.5), rng.normal(18, 1.5), rng.normal(5, 0.8)
        distance = np.hypot(y - cy, x - cx)
        mask = np.where(distance < radius, 3, np.where(distance < radius + 3, 2, 0))
        mask = np.where((np.hypot((y - cy) / 1.3, x - cx + 9) < 4) & (mask == 0), 1, mask)
        shade = np.choose(mask, [70, 190, 95, 215]) + rng.normal(0, 12, mask.shape)
        images.append(np.clip(shade, 0, 255).astype(np.uint8)[None])
        masks.append(mask.astype(np.uint8))
    return np.stack(images), np.stack(masks)


def write_logs(folder: Path) -> None:
    """Write the training logs of the generator and of the task."""
    seen = np.arange(2000, 200_001, 2000)
    losses = [{"images_seen": int(s), "velocity": 0.9 * float(np.exp(-s / 4e4)) + 0.12} for s in seen]
    (folder / "training.jsonl").write_text("\n".join(map(json.dumps, losses)) + "\n")
    fits = [
        {"arm": arm, "seed": seed, "images_seen": int(s), "train_loss": 0.5, "val_loss": end + float(np.exp(-s / 8e3))}
        for arm, end in (("real->real", 0.2), ("synthetic->real", 0.25), ("gaussian->real", 0.6))
        for seed in range(2)
        for s in range(1000, 40_001, 3000)
    ]
    (folder / "task_curves.jsonl").write_text("\n".join(map(json.dumps, fits)) + "\n")


def text_of(page: Path) -> str:
    """Return the words of a page without tags and embedded data."""
    body = page.read_text(encoding="utf-8")
    body = re.sub(r"<style>.*?</style>", "", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body))).replace("\N{NARROW NO-BREAK SPACE}", " ")


def write_report(tmp_path: Path, *evals: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """Return a report's page and the content of its report.json."""
    page = report(list(evals), out=tmp_path / "out" / "report.html", **options)
    return page, json.loads(page.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return page and report.json of the good scores; only to be read."""
    folder = tmp_path_factory.mktemp("standard")
    return write_report(folder, write_eval(folder / "a"))


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    page, _ = write_report(tmp_path, write_eval(tmp_path / "a"), write_eval(tmp_path / "b", name="other", lean=True))
    body = page.read_text(encoding="utf-8")
    references = re.findall(r"""(?:src|href|action|data|poster|url|srcset)\s*[=(]\s*["']?([^"'\s)>]+)""", body)
    assert {r.split(":")[0] if r.startswith("data:") else r[0] for r in references if r} == {"data", "#"}
    assert not re.search(r"<script|<link|<iframe|<object|@import|\son\w+=", body, flags=re.IGNORECASE)
    for svg in page.parent.glob("figures/*.svg"):
        assert not re.search(r"""<script|<image|href="(?!#)""", svg.read_text(encoding="utf-8"))


def test_the_first_page_says_what_was_found(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    words = text_of(page)
    assert "2-D images only." in words
    assert "Not for diagnosis." in words
    assert "Not declared: release object, adversary, intended use, who evaluated." in words
    # By hand from good_scores(): (0.0061 - 0.0002) / (0.052 - 0.0002) = 11.4 %; the upper bound 0.012 / 0.91 = 1.3 %.
    assert "11 % of the way from the ceiling to the bad case" in words
    assert "reached a Dice of 0.68 on real test patients; trained on real images it reached 0.82" in words
    assert "so it kept 83 % of that" in words
    assert "0.2 % of the synthetic images resemble a training image more than different patients" in words
    assert "bounds the true share at 1.3 %" in words
    head = content["subjects"][0]["headline"]
    assert (head["real_on_real"]["value"], head["real_on_real"]["low"]) == (0.823, pytest.approx(0.783))
    assert head["synthetic_on_real"]["value"] == 0.683
    assert head["bad_on_real"]["value"] == 0.307
    assert head["ratio"]["value"] == 0.83
    by_seed = content["subjects"][0]["utility_by_seed"]
    assert by_seed == {"segmentation": {"synthetic->real": [0.67, 0.68, 0.7]}}
    assert "The inception feature space was not used: no weights were given." in words
    assert "Evaluated 2026-11-23" in words
    assert (head["copies"]["value"], head["copies_ceiling"]["value"], head["copies_bad"]["value"]) == (
        0.002,
        0.001,
        0.91,
    )


def test_report_json_keeps_every_score(tmp_path: Path) -> None:
    rows = good_scores()
    page, content = write_report(tmp_path, write_eval(tmp_path / "a", rows, lean=True))
    assert content["schema"] == 2
    assert [Score(**row) for row in content["subjects"][0]["scores"]] == rows
    assert {"subjects", "controls", "not_measured", "caveats", "figures"} <= set(content)
    assert content["figures"] == sorted(path.name for path in (page.parent / "figures").iterdir())
    assert "Membership inference" in [m["title"] for m in content["not_measured"]]
    assert "Usefulness for a task" not in [m["title"] for m in content["not_measured"]]
    assert len(content["caveats"]) == 10


def test_what_is_not_in_the_scores_is_listed_as_not_measured(tmp_path: Path) -> None:
    rows = [row for row in good_scores() if row.metric == "kid"]
    page, content = write_report(tmp_path, write_eval(tmp_path / "a", rows, lean=True))
    titles = [m["title"] for m in content["not_measured"]]
    assert {"Usefulness for a task", "Copies and near copies"} <= set(titles)
    assert "Distance to the real images" not in titles
    assert content["subjects"][0]["headline"]["copies"] is None
    assert "Not measured: the images were not compared with the training images." in text_of(page)


def test_forbidden_words_are_never_printed(standard: tuple[Path, dict[str, Any]]) -> None:
    page, content = standard
    everything = (text_of(page) + json.dumps(content)).lower()
    assert [word for word in FORBIDDEN if word in everything] == []


def test_hostile_names_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=y> $\\frac{$ {{7*7}} ../../up"
    evaluation = write_eval(tmp_path / "a", name=hostile)
    facts = json.loads((evaluation / "eval.json").read_text())
    facts["real"]["name"] = facts["real"]["modality"] = facts["notes"][0] = facts["mask_classes"][1] = hostile
    (evaluation / "eval.json").write_text(json.dumps(facts))
    rows = [dataclasses.replace(row, label=hostile, subject=hostile, reason=hostile) for row in good_scores()]
    (evaluation / "scores.jsonl").write_text("\n".join(json.dumps(row.to_json()) for row in rows))
    page, content = write_report(tmp_path, evaluation, write_eval(tmp_path / "b", lean=True))
    body = page.read_text(encoding="utf-8")
    assert "<script" not in body
    assert "<img src=x" not in body
    assert "{{7*7}}" in body
    assert content["subjects"][0]["name"] == hostile
    for name in content["figures"]:
        assert re.fullmatch(r"report-[a-z0-9-]+\.svg", name)
        assert "<script" not in (page.parent / "figures" / name).read_text(encoding="utf-8")


def pictures_in(page: Path) -> list[np.ndarray]:
    """Return the pixels of every PNG in a page."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_real_images_appear_only_on_demand(tmp_path: Path) -> None:
    evaluation = write_eval(tmp_path / "a")
    with np.load(evaluation / "pairs" / "pairs.npz") as file:
        real = file["nearest"]
    grown = [np.repeat(np.repeat(image[0], 3, axis=0), 3, axis=1) for image in real]

    def shown(page: Path) -> int:
        tiles = [picture[:96, x : x + 96, 0] for picture in pictures_in(page) for x in (0, 96)]
        return sum(any(np.array_equal(tile, image) for tile in tiles) for image in grown)

    hidden, _ = write_report(tmp_path, evaluation)
    assert shown(hidden) == 0
    assert "real patient images" not in text_of(hidden)
    open_page = report([evaluation], out=tmp_path / "open" / "report.html", show_real=True)
    assert shown(open_page) == len(real)
    assert "This copy of the report contains real patient images." in text_of(open_page)


def test_a_report_without_real_images_does_not_read_them(tmp_path: Path) -> None:
    evaluation = write_eval(tmp_path / "a")
    (evaluation / "pairs" / "pairs.npz").write_bytes(b"not an archive")
    write_report(tmp_path, evaluation)
    with pytest.raises(NotAnEvaluation, match=r"pairs\.npz"):
        report([evaluation], out=tmp_path / "open.html", show_real=True)


def test_examples_are_enlarged_without_smoothing_and_copies_are_withheld(tmp_path: Path) -> None:
    evaluation = write_eval(tmp_path / "a")
    page, _ = write_report(tmp_path, evaluation)
    with np.load(evaluation / "examples.npz") as file:
        images = file["images"]
    tiles = pictures_in(page)
    assert len(tiles) == 30
    assert tiles[0].shape == (192, 96, 3)
    np.testing.assert_array_equal(tiles[0][:96:3, ::3, 0], images[0, 0])
    assert not any(np.array_equal(tile[:96:3, ::3, 0], images[1, 0]) for tile in tiles)
    assert "Held back because they resemble a training image too closely: 2 of the stored examples." in text_of(page)


def test_examples_of_a_control_are_withheld(tmp_path: Path) -> None:
    evaluation = write_eval(tmp_path / "a", provenance="control", generator={"generator": "holdout"})
    page, _ = write_report(tmp_path, evaluation)
    assert pictures_in(page) == []
    assert "Examples are shown of synthetic cohorts only" in text_of(page)


def own(values: dict[str, float]) -> list[Score]:
    """Return the good scores with the subject's value of some metrics replaced."""
    rows = []
    for row in good_scores():
        if row.role == "subject" and row.metric in values:
            value, half = values[row.metric], 0.003 if row.metric == "kid" else 0.02
            row = dataclasses.replace(row, value=value, low=value - half, high=value + half)
        rows.append(row)
    return rows


CONTROL_CASES = [
    ("copycat", {"copies": 0.95}, {"copies": (True, True)}),
    ("copycat", {"copies": 0.004}, {"copies": (False, False)}),
    ("memoriser", {"copies": 0.6}, {"copies": (True, True)}),
    ("holdout", {"copies": 0.004}, {"copies": (False, True)}),
    ("holdout", {"copies": 0.5}, {"copies": (True, False)}),
    ("gaussian", {"kid": 0.09, "dice_volume": 0.3}, {"realism": (True, True), "utility": (True, True)}),
    ("gaussian", {"kid": 0.001, "dice_volume": 0.82}, {"realism": (False, False), "utility": (False, False)}),
]


@pytest.mark.parametrize(("name", "values", "expected"), CONTROL_CASES)
def test_controls_are_called_out_or_the_audit_failed(
    tmp_path: Path, name: str, values: dict[str, float], expected: dict[str, tuple[bool, bool]]
) -> None:
    evaluation = write_eval(tmp_path / "a", own(values), lean=True, provenance="control", generator={"generator": name})
    page, content = write_report(tmp_path, evaluation)
    assert {c["audit"]: (c["called_out"], c["as_expected"]) for c in content["controls"]} == expected
    assert {c["name"] for c in content["controls"]} == {name}
    failed = not all(as_expected for _, as_expected in expected.values())
    assert ("An audit failed on a case whose answer is known" in text_of(page)) == failed


def test_the_built_in_bad_cases_are_controls_too(standard: tuple[Path, dict[str, Any]]) -> None:
    _, content = standard
    found = {(c["name"], c["audit"]): c["as_expected"] for c in content["controls"]}
    assert found == {("copycat", "copies"): True, ("gaussian", "realism"): True, ("gaussian", "utility"): True}


def test_an_audit_that_cannot_be_estimated_is_unproven(tmp_path: Path) -> None:
    gone: dict[str, Any] = {
        "value": None,
        "low": None,
        "high": None,
        "status": "not_estimable",
        "reason": "no patients",
    }
    rows = [
        dataclasses.replace(row, **gone) if row.metric == "copies" and row.role == "ceiling" else row
        for row in good_scores()
    ]
    evaluation = read_evaluation(write_eval(tmp_path / "a", rows, lean=True))
    found = [c for c in controls(evaluation, compare(evaluation.scores), name="x") if c.audit == "copies"]
    assert [(c.called_out, c.as_expected) for c in found] == [(None, False)]


def test_rows_that_are_not_estimable_are_shown_with_their_reason(standard: tuple[Path, dict[str, Any]]) -> None:
    page, _ = standard
    words = text_of(page)
    assert re.search(r"Dice gap, mean \S not estimable .* this cohort: one learner seed only", words)
    assert "bad case: a side has fewer than 6 images" in words


READING_CASES = [
    ((0.80, 0.82, 0.3), "within"),
    ((0.60, 0.82, 0.3), "between"),
    ((0.31, 0.82, 0.3), "bad"),
    ((0.10, 0.82, 0.3), "bad"),
    ((0.99, 0.82, 0.3), "beyond"),
    ((0.60, 0.82, 0.8), "blind"),
]


@pytest.mark.parametrize(("values", "reading"), READING_CASES)
def test_readings_follow_from_intervals(values: tuple[float, float, float], reading: str) -> None:
    (found,) = compare(trio("dice_volume", values, better="higher", half=0.02))
    assert found.reading == reading
    mirrored = tuple(1 - value for value in values)
    (found,) = compare(trio("kid", mirrored, better="lower", half=0.02))
    assert found.reading == reading


def test_a_loss_that_only_the_paired_ratio_shows_is_said() -> None:
    # Dice 0.72 -+ 0.06 beside 0.80 -+ 0.04 overlap; their ratio by seed and patient is 0.90 -+ 0.05.
    (dice,) = compare(trio("dice_volume", (0.72, 0.78, 0.46), better="higher", half=0.04))
    (ratio,) = compare(trio("dice_ratio", (0.9, 1.0, 0.58), better="higher", half=0.02))
    assert dice.reading == "within"
    assert paired_reading(dice, ratio) == "between"
    assert "measurably below real images" in say_utility(dice, ratio)
    (open_ratio,) = compare(trio("dice_ratio", (0.97, 1.0, 0.58), better="higher", half=0.02))
    assert paired_reading(dice, open_ratio) == paired_reading(dice, None) == "within"
    assert "no loss was shown, which is not the same as no loss" in say_utility(dice, open_ratio)


def test_copies_within_the_ceiling_are_not_called_none() -> None:
    (found,) = compare(copies((0.006, 0.0, 0.98), "pixels"))
    assert found.reading == "within"
    assert "neither shown that images were copied nor that they were not" in say_copies(found)


def test_a_blind_space_does_not_speak_for_the_cohort() -> None:
    blind = copies((0.5, 0.01, 0.02), "task-1f3a2b4c")
    telling = copies((0.01, 0.005, 0.97), "pixels")
    found = headline(compare([*blind, *telling])).copies
    assert found is not None
    assert found.subject.extractor == "pixels"
    found = headline(compare(blind)).copies
    assert found is not None
    assert found.reading == "blind"
    assert "nothing can be concluded" in say_copies(found)
    assert "bounds the true share" not in say_copies(found)


NUMBER_CASES = [
    (0.683, "", "0.68"),
    (14.2, "", "14.2"),
    (0.00612, "", "0.0061"),
    (-0.0024, "", "-0.0024"),
    (5.2e-5, "", "5.2 x 10-5"),
    (959_860.4, "", "959 860"),
    (0.002, "share", "0.2 %"),
    (1.0, "share", "100 %"),
    (None, "", "-"),
]


@pytest.mark.parametrize(("value", "unit", "printed"), NUMBER_CASES)
def test_numbers_are_printed_to_a_sensible_length(value: float | None, unit: str, printed: str) -> None:
    odd = "\N{MINUS SIGN}\N{EM DASH}\N{MULTIPLICATION SIGN}\u207b\u2075\N{NARROW NO-BREAK SPACE}"
    assert number(value, unit).translate(str.maketrans(odd, "--x-5 ")) == printed


def test_a_subject_without_a_ceiling_is_not_read() -> None:
    subject = score("kid", "subject", 0.1)
    assert Comparison(subject, None, ()).reading == "unclear"
    assert Comparison(score("kid", "subject", None), None, ()).reading == "not_estimable"


def test_counts_of_few_patients_do_not_leave(tmp_path: Path) -> None:
    rows = [*good_scores(), *copies((0.1, 0.1, 0.9), "task-1f3a2b4c", patients=7)]
    rows[0] = dataclasses.replace(rows[0], n_real=6)
    page, content = write_report(tmp_path, write_eval(tmp_path / "a", rows, lean=True))
    words, text = text_of(page), json.dumps(content)
    assert content["subjects"][0]["real_cohort"]["counts"]["val"] == {"images": "<10", "patients": "<10"}
    assert "val of <10 patients <10" in words
    assert "at least 90 (at least 1 802 images)" in words  # 60 + 15 + 15 patients; the split of 7 is not in the sum
    assert content["subjects"][0]["scores"][0]["n_real"] == "<10"
    for page_text in (words, text):
        assert "of <10 patients" in page_text
        assert not re.search(r"\b7 patients|\b148\b", page_text)


def test_count_and_sentences_by_hand() -> None:
    assert [count(n, real=True) for n in (0, 1, 9, 10)] == ["0", "<10", "<10", "10"]
    assert [count(3), count(1234)] == ["3", "1\N{NARROW NO-BREAK SPACE}234"]
    assert openly("of 7 patients, 17 patients, 3 images") == "of <10 patients, 17 patients, 3 images"
    assert total({"counts": {"train": {"images": 5, "patients": 2}}}, "images") == "<10"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    evals = [write_eval(tmp_path / "a"), write_eval(tmp_path / "b", name="x", lean=True)]
    first = report(evals, out=tmp_path / "1" / "report.html").parent
    second = report(evals, out=tmp_path / "2" / "report.html").parent
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) > 10
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("eval.json", "{"),
        ("eval.json", '{"real": {"name": "x"}}'),
        ("eval.json", None),
        ("scores.jsonl", None),
        ("scores.jsonl", ""),
        ("scores.jsonl", '{"metric": "kid"}'),
        ("scores.jsonl", "[1]"),
        ("samples.parquet", "x"),
        ("examples.npz", "x"),
        ("training.jsonl", "{"),
    ],
)
def test_a_broken_eval_is_one_line_and_leaves_nothing(tmp_path: Path, file: str, content: str | None) -> None:
    evaluation = write_eval(tmp_path / "a")
    (evaluation / file).unlink() if content is None else (evaluation / file).write_text(content)
    with pytest.raises(NotAnEvaluation) as caught:
        report([evaluation], out=tmp_path / "out" / "report.html")
    assert "\n" not in str(caught.value)
    assert "synthcohort evaluate" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_arguments_are_checked(tmp_path: Path) -> None:
    evaluation = write_eval(tmp_path / "a")
    with pytest.raises(NotAnEvaluation):
        report([tmp_path / "none"], out=tmp_path / "r.html")
    with pytest.raises(BadOption, match="at least one"):
        report([], out=tmp_path / "r.html")
    with pytest.raises(BadOption, match="once"):
        report([evaluation, evaluation], out=tmp_path / "r.html")
    with pytest.raises(BadOutput, match=r"\.html"):
        report([evaluation], out=tmp_path / "r.pdf")


@pytest.mark.parametrize("name", ["report.html", "report.json"])
def test_a_file_that_is_no_report_is_not_overwritten(tmp_path: Path, name: str) -> None:
    evaluation = write_eval(tmp_path / "a")
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(InputError, match="something else"):
        report([evaluation], out=tmp_path / "report.html")
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_an_earlier_report_is_replaced_with_its_figures(tmp_path: Path) -> None:
    first = write_eval(tmp_path / "a")
    out = report([first, write_eval(tmp_path / "b", name="other", lean=True)], out=tmp_path / "report.html")
    mine = tmp_path / "figures" / "mine.svg"
    mine.write_text("<svg/>")
    assert any("other" in path.name for path in mine.parent.iterdir())
    report([first], out=out)
    left = {path.name for path in mine.parent.iterdir()}
    assert left == {"mine.svg", *json.loads(out.with_suffix(".json").read_text())["figures"]}
    assert not any("other" in name for name in left)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_runs_of_one_generator_are_told_apart(tmp_path: Path) -> None:
    evals = [
        write_eval(tmp_path / f"{i}", lean=True, generator={"generator": "flow", "seed": seed})
        for i, seed in enumerate((0, 1, 1))
    ]
    page, content = write_report(tmp_path, *evals)
    names = ["flow of ACDC phantom, seed 0", "flow of ACDC phantom, seed 1 (1)", "flow of ACDC phantom, seed 1 (2)"]
    assert [s["name"] for s in content["subjects"]] == names
    assert all(name in text_of(page) for name in names)
    assert "Stability over training runs" not in [m["title"] for m in content["not_measured"]]
    assert len(content["figures"]) == 3 * 3


def test_missing_logs_and_pictures_are_no_error(tmp_path: Path) -> None:
    page = report(write_eval(tmp_path / "a", lean=True), out=tmp_path / "r.html", show_real=True)
    assert "No example images were stored." in text_of(page)
    assert "No pairs were stored with this evaluation." in text_of(page)
