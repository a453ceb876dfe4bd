"""Small cohorts of every kind that a format must hold, with ids that no file could have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthcohort.cohort import Facts, writing_cohort

HEIGHT, WIDTH, COUNT = 11, 14, 12  # not square, and an odd number of bytes
KINDS = {  # channels, dtype, mask classes, labels, spacing
    "grey 8 with masks": (1, "uint8", ("background", "myocardium", "left ventricle"), (), (1.5, 1.25)),
    "grey 16 with labels": (1, "uint16", (), ("Edema", "Größe | 3"), None),
    "rgb 8 with masks and labels": (3, "uint8", ("background", "disc"), ("Glaucoma",), (0.7, 0.7)),
    "rgb 16": (3, "uint16", (), (), (0.1 + 0.2, 1 / 3)),
    "grey 8": (1, "uint8", (), (), None),
}
ODD_IDS = [
    "../x",
    "a/b",
    "n" * 300,
    "C:\\y",
    "line\nend",
    "tab\tand\rreturn",
    "=1+1",
    "007",
    "a,b;\"c'",
    "ü",
    "NaN",
    " ",
]


def make(
    out: Path,
    kind: str,
    provenance: str = "synthetic",
    *,
    square: bool = False,
    named: str = "",
    repeats: Sequence[int] = (),
    **changes: object,
) -> Path:
    """Write a cohort of twelve samples of a kind, with ids that no file could have.

    Args:
        out: Where to.
        kind: One of KINDS.
        provenance: Of the cohort.
        square: Whether the images are.
        named: Another name for the last label.
        repeats: The column `repeat`.
        changes: Other facts.
    """
    height = WIDTH if square else HEIGHT
    channels, dtype, classes, labels, spacing = KINDS[kind]
    labels = (*labels[:-1], named) if named else labels
    fields = {
        "name": kind,
        "modality": "test card",
        "licence": "CC BY 4.0",
        "notice": "Ask before you share it.",
        "generator": {"generator": "flow", "fingerprint": "f" * 64} if provenance == "synthetic" else None,
        **changes,
    }
    high = 255 if dtype == "uint8" else 65535
    facts = Facts(
        **fields,
        provenance=provenance,
        shape=(channels, height, WIDTH),
        dtype=dtype,
        value_range=(0.0, float(high)),
        mask_classes=classes,
        labels=labels,
    )
    rng = np.random.default_rng(3)
    with writing_cohort(out, facts, {"kind": "test"}, None) as writer:
        for i in range(COUNT):
            image = rng.integers(0, high, (channels, height, WIDTH), endpoint=True).astype(dtype)
            mask = rng.integers(0, len(classes), (height, WIDTH)).astype(np.uint8) if classes else None
            if mask is not None and i == 4:
                mask[:] = 0
            y, x = spacing if spacing and i != 5 else (np.nan, np.nan)
            row = {"sample_id": ODD_IDS[i], "patient_id": f"SECRET{i // 2}", "group_id": "SECRET", "slice_index": i % 2}
            row |= {"split": ("train", "val", "test")[i // 2 % 3], "spacing_y_mm": y, "spacing_x_mm": x}
            row |= {f"label.{name}": (True, False, None)[(i + j) % 3] for j, name in enumerate(labels)}
            writer.append(image, mask, {**row, "attr.sex": "SECRETSEX"})
        writer.finish({"repeat": repeats} if repeats else None)
    return out
