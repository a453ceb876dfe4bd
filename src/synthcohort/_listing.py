"""What a download holds, as one digest: cheap enough for hundreds of thousands of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .runs import file_sha256, fingerprint

_OURS = ("run.json", "cohort.json")
_SMALL_TEXT = (".csv", ".cfg", ".txt", ".json")


def listing_sha256(root: Path, out: Path) -> str:
    """Return the digest of relative names and sizes of all files, and of the content of small texts.

    A picture that is replaced by another of the same size goes unnoticed.

    Hidden files are no part of a download, and neither is an output that lies inside it, nor any cohort or run.
    """
    root, out = root.resolve(), out.resolve()
    listing = []
    for entry in _files(str(root), out):
        parts = Path(entry.path).relative_to(root).parts
        try:
            size = entry.stat().st_size
            text = Path(entry.name).suffix.lower() in _SMALL_TEXT and size < 1 << 28
            listing.append((parts, size, file_sha256(Path(entry.path)) if text else ""))
        except OSError:  # gone, or not to be read: the source says what that means
            listing.append((parts, -1, ""))
    return fingerprint({"listing": [["/".join(parts), *rest] for parts, *rest in sorted(listing)]})


def _files(folder: str, out: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(PermissionError), os.scandir(folder) as found:
        entries = list(found)
        if any(entry.name in _OURS for entry in entries):
            return
        for entry in entries:
            ours = folder == str(out.parent) and entry.name.split(".partial-")[0] == out.name
            if ours or entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):  # a link in a circle
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path, out)
                elif entry.is_file():
                    yield entry
