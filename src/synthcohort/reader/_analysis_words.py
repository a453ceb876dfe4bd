"""The sentences of the analysis, for someone who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MINUS, NARROW, PM = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}", "\N{PLUS-MINUS SIGN}"

SIMULATED_TITLE = "Simulated readers: nobody has looked at these images"
SIMULATED = (
    "Every answer on this page was drawn by a computer program from a model of a reader. It shows what an analysis"
    " looks like and what a study of this size could find. It is no evidence about these images or about any expert."
)
NO_RESULT = "No result"
OPEN, CLOSE = "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"
_HEADLINES = {
    "equivalent": "Readers could not tell synthetic from real images",
    "better than chance": "Readers could tell synthetic from real images",
    "worse than chance": "Readers told synthetic from real images apart, the wrong way round",
    "cannot tell": "This study cannot say whether readers can tell",
    "not estimable": NO_RESULT,
}
CAVEATS = (
    "This is about readers and images like these. Other readers, larger or smaller images, more time, two images side"
    " by side or a hint of what to look for can change it.",
    "Realism is not diversity: image by image nobody can see what is missing from the set.",
    "Realism is not usefulness and not privacy: a copy of a patient's image looks perfectly real.",
    "It is not a proof. The equivalence test errs at the rate that its level states, and only the margin that was fixed"
    " before the study gives it a meaning.",
    "With few readers an interval is wide because readers differ; more images do not help against that.",
)
FEW = "With fewer than {least} readers the intervals are somewhat narrower than they should be."
LEARNT = "The study tests itself: the images called synthetic are {subject} images."
TERMS = (
    ("Accuracy", "Share of images that readers named rightly, both kinds counting alike. Guessing gives 50 %."),
    ("Sensitivity", "Share of synthetic images called synthetic."),
    ("Specificity", "Share of real images called real."),
    (
        "AUC",
        "Chance that a synthetic image gets a higher rating than a real one, confidence included. 0.5 is guessing.",
    ),
    ("d\N{PRIME}", "How far apart the two kinds feel to a reader, in units of the noise: 0 nothing, 1 some, 2 much."),
    (
        "Criterion",
        f"Which way readers lean when in doubt: above 0 to {OPEN}real{CLOSE}, below 0 to {OPEN}synthetic{CLOSE}.",
    ),
    ("Kappa", "Agreement beyond chance: 0 none, 1 complete."),
    ("Interval", "Where the figure would probably lie for other readers and other images of these kinds (95 %)."),
    ("True and false reals", "Images called real that are real, or are not; synthetics likewise."),
)


def percent(value: float) -> str:
    """Return a share in per cent."""
    return f"{100 * value:.1f}{NARROW}%".replace("-", MINUS)


def plain(value: float) -> str:
    """Return a number with two decimals."""
    return f"{value:.2f}".replace("-", MINUS)


def p_value(p: float) -> str:
    """Return "p = 0.040" or "p < 0.0001"."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.3f}"


def headline(content: Mapping[str, Any]) -> str:
    """Return the headline; of simulated readers it says so first."""
    said = _HEADLINES[content["verdict"]]
    return f"Simulated: {said[0].lower()}{said[1:]}" if content["simulated"] else said


def reading(content: Mapping[str, Any]) -> list[str]:
    """Return the answer in a few sentences, the most important first."""
    test = content["equivalence"]["accuracy"]
    if test["status"] != "ok":
        return [f"The figures over readers could not be estimated: {test['reason']}."]
    return [_accuracy(content, test), _meaning(test), *_also(content)]


