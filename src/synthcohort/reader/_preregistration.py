"""The pre-registration: what is asked, how it will be answered and when a reader counts, before the first answer.

It is written to be deposited as it stands. Of the truth it holds a digest only, over a table with a random nonce, so
that nobody can find the truth by trying.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from ._power import CASE_SD, READER_SD, SIMULATIONS, Power
from ._study import Design

_WIDTH = 120
_TEXT = """# {name}: pre-registration

Written by `synthcohort reader design` (version {version}) before any answer. Deposit it as it stands, with a date.

## Question

Can readers tell the {kinds} of this study from one another by looking? It is not asked whether the synthetic images are
useful, varied, correct, or free of copies of patients: no reader study of single images shows that.
{warning}
## Hypotheses and primary endpoint

The primary endpoint is the accuracy of the readers: the mean of the share of synthetic images called synthetic and the
share of real images called real, averaged over readers. Guessing gives 0.5, and so does one answer to every image.

- Null: the accuracy is {low:.3g} or less, or {high:.3g} or more. Readers who are reliably wrong see a difference as
  well.
- Alternative: the accuracy lies within 0.5 +- {margin:.3g}: equivalence.

Two one-sided tests at level {alpha:g}; equivalence is claimed only where the {band:.4g} % interval of the accuracy lies
within the margin. The variance is that over other readers and other images (Obuchowski and Rockette; Gallas), not that
of independent answers. If equivalence is not shown, nothing is claimed but the interval.

## Secondary endpoints

Area under the ROC curve by confidence; sensitivity and specificity; d' and criterion; agreement within readers (hidden
repeats) and between readers; seconds per image{more}. They are reported with intervals and decide nothing.

## Images

- {images} images: {real} real and {synthetic} {subject}. Readers are not told how many.
- Real images come from patients of the splits test and reference, one image a patient, drawn by the seed.
- {matching}
- {training}
- {repeats} images come a second time, unannounced, at least a quarter of the study later. First answers alone count.
- One random order for each reader; {blocks}. {limit} {back}
- All images leave by one function as plain {dtype} values, {width} x {height} pixels, without a header. proof.json:
  real images sent along both export paths are told apart by no classifier with an AUC above {bound:.3f} (95 % limit);
  no fact of the files tells the kinds apart. Programs that look at the pixels reach {pixels}; that is no condition.

## Readers and sample size

{readers}. {power}

## Exclusions and stopping

A reader counts who judged every image. Those who did not are listed and do not enter. No image and no answer is
excluded, whatever time it took; answers after the time limit count. The study ends when every reader is done or when
its administrator closes it, without a look at the results; there is no interim analysis. Simulated readers are never
pooled with people.

## What fixes this study

| | |
|---|---|
| seed of every draw | {seed} |
{digests}

The truth is committed to by its digest: the table holds a random nonce. The order of rows, the ids and the codes come
from the system's secret randomness and cannot be worked out from the seed.
"""

_KINDS = {
    "synthetic": ("real and synthetic images", "synthetic", ""),
    "control": (
        "real images and those of a control",
        "of a control, here called synthetic",
        "\nThis is a check of the study itself: the images called synthetic come from a control, which is wrong, or"
        " right, on purpose.\n",
    ),
    "real": (
        "two sets of real images",
        "real as well, here called synthetic",
        "\nThis is a check of the study itself: the images called synthetic are real as well.\n",
    ),
}


def preregistration(
    design: Design,
    proof: Mapping[str, Any],
    power: Power,
    digests: Mapping[str, str],
    left_out: Mapping[str, Any],
    version: str,
) -> str:
    """Return the text of preregistration.md.

    Args:
        design: Of the study.
        proof: Content of proof.json.
        power: Of this design, when nobody can tell.
        digests: Name of a file or cohort -> SHA-256.
        left_out: "matched" findings, and how many held-out patients were "unknown" and "unmatched".
        version: Of this program.
    """
    kinds, subject, warning = _KINDS[design.subject]
    _, height, width = design.shape
    text = _TEXT.format(
        name=design.name,
        version=version,
        kinds=kinds,
        subject=subject,
        warning=warning,
        low=0.5 - design.margin,
        high=0.5 + design.margin,
        margin=design.margin,
        alpha=design.alpha,
        band=100 * (1 - 2 * design.alpha),
        more=", findings ticked" * bool(design.findings) + ", artefacts marked" * design.marks,
        images=design.images,
        real=design.images - design.synthetic,
        synthetic=design.synthetic,
        matching=_matching(left_out),
        training=_training(design),
        repeats=design.repeats or "No",
        blocks=f"{design.blocks} blocks with a pause between them" if design.blocks > 1 else "one block",
        limit=f"{design.time_limit_s:g} seconds an image." if design.time_limit_s else "No time limit.",
        back="Answers may be changed until the end; the last one counts." if design.go_back else "No going back.",
        dtype=design.dtype,
        width=width,
        height=height,
        bound=proof["export"]["any_classifier_at_most"],
        pixels=_pixels(proof["pixels"]),
        readers=f"{len(design.readers)} {'reader' if len(design.readers) == 1 else 'readers'}",
        power=_power(power, design),
        seed=design.seed,
        digests="".join(f"| SHA-256 of {name} | {digest} |\n" for name, digest in digests.items()),
    )
    return "\n\n".join(_wrapped(paragraph.strip()) for paragraph in re.split(r"\n{2,}", text)) + "\n"


def _wrapped(paragraph: str) -> str:
    """Return a paragraph or list filled anew; tables and headings stay as they are."""
    if paragraph.startswith(("|", "#")):
        return paragraph
    points = re.split(r"\n(?=- )", paragraph)
    return "\n".join(
        textwrap.fill(" ".join(point.split()), _WIDTH, subsequent_indent="  " * point.startswith("- "))
        for point in points
    )


def _matching(left_out: Mapping[str, Any]) -> str:
    if not left_out["matched"]:
        return "No findings were matched: the cohorts have none in common."
    names = ", ".join(left_out["matched"])
    return (
        f"Both kinds show every combination of findings equally often, in proportion to their numbers ({names}). Not"
        f" eligible: {left_out['unknown']} patients of whom one of these findings is not stated; passed over:"
        f" {left_out['unmatched']} whose combination the synthetic cohort has too rarely."
    )


def _training(design: Design) -> str:
    if not design.training:
        return "No image is shown with its answer, before or during the study."
    return f"{design.training} other images of both kinds are shown with their answer before the study."


def _pixels(found: Mapping[str, Any]) -> str:
    said = [f"{area['auc']:.2f} ({name})" for name, area in found.items() if area["auc"] is not None]
    return f"AUCs of {', '.join(said)}" if said else "nothing that could be estimated"


def _power(power: Power, design: Design) -> str:
    if power.power is None:
        return "With one reader nothing can be said of other readers, so equivalence cannot be shown."
    return (
        f"If nobody can tell, the probability of showing equivalence is {power.power:.2f} ({SIMULATIONS:,} simulated"
        f" studies through the test of the analysis; standard deviation {READER_SD} between readers and {CASE_SD}"
        f" between images on the logit scale, margin {design.margin:g}, level {design.alpha:g})."
    )
