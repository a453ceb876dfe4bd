"""Lines 13 to 16 of the card: guarantee, experts, stability over training runs, cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..types import Score
from ._card_judge import Part
from ._compare import Comparison, compare, select, usable
from ._headline import headline
from ._numbers import NARROW, number
from ._read import Evaluation
from ._reader_study import experts

_GUARANTEE = (
    "None. No differential privacy was accounted for: nothing is proven for every patient: only what these attacks"
    " found is known."
)
_ONE_RUN = "Could not be estimated: one training run is described (report needs EVALs of other seeds)."
_FAILED = "Runs that failed are not known here."


def facts_lines(evaluation: Evaluation, others: Sequence[Evaluation]) -> dict[int, list[Part]]:
    """Return lines 13 to 16.

    Args:
        evaluation: The EVAL.
        others: Every EVAL of the report.
    """
    return {
        13: [Part("guarantee", None, "shown", "", _GUARANTEE)],
        14: [experts(evaluation)],
        15: [_stable([each for each in others if is_sibling(each, evaluation)])],
        16: [Part("cost", None, "shown", "", _cost(evaluation))],
    }


def is_sibling(one: Evaluation, other: Evaluation) -> bool:
    """Return whether two cohorts come from the same generator on the same patients, or are one; seeds may differ."""
    return bool(one.generator) and (one.generator, one.options, one.real.get("identity"), one.is_control) == (
        other.generator,
        other.options,
        other.real.get("identity"),
        other.is_control,
    )


def _stable(runs: Sequence[Evaluation]) -> Part:
    seeds = {run.seed: run for run in runs}
    if len(seeds) < 2:
        return Part("spread over training runs", None, "not_estimable", "", _ONE_RUN)
    shown = [compare(run.scores) for run in seeds.values()]
    told = [said for name, pick in _STABLE.items() if (said := _spread(name, [pick(each) for each in shown]))]
    if not told:
        said = "Could not be estimated: the training runs have no score in common."
        return Part("spread over training runs", None, "not_estimable", "", said)
    said = f"Over {len(seeds)} training runs, mean and standard deviation: {'; '.join(told)}. {_FAILED}"
    return Part("spread over training runs", None, "shown", "", said)


def _subject(found: Comparison | None) -> Score | None:
    return found.subject if found else None


def _loss(found: Sequence[Comparison]) -> Score | None:
    gaps = [c for name in ("dice_gap", "auc_gap") for c in select(found, name, label="mean")]
    return _subject(next(iter(gaps), None))


def _attack(found: Sequence[Comparison]) -> Score | None:
    attacks = [c.subject for c in select(found, "membership_auc") if usable(c.subject)]
    return max(attacks, key=lambda score: score.value or 0.0, default=None)


_STABLE: dict[str, Callable[[Sequence[Comparison]], Score | None]] = {
    "loss against real images": _loss,
    "distance to real images": lambda found: _subject(headline(found).realism),
    "share of copies": lambda found: _subject(headline(found).copies),
    "membership AUC": _attack,
}


def _spread(name: str, scores: Sequence[Score | None]) -> str:
    values = [score.value for score in scores if score is not None and usable(score) and score.value is not None]
    if len(values) < len(scores):
        return ""
    unit = next(score.unit for score in scores if score is not None)
    mean, spread = (number(float(each), unit) for each in (np.mean(values), np.std(values, ddof=1)))
    return f"{name} {mean} \N{PLUS-MINUS SIGN} {spread}"


def _cost(evaluation: Evaluation) -> str:
    seconds, machine = evaluation.facts.get("seconds"), evaluation.facts.get("machine") or {}
    where = f" on {machine['cpu_cores']} CPU cores" if "cpu_cores" in machine else ", device not recorded"
    where += f" and {machine['device']}" if machine.get("device", "cpu") != "cpu" else ""
    said = []
    if isinstance(seconds, int | float):
        said.append(f"The evaluation took {minutes(seconds)}{where}{_stages(evaluation.facts.get('stages') or {})}.")
    made_by = evaluation.synthetic.get("generator")
    seen = made_by.get("images_seen") if isinstance(made_by, dict) else None
    if isinstance(seen, int):
        said.append(f"Training saw {number(float(seen))} images; its time and energy were not recorded.")
    return " ".join(said) or "Not recorded."


def _stages(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Return what the stages took, the longest first; those of under a second are left out."""
    took = sorted(((each["seconds"], name) for name, each in stages.items() if each["seconds"] >= 1), reverse=True)
    return f" ({', '.join(f'{name} {minutes(seconds)}' for seconds, name in took)})" if took else ""


def minutes(seconds: float) -> str:
    """Return a duration in seconds as text."""
    if seconds < 120:
        return f"{round(seconds)}{NARROW}s"
    return f"{round(seconds / 60)}{NARROW}min" if seconds < 7200 else f"{number(seconds / 3600)}{NARROW}h"
