"""`gan-study`: study 000 on any cohort with masks: which generator is worth how much to a U-Net.

Skandarani, Jodoin, Lalande 2021 (arXiv 2105.05318). For each cohort and generator a search over Table 1 by Fréchet
distance, the best run kept, its samples, and U-Nets that learn from original images, augmented ones, samples, and
original images with samples, all tested on the same real patients.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..cohort import Cohort
from ..devices import choose_device, choose_precision
from ..errors import BadOption, InputError, MissingDependency
from ..execute import execute
from ..nets.generator import RESERVED
from ..prepare import prepare
from ..progress import say
from ._distance import LEAST_IMAGES
from ._gan_jobs import PRESETS, Builder, Preset, Wanted, changed
from ._gan_page import write
from ._plan import Plan

NAMES = {"gan-study": "study"}
REVISION = 2
PROTOCOLS = ("recommended", "paper")
SEED = 0


def study(
    cohorts: Sequence[Path | str] = (),
    *,
    out: Path | str,
    preset: str = "scaled",
    protocol: str = "recommended",
    generators: Sequence[str] | None = None,
    trials: int | None = None,
    images_seen: int | None = None,
    batch: int | None = None,
    n: int | None = None,
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
        cohorts: With masks; none under preset "smoke", which makes a phantom.
        out: The study folder.
        preset: "smoke", "scaled" or "published"; what is None is its.
        protocol: "recommended": the search looks at validation patients; "paper": at training images.
        generators: Names.
        trials: Runs of each search; SPADE and StyleGAN were not searched and have one.
        images_seen: Training images to see in a run.
        batch: Of a step.
        n: Samples of each best run.
        learners: U-Nets of each arm.
        extractor: Feature space of the distance.
        weights: Extractor -> file.
        options: Of generators and U-Net; one goes to all that have it, and is not searched over.
        how: Where jobs run: workers, address and device of `execute`.
        plan: Run nothing.
        show_real: Whether the page may show them.

    Raises:
        InputError, MissingDependency: An input is wrong, or umap-learn is absent; nothing was trained.
    """
    amounts = {"trials": trials, "images_seen": images_seen, "batch": batch, "n": n, "learners": learners}
    chosen, out = _preset(preset, generators, amounts), Path(out)
    wanted = _wanted(chosen, protocol, options, extractor, dict(weights or {}))
    choose_device((how or {}).get("device", "auto"))
    paths = _checked([Path(path) for path in cohorts], wanted.against)
    config = _config(paths, preset, wanted)
    paths = paths or _checked([_phantom(chosen, out, config)], wanted.against)
    builders = [Builder(name, path, wanted) for name, path in paths.items()]
    originals = {builder.name: builder.originals() for builder in builders}
    found = [builder.searched(name) for builder in builders for name in chosen.generators]
    jobs = [*(job for each in originals.values() for job in each.values()), *(job for s in found for job in s.ends)]
    if plan:
        return Plan([_row(name, path) for name, path in paths.items()], jobs)
    _check_figures(chosen)
    if cohorts:
        runs.open_run(out, config)
    outcomes = execute(jobs, out, **(how or {}))
    return write(out, paths, originals, found, outcomes, wanted, preset=preset, show_real=show_real)


def _check_figures(preset: Preset) -> None:
    """Raise before anything is trained where a figure could not be made in the end.

    Raises:
        MissingDependency: umap-learn is absent.
    """
    if "umap" in preset.explain and importlib.util.find_spec("umap") is None:
        raise MissingDependency("Figure 6 needs umap-learn, which is not installed: pip install 'synthcohort[figures]'")


def _row(name: str, path: Path) -> dict[str, Any]:
    cohort = Cohort(path)
    counts = {split: count["images"] for split, count in cohort.counts().items()}
    return {
        "cohort": name,
        "resolution": cohort.facts.shape[1],
        "structures": len(cohort.facts.mask_classes) - 1,
    } | counts


