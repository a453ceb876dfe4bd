"""Elements of a DICOM header and what their bytes say.

pydicom cuts a file into elements; values are read here, because pydicom's own conversion is slower, repairs what is
malformed, and quotes it in warnings.
"""

from __future__ import annotations

import contextlib
import logging
import re
import struct
import warnings
from collections.abc import Iterator

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from ..errors import BadSource
from . import _tags

FIX = "Replace it, or leave out what is damaged with --damaged skip"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TALKERS = [
    logging.getLogger(name)
    for name in (
        "pydicom",
        "pydicom.pixels.decoders.base",
        "pydicom.pixels.utils",
        "pylibjpeg",
        "pylibjpeg.utils",
        "openjpeg",
        "openjpeg.utils",
        "openjpeg._openjpeg",
    )
]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep silent inside the block what pydicom and the decoders warn of and log: it may quote the header."""
    before = [logger.disabled for logger in _TALKERS]
    for logger in _TALKERS:
        logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(_TALKERS, before, strict=True):
            logger.disabled = disabled


@contextlib.contextmanager
def foreign(name: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block on bytes of a file into one line; errors of ours pass.

    Raises:
        BadSource: Something was raised. The original, which may quote the file, is not kept as its cause.
    """
    try:
        with quiet():
            yield
    except (BadSource, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # no list of what parsers raise on such bytes; a panic of Rust is not even an Exception
        raise BadSource("A DICOM file must be readable", f"{name} {what}", FIX) from None


class Values:
    """The elements of a data set or of an item of a sequence.

    Args:
        elements: As pydicom cuts them.
        name: What messages call the file.
        little: Whether numbers are little endian.
    """

    def __init__(self, elements: Dataset, name: str, little: bool) -> None:
        self.elements, self.name = elements, name
        self._found = {int(element.tag): element for element in elements.elements()}
        self.order = "<" if little else ">"

    def bad(self, rule: str, what: str) -> BadSource:
        """Return the error that the file breaks a rule."""
        return BadSource(rule, f"{self.name} {what}", FIX)

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a value; none when it is absent.

        Raises:
            BadSource: It is a sequence.
        """
        element = self._found.get(tag)
        value = b"" if element is None else element.value or b""
        if not isinstance(value, bytes):
            raise self.bad("Elements of a header have their type", "has one of another type")
        return value

    def text(self, tag: int) -> str:
        """Return a text without blanks around it, in the file's character set or, failing that, byte by byte."""
        value = self.raw(tag).strip(b"\0 \t\r\n")
        if value.isascii():
            return value.decode("ascii")
        names = [part.strip() for part in self.raw(_tags.CHARSET).decode("latin-1").split("\\")]
        encoding = next((python_encoding[name] for name in names if name in python_encoding), "utf-8")
        try:
            return value.decode(encoding)
        except (UnicodeError, LookupError):
            return value.decode("latin-1")  # bytes stay apart that a replacement character would merge

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return decimal numbers; NaN stands for what is none, and nothing for an empty value."""
        text = self.raw(tag).decode("latin-1").strip("\0 ")
        parts = [part.strip("\0 ") for part in text.split("\\")] if text else []
        return tuple([float(part) if _NUMBER.fullmatch(part) else float("nan") for part in parts])

    def short(self, tag: int, default: int | None = None) -> int:
        """Return an unsigned 16-bit number.

        Raises:
            BadSource: It has another length, or is absent and there is no default.
        """
        value = self.raw(tag)
        if not value and default is not None:
            return default
        if len(value) != 2:
            raise self.bad(
                "A header states size and type of its pixels", f"has no valid ({tag >> 16:04x},{tag & 65535:04x})"
            )
        return int(struct.unpack(f"{self.order}H", value)[0])

    def items(self, tag: int) -> list[Values]:
        """Return the items of a sequence; none when it is absent.

        Raises:
            BadSource: It cannot be read.
        """
        if tag not in self._found:
            return []
        with foreign(self.name, "has a damaged sequence"):
            return [Values(item, self.name, self.order == "<") for item in self.elements[tag].value or ()]
