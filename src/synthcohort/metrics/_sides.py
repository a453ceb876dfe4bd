"""What every distance between sets checks first."""

from __future__ import annotations

import numpy as np

from ..errors import Mismatch
from ..types import Array, Features


def check_one_space(*sides: Features) -> None:
    """Raise unless all sides come from one extractor and have one width.

    Raises:
        Mismatch: They do not.
    """
    spaces = sorted({f"{side.name} {side.values.shape[1:]}" for side in sides})
    if len(spaces) > 1:
        raise Mismatch("All sides are features of one extractor", " and ".join(spaces), "Extract them again")


def unusable(real: Features, synthetic: Features) -> str:
    """Return why no distance can be taken between two sets, or "".

    A synthetic set of one image repeated is usable: that it collapsed is what the distances have to show.
    """
    if min(len(real), len(synthetic)) < 2:
        return "a side has fewer than 2 images"
    if not (np.isfinite(real.values).all() and np.isfinite(synthetic.values).all()):
        return "some features are not finite: check the extractor, its weights and the images"
    if (real.values == real.values[:1]).all():
        return "all real images are the same in this feature space"
    return ""


def few_patients(*sides: Array, fewest: int) -> str:
    """Return that a side has too few patients, or ""."""
    count = min(len(np.unique(np.asarray(patients))) for patients in sides)
    return f"a side has {count} patients; {fewest} are needed" if count < fewest else ""
