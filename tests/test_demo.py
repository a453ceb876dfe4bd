"""The demo, made small: both kinds end with a report card, and a second call reuses everything."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from synthcohort.cohort import Cohort, verify
from synthcohort.errors import BadOutput, UnknownName

demo = importlib.import_module("synthcohort.demo")

SMALL: dict[str, Any] = {
    "heart": {"phantom": {"patients": 15}},
    "chest": {
        "phantom": {"patients": 120, "side": 32},
        "prepare": {"findings": ("Pleural Effusion", "Support Devices")},
    },
}
LEARNING: dict[str, dict[str, Any]] = {
    "heart": {"width": 2, "images_seen": 32, "batch": 8},
    "chest": {"images_seen": 32, "batch": 8},
}
UTILITY = {"heart": "dice_volume", "chest": "auc"}


@pytest.fixture(params=sorted(SMALL))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the name of a demonstration, made small."""
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
    name = str(request.param)
    training = {
        "side": 16,
        "batch": 8,
        "images_seen": {"r3gan": 64, "memoriser": 64},
        "options": {"r3gan": {"width": 16, "latent": 16}, "memoriser": {"code": 16}},
    }
    monkeypatch.setitem(demo.KINDS, name, dataclasses.replace(demo.KINDS[name], **training, **SMALL[name]))
    monkeypatch.setattr(demo, "LEARNER_SEEDS", 1)
    monkeypatch.setattr(demo, "evaluate", functools.partial(demo.evaluate, options=LEARNING[name]))
    return name


def test_the_demo_ends_with_a_report_card_and_is_not_done_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    page = demo.demo(out=out, kind=kind)
    assert page == out / "report.html"
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html")
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:3] for line in said.err.splitlines() if line[1:3] == "/5"] == [f"{n}/5" for n in range(1, 6)]
    assert str(page) in said.err

    content = json.loads((out / "report.json").read_text())
    names = {subject["name"]: subject["provenance"] for subject in content["subjects"]}
    assert len(names) == 1 + len(demo.CONTROLS)
    assert sorted(names.values()) == ["control"] * len(demo.CONTROLS) + ["synthetic"]
    own = next(subject for subject in content["subjects"] if subject["provenance"] == "synthetic")
    assert {score["metric"] for score in own["scores"]} >= {"frechet", "copies", UTILITY[kind]}
    # A phantom's cohort never passes for patients of the download that it imitates.
    assert f"phantom of {demo.KINDS[kind].source}" in page.read_text(encoding="utf-8")
    assert Cohort(out / demo.KINDS[kind].cohort).facts.licence == "none: procedural images of nobody"
    for cohort in (out / demo.KINDS[kind].cohort, out / "synthetic" / "r3gan", out / "synthetic" / "memoriser"):
        assert verify(cohort) == []

    # Whatever is costly must not run again.
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("done twice")

    source = demo.KINDS[kind].source
    for costly in (
        f"synthcohort.phantoms.{source}.Phantom.write",
        f"synthcohort.sources.{source}.Source.records",
        "synthcohort.generators.r3gan.Generator.fit",
        "synthcohort.nets.generator.Generator.separate",
        "synthcohort.generators.memoriser.Generator.fit",
        "synthcohort.tasks.segmentation.Task.fit",
        "synthcohort.tasks.classification.Task.fit",
    ):
        monkeypatch.setattr(costly, refuse)
    before = {path: path.read_bytes() for path in (page, out / "report.json")}
    demo.demo(out=out, kind=kind)
    assert {path: path.read_bytes() for path in before} == before


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(BadOutput, match="writable") as raised:
        demo.demo(out=tmp_path / "taken" / "demo")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Choose from heart, chest"):
        demo.demo(out=tmp_path / "demo", kind="knee")
    assert not (tmp_path / "demo").exists()
