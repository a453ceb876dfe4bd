"""An EVAL folder, opened and checked: what `evaluate` wrote, as the report needs it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import NotAnEvaluation
from ..types import Array, Score

_REMAKE = "Make one with `synthcohort evaluate`"
_SCORE_FIELDS = tuple(field.name for field in fields(Score))


@dataclass(frozen=True)
class Pictures:
    """Images to show.

    Attributes:
        images: (n, C, H, W) as stored.
        masks: (n, H, W) uint8, or None.
        value_range: (low, high) of the stored pixels.
        sample_ids: (n,) text, or None where the file does not say.
    """

    images: Array
    masks: Array | None
    value_range: tuple[float, float]
    sample_ids: Array | None


@dataclass(frozen=True)
class Evaluation:
    """One EVAL folder.

    Attributes:
        facts: The content of eval.json.
        scores: Every row of scores.jsonl.
        samples: One row a synthetic sample, or None.
        training: Rows of the generator's training log; may be empty.
        task_curves: Rows of the task's training logs; may be empty.
        examples: Synthetic images, or None.
    """

    folder: Path
    facts: Mapping[str, Any]
    scores: tuple[Score, ...]
    samples: pd.DataFrame | None
    training: tuple[Mapping[str, Any], ...]
    task_curves: tuple[Mapping[str, Any], ...]
    examples: Pictures | None

    @property
    def real(self) -> Mapping[str, Any]:
        """Return the facts of the real cohort."""
        return self.facts["real"]  # type: ignore[no-any-return]

    @property
    def synthetic(self) -> Mapping[str, Any]:
        """Return the facts of the scored cohort."""
        return self.facts["synthetic"]  # type: ignore[no-any-return]

    @property
    def generator(self) -> str:
        """Return the name of the generator that made the scored cohort, or "" when unknown."""
        made_by = self.synthetic.get("generator") or ""
        if isinstance(made_by, Mapping):
            made_by = made_by.get("generator") or made_by.get("name") or ""
        return str(made_by)

    @property
    def seed(self) -> int | None:
        """Return the seed of the generator's run, or None when unknown."""
        made_by = self.synthetic.get("generator")
        return made_by.get("seed") if isinstance(made_by, Mapping) else None

    @property
    def is_control(self) -> bool:
        """Return whether the scored cohort is a control, whose right answer is known."""
        return self.synthetic.get("provenance") == "control"

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Return the mask classes, background first."""
        return tuple(self.facts.get("mask_classes") or ())


def read_evaluation(folder: Path) -> Evaluation:
    """Return what is in an EVAL folder; real pixels are not read.

    Raises:
        NotAnEvaluation: The folder is missing or damaged.
    """
    facts = _read_facts(folder)
    return Evaluation(
        folder=folder,
        facts=facts,
        scores=_read_scores(folder / "scores.jsonl"),
        samples=_read_samples(folder / "samples.parquet"),
        training=_read_rows(folder / "training.jsonl"),
        task_curves=_read_rows(folder / "task_curves.jsonl"),
        examples=_read_pictures(folder / "examples.npz", "images", "masks"),
    )


def read_pairs(folder: Path) -> tuple[Pictures, Pictures] | None:
    """Return synthetic images and the real training images nearest to them, or None when there are none.

    Only for a report that may show real images.

    Raises:
        NotAnEvaluation: The file is damaged.
    """
    path = folder / "pairs" / "pairs.npz"
    synthetic = _read_pictures(path, "synthetic", "synthetic_masks")
    nearest = _read_pictures(path, "nearest", "nearest_masks")
    return None if synthetic is None or nearest is None else (synthetic, nearest)


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = _json((folder / "eval.json").read_text(encoding="utf-8"))
        for side in ("real", "synthetic"):
            if not isinstance(facts[side]["name"], str) or not _is_counts(facts[side].get("counts") or {}):
                raise TypeError
        for name, kind in (("notes", list), ("mask_classes", list), ("dice_volume_by_seed", dict)):
            if not isinstance(facts.get(name) or kind(), kind):
                raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotAnEvaluation("An EVAL is a folder with an eval.json", str(folder), _REMAKE) from error
    return facts


def _json(text: str) -> Any:
    """Return the value of a JSON text; NaN and infinity, which JSON has not, raise ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def _is_counts(value: Any) -> bool:
    """Return whether a value is what `Cohort.counts` returns: split -> images and patients."""
    splits = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(split, dict) and all(isinstance(n, int) for n in split.values()) for split in splits)


def _read_scores(path: Path) -> tuple[Score, ...]:
    rows = _read_rows(path, required=True)
    try:
        scores = tuple(Score(**{name: row[name] for name in _SCORE_FIELDS}) for row in rows)
        for score in scores:
            _check_score(score)
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnEvaluation("A line of scores.jsonl is one whole score", f"{path}: {error}", _REMAKE) from error
    if not scores:
        raise NotAnEvaluation("An EVAL has scores", f"{path} has none", _REMAKE)
    return scores


def _check_score(score: Score) -> None:
    if score.role not in ("subject", "ceiling", "bad") or score.status not in ("ok", "not_estimable"):
        raise ValueError(f"role '{score.role}', status '{score.status}'")
    if score.status == "ok" and not isinstance(score.value, int | float):
        raise ValueError(f"{score.metric} is ok but has no value")
    if (score.low is None) != (score.high is None):
        raise ValueError(f"{score.metric} has half an interval")


def _read_rows(path: Path, *, required: bool = False) -> tuple[dict[str, Any], ...]:
    if not required and not path.exists():
        return ()
    read = _json if required else json.loads  # a loss may have been NaN; a score may not
    try:
        rows = tuple(read(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        if not all(isinstance(row, dict) for row in rows):
            raise TypeError
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise NotAnEvaluation(f"{path.name} holds one JSON object a line", str(path), _REMAKE) from error
    return rows


def _read_samples(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from both
        raise NotAnEvaluation("samples.parquet must be readable", str(path), _REMAKE) from error


def _read_pictures(path: Path, images: str, masks: str) -> Pictures | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            low, high = (float(bound) for bound in file["value_range"])
            found = Pictures(
                images=file[images],
                masks=file[masks] if masks in file and file[masks].size else None,
                value_range=(low, high),
                sample_ids=file.get("sample_id"),
            )
        if (
            found.images.dtype.kind != "u"
            or found.images.ndim != 4
            or (found.masks is not None and found.masks.shape[0] != len(found.images))
        ):
            raise ValueError(f"images {found.images.shape}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise NotAnEvaluation(f"{path.name} holds images and their value_range", str(path), _REMAKE) from error
    return found
