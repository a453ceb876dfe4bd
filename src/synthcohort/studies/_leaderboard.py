"""The leaderboard: one line for each cohort and generator, paired comparisons of the primary endpoint, a Pareto figure.

Rows of several studies, or sites, are merged when their pixels were prepared alike and their protocol is the same. The
primary endpoint is named beforehand; its differences are paired by pipeline seed, tested by sign flips and corrected by
Holm over the pairs of a cohort. No loss against real images is called parity: a generator is "not inferior" when
the whole interval of the loss lies under the margin.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .. import runs
from ..cohort import Facts
from ..errors import BadOption, InputError, Mismatch, writing
from ..figures import LINES, blank, styled, svg_text
from ..significance import MARGIN, holm, non_inferiority, sign_flip
from ._pipeline import LEAST

FILES = ("leaderboard.json", "leaderboard.md", "pareto.svg")
PRIMARY = ("dice_volume", "auc", "frechet")
"""What may be the primary endpoint."""
SPACES = ("dinov2", "inception", "squeezenet", "radiomics", "texture", "pixels", "task")
"""Feature space of the distance, the best known first; the task's own last, for it differs from seed to seed."""
_LOWER = ("frechet",)
_SAME = ("pixels_sha256", "protocol_sha256", "primary")
_PIPELINE = ("cohort", "generator", "pipeline_seed")
_MARKERS = "osD^vP*Xhd"

Row = Mapping[str, Any]


def primary_metric(facts: Facts, asked: str) -> str:
    """Return the metric of the primary endpoint.

    Raises:
        BadOption: It is none, or the cohort cannot have it.
    """
    served = {"dice_volume": bool(facts.mask_classes), "auc": bool(facts.labels), "frechet": True}
    if asked and not served.get(asked):
        can = ", ".join(name for name, there in served.items() if there)
        raise BadOption("The primary endpoint is one that the cohort has", f"'{asked}'", f"Choose from {can}")
    return asked or next(name for name in PRIMARY if served[name])


def leaderboard(files: Sequence[Path | str], *, out: Path | str) -> Path:
    """Merge rows.jsonl files of `study compare` into one table and figure; return the folder.

    Args:
        files: The files; costs.jsonl beside one is used for the figure.
        out: Folder for leaderboard.json, leaderboard.md and pareto.svg.

    Raises:
        InputError: A file holds no such rows, or the same pipeline with another result.
        Mismatch: Two files are of other pixels or of another protocol.
    """
    if not files:
        raise BadOption("A leaderboard is made of rows.jsonl files", "none was given", "Name some")
    rows, costs = list[dict[str, Any]](), list[dict[str, Any]]()
    for file in map(Path, files):
        found = runs.RowLog(file).rows()
        if not found or not all({*_SAME, *_PIPELINE, "splits_sha256", "margin"} <= {*row} for row in found):
            raise InputError("A leaderboard is made of rows of `study compare`", str(file), "Name its rows.jsonl")
        _check_same([*rows[:1], *found], file)
        rows += [_named(row) for row in found]
        costs += [_named(row) for row in runs.RowLog(file.with_name("costs.jsonl")).rows()]
    merged = _once(rows)
    with writing(Path(out)):
        Path(out).mkdir(parents=True, exist_ok=True)
    return write(Path(out), merged, costs, primary=rows[0]["primary"], margin=rows[0]["margin"])


