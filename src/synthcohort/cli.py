"""The command line: one verb per module, no logic. Each verb's module is imported when it runs.

Exit status: 0 done, 1 a finding, 2 the input is wrong (one line, no traceback without --debug), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.exceptions import TyperException

from . import __version__, plugins
from ._arguments import (
    Batch,
    Device,
    Folder,
    ImagesSeen,
    Json,
    Labels,
    Out,
    Precision,
    Seed,
    Settings,
    Stop,
    Threads,
    Weights,
    count,
    counted,
    files,
    names,
    whole_numbers,
)
from ._cohorts_cli import VERBS, print_json
from ._reader_cli import reader
from ._search_cli import search
from ._studies_cli import study
from .errors import SynthcohortError, UnknownName

app = typer.Typer(
    name="synthcohort",
    help="Turn a private cohort of medical images into a synthetic one, and score it honestly. 2-D, not for diagnosis.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(study, name="study")
app.add_typer(reader, name="reader")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"synthcohort {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(
    kind: Annotated[str, typer.Option("--kind", help="heart (masks) or chest (findings).")] = "heart",
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; demo-KIND when left out.")] = None,
) -> None:
    """Go from a phantom to a report card, in minutes on two CPU cores."""
    from .demo import demo

    typer.echo(demo(out=out or Path(f"demo-{kind}"), kind=kind))


for _verb in VERBS:
    app.command()(_verb)
app.command()(search)


@app.command()
def train(
    cohort: Folder,
    generator: Annotated[str, typer.Option("--generator", help="See `synthcohort list generators`.")],
    out: Out,
    images_seen: ImagesSeen = "200k",
    batch: Batch = 64,
    seed: Seed = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    settings: Settings = None,
    stop: Stop = None,
    weights: Weights = None,
) -> None:
    """Train a generator; run it again to go on where it stopped.

    On several devices: torchrun --nproc-per-node N -m synthcohort train ...
    """
    seen, rule = count(images_seen, "--images-seen"), counted(stop or (), "--stop")
    found = files(weights or (), "--weights")
    from .train import train

    typer.echo(
        train(
            cohort,
            generator=generator,
            out=out,
            images_seen=seen,
            batch=batch,
            seed=seed,
            precision=precision,
            device=device,
            options=settings or (),
            stop=rule,
            weights=found,
        )
    )


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a finished training run.")],
    out: Out,
    n: Annotated[int | None, typer.Option("--n", min=1, help="How many samples; this or --like.")] = None,
    like: Annotated[Path | None, typer.Option("--like", help="As many as this cohort, split as it is.")] = None,
    labels: Labels = "merged",
    seed: Seed = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples in memory; changes no sample.")] = 256,
    device: Device = "auto",
    settings: Settings = None,
) -> None:
    """Write a synthetic cohort."""
    from .sample import sample

    rule, chosen = cast(Any, labels), settings or ()
    cohort = sample(run, out=out, n=n, like=like, labels=rule, seed=seed, batch=batch, device=device, options=chosen)
    typer.echo(cohort.path)


@app.command()
def evaluate(
    real: Annotated[Path, typer.Argument(help="The real cohort.")],
    synthetic: Annotated[Path, typer.Argument(help="The synthetic cohort.")],
    out: Out,
    metrics: Annotated[str, typer.Option(help="Names, with commas between; all that apply when left out.")] = "",
    extractors: Annotated[str, typer.Option(help="Names, with commas between; see `synthcohort list`.")] = "",
    tasks: Annotated[str, typer.Option(help="Names, with commas between.")] = "",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How often each task is fitted.")] = 3,
    weights: Weights = None,
    utility: Annotated[str, typer.Option(help="quick, or full: many more fits.")] = "quick",
    external: Annotated[Path | None, typer.Option(help="Another real cohort to test on; nothing is learnt.")] = None,
    weights_released: Annotated[Path | None, typer.Option(help="The run, where its weights are released too.")] = None,
    jobs: Annotated[Path | None, typer.Option("--jobs", help="Share fits between evaluations in this folder.")] = None,
    seed: Seed = 0,
    card: Annotated[Path | None, typer.Option("--card", help="Card file; see `synthcohort card`.")] = None,
    explain: Annotated[str, typer.Option(help="Figures to make too: nearest,occlusion,umap. No score changes.")] = "",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Score a synthetic cohort against the real one.

    Beside every number stand a ceiling (real against real) and a case known to be bad.
    """
    found = files(weights or (), "--weights")
    from .evaluate import evaluate

    scores = evaluate(
        real,
        synthetic,
        out=out,
        metrics=names(metrics),
        extractors=names(extractors),
        tasks=names(tasks),
        seeds=seeds,
        weights=found,
        weights_released=weights_released,
        utility=cast(Any, utility),
        external=external,
        jobs=jobs,
        seed=seed,
        card=card,
        options=settings or (),
        explain=names(explain) or (),
    )
    print_json([score.to_json() for score in scores]) if as_json else typer.echo(out)


