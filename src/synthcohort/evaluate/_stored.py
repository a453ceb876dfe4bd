"""Rows of metrics on samples as they are stored: constraints, shares of structures, traces of storage."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..cohort import Facts
from ..progress import track
from ..runs import derive_seed
from ..types import Role, Samples
from ._rows import GAUSSIAN, REAL, Metric, Roles, Rows
from ._sets import ImageSet

CLEAR = 0.9
"""Area under the curve from which a classifier tells two sets apart clearly."""


def add_all(
    rows: Rows, metrics: Sequence[Metric], facts: Facts, findings: Sequence[str], train: ImageSet, roles: Roles
) -> Any:
    """Add every metric of samples, and return which constraints each sample of the subject breaks, or None.

    Args:
        rows: Where the scores go; those of classifiers are there already.
        metrics: Of SPACE "samples".
        facts: Of the real cohort.
        findings: Names of the labels.
        train: The real training images.
        roles: The cohort, held-out patients, and the bad case.
    """

    def stored(images: ImageSet) -> Samples:
        names = tuple(facts.mask_classes)
        return Samples(
            images.images, images.masks, images.labels, images.patients, facts.value_range, names, tuple(findings)
        )

    real, judged, verdicts = stored(train), {role: stored(images) for role, images in roles.items()}, None
    for metric in track(metrics, "Samples", len(metrics), "metrics"):
        verdicts = add_samples(rows, metric, real, judged) or verdicts
    name_traces(rows)
    return verdicts


def add_samples(rows: Rows, metric: Metric, real: Samples, roles: Mapping[Role, Samples]) -> Any:
    """Add a metric of samples as stored, against the real training images; return its verdicts on the subject, or None.

    Args:
        rows: Where the scores go.
        metric: With `score`; with `learn` and `verdicts` when it judges each sample.
        real: The real training images.
        roles: The cohort, held-out patients, and the bad case.
    """
    seed = derive_seed(rows.seed, metric.name)
    reuse = {"learnt": metric.module.learn(real)} if hasattr(metric.module, "learn") else {}
    for role, samples in roles.items():
        start = time.perf_counter()
        values = metric.score(real, samples, seed=seed, **reuse)
        seconds = time.perf_counter() - start
        for value in values:
            rows.add(
                value,
                family="samples",
                space="stored",
                role=role,
                subject="" if role == "subject" else {"ceiling": REAL, "bad": GAUSSIAN}[role],
                arm="samples",
                n_real=len(real),
                n_synthetic=len(samples),
                seconds=seconds,
            )
    return metric.module.verdicts(real, roles["subject"], seed=seed, **reuse) if reuse else None


def name_traces(rows: Rows) -> None:
    """Say in the rows of a classifier that tells the subject apart that traces of storage are enough for it."""
    found = next((row for row in rows.scores if row.metric == "traces_auc" and row.role == "subject"), None)
    if found is None or found.value is None or found.value < CLEAR:
        return
    said = f"traces of storage alone reach {found.value:.3f}, whatever the images show: {found.reason}"
    rows.scores[:] = [
        replace(row, reason=said)
        if row.metric == "c2st_auc" and row.role == "subject" and row.value is not None and row.value >= CLEAR
        else row
        for row in rows.scores
    ]