def _check_same(rows: Sequence[Row], file: Path) -> None:
    for name in _SAME:
        if len(values := sorted({str(row[name]) for row in rows})) > 1:
            rule = "Rows of one leaderboard have the same pixels and protocol"
            shown = f"{file.name} has another {name} ({values[0][:12]}, {values[1][:12]})"
            raise Mismatch(rule, shown, "Make a leaderboard of each")


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose cohort is told from others of the same name by its patients and splits."""
    return {**row, "cohort": f"{row['cohort']} ({str(row['splits_sha256'])[:6]})"}


def _once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each row once; the same study may be named twice."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in (*_PIPELINE, "comparison_id", "role", "subject", "arm"))
        before = found.setdefault(key, row)
        if before["value"] != row["value"]:
            shown = f"{row['generator']}, seed {row['pipeline_seed']} on {row['cohort']}"
            raise InputError("A pipeline has one result", f"{shown} has two", "Leave out the file that is wrong")
    return list(found.values())


def write(out: Path, rows: Sequence[Row], costs: Sequence[Row], *, primary: str, margin: float) -> Path:
    """Write leaderboard.json, leaderboard.md and pareto.svg into a folder that is there, and return it.

    Args:
        out: The folder.
        rows: Of rows.jsonl.
        costs: Of costs.jsonl.
        primary: Metric of the primary endpoint.
        margin: Of non-inferiority.
    """
    lines, pairs = [], []
    for cohort in dict.fromkeys(row["cohort"] for row in rows):
        own = [row for row in rows if row["cohort"] == cohort]
        values = {name: _values(own, name, primary) for name in dict.fromkeys(row["generator"] for row in own)}
        lines += [_line(cohort, name, each, costs, primary, margin) for name, each in values.items()]
        pairs += _pairs(cohort, {name: each["primary"] for name, each in values.items()})
    lines.sort(key=lambda line: (line["cohort"], _rank(line, primary)))
    content = {"primary": primary, "margin": margin, "lines": lines, "pairs": pairs}
    told = {**content, "lines": [{key: line[key] for key in line if key != "seconds"} for line in lines]}
    with writing(out):
        runs.write_atomic(out / FILES[0], json.dumps(told, indent=2, allow_nan=False) + "\n")
        runs.write_atomic(out / FILES[1], as_markdown(content))
        runs.write_atomic(out / FILES[2], pareto(lines, primary))
    return out


def _rank(line: Row, primary: str) -> float:
    mean = line["primary"]["mean"]
    return float("inf") if mean is None else mean if primary in _LOWER else -mean


def _values(rows: Sequence[Row], generator: str, primary: str) -> dict[str, dict[int, float]]:
    """Return what a generator's pipelines reached by seed: primary, ceiling, loss, frechet and copies."""
    own = [row for row in rows if row["generator"] == generator and row["value"] is not None and row["status"] == "ok"]
    spaces = {row["extractor"].split("-")[0] for row in own if row["metric"] == "frechet"}
    space = next((name for name in SPACES if name in spaces), "")
    found: dict[str, dict[int, float]] = {name: {} for name in ("primary", "ceiling", "loss", "frechet", "copies")}
    for row in own:
        seed, metric, value = int(row["pipeline_seed"]), row["metric"], float(row["value"])
        overall = row["label"] in ("", "mean")
        if metric == "frechet":
            overall = overall and row["extractor"].split("-")[0] == space
        endpoint = metric == primary and overall and row["arm"] in ("image", "synthetic->real", "real->real")
        if endpoint and row["role"] in ("subject", "ceiling"):
            found["primary" if row["role"] == "subject" else "ceiling"].setdefault(seed, value)
        if metric == "frechet" and overall and row["role"] == "subject":
            found["frechet"].setdefault(seed, value)
        if metric == "copies" and row["role"] == "subject" and row["subject"] != "planted copies":
            found["copies"][seed] = max(value, found["copies"].get(seed, 0.0))  # the space that finds most
    sign = -1.0 if primary in _LOWER else 1.0
    both = found["primary"].keys() & found["ceiling"].keys()
    found["loss"] = {seed: sign * (found["ceiling"][seed] - found["primary"][seed]) for seed in sorted(both)}
    return found


def _summary(values: Mapping[int, float]) -> dict[str, Any]:
    """Return mean, 95 % t-interval over seeds and their number."""
    each = np.array(list(values.values()), np.float64)
    if not len(each):
        return {"mean": None, "low": None, "high": None, "seeds": 0}
    mean, low, high = float(each.mean()), None, None
    if len(each) >= LEAST:
        half = float(stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / len(each) ** 0.5)
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "seeds": len(each)}


def _line(
    cohort: str,
    generator: str,
    values: Mapping[str, Mapping[int, float]],
    costs: Sequence[Row],
    primary: str,
    margin: float,
) -> dict[str, Any]:
    summaries = {name: _summary(each) for name, each in values.items()}
    took = [row["seconds"] for row in costs if (row["cohort"], row["generator"]) == (cohort, generator)]
    seconds = [sum(each[kind] or 0.0 for kind in ("train", "sample") if kind in each) for each in took]
    verdict = "" if primary in _LOWER else non_inferiority(summaries["loss"]["high"], margin=margin)
    made = [each for each in seconds if each]
    return {
        "cohort": cohort, "generator": generator, **summaries, "verdict": verdict,
        "seconds": float(np.mean(made)) if made else None,
    }  # fmt: skip


