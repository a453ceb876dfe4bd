"""Whether readers agree with themselves (images shown twice) and with each other.

Sources: Cohen 1960 (doi:10.1177/001316446002000104); Fleiss, Cohen and Everitt 1969 (doi:10.1037/h0028106), its
standard error; Barlow, Lai and Azen 1991 (doi:10.1002/sim.4780100913), kappa over strata; Fleiss 1971
(doi:10.1037/h0031619), many readers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..statistics import jackknife_variance, normal_interval
from ..types import Array, Value

Floats = npt.NDArray[np.float64]
Pairs = Sequence[tuple[Array, Array]]

NO_REPEATS = "no image was shown twice"
ONE_ANSWER = "every answer was the same: agreement beyond chance has no meaning"
FEW_READERS = "fewer than 3 readers"
LEAST_REPEATS = 10


def own_kappa(first: Array, second: Array) -> Value:
    """Return Cohen's kappa of one reader's answers to images shown twice, with its large-sample 95 % interval.

    Args:
        first: (K,) bool, what was said the first time.
        second: (K,) bool, what was said the second time.
    """
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if len(one) == 0:
        return _not(NO_REPEATS)
    table = np.array([[np.mean((one == a) & (two == b)) for b in (False, True)] for a in (False, True)])
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, chance = float(np.trace(table)), float(rows @ columns)
    if chance == 1:
        return _not(ONE_ANSWER)
    kappa = (observed - chance) / (1 - chance)
    if len(one) < LEAST_REPEATS:
        return Value("kappa", kappa, reason=f"no interval: fewer than {LEAST_REPEATS} images were shown twice")
    reach = float(stats.norm.ppf(0.975)) * (_kappa_variance(table, kappa, chance) / len(one)) ** 0.5
    return Value("kappa", kappa, max(-1.0, kappa - reach), min(1.0, kappa + reach))


def _kappa_variance(table: Floats, kappa: float, chance: float) -> float:
    """Return n times the variance of Cohen's kappa (Fleiss, Cohen and Everitt 1969, eq. 13)."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    crossed = columns[:, None] + rows[None, :]  # of cell i, j: column share of i and row share of j
    on = sum(table[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(2))
    off = (1 - kappa) ** 2 * (table[0, 1] * crossed[0, 1] ** 2 + table[1, 0] * crossed[1, 0] ** 2)
    return max(0.0, float(on + off - (kappa - chance * (1 - kappa)) ** 2)) / (1 - chance) ** 2


def within(pairs: Pairs) -> Value:
    """Return the kappa of readers with themselves: agreement beyond each reader's own chance, over all of them.

    Summing over readers keeps a reader's leaning from counting as agreement. The 95 % interval is that of the jackknife
    over readers.

    Args:
        pairs: For each reader what was said the first and the second time, (K,) bool each.
    """
    parts = [_beyond(np.asarray(one, bool), np.asarray(two, bool)) for one, two in pairs if len(one)]
    if not parts:
        return _not(NO_REPEATS)
    beyond, room = (np.array(column) for column in zip(*parts, strict=True))
    if room.sum() == 0:
        return _not(ONE_ANSWER)
    kappa = float(beyond.sum() / room.sum())
    if len(parts) < 3:
        return Value("kappa", kappa, reason=f"no interval: {FEW_READERS}")
    rest = room.sum() - room
    if (rest == 0).any():
        return Value("kappa", kappa, reason="no interval: it rests on one reader")
    spread = jackknife_variance(kappa, (beyond.sum() - beyond) / rest, [1] * len(parts))
    return _clipped(kappa, normal_interval(kappa, spread))


def _beyond(one: npt.NDArray[np.bool_], two: npt.NDArray[np.bool_]) -> tuple[float, float]:
    chance = one.mean() * two.mean() + (1 - one.mean()) * (1 - two.mean())
    return float((one == two).mean() - chance), float(1 - chance)


def between(said_synthetic: Array) -> Value:
    """Return Fleiss's kappa of several readers on the same images, with the jackknife's 95 % interval over images.

    Args:
        said_synthetic: (R, N) bool.
    """
    said = np.asarray(said_synthetic, bool)
    readers, images = said.shape
    if readers < 2 or images < 3:
        return _not("fewer than two readers" if readers < 2 else "fewer than three images")
    ones = said.sum(axis=0).astype(np.float64)
    same = (ones * (ones - 1) + (readers - ones) * (readers - ones - 1)) / (readers * (readers - 1))
    total, agreed = ones.sum(), same.sum()
    if total in (0, said.size):
        return _not(ONE_ANSWER)
    kappa = float(_fleiss(agreed / images, total / said.size))
    share = (total - ones) / (readers * (images - 1))
    if ((share == 0) | (share == 1)).any():
        return Value("kappa", kappa, reason="no interval: one image alone was called otherwise")
    without = _fleiss((agreed - same) / (images - 1), share)
    return _clipped(kappa, normal_interval(kappa, jackknife_variance(kappa, without, [1] * images)))


def _fleiss(observed: Floats, share: Floats) -> Floats:
    chance = share**2 + (1 - share) ** 2
    return (observed - chance) / (1 - chance)


def _clipped(kappa: float, ends: tuple[float, float] | None) -> Value:
    assert ends is not None
    return Value("kappa", kappa, max(-1.0, ends[0]), min(1.0, ends[1]))


def _not(reason: str) -> Value:
    return Value("kappa", None, status="not_estimable", reason=reason)
