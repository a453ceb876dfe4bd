"""Samples as PNG files that say what they are; shared by the formats whose pixels are PNG."""

from __future__ import annotations

import numpy as np

from .. import __version__
from ..cohort import Cohort
from ..format import SOFTWARE, Sample, origin
from ._png_file import png_file
from ._tree import Encode


def png_encoder(cohort: Cohort) -> Encode:
    """Return a function that turns a sample into the PNG files of its image and, if there is one, its mask."""
    made = origin(cohort.facts)
    # "Description", "Source" and "Software" are keywords of the PNG specification.
    common = {"Source": made.maker, "Software": f"{SOFTWARE} {__version__}"}

    def encode(sample: Sample) -> tuple[bytes, bytes | None]:
        image = png_file(np.asarray(sample.image), {"Description": made.image, **common})
        mask = None if sample.mask is None else np.asarray(sample.mask)
        return image, None if mask is None else png_file(mask, {"Description": made.mask, **common})

    return encode


PNG_SAYS = "the text chunk `Description`"
