"""A folder is a registry: the file's name is the plugin's public name, listed without importing it.

A family file (several plugins over one shared architecture) lists its names in a literal
`NAMES = {"public": "Attribute"}`. An outsider plugs in as "package.module:Attribute".
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadOption, MissingDependency, UnknownName

# Folder -> the attribute that a plugin file defines.
KINDS = {
    "sources": "Source",
    "phantoms": "Phantom",
    "generators": "Generator",
    "tasks": "Task",
    "extractors": "Extractor",
    "metrics": "score",
    "formats": "Format",
    "studies": "study",
}
# What a plugin must have at least; an outsider's name may lead anywhere.
_METHODS = {
    "sources": "records",
    "phantoms": "write",
    "generators": "sample",
    "tasks": "fit",
    "extractors": "extract",
    "formats": "write",
}


def names(kind: str) -> list[str]:
    """Return the sorted public names of a kind, importing none of its plugins."""
    return sorted(_registry(kind))


def find(kind: str, name: str) -> Any:
    """Return the class or function behind a plugin's name.

    Raises:
        UnknownName: There is no such plugin; the message proposes the nearest name.
        MissingDependency: The plugin needs a package that is not installed.
    """
    module, attribute = name.split(":", 1) if ":" in name else _locate(kind, name)
    try:
        plugin = getattr(importlib.import_module(module), attribute)
    except ValueError as error:  # an empty name
        raise UnknownName(f"A plugin is package.module:Name ({kind})", name, "Check the module's path") from error
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise UnknownName(f"A plugin is package.module:Name ({kind})", name, "Check the module's path") from error
        raise MissingDependency(f"{name} needs the package {error.name}, which is not installed") from error
    except AttributeError as error:
        raise UnknownName(f"A plugin module must define {attribute}", name, f"Define {attribute} in it") from error
    method = _METHODS.get(kind, "__call__")
    if not hasattr(plugin, method):
        raise UnknownName(f"A plugin among the {kind} has {method}", f"{name} has none", "See CONTRIBUTING.md")
    return plugin


def _locate(kind: str, name: str) -> tuple[str, str]:
    registry = _registry(kind)
    if name not in registry:
        close = difflib.get_close_matches(name, registry, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Choose from {', '.join(sorted(registry))}"
        raise UnknownName(f"A name must be one of the {kind}", f"no '{name}' there", hint)
    return registry[name]


def _registry(kind: str) -> dict[str, tuple[str, str]]:
    package = f"{__package__}.{kind}"
    entries: dict[str, tuple[str, str]] = {}
    for path in sorted((Path(__file__).parent / kind).glob("*.py")):
        if path.name.startswith("_"):
            continue
        family = _family(path) or {path.stem: KINDS[kind]}
        entries.update({name: (f"{package}.{path.stem}", attribute) for name, attribute in family.items()})
    return entries


def _family(path: Path) -> dict[str, str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NAMES":
            return dict(ast.literal_eval(node.value))
    return {}


@dataclass(frozen=True)
class Option:
    """One option of a plugin: a keyword-only parameter with a default. The signature is the only copy."""

    name: str
    kind: Any
    default: Any


def options(plugin: Callable[..., Any], *, reserved: Iterable[str] = ()) -> dict[str, Option]:
    """Return the options of a plugin, read from its signature.

    Args:
        plugin: A class or function whose keyword-only parameters with defaults are its options.
        reserved: Parameters that the caller sets itself.
    """
    target = plugin.__init__ if inspect.isclass(plugin) else plugin
    hints = typing.get_type_hints(target)
    return {
        name: Option(name, hints.get(name, type(parameter.default)), parameter.default)
        for name, parameter in inspect.signature(plugin).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
        and parameter.default is not parameter.empty
        and name not in set(reserved)
    }


def resolve(plugin: Callable[..., Any], given: Mapping[str, Any] | Iterable[str], **kwargs: Any) -> dict[str, Any]:
    """Return every option of a plugin with its value: the defaults, overridden by what was given.

    Args:
        plugin: The class or function.
        given: A mapping of values, or "key=value" texts from the command line.
        kwargs: Passed to `options`.

    Raises:
        BadOption: A key is unknown or a value has the wrong type.
    """
    known = options(plugin, **kwargs)
    given = pairs(given)
    resolved = {name: option.default for name, option in known.items()}
    _check_known(given, known)
    for name, value in given.items():
        resolved[name] = _convert(known[name], value)
    return resolved


def resolve_each(
    plugins: Mapping[str, Callable[..., Any]], given: Mapping[str, Any] | Iterable[str], **kwargs: Any
) -> dict[str, dict[str, Any]]:
    """Return the options of several plugins by name; one that is given goes to every plugin that has it.

    Args:
        plugins: Name -> class or function.
        given: As for `resolve`.
        kwargs: Passed to `options`.

    Raises:
        BadOption: No plugin has a key, or a value has the wrong type.
    """
    given = pairs(given)
    known = {name: options(plugin, **kwargs) for name, plugin in plugins.items()}
    _check_known(given, {key for each in known.values() for key in each})
    return {
        name: resolve(plugin, {key: value for key, value in given.items() if key in known[name]}, **kwargs)
        for name, plugin in plugins.items()
    }


def pairs(given: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """Return options as a mapping, whether they come as one or as "key=value" texts.

    Raises:
        BadOption: A text is no such pair.
    """
    return dict(given) if isinstance(given, Mapping) else dict(_split_pair(text) for text in given)


def _check_known(given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Choose from {', '.join(sorted(known)) or 'none'}"
            raise BadOption("An option must be known", f"'{name}'", hint)


def _split_pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise BadOption("An option is written key=value", f"'{text}'", "Write --set key=value")
    return key.strip().replace("-", "_"), value


def _convert(option: Option, value: Any) -> Any:
    kinds = typing.get_args(option.kind) if _is_union(option.kind) else (option.kind,)
    for kind in kinds:
        try:
            return _as(kind, value)
        except (ValueError, TypeError):
            continue
    wanted = " or ".join(_in_words(kind) for kind in kinds)
    raise BadOption(f"Option '{option.name}' takes {wanted}", f"'{value}'", f"The default is {option.default!r}")


def described(kind: str, name: str) -> list[str]:
    """Return a line for each option with its default and choices; those of a generator's `sample` too."""
    plugin = find(kind, name)
    lines = [_line(option) for option in options(plugin).values()]
    if kind == "generators":
        lines += [f"{_line(option)} (with `sample`)" for option in options(plugin.sample).values()]
    return lines


