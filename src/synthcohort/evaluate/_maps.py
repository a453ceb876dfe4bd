"""Maps of importance of classifiers trained on real and on synthetic images, of the same real test images.

Source: DuMont Schütte et al. 2021 (npj Digital Medicine), figures 6 and 7. Beside the two stand another classifier
trained on real images, which is as alike as two can be expected to be, and one trained on the bad case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..progress import track
from ..runs import derive_seed
from ..types import Array, Value
from ._agreement import agreement
from ._rows import GAUSSIAN, REAL
from ._sets import ImageSet
from ._utility import SYNTHETIC, Fits

IMAGES, FEW_IMAGES = 32, 8
_MANY_TILES = 1024
AGAIN = "real, other seed"


@dataclass(frozen=True)
class Maps:
    """Maps of importance.

    Attributes:
        of: The real test images, one a patient.
        tile: Side of a tile in pixels of what the network is given.
        side: Longer side of that in pixels.
        form: What the numbers are; see `tasks._occlusion.attribution`.
        by: What a network was trained on -> (n, rows, columns) map of each image.
    """

    of: ImageSet
    tile: int
    side: int
    form: str
    by: dict[str, npt.NDArray[np.float64]]

    def agreements(self, *, seed: int) -> dict[str, Value]:
        """Return what another network was trained on -> how alike its maps and those of the real-trained are."""
        first = self.by[REAL]
        return {
            name: agreement(list(first), list(found), self.of.patients, seed=seed)
            for name, found in self.by.items()
            if name != REAL
        }


def maps(fits: Fits, test: ImageSet, value_range: tuple[float, float], *, seed: int) -> Maps:
    """Return maps of the first network of each arm, and of the second that was trained on real images if there is one.

    Args:
        fits: Of a task that has `importance`.
        test: Real test images.
        value_range: Lowest and highest legal pixel.
        seed: Decides which images.
    """
    networks: dict[str, Any] = {REAL: fits[REAL][0].task, SYNTHETIC: fits[SYNTHETIC][0].task}
    if len(fits[REAL]) > 1:
        networks[AGAIN] = fits[REAL][1].task
    networks[GAUSSIAN] = fits[GAUSSIAN][0].task
    tile, form = networks[REAL].maps
    side = max(test.images.shape[2:]) if networks[REAL].protocol == "recommended" else 224
    many = (side // tile) ** 2 > _MANY_TILES
    chosen = shown(test, FEW_IMAGES if many else IMAGES, seed=seed)
    jobs = [(name, place) for name in networks for place in range(len(chosen))]
    found: dict[str, list[Array]] = {name: [] for name in networks}
    for name, place in track(jobs, "Maps of importance", len(jobs), "maps"):
        found[name].append(networks[name].importance(chosen.images[place], chosen.labels[place], value_range))
    return Maps(chosen, tile, side, form, {name: np.stack(each) for name, each in found.items()})


def shown(test: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return at most `count` images whose findings are stated, one a patient: those with a finding first, up to half.

    Args:
        test: Real test images.
        count: How many.
        seed: Decides which.
    """
    order = np.random.default_rng(derive_seed(seed, "maps of importance")).permutation(len(test))
    order = order[np.isfinite(test.labels[order]).any(axis=1)]
    having = np.asarray((np.nan_to_num(test.labels[order]) > 0.5).any(axis=1))
    sort = np.argsort(~having, kind="stable")  # so that a patient shows an image with a finding where one is
    order, having = order[sort], having[sort]
    _, firsts = np.unique(test.patients[order], return_index=True)
    order, having = order[np.sort(firsts)], having[np.sort(firsts)]
    least = min(count // 2, int((~having).sum()))
    with_finding = order[having][: count - least]
    return test.take(np.concatenate([with_finding, order[~having][: count - len(with_finding)]]).astype(np.int64))
