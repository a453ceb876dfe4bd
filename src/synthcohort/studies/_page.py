"""A study's page: one self-contained file of texts, tables and figures, without script and network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from ..errors import writing
from ..figures import svg_source
from ..pictures import contact_sheet, png_bytes
from ..runs import write_atomic
from ..types import Array

MINUS = "\N{MINUS SIGN}"
REAL_BANNER = "This page shows real images. It must stay where the real cohort may be seen."
HIDDEN = "This figure shows real images and is left out; the same command with --show-real puts it in."


@dataclass(frozen=True)
class Table:
    """One table: texts only.

    Attributes:
        head: Of the columns.
        rows: Of texts.
        caption: What it is.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure of the page.

    Attributes:
        name: Of its file, without ending.
        caption: What it shows; its first sentence is the alternative text.
        svg: The figure, or "".
        source: A picture as the source of an image, where it is no SVG.
        real: Whether it shows real images: it then stands in the page only, and in no file beside it.
    """

    name: str
    caption: str
    svg: str = ""
    source: str = ""
    real: bool = False

    def shown(self) -> dict[str, Any]:
        """Return what the template prints."""
        source = self.source or svg_source(self.svg)
        alt = self.caption.split(". ")[0]
        return {"source": source, "alt": alt, "caption": self.caption, "pixels": bool(self.source)}


@dataclass
class Section:
    """One section of the page."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


def write_page(out: Path, title: str, lead: Sequence[str], sections: Sequence[Section], *, banner: str = "") -> Path:
    """Write report.html, figures/*.svg and tables as Markdown (tables.md) into a study folder; return the page.

    Args:
        out: The study folder.
        title: Of the page.
        lead: Paragraphs before the first section.
        sections: In order.
        banner: A warning at the top, or "".
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    shown = [
        {"title": s.title, "texts": s.texts, "tables": s.tables, "figures": [figure.shown() for figure in s.figures]}
        for s in sections
    ]
    html = environment.get_template("study.html").render(title=title, lead=lead, sections=shown, banner=banner)
    with writing(out):
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for figure in (figure for section in sections for figure in section.figures if figure.svg and not figure.real):
            write_atomic(out / "figures" / f"{figure.name}.svg", figure.svg)
        write_atomic(out / "tables.md", "\n".join(_markdown(section) for section in sections if section.tables))
        write_atomic(out / "report.html", html)
    return out / "report.html"


def _markdown(section: Section) -> str:
    lines = [f"## {section.title}", ""]
    for table in section.tables:
        lines += [table.caption, ""] if table.caption else []
        lines += ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number in words for a table; an en dash where there is none."""
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", MINUS)


def with_interval(line: Mapping[str, Any], digits: int = 3) -> str:
    """Return mean and interval of a summary, or the mean and why there is no interval."""
    if line["mean"] is None:
        return f"none: {line['reason']}"
    if line["low"] is None:
        return f"{number(line['mean'], digits)} (no interval, n = {line.get('n', line.get('pairs'))})"
    return f"{number(line['mean'], digits)} ({number(line['low'], digits)} to {number(line['high'], digits)})"


def p_value(value: float | None, reason: str = "") -> str:
    """Return a p value, or why there is none."""
    if value is None:
        return f"none: {reason}" if reason else "none"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def grid(name: str, caption: str, images: Array, masks: Array | None = None, *, columns: int = 8) -> Figure:
    """Return images as one picture in the page; they are not written beside it."""
    sheet = contact_sheet(images, masks, columns=min(columns, max(len(images), 1)))
    return Figure(name, caption, source=f"data:image/png;base64,{base64.b64encode(png_bytes(sheet)).decode()}")


def showable(evaluation: Path, rows: Array) -> Array:
    """Return which samples may be shown without real images: those that no search took for a copy.

    Args:
        evaluation: The EVAL folder that judged them; without its table nothing may be shown.
        rows: Positions in the cohort that it judged.
    """
    try:
        judged = pd.read_parquet(evaluation / "samples.parquet")
    except (OSError, ValueError):
        return rows[:0]
    columns = [name for name in ("copy", "mask_copy") if name in judged]
    flagged = judged[columns].fillna(False).astype(bool).any(axis=1).to_numpy()
    kept: Array = rows[~flagged[rows]]
    return kept


def joined(names: Iterable[str]) -> str:
    """Return names with commas between."""
    return ", ".join(names)
