"""synthcohort turns a private cohort of medical images into a synthetic one and scores it honestly.

Every verb of the command line is a function here. Importing the package loads neither torch nor ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cohort import Cohort as Cohort
    from .cohort import verify as verify
    from .evaluate import evaluate as evaluate
    from .prepare import prepare as prepare
    from .report import report as report
    from .sample import sample as sample
    from .train import train as train

__version__ = "0.1.0"

_HOMES = {
    "Cohort": "cohort",
    "evaluate": "evaluate",
    "prepare": "prepare",
    "report": "report",
    "sample": "sample",
    "train": "train",
    "verify": "cohort",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'synthcohort' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