def _preset(name: str, generators: Sequence[str] | None, given: Mapping[str, int | None]) -> Preset:
    if name not in PRESETS:
        raise BadOption("A preset is one that there is", f"'{name}'", f"Choose from {', '.join(PRESETS)}")
    if any(value is not None and value < 1 for value in given.values()):
        offender = ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
        raise BadOption("Numbers of a study are at least 1", offender, "Give positive numbers")
    names = tuple(dict.fromkeys(generators)) if generators else None
    return changed(PRESETS[name], generators=names, **given)


def _wanted(
    preset: Preset,
    protocol: str,
    options: Mapping[str, Any] | Iterable[str],
    extractor: str,
    weights: Mapping[str, Path],
) -> Wanted:
    """Return what all generators share; every name and option is looked up here, before anything runs."""
    if protocol not in PROTOCOLS:
        raise BadOption("A protocol is recommended or paper", f"'{protocol}'", "Choose one of them")
    makers = {name: plugins.find("generators", name) for name in preset.generators}
    task = plugins.find("tasks", "segmentation")
    plugins.find("extractors", extractor)(weights=weights.get(extractor))
    given = plugins.pairs(options)
    typed = plugins.resolve_each({**makers, "segmentation": task}, given, reserved=(*RESERVED, "weights"))
    usual = {"protocol": protocol} if protocol == "paper" else {}
    known = {name: plugins.options(plugin, reserved=RESERVED) for name, plugin in makers.items()}
    own = {name: {key: value for key, value in {**usual, **given}.items() if key in known[name]} for name in makers}
    learning = {key: value for key, value in typed["segmentation"].items() if key in given}
    preset = changed(preset, task={**preset.task, **learning})
    precision = choose_precision("auto", choose_device("auto"))
    return Wanted(preset, protocol, own, extractor, weights, precision, SEED)


def _checked(paths: Sequence[Path], against: str) -> dict[str, Path]:
    """Return name -> cohort.

    Raises:
        InputError: One of them cannot be studied, or two have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        cohort = Cohort(path)
        if not cohort.facts.mask_classes:
            rule = "This study trains U-Nets, so a cohort needs masks"
            raise InputError(rule, f"{path.name} has none", "Use data-sharing for one with labels")
        for split, least in (("train", 8), ("val", LEAST_IMAGES if against == "val" else 2), ("test", 2)):
            if len(cohort.split(split)) < least:
                offender = f"{path.name} has {len(cohort.split(split))}"
                raise InputError(f"A study needs {least} images in {split}", offender, "Prepare more patients")
        if cohort.facts.name in found:
            raise InputError("Cohorts of a study have different names", f"'{cohort.facts.name}'", "Prepare one anew")
        found[cohort.facts.name] = path
    return found


def _config(paths: Mapping[str, Path], preset: str, wanted: Wanted) -> dict[str, Any]:
    amounts = wanted.preset
    return {
        "kind": "study gan-study",
        "revision": REVISION,
        "cohorts": {name: Cohort(path).identity for name, path in paths.items()},
        "preset": preset,
        "protocol": wanted.protocol,
        "generators": {name: dict(wanted.options[name]) for name in amounts.generators},
        "task": dict(amounts.task),
        "amounts": [amounts.trials, amounts.images_seen, amounts.batch, amounts.n, amounts.learners],
        "extractor": wanted.extractor,
        "weights": sorted(wanted.weights),
    }


def _phantom(preset: Preset, out: Path, config: Mapping[str, Any]) -> Path:
    """Return the cohort of a phantom of heart images, made in the study folder.

    Raises:
        InputError: The preset has none.
    """
    if not preset.phantom:
        raise InputError("A study needs a cohort", "none is named", "Name one, or use --preset smoke")
    patients, download = preset.phantom["patients"], out / "download"
    runs.open_run(out, config)
    if not download.exists():
        say(f"A phantom of heart images: {patients} procedural patients")
        with runs.publishing(download, runs.fingerprint({"phantom": "acdc", "patients": patients})) as folder:
            plugins.find("phantoms", "acdc")(patients=patients).write(folder, seed=SEED)
    return prepare("acdc", download, out=out / "heart", seed=SEED, size=preset.phantom["size"]).path
