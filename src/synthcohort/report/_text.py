"""The fixed texts of the report card, and how numbers are written. Sentences with numbers are in _sentences.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..types import Role, Score
from ._compare import Reading
from ._counts import count

MINUS, NARROW = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True)
class Term:
    """A metric in plain words: its title, what it says, and where its end of the scale is."""

    title: str
    meaning: str
    scale: str


GLOSSARY = {
    "frechet": Term(
        "Fréchet distance",
        "Distance between the clouds of real and synthetic images in a feature space, when each cloud is summed up by"
        " its mean and covariance.",
        "0 is identical; it grows as fewer images are compared, so read it only beside its ceiling at the same n.",
    ),
    "fid": Term(
        "FID",
        "The Fréchet distance in the features of the 2015 Inception network.",
        "0 is identical; it grows as fewer images are compared.",
    ),
    "kid": Term(
        "Kernel distance (KID)",
        "Squared distance between real and synthetic images in a feature space, by a cubic kernel; its expected value"
        " does not depend on how many images are compared.",
        "0 is identical; slightly negative values are chance. Its size depends on the space: compare within one only.",
    ),
    "precision": Term(
        "Precision",
        "Share of synthetic images that lie in the neighbourhood of some real image.",
        "0 to 1, higher is better; copies of the training images also score high.",
    ),
    "recall": Term(
        "Recall",
        "Share of real images that lie in the neighbourhood of some synthetic image: what is missing lowers it.",
        "0 to 1, higher is better.",
    ),
    "density": Term(
        "Density",
        "How many real neighbourhoods a synthetic image falls in, on average, relative to expectation.",
        "About 1 when the sets agree; can exceed 1.",
    ),
    "coverage": Term(
        "Coverage",
        "Share of real images that have a synthetic image in their neighbourhood: what is missing lowers it.",
        "0 to 1, higher is better.",
    ),
    "dice_volume": Term(
        "Dice, per volume",
        "Overlap of predicted and true structure, counted over all slices of a volume, then averaged over volumes.",
        "0 no overlap, 1 perfect.",
    ),
    "dice_slice": Term(
        "Dice, per slice",
        "Overlap of predicted and true structure in each slice, then averaged.",
        "0 no overlap, 1 perfect.",
    ),
    "dice_ratio": Term(
        "Dice ratio",
        "Dice of the network trained on synthetic images divided by Dice of the one trained on real images, both on"
        " real test patients.",
        "1 means equal.",
    ),
    "dice_gap": Term(
        "Dice gap",
        "Dice of the network trained on real images minus Dice of the one trained on synthetic images, both on real"
        " test patients.",
        "0 means equal; positive means synthetic is worse.",
    ),
    "copies": Term(
        "Share of copies",
        "Share of images that resemble a training image more than real images of different patients resemble each"
        " other, all but about one in a thousand.",
        "0 to 100 %, lower is better; read it beside the share among held-out patients.",
    ),
    "nearest_similarity_median": Term(
        "Median similarity",
        "Similarity of the typical image to the training image nearest to it.",
        "-1 to 1; neither end is good: too low is unreal, too high is copied.",
    ),
}

ARMS = {
    "image": "Distances between sets of images",
    "copies": "Nearest training image",
    "real->real": "Trained on real, tested on real images",
    "synthetic->real": "Trained on synthetic, tested on real images",
    "real->synthetic": "Trained on real, tested on synthetic images",
}
ROLES: dict[Role, str] = {"subject": "this cohort", "ceiling": "ceiling", "bad": "bad case"}
UTILITY_ROLES: dict[Role, str] = {
    "subject": "trained on this cohort",
    "ceiling": "on real images",
    "bad": "on the bad case",
}
COPIES_ROLES: dict[Role, str] = {"subject": "this cohort", "ceiling": "held-out patients", "bad": "copied on purpose"}

READINGS: dict[Reading, str] = {
    "within": "overlaps the ceiling",
    "beyond": "beyond the ceiling",
    "between": "between ceiling and bad case",
    "bad": "no better than the bad case",
    "blind": "ceiling and bad case overlap",
    "unclear": "no ceiling to read it by",
    "not_estimable": "not estimable",
}

QUESTIONS = {
    "realism": "Does it look like the real cohort?",
    "utility": "Is it useful on its own?",
    "copies": "Are there copies of training images?",
}

SCOPE = (
    ("2-D images only.", "Every image was treated on its own; volumes and their consistency were not assessed."),
    ("Not for diagnosis.", "Neither these images nor models trained on them may guide the care of a patient."),
)
DECLARATIONS = ("Release object", "Adversary", "Intended use")
NOT_DECLARED = "not declared"
REAL_BANNER = (
    "This copy of the report contains real patient images. It was made with the option that shows them. It must not"
    " leave the place where the real cohort may be seen."
)
WITHHELD_CONTROL = (
    "Examples are shown of synthetic cohorts only: controls may serve real images, or near copies of them, on purpose."
)
ALSO_MISSING = "The evaluation itself notes:"
NO_EXAMPLES = "No example images were stored."
LAY_LEGEND = (
    "The ceiling is what real images of other patients score in the same comparison: nothing is expected to do better."
    " The bad case is a control that is known to be poor: a score near it means little or nothing was achieved."
)

SMALL_PRINT = "Small type: 95\N{NARROW NO-BREAK SPACE}% interval. n synthetic / real:"
SMALL_PRINT_TABLE = "Small type: 95\N{NARROW NO-BREAK SPACE}% interval, then the ceiling and the bad case of that row."
OTHER_REAL = "The cohorts were scored against different real cohorts: compare each with its own ceiling only."
CONTROLS = (
    "A control is a cohort whose right answer is known beforehand. An audit that does not call out a bad control, or"
    " calls out a good one, cannot be believed about the others. The threshold is the end of the ceiling's interval"
    " that a control has to pass to be called out."
)
NO_CONTROLS = "No control was scored, so it is not known whether these audits would have noticed a bad cohort."
EXAMPLES = "Synthetic images, enlarged without smoothing; not selected by eye."
EXAMPLES_MASKS = "Below each, the same image with the outlines of its mask."
PAIRS = "Left the synthetic image, right the real training image nearest to it; the closest pairs first."
NO_PAIRS = "No pairs were stored with this evaluation."
INTERVALS = (
    "Intervals are 95\N{NARROW NO-BREAK SPACE}%. Those of Dice redraw learner seeds and test patients, those of"
    " distances leave out groups of patients: all images of a patient go together. Those of the share of copies are"
    " exact binomial and count images one by one, so the ceiling's is too narrow. None holds the spread between"
    " training runs of the generator. In a distance, ceiling and bad case have as many images as the cohort. No overall"
    " score is formed."
)
ALT_OVERVIEW = "Dice of every cohort on real test patients, beside ceiling and bad case; the numbers are in the table."
FOOTER = "Made by synthcohort. report.json beside this page holds the same numbers for programs."
AXES = {
    "utility": "Dice per volume on real test patients",
    "copies": "share of images counted as copies",
    "training": "loss of the generator",
    "task": "validation loss of the task",
}
CAPTIONS = {
    "utility": "Usefulness: Dice on real test patients of networks trained on this cohort, on real images (ceiling) and"
    " on the bad case, by structure.",
    "fidelity": "Realism: where this cohort lies between unseen real images and the bad case, by score and feature"
    " space. An arrow marks a value outside the figure. Scores whose ceiling and bad case overlap are left"
    " out.",
    "copies": "Copies: share of images that resemble a training image too closely; ceiling is held-out patients, bad"
    " case is images copied on purpose.",
    "similarity": "How similar each synthetic image is to the training image nearest to it, by space; right of the"
    " dashed line of its colour an image counts as a copy.",
    "training": "Training of the generator.",
    "task": "Training of the task networks: loss on the validation images of whatever each was trained on; one curve"
    " for each seed.",
    "overview": "Usefulness of every cohort: Dice on real test patients, with the ceiling and the bad case of each.",
}

CAVEATS = (
    "The audits bound the attacks that were tried. Stronger attacks, or ones with inside knowledge, may succeed where"
    " these did not.",
    "Averages hide individuals. Unusual patients and rare diseases carry most of the risk and most of the loss.",
    "No copies found is not no copies: the true share is bounded only by the upper end of the interval divided by the"
    " share of planted copies that the detector finds.",
    "Nothing here is a formal guarantee. Only differential privacy gives one, and a guarantee per image is not one per"
    " patient.",
    "The evaluation used real patients. Scores against held-out patients are themselves a small release about them.",
    "Realism is not usefulness, and a convincing picture says nothing about what is missing from the set.",
    "Usefulness was measured for this task, this network and these test patients. Other hospitals, scanners and"
    " populations are untested unless an external set is named.",
    "Being synthetic does not by itself take images out of data protection law. That is a case-by-case judgement of"
    " the controller, which this page can inform but not replace.",
    "Not for diagnosis, and not sufficient evidence to validate a medical device.",
    "Releases add up. Another model or another sample of the same patients is a new risk on top of this one.",
)

# What was not measured: (title, why it matters, metrics that would have measured it).
_UNMEASURED = (
    ("Membership inference", "Whether an attacker can tell that a patient was in the training set.", ("membership",)),
    ("Linkage and attribute inference", "Whether an image helps to find or describe a patient.", ("linkage",)),
    ("Re-identification", "Whether a network that recognises patients recognises them here.", ("reidentification",)),
    ("A formal privacy guarantee", "No differential privacy was accounted for.", ("epsilon",)),
    ("Copies and near copies", "No comparison with the training images was made.", ("copies",)),
    ("Usefulness for a task", "No network was trained on the synthetic images.", ("dice_volume", "auc")),
    ("Distance to the real images", "No feature space was used.", ("kid", "frechet", "fid")),
    ("Adding to real data", "Whether real and synthetic images together beat real images alone.", ("mix_gain",)),
    ("Subgroups", "Whether it is worse for some patients: by disease, age, sex, scanner or site.", ("subgroup_gap",)),
    ("Other populations", "No external cohort was used.", ("external_dice",)),
    ("Impossible images", "Anatomical constraints were not checked.", ("violations",)),
    ("Experts' eyes", "No reader study was held.", ("reader_auc",)),
    ("Volumes", "Consistency between neighbouring slices; images are 2-D.", ("volume_consistency",)),
)
_ONE_RUN = (
    "Stability over training runs",
    "One training run of the generator is described; another seed may score differently.",
)


def term(metric: str) -> Term:
    """Return a metric in plain words; its own name when it is not in the glossary."""
    return GLOSSARY.get(metric, Term(metric.replace("_", " "), "A metric of a plug-in; see its documentation.", ""))


def not_measured(metrics: set[str], runs_of_each: int) -> list[dict[str, str]]:
    """Return what no score of the report covers, as title and reason."""
    missing = [{"title": title, "why": why} for title, why, needed in _UNMEASURED if not metrics & set(needed)]
    return missing + ([{"title": _ONE_RUN[0], "why": _ONE_RUN[1]}] if runs_of_each < 2 else [])


def headline_of(names: Sequence[str], real_cohorts: Sequence[str]) -> str:
    """Return the title of the page."""
    if len(names) == 1:
        return names[0]
    return f"{len(names)} cohorts beside {' and '.join(real_cohorts)}"


def with_seed(name: str, seed: int) -> str:
    """Return the name of one of several runs."""
    return f"{name}, seed {seed}"


def withheld_copies(number_withheld: int) -> str:
    """Return why some examples are not shown."""
    return f"Held back because they resemble a training image too closely: {number_withheld} of the stored examples."


def measure(score: Score) -> str:
    """Return what a score measures, in a few words."""
    kind = "task" if "->" in score.arm else "space"
    where = f", {space(score.extractor)} {kind}" if score.extractor else ""
    what = f" ({score.label})" if score.label else ""
    return f"{term(score.metric).title}{what}{where}"


def loss(name: str) -> str:
    """Return what a loss is called in a legend; one that starts with an underscore would be left out."""
    return name.strip("_").replace("_", " ") or "loss"


def trained_on(arm: str) -> str:
    """Return which images a task network was trained on."""
    return f"trained on {arm.split('->')[0]}" if arm else "task"


def number(value: float | None, unit: str = "") -> str:
    """Return a number as it is printed: shares in per cent, everything else to two decimals or three digits."""
    if value is None:
        return "\N{EM DASH}"
    if unit in ("share", "%"):
        return _minus(_digits(value * (100 if unit == "share" else 1), 1)) + NARROW + "%"
    return _minus(_digits(value, 2)) + (f"{NARROW}{unit}" if unit not in ("", "1") else "")


def _digits(value: float, decimals: int) -> str:
    if value == 0 or abs(value) >= 0.1:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else decimals
        return f"{value:,.{digits}f}".replace(",", NARROW)
    if abs(value) >= 1e-4:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}{NARROW}\N{MULTIPLICATION SIGN}{NARROW}10{str(int(exponent)).translate(_RAISED)}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def interval(score: Score | None) -> str:
    """Return "low to high" of the 95 % interval, or "" when there is none."""
    if score is None or score.low is None or score.high is None:
        return ""
    unit = "" if score.unit in ("share", "%") else score.unit
    low, high = (number(bound, score.unit if unit == "" else "") for bound in (score.low, score.high))
    return f"{low} to {high}".replace(f"{NARROW}% to", " to")


def sample_sizes(score: Score) -> str:
    """Return how many images of each side a score rests on."""
    return f"{count(score.n_synthetic)} / {count(score.n_real, real=True)}"


def space(extractor: str) -> str:
    """Return an extractor's name without the digest of its weights ("task-1f3ab2c4" is "task")."""
    return re.sub(r"[-@:#][0-9a-f]{4,}$", "", extractor)
