"""Linkability: do synthetic images help to find out that two images belong to one patient?

The attacker holds two images of every patient and says that they belong together when the same synthetic image is
nearest to both. The row is the risk beyond control: how often that is right of training patients, beyond how often it
is right of held-out patients. It needs patients with two images.

A generator that repeats single images raises no risk here, since each copy is near to one image only; one that blends
the images of a patient, or repeats what is the patient's own, does. Slices of one volume are alike for everyone, which
the control takes out.

Sources: Giomi et al. 2023 (Anonymeter, arXiv:2211.10459, section 4.2); Article 29 Working Party, Opinion 05/2014.
"""

from __future__ import annotations

import numpy as np

from ..runs import derive_seed
from ..types import Array, Features, Value
from ._neighbours import nearest
from ._risk import risk_row
from ._sets import drawn_of_each, flat, missing, take, unusable

REVISION = 1
SPACE = "audit"


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return the risk that two images of a patient are linked, beyond control.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images that are released.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Decides which two images of a patient the attacker holds.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return [missing("linkability", reason, better="lower", unit="share")]
    made = flat(subject).values
    attack, control = (_linked(flat(side), made, seed=derive_seed(seed, "pairs")) for side in (train, held_out))
    return [risk_row("linkability", attack, control, what="patients with two images")]


def _linked(real: Features, made: Array, *, seed: int) -> Array:
    """Return for each patient with two images whether one synthetic image is nearest to both, (p,) bool."""
    pairs = drawn_of_each(real, 2, seed=seed)
    if not len(pairs):
        return np.zeros(0, bool)
    found = nearest(take(real, pairs.ravel()).values, made)[0].reshape(pairs.shape)
    return np.asarray(found[:, 0] == found[:, 1])
