"""The `study` commands: arguments in, one Python call, a path out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ._arguments import (
    Address,
    Batch,
    Device,
    Findings,
    Generators,
    ImagesSeen,
    Json,
    Labels,
    MinFindingImages,
    Out,
    PlanOnly,
    Precision,
    Root,
    Seed,
    Settings,
    Size,
    Source,
    Threads,
    Weights,
    Workers,
    count,
    files,
    names,
    numbers,
)
from ._cohorts_cli import print_json

study = typer.Typer(help="Run a grid of runs with a protocol.", rich_markup_mode=None)


@study.command("compare")
def study_compare(
    cohorts: Annotated[list[Path], typer.Argument(metavar="COHORT...", help="Real cohorts.")],
    out: Out,
    generators: Annotated[str, typer.Option("--generators", help="Names, with commas between.")] = "",
    cohorts_from: Annotated[
        list[str] | None,
        typer.Option("--cohorts-from", metavar="NAME=FOLDER", help="A cohort or images from elsewhere; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Whole pipelines per generator.")] = 3,
    images_seen: ImagesSeen = "200k",
    batch: Batch = 64,
    precision: Precision = "auto",
    device: Device = "auto",
    labels: Labels = "merged",
    learners: Annotated[int, typer.Option("--learners", min=1, help="How often each task is fitted in one.")] = 1,
    primary: Annotated[str, typer.Option("--primary", help="Primary endpoint: dice_volume, auc or frechet.")] = "",
    margin: Annotated[float, typer.Option("--margin", min=0.0, help="Loss of it that is accepted.")] = 0.02,
    weights: Weights = None,
    settings: Settings = None,
    task: Annotated[list[str] | None, typer.Option("--task", metavar="KEY=VALUE", help="Option of the tasks.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    address: Address = None,
    plan: PlanOnly = False,
    as_json: Json = False,
) -> None:
    """Compare generators, and cohorts from elsewhere, on cohorts over several seeds.

    Finished jobs are not run again; a second call on the same folder, here or on another machine, shares the work.
    """
    shared: dict[str, Any] = {
        "seeds": seeds,
        "images_seen": count(images_seen, "--images-seen"),
        "batch": batch,
        "precision": precision,
        "labels": cast(Any, labels),
        "learners": learners,
        "primary": primary,
        "margin": margin,
        "weights": files(weights or (), "--weights"),
        "threads": threads,
    }
    found, chosen = files(cohorts_from or (), "--cohorts-from"), names(generators) or []
    from .studies import compare

    if plan:
        print_plan(compare.jobs(cohorts, chosen, found, settings or (), task or (), **shared), workers, as_json=as_json)
        return
    where: dict[str, Any] = {"out": out, "device": device, "workers": workers, "address": address}
    given: dict[str, Any] = {"options": settings or (), "task_options": task or ()}
    typer.echo(compare.study(cohorts, generators=chosen, cohorts_from=found, **where, **given, **shared))


@study.command("status")
def study_status(out: Annotated[Path, typer.Argument(metavar="DIR", help="A study.")], as_json: Json = False) -> None:
    """Say how a study stands: jobs done, running, waiting and failed, who holds what, time left."""
    from .execute.status import as_text, status

    found = status(out)
    print_json(found) if as_json else typer.echo(as_text(found))


def print_plan(jobs: Any, workers: int | None, *, as_json: bool) -> None:
    """Print what jobs cost before anything runs; every `study` command with --plan ends here."""
    from .execute.plan import as_text, plan

    found = plan(jobs, workers=workers)
    print_json(found) if as_json else typer.echo(as_text(found))


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


Preset = Annotated[str, typer.Option("--preset", help="smoke, or as much as the study itself: see the how-to page.")]
Protocol = Annotated[str, typer.Option("--protocol", help="recommended, paper or code.")]
ShowReal = Annotated[bool, typer.Option("--show-real", help="Show real images in the page, which must then not leave.")]


def _tell(done: Any, workers: int | None, *, as_json: bool) -> None:
    """Print a page's path; or a plan, with what its cohorts hold before the jobs."""
    if isinstance(done, Path):
        typer.echo(done)
        return
    if as_json:
        from .execute.plan import plan

        print_json({"points": list(done.points), **plan(done.jobs, workers=workers)})
        return
    typer.echo(done.as_text())
    print_plan(done.jobs, workers, as_json=False)


