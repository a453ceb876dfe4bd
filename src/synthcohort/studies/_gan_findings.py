"""The findings of study 000 (Skandarani et al. 2021) and the rules by which a run speaks for or against them.

By these rules the paper's own Table 2 cannot tell most of them: it has one value each and no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ..significance import MARGIN, holm
from ..statistics import clopper_pearson
from ._gan_jobs import AUGMENTED, BOTH, ORIGINAL, SYNTHETIC
from ._page import number
from ._spread import greater
from ._verdicts import Finding, Verdict, by_interval, together

Row = dict[str, Any]
NAMED = ("dcgan", "lsgan", "wgan", "hinge")
"""Those of Table 2; wgan_gp was searched (Table 1), and has no row there."""
SIMPLE = (*NAMED, "wgan_gp")
STYLED = ("stylegan2", "spade")
LARGE_LOSS, STRONG, ALPHA = 0.05, 0.7, 0.05
NEAR_BEST = 2.0
"""Times the smallest distance of a search on a cohort; a run within it makes images that mean something."""
MOST_COPIED = 0.01
LEAST_RUNS, LEAST_TRIALS, LEAST_LEARNERS = 6, 30, 3
Say = tuple[Verdict, str]


def findings(
    table: Sequence[Row],
    trials: Sequence[Row],
    failures: Sequence[Row],
    copied: Sequence[Row],
    ranks: Sequence[Row],
    sizes: Mapping[str, int],
    *,
    learners: int,
) -> list[Finding]:
    """Return every finding with its verdict.

    Args:
        table: Of `_gan_rows.table2`.
        trials: Of `_gan_rows.trial_rows`.
        failures: Trials without a distance.
        copied: Of `_gan_rows.copies`.
        ranks: Of `_gan_rows.correlations`.
        sizes: Cohort -> training images.
        learners: U-Nets of each arm.
    """
    return [
        _of("rank", "4.2, 5.2", "The distance does not rank generators as Dice does.",
            f"95 % interval of the rank correlation over the best runs of generators below {STRONG}; above it "
            "contradicts (it takes eight). Checkpoints of one generator are alike: shown, they decide nothing.",
            _rank(ranks)),
        *_of_dice(table, few=learners < LEAST_LEARNERS),
        _of("memorised", "4.2, 5.3", "Small cohorts are memorised.",
            "95 % interval of the share of copies less that of held-out patients: in the smallest cohort above 0 and "
            f"above that of the largest; against it speaks one below it, or wholly below {MOST_COPIED}.",
            _memorised(copied, sizes)),
        _of("larger-better", "4.1, Figure 3", "The larger the cohort, the smaller the distance.",
            f"Mann-Whitney between smallest and largest cohort, p < {ALPHA}; {LEAST_RUNS} runs of each, and distances "
            "of as many images in both.",
            _larger(trials, sizes)),
        _of("hinge", "4.1, Figure 3", "Hinge varies least over hyper-parameters.",
            f"Brown-Forsythe against every other of Figure 3, p < {ALPHA} after Holm; {LEAST_RUNS} runs of each.",
            _spreads(trials, ("hinge",), lower=True)),
        _of("sensitive", "4.1, Figure 3", "DCGAN and LSGAN vary more over hyper-parameters than WGAN and Hinge.",
            f"Brown-Forsythe, p < {ALPHA} after Holm; {LEAST_RUNS} runs of each.",
            _spreads(trials, ("dcgan", "lsgan"), lower=False)),
        _of("most-fail", "5.1", "Most runs of the search make no meaningful images.",
            "Exact interval of the share that diverged or collapsed above one half; against it speaks that of the "
            f"share within {NEAR_BEST:g} times the smallest distance of its cohort; {LEAST_TRIALS} runs.",
            _most_fail(trials, failures)),
        _of("styled-best", "4.1, Table 2", "StyleGAN and SPADE reach the smallest distances.",
            f"Mann-Whitney between the best runs of both and of the searched generators on every cohort, p < {ALPHA}; "
            "it takes both and all five.", _styled(table)),
        _of("experts", "4.3", "Experts are right about StyleGAN's images in 60 % of cases only.",
            "Equivalence of accuracy to one half, by `reader analyse`.",
            ("cannot tell", "no reader study is part of it")),
    ]  # fmt: skip


def _of_dice(table: Sequence[Row], *, few: bool) -> list[Finding]:
    disjoint = "the 95 % intervals of Dice (over learners and patients) are disjoint by more than"
    return [
        _of("simple", "4.2, Table 2", "DCGAN, LSGAN, WGAN and Hinge do poorly.",
            f"For every one of them {disjoint} {LARGE_LOSS}; {LEAST_LEARNERS} learners.", _simple(table, few=few)),
        _of("none-equals", "4.2", "No generator's samples equal the original images.",
            f"For every generator {disjoint} 0; against it speaks a loss of at most {MARGIN} at the ends of both "
            f"intervals; {LEAST_LEARNERS} learners.", _none_equals(table, few=few)),
        _of("augmentation", "4.2", "Samples added to original images do as rotations, shifts and flips do.",
            f"Difference, with the half widths of both intervals added in squares, within {MARGIN}; {LEAST_LEARNERS} "
            "learners.",
            _augmentation(table, few=few)),
    ]  # fmt: skip


def _of(key: str, where: str, claim: str, rule: str, say: Say) -> Finding:
    return Finding(key, "000", where, claim, rule, *say)


def _rank(ranks: Sequence[Row]) -> Say:
    kept = [line for line in ranks if line["over"] == "generators"]
    found = [_flipped(by_interval(line["low"], line["high"], above=STRONG)) for line in kept]
    said = [f"{line['cohort']}: {number(line['rho'], 2)} of {line['n']} generators" for line in kept]
    return together(found), "; ".join(said) or "no points"


def _flipped(verdict: Verdict) -> Verdict:
    return {"supports": "contradicts", "contradicts": "supports"}.get(verdict, "cannot tell")  # type: ignore[return-value]


def _pairs(table: Sequence[Row], kind: str, against: str, who: Sequence[str] = ()) -> list[tuple[Row, Row]]:
    """Return (row of `against`, row of `kind`) of each cohort and generator."""
    return [
        (other, row)
        for row in table
        for other in table
        if row["cohort"] == other["cohort"]
        and (row["trained"], other["trained"]) == (kind, against)
        and (not who or row["generator"] in who)
    ]


def _judged(pairs: Sequence[tuple[Row, Row]], judge: Callable[[Row, Row], Verdict], *, few: bool) -> Say:
    known = [pair for pair in pairs if all(row["low"] is not None for row in pair)]
    said = "; ".join(
        f"{row['generator']} on {row['cohort']}: {number(row['dice'], 2)} against {number(other['dice'], 2)}"
        for other, row in pairs
    )
    if not pairs or few or len(known) < len(pairs):
        why = "none measured" if not pairs else "too few learners" if few else "an arm has no interval"
        return "cannot tell", f"{why}. {said}".strip()
    return together(judge(other, row) for other, row in known), said


def _simple(table: Sequence[Row], *, few: bool) -> Say:
    def judge(real: Row, own: Row) -> Verdict:
        if real["low"] - own["high"] > LARGE_LOSS:
            return "supports"
        return "contradicts" if real["high"] - own["low"] < LARGE_LOSS else "cannot tell"

    return _judged(_pairs(table, SYNTHETIC, ORIGINAL, NAMED), judge, few=few)


def _none_equals(table: Sequence[Row], *, few: bool) -> Say:
    def judge(real: Row, own: Row) -> Verdict:
        if real["low"] > own["high"]:
            return "supports"
        return "contradicts" if real["high"] - own["low"] <= MARGIN else "cannot tell"

    return _judged(_pairs(table, SYNTHETIC, ORIGINAL), judge, few=few)


def _augmentation(table: Sequence[Row], *, few: bool) -> Say:
    def judge(moved: Row, both: Row) -> Verdict:
        # Arms share test patients, so their difference spreads less than this.
        half = float(np.hypot(moved["high"] - moved["low"], both["high"] - both["low"])) / 2
        apart = abs(moved["dice"] - both["dice"])
        return "supports" if apart + half < MARGIN else "contradicts" if apart - half > MARGIN else "cannot tell"

    return _judged(_pairs(table, BOTH, AUGMENTED, STYLED), judge, few=few)


def _memorised(copied: Sequence[Row], sizes: Mapping[str, int]) -> Say:
    if len(set(sizes.values())) < 2:
        return "cannot tell", "it takes two cohorts of different size"
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    known = [row for row in copied if row["metric"].endswith("_excess") and row["low"] is not None]
    verdicts, said = list[Verdict](), []
    for row in (row for row in known if row["cohort"] == small):
        same = ("generator", "metric", "extractor")
        for other in known:
            if other["cohort"] == large and all(row[k] == other[k] for k in same):
                verdicts.append(_more_copied(row, other))
                said.append(f"{row['generator']}, {row['metric']}: {row['value']:.1%} against {other['value']:.1%}")
    return together(verdicts), "; ".join(said) or "copies beyond chance are not known of both"


def _more_copied(small: Row, large: Row) -> Verdict:
    if small["low"] > max(large["high"], 0.0):
        return "supports"
    return "contradicts" if small["high"] < max(large["low"], MOST_COPIED) else "cannot tell"


def _larger(trials: Sequence[Row], sizes: Mapping[str, int]) -> Say:
    if len(set(sizes.values())) < 2:
        return "cannot tell", "it takes two cohorts of different size"
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    kept = [row for row in trials if row["generator"] in SIMPLE]
    left, right = ([row["distance"] for row in kept if row["cohort"] == name] for name in (small, large))
    if min(len(left), len(right)) < LEAST_RUNS:
        return "cannot tell", f"{len(left)} and {len(right)} of {LEAST_RUNS} runs"
    compared = sorted({row["n"] for row in kept if row["cohort"] in (small, large)})
    if len(compared) > 1:  # the smaller cohort's would be larger whatever the images are like
        return "cannot tell", f"distances of {compared[0]:,} to {compared[-1]:,} images have different bias"
    down, up = greater(left, right), greater(right, left)
    verdict: Verdict = "supports" if (down or 1) < ALPHA else "contradicts" if (up or 1) < ALPHA else "cannot tell"
    return verdict, f"p {down:.3g} that {small} has the larger distances"


def _spreads(trials: Sequence[Row], who: Sequence[str], *, lower: bool) -> Say:
    others = [name for name in NAMED if name not in who]
    found, said, missing = list[tuple[float, bool]](), [], 0
    for cohort in dict.fromkeys(row["cohort"] for row in trials):
        of = {
            name: [row["distance"] for row in trials if (row["cohort"], row["generator"]) == (cohort, name)]
            for name in (*who, *others)
        }
        for own in who:
            for other in others:
                if min(len(of[own]), len(of[other])) < LEAST_RUNS:
                    missing += 1
                    continue
                p = float(stats.levene(of[own], of[other], center="median").pvalue)
                found.append((p, _around_median(of[own]) < _around_median(of[other])))
                said.append(f"{own}, {other}: p {p:.3g}")
    adjusted = holm([p for p, _ in found])
    verdicts: list[Verdict] = ["cannot tell"] * missing
    for p, (_, less) in zip(adjusted, found, strict=True):
        verdicts.append("cannot tell" if p >= ALPHA else "supports" if less == lower else "contradicts")
    return together(verdicts), "; ".join(said) or f"fewer than {LEAST_RUNS} runs of a generator"


def _around_median(values: Sequence[float]) -> float:
    """Return the mean distance from the median: what the test of Brown and Forsythe compares."""
    return float(np.abs(np.asarray(values) - np.median(values)).mean())


def _most_fail(trials: Sequence[Row], failures: Sequence[Row]) -> Say:
    kept = [row for row in trials if row["generator"] in SIMPLE]
    lost = sum(row["generator"] in SIMPLE for row in failures)
    total = len(kept) + lost
    bad = lost + sum(bool(row.get("collapsed")) for row in kept)
    if total < LEAST_TRIALS:
        return "cannot tell", f"{bad} of {total}; {LEAST_TRIALS} are needed"
    best = {row["cohort"]: min(r["distance"] for r in kept if r["cohort"] == row["cohort"]) for row in kept}
    near = sum(row["distance"] <= NEAR_BEST * best[row["cohort"]] and not row.get("collapsed") for row in kept)
    shares = [clopper_pearson(count, total) for count in (bad, near)]
    said = "; ".join(
        f"{count} of {total} {word} ({share.low:.0%} to {share.high:.0%})"
        for count, word, share in zip((bad, near), ("failed", "near the best"), shares, strict=True)
    )
    failed, meant = (by_interval(share.low, share.high, above=0.5) for share in shares)
    return ("supports" if failed == "supports" else "contradicts" if meant == "supports" else "cannot tell"), said


def _styled(table: Sequence[Row]) -> Say:
    verdicts, said = list[Verdict](), []
    for cohort in dict.fromkeys(row["cohort"] for row in table):
        of = {row["generator"]: row["distance"] for row in table if row["cohort"] == cohort and row["generator"]
              and row["trained"] == SYNTHETIC and row["distance"] is not None}  # fmt: skip
        if not {*SIMPLE, *STYLED} <= of.keys():
            verdicts.append("cannot tell")
            said.append(f"{cohort}: {len(of.keys() & {*SIMPLE, *STYLED})} of {len(SIMPLE) + len(STYLED)} generators")
            continue
        simple, styled = ([of[name] for name in names] for names in (SIMPLE, STYLED))
        below, above = greater(simple, styled) or 1.0, greater(styled, simple) or 1.0
        verdicts.append("supports" if below < ALPHA else "contradicts" if above < ALPHA else "cannot tell")
        said.append(f"{cohort}: p {below:.3g}")
    return together(verdicts), "; ".join(said) or "none measured"
