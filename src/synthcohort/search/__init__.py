"""`search`: try options of a generator and keep the run whose samples come nearest to patients it did not train on.

Study 000 chose the best of about 1,500 runs by their Frechet distance to training images; `against="train"` does so.
Recommended is the distance to validation patients. How many runs were tried is part of the result: the best of many
looks better than it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from .. import plugins, runs
from ..cohort import Cohort
from ..devices import choose_device
from ..errors import BadOption, writing
from ..nets.generator import RESERVED
from ..progress import Progress, say
from . import _trials
from ._crew import crew
from ._page import write_page
from ._results import as_rows, summary
from ._space import described, parse, space_of_table_1
from ._terms import DEFAULTS, Sampler, Terms
from ._worker import Task, keep_only, work

__all__ = ["REVISION", "Terms", "search"]

REVISION = 1
LEAST_REAL = 16


def search(
    cohort: Path | str,
    *,
    generator: str,
    out: Path | str,
    trials: int = 30,
    vary: Sequence[str] = (),
    options: Mapping[str, Any] | Iterable[str] = (),
    terms: Terms = DEFAULTS,
    storage: str = "",
    workers: int = 1,
    seed: int = 0,
) -> Path:
    """Try options of a generator; return the folder of results.

    It holds trials.jsonl (one row a trial: options, distance, how it ended), best.json (the best options, the folder of
    its run, how many were tried), figures and search.html. The same call again goes on; with a higher `trials`, it goes
    further. Other machines join with the same arguments, the same `storage` and a folder of their own.

    Args:
        cohort: The real cohort.
        generator: Its name; it must be one that trains.
        out: The folder of results.
        trials: How many settings are tried in all, by all workers on this storage.
        vary: What may vary, such as "filters=16|32" or "gamma=0.1..10,log"; empty takes study 000's Table 1.
        options: Fixed ones, as a mapping or "key=value" texts.
        terms: What is the same for every trial.
        storage: Database URL of the trials; empty takes a SQLite file in `out`.
        workers: Processes here; each takes its share of the processor's cores, or a GPU.
        seed: Of every training and of the draws.

    Raises:
        InputError: An input is wrong; nothing has been trained then.
    """
    out, fixed = Path(out), plugins.pairs(options)
    plugins.resolve(plugins.find("generators", generator), fixed, reserved=RESERVED)
    space = parse(generator, vary) if vary else space_of_table_1(generator, fixed)
    _check(generator, space, fixed, min(trials, workers))
    _check_terms(Cohort(cohort), terms)
    config = _config(cohort, generator, space, fixed, terms, seed)
    with writing(out):
        runs.open_run(out, config)
        storage = storage or _trials.sqlite_file(out)
        name = f"synthcohort-{runs.fingerprint(config)[:16]}"
        study = _trials.open_study(storage, name, create=True)
        with runs.holding(out):
            _run(Task(out, Path(cohort), generator, fixed, space, storage, name, trials, seed, terms), workers)
            _write(out, study, config)
    return out


def _config(
    cohort: Path | str,
    generator: str,
    space: Mapping[str, Any],
    fixed: Mapping[str, Any],
    terms: Terms,
    seed: int,
) -> dict[str, Any]:
    """Return what the trials depend on; how many there are, and how they are drawn, may differ between workers."""
    return {
        "kind": "search",
        "revision": REVISION,
        "generator": generator,
        "generator_revision": plugins.find("generators", generator).REVISION,
        "cohort": Cohort(cohort).identity,
        "space": described(space),
        "options": {key: str(value) for key, value in sorted(fixed.items())},
        "images_seen": terms.images_seen,
        "batch": terms.batch,
        "stop": terms.stop(),
        "seed": seed,
    }


def _write(out: Path, study: Any, config: Mapping[str, Any]) -> None:
    rows = as_rows(study)
    found = summary(rows, config)
    runs.write_atomic(out / "trials.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    runs.write_atomic(out / "best.json", json.dumps(found, indent=2) + "\n")
    write_page(out, study, rows, found)
    keep_only(out, found["run"])


def _check(generator: str, space: Mapping[str, Any], fixed: Mapping[str, Any], least: int) -> None:
    plugin = plugins.find("generators", generator)
    if least < 1:
        raise BadOption("Trials and workers are at least 1", f"{least}", "Give a positive number")
    if not plugin.ITERATIVE or plugin.CONTROL:
        raise BadOption("A search is over a generator that trains", generator, "See `synthcohort list generators`")
    if both := sorted({*space} & {*fixed}):
        raise BadOption("An option is fixed or varied", f"{both[0]} is both", "Leave it out of --set or of --vary")


def _check_terms(real: Cohort, terms: Terms) -> None:
    least = min(terms.images_seen, terms.batch, terms.looks)
    if least < 1:
        raise BadOption("Images, batch and looks are at least 1", f"{least}", "Give a positive number")
    if terms.sampler not in get_args(Sampler):
        raise BadOption("A sampler is tpe or random", f"'{terms.sampler}'", "Give --sampler tpe")
    if terms.against not in ("val", "train"):
        raise BadOption("Trials are compared on val or train", f"'{terms.against}'", "Give --against val")
    if (compared := min(terms.n, len(real.split(terms.against)))) < LEAST_REAL:
        rule, advice = f"A trial is compared with {LEAST_REAL} real images or more", "Prepare a larger split"
        raise BadOption(rule, f"{compared} in {terms.against}", f"{advice}, or give --against train")
    plugins.find("extractors", terms.extractor)(weights=terms.weights.get(terms.extractor))
    choose_device(terms.device)


def _run(task: Task, workers: int) -> None:
    study = _trials.open_study(task.storage, task.name)
    before = len(_trials.done(study))
    if before >= task.trials:
        say(f"{before} trials are there already")
        return
    with Progress("Trials", task.trials, done=before, unit="trials") as progress:
        shown = [before]

        def finished(count: int) -> None:
            progress.advance(count - shown[0])
            shown[0] = count

        if workers == 1:
            work(task, finished=finished)
        else:
            crew(task, workers, finished)
