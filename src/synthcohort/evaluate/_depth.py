"""How deep utility is looked into, after the task itself was scored: `quick` by default, `full` when asked.

quick: a second learner; calibration, missed findings and subgroups from what the networks said anyway; for findings,
whose second learner is a regression on stored features, also mixed training and the learning curve. full: both for
masks too, every learner seed of the second learner, and mixed training of the task itself. See decision 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import plugins
from ..significance import MARGIN, benjamini_hochberg, bootstrap_p, holm, non_inferiority
from ..statistics import percentile_interval
from ..types import Array
from . import _auc, _calibrated, _further
from ._further import RATIOS, Bench
from ._jobs import Jobs
from ._learners import FIRST_SPACES, LinearProbe, Network, smaller
from ._rows import REAL
from ._spaces import FeatureCache
from ._utility import SYNTHETIC, Fits, Tested

Depth = Literal["quick", "full"]
_SMALLER = ("width", "images_seen", "patience_images", "learning_rate")
ONE_SIDED = 0.025


@dataclass(frozen=True)
class Scored:
    """A task that was fitted and scored.

    Attributes:
        plugin: Its class.
        options: Its options.
        jobs: Given options, its fits.
        facts: Of the real cohort.
        fits: Of each arm.
        tested: Arms tested on real patients.
        said: Arm -> what its networks said, of a task of findings.
    """

    plugin: Any
    options: Mapping[str, Any]
    jobs: Callable[[Mapping[str, Any]], Jobs]
    facts: Any
    fits: Fits
    tested: Sequence[Tested]
    said: Mapping[str, _auc.Predicted]


def probe_space(extractors: Mapping[str, Any]) -> Any:
    """Return the extractor whose features the probe takes: the best that is used, or texture."""
    name = next((name for name in FIRST_SPACES if name in extractors), None)
    return plugins.find("extractors", "texture")(weights=None) if name is None else extractors[name]


def add(
    bench: Bench, scored: Scored, cache: FeatureCache, extractor: Any, findings: Sequence[str], *, depth: Depth
) -> tuple[list[dict[str, Any]], list[str]]:
    """Add all further rows of a task; return learning curves, and notes on what was not measured."""
    if scored.plugin.NEEDS == "labels":
        return _add_labels(bench, scored, cache, extractor, findings, depth=depth)
    return _add_masks(bench, scored, depth=depth)


def _add_labels(
    bench: Bench, scored: Scored, cache: FeatureCache, extractor: Any, findings: Sequence[str], *, depth: Depth
) -> tuple[list[dict[str, Any]], list[str]]:
    trains = {each.arm.partition("->")[0]: each for each in scored.tested}
    value_range = scored.facts.value_range
    _calibrated.add_calibration(bench.rows, bench.task, scored.said, trains, findings, seed=bench.seed)
    said = np.stack([fit.task.predict(bench.val.images, value_range) for fit in scored.fits[REAL]])
    val = _auc.Predicted(bench.val, said.astype(np.float64))
    _calibrated.add_missed(bench.rows, bench.task, scored.said, scored.fits, val, trains, findings, seed=bench.seed)
    counted = _counted(bench, findings)
    probe = LinearProbe(cache, extractor, scored.plugin, value_range, counted, seed=bench.seed)
    levels = _further.add_probe(bench, probe)
    if hasattr(scored.plugin, "moved"):
        _further.add_mix(bench, probe, ratios=RATIOS)
    curves = _further.add_equivalent(bench, probe, levels)
    if depth == "full":
        _add_mixed_task(bench, scored, counted)
    notes = [f"The second learner is a logistic regression on {extractor.name} features."]
    return curves, notes


def _counted(bench: Bench, findings: Sequence[str]) -> Array:
    reasons = _auc.unscorable(bench.tests, bench.amounts, findings)
    return np.array([finding not in reasons for finding in findings])


def _add_masks(bench: Bench, scored: Scored, *, depth: Depth) -> tuple[list[dict[str, Any]], list[str]]:
    if any(name not in scored.options for name in _SMALLER):
        return [], [f"The task {bench.task} has no smaller form: it had no second learner."]
    options = smaller(scored.options)

    def network(**further: Any) -> Network:
        return Network(scored.jobs({**options, **further}), "masks", scored.facts, np.empty(0, bool), seed=bench.seed)

    quick = depth == "quick"
    probe = network()
    levels = _further.add_probe(bench, probe, seeds=bench.seeds[:1] if quick else bench.seeds)
    seen = f"{options['images_seen']:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    notes = [f"The second learner is a U-Net of width {options['width']} that sees {seen} images."]
    if quick:
        return [], notes
    _further.add_mix(bench, network(augment=True), ratios=RATIOS)
    curves = _further.add_equivalent(bench, probe, levels)
    _add_mixed_task(bench, scored, np.empty(0, bool))
    return curves, notes


def _add_mixed_task(bench: Bench, scored: Scored, counted: Array) -> None:
    jobs = scored.jobs({**scored.options, "augment": True})
    task = Network(jobs, scored.plugin.NEEDS, scored.facts, counted, seed=bench.seed)
    _further.add_mix(bench, task, ratios=(1.0,), named=f"{bench.task}, ")


def not_measured(tasks: Mapping[str, tuple[Any, Any]], depth: Depth) -> tuple[str, ...]:
    """Return what `quick` leaves out, for the report."""
    if depth == "full" or not any(plugin.NEEDS == "masks" for plugin, _ in tasks.values()):
        return ()
    return ("What masks are worth in real patients, or add to them, was not measured: --utility full does.",)


def verdicts(of_tasks: Mapping[str, tuple[Sequence[Tested], Sequence[str]]]) -> list[dict[str, Any]]:
    """Return the non-inferiority verdict on each task, Holm-adjusted over tasks, and exploratory p values of labels.

    Args:
        of_tasks: Task -> (arms tested on real patients, names of the outcomes' columns but the last).
    """
    found: list[dict[str, Any]] = []
    for task, (arms, labels) in of_tasks.items():
        own, real = (
            next(iter(next(each for each in arms if each.arm == f"{arm}->{REAL}").outcomes.values()))
            for arm in (SYNTHETIC, REAL)
        )
        loss = real.draws - own.draws
        interval = percentile_interval(loss[:, -1])
        gaps = [float(gap) if np.isfinite(gap) else None for gap in real.values - own.values]
        p_values = [bootstrap_p(loss[:, place]) for place in range(len(labels))]
        found.append(
            {
                "task": task,
                "loss": gaps[-1],
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "margin": MARGIN,
                "p": _beyond(loss[:, -1]) if interval else None,
                "labels": _explored(labels, gaps, p_values),
            }
        )
    known = [each for each in found if each["p"] is not None]
    for each, adjusted in zip(known, holm([each["p"] for each in known]), strict=True):
        each["p_holm"] = float(adjusted)
    for each in found:
        verdict = non_inferiority(each["high"])
        if verdict == "not inferior" and each["p_holm"] > ONE_SIDED:
            verdict = "not shown"
        each["verdict"] = verdict
    return found


def _beyond(losses: Array) -> float:
    """Return the one-sided p value that the loss is the margin or more."""
    known = losses[np.isfinite(losses)]
    return float((1 + (known >= MARGIN).sum()) / (1 + len(known)))


def _explored(labels: Sequence[str], gaps: Sequence[float | None], p_values: Sequence[float | None]) -> list[Any]:
    known = [place for place, p in enumerate(p_values) if p is not None]
    adjusted = dict(zip(known, benjamini_hochberg([p_values[place] for place in known]), strict=True))  # type: ignore[misc]
    return [
        {"label": label, "loss": gaps[place], "p": p_values[place], "p_adjusted": adjusted.get(place)}
        for place, label in enumerate(labels)
    ]
