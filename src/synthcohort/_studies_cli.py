"""The `study` commands: arguments in, one Python call, a path out."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from ._arguments import (
    Batch,
    Device,
    Findings,
    Folder,
    Generators,
    ImagesSeen,
    Labels,
    MinFindingImages,
    Out,
    Precision,
    Root,
    Seed,
    Settings,
    Size,
    Source,
    Weights,
    count,
    files,
    names,
)

study = typer.Typer(help="Run a grid of runs with a protocol.", rich_markup_mode=None)


@study.command("compare")
def study_compare(
    cohort: Folder,
    out: Out,
    generators: Generators,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Whole pipelines per generator.")] = 3,
    images_seen: ImagesSeen = "200k",
    batch: Batch = 64,
    precision: Precision = "auto",
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
    source: Source,
    root: Root,
    out: Out,
    generators: Generators,
    folds: Annotated[int, typer.Option("--folds", min=2, help="Of the patients; each is the test split once.")] = 5,
    size: Size = 128,
    findings: Findings = "",
    min_finding_images: MinFindingImages = 0,
    learners: Annotated[int, typer.Option("--learners", min=1, help="How often each task is fitted in a fold.")] = 3,
    images_seen: ImagesSeen = "200k",
    batch: Batch = 64,
    precision: Precision = "auto",
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
