"""An EVAL folder, opened and checked: what `evaluate` wrote, as the report needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError, NotAnEvaluation
from ..gates import CardFile, digest, parse_card
from ..types import Score
from ._pictures import REMAKE, Pictures, read_pictures

_SCORE_FIELDS = tuple(field.name for field in fields(Score))


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
        card: What was declared and fixed before the evaluation, or None.
        reader_study: The analysis of a reader study of these cohorts, or None.
    """

    folder: Path
    facts: Mapping[str, Any]
    scores: tuple[Score, ...]
    samples: pd.DataFrame | None
    training: tuple[Mapping[str, Any], ...]
    task_curves: tuple[Mapping[str, Any], ...]
    examples: Pictures | None
    card: CardFile | None = None
    reader_study: Mapping[str, Any] | None = None

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
    def is_foreign(self) -> bool:
        """Return whether the generator says that it was trained on another cohort, or on another split of this one."""
        made_by = self.synthetic.get("generator")
        own = made_by.get("cohort") if isinstance(made_by, Mapping) else None
        return own is not None and own != self.real.get("identity", own)

    @property
    def seed(self) -> int | None:
        """Return the seed of the generator's run, or None when unknown."""
        made_by = self.synthetic.get("generator")
        return made_by.get("seed") if isinstance(made_by, Mapping) else None

    @property
    def learner_seeds(self) -> int:
        """Return how often each task was fitted; 0 when unknown."""
        config = self.facts.get("config")
        seeds = config.get("seeds") if isinstance(config, Mapping) else None
        return seeds if isinstance(seeds, int) else 0

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the options of the generator that made the scored cohort."""
        made_by = self.synthetic.get("generator")
        options = made_by.get("options") if isinstance(made_by, Mapping) else None
        return options if isinstance(options, Mapping) else {}

    @property
    def is_control(self) -> bool:
        """Return whether the scored cohort is a control, whose right answer is known."""
        return self.synthetic.get("provenance") == "control"

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Return the mask classes, background first."""
        return tuple(self.facts.get("mask_classes") or ())

    @property
    def findings(self) -> tuple[str, ...]:
        """Return the findings that were scored."""
        return tuple(self.facts.get("labels") or ())

    @property
    def label_rule(self) -> str:
        """Return how the labels of the scored cohort were chosen: "exact", "merged" or "drawn"; "" when unknown."""
        history = self.synthetic.get("history") or ()
        step = history[-1] if history and isinstance(history[-1], Mapping) else {}
        labels = step.get("labels")
        return str(labels.get("rule", "")) if isinstance(labels, Mapping) else ""

    def having(self, side: str) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """Return finding -> split -> images, of the real side also patients, with the finding."""
        counts = (self.facts.get("label_counts") or {}).get(side)
        return counts or {}


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
        examples=read_pictures(folder / "examples.npz", "images", "masks"),
        card=_card(facts, folder),
    )


def _card(facts: Mapping[str, Any], folder: Path) -> CardFile | None:
    """Return the card file that was fixed before the evaluation.

    Raises:
        NotAnEvaluation: It was changed afterwards.
    """
    stored, config = facts.get("card"), facts.get("config")
    fixed = config.get("card") if isinstance(config, Mapping) else None
    if stored is None and fixed is None:
        return None
    known = stored if isinstance(stored, Mapping) else {}
    text = known.get("text")
    if not isinstance(text, str) or {known.get("sha256", ""), digest(text)} != {fixed}:
        raise NotAnEvaluation(
            "The lines of a card are fixed before the evaluation", f"those in {folder} were changed afterwards", REMAKE
        )
    try:
        return parse_card(text, "the card file")
    except InputError as error:
        raise NotAnEvaluation(error.rule, error.offender, REMAKE) from error


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = _json((folder / "eval.json").read_text(encoding="utf-8"))
        for side in ("real", "synthetic"):
            if not isinstance(facts[side]["name"], str) or not _is_counts(facts[side].get("counts") or {}):
                raise TypeError
        listed, mapped = ("notes", "mask_classes", "labels"), ("utility_by_seed", "machine", "utility")
        for kind, names in ((list, listed), (dict, mapped)):
            if not all(isinstance(facts.get(name) or kind(), kind) for name in names):
                raise TypeError
        if not _is_label_counts(facts.get("label_counts") or {}):
            raise TypeError
        if not isinstance(facts["synthetic"].get("history") or [], list) or not _is_stages(facts.get("stages") or {}):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotAnEvaluation("An EVAL is a folder with an eval.json", str(folder), REMAKE) from error
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


def _is_stages(value: Any) -> bool:
    """Return whether a value is what an evaluation's clock says: stage -> seconds."""
    return isinstance(value, dict) and all(
        isinstance(each, dict) and isinstance(each.get("seconds"), int | float) for each in value.values()
    )


def _is_label_counts(value: Any) -> bool:
    """Return whether a value is the label_counts of eval.json: side -> finding -> counts."""
    needed = {"real": {"images", "patients"}, "synthetic": {"images"}}
    return isinstance(value, dict) and all(
        side in needed
        and isinstance(findings, dict)
        and all(_is_counts(splits) for splits in findings.values())
        and all(needed[side] <= set(counts) for splits in findings.values() for counts in splits.values())
        for side, findings in value.items()
    )


def _read_scores(path: Path) -> tuple[Score, ...]:
    rows = _read_rows(path, required=True)
    try:
        scores = tuple(Score(**{name: row[name] for name in _SCORE_FIELDS}) for row in rows)
        for score in scores:
            _check_score(score)
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnEvaluation("A line of scores.jsonl is one whole score", f"{path}: {error}", REMAKE) from error
    if not scores:
        raise NotAnEvaluation("An EVAL has scores", f"{path} has none", REMAKE)
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
        raise NotAnEvaluation(f"{path.name} holds one JSON object a line", str(path), REMAKE) from error
    return rows


def _read_samples(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from both
        raise NotAnEvaluation("samples.parquet must be readable", str(path), REMAKE) from error
