"""The commands that make, check and describe cohorts: arguments in, one Python call, a path or a text out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from . import plugins
from ._arguments import (
    Findings,
    Folder,
    Json,
    Out,
    Root,
    Seed,
    Settings,
    Source,
    names,
    numbers,
)
from ._arguments import fold as as_fold
from ._choice_arguments import (
    Balance,
    Bits,
    ChosenMinFindingImages,
    ChosenSize,
    Colour,
    CountCombinations,
    Damaged,
    EmptySlices,
    FieldMm,
    Fold,
    Geometry,
    Intensity,
    MinCombinationImages,
    Oversample,
    Protocol,
    Resize,
    Setting,
    Shares,
    SpacingMm,
    Split,
    Workers,
)
from .errors import BadOption, BadOutput


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def phantom(
    kind: Annotated[str, typer.Argument(help="See `synthcohort list phantoms`.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    patients: Annotated[int | None, typer.Option("--patients", min=1, help="How many patients.")] = None,
    seed: Seed = 0,
    settings: Settings = None,
) -> None:
    """Write a procedural stand-in in the layout of a public download."""
    from .runs import fingerprint, publishing

    plugin = plugins.find("phantoms", kind)
    given = [*(settings or []), *([] if patients is None else [f"patients={patients}"])]
    options = plugins.resolve(plugin, given)
    if out.exists():
        raise BadOutput("A phantom is written once", f"{out} exists", "Choose another folder or remove it")
    with publishing(out, fingerprint({"phantom": kind, "options": options, "seed": seed})) as folder:
        plugin(**options).write(folder, seed=seed)
    typer.echo(out)


def prepare(
    context: typer.Context,
    source: Source,
    root: Root,
    out: Out,
    protocol: Protocol = "recommended",
    setting: Setting = None,
    size: ChosenSize = None,
    seed: Seed = 0,
    like: Annotated[Path | None, typer.Option("--like", help="Conform to this cohort's pixels.")] = None,
    intensity: Intensity = None,
    geometry: Geometry = None,
    field_mm: FieldMm = None,
    spacing_mm: SpacingMm = None,
    resize: Resize = None,
    bits: Bits = None,
    colour: Colour = None,
    empty_slices: EmptySlices = None,
    shares: Shares = None,
    split: Split = None,
    fold: Fold = None,
    findings: Findings = "",
    min_finding_images: ChosenMinFindingImages = None,
    min_combination_images: MinCombinationImages = None,
    count_combinations: CountCombinations = None,
    balance: Balance = None,
    oversample: Oversample = None,
    damaged: Damaged = "stop",
    workers: Workers = None,
    settings: Settings = None,
) -> None:
    """Make a cohort from a download or from your own images; run it again to go on where it stopped."""
    from ._choices import Choices
    from .prepare import prepare

    given = {name: context.params[name] for name in plugins.options(Choices)}
    given["shares"] = None if shares is None else numbers(shares, "--shares")
    given["fold"] = None if fold is None else as_fold(fold, "--fold")
    given["findings"] = names(findings)
    cohort = prepare(
        source,
        root,
        out=out,
        protocol=protocol,
        seed=seed,
        like=like,
        damaged=cast(Any, damaged),
        workers=workers,
        options=settings or (),
        **given,
    )
    typer.echo(cohort.path)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of a cohort; with --privacy, any export.")],
    privacy: Annotated[bool, typer.Option("--privacy", help="Look for what may lead back to a person.")] = False,
    known: Annotated[
        Path | None, typer.Option("--known", help="With --privacy: identifiers to look for, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a cohort, or with an export; exit status 1 if anything is."""
    from .cohort import verify
    from .privacy import scan

    if known and not privacy:
        raise BadOption("--known belongs to --privacy", "it is alone", "Add --privacy")
    problems = [] if privacy and not (folder / "cohort.json").exists() else verify(folder)
    problems += scan(folder, known=known) if privacy else []
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        clean = "nothing was found of what is looked for" if privacy else "nothing is wrong"
        typer.echo("\n".join(problems) or f"{folder.name}: {clean}")
    raise typer.Exit(1 if problems else 0)


def describe(
    cohort: Folder,
    release: Annotated[bool, typer.Option("--release", help="As it may leave: small counts hidden.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a cohort holds and how it was made."""
    from .describe import as_text, describe

    facts = describe(cohort, release=release)
    print_json(facts) if as_json else typer.echo(as_text(facts))


def export(
    cohort: Folder,
    format: Annotated[str, typer.Option("--format", help="See `synthcohort list formats`.")],
    out: Out,
    real: Annotated[bool, typer.Option("--real", help="Export a cohort of real patients all the same.")] = False,
    settings: Settings = None,
) -> None:
    """Write a cohort in the form its recipients use, marked as synthetic."""
    from .export import export

    typer.echo(export(cohort, out=out, format=format, real=real, options=settings or ()))


def lineage(
    patient: Annotated[str, typer.Argument(help="The patient's id as the source has it; - reads it from the input.")],
    within: Annotated[list[Path], typer.Option("--in", help="A folder with cohorts and runs; repeatable.")],
    as_json: Json = False,
) -> None:
    """List what a patient's data touched: cohorts, runs, synthetic cohorts, evaluations, reports, exports."""
    from .lineage import as_text, lineage

    steps = lineage(typer.get_text_stream("stdin").readline().strip() if patient == "-" else patient, within)
    print_json([dataclasses.asdict(step) for step in steps]) if as_json else typer.echo(as_text(steps))


VERBS = (phantom, prepare, verify, describe, export, lineage)
"""In the order of the help page."""
