"""A stand-in for the ACDC download: the same files, short-axis hearts whose anatomy varies by patient and disease."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import nibabel
import numpy as np

from .._listing import mark_phantom
from ..errors import BadOption, BadOutput, writing
from ..layouts import (
    ACDC_GROUPS,
    ACDC_INFO,
    ACDC_TESTING,
    ACDC_TRAINING,
    acdc_frame,
    acdc_mask,
    acdc_patient,
)
from ..progress import track
from ..runs import derive_seed
from ..types import Array
from ._heart import Heart
from ._render import Canvas, signal
from ._thorax import Thorax


class Phantom:
    """Cine MRI of `patients` hearts, in blocks by disease group as in the real training set.

    Groups differ in their means, and single patients overlap: ejection fractions of NOR are drawn with mean 0.58 and
    spread 0.05, and the 6 to 12 slices add as much to what their masks show, so that a few lie near 0.40.

    Args:
        patients: How many, 1 to 999.
        test_patients: How many more lie in the testing part, in blocks too; the real download has 50.
        size: Longer side of an image in pixels. The field of view does not depend on it.
    """

    REVISION: ClassVar[int] = 1

    def __init__(self, *, patients: int = 100, test_patients: int = 0, size: int = 176) -> None:
        everyone = patients + test_patients
        if min(patients - 1, test_patients) < 0 or everyone > 999 or not 32 <= size <= 512:
            rule = "The phantom has 1 to 999 patients and images of 32 to 512 pixels"
            raise BadOption(rule, f"patients={patients}, test_patients={test_patients}, size={size}", "Choose others")
        self._parts = {ACDC_TRAINING: range(1, patients + 1), ACDC_TESTING: range(patients + 1, everyone + 1)}
        self._size = size

    def write(self, root: Path, *, seed: int) -> None:
        """Write the download below `root`. Patient k of a group is the same however many patients there are.

        Raises:
            BadOutput: `root` holds a download already, or cannot be written.
        """
        if (root / ACDC_TRAINING[0]).exists():
            raise BadOutput("A phantom is written into an empty folder", f"{root} has a download", "Choose another")
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            places = [(part, number) for part, numbers in self._parts.items() for number in numbers]
            for part, number in track(places, "phantom acdc", len(places), "patients"):
                folder = root.joinpath(*part, acdc_patient(number))
                folder.mkdir(parents=True, exist_ok=True)
                numbers = self._parts[part]
                group = ACDC_GROUPS[(number - numbers[0]) * len(ACDC_GROUPS) // len(numbers)]
                self._write_patient(folder, number, group, seed)
            mark_phantom(root)

    def _write_patient(self, folder: Path, number: int, group: str, seed: int) -> None:
        rng = np.random.default_rng(derive_seed(seed, "phantom acdc", number))
        frames, spacing_mm, gap_mm = _patient(rng, group, self._size)
        systole = int(rng.integers(7, 15))
        for number_of_frame, (image, mask) in zip((1, systole), frames, strict=True):
            for name, volume in ((acdc_frame, image), (acdc_mask, mask)):
                _write_nifti(folder / name(folder.name, number_of_frame), volume, (spacing_mm, spacing_mm, gap_mm))
        info = f"ED: 1\nES: {systole}\nGroup: {group}\nNbFrame: {int(rng.integers(20, 36))}\n"
        (folder / ACDC_INFO).write_text(info, encoding="utf-8")


def _patient(rng: np.random.Generator, group: str, size: int) -> tuple[list[tuple[Array, Array]], float, float]:
    """Return [(image, mask) at end-diastole and end-systole] as (Z, H, W), pixel spacing and slice gap in mm."""
    field_mm = float(np.clip(rng.normal(255, 28), 205, 330))
    slices = int(rng.integers(6, 13))
    height, width = (round(size * share) for share in [(1, 1), (1, 1), (1, 1), (0.9, 1), (1, 0.9)][rng.integers(5)])
    # The first slice lies near the base, sometimes above it; the last near the apex, sometimes past it.
    level = np.linspace(rng.uniform(-0.05, 0.16), rng.uniform(0.78, 1.0), slices)
    hearts, thorax = Heart.draw(rng, group), Thorax.draw(rng)
    canvas = Canvas.blank(slices, height, width, field_mm / size)
    thorax.paint(canvas, rng, level, heart=hearts[0].centre, reach_mm=hearts[0].reach_mm)
    coil, gain = _coil(canvas, rng), rng.uniform(1.5, 6.0)
    noise = rng.uniform(3.0, 9.0)
    frames = []
    for heart in hearts:
        drawn = canvas.copy()
        mask = heart.paint(drawn, rng, level)
        blur_px = (rng.uniform(0.5, 0.8) + 0.5 * (rng.random(slices) < 0.15)) * size / 176
        image = signal(drawn, coil, rng, noise=noise, blur_px=blur_px)
        frames.append((np.rint(image * gain).astype(np.int16), mask))
    return frames, field_mm / size, round(float(85 / slices), 2)


def _coil(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Return (H, W) float32 receiver sensitivity: brighter near the chest coil, about 1 at the centre."""
    direction, strength = rng.normal(-2.5, 0.5), rng.uniform(0.15, 0.6)
    along = (canvas.x[None, :] * np.cos(direction) + canvas.y[:, None] * np.sin(direction)) / 130
    smooth = canvas.part((slice(None), slice(None))).noise(rng, 120)[0]
    return np.asarray(np.exp(strength * along + 0.08 * smooth), dtype=np.float32)


def _write_nifti(path: Path, volume: Array, zooms: tuple[float, float, float]) -> None:
    image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([*zooms, 1.0]))
    nibabel.save(image, path)
