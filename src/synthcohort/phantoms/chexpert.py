"""A stand-in for the CheXpert download: the same tables and JPEG tree, chest films with findings that can be seen."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from .._listing import mark_phantom
from ..errors import BadOption, BadOutput, writing
from ..layouts import CHEXPERT_COLUMNS, CHEXPERT_FINDINGS, CHEXPERT_ROOTS, CHEXPERT_TABLES, chexpert_path
from ..progress import track
from ..runs import derive_seed
from ._chest import Chest
from ._chest_devices import devices
from ._chest_frontal import Frontal
from ._chest_lateral import lateral
from ._chest_reports import Health, reading, report
from ._chest_signs import Signs, apply, change
from ._film import Film, Pose

_PATIENTS = 64540
"""Patients of the real training table; those of the validation table are numbered on from there."""


class Phantom:
    """Radiographs of `patients` patients, and of a fiftieth as many in the validation table.

    A patient has one to eight studies, a study one to three films: frontal (AP or PA), lateral, now and then a second
    frontal one. The findings are those of the study; how well each shows is `_chest_reports.VISIBILITY`.

    Args:
        patients: How many in the training table, 1 to 64540.
        side: Shorter side of a film in pixels; 320 as in the small download. Anatomy and findings do not depend on it.
    """

    REVISION: ClassVar[int] = 1

    def __init__(self, *, patients: int = 300, side: int = 320) -> None:
        if not 1 <= patients <= _PATIENTS or not 32 <= side <= 1024:
            rule = f"The phantom has 1 to {_PATIENTS} patients and films of 32 to 1024 pixels"
            raise BadOption(rule, f"patients={patients}, side={side}", "Choose others")
        self._patients, self._side = patients, side

    def write(self, root: Path, *, seed: int) -> None:
        """Write the download below `root`. A patient is the same however many patients there are.

        Raises:
            BadOutput: `root` holds a download already, or cannot be written.
        """
        folder = root / CHEXPERT_ROOTS[0]
        if folder.exists():
            raise BadOutput("A phantom is written into an empty folder", f"{root} has a download", "Choose another")
        valid = max(1, round(self._patients / 50))
        numbers = (range(1, self._patients + 1), range(_PATIENTS + 1, _PATIENTS + valid + 1))
        with writing(root):
            folder.mkdir(parents=True)
            for table, patients in zip(CHEXPERT_TABLES, numbers, strict=True):
                self._write_table(root, table, patients, seed)
            mark_phantom(root)

    def _write_table(self, root: Path, table: str, numbers: Sequence[int], seed: int) -> None:
        with (root / CHEXPERT_ROOTS[0] / table).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(CHEXPERT_COLUMNS)
            for number in track(numbers, f"phantom chexpert {table}", len(numbers), "patients"):
                for row, image in _patient(number, table.removesuffix(".csv"), self._side, seed):
                    path = root / row[0]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image.save(path, quality=90)
                    rows.writerow(row)


def _patient(number: int, part: str, side: int, seed: int) -> Iterator[tuple[list[str], Image.Image]]:
    """Yield (row of the table, film) of every film of a patient."""
    rng = np.random.default_rng(derive_seed(seed, "phantom chexpert", number))
    female = bool(rng.random() < 0.41)
    chest, health = Chest.draw(rng, female=female), Health.draw(rng)
    age = int(np.clip(rng.normal(63 if health.ill else 53, 16), 18, 90))
    studies = 1 if part == "valid" else int(min(rng.geometric(0.42), 8))
    for study in range(1, studies + 1):
        drawn = np.random.default_rng(derive_seed(seed, "phantom chexpert", number, study))
        signs = health.study(drawn)
        bedside = bool(drawn.random() < (0.88 if health.ill else 0.3))
        stated = reading(signs) if part == "valid" else report(drawn, signs)
        cells = ["" if stated[name] is None else str(stated[name]) for name in CHEXPERT_FINDINGS]
        for view, kind in enumerate(_views(drawn, bedside), 1):
            own = np.random.default_rng(derive_seed(seed, "phantom chexpert", number, study, view))
            path = chexpert_path(CHEXPERT_ROOTS[0], part, number, study, view, kind)
            position = "" if kind == "lateral" else "AP" if bedside else "PA"
            row = [path, "Female" if female else "Male", str(age), kind.capitalize(), position, *cells]
            yield row, _film(own, chest, signs, side, kind, bedside)


def _views(rng: np.random.Generator, bedside: bool) -> list[str]:
    """Return the kinds of a study's films; patients who can stand get a lateral one, too."""
    views = ["frontal"] * (2 if rng.random() < 0.06 else 1)
    return [*views, "lateral"] if rng.random() < (0.04 if bedside else 0.6) else views


def _film(rng: np.random.Generator, chest: Chest, signs: Signs, side: int, kind: str, bedside: bool) -> Image.Image:
    pose = Pose.draw(rng, bedside=bedside and kind == "frontal", lateral=kind == "lateral")
    film = Film(pose, side)
    if kind == "lateral":
        return film.develop(lateral(film, chest, pose, signs, rng), rng)
    frontal = Frontal(film, chest, pose, change(signs))
    apply(frontal, signs)
    if "Support Devices" in signs:
        frontal.extra += devices(frontal, signs["Support Devices"])
    return film.develop(frontal.density(rng), rng)
