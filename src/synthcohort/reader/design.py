"""`reader design`: a study from a real and a synthetic cohort, refused unless its files betray nothing.

What is drawn comes from the seed, so that it can be repeated: which images, and each reader's order of them. What must
not be worked out comes from the system's secret randomness: invitation codes, presentation ids, and which row of
images.npy is which image (see `_orders`). So the same command again makes another study of the same images.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from .. import __version__
from ..cohort import Cohort, check_comparable
from ..errors import BadOption, Mismatch
from ..progress import say
from ..runs import file_sha256, fingerprint, publishing, write_atomic
from ..types import Array
from ._draw import Drawn, draw
from ._export import exported, write_images
from ._orders import new_code, orders, reader_names, shuffled_in_secret
from ._power import Power, power_table
from ._power import as_text as as_text
from ._preregistration import preregistration
from ._proof import proof
from ._study import FEW_READERS, IMAGES, INVITATIONS, PREREGISTRATION, PROOF, TRUTH, Design, Kind, write_study

FEWEST_IMAGES, MOST_IMAGES, MOST_READERS, MOST_TIME_S = 4, 100_000, 999, 3600.0
_IMAGES_RULE = f"--images is {FEWEST_IMAGES} to {MOST_IMAGES}"
_LONGEST_NAME, _LONGEST_FINDING = 120, 60
_WINDOW = (0.001, 0.999)


@dataclass(frozen=True)
class _Row:
    """One image of the study: its kind, its row in its cohort, and whether its answer is shown before the study."""

    kind: Kind
    cohort_row: int
    training: bool


@dataclass(frozen=True)
class Choices:
    """What may be chosen of a study.

    Attributes:
        images: How many different images each reader judges.
        synthetic_share: Of them.
        readers: How many are invited.
        repeats: How many of the images come a second time, at most half of them.
        training: How many further images, half of them synthetic, are shown with their answer first.
        blocks: Parts with a pause between them.
        findings: That readers may tick.
        marks: Whether readers may mark artefacts.
        time_limit_s: For each image.
        go_back: Whether answers may be changed.
        margin: Of the equivalence test, between 0 and 0.5.
        alpha: Level of the equivalence test.
        seed: Decides which images are drawn and each reader's order.
        name: Shown to readers; made from the real cohort's name when empty.
        sanity_check: That the second cohort may be a control, or real: a check of the study itself, which says so.
    """

    images: int = 100
    synthetic_share: float = 0.5
    readers: int = 5
    repeats: int = 10
    training: int = 0
    blocks: int = 2
    findings: Sequence[str] = ()
    marks: bool = True
    time_limit_s: float | None = None
    go_back: bool = False
    margin: float = 0.1
    alpha: float = 0.05
    seed: int = 0
    name: str = ""
    sanity_check: bool = False


def design(real: Path | str, synthetic: Path | str, *, out: Path | str, choices: Choices | None = None) -> Path:
    """Write a reader study into the new folder `out` and return it.

    Args:
        real: The real cohort; images of its test and reference patients are shown, one a patient.
        synthetic: The cohort to tell from it. Where both have findings, combinations are matched.
        out: The study; must not exist.
        choices: What may be chosen; their defaults when None.

    Raises:
        NotACohort: A folder is none.
        Mismatch: The cohorts were prepared differently, are of the wrong kind, or findings cannot be matched.
        BadOption: A choice is impossible.
        InputError: A cohort is too small, the export paths can be told apart, or a fact of the files tells the truth.
        BadOutput: `out` exists or cannot be written.
    """
    choices, out = choices or Choices(), Path(out)
    cohorts = _opened(Path(real), Path(synthetic), choices.sanity_check)
    chosen = _designed(cohorts, choices)
    _check(chosen)
    with publishing(out, fingerprint({"kind": "reader study", "design": chosen})) as folder:
        _write(folder, chosen, cohorts)
    return out


def _designed(cohorts: tuple[Cohort, Cohort], choices: Choices) -> Design:
    facts, share = cohorts[0].facts, choices.synthetic_share
    same = ("images", "repeats", "training", "blocks", "marks", "time_limit_s", "go_back", "margin", "alpha", "seed")
    return Design(
        name=choices.name.strip() or f"Reader study of {facts.name}",
        shape=facts.shape,
        dtype=facts.dtype,
        window=facts.value_range,
        synthetic=round(choices.images * share) if 0 < share < 1 else 0,
        findings=tuple(choices.findings),
        cohorts={"real": cohorts[0].identity, "synthetic": cohorts[1].identity},
        readers=reader_names(choices.readers),
        subject=cohorts[1].facts.provenance,
        **{name: getattr(choices, name) for name in same},
    )


def power(
    margins: Sequence[float],
    readers: Sequence[int],
    images: Sequence[int],
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> list[Power]:
    """Return how likely a study shows equivalence when nobody can tell, for every combination.

    Args:
        margins: Of accuracy, between 0 and 0.5.
        readers: Numbers of readers.
        images: Numbers of images, half of them synthetic.
        alpha: Level of the test.
        seed: Decides the simulated answers.

    Raises:
        BadOption: A value is impossible.
    """
    rules = [
        (all(0 < each < 0.5 for each in margins), "--margin lies between 0 and 0.5", margins),
        (all(1 <= each <= MOST_READERS for each in readers), f"--readers is 1 to {MOST_READERS}", readers),
        (all(FEWEST_IMAGES <= each <= MOST_IMAGES for each in images), _IMAGES_RULE, images),
        (0 < alpha < 0.5, "--alpha lies between 0 and 0.5", (alpha,)),
    ]
    _check_rules([(holds, rule, ", ".join(map(str, given))) for holds, rule, given in rules])
    unique = [list(dict.fromkeys(each)) for each in (margins, readers, images)]
    return power_table(unique[0], [int(n) for n in unique[1]], [int(n) for n in unique[2]], alpha=alpha, seed=seed)


def _opened(real: Path, synthetic: Path, sanity_check: bool) -> tuple[Cohort, Cohort]:
    cohorts = Cohort(real), Cohort(synthetic)
    kinds = [cohort.facts.provenance for cohort in cohorts]
    check_comparable(*cohorts)
    if kinds[0] != "real":
        raise Mismatch("The first cohort is the real one", f"{real.name} is {kinds[0]}", "Swap the two")
    if kinds[1] != "synthetic" and not sanity_check:
        rule = "The second cohort has to be synthetic"
        raise Mismatch(rule, f"{synthetic.name} is {kinds[1]}", "To check the study itself, add --sanity-check")
    if kinds[1] == "synthetic" and sanity_check:
        rule = "--sanity-check is for a control or a real cohort in the place of the synthetic one"
        raise BadOption(rule, f"{synthetic.name} is synthetic", "Leave it out")
    if cohorts[0].facts.shape[0] not in (1, 3):
        raise Mismatch("Readers see grey or RGB images", f"{cohorts[0].facts.shape[0]} channels", "Prepare it again")
    return cohorts


def _check(chosen: Design) -> None:
    """Raise BadOption where a design is impossible."""
    real, most = chosen.images - chosen.synthetic, chosen.images // 2
    limit = chosen.time_limit_s
    rules = [
        (FEWEST_IMAGES <= chosen.images <= MOST_IMAGES, _IMAGES_RULE, chosen.images),
        (
            min(chosen.synthetic, real) >= 2,
            "--synthetic-share leaves two images of each kind or more",
            chosen.synthetic,
        ),
        (1 <= len(chosen.readers) <= MOST_READERS, f"--readers is 1 to {MOST_READERS}", len(chosen.readers)),
        (0 <= chosen.repeats <= most, f"--repeats is 0 to half of --images, here {most}", chosen.repeats),
        (chosen.training >= 0 and chosen.training != 1, "--training is 0, or 2 or more", chosen.training),
        (1 <= chosen.blocks <= chosen.images, "--blocks is 1 to --images", chosen.blocks),
        (0 < chosen.margin < 0.5, "--margin lies between 0 and 0.5", chosen.margin),
        (0 < chosen.alpha < 0.5, "--alpha lies between 0 and 0.5", chosen.alpha),
        (limit is None or 0 < limit <= MOST_TIME_S, f"--time-limit is above 0 and at most {MOST_TIME_S:g} s", limit),
        (chosen.seed >= 0, "--seed is 0 or more", chosen.seed),
        (
            _printable(chosen.name, _LONGEST_NAME),
            f"--name is one line of {_LONGEST_NAME} characters or fewer",
            "it is not",
        ),
    ]
    _check_rules(rules)
    for finding in chosen.findings:
        if not _printable(finding, _LONGEST_FINDING) or chosen.findings.count(finding) > 1:
            raise BadOption("--findings are different short texts", f"'{finding}'", "Write --findings Edema,Nodule")


def _check_rules(rules: Sequence[tuple[bool, str, object]]) -> None:
    for holds, rule, given in rules:
        if not holds:
            raise BadOption(rule, str(given), "Choose another value")


def _printable(text: str, longest: int) -> bool:
    return bool(text.strip()) and text.isprintable() and len(text) <= longest


def _write(folder: Path, chosen: Design, cohorts: tuple[Cohort, Cohort]) -> None:
    real = chosen.images - chosen.synthetic
    shown_first = (chosen.training - chosen.training // 2, chosen.training // 2)
    drawn = draw(*cohorts, (real, chosen.synthetic), shown_first, seed=chosen.seed)
    _say_origin(cohorts, drawn)
    say("Proving that what leaves betrays nothing")
    own = [side for side, cohort in enumerate(cohorts) if cohort.identity == cohorts[0].identity]
    shown = np.concatenate([rows[side] for rows in (drawn.study, drawn.training) for side in own])
    proved = proof(*cohorts, shown, seed=chosen.seed)
    rows = shuffled_in_secret(_rows(drawn))
    sides = dict(zip(get_args(Kind), cohorts, strict=True))
    pictures = [exported(sides[row.kind].images[row.cohort_row], chosen.window) for row in rows]
    for path in (IMAGES, TRUTH):
        (folder / path).parent.mkdir(mode=0o700 if path == TRUTH else 0o755)
    write_images(folder / IMAGES, pictures, len(rows), chosen.shape, chosen.dtype)
    codes = {reader: new_code() for reader in chosen.readers}
    final = _windowed(chosen, pictures)
    judged = [place for place, row in enumerate(rows) if not row.training]
    shown_with_answer = {place: row.kind for place, row in enumerate(rows) if row.training}
    asked = orders(codes, judged, shown_with_answer, repeats=chosen.repeats, blocks=chosen.blocks, seed=chosen.seed)
    _write_truth(folder / TRUTH, rows, sides, drawn)
    _write_invitations(folder / INVITATIONS, codes)
    write_atomic(folder / PROOF, json.dumps(proved, indent=2, allow_nan=False) + "\n")
    chance = power_table([final.margin], [len(final.readers)], [final.images], alpha=final.alpha, seed=final.seed)[0]
    written = write_study(folder, final, asked)
    write_atomic(folder / PREREGISTRATION, _registered(folder, written, drawn, proved, chance))


def _say_origin(cohorts: tuple[Cohort, Cohort], drawn: Drawn) -> None:
    learnt = (cohorts[1].facts.generator or {}).get("cohort")
    if learnt and learnt != cohorts[0].identity:
        say("Warning: the generator did not learn from this real cohort as it is, so its test and reference patients")
        say("may have been among those it learnt from: see that they were not.")
    left = [name for name in cohorts[0].facts.labels if name not in drawn.matched]
    if left:
        say(f"Warning: not matched, for only the real cohort states them: {', '.join(left)}. If one kind has more of")
        say("them, a reader may tell by that; the pre-registration names what is matched.")
    if drawn.unknown or drawn.unmatched:
        said = f"{drawn.unknown} with a finding that is not stated, {drawn.unmatched} with a combination too rare among"
        say(f"Held-out patients passed over so that findings match: {said} synthetic images")


def _rows(drawn: Drawn) -> list[_Row]:
    uses = ((drawn.study, False), (drawn.training, True))
    return [
        _Row(kind, int(row), training)
        for sides, training in uses
        for kind, side in zip(get_args(Kind), sides, strict=True)
        for row in side
    ]


def _windowed(chosen: Design, pictures: Sequence[Array]) -> Design:
    """Return the design with the first window: the whole range of 8 bits, or what most pixels of both kinds use."""
    if chosen.dtype == "uint8":
        return chosen
    low, high = np.quantile(np.stack(pictures), _WINDOW).tolist()
    return chosen if low >= high else Design(**{**vars(chosen), "window": (float(low), float(high))})


def _write_truth(path: Path, rows: Sequence[_Row], sides: dict[Kind, Cohort], drawn: Drawn) -> None:
    table: dict[str, Any] = {
        "kind": [row.kind for row in rows],
        "use": ["training" if row.training else "study" for row in rows],
        "cohort_row": [row.cohort_row for row in rows],
    }
    for name in drawn.matched:
        table[f"label.{name}"] = [sides[row.kind].samples[f"label.{name}"].iloc[row.cohort_row] for row in rows]
    frame = pd.DataFrame(table)
    frame.attrs["nonce"] = secrets.token_hex(32)  # without it the published digest could be tried out
    frame.to_parquet(path, index=False)
    path.chmod(0o600)


def _write_invitations(path: Path, codes: dict[str, str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("reader", "code"), *codes.items()])
    write_atomic(path, text.getvalue())
    path.chmod(0o600)


def _registered(folder: Path, final: Design, drawn: Drawn, proved: dict[str, Any], power: Power) -> str:
    digests = {str(path): file_sha256(folder / path) for path in (Path("study.json"), PROOF)} | dict(final.files)
    digests |= {f"the {kind} cohort": digest for kind, digest in final.cohorts.items()}
    left_out = {"matched": drawn.matched, "unknown": drawn.unknown, "unmatched": drawn.unmatched}
    _say_power(power.power, len(final.readers))
    return preregistration(final, proved, power, digests, left_out, __version__)


def _say_power(power: float | None, readers: int) -> None:
    if 1 < readers < FEW_READERS:
        say(f"Warning: with fewer than {FEW_READERS} readers the intervals of the analysis are somewhat too narrow.")
    if power is None:
        say("Note: with one reader equivalence cannot be shown.")
    else:
        say(f"If nobody can tell, this study shows equivalence with probability {power:.2f}; see `reader power`")
