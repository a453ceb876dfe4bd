"""The nearest images over blocks of queries and gallery, against a search without blocks."""

from __future__ import annotations

import numpy as np
import pytest

from synthcohort.metrics._neighbours import _BLOCK_COLUMNS, _BLOCK_ROWS, nearest


@pytest.mark.parametrize("count", [1, 5, 64])
@pytest.mark.parametrize("width", [_BLOCK_COLUMNS - 1, _BLOCK_COLUMNS, _BLOCK_COLUMNS * 2 + 300])
@pytest.mark.parametrize("barring", [False, True])
def test_blocks_change_nothing(count: int, width: int, *, barring: bool) -> None:
    rng = np.random.default_rng(width)
    gallery, queries = rng.normal(3, 1, (width, 4)), rng.normal(3, 1, (_BLOCK_ROWS // 8, 4))
    codes = rng.integers(0, 9, len(queries)), rng.integers(0, 9, width)
    far = np.linalg.norm(queries[:, None] - gallery[None], axis=2)
    if barring:
        far[codes[0][:, None] == codes[1][None]] = np.inf
    wanted = np.argsort(far, axis=1, kind="stable")[:, :count]
    positions, distances = nearest(queries, gallery, count, barred=codes if barring else None)
    assert (positions == wanted).all()
    np.testing.assert_allclose(distances, np.take_along_axis(far, wanted, 1), rtol=1e-12)  # float64 on both sides


def test_queries_over_several_blocks_keep_their_order() -> None:
    gallery = np.arange(300, dtype=np.float32)[:, None]
    chosen = np.random.default_rng(0).integers(0, 300, _BLOCK_ROWS * 2 + 5)
    positions, distances = nearest(gallery[chosen] + 0.25, gallery)
    assert (positions[:, 0] == chosen).all()
    np.testing.assert_allclose(distances, 0.25)


def test_who_is_barred_everywhere_is_infinitely_far() -> None:
    codes = np.zeros(3, int), np.zeros(50, int)
    assert np.isinf(nearest(np.zeros((3, 2)), np.ones((50, 2)), 4, barred=codes)[1]).all()


def test_features_far_from_the_origin_are_told_apart() -> None:
    gallery = np.float32(1e4) + np.random.default_rng(1).normal(size=(2000, 8)).astype(np.float32)
    positions, distances = nearest(gallery[::7], gallery)
    assert (positions[:, 0] == np.arange(0, 2000, 7)).all()
    assert (distances == 0).all()
