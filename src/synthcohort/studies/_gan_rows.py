"""What study 000's jobs found: the rows of its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..execute import Job, Outcome
from ._gan_jobs import BOTH, SYNTHETIC, Searched
from ._gan_parts import ARM, BEST, CHECKED, TRIAL
from ._spread import rank_correlation

COPIES = ("copies", "copies_excess", "copies_gate")
"""Share that looks like copies, that share less held-out patients', and the p value that it is no more than theirs."""
Row = dict[str, Any]


def read(job: Job, outcomes: Mapping[str, Outcome], name: str) -> Any:
    """Return the content of a job's file, or None where the job did not end well."""
    ended = outcomes[job.key]
    if not ended.done or ended.folder is None:
        return None
    return json.loads((Path(ended.folder) / name).read_text(encoding="utf-8"))


def trial_rows(found: Sequence[Searched], outcomes: Mapping[str, Outcome]) -> tuple[list[Row], list[Row]]:
    """Return a row for each trial that has a distance, and one with a reason for each other."""
    rows, failures = [], []
    for each in found:
        for number, job in enumerate(each.trials):
            known = {"cohort": each.cohort, "generator": each.generator, "trial": number}
            line = read(job, outcomes, TRIAL)
            if line is None or line["distance"] is None:
                reason = outcomes[job.key].reason if line is None else line.get("reason") or "no distance"
                failures.append({**known, "reason": reason})
            else:
                rows.append({**known, **line})
    return rows, failures


def table2(
    originals: Mapping[str, Mapping[str, Job]], found: Sequence[Searched], outcomes: Mapping[str, Outcome]
) -> list[Row]:
    """Return Table 2: distance and Dice of every way to train a U-Net on every cohort."""
    rows: list[Row] = []
    for cohort, jobs in originals.items():
        for kind, job in jobs.items():
            rows.append({"cohort": cohort, "trained": kind, "generator": "", "distance": None, **_dice(job, outcomes)})
        for each in (each for each in found if each.cohort == cohort):
            best = read(each.best, outcomes, BEST) or {}
            for kind in (SYNTHETIC, BOTH):
                distance = best.get("distance") if kind == SYNTHETIC else None
                known = {"cohort": cohort, "trained": kind, "generator": each.generator, "distance": distance}
                rows.append({**known, "trial": best.get("trial"), **_dice(each.arms[kind], outcomes)})
    return rows


def _dice(job: Job, outcomes: Mapping[str, Outcome]) -> Row:
    line = read(job, outcomes, ARM)
    if line is None:
        return {"dice": None, "low": None, "high": None, "reason": outcomes[job.key].reason, "images": None}
    return {"dice": line["value"], **{key: line[key] for key in ("low", "high", "reason", "images", "by_class")}}


def copies(found: Sequence[Searched], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """Return what was found of copies among the samples of each best run, by metric (see `COPIES`) and space."""
    rows = []
    for each in found:
        for score in read(each.checked, outcomes, CHECKED) or ():
            wanted = score["metric"].removeprefix("mask_") in COPIES and score["role"] == "subject"
            if wanted and score["subject"] != "planted copies":
                kept = ("metric", "value", "low", "high", "n_synthetic", "n_real", "extractor", "status", "reason")
                known = {"cohort": each.cohort, "generator": each.generator}
                rows.append({**known, **{key: score[key] for key in kept}})
    return rows


def points(found: Sequence[Searched], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """Return distance and Dice of every checkpoint and of every best run: share 1."""
    rows = []
    for each in found:
        known = {"cohort": each.cohort, "generator": each.generator}
        for job in each.checkpoints:
            line = read(job, outcomes, TRIAL)
            if line and line["distance"] is not None and line["dice"] is not None:
                rows.append({**known, "share": line["share"], "distance": line["distance"], "dice": line["dice"]})
        best, arm = read(each.best, outcomes, BEST), read(each.arms[SYNTHETIC], outcomes, ARM)
        if best and arm and arm["value"] is not None:
            rows.append({**known, "share": 1.0, "distance": best["distance"], "dice": arm["value"]})
    return rows


def correlations(rows: Sequence[Row]) -> list[Row]:
    """Return the rank correlation of smaller distance and larger Dice on each cohort, over generators and over all."""
    lines = []
    for cohort in dict.fromkeys(row["cohort"] for row in rows):
        own = [row for row in rows if row["cohort"] == cohort]
        for over, kept in (("generators", [row for row in own if row["share"] == 1.0]), ("checkpoints", own)):
            found = rank_correlation([-row["distance"] for row in kept], [row["dice"] for row in kept])
            lines.append({"cohort": cohort, "over": over, **found})
    return lines
