"""The analysis of a reader study as plain data: what analysis.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from ..types import Value
from . import _agreement
from ._each_reader import Confusion, confusion, figures
from ._equivalence import Equivalence, equivalence
from ._multireader import Estimate, accuracy, area, detection, share
from ._paper import pooled_binomial, signed_rank
from ._readings import Readings
from ._simulate import Observers
from ._study import Design

SCHEMA = 1
MADE_BY = "synthcohort reader analyse"
Protocol = Literal["recommended", "paper"]

RULE = "A reader counts who answered every image of the study; of an image shown twice the first answer counts."
FEW_READERS = "fewer than two readers finished: nothing can be said about readers in general"
FEW_IMAGES = "fewer than two images of a kind"
NO_SPREAD = "no interval: the readers' answers show no spread"


def analysis(
    design: Design, readings: Readings, *, protocol: Protocol = "recommended", observers: Observers | None = None
) -> dict[str, Any]:
    """Return the content of analysis.json, JSON-ready.

    Args:
        design: Of the study.
        readings: Of the readers who finished.
        protocol: "paper" adds the tests of studies 000 and 003.
        observers: What the readers are like where they were simulated; None for people.
    """
    pooled = _pooled(readings)
    tests = {name: _test(pooled[name], design, readings) for name in ("accuracy", "auc")}
    return {
        "schema": SCHEMA,
        "made_by": MADE_BY,
        "simulated": observers is not None,
        "observers": asdict(observers) if observers else None,
        "study": design.name,
        "subject": design.subject,
        "cohorts": dict(design.cohorts),
        "protocol": protocol,
        "verdict": tests["accuracy"].get("verdict") or "not estimable",
        "design": {
            "margin": design.margin,
            "alpha": design.alpha,
            "images": design.images,
            "synthetic": design.synthetic,
            "repeats": design.repeats,
            "training": design.training,
            "time_limit_s": design.time_limit_s,
            "shape": list(design.shape),
            "go_back": design.go_back,
        },
        "readers": _readers(readings),
        "images": {"real": int((~readings.synthetic).sum()), "synthetic": int(readings.synthetic.sum())},
        "equivalence": tests,
        "pooled": {name: _json(name, found, readings) for name, found in pooled.items()},
        "confusion": _confusion(readings),
        "agreement": {
            "within": _value(_agreement.within(readings.again)),
            "between": _value(_agreement.between(readings.said)),
        },
        "seconds": _seconds(readings),
        "findings": _findings(design, readings),
        "marks": _by_kind(readings.marks > 0, readings.synthetic),
        "paper": _paper(readings) if protocol == "paper" else None,
        "by_reader": [_reader(readings, row) for row in range(len(readings.readers))],
    }


def _pooled(readings: Readings) -> dict[str, Estimate | None]:
    said, kinds = readings.said, readings.synthetic
    found = detection(said, kinds) or (None, None)
    return {
        "accuracy": accuracy(said, kinds),
        "auc": area(readings.ratings, kinds),
        "sensitivity": share(said[:, kinds]),
        "specificity": share(~said[:, ~kinds]),
        "d_prime": found[0],
        "criterion": found[1],
    }


def _why(readings: Readings) -> str:
    return FEW_READERS if len(readings.readers) < 2 else FEW_IMAGES


def _json(name: str, found: Estimate | None, readings: Readings) -> dict[str, Any]:
    if found is None:
        return _value(Value(name, None, status="not_estimable", reason=_why(readings)))
    parts = {"reader_variance": found.reader_part, "case_variance": found.case_part}
    freedom = found.freedom if np.isfinite(found.freedom) else None
    spread = {**parts, "freedom": freedom, "sd_of_readers": float(found.by_reader.std(ddof=1))}
    if found.variance == 0 and found.ends != (0.0, 1.0):
        return {**_value(Value(name, found.value, reason=NO_SPREAD)), **spread}
    ends = found.interval(0.95)
    return {**_value(Value(name, found.value, ends.low, ends.high)), **spread}


def _value(found: Value) -> dict[str, Any]:
    return {key: getattr(found, key) for key in ("value", "low", "high", "status", "reason")}


def _test(found: Estimate | None, design: Design, readings: Readings) -> dict[str, Any]:
    if found is None:
        return {"status": "not_estimable", "reason": _why(readings)}
    test: Equivalence = equivalence(found, margin=design.margin, alpha=design.alpha)
    return {
        "status": "ok",
        "verdict": test.verdict,
        "words": test.words,
        "value": found.value,
        "band": list(test.band),
        "interval": list(test.interval),
        "p": test.p,
        "differs": test.differs,
        "margin": test.margin,
        "alpha": test.alpha,
    }


def _readers(readings: Readings) -> dict[str, Any]:
    left = [
        {"reader": name, "answered": answered, "asked": asked}
        for name, (answered, asked) in readings.unfinished.items()
    ]
    return {"finished": len(readings.readers), "unfinished": left, "rule": RULE}


def _confusion(readings: Readings) -> dict[str, Any] | None:
    """Return the mean and, as the papers print it, the standard deviation with divisor n of each cell."""
    if not readings.readers:
        return None
    each = [confusion(row, readings.synthetic) for row in readings.said]
    names = ("true_reals", "false_synthetics", "true_synthetics", "false_reals")
    cells = {name: np.array([getattr(one, name) for one in each], np.float64) for name in names}
    return {name: {"mean": float(cell.mean()), "sd": float(cell.std())} for name, cell in cells.items()}


def _seconds(readings: Readings) -> dict[str, Any] | None:
    if not readings.readers:
        return None
    quarter, middle, three = np.quantile(readings.seconds, [0.25, 0.5, 0.75])
    wrong = readings.said != readings.synthetic
    return {
        "median": float(middle),
        "quartiles": [float(quarter), float(three)],
        "median_right": float(np.median(readings.seconds[~wrong])) if (~wrong).any() else None,
        "median_wrong": float(np.median(readings.seconds[wrong])) if wrong.any() else None,
        "timed_out": int(readings.timed_out.sum()),
    }


def _findings(design: Design, readings: Readings) -> list[dict[str, Any]]:
    return [
        {"finding": name, **_by_kind(readings.findings[:, :, place], readings.synthetic)}
        for place, name in enumerate(design.findings)
    ]


def _by_kind(told: Any, synthetic: Any) -> dict[str, Any]:
    """Return in how many answers to images of each kind something was said, and of how many."""
    sides = {"real": told[:, ~synthetic], "synthetic": told[:, synthetic]}
    return {kind: {"answers": int(side.sum()), "of": int(side.size)} for kind, side in sides.items()}


def _paper(readings: Readings) -> dict[str, Any] | None:
    if not readings.readers:
        return None
    total, right = len(readings.images), [int(row.sum()) for row in readings.said == readings.synthetic]
    return {
        "signed_rank": asdict(signed_rank(right, total)),
        "pooled_binomial": {
            "right": sum(right),
            "answers": total * len(right),
            "p": pooled_binomial(sum(right), total * len(right)),
        },
    }


def _reader(readings: Readings, row: int) -> dict[str, Any]:
    counts: Confusion = confusion(readings.said[row], readings.synthetic)
    found: Mapping[str, Value] = figures(readings.said[row], readings.ratings[row], readings.synthetic)
    first, second = readings.again[row]
    return {
        "reader": readings.readers[row],
        **asdict(counts),
        **{name: _value(value) for name, value in found.items()},
        "agreement": _value(_agreement.own_kappa(first, second)),
        "repeats": len(first),
        "repeats_agreed": int((first == second).sum()),
        "median_seconds": float(np.median(readings.seconds[row])),
        "quartiles": [float(each) for each in np.quantile(readings.seconds[row], [0.25, 0.75])],
        "timed_out": int(readings.timed_out[row].sum()),
        "marked": int((readings.marks[row] > 0).sum()),
    }
