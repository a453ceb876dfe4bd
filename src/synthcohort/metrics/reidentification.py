"""Re-identification: would a program that recognises patients recognise training patients in the synthetic images?

Two images are compared by the cosine of their centred features; nothing is trained. Whether the space recognises
patients at all is measured on the real images and printed beside: `verification_auc`, the probability that two images
of one patient are more alike than images of two patients. Where that is under 0.9, the attack says nothing and is not
estimable, and neither is it where patients have one image each.

reidentification_auc: probability that a training patient is more alike to their most similar synthetic image than a
    held-out patient is to theirs; 0.5 is chance.
reidentification_hits: share of training patients with a synthetic image that passes as theirs (a similarity that one in
    1,000 pairs of different patients reaches), beyond the share of held-out patients. Many images raise both shares:
    that is what the control is for.

Slices of one volume, or images of one visit, are recognised by more than the patient: a space may pass by knowing the
visit. A stronger verifier may recognise what this one does not.

Sources: Packhauser et al. 2022 (doi:10.1038/s41598-022-19045-3; a radiograph identifies its patient); Giomi et al. 2023
(arXiv:2211.10459; the share beyond control).
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..types import Array, Features, Value
from ._intervals import Floats, clustered_auc
from ._neighbours import nearest
from ._risk import FEWEST_GUESSES, risk_row
from ._sets import codes, drawn_of_each, equal, flat, missing, take, unusable

REVISION = 1
SPACE = "audit"

RECOGNISES = 0.9
FALSE_MATCHES = 0.001


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return how well the space verifies patients, and what it recognises in the synthetic images.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images that are released.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Decides which patients of the larger side, and which two images of a patient are used.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return _unknown(None, reason)
    known, other = equal(flat(train), flat(held_out), seed=derive_seed(seed, "verification"))
    centre = np.concatenate([known.values, other.values]).mean(axis=0, dtype=np.float64)
    pairs = [drawn_of_each(side, 2, seed=derive_seed(seed, "pairs")) for side in (known, other)]
    if sum(map(len, pairs)) < FEWEST_GUESSES:
        return _unknown(None, f"{sum(map(len, pairs))} patients have two images; {FEWEST_GUESSES} are needed")
    units = [_unit(take(side, rows.ravel()).values, centre) for side, rows in zip((known, other), pairs, strict=True)]
    verified, threshold = _verification(np.concatenate(units).reshape(-1, 2, units[0].shape[1]))
    if verified.value is None or verified.value < RECOGNISES:
        return _unknown(verified, f"the space does not recognise patients (same-patient AUC {verified.value:.2f})")
    made = _unit(flat(subject).values, centre)
    best = [_per_patient(side, centre, made) for side in (known, other)]
    area, interval = clustered_auc(best[0], best[1], (np.arange(len(best[0])), np.arange(len(best[1]))))
    hits = [side > threshold for side in best]
    return [
        verified,
        Value("reidentification_auc", area, *interval, better="lower"),
        risk_row("reidentification_hits", *hits),
    ]


def _unknown(verified: Value | None, reason: str) -> list[Value]:
    return [
        verified or missing("verification_auc", reason),
        missing("reidentification_auc", reason, better="lower"),
        missing("reidentification_hits", reason, better="lower", unit="share"),
    ]


def _unit(values: Array, centre: Array) -> Floats:
    """Return rows (n, d) of unit length around the centre; one at the centre has no direction and stays 0."""
    moved = values.astype(np.float64) - centre
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(np.divide(moved, length, out=np.zeros_like(moved), where=length > 0))


def _verification(pairs: Floats) -> tuple[Value, float]:
    """Return the same-patient AUC and the similarity that few pairs of different patients reach.

    Args:
        pairs: (p, 2, d) two images of each patient. The first of each is compared with the second of every other.
    """
    cosines = pairs[:, 0] @ pairs[:, 1].T
    own = np.diag(cosines)
    others = cosines[~np.eye(len(own), dtype=bool)].reshape(len(own), -1)
    known = np.sort(others.ravel())
    placed = sum(np.searchsorted(known, own, side=side) for side in ("left", "right")) / (2 * len(known))
    reason = f"{len(own)} patients with two images, {others.size} pairs of different patients"
    rank = max(1, int(FALSE_MATCHES * (len(known) + 1)))
    return Value("verification_auc", float(np.mean(placed)), reason=reason), float(known[-rank])


def _per_patient(real: Features, centre: Array, made: Floats) -> Floats:
    """Return the highest cosine of each patient with a synthetic image, (p,)."""
    far = nearest(_unit(real.values, centre), made)[1][:, 0]  # of unit vectors: cosine = 1 - distance^2 / 2
    (code,) = codes(real.patients)
    best = np.full(int(code.max()) + 1, -np.inf)
    np.maximum.at(best, code, 1 - far**2 / 2)
    return best
