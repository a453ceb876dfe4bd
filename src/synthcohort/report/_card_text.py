"""The fixed texts of the card."""

from __future__ import annotations

QUESTIONS = {
    1: ("useful_alone", "Is it useful alone?"),
    2: ("worth", "Worth how many real patients?"),
    3: ("adds", "Does it add to real images?"),
    4: ("for_whom", "For whom is it worse?"),
    5: ("labels", "Are the labels honest?"),
    6: ("looks", "Does it look like the real set?"),
    7: ("missing", "What is missing?"),
    8: ("impossible", "Are there impossible images?"),
    9: ("copies", "Are there copies?"),
    10: ("membership", "Can it be told who was in it?"),
    11: ("attacks", "Singling out, linking, inferring?"),
    12: ("reidentification", "Can patients be recognised?"),
    13: ("guarantee", "Is there a formal guarantee?"),
    14: ("experts", "Do experts see it?"),
    15: ("stable", "Is it stable?"),
    16: ("cost", "What did it cost?"),
}
"""Number -> (name for programs, question)."""

GROUPS = ((1, "Use"), (6, "Likeness"), (9, "Patients"), (13, "Also"))
"""First line of a group -> its heading."""

DECLARED = {
    "release": "Release object",
    "adversary": "Adversary",
    "intended_use": "Intended use",
    "evaluated_by": "Evaluated by",
}
NO_CARD = (
    "No release decision can be read from this card: no lines were fixed before the evaluation. Not declared: release"
    " object, adversary, intended use, who evaluated. Write a card file (synthcohort card FILE) and evaluate with"
    " --card FILE."
)
NO_LINE_FIXED = "no line was fixed before the evaluation"
EXPLORATORY = "exploratory: {why}"
QUICK = "the card file says setting = quick"
QUICK_RUN = "evaluated without --utility full"
FEW_SEEDS = "fewer than 5 learner seeds"
FOREIGN = "Cannot be believed: the generator was trained on another real cohort, or on another split of this one."
AGAINST_DEFAULT = {
    "met": "the default line would be met",
    "not_met": "the default line would be missed",
}
AGAINST_LINE = {"met": "the line would be met", "not_met": "the line would be missed"}

CAVEATS = (
    "The audits bound the attacks that were tried; stronger or better informed ones may succeed.",
    "Averages hide individuals: unusual patients and rare diseases carry most of the risk.",
    "No copies found is not no copies: the true share is bounded by the upper end divided by what the detector finds.",
    "Only differential privacy gives a guarantee, and one per image is not one per patient.",
    "The evaluation used real patients: its figures are themselves a small release about them.",
    "Likeness is not usefulness, and convincing pictures say nothing about what is missing.",
    "Usefulness holds for this task, learner and these test patients; elsewhere it is untested.",
    "Being synthetic does not take images out of data protection law: the controller judges case by case.",
    "Not for diagnosis; not sufficient to validate a device.",
    "Releases add up: another model or sample of the same patients is a new risk.",
)
NO_SCORE = (
    "Every line stands for itself; there is no overall score. Met, not met and not estimable are judged by the end of"
    " the 95\N{NARROW NO-BREAK SPACE}% interval. Not estimable is not met."
)
