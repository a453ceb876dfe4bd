"""NIfTI-1 files with a table: one image a file, with its spacing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np

from .. import __version__
from ..cohort import Cohort, Facts
from ..format import SOFTWARE, Sample, origin
from ..format import Format as _Contract
from ..types import Array
from ._card import description, terms
from ._tree import Encode, write_tree

_RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_COMMENT = 6  # NIfTI code of a plain text extension
# Axes are stated only because viewers turn an image without any upside down, and in the qform alone: the codes of an
# sform would say that the image lies in a space that others share. `descrip` and the extension say what they are worth.
_STATED, _NOT_STATED = 1, 0
_AXES = "axes nominal"
_READING = (
    "Arrays are (columns, rows, 1); a voxel of a mask is a class index. The orientation in the header is nominal, for",
    "display only: radiological viewers show the image upright by it (they take columns for left and rows for back),",
    "and it is no place in a patient, whatever the view. Where spacing is unknown, pixels are 1 apart and the header",
    "names no unit. Each file is a `group` of its own; slices that belong together have one `series`.",
)


class Format(_Contract):
    """One .nii.gz a sample, (columns, rows, 1): grey 8 or 16 bit, RGB24, or three 16-bit components; masks uint8.

    The qform is nominal: columns are called left and rows back, whatever the view, so that a radiological viewer shows
    the image upright, as it is; it is no place in a patient. The sform is not stated. Pixels are 1 apart without a unit
    where spacing is unknown. Every header says in `descrip` what the file is, and a text extension says so at length,
    with the terms.
    """

    REVISION: ClassVar[int] = 3

    def write(self, cohort: Cohort, folder: Path) -> None:
        """Write images/, masks/, samples.csv and README.md."""
        said = "`descrip` in the header"
        encode = _encoder(cohort.facts)
        write_tree(cohort, folder, ending=".nii.gz", encode=encode, said=said, reading=_READING, columns=_columns)


def _encoder(facts: Facts) -> Encode:
    made, note = origin(facts), _note(facts)

    def encode(sample: Sample) -> tuple[bytes, bytes | None]:
        values = _voxels(np.asarray(sample.image))
        image = _file(values, sample, made.image, note, intent="vector" if values.ndim == 5 else "none")
        if sample.mask is None:
            return image, None
        return image, _file(np.asarray(sample.mask).T[..., None], sample, made.mask, note, intent="label")

    return encode


def _columns(sample: Sample) -> dict[str, str]:
    # For readers of volumes, this tool's source `nifti` among them, each file is one.
    return {"group": f"v{sample.number:08d}", "series": f"g{sample.group:08d}"}


def _voxels(image: Array) -> Array:
    """Return (C, H, W) as (W, H, 1), of RGB triples where there is a NIfTI type for them, else (W, H, 1, 1, 3)."""
    last: Array = np.ascontiguousarray(image.transpose(2, 1, 0))
    if len(image) == 1:
        return last
    return last.view(_RGB24) if image.dtype == np.uint8 else last[:, :, None, None]


def _file(values: Array, sample: Sample, said: str, note: bytes, *, intent: str) -> bytes:
    y, x = sample.spacing_mm or (1.0, 1.0)
    image = nib.Nifti1Image(values, np.diag([-x, -y, 1.0, 1.0]))
    image.set_qform(image.affine, code=_STATED)
    image.set_sform(None, code=_NOT_STATED)
    image.header.set_xyzt_units("mm" if sample.spacing_mm else "unknown")
    image.header.set_intent(intent)
    image.header["descrip"] = f"{said}; {_AXES}; {SOFTWARE}"[:79]
    image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, note))
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _note(facts: Facts) -> bytes:
    said = {
        "synthetic": origin(facts).synthetic,
        "description": description(facts),
        "orientation": "nominal, for display only; no place in a patient",
        "terms": " ".join(terms(facts)),
        "software": f"{SOFTWARE} {__version__}",
    }
    return json.dumps(said, ensure_ascii=False).encode()
