"""`doctor`: what is installed, which devices and weights are found, and what to do next."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs
from packaging.requirements import Requirement

from .runs import config_folder

WEIGHTS = {
    "squeezenet": "squeezenet_v1_0.npz",
    "inception": "pt_inception-2015-12-05-6726825d.pth",
    "densenet121": "densenet121-a639ec97.pth",
}
"""Weights file of each extractor that needs one."""
FREE_GIGABYTES_WANTED = 5.0


def doctor() -> dict[str, Any]:
    """Return what was found as JSON-ready types, and under "next" what to do about it, one line each."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": _packages(),
        "cpu": _cpu(),
        "accelerators": _accelerators(),
        "weights": {extractor: _find_weights(name) for extractor, name in WEIGHTS.items()},
        "config_folder": {"path": str(config_folder()), "writable": _writable(config_folder())},
        "disk_free_gigabytes": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }
    return {**found, "next": _next(found)}


def _packages() -> dict[str, dict[str, Any]]:
    """Return every required package with the version found, the range wanted, and whether they agree."""
    packages: dict[str, dict[str, Any]] = {}
    for text in _requirements():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = ""
        fits = bool(version) and requirement.specifier.contains(version, prereleases=True)
        packages[requirement.name] = {"version": version, "wanted": str(requirement.specifier), "ok": fits}
    return packages


def _requirements() -> list[str]:
    try:
        return metadata.requires("synthcohort") or []
    except metadata.PackageNotFoundError:  # run from the source folder, not installed
        return []


def _cpu() -> dict[str, Any]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "cores": cores,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_speedup": round(_seconds(torch.float32) / _seconds(torch.bfloat16), 1),
    }


def _seconds(dtype: Any) -> float:
    """Return the time of one small convolution; the best of five, since others may use the machine too."""
    import torch

    layer = torch.nn.Conv2d(32, 32, 3, padding=1).to(dtype)
    images = torch.zeros(16, 32, 32, 32, dtype=dtype)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            start = time.perf_counter()
            layer(images)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def _accelerators() -> list[dict[str, Any]]:
    import torch

    found: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        memory = round(facts.total_memory / 1e9, 1)
        native = facts.major >= 8  # older ones only emulate bf16
        found.append({"kind": "cuda", "name": facts.name, "memory_gigabytes": memory, "bf16": native})
    if torch.backends.mps.is_available():
        found.append({"kind": "mps", "name": platform.processor()})
    return found


def _find_weights(name: str) -> str:
    """Return where a weights file was found, in words that hold no path of the user's; "" when it was not."""
    given = os.environ.get("SYNTHCOHORT_WEIGHTS")
    places = {
        "$SYNTHCOHORT_WEIGHTS": Path(given) if given else None,
        "configuration folder": config_folder() / "weights",
        "cache folder": platformdirs.user_cache_path("synthcohort") / "weights",
    }
    return next((words for words, folder in places.items() if folder and (folder / name).is_file()), "")


def _writable(folder: Path) -> bool:
    """Return whether a file can be made in a folder, or in its nearest parent that exists; leaves nothing behind."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _next(found: dict[str, Any]) -> list[str]:
    steps = [
        f"Install {name}{facts['wanted']} (found {facts['version'] or 'none'}): run `make setup`"
        for name, facts in found["packages"].items()
        if not facts["ok"]
    ]
    if not found["packages"]:
        steps.append("synthcohort is not installed: run `make setup`")
    if not found["config_folder"]["writable"]:
        steps.append("The pseudonym key needs a writable folder: set SYNTHCOHORT_HOME to one of your own")
    if found["disk_free_gigabytes"] < FREE_GIGABYTES_WANTED:
        steps.append(f"Free some disk space here: {FREE_GIGABYTES_WANTED:g} GB is comfortable")
    if not found["accelerators"]:
        steps.append("There is no GPU: keep to 32 or 64 pixels, or copy the cohort to a machine with one")
    steps += [
        f"Optional: put {WEIGHTS[name]} into $SYNTHCOHORT_WEIGHTS or weights/ of the configuration folder ({name})"
        for name, place in found["weights"].items()
        if not place
    ]
    return [*steps, "Try it: `synthcohort demo --out demo`"]


def as_text(found: dict[str, Any]) -> str:
    """Return what `doctor` found as lines for a person."""
    cpu, config = found["cpu"], found["config_folder"]
    lines = [f"{'python':<16}{found['python']}"]
    for name, facts in found["packages"].items():
        lines.append(
            f"{name:<16}{facts['version'] or 'not installed'}{'' if facts['ok'] else ' needs ' + facts['wanted']}"
        )
    lines.append(
        f"{'processor':<16}{cpu['cores']} cores, {cpu['threads']} threads, {cpu['instructions']}, "
        f"bf16 {cpu['bf16_speedup']:g} times as fast as fp32"
    )
    for device in found["accelerators"]:
        lines.append(f"{device['kind']:<16}{device['name']} {device.get('memory_gigabytes', '')} GB")
    lines += [f"{'weights':<16}{name}: {place or 'not found'}" for name, place in found["weights"].items()]
    lines.append(f"{'configuration':<16}{config['path']} ({'writable' if config['writable'] else 'not writable'})")
    lines.append(f"{'disk':<16}{found['disk_free_gigabytes']:g} GB free here")
    return "\n".join([*lines, "", "Next", *[f"  {step}" for step in found["next"]]])
