"""The report card: one self-contained page, report.json, figures, model and data cards, from EVAL folders.

The page needs no network and no script. It holds no real pixel unless asked, and no count of fewer than ten patients.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ..errors import BadOption, BadOutput, writing
from ..runs import write_atomic
from . import _text
from ._card import verdict
from ._comparable import check_comparable
from ._counts import score_json, suppressed_counts
from ._documents import data_card, model_card
from ._explained import agreement_json
from ._findings import few_held_out
from ._page import MARKER, labelled, measured, notes, page, runs_of_each
from ._read import read_evaluation
from ._reader_study import with_reader_study
from ._subject import Subject, subjects

SCHEMA = 2
SCHEMA_FILE = Path(__file__).parent / "schema" / "report.schema.json"
STYLE_FILE = Path(__file__).parent / "style.css"


def report(
    evals: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    show_real: bool = False,
    reader_study: Path | str | None = None,
) -> Path:
    """Write the report card and return its path.

    Beside `out` (a .html file) come a .json of the same name with the same numbers (of the schema in SCHEMA_FILE),
    figures/*.svg, and a model card and a data card for each cohort in cards/*.md. A report that this function wrote
    earlier is replaced. `unmet` says which lines of a written report were not shown to be kept.

    Args:
        evals: EVAL folders that `evaluate` wrote; several are compared in one table.
        out: The page to write.
        show_real: Show real images: the nearest training images and samples of controls. The page then carries a
            warning and must stay where the real cohort may be seen.
        reader_study: The analysis.json that `reader analyse` wrote for these cohorts, for line 14 of the card.

    Raises:
        BadOption: No EVAL is given, or one twice.
        InputError: `reader_study` is no such file.
        Mismatch: `reader_study` is of other cohorts.
        NotAnEvaluation: A folder is no EVAL, or a damaged one.
        Mismatch: Two EVALs are of cohorts prepared differently, or their spaces of one name differ.
        BadOutput: `out` is no .html name, is something else than an earlier report, or cannot be written.
    """
    folders = [Path(evals)] if isinstance(evals, str | Path) else [Path(folder) for folder in evals]
    out = Path(out)
    _check_inputs(folders)
    _check_output(out)
    evaluations = [read_evaluation(folder) for folder in folders]
    check_comparable(evaluations)
    found = subjects(with_reader_study(evaluations, reader_study))
    figures = {f"{out.stem}-{s.slug}-{name}.svg": svg for s in found for name, svg in s.figures.items()}
    cards = {f"{out.stem}-{s.slug}-{name}.md": make(s) for s in found for name, make in _DOCUMENTS.items()}
    html = _render(page(found, show_real=show_real))
    content = _content(found, sorted(figures), sorted(cards), show_real=show_real)
    with writing(out):
        _write(out, html, content, {"figures": figures, "cards": cards})
    return out


def unmet(out: Path | str) -> str:
    """Return which lines of a written report were not shown to be kept, in one line; "" where all were or none is set.

    Args:
        out: The page that `report` wrote.
    """
    return str(_stored(Path(out).with_suffix(".json")).get("unmet", ""))


_DOCUMENTS = {"model-card": model_card, "data-card": data_card}


def _check_inputs(folders: Sequence[Path]) -> None:
    if not folders:
        raise BadOption("A report is made of at least one EVAL", "none was given", "Name a folder that `evaluate` made")
    for folder in folders:
        if folders.count(folder) > 1:
            raise BadOption("An EVAL is named once", f"{folder} is there twice", "Name each folder once")


def _check_output(out: Path) -> None:
    if out.suffix != ".html":
        raise BadOutput("A report is an .html file", str(out), "Write --out report.html")
    for path, ours in ((out, _is_our_page), (out.with_suffix(".json"), _is_our_json)):
        if path.exists() and not ours(path):
            raise BadOutput("Only an earlier report is replaced", f"{path} is something else", "Choose another --out")


def _is_our_page(path: Path) -> bool:
    return path.is_file() and f'content="{MARKER}' in path.read_text(encoding="utf-8", errors="replace")[:2000]


def _is_our_json(path: Path) -> bool:
    return path.is_file() and _stored(path).get("made_by") == MARKER


def _stored(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _render(context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(**context).lstrip()


def _content(
    found: Sequence[Subject], figures: Sequence[str], cards: Sequence[str], *, show_real: bool
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "made_by": MARKER,
        "shows_real_images": show_real,
        "unmet": verdict({subject.name: subject.card for subject in found}),
        "subjects": [_subject_json(subject) for subject in found],
        "controls": [control.to_json() for subject in found for control in subject.controls],
        "not_measured": _text.not_measured(measured(found), runs_of_each(found), labelled=labelled(found)),
        "caveats": _text.caveats(labelled=labelled(found)),
        "figures": list(figures),
        "cards": list(cards),
    }


def _subject_json(subject: Subject) -> dict[str, Any]:
    evaluation = subject.evaluation
    few = few_held_out(evaluation)
    return {
        "name": subject.name,
        "generator": evaluation.generator,
        "seed": evaluation.seed,
        "provenance": str(evaluation.synthetic.get("provenance", "")),
        "modality": str(evaluation.real.get("modality", "")),
        "real_cohort": {"name": str(evaluation.real["name"]), "counts": suppressed_counts(evaluation.real)},
        "counts": suppressed_counts(evaluation.synthetic),
        "fingerprint": str(evaluation.facts.get("fingerprint", "")),
        "label_rule": evaluation.label_rule,
        "utility_by_seed": evaluation.facts.get("utility_by_seed") or {},
        "card": subject.card.to_json(evaluation),
        "headline": subject.headline.to_json(),
        "findings": [finding.to_json() for finding in subject.findings],
        "scores": [score_json(score, few) for score in evaluation.scores],
        "notes": notes(evaluation),
        "importance": agreement_json(evaluation),
    }


def _write(out: Path, html: str, content: dict[str, Any], folders: dict[str, dict[str, str]]) -> None:
    """Write the page last, each file whole or not at all; drop figures and cards of the last time."""
    before = _stored(out.with_suffix(".json"))
    for kind, files in folders.items():
        folder = out.parent / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomic(folder / name, text)
        for name in before.get(kind, []):
            if name not in files and Path(str(name)).name == name and str(name).endswith((".svg", ".md")):
                (folder / name).unlink(missing_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(out.with_suffix(".json"), text + "\n")
    write_atomic(out, html)
