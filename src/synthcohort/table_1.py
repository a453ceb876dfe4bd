"""What study 000 searched over (Skandarani, Jodoin, Lalande 2021, arXiv 2105.05318, Table 1), as options.

SPADE and StyleGAN were not searched ("almost no hyperparameter tweaking", section 4.1). Table 1's VGG loss has no
counterpart here: it compares a fake with the real image of its mask, and a fake of these generators has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALL = ("dcgan", "lsgan", "wgan", "wgan_gp", "hinge")
_ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu")
_RATES = (4e-5, 5e-5, 1e-4, 2e-4, 1e-3)
LEARNING_RATE = "learning_rate"
"""One value for both networks, as in Table 1."""

# Row of Table 1 -> (option, values, generators that have it). Which form "true" takes is ours: the paper names none.
ROWS: Mapping[str, tuple[str, tuple[Any, ...], tuple[str, ...]]] = {
    "Differentiable augmentation": ("diffaugment", ((), ("color", "translation", "cutout")), _ALL),
    "Activation of the discriminator": ("critic_activation", _ACTIVATIONS, _ALL),
    "Activation of the generator": ("generator_activation", _ACTIVATIONS, _ALL),
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
    "Learning rate": (LEARNING_RATE, _RATES, _ALL),
    "Label smoothing": ("real_target", (1.0, 0.9), ("dcgan", "lsgan")),
    "Data augmentation": ("data_augmentation", ((), ("flip", "rotation", "shift")), _ALL),
}