def _line(option: Option) -> str:
    default = ",".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
    choices = f" ({_in_words(option.kind)})" if typing.get_origin(option.kind) is typing.Literal else ""
    return f"{option.name} = {default}{choices}"


def _in_words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    return "none" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _is_union(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union


def _as(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if kind is type(None):
        if value is None or str(value).lower() == "none":
            return None
        raise ValueError
    if origin is typing.Literal:
        for choice in typing.get_args(kind):
            if value == choice or value == str(choice):  # numbers come as texts from the command line
                return choice
        raise ValueError
    if origin is tuple:
        item = typing.get_args(kind)[0]
        value = value.strip("[]() ") if isinstance(value, str) else value
        if isinstance(value, str) and item is str:  # names need no quotes: a,b
            return tuple(part.strip() for part in value.split(",") if part.strip())
        parts = json.loads(f"[{value}]") if isinstance(value, str) else list(value)
        return tuple(_as(item, part) for part in parts)
    if kind is bool:
        return _as_bool(value)
    if kind is int and isinstance(value, float | bool):
        raise ValueError
    if kind is float and isinstance(value, bool):
        raise ValueError
    if kind is Path:
        return Path(value)
    if kind is float and not math.isfinite(float(value)):
        raise ValueError
    return kind(value)


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "on", "1"):
        return True
    if str(value).lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError
