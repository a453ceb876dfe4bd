"""The one equivalence test of a reader study: two one-sided tests (TOST; Schuirmann 1987, doi:10.1007/BF01068419).

"Readers cannot tell" is claimed only when accuracy was shown to lie within 0.5 +- margin. Both ends are tested:
readers who are reliably wrong see a difference as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..statistics import Interval
from ._multireader import Estimate

CHANCE = 0.5
Verdict = Literal["equivalent", "better than chance", "worse than chance", "cannot tell"]


@dataclass(frozen=True)
class Equivalence:
    """What the test says.

    Attributes:
        verdict: "equivalent" where the band's interval lies within 0.5 +- margin; else on which side of chance the
            figure was shown to lie; else "cannot tell".
        band: The interval of level 1 - 2 alpha, which decides on equivalence.
        interval: The interval of level 1 - alpha, which decides whether the figure differs from chance.
        p: Of equivalence, the larger of the two one-sided values.
        differs: Whether the figure differs from chance, which an equivalent one may too, by less than the margin.
        margin: Of accuracy, either side of 0.5.
        alpha: Level.
    """

    verdict: Verdict
    band: Interval
    interval: Interval
    p: float
    differs: bool
    margin: float
    alpha: float

    @property
    def words(self) -> str:
        """Return the verdict as it is printed."""
        if self.verdict == "equivalent":
            return f"equivalent within \N{PLUS-MINUS SIGN}{self.margin:.2f}"
        if self.verdict == "cannot tell":
            return "cannot tell: the study is too small"  # not "they cannot tell"
        return f"told apart ({self.verdict})"


def equivalence(found: Estimate, *, margin: float, alpha: float = 0.05) -> Equivalence:
    """Return whether a figure whose chance value is 0.5 was shown to be within `margin` of it.

    Args:
        found: Accuracy or area under the ROC curve of several readers.
        margin: Above 0, below 0.5; set before the study.
        alpha: Level of the test: how often a figure at the margin may be called equivalent.
    """
    band, interval = found.interval(1 - 2 * alpha), found.interval(1 - alpha)
    inside = CHANCE - margin < band.low and band.high < CHANCE + margin
    differs = not interval.low <= CHANCE <= interval.high
    side: Verdict = "better than chance" if found.value > CHANCE else "worse than chance"
    verdict: Verdict = "equivalent" if inside else side if differs else "cannot tell"
    p = max(found.above(CHANCE - margin), found.below(CHANCE + margin))
    return Equivalence(verdict, band, interval, p, differs, margin, alpha)
