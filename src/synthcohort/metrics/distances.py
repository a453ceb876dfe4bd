"""Distances to training images beside distances to held-out ones: a screening, no measure of privacy.

closest_share: share of synthetic images whose nearest real image is a training image, with as many held-out images to
    choose from; 0.5 where nothing was copied (distance to the closest record with its control).
nndr: how much nearer the nearest patient is than the next nearest one, as the mean ratio of the two distances among
    training patients over that among held-out patients; 1 where nothing was copied, lower where something was.
authenticity: share of synthetic images that are further from their nearest training image than that image is from its
    nearest other patient (Alaa et al. 2022). It has no fixed ideal: read it beside `holdout`.

Cohorts that pass such tests can remain open to membership inference (Yao et al. 2025): a distance
finds copies that the space sees, and nothing else. Averages hide a few copies.

Sources: Alaa et al. 2022 (arXiv:2102.08921, section 3); Yao et al. 2025, "The DCR Delusion".
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..statistics import Interval, jackknife_variance, normal_interval, patient_groups
from ..types import Array, Features, Value
from ._intervals import Floats, clustered_share
from ._neighbours import nearest
from ._sets import codes, equal, flat, missing, unusable

REVISION = 1
SPACE = "audit"

_FEWEST_NEAR = 20
"""Real patients that have a synthetic image near them, on either side; with fewer the jackknife is too narrow."""
_SCREENING = "a screening, not a privacy claim"


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return closest_share, nndr and authenticity, at equal numbers of training and held-out images.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images to judge.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Decides which patients of the larger side are used, and the groups of the jackknife.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return [
            missing("closest_share", reason, better="lower", unit="share"),
            missing("nndr", reason, better="higher"),
            missing("authenticity", reason, better="higher", unit="share"),
        ]
    known, other = equal(flat(train), flat(held_out), seed=derive_seed(seed, "distances"))
    made = flat(subject).values
    to_known, to_other = _Nearest(made, known), _Nearest(made, other)
    return [_closest(to_known, to_other), _ratio(to_known, to_other, seed=seed), _authentic(to_known, known)]


class _Nearest:
    """The nearest image of every synthetic one, and the nearest of the next nearest patient."""

    def __init__(self, made: Array, real: Features) -> None:
        found, far = nearest(made, real.values)
        (code,) = codes(real.patients)
        self.position, self.distance = found[:, 0], far[:, 0]
        self.patient = code[self.position]
        self.next_distance = nearest(made, real.values, barred=(self.patient, code))[1][:, 0]

    def ratios(self) -> Floats:
        """Return nearest over next nearest distance, 0 to 1; 1 where both are 0."""
        return np.divide(
            self.distance, self.next_distance, out=np.ones_like(self.distance), where=self.next_distance > 0
        )


def _closest(to_known: _Nearest, to_other: _Nearest) -> Value:
    hits = (to_known.distance < to_other.distance) + 0.5 * (to_known.distance == to_other.distance)
    nearer = to_known.distance <= to_other.distance
    # The patient of the nearest real image decides; all synthetic images near one patient go together.
    patients = np.where(nearer, to_known.patient, -1 - to_other.patient)
    share, interval = clustered_share(hits, patients)
    reason = f"nearest to {len(np.unique(patients))} real patients; 50 % is expected; {_SCREENING}"
    return Value("closest_share", share, *interval, unit="share", better="lower", reason=reason)


def _ratio(to_known: _Nearest, to_other: _Nearest, *, seed: int) -> Value:
    means = [side.ratios() for side in (to_known, to_other)]
    if means[1].mean() == 0:
        return missing("nndr", "every synthetic image is identical to a held-out image", better="higher")
    value = float(means[0].mean() / means[1].mean())
    interval = _log_interval(value, [to_known, to_other], seed=seed)
    low, high = (None, None) if interval is None else interval
    reason = f"{means[0].mean():.3f} among training, {means[1].mean():.3f} among held-out patients; {_SCREENING}"
    return Value("nndr", value, low, high, better="higher", reason=reason)


def _log_interval(value: float, sides: list[_Nearest], *, seed: int) -> Interval | None:
    """Return the interval of a ratio of two means, each over the synthetic images near real patients left out in turn.

    A real patient is left out with the synthetic images that are nearest to them: no distance changes, so nothing has
    to be searched again.
    """
    parts = []
    for number, side in enumerate(sides):
        group = patient_groups(side.patient, seed=derive_seed(seed, "nndr", number), groups=20)
        sizes = np.bincount(group)
        if len(sizes) < _FEWEST_NEAR or value <= 0:
            return None
        ratios = side.ratios()
        logs = [float(np.log(max(ratios[group != left].mean(), 1e-12))) for left in range(len(sizes))]
        parts.append(jackknife_variance(float(np.log(max(ratios.mean(), 1e-12))), logs, sizes))
    found = normal_interval(float(np.log(value)), *parts)
    return None if found is None else Interval(*np.exp(found).tolist())


def _authentic(to_known: _Nearest, known: Features) -> Value:
    (code,) = codes(known.patients)
    apart = nearest(known.values, known.values, barred=(code, code))[1][:, 0]
    share, interval = clustered_share(to_known.distance > apart[to_known.position], to_known.patient)
    return Value("authenticity", share, *interval, unit="share", better="higher", reason=_SCREENING)
