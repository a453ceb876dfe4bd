"""The `study` commands: arguments in, one Python call, a path out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ._arguments import Device, Folder, Labels, Out, Seed, Settings, Weights, count, files, names

study = typer.Typer(help="Run a grid of runs with a protocol.", rich_markup_mode=None)


@study.command("compare")
def study_compare(
    cohort: Folder,
    out: Out,
    generators: Annotated[str, typer.Option("--generators", help="Names, with commas between.")],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Whole pipelines per generator.")] = 3,
    images_seen: Annotated[str, typer.Option("--images-seen", help="Images to train on, e.g. 200k.")] = "200k",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 64,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    device: Device = "auto",
    labels: Labels = "merged",
    weights: Weights = None,
    settings: Settings = None,
) -> None:
    """Compare generators on one cohort over several seeds.

    Finished parts are not run again.
    """
    seen, found, rule = count(images_seen, "--images-seen"), files(weights or (), "--weights"), cast(Any, labels)
    from .studies.compare import study

    folder = study(
        cohort,
        generators=names(generators) or [],
        out=out,
        seeds=seeds,
        images_seen=seen,
        batch=batch,
        precision=precision,
        device=device,
        labels=rule,
        weights=found,
        options=settings or (),
    )
    typer.echo(folder)


@study.command("crossvalidate")
def study_crossvalidate(
    source: Annotated[str, typer.Argument(help="See `synthcohort list sources`.")],
    root: Annotated[Path, typer.Argument(help="Folder of the download, or of your images.")],
    out: Out,
    generators: Annotated[str, typer.Option("--generators", help="Names, with commas between.")],
    folds: Annotated[int, typer.Option("--folds", min=2, help="Of the patients; each is the test split once.")] = 5,
    size: Annotated[int, typer.Option("--size", min=1, help="Height and width in pixels.")] = 128,
    findings: Annotated[str, typer.Option("--findings", help="Labels to keep, with commas between.")] = "",
    min_finding_images: Annotated[int, typer.Option(help="A finding in fewer images is no label.")] = 0,
    learners: Annotated[int, typer.Option("--learners", min=1, help="How often each task is fitted in a fold.")] = 3,
    images_seen: Annotated[str, typer.Option("--images-seen", help="Images to train on, e.g. 200k.")] = "200k",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 64,
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    device: Device = "auto",
    labels: Labels = "merged",
    weights: Weights = None,
    seed: Seed = 0,
    settings: Settings = None,
) -> None:
    """Train and score generators on every fold of a small cohort, so that every patient is tested on once.

    Finished parts are not run again.
    """
    seen, found, rule = count(images_seen, "--images-seen"), files(weights or (), "--weights"), cast(Any, labels)
    from .studies.crossvalidate import study

    folder = study(
        source,
        root,
        generators=names(generators) or [],
        out=out,
        folds=folds,
        size=size,
        findings=names(findings) or (),
        min_finding_images=min_finding_images,
        learners=learners,
        images_seen=seen,
        batch=batch,
        precision=precision,
        device=device,
        labels=rule,
        weights=found,
        seed=seed,
        options=settings or (),
    )
    typer.echo(folder)
