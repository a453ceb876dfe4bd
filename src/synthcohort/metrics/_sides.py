"""What every distance between sets checks first."""

from __future__ import annotations

from ..errors import Mismatch
from ..types import Features


def check_one_space(*sides: Features) -> None:
    """Raise unless all sides come from one extractor and have one width.

    Raises:
        Mismatch: They do not.
    """
    spaces = sorted({f"{side.name} {side.values.shape[1:]}" for side in sides})
    if len(spaces) > 1:
        raise Mismatch("All sides are features of one extractor", " and ".join(spaces), "Extract them again")
