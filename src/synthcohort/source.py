"""What every source is: a download in parts that can be read one by one, in any process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .types import LeftOut, Record


class Source(ABC):
    """One download layout, read exactly as users get it.

    A plugin's `__init__(self, root, *, options)` looks at names and tables only, checks the layout at once and raises
    `BadSource`; pixels are read by `read`, which may run in another process.

    Attributes:
        MODALITY: What the images are.
        LICENCE: Licence and terms; said whenever the source is used, and carried by every cohort.
        NOTICE: What whoever shares images derived from it must know, e.g. that the terms forbid it; "" for nothing.
        MASK_CLASSES: Class names by mask value, background first; empty when there are no masks.
        LABELS: Finding names; empty when there are none.
        REVISION: Raise it when the same download comes to give other records.
        VALUE_RULE: Which intensities become the lowest and the highest pixel value, e.g. {"rule": "type_range"}. Rules:
            type_range; fixed (low, high); volume_percentiles (low, high); dicom_window (low, high where there is none).
        PROTOCOLS: "paper" or "code" -> the preparation that a study states: options of `prepare`, those of the source
            under "options", and under "assumed" the names of those that the study leaves open.
        LEFT_OUT: Reason -> images of the tables that are not among the parts.
    """

    MODALITY: str
    LICENCE: str
    NOTICE: str = ""
    MASK_CLASSES: tuple[str, ...] = ()
    LABELS: tuple[str, ...] = ()
    REVISION: ClassVar[int]
    VALUE_RULE: Mapping[str, Any]
    PROTOCOLS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    LEFT_OUT: Mapping[str, int] = {}

    @abstractmethod
    def parts(self) -> Sequence[Any]:
        """Return what `read` takes, one entry a file or volume, small and picklable, in an order that names decide."""

    @abstractmethod
    def read(self, part: Any) -> Iterator[Record | LeftOut]:
        """Yield the images of one part, and why one is not yielded.

        Raises:
            BadSource: A file is damaged or does not fit; names it relative to the root, and never a patient.
        """

    def records(self) -> Iterator[Record]:
        """Yield all images, part by part, one part in memory at a time."""
        for part in self.parts():
            yield from (item for item in self.read(part) if isinstance(item, Record))
