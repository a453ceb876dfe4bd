"""Whether several EVALs may stand in one table: with other pixels or another space, numbers mean something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Mismatch
from ._read import Evaluation

_NEXT = "Make a report of each"


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Refuse EVALs whose images were prepared otherwise, or whose spaces of one name are not one space.

    A task space is learnt anew in every evaluation, so nothing is asked of it.

    Raises:
        Mismatch: Two of them differ.
    """
    pixels: dict[str, str] = {}
    spaces: dict[str, tuple[str, Any]] = {}
    for each in evaluations:
        name = each.folder.name
        for rule in {score.pixels_sha256 for score in each.scores}:
            pixels.setdefault(rule, name)
        if len(pixels) > 1:
            raise Mismatch(
                "EVALs of one report are of cohorts that were prepared alike",
                f"the pixels of {' and '.join(dict.fromkeys(pixels.values()))} differ",
                _NEXT,
            )
        for space, manifest in _manifests(each).items():
            first, known = spaces.setdefault(space, (name, manifest))
            if known != manifest:
                raise Mismatch(
                    "EVALs of one report use the same feature spaces",
                    f"{space} has other weights or preprocessing in {name} than in {first}",
                    _NEXT,
                )


def _manifests(evaluation: Evaluation) -> Mapping[str, Any]:
    config = evaluation.facts.get("config")
    found = config.get("extractors") if isinstance(config, Mapping) else None
    return found if isinstance(found, Mapping) else {}
