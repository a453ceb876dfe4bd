"""Rows of scores.jsonl: values that a metric returned, put into the context in which they were measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from .. import plugins
from ..runs import derive_seed
from ..types import Better, Features, Role, Score, Value
from ._excess import Audited, beyond
from ._planted import sensitivity
from ._sets import ImageSet
from ._spaces import MASKS, FeatureCache, decided

GAUSSIAN, COPYCAT, HOLDOUT, REAL, PLANTED = "gaussian", "copycat", "holdout", "real", "planted copies"
FEWEST_OF_A_FINDING = 20


@dataclass(frozen=True)
class Metric:
    """A metric plugin with the constants of its module."""

    name: str
    module: Any
    score: Callable[..., list[Value]]

    @property
    def space(self) -> str:
        """Return what it is computed on: "features", "samples", "copies", "masks", "audit" or "predictions"."""
        return str(self.module.SPACE)

    @property
    def revision(self) -> int:
        """Return its revision."""
        return int(self.module.REVISION)


def metrics(names: Iterable[str]) -> list[Metric]:
    """Return metric plugins by name.

    Raises:
        UnknownName: There is none of a name.
    """
    found = [(name, plugins.find("metrics", name)) for name in names]
    return [Metric(name, sys.modules[score.__module__], score) for name, score in found]


@dataclass
class Rows:
    """Collects scores.

    Attributes:
        subject: Name of what is scored.
        pixels_sha256: Of both cohorts.
        seed: Of the evaluation.
        versions: Of what the numbers depend on.
        scores: The rows so far.
    """

    subject: str
    pixels_sha256: str
    seed: int
    versions: Mapping[str, str]
    scores: list[Score] = field(default_factory=list)

    def add(
        self,
        value: Value,
        *,
        family: str,
        space: str,
        role: Role,
        subject: str = "",
        arm: str,
        n_real: int,
        n_synthetic: int,
        extractor: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Add one value.

        Args:
            value: What was measured.
            family: "image", "samples", "copies", "masks", "audit", "train" or "test": part of the comparison's name.
            space: The feature space's name without digest, or the task's.
            role: subject, ceiling or bad.
            subject: What was scored; the cohort's own name when left out.
            arm: Trained on -> tested on, or the family.
            n_real: Real images compared.
            n_synthetic: Images in the subject's place.
            extractor: The space with the digest of its weights.
            seconds: What it took.
        """
        self.scores.append(
            Score(
                comparison_id="|".join((value.metric, space, family, value.label)),
                role=role,
                metric=value.metric,
                subject=subject or self.subject,
                arm=arm,
                label=value.label,
                value=value.value,
                low=value.low,
                high=value.high,
                unit=value.unit,
                better=value.better,
                n_real=n_real,
                n_synthetic=n_synthetic,
                extractor=extractor,
                pixels_sha256=self.pixels_sha256,
                seed=self.seed,
                status=value.status,
                reason=value.reason,
                seconds=round(seconds, 3),
                versions=self.versions,
            )
        )


@dataclass(frozen=True)
class Roles:
    """One set for each role; the subject's place is taken by each in turn."""

    subject: ImageSet
    ceiling: ImageSet
    bad: ImageSet

    def items(self) -> list[tuple[Role, ImageSet]]:
        """Return (role, set) in the order of the rows."""
        return [("subject", self.subject), ("ceiling", self.ceiling), ("bad", self.bad)]


@dataclass(frozen=True)
class Sides:
    """What a distance is taken between: held-out real images, and each role's images, in one feature space."""

    real: ImageSet
    roles: Roles
    cache: FeatureCache
    extractor: Any

    def seen(self, images: ImageSet) -> Features:
        """Return images in the space; where numbers have no common unit, in standard deviations of the real side."""
        features = self.cache.features(images, self.extractor)
        if not getattr(self.extractor, "MIXED_UNITS", False) or not len(self.real):
            return features
        real = np.asarray(self.cache.features(self.real, self.extractor).values, np.float64)
        spread = real.std(axis=0)
        scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9 * np.abs(real).max(axis=0))
        return replace(features, values=(features.values - real.mean(axis=0)) * scale)


def add_distances(rows: Rows, metric: Metric, space: str, sides: Sides) -> None:
    """Add a metric between held-out real images and each role, in one feature space."""
    reference = sides.seen(sides.real)
    for role, images in sides.roles.items():
        _add_distance(rows, metric, space, role, reference, sides.seen(images))


def add_distances_per_label(rows: Rows, metric: Metric, space: str, sides: Sides, findings: Sequence[str]) -> None:
    """Add the same for the images that have a finding, each finding at equal numbers in every role.

    A module whose `PER_LABEL` is a tuple names the values that are taken.
    """
    wanted = metric.module.PER_LABEL
    for place, finding in enumerate(findings):
        shown = {
            role: images.take(np.flatnonzero(images.labels[:, place] == 1)) for role, images in sides.roles.items()
        }
        reference = _with(sides, sides.real, place)
        count = min(len(images) for images in shown.values())
        if min(count, len(reference)) < FEWEST_OF_A_FINDING:
            reason = f"fewer than {FEWEST_OF_A_FINDING} images of one side have it"
            names = wanted if isinstance(wanted, tuple) else (metric.name,)
            for name in names:
                better: Better = "higher" if isinstance(wanted, tuple) else "lower"
                value = Value(name, None, better=better, label=finding, status="not_estimable", reason=reason)
                rows.add(value, family="image", space=space, role="subject", arm="image", n_real=len(reference),
                         n_synthetic=len(shown["subject"]), extractor=sides.extractor.name)  # fmt: skip
            continue
        rng = np.random.default_rng(derive_seed(rows.seed, "per label", finding))
        for role, images in sides.roles.items():
            features = _with(sides, images, place)
            kept = np.sort(rng.choice(len(features), count, replace=False))
            features = replace(features, values=features.values[kept], patients=features.patients[kept])
            _add_distance(rows, metric, space, role, reference, features, label=finding, wanted=wanted)


def _with(sides: Sides, images: ImageSet, place: int) -> Features:
    """Return the features of the images that have a finding; the set is extracted as a whole, once for all findings."""
    features, kept = sides.seen(images), images.labels[:, place] == 1
    return replace(features, values=features.values[kept], patients=features.patients[kept])


def _add_distance(
    rows: Rows,
    metric: Metric,
    space: str,
    role: Role,
    reference: Features,
    features: Features,
    *,
    label: str = "",
    wanted: bool | tuple[str, ...] = True,
) -> None:
    start = time.perf_counter()
    values = metric.score(reference, features, seed=derive_seed(rows.seed, metric.name))
    seconds = time.perf_counter() - start
    for value in values:
        if isinstance(wanted, tuple) and value.metric not in wanted:
            continue
        rows.add(
            replace(value, label=label or value.label),
            family="image",
            space=space,
            role=role,
            subject="" if role == "subject" else {"ceiling": REAL, "bad": GAUSSIAN}[role],
            arm="image",
            n_real=len(reference),
            n_synthetic=len(features),
            extractor=features.name,
            seconds=seconds,
        )


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
