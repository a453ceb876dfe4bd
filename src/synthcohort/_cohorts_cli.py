"""The commands that make, check and describe cohorts: arguments in, one Python call, a path or a text out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import plugins
from ._arguments import (
    Findings,
    Folder,
    Json,
    MinFindingImages,
    Out,
    Root,
    Seed,
    Settings,
    Size,
    Source,
    fold,
    names,
    numbers,
)
from .errors import BadOutput


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
    source: Source,
    root: Root,
    out: Out,
    size: Size = 128,
    seed: Seed = 0,
    like: Annotated[Path | None, typer.Option("--like", help="Conform to this cohort's pixels.")] = None,
    field_mm: Annotated[float | None, typer.Option("--field-mm", help="Keep a centred square of this width.")] = None,
    shares: Annotated[str, typer.Option("--shares", help="Train, val, test, reference.")] = "0.6,0.1,0.15,0.15",
    test_fold: Annotated[str, typer.Option("--fold", help="1/5: the first of five folds is the test split.")] = "",
    findings: Findings = "",
    min_finding_images: MinFindingImages = 0,
    min_combination_images: Annotated[int, typer.Option(help="Drop images of rarer label combinations.")] = 0,
    settings: Settings = None,
) -> None:
    """Make a cohort from a download or from your own images."""
    from .prepare import prepare

    cohort = prepare(
        source,
        root,
        out=out,
        size=size,
        seed=seed,
        like=like,
        field_mm=field_mm,
        shares=numbers(shares, "--shares"),
        fold=fold(test_fold, "--fold"),
        findings=names(findings) or (),
        min_finding_images=min_finding_images,
        min_combination_images=min_combination_images,
        options=settings or (),
    )
    typer.echo(cohort.path)


def verify(cohort: Folder, as_json: Json = False) -> None:
    """Say what is wrong with a cohort; exit status 1 if anything is."""
    from .cohort import verify

    problems = verify(cohort)
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        typer.echo("\n".join(problems) or f"{cohort.name}: nothing is wrong")
    raise typer.Exit(1 if problems else 0)


def describe(cohort: Folder, as_json: Json = False) -> None:
    """Say what a cohort holds and how it was made."""
    from .describe import as_text, describe

    facts = describe(cohort)
    print_json(facts) if as_json else typer.echo(as_text(facts))


VERBS = (phantom, prepare, verify, describe)
"""In the order of the help page."""
