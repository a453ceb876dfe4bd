"""Utility: a task is fitted on synthetic, real and control images, and scored where it was not fitted.

Intervals are a hierarchical bootstrap over learner seeds and test patients. Arms that are tested on the same patients
share their draws, so what is said of the difference between them is paired. Images of a synthetic cohort or control
belong to no volume: each is its own patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..progress import Progress
from ..statistics import percentile_interval
from ..types import Better, Role, Value
from ._jobs import Fitted, Jobs
from ._rows import GAUSSIAN, REAL, Rows
from ._sets import Amounts, ImageSet

Floats = npt.NDArray[np.float64]
SYNTHETIC, EXTERNAL = "synthetic", "external"
DRAWS = 2000

Fits = dict[str, list[Fitted]]
"""Arm -> one fit a learner seed."""


@dataclass(frozen=True)
class Outcome:
    """What one arm reached in one metric.

    Attributes:
        values: (K + 1,) of each class or finding and their mean, averaged over learner seeds.
        draws: (draws, K + 1) the same for drawn seeds and patients.
        by_seed: (S,) the mean of each learner seed.
    """

    values: Floats
    draws: Floats
    by_seed: Floats


@dataclass(frozen=True)
class Tested:
    """One arm: fits of one kind, tested on one set.

    Attributes:
        arm: Trained on -> tested on.
        role: In its comparison.
        subject: What was scored.
        trained: Images each fit was trained on.
        tested: Images it was tested on.
        outcomes: Metric -> what it reached.
        seconds: What the fits took.
        subgroups: Subgroup -> what it reached there in the first metric.
    """

    arm: str
    role: Role
    subject: str
    trained: int
    tested: int
    outcomes: Mapping[str, Outcome]
    seconds: float
    subgroups: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Tests:
    """What fitted tasks are tested on.

    Attributes:
        real: Real test patients.
        synthetic: Images of the scored cohort, for networks that were fitted on real ones.
        gaussian: The bad case of that.
        own: Arm -> images of its own kind that its networks were not fitted on; an arm may be missing.
        external: Images of another real cohort, of which nothing is learnt; None where none was given.
        subgroups: Tested on (`REAL` or `EXTERNAL`) -> subgroup -> rows of that set.
    """

    real: ImageSet
    synthetic: ImageSet
    gaussian: ImageSet
    own: Mapping[str, ImageSet]
    external: ImageSet | None = None
    subgroups: Mapping[str, Mapping[str, npt.NDArray[np.int64]]] = field(default_factory=dict)

    @property
    def patients_tested(self) -> dict[str, ImageSet]:
        """Return what every network is tested on: real test patients, and the external cohort's where there is one."""
        return {REAL: self.real} | ({} if self.external is None else {EXTERNAL: self.external})


def fit_arms(jobs: Jobs, amounts: Amounts, real_val: ImageSet, gaussian: ImageSet, *, seeds: Sequence[int]) -> Fits:
    """Return the fits of every arm, paired: fit i of each arm has the same learner seed."""
    split = len(amounts.train)
    sets = {
        REAL: (amounts.real, real_val),
        SYNTHETIC: (amounts.train, amounts.val),
        GAUSSIAN: (gaussian.take(np.arange(split)), gaussian.take(np.arange(split, len(gaussian)))),
    }
    fits: Fits = {arm: [] for arm in sets}
    with Progress("Fitting the task", len(sets) * len(seeds), unit="fits") as progress:
        for seed in seeds:
            for arm, (train, val) in sets.items():
                fits[arm].append(jobs.fitted(train, val, seed=seed))
                progress.advance(note=f"trained on {arm}")
    return fits


def roles(subject: str) -> dict[str, tuple[Role, str]]:
    """Return arm -> (role, subject) in the order of the rows; `subject` is the scored cohort's name."""
    return {SYNTHETIC: ("subject", subject), REAL: ("ceiling", REAL), GAUSSIAN: ("bad", GAUSSIAN)}


def trained_images(amounts: Amounts) -> dict[str, int]:
    """Return arm -> images that its networks were fitted on."""
    return {REAL: len(amounts.real), SYNTHETIC: len(amounts.train), GAUSSIAN: len(amounts.train)}


def valued(
    metric: str, label: str, value: float, draws: Floats, better: Better, *, otherwise: str, unit: str = ""
) -> Value:
    """Return a value with its percentile interval; not estimable, for the reason `otherwise`, if it is not finite."""
    if not np.isfinite(value):
        return Value(metric, None, better=better, label=label, status="not_estimable", reason=otherwise)
    low, high = percentile_interval(draws) or (None, None)
    return Value(metric, float(value), low, high, unit=unit, better=better, label=label)


def add(rows: Rows, value: Value, task: str, family: str, tested: Tested) -> None:
    """Add one value of one arm; `family` says what the arms of the comparison differ in."""
    # In the subject's place: what was trained on where that differs between the arms, else what was tested on.
    n_synthetic, n_real = (tested.tested, tested.trained) if family == "test" else (tested.trained, tested.tested)
    rows.add(
        value,
        family=family,
        space=task,
        role=tested.role,
        subject=tested.subject,
        arm=tested.arm,
        n_real=n_real,
        n_synthetic=n_synthetic,
        seconds=tested.seconds,
    )


def by_seed(outcome: Outcome) -> list[float | None]:
    """Return the mean of each learner seed, None where there is none."""
    return [float(value) if np.isfinite(value) else None for value in outcome.by_seed]
