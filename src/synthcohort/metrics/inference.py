"""Inference: does the release tell a finding of a patient whose image the attacker holds?

The attacker holds one image of every patient and guesses each finding to be that of the synthetic image nearest to it.
The row of a finding is the risk beyond control: how often the guess is right for training patients, beyond how often it
is right for held-out patients, for whom it is medicine and no leak. Needs findings that the synthetic images carry.

A finding that nearly nobody has is guessed right for nearly everybody; such a row says little. Other attributes (sex,
age, site) are not guessed.

Sources: Giomi et al. 2023 (Anonymeter, arXiv:2211.10459, section 4.3); Article 29 Working Party, Opinion 05/2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..runs import derive_seed
from ..types import Array, Features, Value
from ._neighbours import nearest
from ._risk import risk_row
from ._sets import drawn_of_each, flat, missing, unusable

REVISION = 1
SPACE = "audit"
NEEDS_LABELS = True


def score(
    train: Features,
    subject: Features,
    held_out: Features,
    *,
    seed: int,
    labels: tuple[Array, Array, Array],
    findings: Sequence[str],
) -> list[Value]:
    """Return the risk of each finding to be inferred, beyond control.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images that are released.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Decides which image of a patient the attacker holds.
        labels: (n, L), (m, L) and (r, L), 0, 1 or NaN for unknown.
        findings: Names of the L findings.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    reason = unusable(train, subject, held_out) or ("" if len(findings) else "the images carry no findings")
    if reason:
        return [missing("inference", reason, better="lower", unit="share")]
    made, sides = flat(subject).values, (flat(train), flat(held_out))
    guessed = [_guessed(side, made, labels[1], seed=derive_seed(seed, "held")) for side in sides]
    rows = []
    for place, finding in enumerate(findings):
        right = [_right(guess[:, place], labels[2 * number][chosen, place])
                 for number, (chosen, guess) in enumerate(guessed)]  # fmt: skip
        rows.append(risk_row("inference", *right, label=finding, what="patients whose finding is known"))
    return rows


def _guessed(real: Features, made: Array, labels: Array, *, seed: int) -> tuple[Array, Array]:
    """Return one row of each patient, (p,), and the labels of the synthetic image nearest to it, (p, L)."""
    chosen = drawn_of_each(real, 1, seed=seed)[:, 0]
    return chosen, labels[nearest(real.values[chosen], made)[0][:, 0]]


def _right(guess: Array, truth: Array) -> Array:
    known = np.isfinite(guess) & np.isfinite(truth)
    return np.asarray(guess[known] == truth[known])
