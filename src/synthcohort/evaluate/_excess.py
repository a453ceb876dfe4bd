"""Copies beyond chance, for every role, and what is kept so that a cohort can be judged again after withholding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..types import Array, Role, Value
from ._sets import ImageSet

HOLDOUT = "holdout"
Hits = npt.NDArray[np.bool_]


class Audited:
    """Verdicts on images whose answer is known, by space: held-out patients' and planted copies.

    Attributes:
        calibrations: Space -> where its threshold comes from.
    """

    def __init__(self) -> None:
        self.calibrations: dict[str, Any] = {}
        self._patients: dict[str, Array] = {}
        self._hits: dict[str, dict[str, Hits]] = {}

    def add(self, name: str, images: ImageSet, space: str, hits: Hits) -> None:
        """Keep the verdicts on a set: "holdout", or the kind of planted copy."""
        # Numbers of first appearance: pseudonyms have no place in what is kept of held-out patients.
        self._patients[name] = pd.factorize(images.patients)[0]
        self._hits.setdefault(name, {})[space] = hits

    def table(self) -> pd.DataFrame:
        """Return audited.parquet: set, patient (a number within the set), copy_<space> (empty where not judged)."""
        frames = [
            pd.DataFrame(
                {
                    "set": name,
                    "patient": patients,
                    **{f"copy_{s}": pd.array(_of(self._hits[name], s, patients), "boolean") for s in self.calibrations},
                }
            )
            for name, patients in self._patients.items()
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"set": [], "patient": []})

    def facts(self) -> dict[str, dict[str, float]]:
        """Return space -> threshold, images, patients and false alarms, as JSON-ready types."""
        return {
            space: {
                "threshold": float(found.threshold),
                "images": int(found.images),
                "patients": int(found.patients),
                "false_alarms": float(found.false_alarms),
                "false_alarms_by_patient": float(found.false_alarms_by_patient),
            }
            for space, found in self.calibrations.items()
        }


def _of(hits: Mapping[str, Hits], space: str, patients: Array) -> Any:
    return hits.get(space, [None] * len(patients))


def beyond(
    module: Any,
    judged: Mapping[Role, tuple[ImageSet, Hits]],
    planted: tuple[int, int],
    calibration: Any,
    tests: int,
) -> dict[Role, list[Value]]:
    """Return excess, bound and gate of each role over held-out patients.

    The ceiling are held-out patients themselves: every second one against the others.

    Args:
        module: The metric's.
        judged: Role -> its images and which of them count as copies; roles without images may be missing.
        planted: Planted copies found, and all.
        calibration: Of the threshold; None where it could not be had.
        tests: How many gates share the error level.
    """
    sides = {role: _tally(module, *judged.get(role, (None, None))) for role in ("subject", "ceiling", "bad")}
    held_out = sides["ceiling"]
    odd = pd.factorize(held_out.patients)[0] % 2 == 1
    halves = [module.Tally(held_out.hits[kept], held_out.patients[kept]) for kept in (~odd, odd)]
    pairs = {"subject": (sides["subject"], held_out), "ceiling": halves, "bad": (sides["bad"], held_out)}
    return {role: module.beyond(*pair, planted, calibration, tests=tests) for role, pair in pairs.items()}  # type: ignore[misc]


def _tally(module: Any, images: ImageSet | None, hits: Hits | None) -> Any:
    if images is None or hits is None:
        return module.Tally(np.zeros(0, np.bool_), np.zeros(0, np.int64))
    return module.Tally(np.asarray(hits, np.bool_), images.patients)
