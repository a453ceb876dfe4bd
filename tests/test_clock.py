"""What the stages of an evaluation cost: every second once."""

from __future__ import annotations

import time

import pytest

from synthcohort.evaluate._clock import Clock

_SLACK = 0.05  # seconds by which a sleeping process may wake late on a busy machine


def test_a_stage_inside_another_stops_the_outer_one() -> None:
    clock, start = Clock(), time.perf_counter()
    with clock.stage("copies"):
        time.sleep(0.02)
        with clock.stage("features"):
            time.sleep(0.04)
        time.sleep(0.02)
    whole = time.perf_counter() - start
    seconds = {name: each["seconds"] for name, each in clock.to_json().items()}
    assert list(seconds) == ["copies", "features"]
    assert seconds["features"] >= 0.04 - 0.001
    assert sum(seconds.values()) == pytest.approx(whole, abs=_SLACK)


def test_a_stage_goes_on_and_time_between_stages_is_nobodys() -> None:
    clock = Clock()
    for _ in range(2):
        with clock.stage("copies"):
            time.sleep(0.02)
        time.sleep(0.1)
    assert 0.04 - 0.001 <= clock.to_json()["copies"]["seconds"] < 0.04 + 2 * _SLACK


def test_a_stage_that_fails_is_closed() -> None:
    clock = Clock()
    with clock.stage("outer"):
        with pytest.raises(ValueError, match="x"), clock.stage("inner"):
            raise ValueError("x")
        time.sleep(0.02)
    assert clock.to_json()["outer"]["seconds"] >= 0.02 - 0.001


def test_waiting_costs_no_processor_time() -> None:
    clock = Clock()
    with clock.stage("waiting"):
        time.sleep(0.1)
    waited = clock.to_json()["waiting"]
    assert waited["cpu_seconds"] < waited["seconds"] / 2
