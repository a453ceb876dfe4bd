"""What a download holds, as one digest: cheap enough for hundreds of thousands of files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .layouts import PHANTOM_MARK
from .runs import file_sha256, fingerprint

_OURS = ("run.json", "cohort.json")
_SMALL_TEXT = (".csv", ".cfg", ".txt", ".json")


def mark_phantom(root: Path) -> None:
    """Leave a hidden file in the root of what a phantom wrote, so that its cohort says that it shows nobody.

    It holds the digest of the names and sizes that the phantom wrote: with a real image among them, it is void.
    """
    (root / PHANTOM_MARK).write_text(_names_sha256(root, root / PHANTOM_MARK), encoding="utf-8")


def is_phantom(root: Path, out: Path) -> bool:
    """Return whether a folder, or one of the two around it, holds what a phantom wrote and nothing else."""
    for folder in (root.resolve(), *root.resolve().parents[:2]):
        with contextlib.suppress(OSError, ValueError):
            if (folder / PHANTOM_MARK).read_text(encoding="utf-8") == _names_sha256(folder, out):
                return True
    return False


def _names_sha256(root: Path, out: Path) -> str:
    root = root.resolve()
    names = [(Path(e.path).relative_to(root).as_posix(), e.stat().st_size) for e in _files(str(root), out.resolve())]
    return fingerprint({"names": [list(name) for name in sorted(names)]})


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
