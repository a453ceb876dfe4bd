"""The findings of study 000 (Skandarani et al. 2021) and the rules by which a run speaks for or against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy import stats

from ..significance import MARGIN
from ..statistics import clopper_pearson
from ._gan_jobs import AUGMENTED, BOTH, ORIGINAL, SYNTHETIC
from ._page import number
from ._spread import greater
from ._verdicts import Finding, Verdict, by_interval, together

Row = dict[str, Any]
SIMPLE = ("dcgan", "lsgan", "wgan", "wgan_gp", "hinge")
STYLED = ("stylegan2", "spade")
LARGE_LOSS, STRONG, ALPHA = 0.05, 0.7, 0.05
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
    few = learners < LEAST_LEARNERS
    disjoint = "the 95 % intervals of Dice (over learners and patients) are disjoint by more than"
    return [
        _of("rank", "4.2, 5.2", "The distance does not rank generators as Dice does.",
            f"95 % interval of the rank correlation over generators and checkpoints below {STRONG}; above it "
            "contradicts.", _rank(ranks)),
        _of("simple", "4.2, Table 2", "Simple GANs do poorly.",
            f"For every simple GAN {disjoint} {LARGE_LOSS}; {LEAST_LEARNERS} learners.", _simple(table, few=few)),
        _of("none-equals", "4.2", "No generator's samples equal the original images.",
            f"For every generator {disjoint} 0; {LEAST_LEARNERS} learners.", _none_equals(table, few=few)),
        _of("augmentation", "4.2", "Samples added to original images do as rotations, shifts and flips do.",
            f"Interval of one within {MARGIN} of the other's value, both ways; {LEAST_LEARNERS} learners.",
            _augmentation(table, few=few)),
        _of("memorised", "4.2, 5.3", "Small cohorts are memorised.",
            "The share of copies in the smallest cohort has an exact interval above that of the largest.",
            _memorised(copied, sizes)),
        _of("larger-better", "4.1, Figure 3", "The larger the cohort, the smaller the distance.",
            f"Mann-Whitney between smallest and largest cohort, p < {ALPHA}; {LEAST_RUNS} runs of each.",
            _larger(trials, sizes)),
        _of("hinge", "4.1, Figure 3", "Hinge varies least over hyper-parameters.",
            f"Brown-Forsythe against every other searched generator, p < {ALPHA}; {LEAST_RUNS} runs of each.",
            _spreads(trials, ("hinge",), lower=True)),
        _of("sensitive", "4.1, Figure 3", "DCGAN and LSGAN vary more over hyper-parameters than WGAN and Hinge.",
            f"Brown-Forsythe, p < {ALPHA}; {LEAST_RUNS} runs of each.",
            _spreads(trials, ("dcgan", "lsgan"), lower=False)),
        _of("most-fail", "5.1", "Most runs make no meaningful images.",
            f"Exact interval of the share that diverged or collapsed above one half; {LEAST_TRIALS} runs.",
            _most_fail(trials, failures)),
        _of("styled-best", "4.1, Table 2", "StyleGAN and SPADE reach the smallest distances.",
            "One best run each has no interval: repeat the study to tell.", ("cannot tell", "one best run each")),
        _of("experts", "4.3", "Experts tell StyleGAN's images apart in 60 % of cases.",
            "Equivalence of accuracy to one half, by `reader analyse`.",
            ("cannot tell", "no reader study is part of it")),
    ]  # fmt: skip


def _of(key: str, where: str, claim: str, rule: str, say: Say) -> Finding:
    return Finding(key, "000", where, claim, rule, *say)


def _rank(ranks: Sequence[Row]) -> Say:
    kept = [line for line in ranks if line["over"] == "checkpoints"]
    found = [_flipped(by_interval(line["low"], line["high"], above=STRONG)) for line in kept]
    said = [f"{line['cohort']}: {number(line['rho'], 2)} of {line['n']} points" for line in kept]
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

    return _judged(_pairs(table, SYNTHETIC, ORIGINAL, SIMPLE), judge, few=few)


def _none_equals(table: Sequence[Row], *, few: bool) -> Say:
    def judge(real: Row, own: Row) -> Verdict:
        if real["low"] > own["high"]:
            return "supports"
        return "contradicts" if own["low"] > real["high"] else "cannot tell"

    return _judged(_pairs(table, SYNTHETIC, ORIGINAL), judge, few=few)


def _augmentation(table: Sequence[Row], *, few: bool) -> Say:
    def judge(moved: Row, both: Row) -> Verdict:
        near = all(
            abs(end - other["dice"]) < MARGIN
            for one, other in ((moved, both), (both, moved))
            for end in (one["low"], one["high"])
        )
        apart = max(moved["low"] - both["high"], both["low"] - moved["high"])
        return "supports" if near else "contradicts" if apart > MARGIN else "cannot tell"

    return _judged(_pairs(table, BOTH, AUGMENTED, STYLED), judge, few=few)


def _memorised(copied: Sequence[Row], sizes: Mapping[str, int]) -> Say:
    if len(set(sizes.values())) < 2:
        return "cannot tell", "it takes two cohorts of different size"
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    verdicts, said = list[Verdict](), []
    for row in (row for row in copied if row["cohort"] == small and row["low"] is not None):
        same = ("generator", "metric", "extractor")
        for other in copied:
            if other["cohort"] == large and other["low"] is not None and all(row[k] == other[k] for k in same):
                verdicts.append(
                    "supports" if row["low"] > other["high"] else
                    "contradicts" if row["high"] < other["low"] else "cannot tell"
                )  # fmt: skip
                said.append(f"{row['generator']}, {row['metric']}: {row['value']:.1%} against {other['value']:.1%}")
    return together(verdicts), "; ".join(said) or "copies were not searched for in both"


def _larger(trials: Sequence[Row], sizes: Mapping[str, int]) -> Say:
    if len(set(sizes.values())) < 2:
        return "cannot tell", "it takes two cohorts of different size"
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    left, right = ([row["distance"] for row in trials if row["cohort"] == name] for name in (small, large))
    if min(len(left), len(right)) < LEAST_RUNS:
        return "cannot tell", f"{len(left)} and {len(right)} of {LEAST_RUNS} runs"
    down, up = greater(left, right), greater(right, left)
    verdict: Verdict = "supports" if (down or 1) < ALPHA else "contradicts" if (up or 1) < ALPHA else "cannot tell"
    return verdict, f"p {down:.3g} that {small} has the larger distances"


def _spreads(trials: Sequence[Row], who: Sequence[str], *, lower: bool) -> Say:
    others = [name for name in ("dcgan", "lsgan", "wgan", "hinge") if name not in who]
    verdicts, said = list[Verdict](), []
    for cohort in dict.fromkeys(row["cohort"] for row in trials):
        of = {
            name: [row["distance"] for row in trials if (row["cohort"], row["generator"]) == (cohort, name)]
            for name in (*who, *others)
        }
        for own in who:
            for other in others:
                if min(len(of[own]), len(of[other])) < LEAST_RUNS:
                    verdicts.append("cannot tell")
                    continue
                p = float(stats.levene(of[own], of[other], center="median").pvalue)
                less = stats.iqr(of[own]) < stats.iqr(of[other])
                verdicts.append("cannot tell" if p >= ALPHA else "supports" if less == lower else "contradicts")
                said.append(f"{own}, {other}: p {p:.3g}")
    return together(verdicts), "; ".join(said) or f"fewer than {LEAST_RUNS} runs of a generator"


def _most_fail(trials: Sequence[Row], failures: Sequence[Row]) -> Say:
    total = len(trials) + len(failures)
    bad = len(failures) + sum(bool(row.get("collapsed")) for row in trials)
    if total < LEAST_TRIALS:
        return "cannot tell", f"{bad} of {total}; {LEAST_TRIALS} are needed"
    found = clopper_pearson(bad, total)
    return by_interval(found.low, found.high, above=0.5), f"{bad} of {total} ({found.low:.0%} to {found.high:.0%})"
