"""`crossvalidate`: generators on every fold of a small cohort, so that every patient is a test patient once.

Splits are by patient. The AUC of a fold is that of its own networks; folds are averaged, never their scores pooled, for
two networks need not mean the same by one score. Intervals of auc.json draw the patients of every fold and the learner
seeds anew; they hold no spread between training sets, so that they are too narrow for another cohort. Those of
table.json are t-intervals over folds, corrected for the training images that folds share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import plugins, runs
from ..cohort import Cohort
from ..errors import BadOption, writing
from ..metrics.auc import auc_draws, mean_auc, patient_draws
from ..nets.generator import RESERVED
from ..prepare import prepare
from ..progress import say
from ..report import report
from ..sample import LabelRule
from ..statistics import auc, percentile_interval
from ..types import Array
from ._pipeline import Pipelines, Settings, slug, table

REVISION = 1
DRAWS = 2000
ARMS = ("real->real", "synthetic->real", "gaussian->real")
_ROW = ("generator", "arm", "label")
PREDICTIONS = "predictions-classification.parquet"


def study(
    source: str,
    root: Path | str,
    *,
    generators: Sequence[str],
    out: Path | str,
    folds: int = 5,
    size: int = 128,
    findings: Sequence[str] = (),
    min_finding_images: int = 0,
    labels: LabelRule = "merged",
    learners: int = 3,
    images_seen: int = 200_000,
    batch: int = 64,
    precision: str = "auto",
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Prepare, train, sample and score every generator on every fold; return the study folder.

    It holds auc.json and auc.md (AUC of each finding over all patients, patient-clustered intervals), rows.jsonl,
    table.json and table.md (mean of every score over folds), failures.jsonl and report.html.

    Args:
        source: Name of a source plugin.
        root: The download.
        generators: Names.
        out: The study folder.
        folds: Of the patients.
        size: Side of the square images in pixels.
        findings: Findings to keep; all when left out.
        min_finding_images: A finding that fewer images have is left out.
        labels: See `sample`.
        learners: How often each task is fitted in each fold.
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`.
        device: See `train`.
        weights: Extractor -> file, see `evaluate`.
        seed: Of the folds and of every pipeline.
        options: Of the generators that have them; an option that no generator has is refused.

    Raises:
        InputError: An input is wrong.
    """
    chosen = _chosen(generators, folds, options)
    settings = Settings(images_seen, batch, precision, device, labels, learners, dict(weights or {}))
    prepared = {"size": size, "seed": seed, "findings": findings, "min_finding_images": min_finding_images}
    config = {
        "kind": "study crossvalidate",
        "revision": REVISION,
        "cohorts": {"source": source, "folds": folds, **prepared, "findings": list(findings)},
        "generators": chosen,
        "settings": [images_seen, batch, labels, learners, sorted(settings.weights)],
    }
    runs.open_run(Path(out), config)
    return _run(Pipelines(Path(out), settings), (source, Path(root)), prepared, chosen, folds, seed)


def _chosen(names: Sequence[str], folds: int, options: Mapping[str, Any] | Iterable[str]) -> dict[str, dict[str, Any]]:
    if not names or folds < 2:
        raise BadOption("A cross-validation has a generator and two folds or more", f"{names}, {folds}", "Name some")
    plugin_of = {name: plugins.find("generators", name) for name in names}
    return plugins.resolve_each(plugin_of, options, reserved=RESERVED)


def _run(
    pipelines: Pipelines,
    download: tuple[str, Path],
    prepared: Mapping[str, Any],
    chosen: Mapping[str, Mapping[str, Any]],
    folds: int,
    seed: int,
) -> Path:
    out, found = pipelines.out, {name: list[Path]() for name in chosen}
    with runs.holding(out):
        with writing(out):
            (out / "cohorts").mkdir(exist_ok=True)
        # All of them first: what one cannot do is said before hours of training.
        cohorts = [
            prepare(*download, out=out / "cohorts" / f"fold-{fold}", fold=(fold, folds), **prepared).path
            for fold in range(1, folds + 1)
        ]
        for fold, cohort in enumerate(cohorts, 1):
            say(f"Fold {fold} of {folds}")
            for name, own in chosen.items():
                part = f"{slug(name)}-{fold}"
                done = pipelines.run(cohort, part, generator=name, options=own, seed=seed, fold=fold)
                found[name] += [done] if done else []
        _publish(out, pipelines, found, folds=folds, seed=seed)
    return out


def _publish(out: Path, pipelines: Pipelines, found: Mapping[str, Sequence[Path]], *, folds: int, seed: int) -> None:
    lines = [
        {"generator": name, **line}
        for name, evaluations in found.items()
        if len(evaluations) == folds and (evaluations[0] / PREDICTIONS).exists()
        for line in crossvalidated([pd.read_parquet(each / PREDICTIONS) for each in evaluations], seed=seed)
    ]
    with writing(out):
        runs.write_atomic(out / "auc.json", json.dumps(lines, indent=2, allow_nan=False) + "\n")
        runs.write_atomic(out / "auc.md", _as_markdown(lines))
    counts = [Cohort(out / "cohorts" / f"fold-{fold}").counts() for fold in range(1, folds + 1)]
    overlap = float(np.mean([count["test"]["images"] / count["train"]["images"] for count in counts]))
    pipelines.publish(table(pipelines.rows, "folds", overlap=overlap), "folds")
    if pipelines.evaluations:
        report(pipelines.evaluations, out=out / "report.html")


