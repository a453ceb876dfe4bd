"""`--plan` and the calibration it stands on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthcohort import calibrate
from synthcohort.execute import Cost, Job, Work
from synthcohort.execute.plan import as_text, plan

ON = {
    "device": "cpu", "device_kind": "cpu", "cpu_cores": 2, "threads": 1, "precision": "fp32", "batch": 64,
    "versions": {}, "date": "2026-01-01",
}  # fmt: skip


def point(side: int, speed: float, measure: str = "train", plugin: str = "flow") -> dict[str, Any]:
    return {"measure": measure, "plugin": plugin, "side": side, "images_per_second": speed, "memory": side * 2**20}


POINTS = [point(32, 400.0), point(128, 25.0), point(32, 50.0, "sample")]
CALIBRATION = {"on": ON, "points": POINTS}


def job(number: int, *work: Work, **cost: Any) -> Job:
    return Job("train", "m:f", {"number": number}, cost=Cost(work, **cost))


def test_speeds_between_two_sizes_are_read_off_a_straight_line_of_logarithms() -> None:
    speed = calibrate.images_per_second
    assert speed(POINTS, "train", "flow", 32) == 400.0
    # 64 lies half way between 32 and 128: the geometric mean of 400 and 25.
    assert speed(POINTS, "train", "flow", 64) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("measure", "plugin", "side"), [("train", "flow", 256), ("train", "flow", 16), ("fit", "flow", 32)]
)
def test_nothing_is_guessed(measure: str, plugin: str, side: int) -> None:
    assert calibrate.images_per_second(POINTS, measure, plugin, side) is None


def test_the_sum_by_hand() -> None:
    known = [job(i, Work("train", "flow", 64, 360_000), disk=1000) for i in range(3)]
    found = plan([*known, known[0]], CALIBRATION, workers=2)
    assert (found["jobs"], found["not_calibrated"]) == (3, [])
    assert found["kinds"]["train"] == {"jobs": 3, "hours": pytest.approx(3.0), "disk": 3000, "memory": 128 * 2**20}
    text = as_text(found)
    assert "On the clock 1.5 h with 2 at work" in text
    assert "500 GPU-days" in text
    assert "32,100 + 20,480 GPU-hours" in text
    assert "H100: not measured here" in text
    assert json.loads(json.dumps(found)) == found


def test_what_is_not_calibrated_is_named_and_the_hours_are_a_lower_bound() -> None:
    jobs = [
        job(0, Work("train", "flow", 32, 400), Work("features", "inception", 32, 10), unknown="attacks"),
        job(1, Work("train", "edm", 32, 400)),
    ]
    found = plan(jobs, CALIBRATION)
    assert found["hours"] == pytest.approx(1 / 3600)
    assert found["not_calibrated"] == ["train: attacks", "features inception at 32 px", "train edm at 32 px"]
    assert "On the clock at least 1 s" in as_text(found)


def test_without_a_calibration_no_hours_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path))
    found = plan([job(0, Work("train", "flow", 32, 400))])
    assert found["kinds"]["train"]["hours"] is None
    assert "Not calibrated: run `synthcohort doctor --calibrate`" in as_text(found)


def test_a_calibration_is_measured_kept_and_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path))
    monkeypatch.setattr(calibrate.plugins, "names", lambda kind: [])  # no task
    measured = []

    def alone(kind: str, name: str, path: Any, sides: Any, on: Any) -> list[dict[str, Any]]:
        measured.append(name)
        return [point(side, 10.0, plugin=name) for side in sides]

    monkeypatch.setattr(calibrate, "_alone", alone)
    calibrate.calibrate(generators=["flow"], sides=[32])
    content = calibrate.calibrate(generators=["edm"], sides=[32])
    assert measured == ["flow", "edm"]
    assert [each["plugin"] for each in content["points"]] == ["edm", "flow"]
    assert calibrate.load() == content
    assert "flow" in calibrate.as_text(content)


def test_a_generator_is_measured(tmp_path: Path) -> None:
    points = calibrate._alone("generator", "memoriser", None, [16], {**ON, "threads": 1})
    assert {each["measure"] for each in points} == {"train", "sample"}
    assert all(each["images_per_second"] > 0 and each["memory"] > 2**20 for each in points)
