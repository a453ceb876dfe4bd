"""`compare`: generators x seeds on one cohort, under one protocol, one job after another.

Every part lies in the study folder under its own name and is not run again when it is finished. The unit of replication
is a whole pipeline: training, sampling and learning downstream with one seed, the same seeds for every generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plugins, runs
from ..cohort import Cohort
from ..errors import BadOption
from ..nets.generator import RESERVED
from ..progress import say
from ..report import report
from ..sample import LabelRule
from ._pipeline import Pipelines, Settings, slug, table

REVISION = 2


def study(
    cohort: Path | str,
    *,
    generators: Sequence[str],
    out: Path | str,
    seeds: int = 3,
    images_seen: int = 200_000,
    batch: int = 64,
    precision: str = "auto",
    device: str = "auto",
    labels: LabelRule = "merged",
    weights: Mapping[str, Path] | None = None,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Train, sample and score every generator with every seed; return the study folder.

    It holds rows.jsonl (one Score per line, with generator and pipeline seed), table.json and table.md (mean over seeds
    with a t-interval), failures.jsonl (runs that diverged, which are results too) and report.html.

    Args:
        cohort: The real cohort.
        generators: Names.
        out: The study folder.
        seeds: Whole pipelines per generator; seed s is the same for all.
        images_seen: Training images to see.
        batch: Images per training step.
        precision: See `train`.
        device: See `train`.
        labels: See `sample`.
        weights: Extractor -> file, see `evaluate`.
        options: Of the generators that have them; an option that no generator has is refused.

    Raises:
        InputError: An input is wrong; nothing has been trained then.
    """
    out, names = Path(out), list(dict.fromkeys(generators))
    if not names or seeds < 1:
        raise BadOption("A study has at least one generator and one seed", f"{names}, {seeds} seeds", "Name some")
    plugin_of = {name: plugins.find("generators", name) for name in names}
    chosen = plugins.resolve_each(plugin_of, options, reserved=RESERVED)
    settings = Settings(images_seen, batch, precision, device, labels, weights=dict(weights or {}))
    config = {
        "kind": "study compare",
        "revision": REVISION,
        "cohort": Cohort(cohort).identity,
        "generators": chosen,
        "seeds": seeds,
        "images_seen": images_seen,
        "batch": batch,
        "labels": labels,
        "weights": sorted(weights or {}),
    }
    runs.open_run(out, config)
    with runs.holding(out):
        _run(Path(cohort), Pipelines(out, settings), chosen, seeds)
    return out


def _run(cohort: Path, pipelines: Pipelines, chosen: Mapping[str, Mapping[str, Any]], seeds: int) -> None:
    for name, own in chosen.items():
        for seed in range(seeds):
            say(f"{name}, seed {seed}")
            part = f"{slug(name)}-{seed}"
            pipelines.run(cohort, part, generator=name, options=own, seed=seed, pipeline_seed=seed)
    pipelines.publish(table(pipelines.rows), "seeds")
    if pipelines.evaluations:
        report(pipelines.evaluations, out=pipelines.out / "report.html")
