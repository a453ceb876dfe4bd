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
OF_PATIENTS = ("auc_real", "auc_syn", "gap", "delta")
"""Values of test patients, so that their intervals hold them, too."""
# Value -> (metric, role, arm, label) of the evaluation's row.
_ROWS = {
    "auc_real": ("auc", "ceiling", "real->real", "mean"),
    "auc_syn": ("auc", "subject", "synthetic->real", "mean"),
    "gap": ("auc_gap", "subject", "synthetic->real", "mean"),
    "delta": ("delta_syn", "subject", "synthetic->synthetic-real", "mean"),
    "copies": ("copies", "subject", "", ""),
    "copies_bound": ("copies_bound", "subject", "", ""),
    "copies_gate": ("copies_gate", "subject", "", ""),
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
    row: Row = {name: _value(content["scores"], name, *which) for name, which in _ROWS.items()}
    row |= {f"{name}_half": _half(content["scores"], *_ROWS[name]) for name in OF_PATIENTS}
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


def _value(scores: Sequence[Mapping[str, Any]], name: str, *which: str) -> float | None:
    """Return a value; of copies that of the space that finds most: a gate's number is a p value."""
    found = [score["value"] for score in _matching(scores, *which) if score["status"] == "ok"]
    return None if not found else min(found) if name == "copies_gate" else max(found)


def _half(scores: Sequence[Mapping[str, Any]], *which: str) -> float | None:
    """Return half the width of a value's interval over test patients."""
    found = [score for score in _matching(scores, *which) if score["status"] == "ok" and score["low"] is not None]
    return (found[0]["high"] - found[0]["low"]) / 2 if found else None


def _why(scores: Sequence[Mapping[str, Any]], *which: str) -> str:
    found = [score["reason"] for score in _matching(scores, *which)]
    return found[0] if found else "not measured"


def of(rows: Sequence[Row], value: str, **known: Any) -> dict[int, float]:
    """Return seed -> a value of the pipelines with these facts."""
    kept = [row for row in rows if all(row[key] == wanted for key, wanted in known.items())]
    return {row["seed"]: row[value] for row in kept if row[value] is not None}


def over_all(rows: Sequence[Row], value: str, **known: Any) -> Row:
    """Return a value's summary over the pipelines with these facts; of test patients, over them as well."""
    values = list(of(rows, value, **known).values())
    folds = {row["fold"] for row in rows if all(row[key] == wanted for key, wanted in known.items())}
    if value not in OF_PATIENTS or len(folds) > 1:  # each fold tests other patients, so pipelines differ by them
        return summary(values)
    halves = list(of(rows, f"{value}_half", **known).values())
    if len(halves) < len(values):
        return summary(values) | {"low": None, "high": None, "reason": "too few test patients for an interval"}
    return summary(values, patients=sum(halves) / max(len(halves), 1))


def settings_table(rows: Sequence[Row]) -> list[Row]:
    """Return for each point and generator the mean of every value with its interval, parity and the alarm."""
    table = []
    for point, generator in dict.fromkeys((row["point"], row["generator"]) for row in rows):
        known = {"point": point, "generator": generator}
        one = next(row for row in rows if (row["point"], row["generator"]) == (point, generator))
        line: Row = {**known, "axis": one["axis"], "number": one["number"], "extreme": one["extreme"]}
        line |= {value: over_all(rows, value, **known) for value in VALUES}
        line["parity"] = parity(line["gap"]["high"])
        line["alarm"] = _alarm(line)
        table.append(line)
    return table


def _alarm(line: Row) -> str:
    """Return whether labels seem to be overfitted: "yes", "no" or "cannot tell"."""
    delta = line["delta"]
    if delta["low"] is None:
        return "cannot tell"
    return "yes" if delta["low"] > 0 and delta["mean"] > OVERFIT_DELTA else "no"


def _sizes(rows: Sequence[Row], end: int) -> list[int]:
    """Return of how many images the distances at a point are; folds may differ."""
    return sorted({row["n"] for row in rows if row["number"] == end and row["distance"] is not None})


def _unequal(sizes: Sequence[int]) -> Row:
    """Return what stands in the place of a comparison of distances whose bias differs: that of fewer is larger."""
    missing = ("p_mann_whitney", "difference", "low", "high", "p_sign_flip")
    said = " and ".join(f"{size:,}" for size in sizes)
    return {**dict.fromkeys(missing), "reason": f"distances of {said} images have different bias"}


def ends_table(rows: Sequence[Row]) -> list[Row]:
    """Return for each axis and generator what tells its ends apart, in gap, delta-syn and distance.

    On the classes axis the larger end is expected to lose more, on the resolution axis too; on the samples axis the
    larger end is expected to have the larger gap and the smaller delta-syn and distance, as study 003 found. Holm's
    correction is over the gaps of all axes and generators, the study's primary family. Distances are compared only
    where they were taken of as many images.
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
            if value == "distance" and (sizes := [_sizes(of_axis, end) for end in names])[0] != sizes[1]:
                lines[-1] |= _unequal(sorted({*sizes[0], *sizes[1]}))
    primary = [line for line in lines if line["value"] == "gap" and line["p_sign_flip"] is not None]
    for line, adjusted in zip(primary, holm([line["p_sign_flip"] for line in primary]), strict=True):
        line["p_holm"] = float(adjusted)
    return lines
