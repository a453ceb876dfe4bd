"""Published settings with pixels: a CheXpert tree of full size whose 148,013 films are one grey level each."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import test_settings
from synthcohort.cohort import verify
from synthcohort.describe import as_text, describe
from synthcohort.errors import InputError
from synthcohort.layouts import CHEXPERT_COLUMNS, CHEXPERT_FINDINGS, CHEXPERT_ROOTS, chexpert_path
from synthcohort.prepare import prepare

ROOT = CHEXPERT_ROOTS[0]
LINKS = 30_000
"""Names that one file is given; file systems allow at least as many."""


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHCOHORT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of `test_settings`, with a film for each row."""
    root, there = tmp_path_factory.mktemp("chest"), test_settings.chest()
    with (root / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(CHEXPERT_COLUMNS)
        seen: Counter[int] = Counter()
        for number, (patient, values) in enumerate(zip(there.patients.tolist(), there.values, strict=True)):
            seen[patient] += 1
            path = chexpert_path(ROOT, "train", patient, seen[patient], 1, "frontal")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            film = root / f"film{number // LINKS}.jpg"
            if not film.exists():
                Image.fromarray(np.full((8, 8), 90, np.uint8)).save(film)
            os.link(film, root / path)
            rows.writerow([path, "Female", "50", "Frontal", "AP", *("1.0" if value else "" for value in values)])
    (root / "train.csv").rename(root / ROOT / "train.csv")
    for film in root.glob("film*.jpg"):
        film.unlink()
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "combinations", "each"),
    [
        ("chest-classes-20", (29000, 3800, 3800), 20, (1450, 190, 190)),
        ("chest-samples-200", (600, 2250, 2250), 3, (200, 750, 750)),
        ("chest-resolution-32", (117168, 4000, 4000), 138, None),
    ],
)
def test_what_is_cut_has_the_stated_counts(
    download: Path,
    tmp_path: Path,
    name: str,
    images: tuple[int, ...],
    combinations: int,
    each: tuple[int, ...] | None,
) -> None:
    cohort = prepare("chexpert", download, out=tmp_path / "cohort", protocol="paper", setting=name, split="plain")
    assert verify(cohort.path) == []
    assert cohort.images.shape == (sum(images), 1, 32, 32)
    splits = ("train", "val", "test")
    assert {split: count["images"] for split, count in cohort.counts().items()} == dict(
        zip(splits, images, strict=True)
    )
    assert cohort.samples.groupby("patient_id")["split"].nunique().max() == 1
    held = Counter(
        (split, tuple(row)) for split, row in zip(cohort.samples["split"], cohort.label_matrix(), strict=True)
    )
    assert len({row for _, row in held}) == combinations
    if each is not None:
        assert {count for (split, _), count in held.items() if split == "train"} == {each[0]}
        assert {count for (split, _), count in held.items() if split == "test"} == {each[2]}
    assert set(cohort.facts.labels) <= set(CHEXPERT_FINDINGS)
    assert cohort.label_matrix().any(axis=0).all()
    assert f"setting   {name}" in as_text(describe(cohort.path))


@pytest.mark.slow
def test_a_setting_that_the_data_cannot_fill_is_refused(download: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has \d+ of \d+|combination"):
        prepare(
            "chexpert",
            download,
            out=tmp_path / "cohort",
            setting="chest-classes-20",
            shares=(0.2, 0.4, 0.4, 0.0),
        )
    assert not (tmp_path / "cohort").exists()
