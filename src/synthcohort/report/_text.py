"""The fixed texts of the report card. Sentences with numbers are in _sentences.py and _label_sentences.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..types import Role, Score
from . import _label_text
from ._compare import Reading
from ._glossary import term
from ._numbers import space

ARMS = {
    "image": "Distances between sets of images",
    "samples": "Samples as stored, against the real training images",
    "copies": "Nearest training image",
    "masks": "Nearest training mask",
    "audit": "Attacks on the training patients",
    "real->real": "Trained on real, tested on real images",
    "synthetic->real": "Trained on synthetic, tested on real images",
    "synthetic->external": "Trained on synthetic, tested on another real cohort",
    "real+synthetic->real": "Trained on real and synthetic, tested on real images",
    "real+synthetic->external": "Trained on real and synthetic, tested on another real cohort",
    "real->synthetic": "Trained on real, tested on synthetic images",
    "synthetic->synthetic": "Trained on synthetic, tested on other synthetic images",
    "synthetic->synthetic-real": "Trained on synthetic: AUC on other synthetic images less AUC on real ones",
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
    "labels": "Do the labels hold?",
}

SCOPE = (
    ("2-D images only.", "Every image was treated on its own; volumes and their consistency were not assessed."),
    ("Not for diagnosis.", "Neither these images nor models trained on them may guide the care of a patient."),
)
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
FOREIGN_TITLE = "Trained on another cohort"
FOREIGN = (
    "The generator was not trained on the real cohort of this page, or on another split of it. Copies are looked for"
    " among images that it may never have seen, and patients that it learnt from may be test patients: neither copies"
    " nor usefulness can be believed. Evaluate it beside the cohort that it was trained on. It concerns"
)
OTHER_REAL = "The cohorts were scored against different real cohorts: compare each with its own ceiling only."
CONTROLS = (
    "A control is a cohort whose right answer is known beforehand. An audit that does not call out a bad control, or"
    " calls out a good one, cannot be believed about the others. The threshold is an end of the ceiling's interval:"
    " a control is called out when its whole interval lies beyond it."
)
NO_CONTROLS = "No control was scored, so it is not known whether these audits would have noticed a bad cohort."
EXAMPLES = "Synthetic images, enlarged without smoothing; not selected by eye."
EXAMPLES_MASKS = "Below each, the same image with the outlines of its mask."
PAIRS = "Left the synthetic image, right the real training image nearest to it; the closest pairs first."
AGREEMENT = (
    "How alike the maps of importance of each network and of one that was trained on real images are, from"
    " \N{MINUS SIGN}1 to 1: by how much hiding a small tile raises the loss. Networks of one kind agree"
    " only so far: read the ceiling. Over"
)
NO_PAIRS = "No pairs were stored with this evaluation."
INTERVALS = (
    "Intervals are 95\N{NARROW NO-BREAK SPACE}%. Those of {scores} redraw learner seeds and test patients, those of"
    " distances leave out groups of patients: all images of a patient go together. Those of the share of copies are"
    " exact binomial and count images one by one, so the ceiling's is too narrow. None holds the spread between"
    " training runs of the generator. In a distance, ceiling and bad case have as many images as the cohort. No overall"
    " score is formed."
)
ALT_OVERVIEW = (
    "{score} of every cohort on real test patients, beside ceiling and bad case; the numbers are in the table."
)
FOOTER = "Made by synthcohort. report.json beside this page holds the same numbers for programs."
AXES = {
    "utility": "Dice per volume on real test patients",
    "copies": "share counted as copies",
    "training": "loss of the generator",
    "task": "validation loss of the task",
}
CAPTIONS = {
    "utility": "Usefulness: Dice on real test patients of networks trained on this cohort, on real images (ceiling) and"
    " on the bad case, by structure.",
    "fidelity": "Realism: where this cohort lies between unseen real images and the bad case, by score and feature"
    " space. An arrow marks a value outside the figure. Scores whose ceiling and bad case overlap are left"
    " out.",
    "copies": "Copies: share of images that resemble a training image too closely, and of masks that resemble a"
    " training mask so; ceiling is held-out patients, bad case is images copied on purpose.",
    "similarity": "How similar each synthetic image is to the training image nearest to it, by space, and each mask to"
    " the training mask nearest to it where there are masks; right of the dashed line of its colour one counts as a"
    " copy.",
    "umap": "Feature spaces laid flat by UMAP, every feature scaled to one spread: each mark is an image, and images"
    " alike in a space lie together. Distances between groups and their sizes mean nothing: this shows, the scores"
    " measure.",
    "training": "Training of the generator.",
    "task": "Training of the task networks: loss on the validation images of whatever each was trained on; one curve"
    " for each seed.",
}
OVERVIEW = "Usefulness of every cohort: {score} on real test patients, with the ceiling and the bad case of each."

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
    (
        "Membership inference",
        "Whether an attacker can tell that a patient was in the training set.",
        ("membership_auc",),
    ),
    (
        "Linkage and attribute inference",
        "Whether an image helps to find or describe a patient.",
        ("linkability", "inference"),
    ),
    (
        "Re-identification",
        "Whether a network that recognises patients recognises them here.",
        ("reidentification_auc",),
    ),
    ("A formal privacy guarantee", "No differential privacy was accounted for.", ("epsilon",)),
    ("Copies and near copies", "No comparison with the training images was made.", ("copies",)),
    ("Copied masks", "The masks were not compared with the training masks.", ("mask_copies",)),
    ("Usefulness for a task", "No network was trained on the synthetic images.", ("dice_volume", "auc_gap")),
    ("Distance to the real images", "No feature space was used.", ("kid", "frechet", "fid")),
    ("Adding to real data", "Whether real and synthetic images together beat real images alone.", ("mix_gain",)),
    ("Subgroups", "Whether it is worse for some patients: by disease, age, sex, scanner or site.", ("subgroup_gap",)),
    ("Other populations", "No external cohort was used.", ("external_dice",)),
    ("Impossible images", "Anatomical constraints were not checked.", ("violations",)),
    ("Experts' eyes", "There is no result of a reader study.", ("reader_accuracy",)),
    ("Volumes", "Consistency between neighbouring slices; images are 2-D.", ("volume_consistency",)),
)
_ONE_RUN = (
    "Stability over training runs",
    "One training run of the generator is described; another seed may score differently.",
)


def not_measured(metrics: set[str], runs_of_each: int, *, labelled: bool) -> list[dict[str, str]]:
    """Return what no score of the report covers, as title and reason.

    Args:
        metrics: That have a value for some cohort.
        runs_of_each: Evaluations of the generator that has fewest.
        labelled: Whether some cohort has findings.
    """
    listed = (*_UNMEASURED, *(_label_text.UNMEASURED if labelled else ()))
    missing = [{"title": title, "why": why} for title, why, needed in listed if not metrics & set(needed)]
    return missing + ([{"title": _ONE_RUN[0], "why": _ONE_RUN[1]}] if runs_of_each < 2 else [])


def caveats(*, labelled: bool) -> list[str]:
    """Return what is to be kept in mind, with findings some more."""
    return [*CAVEATS, *(_label_text.CAVEATS if labelled else ())]


def intervals(metrics: Collection[str]) -> str:
    """Return how the intervals were made, naming the utility scores that the page has."""
    names = [name for name, key in (("Dice", "dice"), ("AUC", "auc")) if any(m.startswith(key) for m in metrics)]
    return INTERVALS.format(scores=" and ".join(names) or "Dice")


def headline_of(names: Sequence[str], real_cohorts: Sequence[str]) -> str:
    """Return the title of the page."""
    if len(names) == 1:
        return names[0]
    return f"{len(names)} cohorts beside {' and '.join(real_cohorts)}"


def shortened(name: str, *, most: int = 34) -> str:
    """Return a name that fits beside a figure."""
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def with_seed(name: str, seed: int) -> str:
    """Return the name of one of several runs."""
    return f"{name}, seed {seed}"


def withheld_copies(number_withheld: int, *, masks: bool) -> str:
    """Return why some examples are not shown; `masks` where masks were compared, too."""
    what = "a training image, or their masks a training mask," if masks else "a training image"
    return f"Held back because they resemble {what} too closely: {number_withheld} of the stored examples."


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
