"""What the data-sharing study measured: one row a pipeline, and what is said of settings and of the ends of an axis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..execute import Outcome
from ..significance import holm
from . import _parts
from ._sharing_jobs import Pipeline
from ._spread import between, parity, summary

OVERFIT_DELTA = 0.05
"""Delta-syn from which labels count as overfitted: evaluation of the report card's line 5, set before any run."""
VALUES = ("auc_real", "auc_syn", "gap", "delta", "distance", "copies")
# Value -> (metric, role, arm, label) of the evaluation's row.
_ROWS = {
    "auc_real": ("auc", "ceiling", "real->real", "mean"),
    "auc_syn": ("auc", "subject", "synthetic->real", "mean"),
    "gap": ("auc_gap", "subject", "synthetic->real", "mean"),
    "delta": ("delta_syn", "subject", "synthetic->synthetic-real", "mean"),
    "copies": ("copies", "subject", "", ""),
}
Row = dict[str, Any]


def rows_of(found: Sequence[Pipeline], outcomes: Mapping[str, Outcome]) -> tuple[list[Row], list[Row]]:
    """Return a row for each pipeline that ended well, and one with a reason for each other.

    Args:
        found: All pipelines.
        outcomes: Of their jobs.
    """
    rows, failures = [], []
    for pipeline in found:
        known = {
            "point": pipeline.point.name,
            "axis": pipeline.point.axis,
            "number": pipeline.point.number,
            "extreme": pipeline.point.extreme,
            "generator": pipeline.generator,
            "seed": pipeline.seed,
            "fold": pipeline.fold,
        }
        ended = outcomes[pipeline.score.key]
        if ended.folder is None or not ended.done:
            failures.append({**known, "reason": _reason(pipeline, outcomes)})
            continue
        rows.append({**known, **_read(ended.folder), "folder": ended.folder.name})
    return rows, failures


def _reason(pipeline: Pipeline, outcomes: Mapping[str, Outcome]) -> str:
    for job in (pipeline.cohort, pipeline.train, pipeline.score):
        if not outcomes[job.key].done:
            return f"{job.kind}: {outcomes[job.key].reason}"
    return "unknown"


def _read(folder: Path) -> Row:
    content = json.loads((folder / _parts.ROWS).read_text(encoding="utf-8"))
    row: Row = {name: _value(content["scores"], *which) for name, which in _ROWS.items()}
    row["distance"] = content["distance"]["value"]
    row |= {key: content["distance"][key] for key in ("n", "against", "extractor")}
    row |= {"images_kept": content["outcome"].get("images_kept"), "collapsed": content["outcome"].get("collapsed")}
    row["reasons"] = {name: _why(content["scores"], *which) for name, which in _ROWS.items() if row[name] is None} | (
        {"distance": content["distance"]["reason"]} if row["distance"] is None else {}
    )
    return row


def _matching(scores: Sequence[Mapping[str, Any]], metric: str, role: str, arm: str, label: str) -> list[Any]:
    return [
        score
        for score in scores
        if (score["metric"], score["role"], score["label"]) == (metric, role, label)
        and (not arm or score["arm"] == arm)
        and score["subject"] != "planted copies"
    ]


def _value(scores: Sequence[Mapping[str, Any]], *which: str) -> float | None:
    found = [score["value"] for score in _matching(scores, *which) if score["status"] == "ok"]
    return max(found) if found else None  # copies: the space that finds most


def _why(scores: Sequence[Mapping[str, Any]], *which: str) -> str:
    found = [score["reason"] for score in _matching(scores, *which)]
    return found[0] if found else "not measured"


def of(rows: Sequence[Row], value: str, **known: Any) -> dict[int, float]:
    """Return seed -> a value of the pipelines with these facts."""
    kept = [row for row in rows if all(row[key] == wanted for key, wanted in known.items())]
    return {row["seed"]: row[value] for row in kept if row[value] is not None}


def settings_table(rows: Sequence[Row]) -> list[Row]:
    """Return for each point and generator the mean of every value with its interval, parity and the alarm."""
    table = []
    for point, generator in dict.fromkeys((row["point"], row["generator"]) for row in rows):
        known = {"point": point, "generator": generator}
        one = next(row for row in rows if (row["point"], row["generator"]) == (point, generator))
        line: Row = {**known, "axis": one["axis"], "number": one["number"], "extreme": one["extreme"]}
        line |= {value: summary(list(of(rows, value, **known).values())) for value in VALUES}
        line["parity"] = parity(list(of(rows, "gap", **known).values()))
        line["alarm"] = _alarm(line)
        table.append(line)
    return table


def _alarm(line: Row) -> str:
    """Return whether labels seem to be overfitted: "yes", "no" or "cannot tell"."""
    delta = line["delta"]
    if delta["low"] is None:
        return "cannot tell"
    return "yes" if delta["low"] > 0 and delta["mean"] > OVERFIT_DELTA else "no"


def ends_table(rows: Sequence[Row]) -> list[Row]:
    """Return for each axis and generator what tells its ends apart, in gap, delta-syn and distance.

    On the classes axis the larger end is expected to lose more, on the resolution axis too; on the samples axis the
    larger end is expected to have the larger gap and the smaller delta-syn and distance, as study 003 found. Holm's
    correction is over the gaps of all axes and generators, the study's primary family.
    """
    lines = []
    for axis, generator in dict.fromkeys((row["axis"], row["generator"]) for row in rows if row["extreme"]):
        of_axis = [row for row in rows if (row["axis"], row["generator"]) == (axis, generator)]
        numbers = [row["number"] for row in of_axis if row["extreme"]]
        most, least = max(numbers), min(numbers)
        if most == least:
            continue
        for value in ("gap", "delta", "distance"):
            high, low = of(of_axis, value, number=most), of(of_axis, value, number=least)
            swapped = axis == "samples" and value != "gap"
            found = between(low, high) if swapped else between(high, low)
            names = (least, most) if swapped else (most, least)
            lines.append({"axis": axis, "generator": generator, "value": value, "of": names[0], "over": names[1]})
            lines[-1] |= found
    primary = [line for line in lines if line["value"] == "gap" and line["p_sign_flip"] is not None]
    for line, adjusted in zip(primary, holm([line["p_sign_flip"] for line in primary]), strict=True):
        line["p_holm"] = float(adjusted)
    return lines
