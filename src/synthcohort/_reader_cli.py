"""The `reader` commands: arguments in, one Python call, a path or a text out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ._arguments import Json, Seed, names, numbers
from ._cohorts_cli import print_json
from ._reader_serve_cli import reader_serve
from .errors import BadOption

reader = typer.Typer(help="Have experts tell real from synthetic images.", rich_markup_mode=None)

NewFolder = Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of the equivalence test.")]


@reader.command("design")
def reader_design(
    real: Annotated[Path, typer.Argument(help="The real cohort; test and reference patients are shown.")],
    synthetic: Annotated[Path, typer.Argument(help="The cohort to tell from it.")],
    out: NewFolder,
    images: Annotated[int, typer.Option("--images", help="Different images each reader judges.")] = 100,
    synthetic_share: Annotated[float, typer.Option("--synthetic-share", help="Of them; readers are not told.")] = 0.5,
    readers: Annotated[int, typer.Option("--readers", help="How many are invited.")] = 5,
    repeats: Annotated[int, typer.Option("--repeats", help="Images that come a second time, unannounced.")] = 10,
    training: Annotated[int, typer.Option("--training", help="Images shown with their answer first.")] = 0,
    blocks: Annotated[int, typer.Option("--blocks", help="Parts with a pause between them.")] = 2,
    findings: Annotated[str, typer.Option("--findings", help="That readers may tick, with commas between.")] = "",
    marks: Annotated[bool, typer.Option("--marks/--no-marks", help="Whether artefacts may be marked.")] = True,
    time_limit: Annotated[float | None, typer.Option("--time-limit", help="Seconds for each image.")] = None,
    go_back: Annotated[bool, typer.Option("--go-back", help="Answers may be changed.")] = False,
    margin: Annotated[float, typer.Option("--margin", help="Accuracy within 0.5 +- this counts as chance.")] = 0.1,
    alpha: Alpha = 0.05,
    seed: Seed = 0,
    name: Annotated[str, typer.Option("--name", help="Shown to readers.")] = "",
    sanity_check: Annotated[
        bool, typer.Option("--sanity-check", help="SYNTHETIC is a control or real: a check of the study itself.")
    ] = False,
) -> None:
    """Write a reader study: images, orders, invitations, a proof that files betray nothing, the pre-registration.

    Codes and ids are secret and random: the same command makes another study of the same images.
    """
    from .reader.design import Choices, design

    choices = Choices(
        images=images,
        synthetic_share=synthetic_share,
        readers=readers,
        repeats=repeats,
        training=training,
        blocks=blocks,
        findings=names(findings) or (),
        marks=marks,
        time_limit_s=time_limit,
        go_back=go_back,
        margin=margin,
        alpha=alpha,
        seed=seed,
        name=name,
        sanity_check=sanity_check,
    )
    typer.echo(design(real, synthetic, out=out, choices=choices))


@reader.command("power")
def reader_power(
    margin: Annotated[str, typer.Option("--margin", help="Margins, with commas between.")] = "0.05,0.1,0.15",
    readers: Annotated[str, typer.Option("--readers", help="Numbers of readers.")] = "3,5,10,20",
    images: Annotated[str, typer.Option("--images", help="Numbers of images, half of them synthetic.")] = "100,200,400",
    alpha: Alpha = 0.05,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show how likely a study shows equivalence when nobody can tell, by margin, readers and images."""
    margins, many, counts = numbers(margin, "--margin"), _whole(readers, "--readers"), _whole(images, "--images")
    from .reader.design import as_text, power

    cells = power(margins, many, counts, alpha=alpha, seed=seed)
    print_json([dataclasses.asdict(cell) for cell in cells]) if as_json else typer.echo(as_text(cells, alpha))


def _whole(text: str, option: str) -> tuple[int, ...]:
    found = numbers(text, option)
    if any(value != int(value) for value in found if abs(value) < float("inf")) or float("inf") in map(abs, found):
        raise BadOption(f"{option} takes whole numbers with commas between", f"'{text}'", "Write 5,10,20")
    return tuple(int(value) for value in found)


reader.command("serve")(reader_serve)


@reader.command("analyse")
def reader_analyse(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder that `reader design` wrote.")],
    out: NewFolder,
    database: Annotated[str | None, typer.Option("--database", help="URL of PostgreSQL; else that in STUDY.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="recommended, or paper: the two studies' tests too.")] = (
        "recommended"
    ),
    simulate: Annotated[
        float | None, typer.Option("--simulate", metavar="D_PRIME", help="Invent readers of this d'; for rehearsal.")
    ] = None,
    readers: Annotated[int | None, typer.Option("--readers", help="How many to invent.")] = None,
) -> None:
    """Analyse the answers: equivalence, accuracy, ROC, agreement; a page, JSON and CSV."""
    from .reader.analyse import Observers, analyse

    invented = None if simulate is None else Observers(simulate)
    rule = cast(Any, protocol)
    typer.echo(analyse(study, out=out, database=database, protocol=rule, simulated=invented, readers=readers))


@reader.command("demo")
def reader_demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("demo-reader"),
    port: Annotated[int, typer.Option("--port", help="To listen at; 0 for a free one.")] = 8400,
) -> None:
    """Make a phantom study of 100 images for three readers and serve it on this machine until Ctrl-C."""
    from .demo import reader_study

    reader_serve(reader_study(out=out), port=port)
