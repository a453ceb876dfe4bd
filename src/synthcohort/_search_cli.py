"""The `search` command: arguments in, one Python call, a path out."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from ._arguments import Batch, Device, Folder, ImagesSeen, Out, Precision, Seed, Settings, Weights, count, files


def search(
    cohort: Folder,
    generator: Annotated[str, typer.Option("--generator", help="See `synthcohort list generators`.")],
    out: Out,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Settings to try, by all workers.")] = 30,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=VALUES", help="a|b|c, or low..high, or low..high,log; else Table 1."),
    ] = None,
    sampler: Annotated[str, typer.Option("--sampler", help="tpe or random.")] = "tpe",
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Give up trials worse than the middle.")] = True,
    storage: Annotated[str, typer.Option("--storage", help="Database URL, to share; else a file in --out.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes on this machine.")] = 1,
    images_seen: ImagesSeen = "100k",
    batch: Batch = 64,
    looks: Annotated[int, typer.Option("--looks", min=1, help="Distances measured in each trial.")] = 5,
    against: Annotated[str, typer.Option("--against", help="val, or train as in study 000.")] = "val",
    n: Annotated[str, typer.Option("--n", help="Images compared at most.")] = "2000",
    extractor: Annotated[str, typer.Option("--extractor", help="Feature space of the distance.")] = "texture",
    seed: Seed = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    settings: Settings = None,
    weights: Weights = None,
) -> None:
    """Try options of a generator and keep the run that comes nearest to validation patients; again goes on."""
    seen, compared, found = count(images_seen, "--images-seen"), count(n, "--n"), files(weights or (), "--weights")
    from .search import Terms
    from .search import search as run

    terms = Terms(
        sampler=cast(Any, sampler),
        prune=prune,
        images_seen=seen,
        batch=batch,
        looks=looks,
        against=cast(Any, against),
        n=compared,
        extractor=extractor,
        precision=precision,
        device=device,
        weights=found,
    )
    folder = run(
        cohort,
        generator=generator,
        out=out,
        trials=trials,
        vary=vary or (),
        options=settings or (),
        terms=terms,
        storage=storage,
        workers=workers,
        seed=seed,
    )
    typer.echo(folder)
