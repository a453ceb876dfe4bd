"""Columns of a table that are findings, and what their cells say."""

from __future__ import annotations

from collections import Counter

from .._checks import bad_label
from ..errors import BadOption, BadSource
from ._table import Table

_CELLS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}
_FIX = "Correct the table"


def label_columns(table: Table, labels: tuple[str, ...]) -> dict[str, str]:
    """Return finding -> column, first those that are named, then label.<name> in the order of the table.

    Raises:
        BadSource: The table lacks a column that is named, or a finding cannot be called so.
        BadOption: A finding is there twice.
    """
    found = [(name, name) for name in labels]
    found += [(column.removeprefix("label."), column) for column in table.columns if column.startswith("label.")]
    if any(bad_label(name) for name, _ in found):
        rule = "A finding is called by printable characters, and not 'mean', which is the mean of all"
        raise BadSource(rule, f"{table.name} or the option labels has another one", "Give the column another name")
    if max(Counter(name for name, _ in found).values(), default=1) > 1:
        raise BadOption("A finding is named once", f"{table.name} and the option labels repeat one", _FIX)
    table.need(labels)
    return dict(found)


def label_cell(text: str, where: str) -> int | None:
    """Return what a cell says of a finding: 0, 1 or unknown.

    Raises:
        BadSource: It is none of them; the cell is not quoted, since it may be a patient's id.
    """
    if text not in _CELLS:
        raise BadSource("A finding is 0, 1 or empty", f"{where} has something else", _FIX)
    return _CELLS[text]
