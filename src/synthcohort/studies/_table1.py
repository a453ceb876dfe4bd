"""What study 000 searched over (Skandarani et al., Table 1), as options of our generators, and seeded draws from it.

The paper names the values, not how runs were drawn: "we choose a number of sensible initial configurations", so trial 0
is each generator's defaults and the others are drawn evenly. SPADE and StyleGAN were not searched ("almost no
hyperparameter tweaking", section 4.1). Table 1's VGG loss has no counterpart here: it compares a fake with the real
image of its mask, and a fake of these generators has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runs import derive_seed

_ALL = ("dcgan", "lsgan", "wgan", "wgan_gp", "hinge")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu")
RATES = (4e-5, 5e-5, 1e-4, 2e-4, 1e-3)
LEARNING_RATE = "learning_rate"
"""One value for both networks, as in Table 1."""

# Row of Table 1 -> (option, values, generators that have it). Which form "true" takes is ours: the paper names none.
ROWS: Mapping[str, tuple[str, tuple[Any, ...], tuple[str, ...]]] = {
    "Differentiable augmentation": ("diffaugment", ((), ("color", "translation", "cutout")), _ALL),
    "Activation of the discriminator": ("critic_activation", ACTIVATIONS, _ALL),
    "Activation of the generator": ("generator_activation", ACTIVATIONS, _ALL),
    "Norm of the discriminator": ("critic_norm", ("batch", "instance"), _ALL),
    "Norm of the generator": ("generator_norm", ("batch", "instance"), _ALL),
    "Filters of the discriminator": ("critic_filters", (16, 32, 64, 128), _ALL),
    "Filters of the generator": ("filters", (16, 32, 64, 128), _ALL),
    "Spectral norm in the discriminator": ("critic_spectral", (True, False), _ALL),
    "Spectral norm in the generator": ("generator_spectral", (True, False), _ALL),
    "Weight initialisation": ("initialisation", ("normal", "xavier", "xavier_uniform", "kaiming"), _ALL),
    "Gain of the initialisation": ("initialisation_gain", (0.01, 0.02, 0.1, 1.0), _ALL),
    "Weight of the gradient penalty": ("penalty", (0.0, 0.1, 1.0, 10.0), ("wgan_gp",)),
    "Weight clipping": ("clip", (0.0, 0.01, 0.1), ("wgan",)),
    "Weight of feature matching": ("feature_matching", (0.0, 1.0, 10.0), _ALL),
    "Learning rate": (LEARNING_RATE, RATES, _ALL),
    "Label smoothing": ("real_target", (1.0, 0.9), ("dcgan", "lsgan")),
    "Data augmentation": ("data_augmentation", ((), ("flip", "rotation", "shift")), _ALL),
}


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
