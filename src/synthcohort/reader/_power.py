"""How likely a study shows equivalence, by simulation of readers who cannot tell.

Readers whose true accuracy is 0.5 differ from one another, and images from one another, on the logit scale; the
simulated answers go through the very test that the analysis makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from ..runs import derive_seed
from ._equivalence import CHANCE, equivalence
from ._multireader import accuracy

READER_SD, CASE_SD = 0.3, 0.6
"""Of the logit of a right answer, between readers and between images."""
SIMULATIONS = 2000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Power:
    """One cell of the table.

    Attributes:
        margin: Of accuracy, either side of 0.5.
        readers: How many.
        images: How many, half of them synthetic.
        power: Share of simulated studies that show equivalence; None for a single reader, whose study cannot.
    """

    margin: float
    readers: int
    images: int
    power: float | None


def power_table(
    margins: Sequence[float],
    readers: Sequence[int],
    images: Sequence[int],
    *,
    alpha: float = 0.05,
    seed: int = 0,
    simulations: int = SIMULATIONS,
) -> list[Power]:
    """Return the power of every combination, when nobody can tell.

    Args:
        margins: Of accuracy, between 0 and 0.5.
        readers: Numbers of readers.
        images: Numbers of images, half of them synthetic.
        alpha: Level of the test.
        seed: Decides the simulated answers.
        simulations: Studies per cell; 2000 leave a standard error of 0.01 at most.
    """
    found = []
    for many in readers:
        for count in images:
            needed = _margins_needed(many, count, alpha, derive_seed(seed, "power", many, count), simulations)
            shares = [None if needed is None else float(np.mean(needed < margin)) for margin in margins]
            found += [Power(margin, many, count, share) for margin, share in zip(margins, shares, strict=True)]
    return sorted(found, key=lambda cell: (margins.index(cell.margin), readers.index(cell.readers)))


def _margins_needed(readers: int, images: int, alpha: float, seed: int, simulations: int) -> Floats | None:
    """Return the margin beyond which each simulated study shows equivalence, or None where none ever can.

    A margin is met where the test's band lies inside it, so one band answers for every margin.
    """
    rng = np.random.default_rng(seed)
    kinds = np.arange(images) % 2 == 1
    needed = np.full(simulations, np.inf)
    for study in range(simulations):
        skill = rng.normal(0, READER_SD, (readers, 1)) + rng.normal(0, CASE_SD, (1, images))
        right = rng.random((readers, images)) < special.expit(skill)
        estimate = accuracy(right == kinds, kinds)
        if estimate is None:
            return None
        band = equivalence(estimate, margin=CHANCE, alpha=alpha).band
        needed[study] = max(CHANCE - band.low, band.high - CHANCE)
    return needed


def as_text(cells: Sequence[Power], alpha: float) -> str:
    """Return the table as lines of text."""
    images = list(dict.fromkeys(cell.images for cell in cells))
    head = f"{'margin':>8}{'readers':>9}" + "".join(f"{f'{count} images':>13}" for count in images)
    lines = [head]
    for margin, readers in dict.fromkeys((cell.margin, cell.readers) for cell in cells):
        row = {c.images: c.power for c in cells if (c.margin, c.readers) == (margin, readers)}
        shown = ("none" if (value := row[count]) is None else f"{value:.2f}" for count in images)
        lines.append(f"{margin:>8.2f}{readers:>9}" + "".join(f"{text:>13}" for text in shown))
    lines.append(
        f"Share of {SIMULATIONS:,} simulated studies that show equivalence at level {alpha:g}, of readers who cannot"
        f" tell; standard deviation {READER_SD} between readers and {CASE_SD} between images, on the logit scale."
    )
    return "\n".join(lines)
