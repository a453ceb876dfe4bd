"""The findings of a labelled cohort: what was measured of each, how many have it, and what that allows to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._compare import Comparison, bounds, select, usable, whole_set, worse
from ._counts import FEW, finding_split, tens
from ._headline import AUCS, GAP, OVERFIT, SHOW, USE, aucs, first, unseen_spaces_first
from ._label_text import MEAN, Showing
from ._read import Evaluation

CHANCE = 0.5
MIRRORED = AUCS[1]


@dataclass(frozen=True)
class Finding:
    """One finding, or the mean of all.

    Attributes:
        name: As in the cohort.
        real: Split -> images and patients with it, as they may leave.
        synthetic: Split -> images with it, as they may leave; rounded where a real count is hidden.
        images: Synthetic images with it in all splits, as they may leave.
        auc: Trained on the cohort, tested on real patients.
        gap: What that loses to training on real images.
        shows: Trained on real images, tested on the cohort.
        overfit: Trained on the cohort, tested on the cohort less on real patients.
        kid: Kernel distance of the images that have it.
    """

    name: str
    real: Mapping[str, Mapping[str, int | str]]
    synthetic: Mapping[str, int | str]
    images: int | str
    auc: Comparison | None
    gap: Comparison | None
    shows: Comparison | None
    overfit: Comparison | None
    kid: Comparison | None

    @property
    def showing(self) -> Showing:
        """Return whether the finding can be recognised where it was asked for."""
        return showing(self.shows)

    @property
    def is_rare(self) -> bool:
        """Return whether fewer than ten real training or test patients have it, or none."""
        counts = [self.real[split]["patients"] for split in ("train", "test") if split in self.real]
        return any(count in (FEW, 0) for count in counts)

    @property
    def is_lost(self) -> bool:
        """Return whether training on the cohort was shown to lose something."""
        return self.gap is not None and usable(self.gap.subject) and (self.gap.subject.low or 0.0) > 0

    def to_json(self) -> dict[str, Any]:
        """Return what report.json holds of it beside its scores."""
        return {
            "finding": self.name,
            "real": {split: dict(counts) for split, counts in self.real.items()},
            "synthetic": dict(self.synthetic),
            "shows": self.showing,
            "rare": self.is_rare,
            "loss_shown": self.is_lost,
        }


def findings(evaluation: Evaluation, comparisons: Sequence[Comparison]) -> list[Finding]:
    """Return the findings of an evaluation in the cohort's order; empty when it has none."""
    return [_finding(evaluation, comparisons, name) for name in evaluation.findings]


def mean_of(comparisons: Sequence[Comparison]) -> Finding:
    """Return the mean over the findings, which has no counts."""
    return _scored(comparisons, MEAN, real={}, synthetic={}, images="")


def _finding(evaluation: Evaluation, comparisons: Sequence[Comparison], name: str) -> Finding:
    whole = evaluation.real.get("counts") or {}
    having = evaluation.having("real").get(name) or {}
    real = {split: finding_split(counts, whole[split]) for split, counts in having.items() if split in whole}
    made = {split: counts["images"] for split, counts in (evaluation.having("synthetic").get(name) or {}).items()}
    # A cohort that mirrors a real one has as many images with a finding as that one: they would give it away.
    hidden = any(isinstance(count, str) for counts in real.values() for count in counts.values())
    synthetic = {split: tens(count) if hidden else count for split, count in made.items()}
    total = sum(made.values())
    return _scored(comparisons, name, real=real, synthetic=synthetic, images=tens(total) if hidden else total)


def _scored(
    comparisons: Sequence[Comparison],
    label: str,
    *,
    real: Mapping[str, Mapping[str, int | str]],
    synthetic: Mapping[str, int | str],
    images: int | str,
) -> Finding:
    return Finding(
        name=label,
        real=real,
        synthetic=synthetic,
        images=images,
        auc=first(aucs(comparisons, USE, label)),
        gap=first(select(comparisons, GAP, label=label)),
        shows=first(aucs(comparisons, SHOW, label)),
        overfit=first(select(comparisons, OVERFIT, label=label)),
        kid=_kid(comparisons, label),
    )


def _kid(comparisons: Sequence[Comparison], label: str) -> Comparison | None:
    """Return the kernel distance of one finding in the space of the first page: sizes compare within one space only."""
    shown = first(unseen_spaces_first(select(whole_set(comparisons), "kid")))
    found = select(comparisons, "kid", label=label)
    return next((c for c in found if shown is None or c.subject.extractor == shown.subject.extractor), None)


def showing(found: Comparison | None) -> Showing:
    """Return whether a classifier of real images recognises what was asked for.

    yes: above chance, and not below what it reaches on real images. weakly: above chance, but below that. no: its
    interval reaches chance. reversed: below chance. unseen: it does not recognise it in real images either. open: the
    value has no interval. Chance is 0.5; for the mirrored AUC, which cannot fall below it, the end of the bad case.
    """
    if found is None or not usable(found.subject):
        return "not_estimable"
    chance = _chance(found)
    if chance is None or found.subject.low is None:
        return "open"
    ceiling = found.ceiling if usable(found.ceiling) else None
    if ceiling is not None and bounds(ceiling)[0] <= chance:
        return "unseen"
    low, high = bounds(found.subject)
    if low <= chance:
        return "reversed" if high < CHANCE else "no"
    return "weakly" if ceiling is not None and worse(found.subject, ceiling) else "yes"


def _chance(found: Comparison) -> float | None:
    if found.subject.metric != MIRRORED:
        return CHANCE
    return bounds(found.bad)[1] if found.bad is not None and usable(found.bad) else None


def worst(found: Sequence[Finding]) -> Finding | None:
    """Return the finding with the largest gap of those whose interval excludes 0, or None."""
    lost = [each for each in found if each.is_lost]
    return max(lost, key=lambda each: each.gap.subject.value or 0.0, default=None)  # type: ignore[union-attr]


def few_held_out(evaluation: Evaluation) -> dict[str, bool]:
    """Return finding -> whether its real images outside training must not be counted: see `_counts.sizes`."""
    return {
        each.name: any(each.real.get(split, {}).get("images") == FEW for split in ("test", "reference"))
        for each in findings(evaluation, ())
    }
