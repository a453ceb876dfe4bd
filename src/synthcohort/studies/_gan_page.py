"""The report of study 000: Table 2, Figures 3 to 6 and those of its supplement from the user's data, findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cohort import Cohort
from ..errors import writing
from ..execute import Job, Outcome
from ..metrics.nearest import GATE_LEVEL
from ..runs import derive_seed, write_atomic
from ..table_1 import ROWS
from . import _figures, _gan_rows, _parts
from ._cost import cost_section
from ._gan_findings import findings
from ._gan_jobs import SYNTHETIC, Searched, Wanted
from ._page import HIDDEN, REAL_BANNER, Figure, Section, Table, grid, joined, number, showable, write_page
from ._table1 import value_of
from ._verdicts import section, silenced, write_findings

Row = dict[str, Any]
SHOWN = 8
DISTANCE = "Fréchet distance"
SHARES = ("copies", "mask_copies")


def write(
    out: Path,
    paths: Mapping[str, Path],
    originals: Mapping[str, Mapping[str, Job]],
    found: Sequence[Searched],
    outcomes: Mapping[str, Outcome],
    wanted: Wanted,
    *,
    preset: str,
    show_real: bool,
) -> Path:
    """Write the report, its figures, table.json and findings.json into the study folder; return the page."""
    trials, failures = _gan_rows.trial_rows(found, outcomes)
    table, copied = _gan_rows.table2(originals, found, outcomes), _gan_rows.copies(found, outcomes)
    points = _gan_rows.points(found, outcomes)
    ranks = _gan_rows.correlations(points)
    sizes = {name: Cohort(path).counts()["train"]["images"] for name, path in paths.items()}
    told = findings(table, trials, failures, copied, ranks, sizes, learners=wanted.preset.learners)
    verdicts = silenced(told, preset)
    _write_rows(out, table, trials, failures, copied, points, ranks)
    write_findings(out, verdicts)
    jobs = [*(job for each in originals.values() for job in each.values()), *(job for s in found for job in s.ends)]
    sections = [
        _table2(table, trials, failures, copied),
        _searches(trials),
        _ranks(points, ranks),
        _copies(copied),
        _samples(paths, found, outcomes, show_real=show_real),
        _spaces(table, found, outcomes),
        section(verdicts),
        cost_section("gan-study", jobs, outcomes, failures),
        _protocol(wanted),
    ]
    lead = [
        f"{joined(wanted.preset.generators)} on {joined(paths)}: {len(trials) + len(failures)} runs were tried. "
        f"The best run of each has the smallest {DISTANCE} to "
        + ("validation patients." if wanted.against == "val" else "the training images."),
        "A U-Net learns from original images, augmented ones, samples, or originals and samples; all see as many "
        "images, and all are tested on the same real patients.",
    ]
    return write_page(out, "What a generator is worth to a U-Net", lead, sections,
                      banner=REAL_BANNER if show_real else "")  # fmt: skip


def _write_rows(
    out: Path,
    table: Sequence[Row],
    trials: Sequence[Row],
    failures: Sequence[Row],
    copied: Sequence[Row],
    points: Sequence[Row],
    ranks: Sequence[Row],
) -> None:
    content = {"table_2": table, "copies": copied, "checkpoints": points, "rank_correlations": ranks}
    with writing(out):
        write_atomic(out / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in trials))
        write_atomic(out / "failures.jsonl", "".join(json.dumps(row) + "\n" for row in failures))
        write_atomic(out / "table.json", json.dumps(content, indent=2, allow_nan=False) + "\n")


def _table2(table: Sequence[Row], trials: Sequence[Row], failures: Sequence[Row], copied: Sequence[Row]) -> Section:
    head = ("cohort", "U-Net trained on", DISTANCE, "Dice, 95 % interval", "runs tried", "failed", "copies found")
    rows = []
    for line in table:
        who = (line["cohort"], line["generator"])
        tried, bad = (sum((row["cohort"], row["generator"]) == who for row in kept) for kept in (trials, failures))
        flagged = [row for row in copied if (row["cohort"], row["generator"]) == who]
        own = line["generator"] and line["trained"] == SYNTHETIC
        rows.append([
            line["cohort"],
            line["trained"] + (f", {line['generator']}" if line["generator"] else ""),
            number(line["distance"]) if line["distance"] is not None else "\N{EN DASH}",
            _dice(line),
            str(tried + bad) if own else "",
            str(bad) if own else "",
            _flag(flagged) if own else "",
        ])  # fmt: skip
    text = "Intervals are over learners and test patients: they hold no spread between trainings of a generator."
    return Section("Distance and Dice (Table 2)", [text], [Table(head, rows)])


def _flag(copied: Sequence[Row]) -> str:
    """Return whether more samples look like copies than held-out patients do, in any space."""
    gates = [row["value"] for row in copied if row["metric"].endswith("_gate") and row["value"] is not None]
    if gates:
        return "more than by chance" if min(gates) <= GATE_LEVEL else "none beyond chance"
    shares = [row["value"] for row in copied if row["metric"] in SHARES and row["value"] is not None]
    return "not searched for" if not shares else "some, chance not known" if any(shares) else "none"


def _dice(line: Row) -> str:
    if line["dice"] is None:
        return f"none: {line['reason']}"
    if line["low"] is None:
        return f"{number(line['dice'])} (no interval: {line['reason']})"
    return f"{number(line['dice'])} ({number(line['low'])} to {number(line['high'])})"


def _searches(trials: Sequence[Row]) -> Section:
    made = Section("All runs (Figures 3 and 4, and the supplement's)")
    for cohort in dict.fromkeys(row["cohort"] for row in trials):
        own = [row for row in trials if row["cohort"] == cohort]
        names = list(dict.fromkeys(row["generator"] for row in own))
        groups = [(name, [row["distance"] for row in own if row["generator"] == name]) for name in names]
        caption = (
            f"{DISTANCE} of all runs on {cohort}. Median, quartiles, whiskers to 1.5 of their distance; a point is a "
            "run with its own hyper-parameters."
        )
        made.figures.append(Figure(f"figure-3-{_plain(cohort)}", caption, _figures.boxes(groups, axis=DISTANCE)))
        panels = _panels(own)
        if panels:
            said = (
                f"{DISTANCE} of all runs on {cohort} by each hyper-parameter of Table 1. Runs with the generator's own "
            )
            made.figures.append(
                Figure(
                    f"figure-4-{_plain(cohort)}",
                    said + "default of it stand as such.",
                    _figures.against(panels, axis=DISTANCE),
                )
            )
    if not made.figures:
        made.texts.append("No run has a distance.")
    return made


def _panels(rows: Sequence[Row]) -> list[tuple[str, dict[str, list[tuple[str, float]]]]]:
    panels = []
    for title, (option, _, who) in ROWS.items():
        found: dict[str, list[tuple[str, float]]] = {}
        for row in rows:
            if row["generator"] in who:
                value = _said(value_of(option, row["options"]))
                found.setdefault(row["generator"], []).append((value, row["distance"]))
        if found:
            panels.append((title, found))
    return panels


def _said(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, list | tuple):
        return "yes" if value else "no"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _ranks(points: Sequence[Row], ranks: Sequence[Row]) -> Section:
    texts = [
        "Spearman's rank correlation of a smaller distance and a larger Dice: 1 where the distance ranks as Dice does. "
        "Checkpoints are the best run's options trained on a share of the images. Those of one generator are alike, so "
        "the interval over checkpoints is too narrow to stand for other generators."
    ]
    head = ("cohort", "over", "points", "rank correlation, 95 % interval")
    rows = [[line["cohort"], line["over"], str(line["n"]), _rho(line)] for line in ranks]
    made = Section("Does the distance rank as Dice does?", texts, [Table(head, rows)])
    for cohort in dict.fromkeys(row["cohort"] for row in points):
        own = [row for row in points if row["cohort"] == cohort]
        series = {
            name: [(row["distance"], row["dice"]) for row in own if row["generator"] == name]
            for name in dict.fromkeys(row["generator"] for row in own)
        }
        svg = _figures.scatter(series, x=DISTANCE, y="Dice on real test patients")
        caption = f"Distance and Dice of checkpoints and best runs on {cohort}. A colour is a generator."
        made.figures.append(Figure(f"figure-ranks-{_plain(cohort)}", caption, svg))
    return made


def _rho(line: Row) -> str:
    if line["low"] is None:
        return f"{number(line['rho'], 2)} (no interval: {line['reason']})"
    return f"{number(line['rho'], 2)} ({number(line['low'], 2)} to {number(line['high'], 2)})"


def _copies(copied: Sequence[Row]) -> Section:
    text = (
        "Some images look like a training image by chance: beyond chance means more than held-out patients do, by an "
        f"exact test at {GATE_LEVEL}. That none is found bounds copies only as far as this search can tell one."
    )
    head = ("cohort", "generator", "what", "space", "share of copies, exact 95 % interval", "samples")
    rows = [
        [
            row["cohort"],
            row["generator"],
            "images" if row["metric"] == "copies" else "masks",
            row["extractor"].split("@")[0],
            f"none: {row['reason']}" if row["value"] is None else
            f"{row['value']:.1%}" + ("" if row["low"] is None else f" ({row['low']:.1%} to {row['high']:.1%})"),
            str(row["n_synthetic"]),
        ]
        for row in copied
        if row["metric"] in SHARES
    ]  # fmt: skip
    return Section("Memorisation", [text], [Table(head, rows)])


def _samples(
    paths: Mapping[str, Path], found: Sequence[Searched], outcomes: Mapping[str, Outcome], *, show_real: bool
) -> Section:
    made = Section("Samples (Figure 5)")
    for cohort, path in paths.items():
        if show_real:
            real = Cohort(path)
            made.figures.append(_grid(real, real.split("train"), f"Real images of {cohort}", f"real-{_plain(cohort)}"))
        for each in (each for each in found if each.cohort == cohort):
            ended = outcomes[each.made.key]
            if ended.folder is None or not ended.done:
                made.texts.append(f"{each.generator} on {cohort}: {ended.reason}.")
                continue
            samples = Cohort(Path(ended.folder) / _parts.SYNTHETIC)
            judged = Path(outcomes[each.checked.key].folder or "") / _parts.EVALUATION
            rows = np.arange(len(samples)) if show_real else showable(judged, np.arange(len(samples)))
            if not len(rows):
                made.texts.append(
                    f"{each.generator} on {cohort}: no sample may be shown, for copies or want of a search."
                )
                continue
            caption = f"Samples of {each.generator}'s best run on {cohort}, drawn at random"
            name = f"figure-5-{_plain(cohort)}-{each.generator}"
            made.figures.append(_grid(samples, rows, caption, name))
    if not show_real:
        made.texts.append(f"Real images beside them: {HIDDEN}")
    return made


def _grid(cohort: Cohort, rows: Any, caption: str, name: str) -> Figure:
    chosen = np.sort(np.random.default_rng(derive_seed(0, "shown", name)).permutation(rows)[:SHOWN])
    masks = None if cohort.masks is None else cohort.masks[chosen]
    return grid(name, f"{caption}. The second row has the outlines of the masks.", cohort.images[chosen], masks)


def _spaces(table: Sequence[Row], found: Sequence[Searched], outcomes: Mapping[str, Outcome]) -> Section:
    """Return the flattened feature spaces of the best and the worst generator by Dice (Figure 6)."""
    made = Section("Feature spaces of the best and the worst generator (Figure 6)")
    made.texts.append("By Dice. Distances between groups and their density mean nothing in such a figure.")
    for cohort in dict.fromkeys(each.cohort for each in found):
        own = [
            row for row in table if (row["cohort"], row["trained"]) == (cohort, SYNTHETIC) and row["dice"] is not None
        ]
        ranked = sorted(own, key=lambda row: row["dice"])
        for word, row in dict(zip(("worst", "best"), (ranked[:1] + ranked[-1:])[: len(own)], strict=False)).items():
            each = next(s for s in found if (s.cohort, s.generator) == (cohort, row["generator"]))
            made.figures += _umap(each, word, outcomes, made)
    return made


def _umap(each: Searched, word: str, outcomes: Mapping[str, Outcome], made: Section) -> list[Figure]:
    folder = outcomes[each.checked.key].folder
    try:
        evaluation = Path(folder or "") / _parts.EVALUATION
        told = json.loads((evaluation / "explained.json").read_text(encoding="utf-8")).get("umap", {})
        svg = (evaluation / "figures" / "umap.svg").read_text(encoding="utf-8") if told.get("figure") else ""
    except (OSError, ValueError):
        told, svg = {}, ""
    if not svg:
        made.texts.append(f"{each.generator} on {each.cohort}: not made: {told.get('reason') or 'no evaluation'}.")
        return []
    caption = f"{each.generator}, the {word} on {each.cohort}. {told.get('said', '')}"
    return [Figure(f"figure-6-{_plain(each.cohort)}-{each.generator}", caption, svg)]


def _protocol(wanted: Wanted) -> Section:
    preset, paper = wanted.preset, "not stated"
    task = joined(f"{key}={value}" for key, value in preset.task.items()) or "defaults"
    rows = [
        ["protocol", wanted.protocol, "\N{EN DASH}"],
        ["search", f"{preset.trials} seeded draws from Table 1, the defaults first", "about 1,500 runs in all"],
        ["selected by", f"distance to {'validation' if wanted.against == 'val' else 'training'} images",
         "FID to the images that were trained on"],
        ["space of the distance", wanted.extractor, "Inception (2015 weights)"],
        ["images seen, batch", f"{preset.images_seen:,}, {preset.batch}", paper],
        ["samples", f"{preset.n:,}, every fifth of them to stop by", "10,000"],
        ["masks of SPADE", "made by a small network", paper],
        ["U-Net", f"MONAI's, {preset.learners} learners; {task}",
         "settings not stated"],
        ["classical augmentation", "rotations to 60 degrees, shifts to an eighth, flips", "rotations, shifts, flips"],
        ["Dice", "of volumes, mean over structures", "mean not stated"],
    ]  # fmt: skip
    return Section("Protocol", [], [Table(("what", "here", "in the paper"), rows)])


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
