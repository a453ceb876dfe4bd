"""The words on the pages: one JSON file, so that they can be translated without touching anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from string import Formatter

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from ..errors import InputError

FOLDER = Path(__file__).parent
_SCRIPTS = "script."


def read_texts(path: Path | None = None) -> dict[str, str]:
    """Return key -> text.

    Args:
        path: Of a translation of texts_en.json; None for the English texts.

    Raises:
        InputError: The file is no translation: keys or places for values differ.
    """
    english = json.loads((FOLDER / "texts_en.json").read_text(encoding="utf-8"))
    if path is None:
        return dict(english)
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("A translation is a JSON file", str(path), "Start from texts_en.json") from error
    if not isinstance(texts, dict) or texts.keys() != english.keys():
        differs = sorted(set(texts) ^ set(english))[:3] if isinstance(texts, dict) else "no object"
        raise InputError("A translation has the keys of texts_en.json", f"{differs} in {path}", "Complete it")
    for key, text in texts.items():
        if not isinstance(text, str) or _places(text) != _places(english[key]):
            raise InputError("A translation keeps the {places} of a text", f"{key} in {path}", "Correct it")
    return texts


def _places(text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:
        return {"not readable"}


class Templates:
    """The pages' templates, with the texts.

    Args:
        texts: Key -> text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["t"] = partial(say, texts)

    def page(self, name: str, status: int = 200, /, **values: object) -> HTMLResponse:
        """Return a page."""
        return HTMLResponse(self._environment.get_template(f"{name}.html").render(values), status)

    def for_scripts(self) -> dict[str, str]:
        """Return the texts that scripts show."""
        return {key[len(_SCRIPTS) :]: text for key, text in self._texts.items() if key.startswith(_SCRIPTS)}


def say(texts: Mapping[str, str], key: str, **values: object) -> str:
    """Return a text with `values` in their places."""
    return texts[key].format(**values)
