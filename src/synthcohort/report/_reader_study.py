"""Line 14 of the card: what `reader analyse` found, where its analysis belongs to the cohorts of the EVAL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, Mismatch
from ..types import Score
from ._card_judge import Part
from ._compare import Comparison
from ._numbers import number
from ._read import Evaluation

MADE_BY, SCHEMA = "synthcohort reader analyse", 1
NOT_DONE = "Not done. No reader study was held, so it is not known whether experts can tell."
_SIMULATED = (
    "Not done. A reader study was only simulated, which is no evidence: it is not known whether experts can tell."
)
_NOT_WHOLE = " The record of its answers is not whole."
_SEES = {
    "equivalent": "{n} readers could not tell synthetic from real images",
    "better than chance": "{n} readers could tell synthetic from real images",
    "worse than chance": "{n} readers told the two apart, but took one for the other",
    "cannot tell": "The study of {n} readers is too small to say whether they can tell",
}


def with_reader_study(evaluations: Sequence[Evaluation], path: Path | str | None) -> list[Evaluation]:
    """Return the evaluations, those of the cohorts that a reader study showed with its analysis.

    Args:
        evaluations: Of the report.
        path: analysis.json of `reader analyse`; None for none.

    Raises:
        InputError: The file is no such analysis.
        Mismatch: It is of other cohorts than any of the evaluations.
    """
    if path is None:
        return list(evaluations)
    content = _read(Path(path))
    found = [replace(each, reader_study=content) if _shows(content, each) else each for each in evaluations]
    if not any(each.reader_study for each in found):
        offender = f"{path} is of other cohorts than the evaluation"
        raise Mismatch("A reader study shows the cohorts that are reported", offender, "Name the analysis of these")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["made_by"], content["schema"]) != (MADE_BY, SCHEMA):
            raise ValueError
        _experts(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        rule = "A reader study is an analysis.json of `reader analyse`"
        raise InputError(rule, str(path), "Write --reader-study DIR/analysis.json") from error
    return dict(content)


def _shows(content: Mapping[str, Any], evaluation: Evaluation) -> bool:
    sides = {"real": evaluation.real, "synthetic": evaluation.synthetic}
    return all(
        side.get("identity") and content["cohorts"].get(kind) == side["identity"] for kind, side in sides.items()
    )


def experts(evaluation: Evaluation) -> Part:
    """Return what line 14 says of a cohort."""
    if evaluation.reader_study is None:
        return Part("reader study", None, "shown", "", NOT_DONE)
    return _experts(evaluation.reader_study)


def _experts(content: Mapping[str, Any]) -> Part:
    if content["simulated"] is not False:
        return Part("reader study, simulated, not evidence", None, "shown", "", _SIMULATED)
    test, readers = content["equivalence"]["accuracy"], content["readers"]["finished"]
    if test["status"] != "ok":
        said = f"Could not be estimated: {test['reason']}."
        return Part("accuracy of readers", None, "not_estimable", "", said)
    images = sum(content["images"].values())
    distance, area = content["pooled"]["d_prime"]["value"], content["pooled"]["auc"]["value"]
    said = (
        f"{_SEES[test['verdict']].format(n=readers)}: accuracy {number(test['value'], 'share')} (guessing"
        f" {number(0.5, 'share')}) on {images} images, AUC {number(area)}, d\N{PRIME} {number(distance)}."
        f" Equivalence test with a margin of {number(test['margin'])}: {test['words']}."
        f"{_NOT_WHOLE if content['trail'] else ''}"
    )
    return Part("accuracy of readers", Comparison(_score(content), None, ()), "shown", "", said)


def _score(content: Mapping[str, Any]) -> Score:
    found, images = content["pooled"]["accuracy"], content["images"]
    return Score(
        comparison_id="reader-study",
        role="subject",
        metric="reader_accuracy",
        subject=str(content["study"]),
        arm="readers",
        label="",
        value=float(found["value"]),
        low=float(found["low"]),
        high=float(found["high"]),
        unit="share",
        better="none",
        n_real=int(images["real"]),
        n_synthetic=int(images["synthetic"]),
        extractor="",
        pixels_sha256="",
        seed=0,
        status="ok",
        reason="",
        seconds=0.0,
        versions={},
    )
