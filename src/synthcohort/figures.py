"""The look of every figure: colours, lettering, and SVG text that is the same byte for byte on every machine.

Matplotlib measures text in its own DejaVu Sans; a page then shows it in the reader's system font, which is narrower.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("#0b5ea8", "#c4520e", "#2a7d5f", "#8a4b9c", "#8c6d1f", "#5a5f66")
"""Colours of lines that stand beside one another; the first two are Okabe and Ito's blue and vermilion."""
INK, FAINT = "#1c232b", "#d9dde2"
WIDTH_INCHES = 5.8
"""Narrow, so that the lettering can still be read on a phone."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "synthcohort",
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8b929a",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.formatter.use_mathtext": False,
}
_FONTS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_NAMELESS = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw and save figures in the one look while the block runs."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def blank(height: float, *, width: float = WIDTH_INCHES) -> Figure:
    """Return an empty figure of this size in inches; it belongs to no window. Call it under `styled`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG text without a date or a program's name. Call it under `styled`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NAMELESS, transparent=True)
    text = re.sub(r"<\?xml.*?<svg", "<svg", buffer.getvalue(), count=1, flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", _FONTS)


def svg_source(svg: str) -> str:
    """Return an SVG figure as the source of an image in a page."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
