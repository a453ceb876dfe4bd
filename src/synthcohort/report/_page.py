"""What the template is given: one plain dict for the page and one for each evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import svg_source
from . import _label_text, _sentences, _text
from ._answers import answers
from ._card_page import card_section
from ._compare import usable
from ._controls import Control
from ._counts import openly, split_rows
from ._embed import examples, legend, pairs
from ._explained import agreement_rows, real_figures
from ._finding_table import finding_section
from ._findings import few_held_out
from ._glossary import Term, term
from ._numbers import number
from ._overview import overview, overview_figures
from ._read import Evaluation
from ._reader_study import experts
from ._subject import Subject
from ._table import facts_of, score_groups

MARKER = "synthcohort report"


def page(found: Sequence[Subject], *, show_real: bool) -> dict[str, Any]:
    """Return what the template prints."""
    failed = [c for s in found for c in s.controls if not c.as_expected]
    real_cohorts = sorted({str(s.evaluation.real["name"]) for s in found})
    return {
        "text": _text,
        "label_text": _label_text,
        "title": _text.headline_of([s.name for s in found], real_cohorts),
        "common_facts": _common_facts(found),
        "show_real": show_real,
        "sections": [_section(s, show_real=show_real) for s in found],
        "overview": overview(found),
        "overview_figures": [{**each, "source": svg_source(each["svg"])} for each in overview_figures(found)],
        "foreign": [s.name for s in found if s.evaluation.is_foreign],
        "exact_labels": [s.name for s in found if s.evaluation.label_rule == "exact"],
        "real_cohorts": real_cohorts,
        "controls": [_control_row(c) for s in found for c in s.controls],
        "failed": [_control_row(c) for c in failed],
        "failed_title": _sentences.failed_title(failed),
        "also_missing": _also_missing(found),
        "missing": _text.not_measured(measured(found), runs_of_each(found), labelled=labelled(found)),
        "caveats": _text.caveats(labelled=labelled(found)),
        "intervals": _text.intervals({c.subject.metric for s in found for c in s.comparisons}),
        "marker": MARKER,
        "terms": _terms(found),
        "versions": sorted({(k, v) for s in found for score in s.evaluation.scores for k, v in score.versions.items()}),
    }


def labelled(found: Sequence[Subject]) -> bool:
    """Return whether some cohort has findings."""
    return any(s.findings for s in found)


def _terms(found: Sequence[Subject]) -> list[Term]:
    metrics = dict.fromkeys(c.subject.metric for s in found for c in s.comparisons)
    return [term(metric) for metric in metrics]


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
    held = {part.score.metric for s in found if (part := experts(s.evaluation)).score}
    return held | {c.subject.metric for s in found for c in s.comparisons if usable(c.subject)}


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
        "card": card_section(subject),
        "generator": evaluation.generator or "unknown generator",
        "is_control": evaluation.is_control,
        "facts": facts_of(evaluation),
        "real_splits": split_rows(evaluation.real),
        "synthetic_splits": split_rows(evaluation.synthetic),
        "answers": answers(subject),
        "findings": finding_section(subject),
        "groups": score_groups(subject.comparisons, few_held_out(evaluation)),
        "figures": {name: svg_source(svg) for name, svg in subject.figures.items()},
        "examples": pictures,
        "examples_note": note,
        "legend": legend(evaluation.mask_classes),
        "pairs": pairs(evaluation) if show_real else [],
        "explained": real_figures(evaluation) if show_real else [],
        "agreement": agreement_rows(evaluation),
        "notes": notes(evaluation),
        "provenance": _provenance(evaluation),
        "commands": _commands(evaluation),
    }


def notes(evaluation: Evaluation) -> list[str]:
    """Return what the evaluation notes, with small counts hidden."""
    said = evaluation.facts.get("notes") or ()
    return [openly(str(note), images=bool(evaluation.findings)) for note in said]


def _control_row(control: Control) -> dict[str, Any]:
    is_share = control.audit in ("copies", "masks")
    score = {"value": control.value, "threshold": control.threshold}
    return {
        "name": control.name,
        "evaluation": control.evaluation,
        "as_expected": control.as_expected,
        "said": _sentences.say_control(control),
        **{key: number(value, "share" if is_share else "") for key, value in score.items()},
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
        *_tasks(evaluation),
        ("Seconds", number(evaluation.facts.get("seconds"))),
    ]
    return [(name, text) for name, text in pairs if text]


def _tasks(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the options and the first weights of every task, where eval.json is ours and tells them."""
    config = evaluation.facts.get("config")
    tasks = config.get("tasks") if isinstance(config, Mapping) else None
    rows = []
    for name, task in tasks.items() if isinstance(tasks, Mapping) else ():
        options = task.get("options") if isinstance(task, Mapping) else None
        said = [f"{key}={value}" for key, value in options.items()] if isinstance(options, Mapping) else []
        weights = (task.get("weights") or {}).get("weights_sha256") if isinstance(task, Mapping) else None
        said += [f"first weights {weights}" if weights else "first weights random"]
        rows.append((f"Task {name}", ", ".join(said)))
    return rows


def _commands(evaluation: Evaluation) -> list[str]:
    """Return the commands that made the cohort and the scores, with words in capitals for folders."""
    made_by = evaluation.synthetic.get("generator")
    commands = []
    if isinstance(made_by, Mapping) and evaluation.generator:
        words = ["synthcohort", "train", "COHORT", "--generator", evaluation.generator, "--out", "RUN"]
        for key, flag in (("images_seen", "--images-seen"), ("batch", "--batch"), ("seed", "--seed")):
            words += [flag, str(made_by[key])] if key in made_by else []
        for key, value in sorted(evaluation.options.items()):
            words += ["--set", f"{key}={value}"]
        commands += [words, ["synthcohort", "sample", "RUN", "--out", "SYNTHETIC", *_sampled(evaluation)]]
    commands += [
        ["synthcohort", "evaluate", "COHORT", "SYNTHETIC", "--out", "EVAL"],
        ["synthcohort", "report", "EVAL", "--out", "report.html"],
    ]
    return [shlex.join(words) for words in commands]


def _sampled(evaluation: Evaluation) -> list[str]:
    if evaluation.label_rule in ("merged", "exact"):
        return ["--like", "COHORT", "--labels", evaluation.label_rule]
    total = sum(counts["images"] for counts in (evaluation.synthetic.get("counts") or {}).values())
    return ["--n", str(total)] if total else []
