"""A memoriser that was trained for long is found by every attack; patients whom nothing met are not told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthcohort import plugins
from synthcohort.cli import main
from synthcohort.cohort import Cohort
from synthcohort.evaluate import _sets
from synthcohort.metrics import membership
from synthcohort.types import Features


@pytest.mark.slow  # about a minute
def test_a_well_trained_memoriser_is_found_and_holdout_is_chance(tmp_path: Path) -> None:
    download, cohort, run, made = (str(tmp_path / name) for name in ("download", "cohort", "run", "made"))
    for words in (
        ["phantom", "acdc", download, "--patients", "60"],
        ["prepare", "acdc", download, "--size", "32", "--shares", "0.5,0.1,0.2,0.2", "--out", cohort],
        ["train", cohort, "--generator", "memoriser", "--images-seen", "60k", "--out", run],
        ["sample", run, "--n", "800", "--out", made],
    ):
        assert main(words) == 0
    real = _sets.real_sets(Cohort(Path(cohort)), ())

    def seen(images: _sets.ImageSet) -> Features:
        return Features(plugins.find("extractors", "pixels")().extract(images.images, (0, 255)), images.patients, "p")

    subjects = {"memoriser": _sets.whole(Cohort(Path(made)), "memoriser", ()), "holdout": real.holdout}
    rows = {
        name: membership.score(seen(real.train), seen(images), seen(real.held_out), seed=0)
        for name, images in subjects.items()
    }
    areas = {name: {v.label: v for v in values if v.metric == "membership_auc"} for name, values in rows.items()}
    for label, area in areas["memoriser"].items():
        assert area.value is not None, label
        assert area.value > 0.9, label
    best, chance = areas["memoriser"]["best"], areas["holdout"]["best"]
    assert best.low is not None
    assert best.low > 0.9
    assert chance.low is not None
    assert chance.high is not None
    assert chance.low <= 0.5 <= chance.high
