"""Results of other pixels or other feature spaces never stand in one table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthcohort.cli import main
from synthcohort.errors import Mismatch
from synthcohort.report import report
from test_report import good_scores, write_eval

TEXTURE = {"extractor": "texture", "resize": "none", "weights": None}


def described(folder: Path, pixels: str = "p" * 64, **extractors: Any) -> Path:
    """Write an EVAL of some pixels and feature spaces."""
    write_eval(folder, [replace(row, pixels_sha256=pixels) for row in good_scores()], lean=True)
    facts = json.loads((folder / "eval.json").read_text())
    facts["config"]["extractors"] = extractors
    (folder / "eval.json").write_text(json.dumps(facts))
    return folder


def test_evals_that_were_made_alike_stand_together(tmp_path: Path) -> None:
    folders = [described(tmp_path / "a", texture=TEXTURE), described(tmp_path / "b", texture=TEXTURE, other={"w": 1})]
    assert report(folders, out=tmp_path / "r.html").exists()


def test_other_pixels_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [described(tmp_path / "a"), described(tmp_path / "b", "q" * 64)]
    assert main(["report", *map(str, folders), "--out", str(tmp_path / "r.html")]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "prepared alike" in said
    assert "a and b" in said
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("change", [{"weights": "d" * 64}, {"resize": "bilinear 299"}])
def test_another_space_of_the_same_name_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    folders = [described(tmp_path / "a", texture=TEXTURE), described(tmp_path / "b", texture={**TEXTURE, **change})]
    with pytest.raises(Mismatch, match="texture has other weights or preprocessing in b than in a"):
        report(folders, out=tmp_path / "r.html")


def test_one_eval_with_rows_of_other_pixels_is_refused(tmp_path: Path) -> None:
    rows = good_scores()
    write_eval(tmp_path / "a", [replace(rows[0], pixels_sha256="q" * 64), *rows[1:]], lean=True)
    with pytest.raises(Mismatch, match="prepared alike"):
        report([tmp_path / "a"], out=tmp_path / "r.html")
