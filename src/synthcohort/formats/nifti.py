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
_COMMENT, _ALIGNED = 6, 2  # NIfTI codes: a plain text extension; coordinates that are not a scanner's
_READING = (
    "Arrays are (columns, rows, 1); a voxel of a mask is a class index. Columns run to the left of a patient and rows",
    "to the back (LPS), so a radiological viewer shows the image upright. Where spacing is unknown, pixels are 1 apart",
    "and the header names no unit. Each file is a `group` of its own; slices that belong together have one `series`.",
)


class Format(_Contract):
    """One .nii.gz a sample, (columns, rows, 1): grey 8 or 16 bit, RGB24, or three 16-bit components; masks uint8.

    Columns run to the patient's left and rows to the back, as a radiological viewer shows a slice: upright, as the
    image is. Pixels are 1 apart without a unit where spacing is unknown. Every header says in `descrip` what the file
    is, and a text extension says so at length, with the terms.
    """

    REVISION: ClassVar[int] = 1

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
    image.set_sform(image.affine, code=_ALIGNED)
    image.set_qform(image.affine, code=_ALIGNED)
    image.header.set_xyzt_units("mm" if sample.spacing_mm else "unknown")
    image.header.set_intent(intent)
    image.header["descrip"] = f"{said}; {SOFTWARE}"[:79]
    image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, note))
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def _note(facts: Facts) -> bytes:
    said = {"synthetic": origin(facts).synthetic, "description": description(facts), "terms": " ".join(terms(facts))}
    return json.dumps({**said, "software": f"{SOFTWARE} {__version__}"}, ensure_ascii=False).encode()
