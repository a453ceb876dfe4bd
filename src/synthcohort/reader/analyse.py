"""The analysis of a reader study: analysis.json, analysis.html, readers.csv, cases.csv and the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import BadOption
from ..progress import say
from ..runs import fingerprint, publishing, write_atomic
from ._analysis import MADE_BY, SCHEMA, Protocol, analysis
from ._analysis_figures import draw
from ._analysis_page import page
from ._analysis_words import headline
from ._answers import read_answers, trail_problems
from ._readings import Readings, join
from ._simulate import PREFIX, simulate, simulated_orders
from ._simulate import Observers as Observers
from ._study import ORDERS, TRUTH, Design, check_file, read_design, read_orders, read_truth

__all__ = ["PROTOCOLS", "SCHEMA_FILE", "Observers", "analyse", "write"]

SCHEMA_FILE = Path(__file__).parent / "schema" / "analysis.schema.json"
PROTOCOLS: tuple[Protocol, ...] = ("recommended", "paper")


def analyse(
    study: Path | str,
    *,
    out: Path | str,
    database: str | None = None,
    protocol: Protocol = "recommended",
    simulated: Observers | None = None,
    readers: int | None = None,
) -> Path:
    """Analyse a reader study and return the page.

    Writes analysis.json (of the schema in SCHEMA_FILE), analysis.html, readers.csv, cases.csv and figures/*.svg. Of
    simulated readers every name begins with "simulated-", and no human answer is read.

    Args:
        study: Folder of the study.
        out: Folder to write; must not exist.
        database: URL of the answers; None for those in the study's folder.
        protocol: "paper" adds the tests of studies 000 and 003.
        simulated: What readers are like who are simulated in the place of people; None for people.
        readers: How many simulated readers; as many as the study has when None.

    Raises:
        NotAStudy: The folder is no study, or a damaged one.
        BadOption: An option is unknown or impossible.
        BadOutput: `out` exists or cannot be written.
    """
    folder, out = Path(study), Path(out)
    _check(protocol, simulated, readers)
    design = read_design(folder)
    for path in (ORDERS, TRUTH):
        check_file(folder, design, path)
    readings = _simulated(folder, design, simulated, readers) if simulated else _human(folder, design, database)
    content = analysis(design, readings, protocol=protocol, observers=simulated)
    content["trail"] = [] if simulated else trail_problems(folder, database)
    write(content, readings, design, out)
    say(f"{headline(content)}.")
    if left := [each["reader"] for each in content["readers"]["unfinished"]]:
        say(f"Not finished, so not counted: {', '.join(left)}")
    return out / f"{_prefix(content)}analysis.html"


def _check(protocol: str, simulated: Observers | None, readers: int | None) -> None:
    if protocol not in PROTOCOLS:
        raise BadOption("A protocol is recommended or paper", f"'{protocol}'", "Write --protocol paper")
    if readers is not None and simulated is None:
        raise BadOption("Only simulated readers are counted beforehand", "--readers alone", "Add --simulate D_PRIME")
    if simulated is not None and not (np.isfinite(simulated.d_prime) and 0 <= simulated.case_sd <= 1):
        raise BadOption("d' is a number", f"{simulated.d_prime}", "Write --simulate 0.5")
    if readers is not None and readers < 1:
        raise BadOption("A study has at least one reader", f"{readers}", "Write --readers 10")


def _human(folder: Path, design: Design, database: str | None) -> Readings:
    return join(design, read_orders(folder), read_truth(folder), read_answers(folder, database))


def _simulated(folder: Path, design: Design, observers: Observers, readers: int | None) -> Readings:
    truth, orders = read_truth(folder), read_orders(folder)
    invented = simulated_orders(orders, readers or len(orders))
    kinds = (truth["kind"] == "synthetic").to_numpy()
    return join(design, invented, truth, simulate(observers, invented, kinds, seed=design.seed))


def _prefix(content: dict[str, Any]) -> str:
    return f"{PREFIX}-" if content["simulated"] else ""


def write(content: dict[str, Any], readings: Readings, design: Design, out: Path) -> None:
    """Write the folder of an analysis, whole or not at all.

    Args:
        content: Of analysis.json.
        readings: Of the readers who finished.
        design: Of the study.
        out: Must not exist.

    Raises:
        BadOutput: It does, or cannot be written.
    """
    figures = draw(content, readings)
    prefix = _prefix(content)
    with publishing(out, fingerprint({"made_by": MADE_BY, "schema": SCHEMA, "study": design.name})) as folder:
        (folder / "figures").mkdir()
        for name, svg in figures.items():
            write_atomic(folder / "figures" / f"{prefix}{name}.svg", svg)
        _readers_table(content).to_csv(folder / f"{prefix}readers.csv", index=False)
        _cases_table(content, readings, design).to_csv(folder / f"{prefix}cases.csv", index=False)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        write_atomic(folder / f"{prefix}analysis.json", text + "\n")
        write_atomic(folder / f"{prefix}analysis.html", page(content, figures))


_COUNTS = ("true_reals", "false_synthetics", "true_synthetics", "false_reals")
_FIGURES = ("accuracy", "sensitivity", "specificity", "d_prime", "criterion", "auc", "agreement")
_PLAIN = ("repeats", "repeats_agreed", "median_seconds", "timed_out", "marked")


def _readers_table(content: dict[str, Any]) -> pd.DataFrame:
    """Return one row a reader, those who did not finish too, without figures."""
    rows = [_reader_row(each) for each in content["by_reader"]]
    rows += [{"finished": False, **left} for left in content["readers"]["unfinished"]]
    ends = [f"{name}{end}" for name in _FIGURES for end in ("", "_low", "_high")]
    columns = ["reader", "simulated", "finished", "answered", "asked", *_COUNTS, *ends, *_PLAIN]
    table = pd.DataFrame(rows).assign(simulated=content["simulated"]).reindex(columns=columns)
    whole = [*_COUNTS, "repeats", "repeats_agreed", "timed_out", "marked"]  # of readers who did not finish: empty
    return table.astype(dict.fromkeys(whole, "Int64"))


def _reader_row(each: dict[str, Any]) -> dict[str, Any]:
    asked = sum(each[name] for name in _COUNTS) + each["repeats"]
    row = {"reader": each["reader"], "finished": True, "answered": asked, "asked": asked}
    for name in _FIGURES:
        row |= {f"{name}{end}": each[name][key] for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}
    return row | {name: each[name] for name in (*_COUNTS, *_PLAIN)}


def _cases_table(content: dict[str, Any], readings: Readings, design: Design) -> pd.DataFrame:
    """Return one row an image: kind, how many readers called it synthetic, mean confidence and rating."""
    some = len(readings.readers) > 0
    table = {
        "image": readings.images,
        "kind": np.where(readings.synthetic, "synthetic", "real"),
        "simulated": content["simulated"],
        "readers": len(readings.readers),
        "called_synthetic": readings.said.sum(axis=0),
        "mean_confidence": _mean(readings.confidence) if some else np.nan,
        "mean_rating": _mean(readings.ratings) if some else np.nan,
        "median_seconds": np.median(readings.seconds, axis=0) if some else np.nan,
        "marked": (readings.marks > 0).sum(axis=0),
    }
    ticked = {
        f"finding.{name}": readings.findings[:, :, place].sum(axis=0) for place, name in enumerate(design.findings)
    }
    return pd.DataFrame({**table, **ticked})


def _mean(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    means: npt.NDArray[np.float64] = values.mean(axis=0)
    return means
