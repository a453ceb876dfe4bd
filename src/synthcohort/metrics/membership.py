"""Membership inference: can an attacker who sees the synthetic images alone tell who was trained on?

Members are training images, non-members are images of held-out patients. The attacker knows the release and a sample
of other patients, and scores a candidate image by
    distance: how near the nearest synthetic image is (GAN-Leaks, full black box);
    monte carlo: how closely synthetic images surround it, weighted by nearness;
    density ratio: how much denser the synthetic images are around it than other patients are (DOMIAS).

membership_auc: probability that a member scores above a non-member; 0.5 is chance. "by patient" takes the most exposed
    image of each patient. "best" is the largest of the attacks; its interval runs over the attacks' intervals at a
    level corrected for their number (Bonferroni), so that picking the largest does not make it look worse than it is.
membership_tpr, membership_tpr_per_mille: share of members found when at most 1 %, or 0.1 %, of the non-members are
    accused. They need 1,000 and 10,000 non-members: ten false alarms, under which the rate is not known.
membership_worst_decile: share of non-member patients that must be accused to find the tenth of the training patients
    that is most exposed; 10 % is chance, and 0 % means that these patients stand out.

The two sides must be exchangeable: divided at random by patient before training. Otherwise the attacks measure how the
sides differ, which shows on `holdout`, where 0.5 is the truth. Chance here says nothing of stronger attacks, such
as one that trains its own generators or holds the weights.

Sources: Chen et al. 2020 (GAN-Leaks, arXiv:1909.03935); Hilprecht et al. 2019 (doi:10.2478/popets-2019-0067); van
Breugel et al. 2023 (DOMIAS, arXiv:2302.12580); Carlini et al. 2022 (why rates at few false alarms, arXiv:2112.03570).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from ..statistics import LEVEL, clopper_pearson
from ..types import Array, Features, Value
from ._attacks import Scored as Scored
from ._attacks import attacks
from ._intervals import clustered_auc, clustered_share
from ._sets import FEWEST_PATIENTS, flat, missing, unusable

REVISION = 1
SPACE = "audit"

ATTACKS = ("distance", "monte carlo", "density ratio")
RATES = {"membership_tpr": 0.01, "membership_tpr_per_mille": 0.001}
FEWEST_FALSE_ALARMS = 10
BEST, EVERY, BY_PATIENT = "best", "every attack", " by patient"
_DECILE = 0.1

Patients = tuple[Array, Array]


def score(train: Features, subject: Features, held_out: Features, *, seed: int) -> list[Value]:
    """Return the area, the rates at few false alarms and the worst decile of every attack.

    All images of either side are used: an area does not depend on how many there are.

    Args:
        train: (n, d) features of the images that were learnt from.
        subject: (m, d) features of the images that are released.
        held_out: (r, d) features of patients that nothing was trained on.
        seed: Deals the patients of the density ratio.

    Raises:
        Mismatch: The sides come from different extractors.
    """
    if reason := unusable(train, subject, held_out):
        return not_estimable(ATTACKS, reason)
    found = attacks(flat(train), flat(subject).values, flat(held_out), seed=seed)
    return rows(found, (train.patients, held_out.patients))


def not_estimable(names: tuple[str, ...], reason: str) -> list[Value]:
    """Return rows that say why there is no area of any attack, and no rate."""
    areas = [missing("membership_auc", reason, label=name, better="lower") for name in names]
    rates = [missing(metric, reason, label=EVERY, better="lower", unit="share") for metric in RATES]
    return [*areas, *rates, missing("membership_worst_decile", reason, label=EVERY, better="higher", unit="share")]


def rows(found: Mapping[str, Scored], patients: Patients) -> list[Value]:
    """Return the rows of attacks, by image and by patient.

    Args:
        found: Attack -> its scores.
        patients: Of the members and of the non-members.
    """
    people = (np.unique(patients[0]), np.unique(patients[1]))
    if min(map(len, people)) < FEWEST_PATIENTS:
        counts = f"{len(people[0])} training and {len(people[1])} held-out patients"
        return not_estimable(tuple(found), f"{counts}; {FEWEST_PATIENTS} of either are needed")
    if not all(np.isfinite(side).all() for scored in found.values() for side in (scored.members, scored.others)):
        return not_estimable(tuple(found), "scores of the attack are not finite")
    by_patient = {
        name: Scored(_most(s.members, patients[0]), _most(s.others, patients[1])) for name, s in found.items()
    }
    values = []
    for scores, sides, suffix in ((found, patients, ""), (by_patient, people, BY_PATIENT)):
        values += [_area(name + suffix, scored, sides) for name, scored in scores.items()]
        if len(scores) > 1:
            values.append(_best(scores, sides, suffix))
        for metric, rate in RATES.items():
            values += _rates(metric, rate, scores, sides, suffix)
    return values + [_worst_decile(name, scored) for name, scored in by_patient.items()]


def _most(scores: Array, patients: Array) -> Array:
    """Return the highest score of each patient, in the order of `np.unique`."""
    people, code = np.unique(patients, return_inverse=True)
    highest = np.full(len(people), -np.inf)
    np.maximum.at(highest, code, scores)
    return highest


def _area(label: str, scored: Scored, patients: Patients) -> Value:
    area, interval = clustered_auc(scored.members, scored.others, patients)
    return Value("membership_auc", area, *interval, better="lower", label=label)


def _best(found: Mapping[str, Scored], patients: Patients, suffix: str) -> Value:
    level = 1 - (1 - LEVEL) / len(found)
    areas = {name: clustered_auc(s.members, s.others, patients, level=level) for name, s in found.items()}
    name = max(areas, key=lambda each: areas[each][0])
    low, high = (max(bounds) for bounds in zip(*(interval for _, interval in areas.values()), strict=True))
    reason = f"the largest of {len(found)} attacks, {name}; the interval allows for the choice"
    return Value("membership_auc", areas[name][0], low, high, better="lower", label=BEST + suffix, reason=reason)


def _rates(metric: str, rate: float, found: Mapping[str, Scored], patients: Patients, suffix: str) -> list[Value]:
    count, needed = len(patients[1]), round(FEWEST_FALSE_ALARMS / rate)
    if count < needed:
        units = "patients" if suffix else "images"
        reason = f"{count} held-out {units}; a rate at {rate:.1%} false alarms needs {needed}"
        return [missing(metric, reason, label=EVERY + suffix, better="lower", unit="share")]
    return [_rate(metric, rate, name + suffix, scored, patients) for name, scored in found.items()]


def _rate(metric: str, rate: float, label: str, scored: Scored, patients: Patients) -> Value:
    count = len(scored.others)
    threshold = np.sort(scored.others)[-int(rate * count) - 1]
    accused = int((scored.others > threshold).sum())
    share, interval = clustered_share(scored.members > threshold, patients[0])
    alarms = clopper_pearson(accused, count)
    reason = f"{accused} of {count} non-members accused ({alarms.low:.2%} to {alarms.high:.2%} if independent)"
    return Value(metric, share, *interval, unit="share", better="lower", label=label, reason=reason)


def _worst_decile(label: str, by_patient: Scored) -> Value:
    """Return the false alarms at the tenth of the members, over the thresholds that other members might have set."""
    members, others = np.sort(by_patient.members)[::-1], by_patient.others
    count = len(members)
    drawn = np.asarray(stats.binom.ppf([(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], count, _DECILE))
    ranks = np.clip(drawn.astype(int), 1, count)
    ranks[1] = max(1, round(_DECILE * count))
    few, accused, many = (int((others >= members[rank - 1]).sum()) for rank in ranks)
    low, high = clopper_pearson(few, len(others)).low, clopper_pearson(many, len(others)).high
    reason = f"{ranks[1]} training patients; {_DECILE:.0%} is chance"
    value = accused / len(others)
    return Value("membership_worst_decile", value, low, high, "share", "higher", label=label, reason=reason)
