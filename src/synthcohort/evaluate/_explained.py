"""What `evaluate --explain` adds to an EVAL: figures that show, beside the scores that measure.

Figures with real pixels lie in pairs/ with what they are drawn from; those without in figures/. explained.json says
what was made, and with it a figure is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..cohort import Cohort
from ..errors import BadOption, InputError, writing
from ..progress import track
from ..runs import Config, derive_seed, fingerprint, write_atomic
from . import _drawn, _flattened, _folder, _looked_up, _maps, _spaces, _utility
from ._rows import GAUSSIAN, REAL
from ._setting import Plan, Setting
from ._usefulness import Usefulness

NEAREST, OCCLUSION, UMAP = NAMES = ("nearest", "occlusion", "umap")
FILE = "explained.json"
REVISION = 1
_TITLES = {
    REAL: "trained on real",
    _utility.SYNTHETIC: "on synthetic",
    _maps.AGAIN: "on real again",
    GAUSSIAN: "on the bad case",
}
_OF_TASK = "network trained on real images"


def checked(names: Sequence[str], real: Cohort, plan: Plan) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        BadOption: There is no such figure.
        InputError: The cohorts cannot serve it.
        MissingDependency: umap-learn is absent.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise BadOption(f"--explain draws {', '.join(NAMES)}", f"'{unknown[0]}' is none of them", "Choose from them")
    if OCCLUSION in names and _labelled(plan) is None:
        raise InputError(
            "Maps of importance need a task that learns findings",
            "the cohorts share no findings" if not plan.findings else "no such task is fitted here",
            "Leave occlusion out of --explain",
        )
    if NEAREST in names and not plan.tasks:
        offender = f"{real.facts.name} has neither masks nor findings, or no task was asked for"
        raise InputError("Nearest images need a task's network", offender, "Leave nearest out of --explain")
    if UMAP in names:
        _flattened.check_umap()
    return tuple(dict.fromkeys(names))


def missing(out: Path, config: Config, names: Sequence[str]) -> list[str]:
    """Return which of the figures an EVAL does not have yet."""
    there = read(out)
    return [name for name in names if there.get(name, {}).get("key") != _key(config, name)]


def explain(out: Path, use: Usefulness, names: Sequence[str]) -> None:
    """Make figures of an evaluation whose fits and features are stored."""
    makers: Mapping[str, Callable[[Path, Usefulness], dict[str, Any]]]
    makers = {NEAREST: _nearest, OCCLUSION: _occlusion, UMAP: _umap}
    for name in names:
        made = {"key": _key(use.setting.plan.config, name), **makers[name](out, use)}
        text = json.dumps({**read(out), name: made}, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(out / FILE, text + "\n")


def read(out: Path) -> dict[str, Any]:
    """Return what explained.json says, by figure; nothing where it is absent or damaged."""
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key(config: Config, name: str) -> str:
    return fingerprint({"explain": name, "revision": REVISION, "evaluation": fingerprint(config)})


def _labelled(plan: Plan) -> str | None:
    """Return the first task whose network has maps of importance."""
    return next((name for name, (plugin, _) in plan.tasks.items() if hasattr(plugin, "importance")), None)


def _space(given: Setting) -> tuple[_spaces.TaskSpace, str] | str:
    """Return the features of the first task's network of real images, and its protocol; or why there are none."""
    name, (plugin, _) = next(iter(given.plan.tasks.items()))
    if len(given.real.val) == 0:
        return "the real cohort has no validation split"
    fitted = given.jobs(name).fitted(given.amounts.real, given.real.val, seed=given.learner_seeds()[0])
    return _spaces.TaskSpace(fitted, plugin.REVISION), getattr(fitted.task, "protocol", "recommended")


def _nearest(out: Path, use: Usefulness) -> dict[str, Any]:
    given = use.setting
    found = _space(given)
    if isinstance(found, str):
        return _without(found)
    space, protocol = found
    features = [given.cache.features(images, space).values for images in (given.subject, given.real.train)]
    if not all(np.isfinite(values).all() for values in features):
        return _without("some features are not finite")
    unseen, seed = given.cohort.split("test"), given.plan.seed
    near = _looked_up.neighbours(features[0], features[1], unseen, protocol=protocol, seed=seed)
    synthetic, real = given.subject.images[near.queries], given.real.train.images[near.nearest]
    with writing(out):
        (out / "pairs").mkdir(exist_ok=True)
    _folder.write_arrays(
        out / "pairs" / "nearest.npz",
        synthetic=synthetic,
        nearest=real,
        distance=near.distance,
        drawn=near.drawn,
        value_range=np.array(given.real_cohort.facts.value_range),
        sample_id=given.cohort.samples["sample_id"].iloc[near.queries].to_numpy(dtype=str),
    )
    write_atomic(out / "pairs" / "nearest.svg", _drawn.pairs(synthetic, real, near.distance, near.drawn))
    said = (
        f"Synthetic images and the real training image nearest to each, of {len(given.real.train)}: smallest cosine "
        f"distance in the {features[0].shape[1]} features of the {_OF_TASK}, which were learnt to tell what the images "
        "show and not whose they are. A look; the search for copies is what measures."
    )
    return {"figure": "pairs/nearest.svg", "said": said}


