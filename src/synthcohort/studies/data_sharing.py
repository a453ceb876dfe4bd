"""`data-sharing`: study 003 on any labelled cohort: fewer classes, fewer samples, other resolutions.

DuMont Schütte et al. 2021. A point of an axis is a cohort; for each generator and seed a whole pipeline runs on it:
training, samples that carry the real labels of train, val and test, a classifier on real and one on synthetic images,
both tested on real patients. The real classifier is fitted once for each point and seed, and shared by generators.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..cohort import Cohort
from ..devices import choose_device, choose_precision
from ..errors import BadOption, InputError, writing
from ..execute import Job, Outcome, execute
from ..nets.generator import RESERVED
from ..prepare import prepare
from ..progress import say
from ._plan import Plan
from ._points import AXES, Point, published, scaled
from ._sharing_jobs import PRESETS, Pipeline, Preset, Wanted, changed, cut_jobs, pipelines, prepare_jobs
from ._sharing_page import write
from ._sharing_rows import rows_of

NAMES = {"data-sharing": "study"}
REVISION = 2
PROTOCOLS = ("recommended", "paper", "code")
PUBLISHED = {"chexpert": "chest", "rsna_ich": "brain"}
"""Source -> what study 003 calls its cohort."""
SEED = 0


def study(
    cohort: Path | str | None = None,
    root: Path | str | None = None,
    *,
    out: Path | str,
    preset: str = "scaled",
    protocol: str = "recommended",
    axes: Sequence[str] = AXES,
    sides: Sequence[int] = (),
    findings: Sequence[str] = (),
    folds: int = 1,
    generators: Sequence[str] | None = None,
    seeds: int | None = None,
    images_seen: int | None = None,
    batch: int | None = None,
    learners: int | None = None,
    extractor: str = "texture",
    weights: Mapping[str, Path] | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
    how: Mapping[str, Any] | None = None,
    plan: bool = False,
    show_real: bool = False,
) -> Path | Plan:
    """Run the study and return its page, or with `plan` what it would run; the same call again goes on.

    Args:
        cohort: A labelled cohort, or with `root`, its download, the name of a source; neither under preset "smoke".
        root: See `cohort`.
        out: The study folder.
        preset: "smoke" (of a phantom), "scaled" or "published" (Table S1 and above 128 px); what is None is its.
        protocol: "recommended", "paper" or "code".
        axes: Of "classes", "samples" and "resolution".
        sides: In pixels, of a scaled resolution axis.
        findings: Labels that count in a scaled study.
        folds: Of a source's patients: the seeds of a setting take them in turn, so that each tests on other patients.
        generators: Names.
        seeds: Whole pipelines of each.
        images_seen: Training images to see; published points have their own, and their own batch.
        batch: Images per step.
        learners: Fits of each classifier in a pipeline.
        extractor: Feature space of the distance of runs.
        weights: Extractor or task -> file.
        options: Of generators and classifier; one goes to all that have it.
        how: Where jobs run: workers, address and device of `execute`.
        plan: Run nothing.
        show_real: Whether the page may show real images.

    Raises:
        InputError: An input is wrong; nothing has been trained then.
    """
    chosen = _preset(preset, generators, seeds, images_seen, batch, learners)
    out, wanted = Path(out), _wanted(chosen, protocol, options, extractor, dict(weights or {}))
    _check(axes, (how or {}).get("device", "auto"))
    _check_folds(folds, chosen.seeds, whole=root is None or preset == "published")
    points, cohorts = _opened(out, (cohort, root), preset, wanted, (axes, sides, findings, folds), plan=plan)
    found = pipelines(points, cohorts, wanted)
    if plan:
        return Plan([point.to_json() for point in points], [pipeline.score for pipeline in found])
    outcomes = _executed(out, cohorts, found, how or {})
    return _written(out, points, found, outcomes, wanted, preset=preset, show_real=show_real)


def _executed(
    out: Path, cohorts: Mapping[str, Sequence[Job]], found: Sequence[Pipeline], how: Mapping[str, Any]
) -> Mapping[str, Outcome]:
    execute([job for jobs in cohorts.values() for job in jobs], out, **how)  # what they cannot hold is said first
    return execute([pipeline.score for pipeline in found], out, **how)


def _written(
    out: Path,
    points: Sequence[Point],
    found: Sequence[Pipeline],
    outcomes: Mapping[str, Outcome],
    wanted: Wanted,
    *,
    preset: str,
    show_real: bool,
) -> Path:
    rows, failures = rows_of(found, outcomes)
    with writing(out):
        runs.write_atomic(out / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        runs.write_atomic(out / "failures.jsonl", "".join(json.dumps(row) + "\n" for row in failures))
    return write(out, points, found, outcomes, rows, failures, wanted, preset=preset, show_real=show_real)


def _preset(
    name: str,
    generators: Sequence[str] | None,
    seeds: int | None,
    images_seen: int | None,
    batch: int | None,
    learners: int | None,
) -> Preset:
    if name not in PRESETS:
        raise BadOption("A preset is one that there is", f"'{name}'", f"Choose from {', '.join(PRESETS)}")
    if any(value is not None and value < 1 for value in (seeds, images_seen, batch, learners)):
        offender = f"seeds {seeds}, images seen {images_seen}, batch {batch}, learners {learners}"
        raise BadOption("Numbers of a study are at least 1", offender, "Give positive numbers")
    names = tuple(dict.fromkeys(generators)) if generators else None
    return changed(
        PRESETS[name], generators=names, seeds=seeds, images_seen=images_seen, batch=batch, learners=learners
    )


def _wanted(
    preset: Preset,
    protocol: str,
    options: Mapping[str, Any] | Iterable[str],
    extractor: str,
    weights: Mapping[str, Path],
) -> Wanted:
    """Return what all pipelines share; every name and option is looked up here, before anything runs."""
    if protocol not in PROTOCOLS:
        raise BadOption("A protocol is recommended, paper or code", f"'{protocol}'", "Choose one of them")
    task = plugins.find("tasks", "classification")
    makers = {name: plugins.find("generators", name) for name in preset.generators}
    for name, plugin in makers.items():
        if "labels" not in plugin.accepts:
            rule = "A generator of this study shows the labels that it is asked for"
            raise InputError(rule, f"{name} is told none", "Choose from cpdgan, proggan, stylegan2, r3gan, flow, edm")
    plugins.find("extractors", extractor)(weights=weights.get(extractor))
    both = {**makers, "classification": task}
    given = plugins.pairs(options)
    plugins.resolve_each(both, given, reserved=(*RESERVED, "weights"))  # says what is unknown
    usual = {} if protocol == "recommended" else {"protocol": protocol}
    own = {
        name: {key: value for key, value in {**usual, **given}.items() if _takes(plugin, key, value)}
        for name, plugin in both.items()
    }
    learning = own.pop("classification")
    learning = learning if learning.get("protocol", "recommended") != "recommended" else {**preset.options, **learning}
    labels = "exact"  # S.1: the exact labels from the real settings; samples stay in the study folder
    precision = choose_precision("auto", choose_device("auto"))
    return Wanted(preset, protocol, own, learning, extractor, weights, labels, precision, SEED)


def _takes(plugin: Any, key: str, value: Any) -> bool:
    """Return whether a plugin has an option, and of protocols this one."""
    known = plugins.options(plugin, reserved=(*RESERVED, "weights"))
    return key in known and (key != "protocol" or value in getattr(known[key].kind, "__args__", ()))


def _check(axes: Sequence[str], device: str) -> None:
    choose_device(device)
    for axis in axes or ("",):
        if axis not in AXES:
            raise BadOption("An axis is classes, samples or resolution", f"'{axis}'", "Name some of them")


def _check_folds(folds: int, seeds: int, *, whole: bool) -> None:
    if folds > 1 and whole:
        rule = "Folds are cut from the download of a source in a scaled study"
        raise BadOption(
            rule, f"{folds} folds of a cohort that is split", "Name SOURCE and its folder, or leave --folds out"
        )
    if not 1 <= folds <= seeds:
        raise BadOption(
            "Every fold has a seed", f"{folds} folds, {seeds} seeds", f"Use --seeds {max(folds, 1)} or more"
        )


def _opened(
    out: Path,
    given: tuple[Path | str | None, Path | str | None],
    preset: str,
    wanted: Wanted,
    chosen: tuple[Sequence[str], Sequence[int], Sequence[str], int],
    *,
    plan: bool,
) -> tuple[list[Point], dict[str, list[Job]]]:
    """Open the study folder and return the points and the jobs that make their cohorts; a plan opens none.

    What is wrong with a cohort is said before the folder is there; one that the study makes itself lies in it.
    """
    cohort, root = given
    config = _config(cohort, root, preset, wanted, *chosen)
    makes = cohort is None or (root is not None and preset != "published")
    if makes:
        runs.open_run(out, config)
    found = _cohorts(cohort, root, preset, wanted, *chosen, out)
    if not (makes or plan):
        runs.open_run(out, config)
    return found


def _config(
    cohort: Path | str | None,
    root: Path | str | None,
    preset: str,
    wanted: Wanted,
    axes: Sequence[str],
    sides: Sequence[int],
    findings: Sequence[str],
    folds: int,
) -> dict[str, Any]:
    if cohort is not None and root is None:
        source: Any = Cohort(cohort).identity
    else:
        source = str(cohort or "phantom")
    return {
        "kind": "study data-sharing",
        "revision": REVISION,
        "cohort": source,
        "preset": preset,
        "protocol": wanted.protocol,
        "axes": list(axes),
        "sides": list(sides),
        "findings": list(findings),
        "folds": folds,
        "generators": {name: dict(wanted.options[name]) for name in wanted.preset.generators},
        "task": dict(wanted.task),
        "amounts": [wanted.preset.seeds, wanted.preset.images_seen, wanted.preset.batch, wanted.preset.learners],
        "extractor": wanted.extractor,
        "weights": sorted(wanted.weights),
    }


def _cohorts(
    cohort: Path | str | None,
    root: Path | str | None,
    preset: str,
    wanted: Wanted,
    axes: Sequence[str],
    sides: Sequence[int],
    findings: Sequence[str],
    folds: int,
    out: Path,
) -> tuple[list[Point], dict[str, list[Job]]]:
    """Return the points and the jobs that make their cohorts, one or one a fold.

    Raises:
        InputError: There is no cohort, or it does not hold what an axis takes.
    """
    if preset == "published":
        return _published(cohort, root, wanted, axes, out)
    if cohort is None:
        paths = [_phantom(wanted.preset, out)]
    elif root is None:
        paths = [Path(cohort)]
    else:
        known: dict[str, Any] = {"size": max(sides) if sides else 32, "seed": SEED, "findings": findings}
        paths = [
            prepare(str(cohort), Path(root), out=out / name, fold=fold, **known).path
            for name, fold in ([("cohort", None)] if folds == 1 else _folds(folds))
        ]
    points = scaled(
        [Cohort(path) for path in paths], axes=axes, most=wanted.preset.most, sides=sides, findings=findings
    )
    return points, cut_jobs(paths, points, findings, seed=wanted.seed)


def _folds(count: int) -> list[tuple[str, tuple[int, int] | None]]:
    return [(f"cohorts/fold-{fold}", (fold, count)) for fold in range(1, count + 1)]


def _published(
    cohort: Path | str | None, root: Path | str | None, wanted: Wanted, axes: Sequence[str], out: Path
) -> tuple[list[Point], dict[str, list[Job]]]:
    source = str(cohort)
    if root is None or source not in PUBLISHED:
        rule = "The published settings are cut from the downloads of chexpert or rsna_ich"
        raise InputError(rule, f"'{cohort}'", "Name the source and the folder of its download, or use --preset scaled")
    points = published(PUBLISHED[source], wanted.protocol, axes=axes)
    jobs = prepare_jobs(source, Path(root), points, out, protocol=wanted.protocol, seed=wanted.seed)
    return points, jobs


def _phantom(preset: Preset, out: Path) -> Path:
    """Return the cohort of a phantom of chest radiographs, made in the study folder.

    Raises:
        InputError: The preset has none.
    """
    if not preset.phantom:
        raise InputError("A study needs a cohort", "none is named", "Name one, or use --preset smoke")
    made = {key: preset.phantom[key] for key in ("patients", "side")}
    download = out / "download"
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    if not download.exists():
        say(f"A phantom of chest radiographs: {made['patients']} procedural patients")
        with runs.publishing(download, runs.fingerprint({"phantom": "chexpert", **made})) as folder:
            plugins.find("phantoms", "chexpert")(**made).write(folder, seed=SEED)
    kept: dict[str, Any] = {key: preset.phantom[key] for key in ("size", "findings")}
    return prepare("chexpert", download, out=out / "cohort", seed=SEED, **kept).path
