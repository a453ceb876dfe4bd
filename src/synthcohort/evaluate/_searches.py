"""Rows of what is found of the training patients: copies, planted copies, attacks; and the verdict on each sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..runs import derive_seed
from ..types import Features, Role, Value
from ._excess import Audited, beyond
from ._planted import sensitivity
from ._rows import COPYCAT, HOLDOUT, PLANTED, Metric, Roles, Rows
from ._sets import ImageSet
from ._spaces import MASKS, decided


def add_copies(
    rows: Rows,
    metric: Metric,
    spaces: Mapping[str, Callable[[ImageSet], Features]],
    real: tuple[ImageSet, ImageSet],
    roles: Roles,
    planted: Mapping[str, ImageSet],
    audited: Audited,
    tests: int,
) -> dict[str, Any]:
    """Add the share of copies, of planted ones that are found, and of copies beyond chance, in every space.

    Args:
        rows: Where the scores go.
        metric: With `score` and `verdicts`, and `calibrate` when it can reuse a calibration.
        spaces: Space -> what a set looks like in it.
        real: Training images, and images of patients that nothing was trained on.
        roles: The cohort, patients of the other reference half, jittered training images.
        planted: Kind -> copies of training images, to measure what share of them is found.
        audited: Where the verdicts on held-out patients and planted copies are kept.
        tests: How many gates share their error level.

    Returns:
        Space -> the verdicts on the subject's images or masks.
    """
    found = {}
    for space, seen in spaces.items():
        train, reference = (seen(each) for each in real)
        reuse: dict[str, Any] = {}
        if hasattr(metric.module, "calibrate"):
            reuse["calibration"] = metric.module.calibrate(train, reference)
        audit, judged = reuse.get("calibration"), {}
        for role, images in roles.items():
            features, start, known = seen(images), time.perf_counter(), dict(reuse)
            if audit is not None and len(features):
                known["judged"] = metric.module.verdicts(train, features, reference, **reuse)
                judged[role] = (images, known["judged"].copy)
            values = metric.score(train, features, reference, seed=derive_seed(rows.seed, metric.name), **known)
            seconds = time.perf_counter() - start
            _add_copies_of(rows, metric, values, role, features, len(train), space, seconds)
            if role == "subject" and values and values[0].status == "ok":
                found[space] = known.get("judged") or metric.module.verdicts(train, features, reference)
        if not hasattr(metric.module, "beyond"):
            continue
        counts: dict[str, tuple[int, int]] = {}
        if audit is not None:
            audited.calibrations[space] = audit
            if "ceiling" in judged:
                audited.add(HOLDOUT, roles.ceiling, space, judged["ceiling"][1])
            counts = _add_sensitivity(rows, metric, space, seen, (train, reference), planted, reuse, audited)
        all_found = (sum(n for n, _ in counts.values()), sum(n for _, n in counts.values()))
        for role, values in beyond(metric.module, judged, all_found, audit, tests).items():
            _add_copies_of(rows, metric, values, role, seen(getattr(roles, role)), len(train), space, 0.0)
    return found


def _add_sensitivity(
    rows: Rows,
    metric: Metric,
    space: str,
    seen: Callable[[ImageSet], Features],
    real: tuple[Features, Features],
    planted: Mapping[str, ImageSet],
    reuse: Mapping[str, Any],
    audited: Audited,
) -> dict[str, tuple[int, int]]:
    train, reference = real
    start, counts, extractor = time.perf_counter(), {}, train.name
    for kind, images in planted.items():
        judged = metric.module.verdicts(train, seen(images), reference, **reuse)
        counts[kind] = (int(judged.copy.sum()), len(images))
        audited.add(kind, images, space, judged.copy)
    for value in sensitivity(counts):
        rows.add(
            value,
            family=metric.space,
            space=space,
            role="subject",
            subject=PLANTED,
            arm=metric.space,
            n_real=len(train),
            n_synthetic=sum(n for kind, (_, n) in counts.items() if value.label in (kind, "all")),
            extractor=extractor,
            seconds=time.perf_counter() - start,
        )
    return counts


def _add_copies_of(
    rows: Rows,
    metric: Metric,
    values: Sequence[Value],
    role: Role,
    features: Features,
    n_train: int,
    space: str,
    seconds: float,
) -> None:
    for value in values:
        rows.add(
            value,
            family=metric.space,
            space=space,
            role=role,
            subject="" if role == "subject" else {"ceiling": HOLDOUT, "bad": COPYCAT}[role],
            arm=metric.space,
            n_real=n_train,
            n_synthetic=len(features),
            extractor=features.name,
            seconds=seconds,
        )


def add_audit(
    rows: Rows,
    metric: Metric,
    space: str,
    seen: Callable[[ImageSet], Features],
    real: tuple[ImageSet, ImageSet],
    roles: Roles,
    findings: Sequence[str],
) -> None:
    """Add what an attack on the patients finds, in one feature space.

    Args:
        rows: Where the scores go.
        metric: With `score(train, subject, held_out, *, seed)`; one with NEEDS_LABELS is given labels and findings too.
        space: What the space is called.
        seen: What a set looks like in it.
        real: Members (training images), and non-members (images of held-out patients).
        roles: The cohort, patients of the other reference half, jittered training images.
        findings: Names of the labels.
    """
    members, others = (seen(each) for each in real)
    for role, images in roles.items():
        told: dict[str, Any] = {}
        if getattr(metric.module, "NEEDS_LABELS", False):
            told = {"labels": (real[0].labels, images.labels, real[1].labels), "findings": findings}
        features, start = seen(images), time.perf_counter()
        values = metric.score(members, features, others, seed=derive_seed(rows.seed, metric.name), **told)
        _add_copies_of(rows, metric, values, role, features, len(members), space, time.perf_counter() - start)


def verdict_table(
    sample_ids: Sequence[str], train_ids: Sequence[str], verdicts: Mapping[str, Any], violations: Any = None
) -> pd.DataFrame:
    """Return samples.parquet: sample_id, nearest_<space>, similarity_<space>, and `copy`, the verdict over spaces.

    Where masks were judged, the space "masks" is among them, and `mask_copy` is their verdict.

    Args:
        sample_ids: Of the scored cohort.
        train_ids: Of the real training images.
        verdicts: Space -> what the metric found.
        violations: Which constraints each sample breaks, for columns violates_<group>, or None.
    """
    table: dict[str, Any] = {"sample_id": list(sample_ids)}
    for space, found in verdicts.items():
        table[f"nearest_{space}"] = np.asarray(train_ids, dtype=object)[found.nearest]
        table[f"similarity_{space}"] = np.asarray(found.similarity, np.float64)
    table["copy"] = pd.array(decided(verdicts, len(sample_ids)), dtype="boolean")
    if MASKS in verdicts:
        table["mask_copy"] = pd.array(verdicts[MASKS].copy, dtype="boolean")
    if violations is not None:
        table |= {f"violates_{group}": pd.array(broken, dtype="boolean") for group, broken in violations.broken.items()}
    result: pd.DataFrame = pd.DataFrame(table)
    return result
