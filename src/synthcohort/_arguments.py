"""The command line's arguments, and their texts as values: counts, lists, folds, named files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .errors import BadOption

Folder = Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of a cohort.")]
Out = Annotated[Path, typer.Option("--out", help="What to write; must not exist, or be of the same command.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option; repeatable. A list: KEY=1,2.")
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="KEY=VALUE",
        help="Stop when samples come no nearer to validation images and keep the best: every=20k, patience=40k,"
        " start=100k (images seen), against=val or train, n=10k, extractor=texture; repeatable.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Weights = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=FILE", help="Weights of an extractor or task; repeatable."),
]
Source = Annotated[str, typer.Argument(help="See `synthcohort list sources`.")]
Root = Annotated[Path, typer.Argument(help="Folder of the download, or of your images.")]
Size = Annotated[int, typer.Option("--size", min=1, help="Height and width in pixels.")]
Findings = Annotated[str, typer.Option("--findings", help="Labels to keep, with commas between.")]
MinFindingImages = Annotated[int, typer.Option("--min-finding-images", help="A finding in fewer images is no label.")]
Generators = Annotated[str, typer.Option("--generators", help="Names, with commas between.")]
ImagesSeen = Annotated[str, typer.Option("--images-seen", help="Images to train on, e.g. 200k or 1M.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images per step.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Labels = Annotated[str, typer.Option("--labels", help="Rare combinations merged, or exact (flagged).")]

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Jobs at once; one on each GPU, or as the cores carry.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Of each job; results depend on them.")]
Address = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster: auto, local, HOST:PORT, ray://HOST:PORT.")
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Print jobs, hours, disk and memory, and run nothing.")]


def count(text: str, option: str) -> int:
    """Return "200k", "1.5M" or "1_000" as a whole number.

    Raises:
        BadOption: The text is no positive whole number.
    """
    factor = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}.get(text[-1:].lower(), 1)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
        if value < 1 or value != int(value):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise BadOption(f"{option} takes a number of images", f"'{text}'", "Write 200k, 1M or 250000") from error
    return int(value)


def counted(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return "key=value" texts as a mapping, with 20k and 1M as whole numbers.

    Raises:
        BadOption: A text is no such pair.
    """
    pairs = {key: value for key, _, value in (text.partition("=") for text in texts)}
    if bad := [text for text in texts if "=" not in text]:
        raise BadOption(f"{option} takes KEY=VALUE", f"'{bad[0]}'", f"Write {option} every=20k")
    return {key: str(count(value, option)) if value[:1].isdigit() else value for key, value in pairs.items()}


def names(text: str) -> list[str] | None:
    """Return the names in "a,b", or None for an empty text."""
    return [part.strip() for part in text.split(",") if part.strip()] or None


def whole_numbers(text: str, option: str) -> list[int] | None:
    """Return "32,64" as whole numbers, or None for an empty text.

    Raises:
        BadOption: A part is no whole number.
    """
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError as error:
        raise BadOption(f"{option} takes whole numbers with commas between", f"'{text}'", "Write 32,64") from error


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Return "0.6,0.4" as numbers.

    Raises:
        BadOption: A part is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadOption(
            f"{option} takes numbers with commas between", f"'{text}'", "Write 0.6,0.1,0.15,0.15"
        ) from error


def files(texts: Sequence[str], option: str) -> dict[str, Path]:
    """Return "name=file" texts as a mapping.

    Raises:
        BadOption: A text has no name or no file.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (key, _, value) in zip(texts, pairs, strict=True):
        if not key or not value:
            raise BadOption(f"{option} takes name=file", f"'{text}'", f"Write {option} squeezenet=squeezenet.npz")
    return {key: Path(value) for key, _, value in pairs}


def fold(text: str, option: str) -> tuple[int, int] | None:
    """Return "1/5" as two whole numbers, or None for an empty text.

    Raises:
        BadOption: The text is no such pair.
    """
    if not text:
        return None
    number, _, count = text.partition("/")
    try:
        return int(number), int(count)
    except ValueError as error:
        raise BadOption(f"{option} takes a fold and how many there are", f"'{text}'", "Write 1/5") from error
