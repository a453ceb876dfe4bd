"""A worker of a search: takes trials until there are enough. Several, here or elsewhere, may share a storage."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..cohort import Cohort
from ..errors import BadOption, Diverged, writing
from ..nets.generator import RESERVED, build
from ..table_1 import LEARNING_RATE
from ..train import train
from . import _trials
from ._space import Space, draw
from ._terms import Terms
from ._trials import ENDED, OPTIONS, SURPLUS

STARTUP_TRIALS = 5
"""Trials that are not pruned, since there is nothing to compare them with."""
SECONDS_BETWEEN_LOOKS = 1.0


class Surplus(Exception):
    """Others started the last wanted trials in the same moment."""


class Taken(BaseException):
    """Another worker took up the same queued trial in the same moment; that one goes on with it.

    No Exception, since Optuna would then call the other's trial a failure.
    """


@dataclass(frozen=True)
class Task:
    """What all workers of a search know.

    Attributes:
        out: Folder for this machine's runs.
        cohort: The real cohort.
        generator: Its name.
        options: Those that are not varied.
        space: Those that are.
        storage: URL of the trials.
        name: Of the study in it.
        trials: How many are wanted.
        seed: Of the training of every trial, and of the draws.
        terms: What is the same for every trial.
    """

    out: Path
    cohort: Path
    generator: str
    options: Mapping[str, Any]
    space: Space
    storage: str
    name: str
    trials: int
    seed: int
    terms: Terms


def work(task: Task, worker: int = 0, finished: Callable[[int], None] = lambda count: None) -> None:
    """Take trials until there are as many as wanted, and all have come to their end.

    Args:
        task: The search.
        worker: Its number; two workers draw different options.
        finished: Called with the number of trials that have come to their end, now and then.
    """
    import optuna

    study = _trials.open_study(task.storage, task.name)
    while (count := len(_trials.done(study))) < task.trials:
        finished(count)
        if not _trials.may_start(study, task.trials):
            time.sleep(SECONDS_BETWEEN_LOOKS)  # another's may yet have to be taken over
            optuna.storages.fail_stale_trials(study)
            continue
        drawn = _trials.drawn(study)
        study.sampler = _trials.make_sampler(
            task.terms.sampler, runs.derive_seed(task.seed, "draw", worker, drawn) % 2**32
        )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
        study.pruner = pruner if task.terms.prune else optuna.pruners.NopPruner()
        started: list[int] = []
        try:
            study.optimize(partial(_attempt, task, study, started), n_trials=1, catch=(Surplus,))
        except Taken:
            continue
        except BaseException:  # an interrupt or a full disk: another worker, or a later one, takes the trial up again
            for number in started:
                _trials.requeue(study, number)
            raise
    finished(len(_trials.done(study)))


def _attempt(task: Task, study: Any, started: list[int], trial: Any) -> float:
    """Return the distance of one trial, and note its number."""
    started.append(trial.number)
    if _trials.is_surplus(study, trial.number, task.trials):
        trial.set_user_attr(SURPLUS, True)
        raise Surplus
    if not _trials.takes_up(study, trial.number, trial.set_user_attr):
        raise Taken
    return _distance(task, study, trial)


def _distance(task: Task, study: Any, trial: Any) -> float:
    import optuna

    plugin = plugins.find("generators", task.generator)
    shared = LEARNING_RATE not in plugins.options(plugin)
    drawn = draw(task.space, trial, protocol=str(task.options.get("protocol", "recommended")), shared=shared)
    options = plugins.resolve(plugin, {**task.options, **drawn}, reserved=RESERVED)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    same = next(_trials.same_options(study, plain), None)
    trial.set_user_attr(OPTIONS, plain)
    if same:
        return _again(trial, same)
    try:
        build(task.generator, Cohort(task.cohort).facts, options, seed=0)
    except BadOption as error:
        trial.set_user_attr(ENDED, f"impossible: {error}")
        raise optuna.TrialPruned from error
    first = _trials.origin(study.get_trials(deepcopy=False)[trial.number])
    folder = task.out / "runs" / f"trial-{first:05d}"
    try:
        best = _train(task, trial, options, folder)
    except Diverged as error:
        trial.set_user_attr(ENDED, f"diverged: {error}")
        _remove(folder)
        raise optuna.TrialPruned from error
    except optuna.TrialPruned:
        trial.set_user_attr(ENDED, "pruned")
        _remove(folder)
        raise
    trial.set_user_attr(ENDED, "finished")
    if any(other <= best for other in _trials.values(study)):
        _remove(folder)
    return best


def _again(trial: Any, before: Any) -> float:
    """Return what the same options gave before; the same training would give it again."""
    import optuna

    trial.set_user_attr(ENDED, before.user_attrs.get(ENDED, "finished"))
    trial.set_user_attr("same_as", before.number)
    if before.state is not optuna.trial.TrialState.COMPLETE:
        raise optuna.TrialPruned
    return float(before.value)


def _train(task: Task, trial: Any, options: Mapping[str, Any], folder: Path) -> float:
    """Train, reporting every distance; return the smallest.

    Raises:
        optuna.TrialPruned: The trial is not worth its time.
    """
    import optuna

    distances = {row["images_seen"]: row["frechet"] for row in runs.RowLog(folder / "convergence.jsonl").rows()}

    reported: set[int] = set()

    def watch(seen: int, distance: float) -> None:
        distances[seen] = distance
        if seen not in reported:  # a look between the checkpoint and the kill is taken again, with the same result
            trial.report(min(value for at, value in distances.items() if at <= seen), seen)
            reported.add(seen)
        if trial.should_prune():
            raise optuna.TrialPruned

    for seen, distance in sorted(distances.items()):  # of a worker that was killed
        watch(seen, distance)
    train(
        task.cohort,
        generator=task.generator,
        out=folder,
        images_seen=task.terms.images_seen,
        batch=task.terms.batch,
        seed=task.seed,
        precision=task.terms.precision,
        device=task.terms.device,
        options=options,
        stop=task.terms.stop(),
        weights=task.terms.weights,
        watch=watch,
    )
    return float(min(distances.values()))


def keep_only(out: Path, run: str | None) -> None:
    """Remove the runs that were the best for a while."""
    for folder in (out / "runs").glob("trial-*"):
        if run is None or folder != out / run:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Free the disk of a run that is not the best; its distances are in the storage."""
    with contextlib.suppress(FileNotFoundError), writing(folder):
        shutil.rmtree(folder)


def work_quietly(task: Task, worker: int) -> None:
    """Be a worker process: one line of log for each thing said, in a file; an interrupt ends it without a trace."""
    folder = task.out / "workers"
    folder.mkdir(exist_ok=True)
    log = os.open(folder / f"worker-{worker}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    with contextlib.suppress(KeyboardInterrupt):
        work(task, worker)
