"""What an evaluation says of the two cohorts before any number."""

from __future__ import annotations

from ..cohort import Cohort
from ._sets import RealSets

FOREIGN = (
    "The scored cohort's generator was trained on another real cohort, or on another split of this one: neither its "
    "copies nor its usefulness can be believed here."
)


def trained_elsewhere(cohort: Cohort, real_identity: str) -> bool:
    """Return whether the generator of a cohort says that it was trained on another cohort, or another split of it."""
    return str((cohort.facts.generator or {}).get("cohort", real_identity)) != real_identity


def about(cohort: Cohort, real: RealSets, real_identity: str) -> list[str]:
    """Return notes on what is compared, and on what the scored cohort is."""
    notes = [
        f"Distances are taken to {len(real.held_out)} held-out images of {real.held_out.patient_count} patients; the "
        f"holdout control has {len(real.holdout)} images of {real.holdout.patient_count} patients."
    ]
    if trained_elsewhere(cohort, real_identity):
        notes.append(FOREIGN)
    if len(real.holdout) == 0:
        notes.append("The real cohort has no second half of reference patients: the copies have no ceiling.")
    if cohort.facts.provenance == "real":
        notes.append("The scored cohort says it is real; it was scored as images from elsewhere.")
    if cohort.facts.provenance == "control":
        notes.append("The scored cohort is a control: its right answer is known.")
    return notes
