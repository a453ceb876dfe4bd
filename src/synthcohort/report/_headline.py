"""The few numbers of the first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..types import Score
from ._compare import Comparison, Reading, bounds, gap_reading, paired_reading, part, select, usable, whole_set, worse
from ._counts import score_json
from ._label_text import MEAN

DISTANCES = ("kid", "fid", "frechet")  # in the order in which they speak for realism; KID is unbiased at small n
UTILITY, RATIO, TASK_SPACE = "dice_volume", "dice_ratio", "task"
COPIES, MASK_COPIES = "copies", "mask_copies"
AUCS, GAP, OVERFIT = ("auc", "auc_mirrored"), "auc_gap", "delta_syn"
USE, SHOW = "synthetic->real", "real->synthetic"


@dataclass(frozen=True)
class Headline:
    """The comparisons that answer the questions; None where nothing was measured.

    Attributes:
        realism: A distance to the real images.
        utility: Dice of a network trained on the cohort.
        ratio: Its ratio to that of real images, paired.
        auc: Mean AUC of a classifier trained on the cohort.
        gap: Its gap to that of real images, paired.
        shows: Mean AUC on the cohort of a classifier trained on real images.
        overfit: AUC of a classifier on what it was trained on, less that on real patients.
        copies: The share of copies.
        mask_copies: The share of masks that copy a training mask.
    """

    realism: Comparison | None
    utility: Comparison | None
    ratio: Comparison | None
    auc: Comparison | None
    gap: Comparison | None
    shows: Comparison | None
    overfit: Comparison | None
    copies: Comparison | None
    mask_copies: Comparison | None

    @property
    def utility_reading(self) -> Reading:
        """Return what can be concluded from Dice, from the paired ratio where that tells more."""
        return paired_reading(self.utility, self.ratio) if self.utility else "not_estimable"

    @property
    def auc_reading(self) -> Reading:
        """Return what can be concluded from AUC: the paired gap decides."""
        return gap_reading(self.auc, self.gap)

    @property
    def overfit_reading(self) -> Reading:
        """Return what can be concluded about label overfitting; an excess over the ceiling needs no bad case."""
        return excess_reading(self.overfit)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by the names that other programs read."""
        return {
            **_trio("realism", self.realism),
            "realism_reading": self.realism.reading if self.realism else "not_estimable",
            "synthetic_on_real": _number(part(self.utility, "subject")),
            "real_on_real": _number(part(self.utility, "ceiling")),
            "bad_on_real": _number(part(self.utility, "bad")),
            "utility_reading": self.utility_reading,
            "ratio": _number(part(self.ratio, "subject")),
            "auc_synthetic_on_real": _number(part(self.auc, "subject")),
            "auc_real_on_real": _number(part(self.auc, "ceiling")),
            "auc_bad_on_real": _number(part(self.auc, "bad")),
            "auc_reading": self.auc_reading,
            "auc_gap": _number(part(self.gap, "subject")),
            "auc_gap_bad": _number(part(self.gap, "bad")),
            **_trio("auc_real_on_synthetic", self.shows),
            "auc_real_on_synthetic_reading": self.shows.reading if self.shows else "not_estimable",
            **_trio("delta_syn", self.overfit),
            "delta_syn_reading": self.overfit_reading,
            **_trio("copies", self.copies),
            "copies_reading": self.copies.reading if self.copies else "not_estimable",
            **_trio("mask_copies", self.mask_copies),
            "mask_copies_reading": self.mask_copies.reading if self.mask_copies else "not_estimable",
        }


def _trio(name: str, found: Comparison | None) -> dict[str, Any]:
    return {
        name: _number(part(found, "subject")),
        f"{name}_ceiling": _number(part(found, "ceiling")),
        f"{name}_bad": _number(part(found, "bad")),
    }


def _number(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    kept = ("metric", "subject", "arm", "label", "extractor", "value", "low", "high", "n_real", "n_synthetic")
    row = score_json(score)
    return {name: row[name] for name in (*kept, "status", "reason")}


def headline(comparisons: Sequence[Comparison]) -> Headline:
    """Return the comparisons that stand for a cohort.

    A measure that cannot tell its own ceiling from its bad case says nothing, so it stands only where none can.
    Realism: the first distance, in a space that was not trained on these images if there is one. Copies: the space
    with the largest excess over the held-out patients, because a copy found in any space is a copy.
    """
    overall = whole_set(comparisons)
    return Headline(
        realism=first([c for name in DISTANCES for c in unseen_spaces_first(select(overall, name))]),
        utility=first(select(comparisons, UTILITY, arm=USE, label=MEAN)),
        ratio=first(select(comparisons, RATIO)),
        auc=first(aucs(comparisons, USE, MEAN)),
        gap=first(select(comparisons, GAP, label=MEAN)),
        shows=first(aucs(comparisons, SHOW, MEAN)),
        overfit=first(select(comparisons, OVERFIT, label=MEAN)),
        copies=_worst_excess(select(comparisons, COPIES)),
        mask_copies=_worst_excess(select(comparisons, MASK_COPIES)),
    )


def aucs(comparisons: Sequence[Comparison], arm: str, label: str) -> list[Comparison]:
    """Return the comparisons of AUC, plain or mirrored, of one arm and label."""
    return [c for name in AUCS for c in select(comparisons, name, arm=arm, label=label)]


def excess_reading(found: Comparison | None) -> Reading:
    """Return a reading in which an excess over the ceiling stands, also where the bad case shows none."""
    if found is None:
        return "not_estimable"
    blind = found.reading == "blind" and found.ceiling is not None
    return "between" if blind and worse(found.subject, found.ceiling) else found.reading  # type: ignore[arg-type]


def unseen_spaces_first(found: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with those in the space of a task, which learnt from these images, last."""
    return sorted(found, key=lambda c: c.subject.extractor.startswith(TASK_SPACE))


def first(found: Sequence[Comparison]) -> Comparison | None:
    """Return the first comparison that tells ceiling from bad case, else that has a value, else any, else None."""
    estimable = [c for c in found if usable(c.subject)]
    telling = [c for c in estimable if c.reading != "blind"]
    return next(iter([*telling, *estimable, *found]), None)


def _worst_excess(found: Sequence[Comparison]) -> Comparison | None:
    measured = [c for c in found if usable(c.subject) and usable(c.ceiling)]
    measured = [c for c in measured if c.reading != "blind"] or measured
    return max(measured, key=lambda c: excess(c.subject, c.ceiling), default=first(found))


def excess(score: Score, ceiling: Score | None) -> float:
    """Return how far a score where lower is better lies above its ceiling, interval from interval."""
    assert ceiling is not None
    return bounds(score)[0] - bounds(ceiling)[1]
