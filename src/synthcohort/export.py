"""`export`: a cohort leaves in the form its recipients use, marked as what it is.

A format is one file in formats/. What all of them share is here: what may leave, and that it leaves whole or not at
all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import __version__, plugins, runs
from .cohort import Cohort, Facts, verify
from .errors import BadOption, Mismatch, NotACohort
from .format import SOFTWARE, has_exact_labels, origin, positions
from .progress import say

SCHEMA = 1
MARK = "export.json"
"""In the folder of every export: what it is, and the fingerprint of what made it."""
_PUBLIC = re.compile(
    r"\bcc(0|[ -]by\b)|creativecommons\.org|public.?domain"
    r"|^(the )?(apache|mit|bsd|isc|mpl|a?gpl|lgpl|afl|unlicense|pddl|odc|odbl|cdla|\w*rail)\b",
    re.IGNORECASE,
)
"""Licences under which anybody may take what they come upon."""
_RESTRICTIONS = {
    "non-commercial": r"non.?commercial|no commercial|\bnc\b|research (use )?only|research use|only for developing",
    "share alike": r"share.?alike|\bsa\b",
    "no derivatives": r"no.?deriv|\bnd\b",
    "not to be passed on": r"not be (passed on|shared|redistributed)|(forbids?|no) (passing|redistribut)|stay within",
}


def export(
    cohort: Path | str,
    *,
    out: Path | str,
    format: str,
    real: bool = False,
    options: Mapping[str, Any] | Iterable[str] = (),
) -> Path:
    """Write a cohort into folder `out` in another format and return it; the same call again returns the finished one.

    Args:
        cohort: The cohort.
        out: The new folder.
        format: Name of the format.
        real: That the cohort is of real patients and is to be exported all the same.
        options: The format's options.

    Raises:
        NotACohort: It is none, or `verify` finds something wrong with it.
        Mismatch: It is a control, it is of real patients and `real` is not given, the format cannot hold it, or `out`
            is something else.
        BadOption: An option is wrong, or `real` is given for a cohort that shows nobody.
        BadOutput: `out` cannot be written.
    """
    opened, out = Cohort(cohort), Path(out)
    _check_may_leave(opened, real)
    plugin = plugins.find("formats", format)
    resolved = plugins.resolve(plugin, options)
    chosen = plugin(**resolved)
    config = _config(opened, format, plugin.REVISION, resolved)
    if out.exists():
        return _finished(out, config)
    _check_sound(opened)
    _say_terms(opened, str(resolved.get("licence") or ""))
    with runs.publishing(out, runs.fingerprint(config)) as folder:
        chosen.write(opened, folder)
        runs.write_atomic(folder / MARK, json.dumps(_mark(opened, config), indent=2, ensure_ascii=False) + "\n")
    return out


def _check_may_leave(cohort: Cohort, real: bool) -> None:
    facts, name = cohort.facts, cohort.path.name
    shows_nobody = origin(facts).synthetic
    if facts.provenance == "control":
        rule = "A control is made to be bad, some repeat images of patients, and is never exported"
        raise Mismatch(rule, name, "Export a synthetic cohort")
    if real and shows_nobody:
        raise BadOption("--real is for a cohort of real patients", f"{name} shows nobody", "Leave it out")
    if not real and not shows_nobody:
        rule = "A cohort of real patients is exported only when you say so"
        raise Mismatch(rule, name, "Export a synthetic cohort, or write --real if these patients' data may leave")


def _check_sound(cohort: Cohort) -> None:
    for problem in verify(cohort.path):
        raise NotACohort("Only a cohort with which nothing is wrong is exported", problem, "See `synthcohort verify`")
    channels = cohort.facts.shape[0]
    if channels not in (1, 3):
        raise Mismatch("An export holds grey or RGB images", f"{channels} channels", "Prepare it as grey or rgb")
    if not len(positions(cohort)):
        raise Mismatch("An export holds at least one image", f"{cohort.path.name} has none", "Name another cohort")


def _config(cohort: Cohort, format: str, revision: int, options: Mapping[str, Any]) -> dict[str, Any]:
    facts = cohort.facts
    said = ("name", "modality", "provenance", "labels", "source", "licence", "notice", "generator")
    return {
        "kind": "export",
        "format": format,
        "revision": revision,
        "options": options,
        "cohort": cohort.identity,
        "ids": runs.sha256(runs.canonical_json([str(value) for value in cohort.samples["sample_id"]])),
        "said": runs.fingerprint({name: getattr(facts, name) for name in said}),
    }


def _finished(out: Path, config: Mapping[str, Any]) -> Path:
    try:
        stored = json.loads((out / MARK).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        stored = None
    if stored != runs.fingerprint(config):
        rule = "An existing output is reused only for the same command"
        raise Mismatch(rule, str(out), "Choose another --out or remove it")
    say(f"{out.name} is finished already")
    return out


def _say_terms(cohort: Cohort, licence: str) -> None:
    facts = cohort.facts
    say(f"Licence: {facts.licence or 'not stated'}")
    if facts.notice:
        say(f"Notice: {facts.notice}")
    if lost := _loosened(facts, licence):
        terms = f"the terms of the data behind the images ({', '.join(lost)})"
        say(f"Warning: {licence} allows more than {terms}: see whether you may grant that.")
    if has_exact_labels(facts):
        say("Note: the labels are those of real patients, unaltered (--labels exact): rare ones may tell who it is.")
    if facts.provenance == "synthetic":
        say("Note: an export does not say whether images repeat patients; read the report card before it leaves.")


def _loosened(facts: Facts, licence: str) -> list[str]:
    """Return what the terms of the data behind the images ask for and a public licence of the export does not."""
    if not _PUBLIC.search(licence):
        return []
    asked = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _RESTRICTIONS.items()}
    terms = f"{facts.licence} {facts.notice}"
    lost = [name for name, words in asked.items() if words.search(terms) and not words.search(licence)]
    return lost + (["the notice above"] if facts.notice else [])


def _mark(cohort: Cohort, config: Mapping[str, Any]) -> dict[str, Any]:
    facts, made = cohort.facts, origin(cohort.facts)
    return {
        "schema": SCHEMA,
        "synthetic": made.synthetic,
        "description": made.images,
        "maker": made.maker,
        "licence": facts.licence,
        "notice": facts.notice,
        "software": f"{SOFTWARE} {__version__}",
        "format": config["format"],
        "options": config["options"],
        "cohort": config["cohort"],  # so that `lineage` finds the export again
        "fingerprint": runs.fingerprint(config),
    }
