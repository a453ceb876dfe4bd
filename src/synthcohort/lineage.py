"""`lineage`: what a patient's data touched, found by the digests that cohorts, runs, evaluations and exports hold.

Nothing is stored for it: a cohort names its patients by pseudonyms that only their key can make, a run and an
evaluation name their cohorts by their digests, and so on to the report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import plugins
from ._pseudonyms import key_check, pseudonym
from .cohort import Cohort
from .errors import InputError, SynthcohortError
from .runs import cohort_key, config_folder
from .types import SPLITS

_FILES = ("cohort.json", "run.json", "export.json")
_MAX_JSON = 1 << 28
_REPORT = "synthcohort report"
_TRAINED = "trained on the patient's images"


@dataclass(frozen=True)
class Step:
    """A folder or file that a patient's data touched, or one of which that cannot be said.

    Attributes:
        kind: cohort, run, synthetic cohort, evaluation, study, report, export, unfinished output; or unknown.
        path: Where it is.
        how: What it has of the patient, in words without the patient's id.
    """

    kind: str
    path: Path
    how: str


@dataclass
class _Found:
    """What lies in the folders, by the file that marks it, and what is touched so far."""

    files: dict[str, dict[Path, Mapping[str, Any]]]
    reports: dict[Path, Mapping[str, Any]]
    partial: list[Path]
    steps: list[Step] = field(default_factory=list)
    splits: dict[str, set[str]] = field(default_factory=dict)
    """Digest of a cohort with the patient's data -> the splits that hold them; none for a synthetic one."""


def lineage(patient: str, within: Sequence[Path | str]) -> list[Step]:
    """Return everything below some folders that a patient's data touched, from the cohorts on.

    Args:
        patient: The patient's id as the source has it, e.g. the PatientID of DICOM files.
        within: Folders to search, with all folders below them.

    Raises:
        InputError: The id is empty, a folder does not exist, or this machine has no pseudonym key.
    """
    if not patient:
        raise InputError("A patient has an id", "it is empty", "Give it as the source has it")
    if not (config_folder() / "pseudonym.key").exists():
        raise InputError("Pseudonyms need their key", "this machine has none", "Use the one that prepared the cohorts")
    found = _walk([Path(folder) for folder in within])
    for path, content in found.files["cohort.json"].items():
        _holding(found, path, content, patient)
    while _made(found):  # what was trained on synthetic images of touched runs is touched, too
        pass
    _scored(found)
    found.steps += [Step("unfinished output", path, "may hold anyone; remove it") for path in found.partial]
    return found.steps


def _walk(folders: Sequence[Path]) -> _Found:
    found = _Found({name: {} for name in _FILES}, {}, [])
    for folder in folders:
        if not folder.is_dir():
            raise InputError("Lineage searches folders", f"{folder} is none", "Name those that hold cohorts and runs")
        for place, below, names in os.walk(folder):
            here = Path(place)
            below.sort()
            if ".partial-" in here.name:
                found.partial.append(here)
                below.clear()
                continue
            for name in sorted(names):
                content = _read(here / name) if name.endswith(".json") else {}
                if name in _FILES:
                    found.files[name].setdefault(here, content)
                elif content.get("made_by") == _REPORT and isinstance(content.get("subjects"), list):
                    found.reports.setdefault(here / name, content)
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < _MAX_JSON else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _holding(found: _Found, path: Path, content: Mapping[str, Any], patient: str) -> None:
    """Add a cohort if it holds the patient, or if that cannot be said."""
    if content.get("provenance") != "real":
        return
    try:
        cohort = Cohort(path)
    except SynthcohortError:
        found.steps.append(Step("unknown", path, "a damaged cohort: cannot tell"))
        return
    key = cohort_key(cohort.facts.name)
    # A number may have lost its leading zeros on the way, as in a spreadsheet.
    spelled = {patient.strip(), *(patient.strip().zfill(digits) for digits in range(9) if patient.strip().isdecimal())}
    rows = cohort.samples[cohort.samples["patient_id"].isin([pseudonym(key, "patient", each) for each in spelled])]
    checks = [str(step["key"]) for step in cohort.facts.history if "key" in step]
    if len(rows):
        counts = rows["split"].value_counts()
        said = [f"{counts[split]} images in {split}" for split in SPLITS if split in counts]
        found.steps.append(Step("cohort", path, ", ".join(said)))
        found.splits[cohort.identity] = set(counts.index)
    elif not checks:
        found.steps.append(Step("unknown", path, "does not say under which key it was made: cannot tell"))
    elif key_check(key) not in checks:
        found.steps.append(Step("unknown", path, "made under another key or on another machine: cannot tell"))


