"""The model card and the data card: what was trained on what, and what the images are, as Markdown beside the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._card_text import CAVEATS, DECLARED, NO_CARD
from ._counts import split_rows, suppressed_counts, total
from ._label_text import RULES
from ._subject import Subject
from ._table import cell
from ._text import SCOPE

_OBEYED = {"|": "\\|", "\\": "&#92;", "`": "&#96;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "&#91;", "]": "&#93;",
           "*": "&#42;", "_": "&#95;", "#": "&#35;"}  # fmt: skip
"""What Markdown and HTML would obey -> how it is written."""
_SMD = {
    "Congruence": (6,),
    "Coverage": (7,),
    "Constraint": (8,),
    "Completeness": (4, 7),
    "Compliance": (9, 10, 11, 12, 13),
    "Comprehension": (),
    "Consistency": (4, 15),
}
"""Criterion of the SMD scorecard (Zamzmi et al. 2025, Commun. Eng. 4:130) -> the lines of the card that speak to it."""


def model_card(subject: Subject) -> str:
    """Return what was trained on what, with which options, and how it ended, as Markdown."""
    evaluation = subject.evaluation
    made_by = evaluation.synthetic.get("generator")
    made_by = made_by if isinstance(made_by, Mapping) else {}
    trained = {
        "Generator": evaluation.generator or "not recorded",
        "Revision": made_by.get("revision", "not recorded"),
        "Trained on": _trained_on(subject),
        "Images seen in training": made_by.get("images_seen", "not recorded"),
        "Batch": made_by.get("batch", "not recorded"),
        "Seed": made_by.get("seed", "not recorded"),
        "Precision": made_by.get("precision", "not recorded"),
        "Run": made_by.get("fingerprint", "not recorded"),
        "Outcome": _outcome(made_by.get("outcome")),
    }
    options = {key: value for key, value in sorted(evaluation.options.items())}
    return _page(
        f"Model card: {subject.name}",
        [
            *_declared(subject),
            *_section("Training", _table(trained)),
            *_section("Options", _table(options) if options else ["None are recorded."]),
            *_section("What was measured", _lines(subject)),
            *_section("Limits", _bullets([*(" ".join(each) for each in SCOPE), *CAVEATS])),
        ],
    )


def data_card(subject: Subject) -> str:
    """Return what the images are, how many, on what terms, and what is known to be wrong with them, as Markdown."""
    evaluation = subject.evaluation
    real, synthetic = evaluation.real, evaluation.synthetic
    shape = "x".join(str(side) for side in synthetic.get("shape") or ())
    what = {
        "Name": synthetic["name"],
        "Provenance": synthetic.get("provenance", "not recorded"),
        "Modality": synthetic.get("modality") or real.get("modality") or "not recorded",
        "Shape (channels x height x width)": shape or "not recorded",
        "Structures": ", ".join(evaluation.mask_classes[1:]) or "none",
        "Findings": ", ".join(evaluation.findings) or "none",
        "Labels": RULES.get(evaluation.label_rule, "not recorded"),
        "Images": total(synthetic, "images") or "not recorded",
        "Source of the real cohort": real.get("source") or "not recorded",
        "Licence": synthetic.get("licence") or real.get("licence") or "not recorded",
        "Notice": synthetic.get("notice") or real.get("notice") or "none",
        "Identity": synthetic.get("identity", "not recorded"),
        "Pixels": evaluation.scores[0].pixels_sha256,
    }
    mapped = {name: _of_lines(subject, numbers) for name, numbers in _SMD.items()}
    return _page(
        f"Data card: {subject.name}",
        [
            *_declared(subject),
            *_section("What it is", _table(what)),
            *_section("Counts", _counts(subject)),
            *_section("SMD scorecard", [*_table(mapped), "", "Its seven criteria, and the lines that speak to each."]),
            *_section("Known limits", _bullets([*_known(subject), *CAVEATS])),
        ],
    )


def _declared(subject: Subject) -> list[str]:
    file = subject.card.file
    if file is None:
        return [_plain(NO_CARD), ""]
    return [*_table({title: getattr(file, key) for key, title in DECLARED.items()}), ""]


def _trained_on(subject: Subject) -> str:
    train = suppressed_counts(subject.evaluation.real).get("train", {})
    counts = f": {train['images']} images of {train['patients']} patients" if train else ""
    if subject.evaluation.is_foreign:
        return "another cohort than the one it was evaluated against"
    return f"the training split of {subject.evaluation.real['name']}{counts}"


def _outcome(outcome: Any) -> str:
    if not isinstance(outcome, Mapping):
        return "not recorded"
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in sorted(outcome.items()))


def _counts(subject: Subject) -> list[str]:
    rows = ["| cohort | split | images | patients |", "|---|---|---|---|"]
    sides = (("real", subject.evaluation.real), ("synthetic", subject.evaluation.synthetic))
    for name, side in sides:
        rows += [f"| {name} | {row['split']} | {row['images']} | {row['patients']} |" for row in split_rows(side)]
    return rows


def _lines(subject: Subject) -> list[str]:
    rows = ["| line | status | value | interval |", "|---|---|---|---|"]
    for line in subject.card.lines:
        shown = cell(line.deciding.score)
        status = line.status.replace("_", " ").replace("shown", "no line set")
        rows.append(f"| {line.number}. {line.question} | {status} | {shown['value']} | {shown['interval']} |")
    return rows


def _of_lines(subject: Subject, numbers: Iterable[int]) -> str:
    chosen = [line for line in subject.card.lines if line.number in set(numbers)]
    said = [f"line {line.number} ({line.status.replace('_', ' ').replace('shown', 'no line set')})" for line in chosen]
    return ", ".join(said) or "this page and the model card"


def _known(subject: Subject) -> list[str]:
    bad = [line for line in subject.card.lines if line.status == "not_met" or line.indication == "not_met"]
    return [f"{line.question} {line.said}" for line in bad]


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {_plain(title)}", "", *lines]) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _table(rows: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_plain(key)} | {_plain(value)} |" for key, value in rows.items())]


def _bullets(texts: Iterable[str]) -> list[str]:
    return [f"- {_plain(text)}" for text in texts]


def _plain(text: Any) -> str:
    """Return a text as one line that neither Markdown nor HTML obeys."""
    return "".join(_OBEYED.get(c, c) for c in " ".join(str(text).split()))
