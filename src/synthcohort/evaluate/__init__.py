"""Score a synthetic cohort against the real one: does it look real, is it useful, does it copy.

Beside every subject row stand a ceiling (real images or patients in the same place) and a control known to be bad.
Distances are taken to held-out patients (test, and half of the reference patients) at equal numbers of images; the
other reference half is `holdout`, the ceiling of the search for copies. Both arms of the utility comparison are fitted
on equal amounts with the same learner seeds, and stopped by the validation split of what they are fitted on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..cohort import Cohort, check_comparable
from ..errors import BadOption, InputError, Mismatch
from ..gates import read_card
from ..nets.generator import RESERVED
from ..progress import say
from ..types import Score
from . import _explained, _folder, _released, _rows, _sets, _spaces
from ._depth import Depth, not_measured
from ._setting import Plan
from ._work import Evaluation

REVISION = 10
_NOT_MEASURED = (
    "No reader study was held.",
    "Images were compared one by one: nothing is known about the consistency of volumes.",
)


def evaluate(
    real: Path | str,
    synthetic: Path | str,
    *,
    out: Path | str,
    metrics: Sequence[str] | None = None,
    extractors: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: int = 3,
    weights: Mapping[str, Path] | None = None,
    weights_released: Path | str | None = None,
    utility: Depth = "quick",
    external: Path | str | None = None,
    jobs: Path | str | None = None,
    seed: int = 0,
    card: Path | str | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
    explain: Sequence[str] = (),
) -> list[Score]:
    """Return the scores of a synthetic cohort; they and what they stand on are written to the folder `out`.

    The same call again goes on where it was interrupted; a finished evaluation is read back.

    Args:
        real: The real cohort.
        synthetic: The cohort to score: synthetic, a control, or images from elsewhere.
        out: The EVAL folder.
        metrics: Names; all when left out.
        extractors: Names; when left out, the task space and every extractor that `weights` names.
        tasks: Names; every task that the cohorts can serve when left out.
        seeds: How often each task is fitted, with other weights and order each time.
        weights: Extractor, or network of a task that starts from published weights, -> file.
        weights_released: The run that made the cohort, where its weights are released too: then they are attacked.
        utility: "quick" or "full": whether mixed training and the learning curve are fitted for masks too, and mixed
            training for the tasks themselves. Several times the fits.
        external: Another real cohort, prepared alike: every task is tested on it too, and nothing learnt from it.
        jobs: Where fits and features are kept; share it between evaluations to fit the real arm once.
        seed: Everything random derives from it.
        card: The card file: declarations and lines that the report judges by; see `gates`.
        options: Of the task.
        explain: Figures to make as well, now or for a finished evaluation: "nearest", "occlusion", "umap". They change
            no score. Those with real pixels lie in pairs/.

    Raises:
        NotACohort: One of the folders is none.
        Mismatch: The cohorts were prepared differently, or `out` belongs to another evaluation.
        UnknownName: There is no such metric, extractor or task.
        InputError: Something is missing that was asked for by name.
        MissingDependency: The umap figure needs umap-learn.
    """
    start, out = time.perf_counter(), Path(out)
    cohorts = _opened(Path(real), Path(synthetic))
    released = Path(weights_released) if weights_released else None
    plan = _planned(cohorts, metrics, extractors, tasks, dict(weights or {}), released, seeds, seed, options)
    plan = _with_card(_deeper(plan, cohorts[0], utility, external), card)
    figures = _explained.checked(explain, cohorts[0], plan)
    return _carried_out(out, cohorts, plan, None if jobs is None else Path(jobs), figures, start)


def _carried_out(
    out: Path, cohorts: tuple[Cohort, Cohort], plan: Plan, jobs: Path | None, figures: Sequence[str], start: float
) -> list[Score]:
    """Measure what is not there yet, make the figures that are missing, and return the scores."""
    runs.open_run(out, plan.config)
    finished = (out / _folder.FACTS).exists()
    wanted = _explained.missing(out, plan.config, figures)
    if finished and not wanted:
        say(f"{out.name} is finished already")
        return _folder.read_scores(out)
    with runs.holding(out):
        work = Evaluation(out, cohorts, plan, jobs or out / "jobs", jobs or out)
        scores = _folder.read_scores(out) if finished else work.run(start)
        _explained.explain(out, work.use, wanted)
    return scores


def _with_card(plan: Plan, path: Path | str | None) -> Plan:
    """Return the plan with a card file; it names the evaluation, so that another file needs another folder."""
    if path is None:
        return plan
    fixed = read_card(path)
    return replace(plan, card=fixed, config={**plan.config, "card": fixed.sha256})


def _opened(real: Path, synthetic: Path) -> tuple[Cohort, Cohort]:
    cohorts = Cohort(real), Cohort(synthetic)
    check_comparable(*cohorts)
    if cohorts[0].facts.provenance != "real":
        raise Mismatch("The first cohort is the real one", f"{real} is {cohorts[0].facts.provenance}", "Swap the two")
    if len(cohorts[0].split("train")) == 0:
        raise InputError("A real cohort has a training split", f"{real} has none", "Prepare it again")
    if len(cohorts[1]) == 0:
        raise InputError("A cohort that is scored has samples", f"{synthetic} is empty", "Sample it again")
    return cohorts


def _planned(
    cohorts: tuple[Cohort, Cohort],
    metric_names: Sequence[str] | None,
    extractor_names: Sequence[str] | None,
    task_names: Sequence[str] | None,
    weights: Mapping[str, Path],
    released: Path | None,
    seeds: int,
    seed: int,
    options: Mapping[str, Any] | Iterable[str],
) -> Plan:
    if seeds < 1:
        raise BadOption("--seeds is at least 1", str(seeds), "Give a positive number")
    metrics = _metrics(cohorts[0], metric_names)
    findings = _sets.common_labels(*cohorts)
    tasks = _tasks(cohorts[0], findings, task_names, options)
    starts = {name: weights[plugin.WEIGHTS] for name, (plugin, _) in tasks.items() if plugin.WEIGHTS in weights}
    used = {plugin.WEIGHTS for plugin, _ in tasks.values()}
    others = {name: path for name, path in weights.items() if name not in used}
    extractors, task_space, skipped = _spaces.chosen(extractor_names, others, task=bool(tasks))
    controls = {name: plugins.find("generators", name).REVISION for name in (_rows.GAUSSIAN, _rows.COPYCAT)}
    config = {
        "kind": "evaluate",
        "revision": REVISION,
        "real": cohorts[0].identity,
        "synthetic": cohorts[1].identity,
        "metrics": {metric.name: metric.revision for metric in metrics},
        "extractors": {name: extractor.manifest() for name, extractor in extractors.items()},
        "task_space": task_space,
        "tasks": {
            name: {
                "revision": plugin.REVISION,
                "options": chosen,
                "weights": plugin.manifest(starts[name]) if name in starts else None,
            }
            for name, (plugin, chosen) in tasks.items()
        },
        "controls": controls,
        "released": _released.manifest(released, cohorts[0].identity) if released else None,
        "seeds": seeds,
        "seed": seed,
    }
    missing = [f"The {name} feature space was not used: no weights were given." for name in skipped]
    gone = [name for name in cohorts[0].facts.labels if name not in findings]
    if gone:
        missing.append(f"Findings that the scored cohort does not have: {', '.join(gone)}.")
    not_measured = (*_NOT_MEASURED, *missing)
    return Plan(metrics, extractors, task_space, tasks, findings, starts, not_measured, seeds, seed, config, released)


def _deeper(plan: Plan, real: Cohort, depth: Depth, external: Path | str | None) -> Plan:
    """Return the plan with how deep utility is looked into, and where else tasks are tested."""
    if depth not in ("quick", "full"):
        raise BadOption("--utility is quick or full", f"'{depth}'", "Choose one of them")
    other = None if external is None else _external(real, Path(external))
    config = {**plan.config, "utility": depth, "external": None if other is None else other.identity}
    missing = (*plan.not_measured, *not_measured(plan.tasks, depth))
    return replace(plan, config=config, depth=depth, external=other, not_measured=missing)


def _external(real: Cohort, path: Path) -> Cohort:
    other = Cohort(path)
    check_comparable(real, other)
    if other.facts.provenance != "real":
        raise Mismatch("The external cohort is a real one", f"{path} is {other.facts.provenance}", "Name another")
    if other.identity == real.identity:
        raise Mismatch("The external cohort is another one", f"{path} is the real cohort itself", "Name another")
    gone = [name for name in real.facts.labels if name not in other.facts.labels]
    if gone:
        raise Mismatch("The external cohort has the real one's findings", f"'{gone[0]}' is missing", "Name another")
    return other


def _metrics(real: Cohort, names: Sequence[str] | None) -> list[_rows.Metric]:
    """Return the metrics that were asked for; those of masks only where there are masks.

    Raises:
        InputError: One was asked for by name that cannot be had.
    """
    found = _rows.metrics(plugins.names("metrics") if names is None else names)
    served = [metric for metric in found if metric.space != "masks" or real.facts.mask_classes]
    if names is not None and len(served) < len(found):
        name = next(metric.name for metric in found if metric not in served)
        raise InputError(f"The metric {name} needs masks", "the cohorts have none", "Leave it out of --metrics")
    return served


def _tasks(
    real: Cohort, findings: Sequence[str], names: Sequence[str] | None, options: Mapping[str, Any] | Iterable[str]
) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    served = {"masks": bool(real.facts.mask_classes), "labels": bool(findings)}
    found = {name: plugins.find("tasks", name) for name in (plugins.names("tasks") if names is None else names)}
    for name, plugin in found.items():
        if names is not None and not served[plugin.NEEDS]:
            raise InputError(
                f"The task {name} needs {plugin.NEEDS}", "the cohorts have none", "Leave it out of --tasks"
            )
    chosen = {name: plugin for name, plugin in found.items() if served[plugin.NEEDS]}
    resolved = plugins.resolve_each(chosen, options, reserved=(*RESERVED, "weights"))
    return {name: (plugin, resolved[name]) for name, plugin in chosen.items()}


__all__ = ["evaluate"]
