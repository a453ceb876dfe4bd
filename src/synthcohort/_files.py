"""Files of a download: what they are may be anything, so none is waited for and no decoder speaks for itself."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def regular(path: Path) -> Path:
    """Return the path of a regular file, to be opened at once; links are followed.

    A pipe would be waited for without end, and a device read without end.

    Raises:
        OSError: It is something else, absent, or may not be looked at.
        ValueError: The path holds a null byte.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "no regular file")
    return path


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Discard what is written to standard error inside the block, for the moment that a picture takes.

    Decoders in C and Rust write to it themselves: libtiff tells of damaged lines, and the RLE decoder of DICOM panics
    when a run is too long.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
