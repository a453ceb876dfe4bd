"""Rows of distances between held-out real images and each role, over all images and for each finding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..runs import derive_seed
from ..types import Better, Features, Role, Value
from ._rows import GAUSSIAN, REAL, Metric, Roles, Rows
from ._sets import ImageSet
from ._spaces import FeatureCache

FEWEST_OF_A_FINDING = 20


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
