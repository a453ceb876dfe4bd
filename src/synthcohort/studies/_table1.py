"""Seeded draws from what study 000 searched over (Skandarani et al., Table 1).

The paper names the values, not how runs were drawn: "we choose a number of sensible initial configurations", so trial 0
is each generator's defaults and the others are drawn evenly. The table itself is `table_1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runs import derive_seed
from ..table_1 import LEARNING_RATE, ROWS


def space(generator: str, *, most_filters: int = 128) -> dict[str, tuple[Any, ...]]:
    """Return option -> values of Table 1 for a generator; nothing for one that the study did not search.

    Args:
        generator: Its name.
        most_filters: Leaves larger networks out, for trainings of minutes.
    """
    found = {option: values for option, values, who in ROWS.values() if generator in who}
    for option in ("filters", "critic_filters"):
        if option in found:
            found[option] = tuple(value for value in found[option] if value <= most_filters) or (most_filters,)
    return found


def draws(
    generator: str, trials: int, *, seed: int, protocol: str = "recommended", most_filters: int = 128
) -> list[dict[str, Any]]:
    """Return the options of so many trials, no two alike: the defaults first, then draws; one without a space.

    Trial i depends on the seed, the generator and i only. A gradient penalty does not go with batch norm in the critic:
    such a draw takes instance norm, unless the protocol is "paper", which mixes them.

    Args:
        generator: Its name.
        trials: At least 1.
        seed: Of the draws.
        protocol: "recommended" or "paper".
        most_filters: See `space`.
    """
    values = space(generator, most_filters=most_filters)
    first: dict[str, Any] = {
        option: most_filters for option in ("filters", "critic_filters") if option in values and most_filters < 64
    }
    found = [first]
    attempt = 0
    while values and len(found) < trials:
        attempt += 1
        drawn = _drawn(values, derive_seed(seed, "trial", generator, attempt), protocol)
        if drawn not in found:
            found.append(drawn)
    return found


def _drawn(values: Mapping[str, tuple[Any, ...]], seed: int, protocol: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    drawn = {option: each[int(rng.integers(len(each)))] for option, each in values.items()}
    rate = drawn.pop(LEARNING_RATE)
    drawn |= {"generator_learning_rate": rate, "critic_learning_rate": rate}
    if protocol != "paper" and drawn.get("penalty") and drawn["critic_norm"] == "batch":
        drawn["critic_norm"] = "instance"
    return drawn


def value_of(option: str, options: Mapping[str, Any]) -> Any:
    """Return what a trial had for an option of `space`; None where it had the generator's default."""
    return options.get("generator_learning_rate" if option == LEARNING_RATE else option)