@app.command()
def card(out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, e.g. card.toml.")]) -> None:
    """Write a card file to fill in before `evaluate --card`: declarations, and the lines that a release has to keep."""
    from .gates import write_template

    typer.echo(write_template(out))


@app.command()
def report(
    evals: Annotated[list[Path], typer.Argument(metavar="EVAL...", help="Folders that `evaluate` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="The page; report.json and figures/ go beside it.")],
    show_real: Annotated[bool, typer.Option("--show-real", help="Put real images into the page.")] = False,
    reader_study: Annotated[
        Path | None, typer.Option("--reader-study", help="analysis.json of `reader analyse`, for line 14.")
    ] = None,
) -> None:
    """Write the report card: a page, report.json, SVG figures, model and data cards.

    Exit status 1 unless every line that a card file sets is met; without one there is nothing to decide, and it is 0.
    """
    from .report import report, unmet

    page = report(evals, out=out, show_real=show_real, reader_study=reader_study)
    typer.echo(page)
    if lines := unmet(page):
        typer.echo(f"synthcohort: {lines}", err=True)
        raise typer.Exit(1)


@app.command()
def withhold(
    evaluation: Annotated[Path, typer.Argument(metavar="EVAL", help="Folder that `evaluate` wrote for the cohort.")],
    cohort: Folder,
    out: Out,
    spaces: Annotated[
        str, typer.Option(help="Spaces to withhold by, with commas between; pixels, aligned and masks when left out.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a synthetic cohort without its copies, list them, and judge what is left in the other spaces."""
    from .withhold import as_text, withhold

    made = withhold(evaluation, cohort, out=out, spaces=names(spaces))
    print_json(made.audits) if as_json else typer.echo(as_text(made))


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(plugins.KINDS)}.")] = "",
    name: Annotated[str, typer.Argument(help="Show this plugin's options.")] = "",
    as_json: Json = False,
) -> None:
    """List what other commands can name, or a plugin's options; `list generators` says how large and fast each is."""
    if kind and kind not in plugins.KINDS:
        raise UnknownName("A kind must be known", f"'{kind}'", f"Choose from {', '.join(plugins.KINDS)}")
    if name:
        content: Any = {option.name: option.default for option in plugins.options(plugins.find(kind, name)).values()}
        text = "\n".join(plugins.described(kind, name)) or f"{name} has no options"
    elif kind == "generators":
        from .catalogue import as_text, catalogue

        content = catalogue()
        text = as_text(content)
    else:
        content = {each: plugins.names(each) for each in ([kind] if kind else plugins.KINDS)}
        text = "\n".join(f"{each:<12}{' '.join(found)}" for each, found in content.items() if found)
    print_json(content) if as_json else typer.echo(text)


@app.command()
def doctor(
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Measure speeds for --plan: a minute or two.")] = False,
    generators: Annotated[str, typer.Option("--generators", help="Calibrate these only; with commas.")] = "",
    sides: Annotated[str, typer.Option("--sides", help="Image sizes to calibrate, e.g. 32,64.")] = "",
    threads: Threads = 1,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Say what is installed and found, and what to do next; or measure how fast this machine is."""
    if calibrate:
        _calibrate(names(generators), whole_numbers(sides, "--sides"), threads, weights or [], as_json=as_json)
        return
    from .doctor import as_text, doctor

    found = doctor()
    print_json(found) if as_json else typer.echo(as_text(found))


def _calibrate(
    generators: list[str] | None, sides: list[int] | None, threads: int, weights: list[str], *, as_json: bool
) -> None:
    found = files(weights, "--weights")
    from .calibrate import as_text, calibrate

    content = calibrate(generators=generators, sides=sides, threads=threads, weights=found)
    print_json(content) if as_json else typer.echo(as_text(content))


@app.command()
def leaderboard(
    rows: Annotated[list[Path], typer.Argument(metavar="FILE...", help="rows.jsonl of `study compare`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the table and the figure.")],
) -> None:
    """Merge the rows of several studies or sites into one leaderboard; refuses other pixels or another protocol."""
    from .studies.compare import leaderboard

    typer.echo(leaderboard(rows, out=out))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; whatever goes wrong is one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:
        return _run([text for text in given if text != "--debug"])
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries warn about themselves; ours reach the user through `say`
    try:
        return _run(given)
    except SynthcohortError as error:
        return _fail(str(error), error.exit_status)
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "synthcohort")
        message = error.format_message()
        return _fail(f"{message}{'' if message.endswith(('.', '?')) else '.'} Try `{command} --help`.", 2)
    except BrokenPipeError:
        return _close_pipe()
    except OSError as error:
        # A file in a download may be called by its patient; only what the user typed is repeated.
        where = f": {error.filename}" if str(error.filename) in given else ""
        return _fail(f"{error.strerror or type(error).__name__}{where}", 2)
    except Exception as error:
        return _fail(_unexpected(error), 1)


def _run(arguments: list[str]) -> int:
    status = typer.main.get_command(app).main(args=arguments, prog_name="synthcohort", standalone_mode=False)
    sys.stdout.flush()
    # Typer turns Ctrl-C into this exit status.
    return _fail("interrupted; run the same command again to go on", 130) if status == 130 else int(status or 0)


def _fail(message: str, status: int) -> int:
    # Names from a download may hold control characters, which a terminal would obey.
    line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
    print(f"synthcohort: {line}", file=sys.stderr)
    return status


def _close_pipe() -> int:
    # The reader of our output is gone, as in `| head`; without this, Python complains while exiting.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _unexpected(error: Exception) -> str:
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "not enough memory" in str(error):
        return "The memory is used up. Try a smaller --batch or --size."
    # The text of a foreign error may hold a source path or a patient's id, so only its kind and place are shown.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"this is a bug ({type(error).__name__} in {place}). Please report it, with what --debug shows."
