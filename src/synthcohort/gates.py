"""The card file: what a release is for, and the lines it has to keep, fixed before anything is measured.

A data steward writes it, `evaluate --card` stores its text and SHA-256 with the scores, and the report judges by that
text alone. So nobody can move a line after the numbers are known without evaluating again into another folder.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadOption, BadOutput, InputError, writing
from .runs import write_atomic

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RELEASES = ("images", "images and weights", "query API")
SETTINGS = ("quick", "full")
PRIMARY = ("any", "dice_gap", "auc_gap")
MOST_CHARACTERS = 300
_LARGEST = 100_000

DECLARATIONS: Mapping[str, str] = {
    "release": f"What leaves the house: one of {', '.join(RELEASES)}.",
    "adversary": "Who might attack it, and what they know and hold.",
    "intended_use": "What the images are for.",
    "evaluated_by": "Who answers for this evaluation.",
}
"""Declaration -> what is asked; all are mandatory."""


@dataclass(frozen=True)
class Limit:
    """One line that a figure has to keep.

    Attributes:
        line: Its number on the report card.
        default: What it is when nobody changes it.
        least: The smallest value that makes sense.
        most: The largest.
        meaning: What has to hold, for the template.
    """

    line: int
    default: float
    least: float
    most: float
    meaning: str


LIMITS: Mapping[str, Limit] = {
    "usefulness_loss": Limit(1, 0.05, 0, 1, "upper end of the loss of AUC or Dice below this; 0.02 for parity"),
    "added_value": Limit(3, 0.0, -1, 1, "lower end of what synthetic images add to real ones above this"),
    "worst_group_factor": Limit(4, 2.0, 1, 100, "no group or label loses more than this many times the overall loss"),
    "label_overfitting": Limit(5, 0.05, 0, 1, "upper end of delta-syn, and of what labels lack, below this"),
    "coverage_of_ceiling": Limit(7, 0.8, 0, 1, "lower end of recall and coverage at least this share of the ceiling"),
    "impossible_excess": Limit(8, 0.01, 0, 1, "impossible images at most this share above the real ones"),
    "copies_excess": Limit(9, 0.0, 0, 1, "lower end of the share of copies beyond held-out patients at most this"),
    "copies_bound": Limit(9, 0.01, 0, 1, "upper bound of the true share of copies at most this"),
    "copy_sensitivity": Limit(9, 0.95, 0, 1, "the detector finds at least this share of planted copies"),
    "copy_sensitivity_least": Limit(9, 0.8, 0, 1, "the same for the kind of copy that it finds worst"),
    "membership_tpr": Limit(10, 0.03, 0.01, 1, "upper end of members found at 1 % false alarms at most this"),
    "attack_excess": Limit(11, 0.05, 0, 1, "upper end of each attack's success beyond control at most this"),
    "reidentification_auc": Limit(12, 0.52, 0.5, 1, "upper end of the AUC of re-identification at most this"),
}
"""Key in the file -> the line; the defaults are those of the project's review of evaluation methods."""


@dataclass(frozen=True)
class CardFile:
    """A card file that was read.

    Attributes:
        text: The file, as it was.
        release: What leaves the house, one of RELEASES.
        adversary: Who might attack it.
        intended_use: What the images are for.
        evaluated_by: Who answers for the evaluation.
        primary: The loss that decides line 1: "dice_gap", "auc_gap", or "any" for the worse of what was measured.
        setting: "quick" (utility is exploratory) or "full".
        limits: Key -> value; None where the figure is shown but not judged.
    """

    text: str
    release: str
    adversary: str
    intended_use: str
    evaluated_by: str
    primary: str
    setting: str
    limits: Mapping[str, float | None]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the file, which `sha256sum` prints, too."""
        return digest(self.text)

    def to_json(self) -> dict[str, str]:
        """Return what an evaluation stores."""
        return {"sha256": self.sha256, "text": self.text}


def digest(text: str) -> str:
    """Return the SHA-256 of a card file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def template() -> str:
    """Return a card file with the default lines and empty declarations."""
    declared = "".join(f'# {asked}\n{key} = ""\n' for key, asked in DECLARATIONS.items())
    lines = "".join(
        f"{key} = {limit.default:<8g}# line {limit.line}: {limit.meaning}\n" for key, limit in LIMITS.items()
    )
    return (
        "# A card file of synthcohort: what is released, and the lines that it has to keep.\n"
        "# Fill it in before you evaluate: synthcohort evaluate REAL SYNTHETIC --card THIS --out EVAL\n\n"
        f"[declarations]\n{declared}\n[task]\n"
        "# The loss that decides line 1: dice_gap, auc_gap, or any for the worse of those measured.\n"
        'primary = "any"\n'
        "# full: the learners, and at least five learner seeds, are good enough to decide on.\n"
        "# quick: a first look; the lines on usefulness are exploratory and not judged.\n"
        'setting = "quick"\n\n[lines]\n'
        "# A number, or false: shown but not judged.\n"
        "# `report` ends with status 1 unless every line that is judged is met.\n"
        f"{lines}"
    )


