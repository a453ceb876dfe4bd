"""What an EVAL folder holds beside its rows: facts, verdicts, examples, pairs and curves, each written atomically."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cohort import Cohort
from ..devices import machine
from ..errors import Mismatch, writing
from ..runs import Config, derive_seed, fingerprint, read_run, versions, write_atomic
from ..types import Array, Score
from ._jobs import Fitted
from ._sets import ImageSet

FACTS, SCORES, SAMPLES, TRAINING = "eval.json", "scores.jsonl", "samples.parquet", "training.jsonl"
PREDICTIONS, AUDITED = "predictions-{task}.parquet", "audited.parquet"
LEARNING_CURVES = "learning_curves.json"
EXAMPLES, PAIRS, TASK_CURVES = "examples.npz", "pairs/pairs.npz", "task_curves.jsonl"
MOST_EXAMPLES = 32


def write_scores(out: Path, scores: Sequence[Score]) -> None:
    """Write scores.jsonl, one row a line."""
    lines = (json.dumps(score.to_json(), allow_nan=False, ensure_ascii=False) + "\n" for score in scores)
    write_atomic(out / SCORES, "".join(lines))


def read_scores(out: Path) -> list[Score]:
    """Return the rows of scores.jsonl.

    Raises:
        Mismatch: A line is no score.
    """
    try:
        lines = (out / SCORES).read_text(encoding="utf-8").splitlines()
        return [Score(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise Mismatch("An evaluation has one score a line", str(out / SCORES), "Choose another --out") from error


def write_facts(out: Path, real: Cohort, synthetic: Cohort, **further: Any) -> None:
    """Write eval.json, the last file: with it the evaluation is finished."""
    config: Config = read_run(out)["config"]
    content = {
        "fingerprint": fingerprint(config),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "real": _described(real),
        "synthetic": _described(synthetic),
        "mask_classes": list(real.facts.mask_classes),
        **further,
        "machine": machine(),
        "versions": versions(),
        "config": config,
    }
    write_atomic(out / FACTS, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _described(cohort: Cohort) -> dict[str, Any]:
    names = ("name", "modality", "provenance", "shape", "dtype", "source", "licence", "notice", "generator")
    facts = {name: getattr(cohort.facts, name) for name in names}
    if cohort.facts.provenance != "real":
        facts["history"] = [dict(step) for step in cohort.facts.history]
    return {**facts, "counts": cohort.counts(), "identity": cohort.identity, "pixels_sha256": cohort.pixels_sha256}


def write_samples(out: Path, table: pd.DataFrame) -> None:
    """Write samples.parquet."""
    _write_table(out / SAMPLES, table)


def write_audited(out: Path, table: pd.DataFrame) -> None:
    """Write audited.parquet, from which a cohort is judged again after withholding."""
    _write_table(out / AUDITED, table)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def write_predictions(out: Path, predictions: Mapping[str, pd.DataFrame | None]) -> None:
    """Write what fitted networks said of each real test image, one table a task that has one."""
    for task, table in predictions.items():
        if table is not None:
            _write_table(out / PREDICTIONS.format(task=task), table)


def write_examples(out: Path, synthetic: Cohort, labels: Array, findings: Sequence[str], *, seed: int) -> None:
    """Write up to 32 images of a synthetic cohort; nothing for another, which may hold real pixels."""
    if synthetic.facts.provenance != "synthetic":
        return
    count = min(MOST_EXAMPLES, len(synthetic))
    rng = np.random.default_rng(derive_seed(seed, "examples"))
    chosen = np.sort(rng.choice(len(synthetic), count, replace=False))
    masks = {} if synthetic.masks is None else {"masks": synthetic.masks[chosen]}
    shown = {"labels": labels[chosen], "label_names": np.array(findings, dtype=str)} if findings else {}
    write_arrays(
        out / EXAMPLES,
        images=synthetic.images[chosen],
        value_range=np.array(synthetic.facts.value_range),
        sample_id=synthetic.samples["sample_id"].iloc[chosen].to_numpy(dtype=str),
        **masks,
        **shown,
    )


def write_pairs(out: Path, synthetic: Cohort, train: ImageSet, verdicts: Any) -> None:
    """Write the images most similar to a training image beside that image. Real pixels: they stay in this folder."""
    chosen = np.argsort(-verdicts.similarity, kind="stable")[:MOST_EXAMPLES]
    nearest = verdicts.nearest[chosen]
    masks = {}
    if synthetic.masks is not None and train.masks is not None:
        masks = {"synthetic_masks": synthetic.masks[chosen], "nearest_masks": train.masks[nearest]}
    with writing(out):
        (out / PAIRS).parent.mkdir(exist_ok=True)
    write_arrays(
        out / PAIRS,
        synthetic=synthetic.images[chosen],
        nearest=train.images[nearest],
        similarity=verdicts.similarity[chosen],
        value_range=np.array(synthetic.facts.value_range),
        sample_id=synthetic.samples["sample_id"].iloc[chosen].to_numpy(dtype=str),
        **masks,
    )


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write named arrays, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def write_learning_curves(out: Path, curves: Sequence[Mapping[str, Any]]) -> None:
    """Write learning_curves.json: what a number of real patients reaches, and what each arm does; nothing without."""
    if curves:
        write_atomic(out / LEARNING_CURVES, json.dumps(list(curves), indent=1, allow_nan=False) + "\n")


def write_curves(out: Path, synthetic: Cohort, fits: Mapping[str, Mapping[str, Sequence[Fitted]]]) -> None:
    """Write task_curves.jsonl, and training.jsonl when the cohort came with its generator's log."""
    rows = [
        {"task": task, "arm": arm, "seed": number, **row}
        for task, of_arms in fits.items()
        for arm, fitted in of_arms.items()
        for number, fit in enumerate(fitted)
        for row in fit.log
    ]
    write_atomic(out / TASK_CURVES, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    if (synthetic.path / TRAINING).exists():
        write_atomic(out / TRAINING, (synthetic.path / TRAINING).read_bytes())