def _pairs(cohort: str, values: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    """Return every pair of generators: the mean difference over shared seeds, its interval, p and p after Holm."""
    pairs = []
    for left, right in itertools.combinations(values, 2):
        shared = sorted(values[left].keys() & values[right].keys())
        differences = {seed: values[left][seed] - values[right][seed] for seed in shared}
        p = sign_flip(list(differences.values())) if len(shared) <= 40 else None
        pairs.append({"cohort": cohort, "left": left, "right": right, **_summary(differences), "p": p})
    known = [pair for pair in pairs if pair["p"] is not None]
    for pair, adjusted in zip(known, holm([pair["p"] for pair in known]), strict=True):
        pair["p_holm"] = float(adjusted)
    return [{**pair, "p_holm": pair.get("p_holm")} for pair in pairs]


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return the leaderboard as Markdown text."""
    primary, lines, pairs = content["primary"], content["lines"], content["pairs"]
    head = f"| cohort | generator | {primary} | on real images | loss | verdict at margin {content['margin']:g}"
    out = [f"{head} | Fréchet distance | copies | seeds |", "|" + "---|" * 9]
    for line in lines:
        cells = [_cell(line[name]) for name in ("primary", "ceiling", "loss")]
        cells += [line["verdict"], _cell(line["frechet"]), _cell(line["copies"]), str(line["primary"]["seeds"])]
        out.append("| " + " | ".join([line["cohort"], line["generator"], *cells]) + " |")
    out += ["", "Mean and 95 % t-interval over pipeline seeds. Copies: the largest share over the feature spaces."]
    if pairs:
        out += ["", f"| cohort | pair | difference in {primary} | p, sign flips | p, Holm | paired seeds |"]
        out += ["|" + "---|" * 6]
        for pair in pairs:
            found = ["needs five pairs" if pair[name] is None else f"{pair[name]:.3g}" for name in ("p", "p_holm")]
            named = f"{pair['left']} - {pair['right']}"
            out.append("| " + " | ".join([pair["cohort"], named, _cell(pair), *found, str(pair["seeds"])]) + " |")
    return "\n".join(out) + "\n"


def _cell(summary: Row) -> str:
    if summary["mean"] is None:
        return "not estimable"
    interval = "" if summary["low"] is None else f" ({summary['low']:.3f} to {summary['high']:.3f})"
    return f"{summary['mean']:.3f}{interval}"


def pareto(lines: Sequence[Row], primary: str) -> str:
    """Return the figure of utility against copies and cost as SVG text; a ring marks what nothing beats in all."""
    cohorts = list(dict.fromkeys(line["cohort"] for line in lines))
    with styled():
        figure = blank(2.9 * len(cohorts))
        grid = figure.subplots(len(cohorts), 2, squeeze=False, sharey="row")
        for row, cohort in zip(grid, cohorts, strict=True):
            own = [line for line in lines if line["cohort"] == cohort and line["primary"]["mean"] is not None]
            best = _front(own, primary)
            for axes, label in zip(row, ("copies, share", "minutes to train and sample"), strict=True):
                axes.set_xlabel(label)
                axes.margins(0.12)
            row[0].set_ylabel(f"{primary}\n{cohort}" if len(cohorts) > 1 else primary)
            for place, line in enumerate(own):
                _mark(row, line, place, ring=line["generator"] in best)
            if primary in _LOWER:
                row[0].invert_yaxis()
        handles, labels = grid[0][0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
        return svg_text(figure)


def _mark(row: Any, line: Row, place: int, *, ring: bool) -> None:
    minutes = None if line["seconds"] is None else line["seconds"] / 60
    y = line["primary"]
    for axes, x in zip(row, (line["copies"]["mean"], minutes), strict=True):
        if x is None:
            continue
        if y["low"] is not None:
            axes.plot([x, x], [y["low"], y["high"]], color=LINES[place % len(LINES)], linewidth=1.2, zorder=1)
        style = {"markeredgecolor": "#1c232b", "markeredgewidth": 1.4} if ring else {}
        marker = _MARKERS[place % len(_MARKERS)]
        axes.plot(
            [x], [y["mean"]], marker, color=LINES[place % len(LINES)], markersize=7, label=line["generator"], **style
        )


def _front(lines: Sequence[Row], primary: str) -> set[str]:
    """Return the generators that no other one is as good as in all of utility, copies and cost, and better in one."""
    sign = 1.0 if primary in _LOWER else -1.0
    unknown = float("inf")
    points = {
        line["generator"]: (
            sign * line["primary"]["mean"],
            unknown if line["copies"]["mean"] is None else line["copies"]["mean"],
            unknown if line["seconds"] is None else line["seconds"],
        )
        for line in lines
    }
    return {
        name
        for name, own in points.items()
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in points.values())
    }


__all__ = ["MARGIN", "leaderboard", "primary_metric", "write"]