@study.command("data-sharing")
def study_data_sharing(
    out: Out,
    cohort: Annotated[str, typer.Argument(metavar="[COHORT|SOURCE]", help="A labelled cohort, or a source.")] = "",
    root: Annotated[Path | None, typer.Argument(help="With a source: the folder of its download.")] = None,
    preset: Preset = "scaled",
    protocol: Protocol = "recommended",
    axis: Annotated[str, typer.Option("--axis", help="classes, samples, resolution.")] = "classes,samples,resolution",
    sides: Annotated[str, typer.Option("--sides", help="Of the resolution axis, e.g. 16,32.")] = "",
    findings: Findings = "",
    folds: Annotated[
        int, typer.Option("--folds", min=1, help="Of a source's patients; each seed tests on the next.")
    ] = 1,
    generators: Annotated[str, typer.Option("--generators", help="Names; the preset's when left out.")] = "",
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Whole pipelines of each setting.")] = None,
    images_seen: Annotated[str, typer.Option("--images-seen", help="Images to train on, e.g. 200k.")] = "",
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images per step.")] = None,
    learners: Annotated[int | None, typer.Option("--learners", min=1, help="Classifiers in each pipeline.")] = None,
    extractor: Annotated[str, typer.Option("--extractor", help="Of the distance of runs.")] = "texture",
    weights: Weights = None,
    settings: Settings = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    plan: PlanOnly = False,
    show_real: ShowReal = False,
    as_json: Json = False,
) -> None:
    """Run study 003: what is lost by sharing samples, by label combinations, images of each, and resolution.

    Finished parts are not run again.
    """
    found, axes = files(weights or (), "--weights"), names(axis) or []
    seen = count(images_seen, "--images-seen") if images_seen else None
    pixels = tuple(int(each) for each in numbers(sides, "--sides")) if sides else ()
    from .studies.data_sharing import study

    done = study(
        cohort or None,
        root,
        out=out,
        preset=preset,
        protocol=protocol,
        axes=axes,
        sides=pixels,
        findings=names(findings) or (),
        folds=folds,
        generators=names(generators) if generators else None,
        seeds=seeds,
        images_seen=seen,
        batch=batch,
        learners=learners,
        extractor=extractor,
        weights=found,
        options=settings or (),
        how={"workers": workers, "address": address, "device": device},
        plan=plan,
        show_real=show_real,
    )
    _tell(done, workers, as_json=as_json)


@study.command("gan-study")
def study_gan_study(
    out: Out,
    cohorts: Annotated[
        list[Path] | None, typer.Argument(metavar="[COHORT...]", help="Real cohorts with masks.")
    ] = None,
    preset: Preset = "scaled",
    protocol: Protocol = "recommended",
    generators: Annotated[str, typer.Option("--generators", help="Names; the preset's when left out.")] = "",
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Runs of each search.")] = None,
    images_seen: Annotated[str, typer.Option("--images-seen", help="Images to train on, e.g. 200k.")] = "",
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images per step.")] = None,
    samples: Annotated[int | None, typer.Option("--n", min=1, help="Samples of each best run.")] = None,
    learners: Annotated[int | None, typer.Option("--learners", min=1, help="U-Nets of each arm.")] = None,
    extractor: Annotated[str, typer.Option("--extractor", help="Of the distance of runs.")] = "texture",
    weights: Weights = None,
    settings: Settings = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    plan: PlanOnly = False,
    show_real: ShowReal = False,
    as_json: Json = False,
) -> None:
    """Run study 000: what each generator is worth to a U-Net, after a search over its hyper-parameters.

    Finished parts are not run again.
    """
    found = files(weights or (), "--weights")
    seen = count(images_seen, "--images-seen") if images_seen else None
    from .studies.gan_study import study

    done = study(
        cohorts or (),
        out=out,
        preset=preset,
        protocol=protocol,
        generators=names(generators) if generators else None,
        trials=trials,
        images_seen=seen,
        batch=batch,
        n=samples,
        learners=learners,
        extractor=extractor,
        weights=found,
        options=settings or (),
        how={"workers": workers, "address": address, "device": device},
        plan=plan,
        show_real=show_real,
    )
    _tell(done, workers, as_json=as_json)
