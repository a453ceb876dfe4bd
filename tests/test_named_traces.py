"""A classifier's perfect score that a trace of storage explains is named as such."""

from __future__ import annotations

import pytest

from synthcohort.evaluate._rows import Rows
from synthcohort.evaluate._stored import name_traces
from synthcohort.types import Value


def rows(probe, traces):
    found = Rows("toy", "0" * 64, 0, {})
    for role in ("subject", "ceiling"):
        for value in (
            Value("c2st_auc", probe, better="lower"),
            Value("traces_auc", traces, reason="12 % of the pixels"),
        ):
            found.add(value, family="image", space="x", role=role, arm="image", n_real=9, n_synthetic=9)
    name_traces(found)
    return {(row.metric, row.role): row.reason for row in found.scores}


def test_the_subjects_row_says_what_the_trace_is():
    found = rows(0.999, 0.97)
    assert found["c2st_auc", "subject"].startswith("traces of storage alone reach 0.970")
    assert "12 % of the pixels" in found["c2st_auc", "subject"]
    assert found["c2st_auc", "ceiling"] == ""


@pytest.mark.parametrize(("probe", "traces"), [(0.999, 0.6), (0.7, 0.99), (None, 0.99), (0.99, None)])
def test_nothing_is_said_otherwise(probe, traces):
    assert rows(probe, traces)["c2st_auc", "subject"] == ""
