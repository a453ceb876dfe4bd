"""The fixed texts of the labelled pages. Sentences with numbers are in _label_sentences.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..types import Role

# What the intervals allow to say of one finding that was asked for.
Showing = Literal["yes", "weakly", "no", "reversed", "unseen", "open", "not_estimable"]

MEAN = "mean"
ROLES: dict[Role, str] = {
    "subject": "trained on this cohort",
    "ceiling": "on real images",
    "bad": "on the bad case",
}
SHOWINGS: dict[Showing, str] = {
    "yes": "yes",
    "weakly": "weakly",
    "no": "not shown",
    "reversed": "reversed",
    "unseen": "cannot be told",
    "open": "cannot be told",
    "not_estimable": "not estimable",
}
PARTS = {
    "segmentation": "Structures",
    "classification": "Findings",
    "images": "Images",
    "masks": "Masks",
    "shows": "The finding that was asked for",
    "overfit": "Label overfitting",
}
TITLE = "Findings"
AXIS = "AUC on real test patients"
CAPTION = (
    "Usefulness by finding: AUC on real test patients of classifiers trained on this cohort, on real images (ceiling)"
    " and on the bad case. The dashed line is chance."
)
COUNTS = (
    "Counts are of images with the finding, and of the real patients they belong to. Fewer than ten real patients are"
    " written <10, all but fewer than ten are written so, and where one of the counts is hidden the synthetic images"
    " are rounded down to tens."
)
COLUMNS = (
    "Shows: whether a classifier trained on real images recognises the finding on the images that were asked to show it"
    " (AUC above chance with its interval; weakly: but below what it reaches on real patients). Label overfitting: AUC"
    " on other synthetic images less AUC on real patients. KID: distance between the real and the synthetic images with"
    " this finding, at equal numbers."
)
MIRRORED = (
    "AUC below 0.5 was mirrored, as in the released code. That flatters every arm, and most those that know nothing."
)
MANY = "These intervals are not widened for looking at many findings: of twenty, one excludes 0 by chance alone."
RULES = {
    "exact": "those of real patients, one for one",
    "merged": "those of real patients, rare combinations merged",
    "drawn": "drawn from those of real patients, rare combinations merged",
}
PART_OF_OVERFIT = "see label overfitting"
BY_FINDING = "By finding"
EXACT_TITLE = "The labels are those of real patients"
EXACT = (
    "The label vectors of this cohort were copied one for one from real patients, combinations held by fewer than 10"
    " patients included. A rare combination of findings can single out a patient although the image is new. Treat the"
    " labels as patients' data; sampling without --labels exact merges the rare combinations."
)
EXACT_WHERE = "This holds for:"
EXAMPLES = "Under each, the findings that it was asked to show."
NO_FINDING = "none"  # not "no finding": some cohorts have a label of that name
WITHHELD_LABELS = "The findings of the examples are left out: they are the label vectors of real patients."
CAVEATS = (
    "Label vectors are patients' data too. A rare combination of findings can single out a patient even when the image"
    " is new.",
    "A synthetic image's label is what was asked for, not what an expert found in it.",
    "The findings of the real cohort were taken as true. Where software read them from reports, some are wrong, and"
    " every score inherits that.",
)
UNMEASURED = (
    ("Whether the labels hold", "No classifier was tested on the synthetic images.", ("delta_syn",)),
    (
        "Calibration",
        "Whether a probability means what it says; AUC looks at their order only.",
        ("ece",),
    ),
)


def display(finding: str) -> str:
    """Return a finding as it is printed: underscores of a file format become spaces."""
    if finding == MEAN:
        return "Mean"
    return finding.replace("_", " ").strip() or finding


def caption(findings: Sequence[str], *, most: int = 2) -> str:
    """Return the findings of one example in few words: the first ones, and how many more there are."""
    if not findings:
        return NO_FINDING
    more = f" +{len(findings) - most}" if len(findings) > most else ""
    return ", ".join(display(name) for name in findings[:most]) + more