def write_template(out: Path | str) -> Path:
    """Write a card file to fill in, and return its path.

    Raises:
        BadOutput: The file exists or cannot be written.
    """
    out = Path(out)
    if out.exists():
        raise BadOutput("A card file is not written over", str(out), "Choose another name")
    with writing(out):
        write_atomic(out, template())
    return out


def read_card(path: Path | str) -> CardFile:
    """Return the card file at a path.

    Raises:
        InputError: It cannot be read, or is not filled in.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        text = path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        step = "`synthcohort card FILE` writes one to fill in"
        raise InputError("A card file is a text that can be read", str(path), step) from error
    return parse_card(text, path.name)


def parse_card(text: str, name: str) -> CardFile:
    """Return the card file with a text.

    Args:
        text: TOML.
        name: What to call it in an error.

    Raises:
        BadOption: A key is unknown, missing or empty, or a value is none of those allowed.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadOption("A card file is TOML", f"{name}: {error}", "Compare it with `synthcohort card FILE`") from error
    _check_keys(content, ("declarations", "task", "lines"), name)
    declared = {key: _declared(_table(content, "declarations", DECLARATIONS, name), key, name) for key in DECLARATIONS}
    task = _table(content, "task", ("primary", "setting"), name)
    lines = _table(content, "lines", LIMITS, name)
    return CardFile(
        text=text,
        **{**declared, "release": _one_of(declared["release"], RELEASES, "release", name)},
        primary=_one_of(task.get("primary", "any"), PRIMARY, "primary", name),
        setting=_one_of(task.get("setting", "quick"), SETTINGS, "setting", name),
        limits={key: _limit(lines.get(key, limit.default), key, limit, name) for key, limit in LIMITS.items()},
    )


def _check_keys(given: Mapping[str, Any], known: Any, name: str) -> None:
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, list(known), n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Choose from {', '.join(known)}"
            raise BadOption("A card file has known keys", f"'{key[:60]}' in {name}", hint)


def _table(content: Mapping[str, Any], table: str, known: Any, name: str) -> Mapping[str, Any]:
    found = content.get(table, {})
    if not isinstance(found, Mapping):
        raise BadOption(f"[{table}] is a table", f"{name} has a value there", "Compare it with `synthcohort card FILE`")
    _check_keys(found, known, name)
    return found


def _declared(table: Mapping[str, Any], key: str, name: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise BadOption(f"{key} is a text", f"{name} has {value!r:.60}", "Put it between quotes")
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in value).split())
    if not text:
        raise BadOption(f"{key} is declared before the evaluation", f"{name} leaves it empty", DECLARATIONS[key][:-1])
    if len(text) > MOST_CHARACTERS:
        raise BadOption(f"{key} has at most {MOST_CHARACTERS} characters", f"{name} has {len(text)}", "Shorten it")
    return text


def _one_of(value: Any, allowed: tuple[str, ...], key: str, name: str) -> str:
    if value not in allowed:
        raise BadOption(
            f"{key} is one of a few words", f"{name} has {value!r:.60}", f"Choose from {', '.join(allowed)}"
        )
    return str(value)


def _limit(value: Any, key: str, limit: Limit, name: str) -> float | None:
    if value is False:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not limit.least <= value <= limit.most:
        raise BadOption(
            f"{key} is a number from {limit.least:g} to {limit.most:g}, or false",
            f"{name} has {value!r:.60}",
            f"The default is {limit.default:g}",
        )
    return float(value)
