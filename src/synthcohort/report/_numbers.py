"""How numbers are written: values, intervals, and the names of spaces without digests."""

from __future__ import annotations

import re

from ..types import Score

MINUS, NARROW = "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def number(value: float | None, unit: str = "") -> str:
    """Return a number as it is printed: shares in per cent, everything else to two decimals or three digits."""
    if value is None:
        return "\N{EM DASH}"
    if unit in ("share", "%"):
        return _minus(_digits(value * (100 if unit == "share" else 1), 1)) + NARROW + "%"
    return _minus(_digits(value, 2)) + (f"{NARROW}{unit}" if unit not in ("", "1") else "")


def _digits(value: float, decimals: int) -> str:
    if value == 0 or abs(value) >= 0.1:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else decimals
        return f"{value:,.{digits}f}".replace(",", NARROW)
    if abs(value) >= 1e-4:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}{NARROW}\N{MULTIPLICATION SIGN}{NARROW}10{str(int(exponent)).translate(_RAISED)}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def interval(score: Score | None) -> str:
    """Return "low to high" of the 95 % interval, or "" when there is none."""
    if score is None or score.low is None or score.high is None:
        return ""
    unit = "" if score.unit in ("share", "%") else score.unit
    low, high = (number(bound, score.unit if unit == "" else "") for bound in (score.low, score.high))
    return f"{low} to {high}".replace(f"{NARROW}% to", " to")


def space(extractor: str) -> str:
    """Return an extractor's name without the digest of its weights ("task-1f3ab2c4" is "task")."""
    return re.sub(r"[-@:#][0-9a-f]{4,}$", "", extractor)
