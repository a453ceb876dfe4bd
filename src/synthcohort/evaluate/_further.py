"""Rows of the second learner, of mixed training, and of what the scored cohort is worth in real patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..progress import Progress
from ..runs import derive_seed
from ..statistics import percentile_interval
from ..types import Array, Role, Value
from . import _worth
from ._learners import Learner, Part
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import Amounts, ImageSet
from ._utility import SYNTHETIC, Floats, Outcome, Tested, Tests, add, roles, valued

PROBE, PROBE_GAP = "probe_{}", "probe_{}_gap"
MIX, EQUIVALENT = "mix_gain", "real_equivalent_patients"
RATIOS = (0.5, 1.0, 2.0)
DRAWN_CURVES = 3
_SHORT = {"auc": "auc", "dice_volume": "dice"}


@dataclass(frozen=True)
class Bench:
    """What learners are compared on.

    Attributes:
        rows: Where the scores go.
        task: Named in the rows.
        labels: Of the outcomes' columns but the last.
        amounts: What the task was fitted on.
        train: All real training images.
        val: Real validation images.
        gaussian: As many images as the synthetic arm is fitted on and stopped by.
        tests: Real test patients, and an external cohort.
        seeds: Learner seeds.
        seed: Decides what is drawn.
    """

    rows: Rows
    task: str
    labels: Sequence[str]
    amounts: Amounts
    train: ImageSet
    val: ImageSet
    gaussian: ImageSet
    tests: Tests
    seeds: Sequence[int]
    seed: int

    @property
    def bad(self) -> tuple[ImageSet, ImageSet]:
        """Return training and validation images of the bad case."""
        split = len(self.amounts.train)
        return self.gaussian.take(np.arange(split)), self.gaussian.take(np.arange(split, len(self.gaussian)))

    def family(self, where: str, name: str) -> str:
        """Return the family of a comparison on real test patients (`name`), or on the external cohort."""
        return name if where == REAL else f"{name} external"

    def learnt(self, learner: Learner, train: Sequence[Part], val: ImageSet, seeds: Sequence[int]) -> dict[str, Any]:
        """Return tested on -> outcome over seeds."""
        said = [learner.said(train, val, self.tests.patients_tested, seed=seed) for seed in seeds]
        return {
            where: learner.outcome(images, [each[where] for each in said])
            for where, images in self.tests.patients_tested.items()
        }

    def tested(self, name: str, arm: str, where: str, trained: int, role: Role | None = None) -> Tested:
        """Return the context of an arm's rows."""
        own, subject = roles(self.rows.subject)[name]
        return Tested(f"{arm}->{where}", role or own, subject, trained, len(self.tests.patients_tested[where]), {}, 0.0)


def add_probe(bench: Bench, learner: Learner, *, seeds: Sequence[int] | None = None) -> dict[str, dict[str, Outcome]]:
    """Add what the second learner reaches from each arm, and the gaps; return arm -> tested on -> outcome.

    Args:
        bench: What is compared.
        learner: What learns.
        seeds: Of the learner; None for one that has none.
    """
    arms = {
        SYNTHETIC: (bench.amounts.train, bench.amounts.val),
        REAL: (bench.amounts.real, bench.val),
        GAUSSIAN: bench.bad,
    }
    seeds = bench.seeds[:1] if seeds is None else seeds
    found: dict[str, dict[str, Outcome]] = {}
    with Progress("A second learner", len(arms), unit="arms") as progress:
        for arm, (train, val) in arms.items():
            found[arm] = bench.learnt(learner, [Part(train)], val, seeds)
            progress.advance(note=f"trained on {arm}")
    short = _SHORT[learner.metric]
    for where in bench.tests.patients_tested:
        for place, label in enumerate([*bench.labels, "mean"]):
            for arm, (train, _) in arms.items():
                tested, own = bench.tested(arm, arm, where, len(train)), found[arm][where]
                value = valued(
                    PROBE.format(short), label, own.values[place], own.draws[:, place], "higher", otherwise=_WHY
                )
                add(bench.rows, value, bench.task, bench.family(where, "train"), tested)
            for arm, (train, _) in arms.items():
                tested, own, real = bench.tested(arm, arm, where, len(train)), found[arm][where], found[REAL][where]
                gap, spread = real.values[place] - own.values[place], real.draws[:, place] - own.draws[:, place]
                value = valued(PROBE_GAP.format(short), label, gap, spread, "lower", otherwise=_WHY)
                add(bench.rows, value, bench.task, bench.family(where, "train"), tested)
    return found


_WHY = "the images it is tested on lack it, or hold nothing else"


def add_mix(bench: Bench, learner: Learner, *, ratios: Sequence[float], named: str = "") -> None:
    """Add real and synthetic training images less real ones with classical augmentation, at equal updates.

    Args:
        bench: What is compared.
        learner: What learns.
        ratios: Synthetic images for each real one.
        named: Goes before the ratio in the label; "" for the second learner.
    """
    for ratio in ratios:
        count, label = round(ratio * len(bench.train)), f"{named}{ratio:g} for each real image"
        if count > len(bench.amounts.pool):
            reason = f"the scored cohort has {len(bench.amounts.pool)} training images: sample more than {count}"
            value = Value(MIX, None, better="higher", label=label, status="not_estimable", reason=reason)
            add(bench.rows, value, bench.task, "mix", bench.tested(SYNTHETIC, "real+synthetic", REAL, len(bench.train)))
            continue
        _add_ratio(bench, learner, count, label)


