"""Singling out: is a training patient the only one that some synthetic image resembles?

A synthetic image singles a patient out when an image of theirs lies nearer than real patients lie to each other (nearer
than 99 % of real images are to their nearest other patient) and no other patient of the same side does. The row is the
risk beyond control: the share of training patients who are singled out, beyond the share of as many held-out patients,
whom the generator cannot have learnt.

It follows Anonymeter's scheme (attack minus control) for images; it is not the predicate search that Anonymeter runs on
tables, and the space decides what it can see.

Sources: Giomi et al. 2023 (Anonymeter, arXiv:2211.10459); Article 29 Working Party, Opinion 05/2014.
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..types import Array, Features, Value
from ._neighbours import nearest
from ._risk import risk_row
from ._sets import codes, equal, flat, missing, unusable

REVISION = 1
SPACE = "audit"

NEARER_THAN = 0.01
_SAME = 1e-5  # of the median distance between patients: nearer ones are one person entered twice


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return the risk of being singled out, beyond control.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images that are released.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Decides which patients of the larger side are used.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return [missing("singling_out", reason, better="lower", unit="share")]
    known, other = equal(flat(train), flat(held_out), seed=derive_seed(seed, "singling out"))
    radius = _radius(np.concatenate([known.values, other.values]), codes(known.patients, other.patients))
    if radius is None:
        return [missing("singling_out", "all patients look the same", better="lower", unit="share")]
    made = flat(subject).values
    return [risk_row("singling_out", _singled_out(made, known, radius), _singled_out(made, other, radius))]


def _radius(values: Array, patients: list[Array]) -> float | None:
    """Return the distance that few real images have another patient within; both sides have a part in it alike."""
    code = np.concatenate(patients)
    apart = nearest(values, values, barred=(code, code))[1][:, 0]
    apart = np.sort(apart[apart > _SAME * np.median(apart)])
    return float(apart[max(0, int(NEARER_THAN * (len(apart) + 1)) - 1)]) if len(apart) else None


def _singled_out(made: Array, real: Features, radius: float) -> Array:
    """Return for each patient whether some synthetic image is near to them alone, (p,) bool."""
    (code,) = codes(real.patients)
    found, far = nearest(made, real.values)
    nearest_patient = code[found[:, 0]]
    next_far = nearest(made, real.values, barred=(nearest_patient, code))[1][:, 0]
    hits = (far[:, 0] <= radius) & (next_far > radius)
    return np.asarray(np.bincount(nearest_patient[hits], minlength=int(code.max()) + 1) > 0)
