"""The proof before a study may start: that the way images leave says nothing about what they are.

1. Export. Real images that readers do not judge go along both roads, the real one and that of synthetic images. Let a
share q of images come out differently. Whatever looks at them, its area under the ROC curve is at most
0.5 + q - q^2 / 2: the two distributions overlap in 1 - q, so no ROC curve rises above the false alarm rate by more than
q. The exact upper limit of q over patients (Clopper and Pearson) therefore bounds every classifier, not just ours, and
with no image changed it takes `FEWEST_PATIENTS` patients for that bound to reach `LIMIT`. A penalised logistic
regression on traces of processing, cross-fitted by patient, is reported and has to stay below the limit as well.

2. Container. Facts that are no picture content must not tell exported real from synthetic images: each fact's area,
either way round, has to stay below the limit with its 95 % interval over patients. All images leave in one file, so
there is one header and one time of writing for all of them.

3. Pixels. How well programs tell the kinds apart by what is shown is reported and decides nothing: it is what a
generator is judged by, and a reader is no program.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import plugins
from ..cohort import Cohort
from ..errors import InputError
from ..metrics import c2st, traces
from ..runs import derive_seed
from ..statistics import Interval, Variance, clopper_pearson, normal_interval, patient_groups
from ..types import SPLITS, Array, Features, Samples, Value
from ._draw import held_out
from ._export import PATHS, exported
from ._facts import comb, container, statistics

SCHEMA = 1
LIMIT = 0.55
FEWEST_PATIENTS = 71
"""With this many patients of whom no image changed, the exact 95 % limit keeps every classifier below `LIMIT`."""
MOST_IMAGES, FEWEST_COMPARED = 1000, 100
MOST_VALUES = 1 << 25
"""Of the images of one kind that are compared, which lie in memory together."""
FOLDS = 5
SPACES = ("pixels", "texture")
_CHUNK = 16

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve with its 95 % interval over patients.

    Attributes:
        auc: 0 to 1; 0.5 says nothing.
        interval: Of `auc`.
    """

    auc: float
    interval: Interval

    @property
    def most(self) -> float:
        """Return how far the interval reaches from 0.5 on either side, as an area."""
        return max(self.interval.high, 1 - self.interval.low)

    def to_json(self) -> dict[str, float]:
        """Return it as plain numbers."""
        return {"auc": self.auc, "low": self.interval.low, "high": self.interval.high}


def proof(real: Cohort, subject: Cohort, shown: Rows, *, seed: int) -> dict[str, Any]:
    """Return the content of proof.json.

    Args:
        real: The real cohort.
        subject: The cohort of the images called synthetic.
        shown: Rows of the real cohort that readers see; they are no reference images.
        seed: Decides which images are looked at, and folds.

    Raises:
        InputError: The export paths can be told apart, there are too few patients to know, or a container fact tells.
    """
    return {
        "schema": SCHEMA,
        "limit": LIMIT,
        "export": _export(real, shown, seed),
        **_compared(real, subject, seed),
    }


def _export(real: Cohort, shown: Rows, seed: int) -> dict[str, Any]:
    rows = _reference(real, shown, seed)
    patients = real.samples["patient_id"].astype(str).to_numpy()[rows]
    number = len(np.unique(patients))
    if number < FEWEST_PATIENTS:
        raise InputError(
            f"That both export paths are alike is proved on {FEWEST_PATIENTS} patients or more whom readers do not see",
            f"{real.path.name} has {number}",
            "Prepare more patients (of any split), or ask for fewer --images",
        )
    changed, sides = _both_ways(real, rows)
    altered = len(np.unique(patients[changed]))
    share = clopper_pearson(altered, number).high
    bound = 0.5 + share - share**2 / 2
    found = told_apart(*sides, patients, seed=derive_seed(seed, "reader", "export"))
    if max(bound, found.most) > LIMIT:
        raise InputError(
            f"Reference images sent along both export paths cannot be told apart (AUC at most {LIMIT})",
            f"images of {altered} of {number} patients come out differently; AUC {found.auc:.2f}, possibly {bound:.2f}",
            "Use an unchanged version of this program",
        )
    counts = {"images": len(rows), "patients": number, "patients_with_changed_images": altered}
    return {**counts, "any_classifier_at_most": bound, "classifier": found.to_json()}


