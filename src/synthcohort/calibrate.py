"""How fast this machine trains, draws, fits and extracts, measured in a minute or two: what `--plan` stands on.

Everything is measured on images of noise with default options, a generator at a time in a process of its own, whose
peak memory is noted. What was not measured is not guessed: a plan says what it leaves out.
"""

from __future__ import annotations

import datetime
import json
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import plugins, runs
from .cohort import Facts
from .errors import BadOption, writing
from .progress import say, track

SIDES = {"cpu": (32, 64), "cuda": (32, 64, 128, 256)}
BATCH, WARM_UP, FIT_IMAGES, EXTRACTED = 64, 32, 256, 128
CLASSES = ("background", "a", "b", "c")
SECONDS = 0.5
"""How long each speed is measured, at least."""

Point = dict[str, Any]


def calibration_file() -> Path:
    """Return where the calibration is kept: in the user's own configuration folder."""
    return runs.config_folder() / "calibration.json"


def calibrate(
    *,
    generators: Sequence[str] | None = None,
    sides: Sequence[int] | None = None,
    threads: int = 1,
    weights: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Measure, store and return the calibration of this machine; what was measured on it earlier is kept beside it.

    It holds "on" (device, cores, threads, precision, batch, versions, date) and "points": measure (train, sample, fit,
    features), plugin, side, images_per_second and memory (peak bytes).

    Args:
        generators: Names; all but the controls when left out.
        sides: Of the images in pixels; two of them let sizes between them be read off.
        threads: Of a job on a CPU; as many as the jobs of a study will have.
        weights: Extractor -> file, to measure feature extraction too.

    Raises:
        InputError: A name or a file is wrong, or the result cannot be stored.
    """
    on = _on(threads)
    wanted = [*sides] if sides else [*SIDES[on["device_kind"]]]
    if min(wanted) < 1 or threads < 1:
        raise BadOption("--sides are at least 1", str(wanted), "Give sizes in pixels")
    measured = plugins.names("generators") if generators is None else [*generators]
    tasks: list[tuple[str, str, Path | None]] = []
    tasks += [("generator", name, None) for name in measured if _counts(name, asked=generators is not None)]
    tasks += [("task", name, None) for name in plugins.names("tasks")]
    tasks += [("extractor", name, Path(path)) for name, path in (weights or {}).items()]
    points: list[Point] = []
    for kind, name, path in track(tasks, "Calibrating", len(tasks), "plugins"):
        points += _alone(kind, name, path, wanted, on)
    before = load()
    if before and before["on"] == {**on, "date": before["on"]["date"]}:
        new = {_place(point) for point in points}
        points = [point for point in before["points"] if _place(point) not in new] + points
    content = {"on": on, "points": sorted(points, key=_place)}
    with writing(calibration_file()):
        calibration_file().parent.mkdir(parents=True, exist_ok=True)
    runs.write_atomic(calibration_file(), json.dumps(content, indent=1) + "\n")
    return content


def load() -> dict[str, Any] | None:
    """Return the stored calibration, or None."""
    try:
        content: dict[str, Any] = json.loads(calibration_file().read_text(encoding="utf-8"))
        return content if {"on", "points"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def images_per_second(points: Sequence[Point], measure: str, plugin: str, side: int) -> float | None:
    """Return a speed, between two measured sides on a straight line of logarithms; None outside of them.

    Args:
        points: Of a calibration.
        measure: "train", "sample", "fit" or "features".
        plugin: Its name.
        side: Of the images.
    """
    known = {p["side"]: p["images_per_second"] for p in points if (p["measure"], p["plugin"]) == (measure, plugin)}
    if side in known:
        return float(known[side])
    below, above = [s for s in known if s < side], [s for s in known if s > side]
    if not below or not above:
        return None
    low, high = max(below), min(above)
    share = math.log(side / low) / math.log(high / low)
    return float(math.exp((1 - share) * math.log(known[low]) + share * math.log(known[high])))


def memory(points: Sequence[Point], measure: str, plugin: str, side: int) -> int | None:
    """Return the peak memory in bytes at the smallest measured side that is not smaller; None where there is none."""
    found = [p for p in points if (p["measure"], p["plugin"]) == (measure, plugin) and p["side"] >= side]
    return int(min(found, key=lambda p: p["side"])["memory"]) if found else None


def as_text(content: Mapping[str, Any]) -> str:
    """Return a calibration as lines for a person."""
    on = content["on"]
    lines = [f"{on['device']}, {on['threads']} threads a job, {on['precision']}, batch {on['batch']}, {on['date']}"]
    lines += [
        f"{p['measure']:<10}{p['plugin']:<16}{p['side']:>4} px  {p['images_per_second']:>10,.1f} images/s"
        f"  {p['memory'] / 2**20:>7,.0f} MiB"
        for p in content["points"]
    ]
    return "\n".join([*lines, f"Kept in {calibration_file().name} of the configuration folder; --plan uses it."])


def _place(point: Point) -> tuple[str, str, int]:
    return point["measure"], point["plugin"], point["side"]


def _counts(name: str, *, asked: bool) -> bool:
    return asked or not plugins.find("generators", name).CONTROL


def _on(threads: int) -> dict[str, Any]:
    import torch

    from .devices import choose_device, choose_precision, machine

    target = choose_device("auto")
    return {
        **machine(),
        "device_kind": target.type,
        "threads": threads,
        "precision": choose_precision("auto", target),
        "batch": BATCH,
        "versions": {"torch": str(torch.__version__), "synthcohort": runs.versions().get("synthcohort", "")},
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _alone(kind: str, name: str, path: Path | None, sides: Sequence[int], on: Mapping[str, Any]) -> list[Point]:
    """Measure one plugin in a process of its own, so that its peak memory is its own."""
    context: Any = multiprocessing.get_context(
        "fork" if on["device_kind"] == "cpu" and sys.platform != "darwin" else "spawn"
    )
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, kind, name, path, tuple(sides), dict(on)))
    process.start()
    theirs.close()
    try:
        found: list[Point] = ours.recv()
    except EOFError:  # killed, by want of memory most likely
        found = []
    process.join()
    return found


def _child(pipe: Any, kind: str, name: str, path: Path | None, sides: Sequence[int], on: Mapping[str, Any]) -> None:
    import torch

    torch.set_num_threads(on["threads"])
    points: list[Point] = []
    for side in sides:
        labels = ("one", "two") if kind == "task" else ()
        facts = Facts("noise", "none", "real", (1, side, side), "uint8", (0.0, 255.0), CLASSES, labels)
        for measure, speed in _MEASURES[kind](name, path, facts, on):
            try:
                rate = speed()
            except Exception as error:  # it needs options, or does not do with this size: a plan says it is not known
                say(f"{measure} {name} at {side} px was not measured ({type(error).__name__})")
                continue
            place = {"measure": measure, "plugin": name, "side": side}
            points.append({**place, "images_per_second": round(rate, 2), "memory": _peak(on["device_kind"])})
    pipe.send(points)


def _peak(kind: str) -> int:
    import torch

    if kind == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


Measures = list[tuple[str, Callable[[], float]]]


def _generator(name: str, _: Path | None, facts: Facts, on: Mapping[str, Any]) -> Measures:
    from .sample import chunk_length
    from .train.speed import drawn_per_second, trained_per_second

    how: dict[str, Any] = {"precision": on["precision"], "device": on["device_kind"], "seconds": SECONDS}
    chunk = chunk_length(facts.shape)
    measures: Measures = [("sample", lambda: drawn_per_second(name, facts, chunk=chunk, **how))]
    if plugins.find("generators", name).ITERATIVE:
        measures.append(("train", lambda: trained_per_second(name, facts, batch=BATCH, **how)))
    return measures


def _task(name: str, _: Path | None, facts: Facts, on: Mapping[str, Any]) -> Measures:
    import numpy as np

    def speed() -> float:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (FIT_IMAGES, *facts.shape), np.uint8)
        masks = rng.integers(0, len(CLASSES), (FIT_IMAGES, *facts.shape[1:]), np.uint8)
        labels = rng.integers(0, 2, (FIT_IMAGES, 2)).astype(np.float32)
        plugin = plugins.find("tasks", name)
        targets = masks if plugin.NEEDS == "masks" else labels
        for seen in (WARM_UP, FIT_IMAGES):
            task = plugin(shape=facts.shape, mask_classes=CLASSES, labels=facts.labels, images_seen=seen)
            task.to(on["device_kind"])
            start = time.perf_counter()
            task.fit(images, targets, images[:32], targets[:32], value_range=facts.value_range, seed=0)
        return FIT_IMAGES / (time.perf_counter() - start)

    return [("fit", speed)]


def _extractor(name: str, path: Path | None, facts: Facts, on: Mapping[str, Any]) -> Measures:
    import numpy as np

    def speed() -> float:
        extractor = plugins.find("extractors", name)(weights=path)
        images = np.random.default_rng(0).integers(0, 256, (EXTRACTED, *facts.shape), np.uint8)
        extractor.extract(images[:2], facts.value_range)
        start = time.perf_counter()
        extractor.extract(images, facts.value_range)
        return EXTRACTED / (time.perf_counter() - start)

    return [("features", speed)]


_MEASURES: Mapping[str, Callable[[str, Path | None, Facts, Mapping[str, Any]], Measures]] = {
    "generator": _generator,
    "task": _task,
    "extractor": _extractor,
}
