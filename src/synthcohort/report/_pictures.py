"""The images that an EVAL folder holds, opened and checked."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NotAnEvaluation
from ..types import Array

REMAKE = "Make one with `synthcohort evaluate`"


@dataclass(frozen=True)
class Pictures:
    """Images to show.

    Attributes:
        images: (n, C, H, W) as stored.
        masks: (n, H, W) uint8, or None.
        value_range: (low, high) of the stored pixels.
        sample_ids: (n,) text, or None where the file does not say.
        findings: Of each image the findings that it has, or None where the file does not say.
    """

    images: Array
    masks: Array | None
    value_range: tuple[float, float]
    sample_ids: Array | None
    findings: tuple[tuple[str, ...], ...] | None


def read_pairs(folder: Path) -> tuple[Pictures, Pictures] | None:
    """Return synthetic images and the real training images nearest to them, or None when there are none.

    Only for a report that may show real images.

    Raises:
        NotAnEvaluation: The file is damaged.
    """
    path = folder / "pairs" / "pairs.npz"
    synthetic = read_pictures(path, "synthetic", "synthetic_masks")
    nearest = read_pictures(path, "nearest", "nearest_masks")
    return None if synthetic is None or nearest is None else (synthetic, nearest)


def read_pictures(path: Path, images: str, masks: str) -> Pictures | None:
    """Return the arrays of a file by their names in it, or None when there is none.

    Raises:
        NotAnEvaluation: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            low, high = (float(bound) for bound in file["value_range"])
            found = Pictures(
                images=file[images],
                masks=file[masks] if masks in file and file[masks].size else None,
                value_range=(low, high),
                sample_ids=file.get("sample_id"),
                findings=_findings_of(file, len(file[images])),
            )
        if (
            found.images.dtype.kind != "u"
            or found.images.ndim != 4
            or (found.masks is not None and found.masks.shape[0] != len(found.images))
        ):
            raise ValueError(f"images {found.images.shape}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise NotAnEvaluation(f"{path.name} holds images and their value_range", str(path), REMAKE) from error
    return found


def _findings_of(file: Any, count: int) -> tuple[tuple[str, ...], ...] | None:
    """Return the findings of each image; an unknown one counts as absent."""
    if "labels" not in file or not file["labels"].size:
        return None
    labels, names = file["labels"], [str(name) for name in file["label_names"]]
    if labels.shape != (count, len(names)):
        raise ValueError(f"labels {labels.shape}")
    return tuple(tuple(name for name, value in zip(names, row, strict=True) if value > 0.5) for row in labels)