def _reference(real: Cohort, shown: Rows, seed: int) -> Rows:
    """Return real images of patients whom readers do not see, as many patients as possible.

    Of every split: what is proved is about the way out, not about patients.
    """
    every = np.concatenate([real.split(name) for name in SPLITS])
    owners = real.samples["patient_id"].astype(str).to_numpy()
    free = every[~np.isin(owners[every], owners[shown])]
    return _spread(free, owners, MOST_IMAGES, derive_seed(seed, "reader", "reference"))


def _spread(rows: Rows, owners: Array, most: int, seed: int) -> Rows:
    """Return at most `most` rows, a second image of a patient only when every patient has one."""
    mixed = np.random.default_rng(seed).permutation(np.sort(rows))
    seen: dict[Any, int] = {}
    turn = np.empty(len(mixed), np.int64)
    for place, owner in enumerate(owners[mixed]):
        turn[place] = seen[owner] = seen.get(owner, -1) + 1
    return np.sort(mixed[np.argsort(turn, kind="stable")][:most])


def _both_ways(real: Cohort, rows: Rows) -> tuple[npt.NDArray[np.bool_], tuple[Floats, Floats]]:
    """Return which images come out differently, and the statistics of what comes out either way."""
    changed, found = [], {kind: [] for kind in PATHS}  # type: ignore[var-annotated]
    for images in _chunks(real, rows):
        ways = {
            kind: np.stack([path(image, real.facts.value_range) for image in images]) for kind, path in PATHS.items()
        }
        first, second = ways.values()
        same_kind = first.dtype == second.dtype and first.shape == second.shape
        changed.append((first != second).any(axis=(1, 2, 3)) if same_kind else np.ones(len(images), bool))
        for kind, way in ways.items():
            found[kind].append(statistics(way))
    return np.concatenate(changed), tuple(np.concatenate(parts) for parts in found.values())  # type: ignore[return-value]


def _chunks(cohort: Cohort, rows: Rows) -> Iterator[Array]:
    for start in range(0, len(rows), _CHUNK):
        yield np.asarray(cohort.images[rows[start : start + _CHUNK]])


def told_apart(first: Floats, second: Floats, patients: Array, *, seed: int) -> Area:
    """Return how well a probe tells which way images of the same patients went.

    Folds are over patients, and both ways of an image are in one fold; so a probe that sees no difference has exactly
    0.5, without any spread.

    Args:
        first: (n, d) statistics of images one way.
        second: (n, d) of the same images the other way.
        patients: (n,).
        seed: Decides the folds.
    """
    fold = patient_groups(patients, seed=seed, groups=FOLDS)
    areas, parts, owners = [], [], []
    for held in range(FOLDS):
        kept, tested = fold != held, fold == held
        scores = c2st.scores((first[kept], second[kept]), (first[tested], second[tested]))
        below, above = c2st.placements(*scores)
        areas.append(float(below.mean()))
        parts += [(side - side.mean()) / len(side) / FOLDS for side in (below, above)]
        owners += [patients[tested]] * 2
    return _area(float(np.mean(areas)), np.concatenate(parts), np.concatenate(owners))


def one_fact(real: Floats, subject: Floats, patients: tuple[Array, Array]) -> Area:
    """Return how well one number tells two kinds apart, higher speaking for the second.

    Args:
        real: (n,) the number of each real image.
        subject: (m,) of each image called synthetic.
        patients: (n,) and (m,); a patient's images are of one kind.
    """
    below, above = c2st.placements(real, subject)
    parts = [(side - side.mean()) / len(side) for side in (below, above)]
    owners = [np.char.add(name, owner.astype(str)) for name, owner in zip("rs", patients, strict=True)]
    return _area(float(below.mean()), np.concatenate(parts), np.concatenate(owners))


def _area(auc: float, parts: Floats, owners: Array) -> Area:
    """Return an area with the clustered interval (Obuchowski 1997); of a perfect one, the exact one."""
    _, owner = np.unique(owners, return_inverse=True)
    sums = np.bincount(owner, weights=parts)
    if auc in (0.0, 1.0):
        return Area(auc, clopper_pearson(round(auc * len(sums)), len(sums)))
    variance = float(sums @ sums) * len(sums) / (len(sums) - 1)
    interval = normal_interval(auc, Variance(variance, float(len(sums) - 1)))
    assert interval is not None, "a variance is given"
    return Area(auc, interval.clipped(0.0, 1.0))


