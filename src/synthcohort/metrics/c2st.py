"""Classifier two-sample test: how well a simple probe tells real from synthetic in a feature space.

Source: Lopez-Paz and Oquab 2017 (arXiv:1610.06545), with the area under the ROC curve of a penalised logistic
regression on standardised features and their squares, cross-fitted over two halves of the patients. 0.5: this probe
cannot tell the sets apart; another one may. 1: it always can. Values far above the ceiling say that there is a
difference, not that it matters: a trace of quantisation or compression is enough, so it is read beside `traces_auc`.
Below 0.5 is chance. It cannot see copies.

The interval is over the patients of both sides, with the probes as they were fitted; simulated, it holds the truth
in 93 to 97 % of studies.
"""

from __future__ import annotations

from ..types import Features, Value
from ._probe import FEWEST_PATIENTS, separation
from ._probe import placements as placements
from ._probe import scores as scores
from ._sides import check_one_space, few_patients, unusable

REVISION = 1
SPACE = "features"


def score(real: Features, synthetic: Features, *, seed: int) -> list[Value]:
    """Return the area under the probe's ROC curve with its interval.

    Args:
        real: (n, d) held-out real features.
        synthetic: (m, d) features of the subject, of the same extractor.
        seed: Decides the folds.

    Raises:
        Mismatch: The two sides come from different extractors.
    """
    check_one_space(real, synthetic)
    reason = unusable(real, synthetic) or few_patients(real.patients, synthetic.patients, fewest=FEWEST_PATIENTS)
    if reason:
        return [Value("c2st_auc", None, better="lower", status="not_estimable", reason=reason)]
    found = separation(real.values, synthetic.values, (real.patients, synthetic.patients), seed=seed)
    return [Value("c2st_auc", found.auc, *found.interval, better="lower")]
