"""The trials of a search in Optuna's storage: who may start one, what becomes of a dead worker's, when all are done.

A trial counts once it is finished, pruned or under way; one that a dead worker left is queued again with the same
options. So workers on one storage end with exactly as many as were asked for.
"""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadOption, BadOutput
from ._terms import Sampler

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

HEARTBEAT_SECONDS, SILENT_SECONDS = 10, 60
"""A worker that says nothing for so long is dead."""
RETRIES = 3
"""Of a trial whose worker died; one that kills every worker is left, and another is drawn."""
LOCK_SECONDS = 120
"""How long a writer of SQLite waits for the others."""
SURPLUS, ENDED, OPTIONS, WORKER = "surplus", "ended", "options", "worker"
SECONDS_OF_A_MOMENT = 1.0


def open_study(storage: str, name: str, *, create: bool = False) -> Study:
    """Return the study of a search in its storage.

    Args:
        storage: A database URL.
        name: Of the study.
        create: Whether tables and study are made where there are none.

    Raises:
        BadOption: The URL is none, or its driver is not installed.
        BadOutput: The storage cannot be reached or written.
    """
    import optuna
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    wait = {"connect_args": {"timeout": LOCK_SECONDS}} if storage.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        backend = optuna.storages.RDBStorage(
            storage,
            engine_kwargs=wait,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=SILENT_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            skip_table_creation=not create,
        )
        if create:
            return optuna.create_study(storage=backend, study_name=name, direction="minimize", load_if_exists=True)
        return optuna.load_study(storage=backend, study_name=name)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        rule = "A storage is the URL of a database whose driver is installed"
        raise BadOption(rule, _without_password(storage), "Write sqlite:///FILE or postgresql+psycopg://...") from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        rule = "A storage can be reached and written"
        raise BadOutput(rule, _without_password(storage), "Check the address, or leave --storage out") from error


def _without_password(storage: str) -> str:
    start, at, place = storage.rpartition("@")
    return f"{start.partition('://')[0]}://...@{place}" if at else storage


def make_sampler(kind: Sampler, seed: int) -> BaseSampler:
    """Return Optuna's sampler of this kind."""
    from optuna.samplers import RandomSampler, TPESampler

    return RandomSampler(seed=seed) if kind == "random" else TPESampler(seed=seed)


def counting(study: Study) -> list[FrozenTrial]:
    """Return the trials that count, in order: finished, pruned, under way or queued."""
    from optuna.trial import TrialState

    return [trial for trial in study.get_trials(deepcopy=False) if trial.state is not TrialState.FAIL]


def drawn(study: Study) -> int:
    """Return how many different trials were started; one that was queued again is the same."""
    trials = study.get_trials(deepcopy=False)
    return len({origin(trial) for trial in trials if not trial.user_attrs.get(SURPLUS)})


def done(study: Study) -> list[FrozenTrial]:
    """Return the trials that were tried to their end, in order."""
    return [trial for trial in counting(study) if trial.state.is_finished()]


def values(study: Study) -> list[float]:
    """Return the distances of the trials that were not given up, in order."""
    from optuna.trial import TrialState

    return [float(trial.value or 0.0) for trial in done(study) if trial.state is TrialState.COMPLETE]


def may_start(study: Study, trials: int) -> bool:
    """Return whether another trial is wanted, or one is queued."""
    from optuna.trial import TrialState

    found = counting(study)
    return len(found) < trials or any(trial.state is TrialState.WAITING for trial in found)


def is_surplus(study: Study, number: int, trials: int) -> bool:
    """Return whether others started the last wanted trials in the same moment as this one."""
    return sum(trial.number < number for trial in counting(study)) >= trials


def requeue(study: Study, number: int) -> None:
    """Queue a trial that did not come to its end again, with its options."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    trial = study.get_trials()[number]
    if not trial.state.is_finished():
        study.tell(number, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def takes_up(study: Study, number: int, mark: Callable[[str, str], None]) -> bool:
    """Return whether a started trial is this worker's; Optuna may hand a queued one to two in the same moment.

    Args:
        study: The trials.
        number: Of the trial.
        mark: Writes an attribute of the trial.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    if origin(study.get_trials(deepcopy=False)[number]) == number:
        return True
    own = secrets.token_hex(8)
    try:
        mark(WORKER, own)
    except UpdateFinishedTrialError:
        return False
    time.sleep(SECONDS_OF_A_MOMENT)  # both have written by then, and the later one stands
    return bool(study.get_trials(deepcopy=False)[number].user_attrs[WORKER] == own)


def origin(trial: FrozenTrial) -> int:
    """Return the number under which a trial was first started."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return int(trial.number if first is None else first)


def same_options(study: Study, options: dict[str, Any]) -> Iterator[FrozenTrial]:
    """Yield the trials with the same options that came to their end."""
    for trial in done(study):
        if trial.user_attrs.get(OPTIONS) == options:
            yield trial


def sqlite_file(out: Path) -> str:
    """Return the URL of the storage inside a search's folder."""
    return f"sqlite:///{(out / 'trials.sqlite').resolve()}"
