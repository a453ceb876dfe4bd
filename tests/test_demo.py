"""The demo, made small: it ends with a report card, and a second call reuses everything."""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from synthcohort.cohort import verify
from synthcohort.errors import BadOutput

demo = importlib.import_module("synthcohort.demo")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))
    small: dict[str, Any] = {
        "PATIENTS": 15,
        "SIDE": 16,
        "LEARNER_SEEDS": 1,
        "BATCH": 8,
        "IMAGES_SEEN": {"flow": 64, "memoriser": 64},
        "OPTIONS": {"flow": {"width": 16, "multipliers": (1,), "components": 4}, "memoriser": {"code": 16}},
        "evaluate": functools.partial(demo.evaluate, options={"width": 2, "images_seen": 32, "batch": 8}),
    }
    for name, value in small.items():
        assert hasattr(demo, name)
        monkeypatch.setattr(demo, name, value)


def test_the_demo_ends_with_a_report_card_and_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    page = demo.demo(out=out)
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
    assert {score["metric"] for score in own["scores"]} >= {"frechet", "copies", "dice_volume"}
    for cohort in (out / "heart", out / "synthetic" / "flow", out / "synthetic" / "memoriser"):
        assert verify(cohort) == []

    # Whatever is costly must not run again.
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("done twice")

    for costly in (
        "synthcohort.phantoms.acdc.Phantom.write",
        "synthcohort.sources.acdc.Source.records",
        "synthcohort.generators.flow.Generator.fit",
        "synthcohort.nets.generator.Generator.separate",
        "synthcohort.generators.memoriser.Generator.fit",
        "synthcohort.tasks.segmentation.Task.fit",
    ):
        monkeypatch.setattr(costly, refuse)
    before = {path: path.read_bytes() for path in (page, out / "report.json")}
    demo.demo(out=out)
    assert {path: path.read_bytes() for path in before} == before


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(BadOutput, match="writable") as raised:
        demo.demo(out=tmp_path / "taken" / "demo")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "taken").read_text() == "mine"
