"""What the template is given: one plain dict for the page and one for each evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from . import _figures, _sentences, _text
from ._compare import Comparison, bounds, part, select, usable
from ._counts import openly, split_rows
from ._embed import examples, legend, pairs, svg_source
from ._headline import DISTANCES, Control
from ._read import Evaluation
from ._subject import Subject
from ._table import cell, facts_of, score_groups

MARKER = "synthcohort report"


def page(found: Sequence[Subject], *, show_real: bool) -> dict[str, Any]:
    """Return what the template prints."""
    failed = [c for s in found for c in s.controls if not c.as_expected]
    real_cohorts = sorted({str(s.evaluation.real["name"]) for s in found})
    return {
        "text": _text,
        "title": _text.headline_of([s.name for s in found], real_cohorts),
        "common_facts": _common_facts(found),
        "show_real": show_real,
        "sections": [_section(s, show_real=show_real) for s in found],
        "overview": [_overview_row(s) for s in found],
        "overview_figure": _overview_figure(found),
        "real_cohorts": real_cohorts,
        "controls": [_control_row(c) for s in found for c in s.controls],
        "failed": [_control_row(c) for c in failed],
        "failed_title": _sentences.failed_title(failed),
        "also_missing": _also_missing(found),
        "missing": _text.not_measured(measured(found), runs_of_each(found)),
        "marker": MARKER,
        "measures": _column_measures(found),
        "terms": _terms(found),
        "versions": sorted({(k, v) for s in found for score in s.evaluation.scores for k, v in score.versions.items()}),
    }


def _terms(found: Sequence[Subject]) -> list[_text.Term]:
    metrics = dict.fromkeys(c.subject.metric for s in found for c in s.comparisons)
    return [_text.term(metric) for metric in metrics]


def _common_facts(found: Sequence[Subject]) -> list[tuple[str, str]]:
    """Return the facts on which all evaluations agree."""
    first, *others = [facts_of(s.evaluation) for s in found]
    return [fact for fact in first if all(fact in facts for facts in others)]


def _also_missing(found: Sequence[Subject]) -> list[str]:
    """Return what the evaluations themselves say they did not measure, each once."""
    said = [openly(str(text)) for s in found for text in s.evaluation.facts.get("not_measured") or ()]
    return list(dict.fromkeys(said))


def measured(found: Sequence[Subject]) -> set[str]:
    """Return the metrics that have a value for some cohort."""
    return {c.subject.metric for s in found for c in s.comparisons if usable(c.subject)}


def _column_measures(found: Sequence[Subject]) -> list[str]:
    """Return what the columns of the comparison show, each measure once."""
    shown = [(c, c.subject) for s in found for c in (s.headline.realism, s.headline.utility, s.headline.copies) if c]
    return list(dict.fromkeys(_text.measure(subject) for _, subject in shown))


def runs_of_each(found: Sequence[Subject]) -> int:
    """Return how many evaluations there are of the generator that has fewest; controls do not count."""
    names = [s.evaluation.generator for s in found if not s.evaluation.is_control]
    return min((names.count(name) for name in names), default=0)


def _section(subject: Subject, *, show_real: bool) -> dict[str, Any]:
    evaluation = subject.evaluation
    pictures, note = examples(evaluation, show_real=show_real)
    return {
        "slug": subject.slug,
        "name": subject.name,
        "generator": evaluation.generator or "unknown generator",
        "is_control": evaluation.is_control,
        "facts": facts_of(evaluation),
        "real_splits": split_rows(evaluation.real),
        "synthetic_splits": split_rows(evaluation.synthetic),
        "answers": _answers(subject),
        "groups": score_groups(subject.comparisons),
        "figures": {name: svg_source(svg) for name, svg in subject.figures.items()},
        "examples": pictures,
        "examples_note": note,
        "legend": legend(evaluation.mask_classes),
        "pairs": pairs(evaluation) if show_real else [],
        "notes": [openly(str(note)) for note in evaluation.facts.get("notes") or ()],
        "provenance": _provenance(evaluation),
        "commands": _commands(evaluation),
    }


def _answers(subject: Subject) -> list[dict[str, Any]]:
    shown = subject.headline
    distances = [c for name in DISTANCES for c in select(subject.comparisons, name)]
    said = {
        "realism": (shown.realism, _sentences.say_realism(shown.realism, distances)),
        "utility": (shown.utility, _sentences.say_utility(shown.utility, shown.ratio)),
        "copies": (shown.copies, _sentences.say_copies(shown.copies)),
    }
    return [
        {"question": _text.QUESTIONS[key], "said": sentence, "key": key, **_numbers(found)}
        for key, (found, sentence) in said.items()
    ]


def _numbers(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return {"trio": []}
    subject = found.subject
    return {
        "measure": _text.measure(subject),
        "trio": [{"role": role, "name": name, **cell(part(found, role))} for role, name in _text.ROLES.items()],
        "n": _text.sample_sizes(subject),
        "strip": _strip(found),
    }


def _strip(found: Comparison) -> list[dict[str, Any]]:
    """Return where ceiling, bad case and subject lie on one line, in per cent from the left."""
    trio = [(role, s) for role, s in (("ceiling", found.ceiling), ("bad", found.bad), ("subject", found.subject)) if s]
    shown = [(role, score) for role, score in trio if usable(score)]
    if len(shown) < 2:
        return []
    ends = [end for _, score in shown for end in bounds(score)]
    low, span = min(ends), max(ends) - min(ends)
    if span == 0:
        return []

    def place(value: float) -> float:
        return round(3 + 94 * (value - low) / span, 2)

    return [
        {
            "role": role,
            "at": place(float(score.value or 0)),
            "from": place(bounds(score)[0]),
            "width": round(place(bounds(score)[1]) - place(bounds(score)[0]), 2),
        }
        for role, score in shown
    ]


def _overview_row(subject: Subject) -> dict[str, Any]:
    shown, evaluation = subject.headline, subject.evaluation
    keys = ("realism", "utility", "copies")
    found = (shown.realism, shown.utility, shown.copies)
    readings = [shown.utility_reading if c is shown.utility else c.reading if c else None for c in found]
    return {
        "name": subject.name,
        "generator": evaluation.generator or "unknown",
        "slug": subject.slug,
        "is_control": evaluation.is_control,
        "cells": [
            {
                "question": _text.QUESTIONS[key],
                "subject": cell(part(c, "subject")),
                "ceiling": cell(part(c, "ceiling")),
                "bad": cell(part(c, "bad")),
                "reading": _text.READINGS[reading] if c and reading else "not measured",
                "measure": _text.measure(c.subject) if c else "",
            }
            for key, c, reading in zip(keys, found, readings, strict=True)
        ],
        "ratio": cell(part(shown.ratio, "subject")),
    }


def _overview_figure(found: Sequence[Subject]) -> str:
    pairs = [(s.headline.utility, s.name) for s in found]
    shown = [(c, name) for c, name in pairs if c is not None and usable(c.subject)]
    if len(found) < 2 or not shown:
        return ""
    names = [name if len(name) <= 34 else f"{name[:33]}\N{HORIZONTAL ELLIPSIS}" for _, name in shown]
    svg = _figures.forest([c for c, _ in shown], names, axis=_text.AXES["utility"], roles=_text.UTILITY_ROLES)
    return svg_source(svg)


def _control_row(control: Control) -> dict[str, Any]:
    is_share = control.audit == "copies"
    score = {"value": control.value, "threshold": control.threshold}
    return {
        "name": control.name,
        "evaluation": control.evaluation,
        "as_expected": control.as_expected,
        "said": _sentences.say_control(control),
        **{key: _text.number(value, "share" if is_share else "") for key, value in score.items()},
    }


def _provenance(evaluation: Evaluation) -> list[tuple[str, str]]:
    real, synthetic = evaluation.real, evaluation.synthetic
    seeds = sorted({score.seed for score in evaluation.scores})
    extractors = sorted({score.extractor for score in evaluation.scores if score.extractor})
    made_by = synthetic.get("generator")
    pairs = [
        ("Evaluation", str(evaluation.facts.get("fingerprint", ""))),
        ("Rule that makes the pixels comparable", evaluation.scores[0].pixels_sha256),
        ("Real cohort", str(real.get("identity", ""))),
        ("Synthetic cohort", str(synthetic.get("identity", ""))),
        ("Generator run", str(made_by.get("fingerprint", "")) if isinstance(made_by, Mapping) else ""),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Feature spaces", ", ".join(extractors)),
        ("Seconds", _text.number(evaluation.facts.get("seconds"))),
    ]
    return [(name, text) for name, text in pairs if text]


def _commands(evaluation: Evaluation) -> list[str]:
    """Return the commands that made the cohort and the scores, with words in capitals for folders."""
    made_by = evaluation.synthetic.get("generator")
    commands = []
    if isinstance(made_by, Mapping) and evaluation.generator:
        options = made_by.get("options") if isinstance(made_by.get("options"), Mapping) else {}
        words = ["synthcohort", "train", "COHORT", "--generator", evaluation.generator, "--out", "RUN"]
        for key, flag in (("images_seen", "--images-seen"), ("batch", "--batch"), ("seed", "--seed")):
            words += [flag, str(made_by[key])] if key in made_by else []
        for key, value in sorted((options or {}).items()):
            words += ["--set", f"{key}={value}"]
        commands += [words, ["synthcohort", "sample", "RUN", "--out", "SYNTHETIC", *_sampled(evaluation)]]
    commands += [
        ["synthcohort", "evaluate", "COHORT", "SYNTHETIC", "--out", "EVAL"],
        ["synthcohort", "report", "EVAL", "--out", "report.html"],
    ]
    return [shlex.join(words) for words in commands]


def _sampled(evaluation: Evaluation) -> list[str]:
    total = sum(counts["images"] for counts in (evaluation.synthetic.get("counts") or {}).values())
    return ["--n", str(total)] if total else []
