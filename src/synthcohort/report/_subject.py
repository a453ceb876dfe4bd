"""One evaluation with what is concluded from it, and its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import Array
from . import _figures, _label_text, _text
from ._card import Card, card
from ._compare import Comparison, compare, select, usable, whole_set
from ._controls import Control, controls
from ._explained import umap_figure
from ._findings import CHANCE, Finding, findings, mean_of
from ._headline import COPIES, DISTANCES, MASK_COPIES, UTILITY, Headline, headline
from ._numbers import space
from ._read import Evaluation

_FIDELITY = (*DISTANCES, "precision", "recall", "density", "coverage")
_Curve = tuple[str, list[float], list[float]]
_NOT_LOSSES = ("images_seen", "step", "seconds", "lr", "images_per_second", "arm", "seed", "epoch")


@dataclass(frozen=True)
class Subject:
    """One evaluation with what is concluded from it.

    Attributes:
        name: Its name in the page, unique in the report.
        slug: Its name in file names and anchors, unique in the report.
        findings: What was measured of each finding.
        figures: Figure name -> SVG text.
        card: Its report card.
    """

    evaluation: Evaluation
    name: str
    slug: str
    comparisons: Sequence[Comparison]
    headline: Headline
    controls: Sequence[Control]
    findings: Sequence[Finding]
    figures: Mapping[str, str]
    card: Card


def subjects(evaluations: Sequence[Evaluation]) -> list[Subject]:
    """Return the evaluations with their comparisons, headline, controls and figures."""
    found, taken = [], set[str]()
    for evaluation, name in zip(evaluations, _names(evaluations), strict=True):
        slug = _slug(name, taken)
        comparisons = compare(evaluation.scores)
        of_each = findings(evaluation, comparisons)
        found.append(
            Subject(
                evaluation=evaluation,
                name=name,
                slug=slug,
                comparisons=comparisons,
                headline=headline(comparisons),
                controls=controls(evaluation, comparisons, name=name),
                findings=of_each,
                figures=_draw(evaluation, comparisons, of_each),
                card=card(evaluation, comparisons, evaluations),
            )
        )
    return found


def _names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return a name for each; those that are called the same are told apart by seed, or else by number."""
    names = [str(e.synthetic["name"]) for e in evaluations]
    seeded = [
        _text.with_seed(name, e.seed) if names.count(name) > 1 and e.seed is not None else name
        for name, e in zip(names, evaluations, strict=True)
    ]
    return [
        f"{name} ({seeded[: i + 1].count(name)})" if seeded.count(name) > 1 else name for i, name in enumerate(seeded)
    ]


def _slug(name: str, taken: set[str]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "cohort"
    slug, number = stem, 1
    while slug in taken:
        number += 1
        slug = f"{stem}-{number}"
    taken.add(slug)
    return slug


def _draw(evaluation: Evaluation, comparisons: Sequence[Comparison], of_each: Sequence[Finding]) -> dict[str, str]:
    figures = {}
    if forest := _by_finding([*of_each, mean_of(comparisons)] if of_each else []):
        figures["findings"] = forest
    utility = [c for c in select(comparisons, UTILITY, arm="synthetic->real") if usable(c.subject)]
    if utility:
        labels = [c.subject.label or "mean" for c in utility]
        figures["utility"] = _figures.forest(utility, labels, axis=_text.AXES["utility"], roles=_text.UTILITY_ROLES)
    fidelity = [c for name in _FIDELITY for c in select(whole_set(comparisons), name)]
    distances = [c for c in fidelity if c.reading in ("within", "beyond", "between", "bad")]
    if distances:
        figures["fidelity"] = _figures.fidelity(distances, roles=_text.ROLES)
    shares = [c for name in (COPIES, MASK_COPIES) for c in select(comparisons, name) if usable(c.subject)]
    if shares:
        spaces = [space(c.subject.extractor) or "pixels" for c in shares]
        figures["copies"] = _figures.forest(shares, spaces, axis=_text.AXES["copies"], roles=_text.COPIES_ROLES)
    if nearest := _similarities(evaluation):
        figures["similarity"] = _figures.similarities(nearest, evaluation.facts.get("copy_thresholds") or {})
    if clouds := umap_figure(evaluation):
        figures["umap"] = clouds
    if losses := _losses(evaluation.training):
        figures["training"] = _figures.curves(losses, axis=_text.AXES["training"])
    if fits := _fits(evaluation.task_curves):
        figures["task"] = _figures.curves(fits, axis=_text.AXES["task"])
    return figures


def _by_finding(of_each: Sequence[Finding]) -> str:
    shown = [(each.auc, each.name) for each in of_each if each.auc is not None and usable(each.auc.subject)]
    if not shown:
        return ""
    names = [_text.shortened(_label_text.display(name)) for _, name in shown]
    return _figures.forest(
        [c for c, _ in shown], names, axis=_label_text.AXIS, roles=_label_text.ROLES, row=0.44, mark=CHANCE
    )


def _similarities(evaluation: Evaluation) -> dict[str, Array]:
    if evaluation.samples is None:
        return {}
    columns = [c for c in evaluation.samples.columns if c.startswith("similarity_")]
    found = {c.removeprefix("similarity_"): evaluation.samples[c].to_numpy(dtype=np.float64) for c in columns}
    return {name: values[np.isfinite(values)] for name, values in found.items() if np.isfinite(values).any()}


def _losses(rows: Sequence[Mapping[str, Any]]) -> list[_Curve]:
    curves: dict[str, _Curve] = {}
    for row in rows:
        for key, value in row.items():
            if key not in _NOT_LOSSES and isinstance(value, int | float) and "images_seen" in row:
                _extend(curves.setdefault(key, (_text.loss(key), [], [])), row["images_seen"], value)
    return list(curves.values())


def _fits(rows: Sequence[Mapping[str, Any]]) -> list[_Curve]:
    curves: dict[tuple[str, ...], _Curve] = {}
    several = len({row.get("task") for row in rows}) > 1
    for row in rows:
        if row.get("val_loss") is not None and "images_seen" in row:
            task, arm, seed = (str(row.get(key, "")) for key in ("task", "arm", "seed"))
            name = f"{task}: {_text.trained_on(arm)}" if several else _text.trained_on(arm)
            _extend(curves.setdefault((task, arm, seed), (name, [], [])), row["images_seen"], row["val_loss"])
    return list(curves.values())


def _extend(curve: _Curve, images_seen: float, loss: float) -> None:
    _, seen, losses = curve
    seen.append(images_seen)
    losses.append(loss)