def _made(found: _Found) -> bool:
    """Add the runs on touched cohorts and the cohorts sampled from such runs; return whether there was a new one."""
    known, before = {step.path for step in found.steps}, len(found.steps)
    for path, config in _configs(found, "train"):
        if path not in known and config.get("cohort") in found.splits:
            found.steps.append(Step("run", path, _role(config, found.splits[config["cohort"]])))
    for path, content in found.files["cohort.json"].items():
        by = content.get("generator")
        if path not in known and isinstance(by, dict) and by.get("cohort") in found.splits:
            role = _role(by, found.splits[by["cohort"]])
            found.steps.append(Step("synthetic cohort", path, f"drawn from a generator {role}"))
            if role.startswith(_TRAINED):
                _spread(found, path)
    return len(found.steps) > before


def _spread(found: _Found, path: Path) -> None:
    """Count a synthetic cohort as one with the patient's data."""
    try:
        found.splits[Cohort(path).identity] = set()
    except SynthcohortError:
        found.steps.append(Step("unknown", path, "a damaged cohort: cannot tell what used it"))


def _configs(found: _Found, kind: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path, content in found.files["run.json"].items():
        config = content.get("config")
        if isinstance(config, dict) and str(config.get("kind", "")).startswith(kind):
            yield path, config


def _role(config: Mapping[str, Any], splits: set[str]) -> str:
    """Return what a generator of a cohort has seen of a patient whose images are in `splits`."""
    try:
        used = plugins.find("generators", str(config.get("generator"))).SPLIT
    except SynthcohortError:
        used = "train"
    if not splits:
        return f"{_TRAINED}, by way of synthetic ones"
    return _TRAINED if used in splits else f"of the cohort, but not trained on the patient, who is in {_words(splits)}"


def _words(splits: set[str]) -> str:
    return " and ".join(split for split in SPLITS if split in splits)


def _scored(found: _Found) -> None:
    """Add evaluations, reports, exports and studies of what is touched."""
    fingerprints = set()
    for path, config in _configs(found, "evaluate"):
        sides = [side for side in ("real", "synthetic") if config.get(side) in found.splits]
        if sides:
            found.steps.append(Step("evaluation", path, f"used the {' and the '.join(sides)} cohort; so did its jobs"))
            fingerprints.add(found.files["run.json"][path].get("fingerprint"))
    for path, content in found.reports.items():
        if any(isinstance(each, dict) and each.get("fingerprint") in fingerprints for each in content["subjects"]):
            found.steps.append(Step("report", path, "of such an evaluation"))
    for path, content in found.files["export.json"].items():
        if content.get("cohort") in found.splits:
            found.steps.append(Step("export", path, "of such a cohort; ask whoever has copies"))
    touched = [step.path for step in found.steps if step.kind not in ("unknown", "unfinished output")]
    for path, _ in _configs(found, "study"):
        if any(path in each.parents for each in touched):
            found.steps.append(Step("study", path, "its tables and pages use what is listed below it"))


def as_text(steps: Sequence[Step]) -> str:
    """Return what was found as lines for a person."""
    lines = [f"{step.kind:<18}{step.path}: {step.how}" for step in steps]
    touched = [step for step in steps if step.kind not in ("unknown", "unfinished output")]
    unknown = sum(step.kind == "unknown" for step in steps)
    end = f"{len(touched)} touched" if touched else "Nothing here is known to hold this patient"
    return "\n".join([*lines, f"{end}, {unknown} unknown." if unknown else f"{end}."])
