"""synthcohort turns a private cohort of medical images into a synthetic one and scores it honestly.

Every verb of the command line is a function here. Importing the package loads neither torch nor ray.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cohort import Cohort as Cohort
    from .cohort import verify as verify
    from .demo import demo as demo
    from .describe import describe as describe
    from .doctor import doctor as doctor
    from .evaluate import evaluate as evaluate
    from .export import export as export
    from .prepare import prepare as prepare
    from .report import report as report
    from .sample import sample as sample
    from .search import search as search
    from .train import train as train
    from .withhold import withhold as withhold

__version__ = "0.1.0"

_VERBS = (
    "demo",
    "describe",
    "doctor",
    "evaluate",
    "export",
    "prepare",
    "report",
    "sample",
    "search",
    "train",
    "withhold",
)
_HOMES = {"Cohort": "cohort", "verify": "cohort", **{verb: verb for verb in _VERBS}}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'synthcohort' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


class _Package(ModuleType):
    """Keeps `synthcohort.train` the function: importing the module train would put the module in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