def _occlusion(out: Path, use: Usefulness) -> dict[str, Any]:
    given = use.setting
    name = _labelled(given.plan)
    assert name is not None, "it was checked before"
    fits = use.fits_of(name)
    if isinstance(fits, str):
        return _without(fits)
    found = _maps.maps(fits, given.real.test, given.real_cohort.facts.value_range, seed=given.plan.seed)
    if not len(found.of):
        return _without("no real test image states a finding")
    with writing(out):
        (out / "pairs").mkdir(exist_ok=True)
    _folder.write_arrays(
        out / "pairs" / "occlusion.npz",
        images=found.of.images,
        labels=found.of.labels,
        label_names=np.array(given.plan.findings, dtype=str),
        value_range=np.array(given.real_cohort.facts.value_range),
        **{_file_name(by): maps for by, maps in found.by.items()},
    )
    titles = {_TITLES[by]: maps for by, maps in found.by.items()}
    named = [_findings(given.plan.findings, labels) for labels in found.of.labels]
    figure = _drawn.importance(found.of.images, named, titles, tile=found.tile, side=found.side)
    write_atomic(out / "pairs" / "occlusion.svg", figure)
    said = (
        f"What a classifier looks at in real test images: by how much hiding a tile of {found.tile} px of {found.side} "
        "raises its loss; deeper red is more."
    )
    alike = {by: asdict(value) for by, value in found.agreements(seed=given.plan.seed).items()}
    return {"figure": "pairs/occlusion.svg", "said": said, "images": len(found.of), "agreement": alike}


def _umap(out: Path, use: Usefulness) -> dict[str, Any]:
    given = use.setting
    drawn = {
        name: images.draw(_flattened.MOST, seed=given.plan.seed)
        for name, images in (
            ("real train", given.real.train),
            ("real test", given.real.test),
            ("synthetic", given.subject),
        )
        if len(images)
    }
    points, without = {}, []
    spaces = _all_spaces(given)
    for title, space in track(spaces.items(), "UMAP", len(spaces), "spaces"):
        features = {name: given.cache.features(images, space).values for name, images in drawn.items()}
        found = _flattened.flattened(features, seed=derive_seed(given.plan.seed, "umap"))
        if isinstance(found, str):
            without.append(f"{title}: {found}")
        else:
            points[title] = found
    if not points:
        return _without("; ".join(without))
    with writing(out):
        (out / "figures").mkdir(exist_ok=True)
    write_atomic(out / "figures" / "umap.svg", _drawn.clouds(points))
    said = (
        "Each mark is an image, laid out by UMAP so that images alike in a feature space lie together; features are "
        f"scaled to one spread, at most {_flattened.MOST} of each set are shown, seed {given.plan.seed}. Distances "
        "between groups and their sizes mean nothing: it shows, the scores measure."
    )
    return {"figure": "figures/umap.svg", "said": said, "without": without}


def _all_spaces(given: Setting) -> dict[str, Any]:
    """Return every space to lay out by its title: the task's network, the evaluation's extractors, small pixels."""
    found = _space(given) if given.plan.tasks else ""
    task = {} if isinstance(found, str) else {_OF_TASK: found[0]}
    return {**task, **given.plan.extractors, _spaces.PIXELS: plugins.find("extractors", _spaces.PIXELS)()}


def _findings(names: Sequence[str], labels: Any) -> str:
    there = [name for name, value in zip(names, labels, strict=True) if value > 0.5]
    return "none stated" if not there else there[0] if len(there) == 1 else f"{there[0]}\n+ {len(there) - 1} more"


def _file_name(by: str) -> str:
    return "maps_" + by.replace(", ", "_").replace(" ", "_")


def _without(reason: str) -> dict[str, Any]:
    return {"figure": "", "said": "", "reason": reason}
