"""What a search may vary: ranges and choices of a generator's options, as texts or as study 000's Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import plugins
from ..errors import BadOption
from ..nets.generator import RESERVED
from ..table_1 import LEARNING_RATE, ROWS

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return the value that a trial tries."""
        return trial.suggest_categorical(name, list(self.values))


@dataclass(frozen=True)
class Range:
    """A number between two bounds, both included.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        whole: Whether only whole numbers are tried.
        log: Whether ratios count, not differences.
    """

    low: float
    high: float
    whole: bool
    log: bool

    def suggest(self, trial: Trial, name: str) -> Any:
        """Return the value that a trial tries."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


Space = Mapping[str, Choices | Range]


def space_of_table_1(generator: str, fixed: Iterable[str] = ()) -> dict[str, Choices | Range]:
    """Return what study 000's Table 1 varies of a generator.

    Args:
        generator: Its name.
        fixed: Options that are not varied.

    Raises:
        BadOption: The study did not search this one.
    """
    chosen = {option: values for option, values, names in ROWS.values() if generator in names}
    space = {option: Choices(tuple(map(_plain, values))) for option, values in chosen.items() if option not in fixed}
    if not space:
        rule = "A search varies an option of the generator"
        raise BadOption(rule, f"study 000's table has none of {generator}", "Name some with --vary KEY=VALUES")
    return dict(space)


def _plain(value: Any) -> Any:
    return ",".join(value) if isinstance(value, tuple) else value


def parse(generator: str, texts: Sequence[str]) -> dict[str, Choices | Range]:
    """Return what texts such as "filters=16|32", "gamma=0.1..10,log" say may vary.

    Raises:
        BadOption: An option is unknown, or its values are not of its type.
    """
    plugin = plugins.find("generators", generator)
    return {key: _one(plugin, key, text) for key, text in plugins.pairs(texts).items()}


def _one(plugin: Any, key: str, text: str) -> Choices | Range:
    low, dots, rest = text.partition("..")
    if not dots:
        return Choices(tuple(_value(plugin, key, each) for each in text.split("|")))
    high, _, scale = rest.partition(",")
    bounds = [_value(plugin, key, end) for end in (low, high)]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in bounds)
    if not numbers or scale not in ("", "log") or not bounds[0] < bounds[1] or (scale and bounds[0] <= 0):
        rule = "A range is written low..high, or low..high,log with both above 0"
        raise BadOption(rule, f"{key}={text}", "Choices are written with | between")
    return Range(bounds[0], bounds[1], all(isinstance(end, int) for end in bounds), bool(scale))


def _value(plugin: Any, key: str, text: str) -> Any:
    value = plugins.resolve(plugin, {key: text}, reserved=RESERVED)[key]
    return text if isinstance(value, tuple) else value


def draw(space: Space, trial: Trial, *, protocol: str, shared: bool = False) -> dict[str, Any]:
    """Return the options that a trial tries.

    Beside a gradient penalty, which looks at each image alone, a critic's batch norm becomes instance norm; under
    `protocol=paper` it stays.

    Args:
        space: What may vary.
        trial: Optuna's.
        protocol: "recommended" or "paper".
        shared: Whether a "learning_rate" is that of generator and critic, as in Table 1.
    """
    drawn = {name: values.suggest(trial, name) for name, values in space.items()}
    if shared and LEARNING_RATE in drawn:
        rate = drawn.pop(LEARNING_RATE)
        drawn = {"generator_learning_rate": rate, "critic_learning_rate": rate, **drawn}
    if protocol != "paper" and drawn.get("penalty") and drawn.get("critic_norm") == "batch":
        drawn["critic_norm"] = "instance"
    return drawn


def described(space: Space) -> dict[str, str]:
    """Return what may vary as texts, as `parse` reads them."""
    return {name: _text(values) for name, values in space.items()}


def _text(values: Choices | Range) -> str:
    if isinstance(values, Choices):
        return "|".join(map(str, values.values))
    return f"{values.low:g}..{values.high:g}{',log' if values.log else ''}"
