"""What the server holds of a study: the design, the orders and the images; never the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._sessions import digest
from ._study import IMAGES, ORDERS, Design, NotAStudy, Order, Presentation, check_file, read_design, read_orders


@dataclass(frozen=True)
class Served:
    """A study as the server sees it.

    Attributes:
        design: What study.json says.
        identity: Digest that names the study.
        orders: Reader -> what they see.
        readers: Digest of an invitation code -> reader.
        images: (N, H, W, C), uint8 or uint16 little endian, mapped into memory.
    """

    design: Design
    identity: str
    orders: Mapping[str, Order]
    readers: Mapping[str, str]
    images: np.ndarray[Any, np.dtype[Any]]

    def find(self, reader: str, presentation: str) -> Presentation | None:
        """Return the presentation of this id if it is this reader's."""
        return next((one for one in self.orders[reader].presentations if one.id == presentation), None)

    def pixels(self, shown: Presentation) -> bytes:
        """Return the values of one image: rows, columns, channels; 16-bit values little endian; no header."""
        return bytes(self.images[shown.image].tobytes())


def read_served(folder: Path) -> Served:
    """Return the study in `folder`.

    Raises:
        NotAStudy: There is none, or its parts are not those it was designed with.
    """
    design = read_design(folder)
    for path in (ORDERS, IMAGES):
        check_file(folder, design, path)
    orders = read_orders(folder)
    try:
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(IMAGES)) from error
    channels, height, width = design.shape
    if images.shape[1:] != (height, width, channels) or images.dtype != np.dtype(design.dtype).newbyteorder("<"):
        raise _damaged(folder, f"{IMAGES} that fits study.json")
    ids = [shown.id for order in orders for shown in order.presentations]
    rows = [shown.image for order in orders for shown in order.presentations]
    if len(set(ids)) != len(ids) or not all(0 <= row < len(images) for row in rows):
        raise _damaged(folder, "list of presentations")
    identity = digest("".join(ids))
    readers = {order.code_sha256: order.reader for order in orders}
    return Served(design, identity, {order.reader: order for order in orders}, readers, images)


def _damaged(folder: Path, name: str) -> NotAStudy:
    return NotAStudy(
        f"A reader study has a readable {name}", str(folder), "Make it again with `synthcohort reader design`"
    )