def _as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return AUC and gap of each arm and finding over all patients as Markdown text."""
    head = "| generator | arm | finding | AUC, 95 % interval | less than real->real, 95 % interval | folds | patients |"
    out = [head, "|" + "---|" * 7]
    gaps = {tuple(line[key] for key in _ROW): line for line in lines if line["metric"] == "auc_gap"}
    for line in (line for line in lines if line["metric"] == "auc"):
        gap = "" if line["arm"] == ARMS[0] else _cell(gaps[tuple(line[key] for key in _ROW)])
        cells = [*(line[key] for key in _ROW), _cell(line), gap, str(line["folds"]), str(line["patients"])]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _cell(line: Mapping[str, Any]) -> str:
    if line["value"] is None:
        return "not estimable"
    return f"{line['value']:.3f}" + ("" if line["low"] is None else f" ({line['low']:.3f} to {line['high']:.3f})")


def crossvalidated(folds: Sequence[pd.DataFrame], *, seed: int) -> list[dict[str, Any]]:
    """Return AUC of every arm, finding and their mean, and its gap to real->real, with 95 % intervals.

    A finding that has one class in a fold is averaged over the other folds; `folds` says over how many.

    Args:
        folds: Per fold, one row for each arm, learner seed and test image: patient_id, arm, seed, truth.<finding> and
            score.<finding>, as `evaluate` writes them.
        seed: Decides the bootstrap draws.
    """
    findings = [c.removeprefix("truth.") for c in map(str, folds[0]) if c.startswith("truth.")]
    values, draws = {}, {}
    for arm in ARMS:
        each = [_of_fold(fold, arm, findings, seed=runs.derive_seed(seed, "fold", i)) for i, fold in enumerate(folds)]
        values[arm] = np.stack([value for value, _ in each])
        # A draw that lacks what the value has would be of another quantity.
        there = np.isfinite(values[arm])[:, None]
        drawn = np.stack([drawn for _, drawn in each])
        complete = (np.isfinite(drawn) | ~there).all(0)
        draws[arm] = np.where(complete, _averaged(np.where(there, drawn, np.nan)), np.nan)
    patients = np.array([fold["patient_id"].nunique() for fold in folds])
    images = np.array([len(_first(fold, ARMS[0])) for fold in folds])
    lines = []
    for arm in ARMS:
        own, real = _averaged(values[arm]), _averaged(values[ARMS[0]])
        counted = np.isfinite(values[arm])
        for place, label in enumerate([*findings, "mean"]):
            pair = (
                (own[place], draws[arm][:, place]),
                (real[place] - own[place], (draws[ARMS[0]] - draws[arm])[:, place]),
            )
            for metric, (value, spread) in zip(("auc", "auc_gap"), pair, strict=True):
                low, high = percentile_interval(spread) or (None, None)
                lines.append(
                    {
                        "arm": arm,
                        "metric": metric,
                        "label": label,
                        "value": float(value) if np.isfinite(value) else None,
                        "low": low,
                        "high": high,
                        "folds": int(counted[:, place].sum()),
                        "patients": int(patients[counted[:, place]].sum()),
                        "images": int(images[counted[:, place]].sum()),
                    }
                )
    return lines


def _first(fold: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the test images of one arm, once."""
    return fold[(fold["arm"] == arm) & (fold["seed"] == 0)]


def _of_fold(fold: pd.DataFrame, arm: str, findings: Sequence[str], *, seed: int) -> tuple[Array, Array]:
    """Return (L + 1,) and (draws, L + 1): AUC of each finding and their mean over learner seeds of one fold."""
    tables = [table for _, table in fold[fold["arm"] == arm].groupby("seed")]
    weights = patient_draws(tables[0]["patient_id"].to_numpy(), seed=runs.derive_seed(seed, "patients"), draws=DRAWS)
    values = np.full((len(tables), len(findings)), np.nan)
    drawn = np.full((len(tables), DRAWS, len(findings)), np.nan)
    for number, place in np.ndindex(values.shape):
        truth, scores = (tables[number][f"{side}.{findings[place]}"].to_numpy() for side in ("truth", "score"))
        if np.isfinite(scores).all():
            values[number, place], drawn[number, :, place] = auc(truth, scores), auc_draws(truth, scores, weights)
    picks = np.random.default_rng(runs.derive_seed(seed, "seeds")).multinomial(
        len(tables), np.full(len(tables), 1 / len(tables)), size=DRAWS
    )
    mean, spread = values.mean(0), np.einsum("ds,sdl->dl", picks / len(tables), drawn)
    return np.append(mean, mean_auc(mean)), np.concatenate([spread, mean_auc(mean, spread)[:, None]], axis=1)


def _averaged(values: Array) -> Array:
    """Return the mean over folds, the first axis, of those that have a value."""
    there = np.isfinite(values)
    total, count = np.where(there, values, 0.0).sum(0), there.sum(0)
    mean: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean
