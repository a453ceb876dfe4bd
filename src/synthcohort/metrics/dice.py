"""Dice overlap of predicted and true masks, per group (a volume or study) and per slice.

Source: Dice 1945; 2 |A and B| / (|A| + |B|). Higher is better, 1 is ideal. Rule for empty masks, in every group and
class: both empty, the class does not occur and the group is not counted (NaN); one empty, the overlap is 0. All slices
of a group are pooled before the division, so a volume's value is the volume's overlap, not a mean over slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ..statistics import cluster_bootstrap, percentile_interval
from ..types import Array, Value

REVISION = 1
SPACE = "predictions"


def dice_table(
    truth: Array, predicted: Array, groups: Array, classes: Sequence[int]
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Return (group ids (G,) sorted, Dice (G, K) float64, NaN where the class is in neither mask).

    Args:
        truth: (n, H, W) class index.
        predicted: (n, H, W) class index.
        groups: (n,) group of each slice; give `np.arange(n)` for slice-level Dice.
        classes: The K class indices to score.
    """
    ids, group_of_slice = np.unique(np.asarray(groups), return_inverse=True)
    table = np.full((len(ids), len(classes)), np.nan)
    for column, index in enumerate(classes):
        both, total = np.zeros(len(ids)), np.zeros(len(ids))
        a, b = np.asarray(truth) == index, np.asarray(predicted) == index
        np.add.at(both, group_of_slice, np.sum(a & b, axis=(1, 2)))
        np.add.at(total, group_of_slice, np.sum(a, axis=(1, 2)) + np.sum(b, axis=(1, 2)))
        np.divide(2 * both, total, out=table[:, column], where=total > 0)
    return ids, table


def mean_dice(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over groups of each class and then over classes, (K + 1,): one value per class, the mean last.

    A class that no group has is NaN and left out of the mean.
    """
    counted = np.isfinite(table)
    sums, counts = np.where(counted, table, 0.0).sum(axis=0), counted.sum(axis=0)
    per_class = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    present = per_class[np.isfinite(per_class)]
    return np.append(per_class, present.mean() if len(present) else np.nan)


def score(
    truth: Array, predicted: Array, groups: Array, patients: Array, *, classes: Mapping[str, int], seed: int
) -> list[Value]:
    """Return the mean Dice over groups for each class and "mean", with patient-bootstrap intervals.

    Args:
        truth: (n, H, W) class index.
        predicted: (n, H, W) class index.
        groups: (n,) group of each slice.
        patients: (n,) patient of each slice; a group belongs to one patient.
        classes: Class name -> index, background left out.
        seed: Decides the bootstrap draws.
    """
    _, table = dice_table(truth, predicted, groups, list(classes.values()))
    _, first = np.unique(np.asarray(groups), return_index=True)
    patients_of_groups = np.asarray(patients)[first]
    values = mean_dice(table)
    rows = []
    for column, name in enumerate([*classes, "mean"]):
        if not np.isfinite(values[column]):
            reason = "no image has this class"
            rows.append(Value("dice", None, better="higher", label=name, status="not_estimable", reason=reason))
            continue
        draws = cluster_bootstrap(
            lambda kept, column=column: float(mean_dice(table[kept])[column]),  # type: ignore[misc]
            patients_of_groups,
            seed=derive_seed(seed, "dice", name),
        )
        interval = percentile_interval(draws)
        low, high = interval or (None, None)
        rows.append(Value("dice", float(values[column]), low, high, better="higher", label=name))
    return rows
