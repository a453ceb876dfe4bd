"""CSV tables of images, read row by row; every mistake names the line it stands on."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from .._files import regular
from ..errors import BadSource

AGAIN = "Download it again"
_UNREADABLE = (OSError, ValueError, csv.Error)
_LONGEST = 1 << 20
"""Characters of a line; the csv module takes an eighth of it in a cell."""


class Table:
    """A CSV file with a header.

    Args:
        path: The file.
        name: What messages call it.
        fix: What the user can do about a mistake in it.

    Attributes:
        columns: Names in the header, without blanks around them; a column without a name is never looked at.

    Raises:
        BadSource: The file cannot be read, or a column is there twice.
    """

    def __init__(self, path: Path, name: str, fix: str) -> None:
        self.name, self._path, self._fix = name, path, fix
        self.columns = [column.strip() for column in next(self._lines(), (1, []))[1]]
        named = [column for column in self.columns if column]
        if len(set(named)) < len(named):
            raise BadSource("A column is there once", f"{name} repeats one", fix)

    def need(self, columns: Iterable[str]) -> None:
        """Raise unless all of the columns are there.

        Raises:
            BadSource: One is not.
        """
        for column in columns:
            if column not in self.columns:
                raise BadSource("The table has the columns it needs", f"{self.name} lacks '{column}'", self._fix)

    def place(self, line: int) -> str:
        """Return how messages name a line."""
        return f"line {line} of {self.name}"

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the line number of each row, counted from 1 for the header, and its cells without blanks around them.

        Raises:
            BadSource: The file is damaged, or a row does not have the header's length.
        """
        lines, width = self._lines(), len(self.columns)
        next(lines, None)
        for line, cells in lines:
            if len(cells) > width and any(cells[width:]):
                raise BadSource("No row is longer than the header", f"{self.place(line)} is", self._fix)
            if len(cells) < width:  # what a download that broke off leaves; blank cells would say something else
                raise BadSource("A row has a cell for every column", f"{self.place(line)} has not", self._fix)
            yield line, dict(zip(self.columns, map(str.strip, cells), strict=False))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        try:
            with regular(self._path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(_plain(file), strict=True)
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
        except _UNREADABLE as error:
            raise BadSource(
                "The source has a readable table of its images", f"no valid {self.name}", self._fix
            ) from error


def _plain(file: TextIO) -> Iterator[str]:
    """Yield the lines of a text; a null byte, which Python takes for a character from 3.11 on, is damage."""
    for line in iter(partial(file.readline, _LONGEST), ""):
        if "\0" in line or len(line) == _LONGEST:
            raise csv.Error
        yield line


def inside(root: Path, name: str, where: str, fix: str) -> Path:
    """Return root/name, and refuse names that lead out of the folder, by .., an absolute path or a link.

    Raises:
        BadSource: It leads elsewhere.
    """
    try:
        path = (root / name).resolve()
        safe = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a null byte, a name too long, a circle of links
        safe = False
    if not safe:
        raise BadSource("Files are named relative to the folder and lie in it", f"{where} leads elsewhere", fix)
    return path


def one_of(allowed: Collection[str], text: str, where: str) -> str:
    """Return a cell, which is blank or one of the values allowed.

    Raises:
        BadSource: It is neither; `where` names column and line. The cell is not quoted: in a table whose columns have
            slipped it may be a patient's id.
    """
    if text and text not in allowed:
        rule = f"A cell is blank or one of {', '.join(filter(None, allowed))}"
        raise BadSource(rule, f"{where} is something else", AGAIN)
    return text
