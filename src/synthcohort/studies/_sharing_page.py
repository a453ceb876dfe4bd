"""The report of the data-sharing study: Table S1 from the user's data, Figures 2 to 7 and S2 to S5, tests, findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cohort import Cohort
from ..execute import Outcome
from ..runs import derive_seed, write_atomic
from . import _figures, _parts
from ._cost import cost_section
from ._page import (
    HIDDEN,
    REAL_BANNER,
    Figure,
    Section,
    Table,
    grid,
    joined,
    number,
    p_value,
    showable,
    with_interval,
    write_page,
)
from ._points import LARGEST_TABLE_SIDE, Point
from ._sharing_findings import findings
from ._sharing_jobs import Pipeline, Wanted, drawn_sizes
from ._sharing_rows import OVERFIT_DELTA, ends_table, of, settings_table
from ._spread import LEAST, summary
from ._verdicts import section, silenced, write_findings

Row = dict[str, Any]
AXIS_WORDS = {
    "classes": "label combinations",
    "samples": "training images of each combination",
    "resolution": "side in pixels",
}
NAMES = {"gap": "AUC real less synthetic", "delta": "delta-syn", "distance": "Fréchet distance"}
SHOWN = 8


def write(
    out: Path,
    points: Sequence[Point],
    found: Sequence[Pipeline],
    outcomes: Mapping[str, Outcome],
    rows: Sequence[Row],
    failures: Sequence[Row],
    wanted: Wanted,
    *,
    preset: str,
    show_real: bool,
) -> Path:
    """Write the report, its figures, table.json and findings.json into the study folder; return the page."""
    table, ends = settings_table(rows), ends_table(rows)
    verdicts = silenced(findings(rows, ends, failures), preset)
    write_findings(out, verdicts)
    content = {"settings": table, "ends": ends, "points": [point.to_json() for point in points]}
    write_atomic(out / "table.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    sections = [
        _settings(points),
        _performance(points, rows, table, wanted),
        _overfitting(rows, ends, wanted),
        _tests(ends),
        _pictures(found, outcomes, rows, show_real=show_real),
        section(verdicts),
        cost_section("data-sharing", [pipeline.score for pipeline in found], outcomes, failures),
        _protocol(wanted, max(pipeline.fold for pipeline in found)),
    ]
    lead = [
        f"{len(rows)} whole pipelines of {joined(wanted.preset.generators)} over {len(points)} settings; the unit of "
        "every interval is a whole pipeline with one seed.",
        "A classifier learns from real images, another from samples that carry the same labels; both are tested on the "
        "same real patients. Numbers are for these patients, these networks and these amounts.",
    ]
    banner = REAL_BANNER if show_real else ""
    return write_page(out, "Data sharing: what is lost by sharing synthetic images", lead, sections, banner=banner)


def _settings(points: Sequence[Point]) -> Section:
    head = ("setting", "axis", "side", "findings", "combinations", "train", "val", "test", "of each combination")
    rows = [
        [
            point.name,
            point.axis,
            str(point.size),
            str(point.labels),
            str(point.combinations),
            *("?" if count is None else f"{count:,}" for count in point.images),
            "-".join(f"{each:,}" for each in dict.fromkeys(point.each)),
        ]
        for point in points
    ]
    return Section("Settings (Table S1)", [], [Table(head, rows)])


def _performance(points: Sequence[Point], rows: Sequence[Row], table: Sequence[Row], wanted: Wanted) -> Section:
    head = (
        "setting",
        "generator",
        "AUC, real",
        "AUC, synthetic",
        "real less synthetic",
        "parity",
        "distance",
        "copies",
    )
    lines = [
        [
            line["point"],
            line["generator"],
            with_interval(line["auc_real"]),
            with_interval(line["auc_syn"]),
            with_interval(line["gap"]),
            f"{line['parity']['verdict']} (margin {line['parity']['margin']})",
            with_interval(line["distance"]),
            with_interval(line["copies"]),
        ]
        for line in table
    ]
    caption = (
        f"Mean over whole pipelines with 95 % interval, of AUCs over test patients as well; below {LEAST} pipelines "
        "there is none"
    )
    made = Section("Performance (Figure 2)", [], [Table(head, lines, caption)])
    for axis in dict.fromkeys(point.axis for point in points):
        chosen = sorted((point for point in points if point.axis == axis), key=lambda point: point.number)
        if not any(row["axis"] == axis for row in rows):
            continue
        made.figures.append(_bars(axis, chosen, rows, wanted))
    return made


def _bars(axis: str, points: Sequence[Point], rows: Sequence[Row], wanted: Wanted) -> Figure:
    real = [summary(list(of(rows, "auc_real", point=point.name).values())) for point in points]
    synthetic = {
        name: [summary(list(of(rows, "auc_syn", point=point.name, generator=name).values())) for point in points]
        for name in wanted.preset.generators
    }
    svg = _figures.bars([f"{point.number:,}" for point in points], real, synthetic, axis=AXIS_WORDS[axis])
    caption = (
        f"AUC on real test images by {AXIS_WORDS[axis]}. The line is training on real images with one standard "
        "deviation over pipelines as its band; bars are training on samples. Dashed is chance."
    )
    return Figure(f"figure-2-{axis}", caption, svg)


def _overfitting(rows: Sequence[Row], ends: Sequence[Row], wanted: Wanted) -> Section:
    texts = [
        "Delta-syn is AUC on unseen samples less AUC on real patients, of classifiers trained on samples. Where it is "
        "high, samples say what they show in ways that real images do not: labels are overfitted, and a small loss "
        "against real images then means little. The alarm is raised where its 95 % interval lies above 0 and its mean "
        f"above {OVERFIT_DELTA}, both set before any run."
    ]
    table = settings_table(rows)
    head = ("setting", "generator", "delta-syn", "label overfitting")
    lines = [[line["point"], line["generator"], with_interval(line["delta"]), line["alarm"]] for line in table]
    made = Section("Label overfitting (Figure 3)", texts, [Table(head, lines)])
    for axis in dict.fromkeys(row["axis"] for row in rows):
        for value in ("distance", "delta", "gap"):
            groups = _groups(rows, axis, value, wanted)
            if not groups:
                continue
            caption = (
                f"{NAMES[value]} at the ends of the {axis} axis ({AXIS_WORDS[axis]}). Median, quartiles, whiskers "
                "to 1.5 of their distance; a point is a pipeline."
            )
            svg = _figures.boxes(groups, axis=NAMES[value], mark=None if value == "distance" else 0.0)
            made.figures.append(Figure(f"figure-3-{axis}-{value}", caption, svg))
    return made


def _groups(rows: Sequence[Row], axis: str, value: str, wanted: Wanted) -> list[tuple[str, list[float]]]:
    ends = sorted({(row["generator"], row["number"]) for row in rows if row["axis"] == axis and row["extreme"]})
    return [
        (f"{name} {end:,}", list(of(rows, value, axis=axis, number=end, generator=name).values()))
        for generator in wanted.preset.generators
        for name, end in ends
        if name == generator
    ]


def _tests(ends: Sequence[Row]) -> Section:
    texts = [
        "Study 003 compared the ends of an axis by a one-sided test of Mann and Whitney. It is unpaired; beside it "
        "stand the difference paired by seed with its 95 % t-interval, the exact test of sign flips of five pairs or "
        "more, and Holm's correction over the primary family: the gaps of all axes and generators. All of them speak "
        "of these test patients: what others would change is in the intervals of the settings above only.",
        _reach(ends),
    ]
    head = ("axis", "generator", "value", "larger at", "than at", "p, Mann-Whitney", "paired difference",
            "p, sign flip", "p, Holm")  # fmt: skip
    rows = [
        [
            line["axis"],
            line["generator"],
            NAMES[line["value"]],
            f"{line['of']:,}",
            f"{line['over']:,}",
            p_value(line["p_mann_whitney"]),
            with_interval({**line, "mean": line["difference"], "reason": line["reason"] or "too few pairs"}),
            p_value(line["p_sign_flip"], line["reason"]),
            p_value(line.get("p_holm"), line["reason"]) if line["value"] == "gap" else "not in the family",
        ]
        for line in ends
    ]
    return Section("Tests between the ends of an axis", texts, [Table(head, rows)])


def _reach(ends: Sequence[Row]) -> str:
    """Return what p values this study could have had at all."""
    primary = [line for line in ends if line["value"] == "gap" and line["p_sign_flip"] is not None]
    if not primary:
        return "No gap has the five pairs that a sign flip needs."
    pairs = min(line["pairs"] for line in primary)
    return (
        f"Two-sided sign flips of {pairs} pairs reach no p below {number(2 / 2**pairs, 4)}, after Holm over "
        f"{len(primary)} gaps none below {number(min(2 / 2**pairs * len(primary), 1.0), 4)}: where that is above 0.05, "
        "read the intervals."
    )


def _pictures(
    found: Sequence[Pipeline], outcomes: Mapping[str, Outcome], rows: Sequence[Row], *, show_real: bool
) -> Section:
    """Return samples of each generator at the largest side and at the largest to 128 px, and what explains them."""
    made = Section("Samples, nearest images, importance (Figures 4 to 7, S2 to S5)")
    best = _best(found, rows)
    for pipeline in best:
        folder = outcomes[pipeline.score.key].folder
        assert folder is not None
        name, size = pipeline.generator, pipeline.point.size
        cohort = Cohort(folder / _parts.SYNTHETIC)
        test = cohort.split("test")
        test = test if show_real else showable(folder / _parts.EVALUATION, test)
        rng = np.random.default_rng(derive_seed(0, "shown", name))
        chosen = np.sort(rng.permutation(test)[: 2 * SHOWN])
        if not len(chosen):
            made.texts.append(f"{name}, {size} px: no sample may be shown, since all count as copies.")
            continue
        largest = size == max(each.point.size for each in best if each.generator == name)
        near = ", ".join(["4, 5, S2"] * largest + ["S3, S5"] * (size <= LARGEST_TABLE_SIDE))
        maps = ", ".join(["6"] * largest + ["7, S4"] * (size <= LARGEST_TABLE_SIDE))
        caption = (
            f"Samples of {name}, drawn at random (as Figures {near}, upper rows): {pipeline.point.name}, first seed."
        )
        made.figures.append(grid(f"figure-4-{name}-{size}", caption, cohort.images[chosen]))
        for figure, words in (("nearest", f"Figures {near}"), ("occlusion", f"Figures {maps}")):
            made.figures += _explained(folder / _parts.EVALUATION, figure, words, f"{name}, {size} px", made,
                                       show_real=show_real)  # fmt: skip
    return made


def _best(found: Sequence[Pipeline], rows: Sequence[Row]) -> list[Pipeline]:
    """Return for each generator and shown side the explained pipeline with the smallest loss (S.6)."""
    known = {(row["point"], row["generator"], row["seed"]): row["gap"] for row in rows}
    best: dict[tuple[str, int], tuple[float, Pipeline]] = {}
    for generator in dict.fromkeys(pipeline.generator for pipeline in found):
        own = [pipeline for pipeline in found if pipeline.generator == generator]
        ended = [each for each in own if (each.point.name, generator, each.seed) in known]
        explained = [each for each in ended if each.score.arguments["explain"]]
        for pipeline in explained:
            place = generator, pipeline.point.size
            gap = known[pipeline.point.name, generator, pipeline.seed]
            rank = gap if gap is not None else np.inf
            if place[1] in drawn_sizes([each.point for each in explained]) and (
                place not in best or rank < best[place][0]
            ):
                best[place] = (rank, pipeline)
    return [pipeline for _, (_, pipeline) in sorted(best.items(), key=lambda each: -each[0][1])]


def _explained(evaluation: Path, figure: str, words: str, name: str, made: Section, *, show_real: bool) -> list[Figure]:
    try:
        told = json.loads((evaluation / "explained.json").read_text(encoding="utf-8")).get(figure, {})
        svg = (evaluation / "pairs" / f"{figure}.svg").read_text(encoding="utf-8") if told.get("figure") else ""
    except (OSError, ValueError):
        told, svg = {}, ""
    if not svg:
        made.texts.append(f"{words}, {name}: not made: {told.get('reason') or 'the evaluation has none'}.")
        return []
    if not show_real:
        made.texts.append(f"{words}, {name}: {HIDDEN}")
        return []
    plain = name.removesuffix(" px").replace(", ", "-")
    return [Figure(f"{figure}-{plain}", f"{words}, {name}. {told.get('said', '')}", svg, real=True)]


def _protocol(wanted: Wanted, folds: int) -> Section:
    recommended = wanted.protocol == "recommended"
    rows = [
        ["protocol", wanted.protocol],
        [
            "labels",
            "those of the real images, one for one: samples must stay where the cohort may be seen",
        ],
        [
            "distance of runs",
            "to val and test patients, by samples with their labels; its bias differs between settings of other size"
            if recommended
            else f"to training images, {wanted.preset.n:,} of each side, repeated where there are fewer",
        ],
        ["space of the distance", wanted.extractor + ("" if wanted.extractor == "inception" else "; not a FID")],
        ["classifier", joined(f"{key}={value}" for key, value in wanted.task.items()) or "recommended"],
        [
            "images seen, batch",
            f"{wanted.preset.images_seen:,}, {wanted.preset.batch}; published points have own ones",
        ],
        ["pipelines of a point", f"{wanted.preset.seeds}; at ends {dict(wanted.preset.extreme_seeds) or 'as many'}"],
        [
            "test patients",
            "the same in every pipeline of a setting: only intervals of settings hold others, by a bootstrap"
            if folds == 1
            else f"those of {folds} folds in turn; training patients overlap, so intervals are a little narrow",
        ],
        [
            "in the paper",
            "10 seeds at the ends of classes, 20 of samples, 4 elsewhere; FID; DenseNet-121",
        ],
    ]
    return Section("Protocol", [], [Table(("what", "here"), rows)])
