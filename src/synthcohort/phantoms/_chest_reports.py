"""Who has which findings, and what the tables state of them.

The shares of findings, of doubtful ones and of those ruled out are near those of the real training table, except that
fewer films have devices and pneumonia is commoner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..layouts import CHEXPERT_FINDINGS
from ._chest_signs import Sign, Signs

VISIBILITY: Mapping[str, float] = {
    "No Finding": 0.0,
    "Enlarged Cardiomediastinum": 0.5,
    "Cardiomegaly": 0.55,
    "Lung Opacity": 0.5,
    "Lung Lesion": 0.45,
    "Edema": 0.5,
    "Consolidation": 0.55,
    "Pneumonia": 0.5,
    "Atelectasis": 0.5,
    "Pneumothorax": 0.55,
    "Pleural Effusion": 0.5,
    "Pleural Other": 0.45,
    "Fracture": 0.45,
    "Support Devices": 0.65,
}
"""Mean severity with which each finding is drawn: 0 cannot be seen, 1 cannot be missed.

Severity varies by study as a beta distribution (a + b = 5), so no reader can be always right. At severity s
a heart is 10 + 42 s % wider, an upper mediastinum 5 + 20 s mm on each side; an opacity fills 18 + 50 s % of the air
over 7 to 11 cm, a consolidation 38 + 55 s % over 5 to 9 cm, a pneumonia patches of 7 cm by up to 35 + 65 s %, an edema
16 + 62 s % at the hila; a lesion has a radius of 3 to 23 mm; an atelectasis lifts a diaphragm by 8 + 26 s mm, with
bands 3 + 6 s mm thick; a pneumothorax frees 8 + 50 s % of a lung at its tip; an effusion stands about 100 s mm high at
the side wall; a pleural rind is 3 to 9 mm thick; a broken rib is offset by 4 + 7 s mm; devices are 1 to 5, brighter
with s. Of what is below 10 mm little is left at 32 pixels a side.
"""

# Finding -> chance in a well and in an ill patient; "lasting" findings are drawn once per patient.
_LASTING = {"Cardiomegaly": (0.06, 0.22), "Lung Lesion": (0.05, 0.07), "Pleural Other": (0.02, 0.04)}
_LASTING |= {"Fracture": (0.03, 0.06), "Support Devices": (0.08, 0.72)}
# In this order, so that what one finding brings along comes after it.
_PASSING = {"Edema": (0.02, 0.30), "Pleural Effusion": (0.05, 0.40), "Atelectasis": (0.05, 0.30)}
_PASSING |= {"Pneumonia": (0.04, 0.16), "Consolidation": (0.02, 0.16), "Pneumothorax": (0.02, 0.10)}
_PASSING |= {"Lung Opacity": (0.05, 0.15), "Enlarged Cardiomediastinum": (0.03, 0.07)}

# (given, finding) -> by how much the chance of the finding grows.
_TOGETHER = {
    ("Cardiomegaly", "Enlarged Cardiomediastinum"): 0.42,
    ("Cardiomegaly", "Edema"): 0.2,
    ("Edema", "Pleural Effusion"): 0.25,
    ("Pleural Effusion", "Atelectasis"): 0.12,
    ("Pneumonia", "Consolidation"): 0.2,
    ("Fracture", "Pneumothorax"): 0.1,
}

_OPACITIES = ("Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis")
"""Findings that are a lung opacity, too."""

# Chance that a present finding of middling severity is called uncertain; absent ones are at a twelfth of it.
_DOUBT = {"Enlarged Cardiomediastinum": 0.4, "Cardiomegaly": 0.2, "Lung Opacity": 0.05, "Lung Lesion": 0.13}
_DOUBT |= {"Edema": 0.2, "Consolidation": 0.55, "Pneumonia": 0.6, "Atelectasis": 0.45, "Pneumothorax": 0.12}
_DOUBT |= {"Pleural Effusion": 0.12, "Pleural Other": 0.35, "Fracture": 0.05, "Support Devices": 0.01}

# Chance that an absent finding is ruled out; blank otherwise.
_RULED_OUT = {"Enlarged Cardiomediastinum": 0.1, "Cardiomegaly": 0.06, "Lung Opacity": 0.06, "Lung Lesion": 0.01}
_RULED_OUT |= {"Edema": 0.14, "Consolidation": 0.16, "Pneumonia": 0.02, "Atelectasis": 0.01, "Pneumothorax": 0.3}
_RULED_OUT |= {"Pleural Effusion": 0.3, "Pleural Other": 0.01, "Fracture": 0.02, "Support Devices": 0.06}

_SILENT = 0.02
"""Share of studies of which the table states nothing."""
_PARENT_STATED = 0.85
"""Share of studies whose stated opacity of a kind is also stated as Lung Opacity."""


@dataclass(frozen=True)
class Health:
    """What lasts over the studies of a patient: whether ill, and the lasting findings."""

    ill: bool
    lasting: Signs

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Health:
        """Return the health of a random patient."""
        ill = bool(rng.random() < 0.72)
        return cls(ill, {name: _sign(rng, name) for name, chance in _LASTING.items() if rng.random() < chance[ill]})

    def study(self, rng: np.random.Generator) -> Signs:
        """Return the findings on the films of one study."""
        signs = dict(self.lasting)
        if "Support Devices" in signs and rng.random() < 0.4:
            signs["Support Devices"] = _sign(rng, "Support Devices")  # lines come and go
        for name, chances in _PASSING.items():
            chance = chances[self.ill] + sum(
                more for (given, finding), more in _TOGETHER.items() if finding == name and given in signs
            )
            if name not in signs and rng.random() < chance:
                signs[name] = _sign(rng, name)
        return signs


def _sign(rng: np.random.Generator, name: str) -> Sign:
    mean = VISIBILITY[name]
    severity = float(np.clip(rng.beta(5 * mean, 5 * (1 - mean)), 0.03, 1))
    both = 0.35 if name in ("Pleural Effusion", "Pneumonia", "Atelectasis", "Lung Opacity") else 0.0
    side = 0 if rng.random() < both else int(rng.choice([-1, 1]))
    place = (float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.05, 0.95)))
    return Sign(severity, side, place, int(rng.integers(2**62)))


def report(rng: np.random.Generator, signs: Signs) -> dict[str, float | None]:
    """Return finding -> 1, 0, -1 or None (blank) as a labeller of reports states a study's findings."""
    stated: dict[str, float | None] = dict.fromkeys(CHEXPERT_FINDINGS)
    silent = rng.random() < _SILENT
    for name in _DOUBT:
        doubt, denied, sure = rng.random(3)
        if name in signs:
            stated[name] = -1.0 if doubt < _DOUBT[name] * 2 * (1 - signs[name].severity) else 1.0
        elif doubt < _DOUBT[name] / 12:
            stated[name] = -1.0
        elif name == "Lung Opacity" and any(kind in signs for kind in _OPACITIES):
            stated[name] = 1.0 if sure < _PARENT_STATED else None
        elif denied < _RULED_OUT[name]:
            stated[name] = 0.0
    if all(stated[name] not in (1.0, -1.0) for name in _DOUBT if name != "Support Devices"):
        stated["No Finding"] = 1.0
    return dict.fromkeys(CHEXPERT_FINDINGS) if silent else stated


def reading(signs: Signs) -> dict[str, float | None]:
    """Return finding -> 1 or 0 as a panel that misses nothing reads a study's films."""
    stated: dict[str, float | None] = {name: float(name in signs) for name in CHEXPERT_FINDINGS}
    stated["Lung Opacity"] = float(any(name in signs for name in ("Lung Opacity", *_OPACITIES)))
    stated["Enlarged Cardiomediastinum"] = float(bool({"Enlarged Cardiomediastinum", "Cardiomegaly"} & set(signs)))
    stated["No Finding"] = float(not set(signs) - {"Support Devices"})
    return stated
