"""`withhold`: a synthetic cohort without the samples that an evaluation found to be copies, judged again without them.

Whoever searches with one space and leaves out what it finds has nothing left to find in that space. So what is left is
judged in the spaces that were not used, with the false alarms and the sensitivity that they have among the held-out
patients and planted copies that the withholding let through. Nothing real is opened: the evaluation keeps the verdicts
on both, without pixels or pseudonyms.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import runs
from .cohort import Cohort, existing, writing_cohort
from .errors import InputError, Mismatch, NotAnEvaluation, UnknownName, writing
from .metrics import mask_copies, nearest
from .progress import say
from .types import Value

REVISION = 1
SCHEMA = 1
BY_DEFAULT = ("pixels", "aligned", "masks")
"""Spaces that samples are withheld by: those that decide `copy` and `mask_copy` in samples.parquet."""
MASKS, HOLDOUT = "masks", "holdout"
LIST, AUDIT = "withheld.csv", "audits.json"
_TRAINING = "training.jsonl"
_AGAIN = "Evaluate again, into another folder"
_NO_SECOND = (
    "not estimable: every space was used to withhold by; name an extractor with --weights when you evaluate, or "
    "withhold by fewer spaces with --spaces"
)

Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Withheld:
    """What `withhold` made.

    Attributes:
        cohort: The filtered cohort.
        list: CSV of the samples that were held back: sample_id, spaces, similarity in each of them.
        audits: Both audits, as in the JSON file beside the cohort.
    """

    cohort: Cohort
    list: Path
    audits: Mapping[str, Any]


@dataclass(frozen=True)
class _Evaluated:
    """What an EVAL folder says of copies.

    Attributes:
        print_: Its fingerprint.
        synthetic: Identity of the cohort that it scored.
        calibrations: Space -> where its threshold comes from.
        samples: samples.parquet.
        audited: audited.parquet.
    """

    print_: str
    synthetic: str
    calibrations: Mapping[str, nearest.Calibration]
    samples: pd.DataFrame
    audited: pd.DataFrame

    def hits(self, space: str) -> Hits:
        """Return which samples count as copies in a space."""
        return np.asarray(self.samples[f"similarity_{space}"] > self.calibrations[space].threshold, np.bool_)

    def known(self, space: str) -> Hits:
        """Return the same of the images whose answer is known; what was not judged there is no copy."""
        return np.asarray(self.audited[f"copy_{space}"].fillna(False).astype(bool), np.bool_)

    def rows(self, space: str, kept: Hits, known: Hits, tests: int) -> list[Value]:
        """Return excess, bound and gate in a space, of the samples and the images of known answer that are kept."""
        module, table = mask_copies if space == MASKS else nearest, self.audited
        held_out, found = known & (table["set"] == HOLDOUT).to_numpy(), self.known(space)
        subject = nearest.Tally(self.hits(space)[kept], np.flatnonzero(kept))
        others = nearest.Tally(found[held_out], table["patient"].to_numpy()[held_out])
        rows: list[Value] = module.beyond(
            subject, others, self.planted(space, known), self.calibrations[space], tests=tests
        )
        return rows

    def planted(self, space: str, known: Hits) -> tuple[int, int]:
        """Return how many of some planted copies are found in a space, and how many were judged there."""
        judged = known & (self.audited["set"] != HOLDOUT).to_numpy() & self.audited[f"copy_{space}"].notna().to_numpy()
        return int(self.known(space)[judged].sum()), int(judged.sum())


def withhold(
    evaluation: Path | str, cohort: Path | str, *, out: Path | str, spaces: Sequence[str] | None = None
) -> Withheld:
    """Write a cohort without its copies into folder `out`, and beside it what was held back and both audits.

    `out`.withheld.csv lists the samples, `out`.audits.json holds the audits. The cohort itself is not touched, and the
    same call again returns the finished one.

    Args:
        evaluation: The EVAL folder that scored the cohort, with the metrics `nearest` or `mask_copies`.
        cohort: The synthetic cohort.
        out: The new cohort.
        spaces: Spaces to withhold by; pixels, aligned and masks when left out. A copy in one is held back.

    Raises:
        NotAnEvaluation: The folder is none, not finished, or from before copies were judged against held-out patients.
        NotACohort: The other folder is none.
        Mismatch: The evaluation scored another cohort, the cohort is of real patients, or `out` is something else.
        UnknownName: The evaluation did not judge copies in a space.
        InputError: Every sample is a copy.
        BadOutput: `out` cannot be written.
    """
    found, opened, out = _read(Path(evaluation)), Cohort(cohort), Path(out)
    _check_same(found, opened, Path(evaluation))
    chosen = _chosen(found, spaces)
    by = {space: found.hits(space) for space in chosen}
    kept = ~np.any(list(by.values()), axis=0)
    if not kept.any():
        raise InputError("A cohort without its copies has samples", "every sample is one", "Train another generator")
    config = {"kind": "withhold", "revision": REVISION, "cohort": opened.identity, "evaluation": found.print_}
    config |= {"spaces": sorted(chosen), "samples": runs.sha256("\n".join(opened.samples["sample_id"].astype(str)))}
    step = {**config, "withheld": int((~kept).sum()), "fingerprint": runs.fingerprint(config)}
    audits = {"schema": SCHEMA, **step, "kept": int(kept.sum()), **_audits(found, by, kept)}
    finished = existing(out, config)
    if finished:
        say(f"{out.name} is finished already")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    # The cohort comes last: when it is there, so are they. They depend on nothing but the arguments.
    listed = _beside(out, LIST)
    runs.write_atomic(listed, _listed(found, by).to_csv(index=False))
    runs.write_atomic(_beside(out, AUDIT), json.dumps(audits, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return Withheld(finished or _write(opened, kept, out, config, step), listed, audits)


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")


def _read(folder: Path) -> _Evaluated:
    try:
        facts = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
        samples, audited = (pd.read_parquet(folder / f"{name}.parquet") for name in ("samples", "audited"))
        calibrations = {
            space: nearest.Calibration(**known)
            for space, known in facts["copy_calibration"].items()
            if f"similarity_{space}" in samples and f"copy_{space}" in audited
        }
        return _Evaluated(facts["fingerprint"], facts["config"]["synthetic"], calibrations, samples, audited)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        rule = "Samples are withheld by a finished evaluation of this version"
        raise NotAnEvaluation(rule, f"{folder} is none", _AGAIN) from error


def _check_same(found: _Evaluated, cohort: Cohort, folder: Path) -> None:
    if cohort.facts.provenance == "real":
        raise Mismatch("Samples are withheld from a synthetic cohort", f"{cohort.path.name} is real", "Name another")
    ids = cohort.samples["sample_id"].astype(str).tolist()
    if found.synthetic != cohort.identity or found.samples["sample_id"].astype(str).tolist() != ids:
        rule = "Samples are withheld by an evaluation of the same cohort"
        raise Mismatch(rule, f"{folder.name} did not score {cohort.path.name}", "Evaluate this cohort first")


def _chosen(found: _Evaluated, spaces: Sequence[str] | None) -> list[str]:
    known = list(found.calibrations)
    if spaces is None:
        chosen = [space for space in BY_DEFAULT if space in known] or known[:1]
    else:
        chosen = list(dict.fromkeys(spaces))
    if not chosen:
        raise InputError(
            "Samples are withheld by a search for copies", "this evaluation has none", "Evaluate with --metrics nearest"
        )
    for space in chosen:
        if space not in known:
            raise UnknownName("Copies were searched for in a space", f"not in '{space}'", f"Choose {', '.join(known)}")
    return chosen


def _listed(found: _Evaluated, by: Mapping[str, Hits]) -> pd.DataFrame:
    """Return sample_id, spaces and similarity_<space> of what is held back; no training image is named."""
    rows = np.flatnonzero(np.any(list(by.values()), axis=0))
    table = {"sample_id": found.samples["sample_id"].to_numpy()[rows]}
    table["spaces"] = np.array([" ".join(space for space, hits in by.items() if hits[row]) for row in rows], object)
    table |= {f"similarity_{space}": found.samples[f"similarity_{space}"].to_numpy()[rows] for space in by}
    result: pd.DataFrame = pd.DataFrame(table)
    return result


def _audits(found: _Evaluated, by: Mapping[str, Hits], kept: Hits) -> dict[str, Any]:
    everyone, all_known = np.ones(len(kept), np.bool_), np.ones(len(found.audited), np.bool_)
    passed = ~np.any([found.known(space) for space in by], axis=0)
    others = [space for space in found.calibrations if space not in by]
    first = {space: found.rows(space, everyone, all_known, len(by)) for space in by}
    for space, rows in first.items():
        rows += (mask_copies if space == MASKS else nearest).left(rows[0], found.planted(space, all_known), kept.mean())
    second = {space: found.rows(space, kept, passed, len(others)) for space in others}
    return {
        "first": {space: _json(rows) for space, rows in first.items()},
        "second": {space: _json(rows) for space, rows in second.items()},
        "second_reason": "" if others else _NO_SECOND,
    }


def _json(rows: Sequence[Value]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


def _write(cohort: Cohort, kept: Hits, out: Path, config: Mapping[str, Any], step: Mapping[str, Any]) -> Cohort:
    facts = dataclasses.replace(cohort.facts, history=[*cohort.facts.history, step])
    table = cohort.samples.drop(columns="digest", errors="ignore")
    with writing_cohort(out, facts, config, key=None) as writer:
        for place in np.flatnonzero(kept):
            row = {str(name): None if pd.isna(value) else value for name, value in table.iloc[place].items()}
            writer.append(cohort.images[place], None if cohort.masks is None else cohort.masks[place], row)
        if (cohort.path / _TRAINING).exists():
            runs.write_atomic(writer.folder / _TRAINING, (cohort.path / _TRAINING).read_bytes())
        writer.finish()
    return Cohort(out)


def as_text(made: Withheld) -> str:
    """Return what was held back and both audits, in a few lines."""
    audits = made.audits
    return "\n".join(
        [
            f"{audits['withheld']} of {audits['withheld'] + audits['kept']} samples withheld by "
            f"{' and '.join(audits['spaces'])}; they are listed in {made.list.name}",
            "First audit, before withholding, by the same spaces:",
            *_lines(audits["first"]),
            "Second audit, of what is left, by other spaces:",
            *(_lines(audits["second"]) or [f"  {audits['second_reason']}"]),
            str(made.cohort.path),
        ]
    )


def _lines(audit: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return [f"  {space}: {_said(row)}" for space, rows in audit.items() for row in rows]


def _said(row: Mapping[str, Any]) -> str:
    name = str(row["metric"])
    if row["status"] != "ok":
        return f"{name} not estimable: {row['reason']}"
    if row["unit"] != "share":
        return f"{name} {row['reason']}"
    ends = "" if row["low"] is None else f" ({row['low']:.2%} to {row['high']:.2%})"
    return f"{name} {row['value']:.2%}{ends}; {row['reason']}"