def _add_ratio(bench: Bench, learner: Learner, count: int, label: str) -> None:
    added: dict[str, Callable[[int], list[Part]]] = {
        REAL: lambda seed: learner.moved(bench.train, count, seed=seed),
        SYNTHETIC: lambda seed: [Part(bench.amounts.pool, _drawn(len(bench.amounts.pool), count, seed))],
    }
    if count <= len(bench.gaussian):
        added[GAUSSIAN] = lambda seed: [Part(bench.gaussian, _drawn(len(bench.gaussian), count, seed))]
    reached = {
        arm: _over_seeds(bench, learner, {seed: [Part(bench.train), *more(seed)] for seed in bench.seeds})
        for arm, more in added.items()
    }
    for where in bench.tests.patients_tested:
        classical = reached[REAL][where]
        for arm in added:
            if arm == REAL:
                continue
            own = reached[arm][where]
            value = valued(
                MIX, label, own.values[-1] - classical.values[-1], own.draws[:, -1] - classical.draws[:, -1],
                "higher", otherwise=_WHY,
            )  # fmt: skip
            tested = bench.tested(arm, f"real+{arm}", where, len(bench.train) + count)
            add(bench.rows, value, bench.task, bench.family(where, "mix"), tested)


def _drawn(available: int, count: int, seed: int) -> Any:
    return np.sort(np.random.default_rng(derive_seed(seed, "mixed in")).choice(available, count, replace=False))


def _over_seeds(bench: Bench, learner: Learner, trains: Mapping[int, Sequence[Part]]) -> dict[str, Outcome]:
    said = [learner.said(train, bench.val, bench.tests.patients_tested, seed=seed) for seed, train in trains.items()]
    return {
        where: learner.outcome(images, [each[where] for each in said])
        for where, images in bench.tests.patients_tested.items()
    }


def add_equivalent(bench: Bench, learner: Learner, levels: Mapping[str, Mapping[str, Outcome]]) -> list[dict[str, Any]]:
    """Add how many real patients reach what each arm reaches, and return the curves for a figure.

    Args:
        bench: What is compared.
        learner: The one that reached `levels`.
        levels: Arm -> tested on -> outcome.
    """
    counts = _worth.sizes(bench.train.patient_count)
    if not counts:
        reason = f"a curve takes {2 * _worth.SMALLEST} real training patients or more"
        value = Value(EQUIVALENT, None, better="higher", label="", status="not_estimable", reason=reason)
        add(bench.rows, value, bench.task, "worth", bench.tested(SYNTHETIC, SYNTHETIC, REAL, len(bench.amounts.train)))
        return []
    curves = _curves(bench, learner, counts)
    figures = []
    for where, of_sizes in curves.items():
        drawn = np.stack([each.draws[:, -1] for each in of_sizes], axis=1)
        plain = np.array([each.values[-1] for each in of_sizes])
        for arm, outcomes in levels.items():
            value = _equivalent(np.array(counts), plain, drawn, outcomes[where])
            tested = bench.tested(arm, arm, where, len(bench.amounts.train))
            add(bench.rows, value, bench.task, bench.family(where, "worth"), tested)
        figures.append(_figure(bench.task, where, counts, of_sizes, levels, learner.metric))
    return figures


def _curves(bench: Bench, learner: Learner, counts: list[int]) -> dict[str, list[Outcome]]:
    seeds = [derive_seed(bench.seed, "curve", number) for number in range(DRAWN_CURVES)]
    rows = {seed: _worth.nested(bench.train.patients, counts, seed=seed) for seed in seeds}
    curves: dict[str, list[Outcome]] = {where: [] for where in bench.tests.patients_tested}
    with Progress("Learning curve", len(counts), unit="sizes") as progress:
        for place, count in enumerate(counts):
            trains = {seed: [Part(bench.train, rows[seed][place])] for seed in seeds}
            for where, outcome in _over_seeds(bench, learner, trains).items():
                curves[where].append(outcome)
            progress.advance(note=f"{count} patients")
    return curves


def _equivalent(counts: Array, plain: Floats, drawn: Floats, level: Outcome) -> Value:
    value = float(_worth.equivalent(counts, plain[None], level.values[-1:])[0])
    if not np.isfinite(value):
        return Value(EQUIVALENT, None, better="higher", status="not_estimable", reason=_WHY)
    found = _worth.equivalent(counts, drawn, level.draws[:, -1])
    low, high = percentile_interval(found) or (None, None)
    return Value(EQUIVALENT, value, low, high, unit=_worth.unit(counts, value), better="higher")


def _figure(
    task: str,
    where: str,
    counts: Sequence[int],
    curve: Sequence[Outcome],
    levels: Mapping[str, Mapping[str, Outcome]],
    metric: str,
) -> dict[str, Any]:
    def bounded(outcome: Outcome) -> dict[str, float | None]:
        low, high = percentile_interval(outcome.draws[:, -1]) or (None, None)
        value = float(outcome.values[-1])
        return {"value": value if np.isfinite(value) else None, "low": low, "high": high}

    return {
        "task": task,
        "tested_on": where,
        "metric": metric,
        "curve": [{"patients": count, **bounded(each)} for count, each in zip(counts, curve, strict=True)],
        "levels": {arm: bounded(outcomes[where]) for arm, outcomes in levels.items()},
    }
