"""The findings of study 003 (DuMont Schütte et al. 2021) and the rules by which a run speaks for or against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..significance import MARGIN
from ._page import number
from ._sharing_rows import over_all
from ._spread import summary
from ._verdicts import LEAST_SEEDS, Finding, Verdict, by_interval, together, within

Row = dict[str, Any]
OWN, REFERENCE = "cpdgan", "proggan"
_PAIRED = f"95 % interval of the difference paired by seed, of {LEAST_SEEDS} or more seeds"
LEAST_PIPELINES = 20
MOST_COPIED, ALPHA = 0.01, 0.05
DIVERGED = ("train: Training diverged", "score: A sample has pixels that are not finite")
"""How the reason of a pipeline begins whose training diverged; a lost worker says nothing of a model."""


def findings(rows: Sequence[Row], ends: Sequence[Row], failures: Sequence[Row]) -> list[Finding]:
    """Return every finding with its verdict.

    Args:
        rows: Of `_sharing_rows.rows_of`.
        ends: Of `_sharing_rows.ends_table`.
        failures: Pipelines that did not end.
    """
    seen = list(rows)

    def end(key: str, where: str, claim: str, axis: str, value: str, *, who: str = "") -> Finding:
        verdict, evidence = _ends(ends, axis, value, who)
        whose = (
            f"of {who}, of which the paper says it, or of all others where it did not run" if who else "of each model"
        )
        rule = f"{_PAIRED}, {whose}, above 0" + (", of as many images." if value == "distance" else ".")
        return Finding(key, "003", where, claim, rule, verdict, evidence)

    return [
        end("fewer-classes", "3.3, Figure 2 a, b", "Fewer label combinations: less is lost.", "classes", "gap"),
        end("classes-distance", "3.3, Figure 3 a", "Fewer label combinations: a smaller distance.", "classes",
            "distance", who=OWN),
        end("classes-delta", "3.3, Figure 3 b", "Fewer label combinations: a smaller delta-syn.", "classes", "delta",
            who=OWN),
        end("few-samples-gap", "3.3, Figure 2 c, d", "Few samples of each combination: less seems to be lost.",
            "samples", "gap", who=OWN),
        end("few-samples-distance", "3.3, Figure 3 c", "Few samples: a larger distance.", "samples", "distance",
            who=OWN),
        end("label-overfitting", "3.3, Figure 3 d", "Few samples: labels are overfitted, delta-syn is larger.",
            "samples", "delta", who=OWN),
        _stable(seen),
        _resolution_helps(seen),
        end("resolution-gap", "3.3, Figure 2 e, f", "Higher resolution: cpdgan loses more against real images.",
            "resolution", "gap", who=OWN),
        _better_model(seen),
        _always_a_gap(seen),
        _no_copies(seen),
        _no_collapse(seen, failures),
        Finding("importance", "003", "3.4, Figures 6 and 7",
                "Networks trained on samples look where those trained on real images look.",
                "Not judged here: read the agreement of `evaluate --explain occlusion` beside its ceiling."),
        Finding("readers", "003", "3.4, Tables S2 to S5",
                "Radiologists do not do better than chance at 128 px; on chest radiographs of 512 px 71 % are right.",
                "Equivalence of accuracy to one half, by `reader analyse`.", evidence="no reader study is part of it"),
    ]  # fmt: skip


def _ends(ends: Sequence[Row], axis: str, value: str, who: str) -> tuple[Verdict, str]:
    found = [line for line in ends if (line["axis"], line["value"]) == (axis, value)]
    found = [line for line in found if line["generator"] == who] or found
    if not found:
        return "cannot tell", f"the {axis} axis has no two ends"
    verdicts, said = list[Verdict](), []
    for line in found:
        enough = line["pairs"] >= LEAST_SEEDS
        verdicts.append(by_interval(line["low"], line["high"]) if enough else "cannot tell")
        why = f"; {line['reason']}" if line["difference"] is None and line["reason"] else ""
        said.append(f"{line['generator']}: {_interval(line)}, {line['pairs']} pairs{why}")
    return together(verdicts), "; ".join(said)


def _interval(line: Row, key: str = "difference") -> str:
    if line["low"] is None:
        return f"{number(line[key])}, no interval"
    return f"{number(line[key])} ({number(line['low'])} to {number(line['high'])})"


def _paired(left: Sequence[Row], right: Sequence[Row], value: str, by: Callable[[Row], Any]) -> Row:
    """Return a summary of differences of a value between rows that agree in `by`, averaged within a seed."""
    other = {(by(row), row["seed"]): row[value] for row in right if row[value] is not None}
    found: dict[int, list[float]] = {}
    for row in left:
        key = (by(row), row["seed"])
        if row[value] is not None and key in other:
            found.setdefault(row["seed"], []).append(row[value] - other[key])
    return summary([sum(values) / len(values) for values in found.values()])


def _judged(line: Row, verdict: Verdict, missing: str) -> tuple[Verdict, str]:
    if line["n"] < LEAST_SEEDS:
        return "cannot tell", f"{missing}: {line['n']} of {LEAST_SEEDS} seeds"
    return verdict, f"{_interval(line, 'mean')}, {line['n']} seeds"


def _stable(rows: Sequence[Row]) -> Finding:
    samples = [row for row in rows if row["axis"] == "samples"]
    numbers = [row["number"] for row in samples]
    most, some = max(numbers, default=0), [n for n in numbers if n >= 3000]
    least = min(some, default=0)
    rule = f"95 % interval of the gap at the fewest samples from 3,000, less that at the most, within {MARGIN} of 0."
    claim = "Down to about 3,000 samples of each combination nothing is lost."
    verdict, evidence = _no_end("no point has 3,000 samples or more, and another more than that")
    if least and least != most:
        left, right = ([row for row in samples if row["number"] == n] for n in (least, most))
        line = _paired(left, right, "gap", lambda row: row["generator"])
        verdict, evidence = _judged(line, within(line["low"], line["high"], margin=MARGIN), "too few")
    return Finding("three-thousand", "003", "3.3, Figure 2 c, d", claim, rule, verdict, evidence)


def _no_end(reason: str) -> tuple[Verdict, str]:
    return "cannot tell", reason


def _resolution_helps(rows: Sequence[Row]) -> Finding:
    sides = [row for row in rows if row["axis"] == "resolution" and row["number"] <= 128]
    numbers = [row["number"] for row in sides]
    claim = "Up to 128 px, AUC after training on samples rises with resolution."
    rule = f"95 % interval of AUC at the largest of these sides less that at the smallest above 0; {LEAST_SEEDS} seeds."
    verdict, evidence = _no_end("there are no two sides up to 128 px")
    if numbers and max(numbers) > min(numbers):
        high, low = ([row for row in sides if row["number"] == n] for n in (max(numbers), min(numbers)))
        line = _paired(high, low, "auc_syn", lambda row: row["generator"])
        verdict, evidence = _judged(line, by_interval(line["low"], line["high"]), "too few")
    return Finding("resolution-auc", "003", "3.3, Figure 2 e, f", claim, rule, verdict, evidence)


def _better_model(rows: Sequence[Row]) -> Finding:
    own, other = ([row for row in rows if row["generator"] == name] for name in (OWN, REFERENCE))
    claim = "cpdgan loses less than proggan."
    rule = f"95 % interval of the gap of proggan less that of cpdgan, over all points, above 0; {LEAST_SEEDS} seeds."
    line = _paired(other, own, "gap", lambda row: row["point"])
    verdict, evidence = _judged(line, by_interval(line["low"], line["high"]), "too few pipelines of both")
    return Finding("better-model", "003", "3.2", claim, rule, verdict, evidence)


def _always_a_gap(rows: Sequence[Row]) -> Finding:
    least = min((row["number"] for row in rows if row["axis"] == "samples"), default=None)
    kept = [row for row in rows if (row["axis"], row["number"]) != ("samples", least)]
    verdicts, said = list[Verdict](), []
    for point, generator in dict.fromkeys((row["point"], row["generator"]) for row in kept):
        line = over_all(kept, "gap", point=point, generator=generator)
        enough = line["n"] >= LEAST_SEEDS
        verdicts.append(by_interval(line["low"], line["high"]) if enough else "cannot tell")
        said.append(verdicts[-1])
    rule = f"95 % interval of the gap above 0 at every point but that with fewest samples; {LEAST_SEEDS} seeds each."
    evidence = f"above 0 at {said.count('supports')}, below at {said.count('contradicts')} of {len(said)} points"
    claim = "Everywhere else, training on samples costs performance."
    return Finding("always-a-gap", "003", "4, discussion", claim, rule, together(verdicts), evidence)


def _no_copies(rows: Sequence[Row]) -> Finding:
    """Return whether samples are copied; some alike are false alarms, so held-out patients are the measure."""
    gates = [row["copies_gate"] for row in rows if row["copies_gate"] is not None]
    bounds = [row["copies_bound"] for row in rows if row["copies_bound"] is not None]
    failing = sum(p * len(gates) <= ALPHA for p in gates)
    below = sum(bound <= MOST_COPIED for bound in bounds)
    verdict: Verdict = "cannot tell"
    if min(len(rows), len(gates)) >= LEAST_PIPELINES and failing:
        verdict = "contradicts"
    elif len(rows) >= LEAST_PIPELINES and below == len(rows):
        verdict = "supports"
    rule = (
        f"Of {LEAST_PIPELINES} or more pipelines none may have more than {MOST_COPIED:.0%} copies by its upper bound; "
        f"against it speaks one with more than held-out patients (exact test, p times pipelines at most {ALPHA})."
    )
    evidence = f"of {len(rows)} pipelines {failing} with more than held-out patients, {below} within the bound"
    return Finding("no-copies", "003", "3.4, Figure 4", "The models do not copy training images.", rule, verdict,
                   evidence)  # fmt: skip


def _no_collapse(rows: Sequence[Row], failures: Sequence[Row]) -> Finding:
    bad = [row for row in failures if str(row["reason"]).startswith(DIVERGED)] + [r for r in rows if r["collapsed"]]
    total = len(rows) + len(failures) - (other := sum(not str(r["reason"]).startswith(DIVERGED) for r in failures))
    verdict: Verdict = "cannot tell"
    if total >= LEAST_PIPELINES:
        verdict = "contradicts" if bad else "supports"
    rule = f"No training of {LEAST_PIPELINES} or more pipelines diverged or collapsed."
    evidence = f"{len(bad)} of {total} pipelines" + (f"; {other} failed for other reasons" if other else "")
    return Finding("no-collapse", "003", "4, discussion", "Training never collapses, at any setting or seed.", rule,
                   verdict, evidence)  # fmt: skip