def _compared(real: Cohort, subject: Cohort, seed: int) -> dict[str, Any]:
    """Return what container facts and pixels tell of exported real and synthetic images.

    Raises:
        InputError: A container fact tells.
    """
    images, patients = _samples(real, subject, seed)
    facts = _container(*images, patients)
    for name, area in facts.items():
        if area.most > LIMIT:
            raise InputError(
                f"What a file is like must not tell real from synthetic images (AUC at most {LIMIT})",
                f"{name} reach {area.auc:.2f} (95 % interval {area.interval.low:.2f} to {area.interval.high:.2f})",
                "Prepare both kinds alike: the same bits, and no image stretched or coarsened after it was rounded",
            )
    shown = {name: area.to_json() for name, area in facts.items()}
    sizes = {"real_images": len(images[0]), "synthetic_images": len(images[1])}
    return {"container": {**sizes, "files": 1, "facts": shown}, "pixels": _pixels(real, images, patients, seed)}


def _samples(real: Cohort, subject: Cohort, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return exported images of both kinds (n, H, W, C), real ones held out, and their patients."""
    most = int(np.clip(MOST_VALUES // int(np.prod(real.facts.shape)), FEWEST_COMPARED, MOST_IMAGES))
    images, patients = [], []
    for cohort, kind in ((real, "real"), (subject, "synthetic")):
        every = np.concatenate([cohort.split(name) for name in SPLITS])
        rows = held_out(cohort) if cohort.facts.provenance == "real" else np.sort(every)
        owners = cohort.samples["patient_id"].astype(str).to_numpy()
        chosen = _spread(rows, owners, most, derive_seed(seed, "reader", "compared", kind))
        images.append(np.stack([exported(cohort.images[row], cohort.facts.value_range) for row in chosen]))
        patients.append(owners[chosen])
    return (images[0], images[1]), (patients[0], patients[1])


def _container(real: Array, subject: Array, patients: tuple[Array, Array]) -> dict[str, Area]:
    """Return each fact's area. A comb that both kinds have in common tells nothing: neither has pixels on it."""
    own, other = container(real, comb(subject)), container(subject, comb(real))
    return {name: one_fact(own[name], other[name], patients) for name in own}


def _pixels(real: Cohort, images: tuple[Array, Array], patients: tuple[Array, Array], seed: int) -> dict[str, Any]:
    """Return how well programs tell the kinds apart by what is shown; never a condition."""
    stored = [each.transpose(0, 3, 1, 2) for each in images]
    found: dict[str, Any] = {}
    for name in SPACES:
        extractor = plugins.find("extractors", name)()
        sides = [_extracted(extractor, each, real.facts.value_range) for each in stored]
        made = [Features(values, owner, name) for values, owner in zip(sides, patients, strict=True)]
        found[name] = _plain(c2st.score(made[0], made[1], seed=seed)[0])
    as_stored = [
        Samples(each, None, np.empty((len(each), 0)), owner, real.facts.value_range)
        for each, owner in zip(stored, patients, strict=True)
    ]
    found["traces of processing"] = _plain(traces.score(as_stored[0], as_stored[1], seed=seed)[0])
    sizes = [np.array([len(zlib.compress(image.tobytes(), 6)) for image in each], np.float64) for each in images]
    found["size if it were compressed"] = one_fact(sizes[0], sizes[1], patients).to_json()
    return found


def _extracted(extractor: Any, images: Array, value_range: tuple[float, float]) -> Array:
    """Return features (n, d), made of few images at a time: whole reading-room images are large."""
    starts = range(0, len(images), _CHUNK)
    parts = [extractor.extract(images[start : start + _CHUNK], value_range) for start in starts]
    return np.concatenate(parts).reshape(len(images), -1)


def _plain(value: Value) -> Mapping[str, Any]:
    if value.status != "ok":
        return {"auc": None, "reason": value.reason}
    return {"auc": value.value, "low": value.low, "high": value.high}
