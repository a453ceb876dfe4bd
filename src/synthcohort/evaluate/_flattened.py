"""Feature spaces laid flat by UMAP (McInnes, Healy, Melville 2018, arXiv:1802.03426): to look at, not to measure."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import MissingDependency
from ..types import Array

MOST = 500
"""Images of each set."""
FEWEST = 16
"""Images in all: UMAP joins each to its 15 nearest."""


def check_umap() -> None:
    """Raise unless umap-learn is installed.

    Raises:
        MissingDependency: It is not.
    """
    try:
        _imported()
    except ImportError as error:
        line = "The umap figure needs umap-learn, which is not installed: pip install 'synthcohort[figures]'"
        raise MissingDependency(line) from error


def flattened(sets: Mapping[str, Array], *, seed: int) -> dict[str, npt.NDArray[np.float64]] | str:
    """Return a point (n, 2) for each row of each set, laid out together; or why there is none.

    Features are scaled to one spread, since those of `radiomics` have units of their own; pixels are left as they are.
    The same rows give the same points on one machine and release of umap-learn; on others they may differ.

    Args:
        sets: Name -> (n, d) features of one space, or pixels (n, C, H, W).
        seed: Decides the layout.
    """
    rows = np.concatenate([np.asarray(values, np.float32).reshape(len(values), -1) for values in sets.values()])
    pixels = next(iter(sets.values())).ndim == 4
    if len(rows) < FEWEST:
        return f"it takes {FEWEST} images in all, and there are {len(rows)}"
    if not np.isfinite(rows).all():
        return "some features are not finite"
    if (rows == rows[0]).all():
        return "all images are the same in this space"
    rows = rows if pixels else _scaled(rows)
    with warnings.catch_warnings(), _same_threads():
        warnings.simplefilter("ignore")  # of disconnected graphs and numba's caches: nothing a reader can act on
        laid_out = _imported().UMAP(n_neighbors=15, min_dist=0.1, random_state=seed % 2**32, n_jobs=1)
        points = np.asarray(laid_out.fit_transform(rows), np.float64)
    ends = np.cumsum([len(values) for values in sets.values()])[:-1]
    return dict(zip(sets, np.split(points, ends), strict=True))


@contextlib.contextmanager
def _same_threads() -> Iterator[None]:
    """Give torch its threads back: numba sets OpenMP's to all cores, and a later fit would be slow and another."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scaled(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return features of spread 1; those that hardly vary are left out."""
    spread = rows.std(axis=0, dtype=np.float64)
    kept = spread > 1e-6 * np.abs(rows).max(axis=0).clip(min=1e-12)
    return np.asarray((rows[:, kept] - rows[:, kept].mean(axis=0)) / spread[kept], np.float32)


def _imported() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap  # type: ignore[import-untyped]
    return umap