def _accuracy(content: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    low, high = test["interval"]
    images = sum(content["images"].values())
    level = f"{100 * (1 - test['alpha']):g}{NARROW}%"
    return (
        f"{content['readers']['finished']} readers named {percent(test['value'])} of {images} images rightly; guessing"
        f" would give 50{NARROW}%. For readers and images like these the figure lies between {percent(low)} and"
        f" {percent(high)} ({level} interval)."
    )


def _meaning(test: Mapping[str, Any]) -> str:
    low, high = (percent(0.5 + side * test["margin"]) for side in (-1, 1))
    band = f"{percent(test['band'][0])} to {percent(test['band'][1])}"
    limits = f"the margin fixed before the study, {low} to {high}"
    inside = (
        f"The interval that decides, {band}, lies within {limits}: that counts as not telling them apart"
        f" ({p_value(test['p'])})."
    )
    said = {
        "equivalent": inside,
        "better than chance": f"That is better than guessing, and not shown to lie within {limits}.",
        "worse than chance": (
            "That is worse than guessing: readers see a difference and read it the wrong way round, for example because"
            " the synthetic images look cleaner. It counts as telling them apart."
        ),
        "cannot tell": (
            f"That is not clearly different from guessing, but the interval that decides, {band}, does not lie within"
            f" {limits}. It would be wrong to read this as {OPEN}readers cannot tell{CLOSE}: it takes more readers or"
            " more images to know."
        ),
    }[test["verdict"]]
    small = " They do see some difference, but a smaller one than the margin." if test["differs"] else ""
    return said + (small if test["verdict"] == "equivalent" else "")


def _also(content: Mapping[str, Any]) -> list[str]:
    found, auc = [], content["equivalence"]["auc"]
    if auc["status"] == "ok":
        low, high = auc["interval"]
        found.append(
            f"With confidence taken into account the area under the ROC curve is {plain(auc['value'])}"
            f" ({plain(low)} to {plain(high)}; 0.50 is guessing): {auc['words']}."
        )
    lean = content["pooled"]["criterion"]
    if lean["low"] is not None and not lean["low"] <= 0 <= lean["high"]:
        found.append(f"When in doubt, readers leaned to calling images {'real' if lean['value'] > 0 else 'synthetic'}.")
    return found


def agreement(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the two kappas say."""
    names = {"within": "Readers with themselves, images shown twice", "between": "Readers with each other"}
    return [(name, kappa(content["agreement"][key])) for key, name in names.items()]


def kappa(found: Mapping[str, Any]) -> str:
    """Return a kappa with its interval, or why there is none."""
    if found["status"] != "ok":
        return f"not estimable: {found['reason']}"
    if found["low"] is None:
        return f"{plain(found['value'])} ({found['reason']})"
    return f"{plain(found['value'])} ({plain(found['low'])} to {plain(found['high'])})"


def paper(content: Mapping[str, Any]) -> list[str]:
    """Return what the tests of the two studies say, with what they leave out."""
    if content["paper"] is None:
        return []
    test, pooled = content["paper"]["signed_rank"], content["paper"]["pooled_binomial"]
    none = "every reader is at exactly 50 %, so there is no test"
    tails = (
        none if test["less"] is None else f"accuracy below 0.5: {_p(test['less'])}; above 0.5: {_p(test['greater'])}"
    )
    return [
        f"Study 003 (DuMont Sch\N{LATIN SMALL LETTER U WITH DIAERESIS}tte et al.): accuracy {plain(test['mean'])} {PM}"
        f" {plain(test['sd'])} over {test['readers']} readers (standard deviation with divisor n). One-sided Wilcoxon"
        f" signed-rank tests against 0.5, {tails}; {test['dropped']}"
        " readers at exactly 0.5 left out. The p values that study 003 prints are those of accuracy below 0.5: they"
        " show that readers did worse than guessing, which is not that they cannot tell.",
        f"Study 000 (Skandarani et al.): {pooled['right']} of {pooled['answers']} answers right, exact two-sided"
        f" {_p(pooled['p'])}, as if every answer came from another reader and another image.",
        "Neither test knows that the readers saw the same images, and neither can show that readers cannot tell. What"
        " counts is the equivalence test above.",
    ]


def _p(p: float) -> str:
    return f"p = {p:.2g}"
