"""What several test files share: one thread, and one small cohort of discs.

The networks of the tests are so small that two threads wait for each other more than they compute.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy read it; child processes inherit it

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # a loaded machine is no failure
settings.load_profile("no clock")

SIDE, SLICES = 16, 3
PATIENTS = {"train": 10, "val": 3, "test": 4, "reference": 6}


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real cohort of 69 images of 16x16 pixels of 23 patients, three slices each: a disc and its mask."""
    from synthcohort.cohort import Facts, writing_cohort

    out = tmp_path_factory.mktemp("discs") / "discs"
    facts = Facts(
        name="discs",
        modality="phantom",
        provenance="real",
        shape=(1, SIDE, SIDE),
        dtype="uint8",
        value_range=(0.0, 255.0),
        mask_classes=("background", "disc"),
        pixel_rules={"resize": "area"},
    )
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE]
    with writing_cohort(out, facts, {"kind": "test"}, b"k" * 32) as writer:
        for split, patients in PATIENTS.items():
            for patient in range(patients):
                for slice_index in range(SLICES):
                    row, column, radius = *rng.uniform(5, 11, 2), rng.uniform(2.5, 5)
                    mask = (np.hypot(y - row, x - column) < radius).astype(np.uint8)
                    image = 60 + rng.normal(0, 10, (SIDE, SIDE)) + 100 * mask
                    name = f"secret-{split}-{patient}"
                    table = {"sample_id": f"{name}-{slice_index}", "patient_id": name, "group_id": f"{name}-volume"}
                    table |= {"slice_index": slice_index, "split": split, "spacing_y_mm": 1.5, "spacing_x_mm": 1.25}
                    writer.append(np.clip(image, 0, 255).astype(np.uint8)[None], mask, table)
        writer.finish()
    return out


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real cohort of 160 images of 16x16 pixels of 80 patients with two findings that show, and no masks.

    "large" is the size of the disc, "bright" the right half; a few labels are unknown, and one combination is rare.
    """
    from synthcohort.cohort import Facts, writing_cohort

    out = tmp_path_factory.mktemp("labelled") / "labelled"
    facts = Facts(
        name="labelled",
        modality="phantom",
        provenance="real",
        shape=(1, SIDE, SIDE),
        dtype="uint8",
        value_range=(0.0, 255.0),
        labels=("large", "bright"),
        pixel_rules={"resize": "area"},
    )
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:SIDE, :SIDE]
    with writing_cohort(out, facts, {"kind": "test"}, b"k" * 32) as writer:
        for split, patients in {"train": 44, "val": 10, "test": 14, "reference": 12}.items():
            for patient in range(patients):
                for number in range(2):
                    large = bool(rng.random() < 0.4)
                    bright = bool(rng.random() < (0.05 if large else 0.5))
                    row, column = rng.uniform(6, 10, 2)
                    disc = np.hypot(y - row, x - column) < (rng.normal(5 if large else 3, 1))
                    image = 60 + rng.normal(0, 60, (SIDE, SIDE)) + 80 * disc + 25 * bright * (x >= SIDE // 2)
                    name = f"secret-{split}-{patient}"
                    table = {"sample_id": f"{name}-{number}", "patient_id": name, "group_id": f"{name}-study"}
                    table |= {"slice_index": number, "split": split, "label.large": large}
                    table |= {"label.bright": None if rng.random() < 0.05 else bright}
                    writer.append(np.clip(image, 0, 255).astype(np.uint8)[None], None, table)
        writer.finish()
    return out
